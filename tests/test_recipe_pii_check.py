"""Personal data as a step of a chain: every option reaches the detector, and what leaves holds no value."""

from collections import Counter

from gristmill.quality.pii import luhn
from gristmill.recipes.quality.pii_check import pii_check
from gristmill.testing import replay, run

CARD = "4111 1111 1111 1111"


async def texts(*given: str, **options: object) -> list[str]:
    return [row.text for row in (await run(pii_check, [{"text": text} for text in given], **options)).rows]


def reasons(done) -> Counter:
    return Counter(done.reject_counts)


async def test_the_same_value_has_the_same_mark_in_all_fields_of_a_row_and_marks_begin_anew_in_the_next():
    rows = [
        {"prompt": "I am a@acme.org", "completion": "So b@acme.org knows A@acme.org", "n": 7},
        {"prompt": "I am b@acme.org", "completion": f"with {CARD}", "n": 8},
    ]
    done = await run(pii_check, rows)
    assert [(row.prompt, row.completion, row.n) for row in done.rows] == [
        ("I am [EMAIL_1]", "So [EMAIL_2] knows [EMAIL_1]", 7),
        ("I am [EMAIL_1]", "with [CARD_1]", 8),
    ]


async def test_a_made_up_value_is_the_same_in_all_rows_and_another_with_another_seed():
    first, second = await texts("a@acme.org", "to a@acme.org", action="pseudonymise")
    assert second == f"to {first}"
    assert first.endswith("@example.com")
    [card] = await texts(CARD, action="pseudonymise")
    assert not luhn(card.replace(" ", ""))
    done = await run(pii_check, [{"text": "ann.miller@acme.org"}], action="pseudonymise")
    other = await run(pii_check, [{"text": "ann.miller@acme.org"}], action="pseudonymise", seed=1)
    assert (await replay(done)).rows == done.rows
    assert other.rows[0].text != done.rows[0].text


async def test_each_option_reaches_the_detector():
    key = "sk-" + "aB3dE6gH9jK2mN5pQ8sT1vW4"
    assert await texts("the value 111222333 here") == ["the value 111222333 here"]
    assert await texts("the value 111222333 here", locale="NL") == ["the value [NATIONAL_ID_1] here"]
    assert await texts("the value 111222333 here", score_threshold=0.2) == ["the value [NATIONAL_ID_1] here"]
    assert await texts("a@acme.org", score_threshold=0.96) == ["a@acme.org"]
    assert await texts(key) == ["[API_KEY_1]"]
    assert await texts(key, entropy_bits=5.5) == [key]


async def test_a_row_is_a_leak_by_the_words_or_the_value_that_it_shares_with_a_private_row_and_says_where():
    private = [{"text": "one two three four five six seven eight nine"}, {"text": f"card {CARD}"}]
    rows = [
        {"text": "x two three four five six seven eight nine y", "n": 0},
        {"text": "x two three four five six seven eight y", "n": 1},
        {"text": "item 4111111111111111", "n": 2},
        {"text": "card 5500 0000 0000 0004", "n": 3},
    ]
    done = await run(pii_check, rows, private=private)
    assert [(row.n, row.text) for row in done.rows] == [(1, rows[1]["text"]), (3, "card [CARD_1]")]
    assert reasons(done) == {"private_leak": 2}
    assert done.rejects[0].details["findings"] == [{"type": "copied", "start": 2, "end": 42}]
    assert set(done.rejects[0].candidate) == {"id"}
    shorter = await run(pii_check, rows, private=private, leak_tokens=7)
    assert [row.n for row in shorter.rows] == [3]


async def test_a_private_value_is_a_leak_also_where_it_stands_too_bare_to_be_a_finding():
    private = [{"text": "my card 1234 5678 1234 5670 is lost"}]
    done = await run(pii_check, [{"text": "item 1234 5678 1234 5670"}], private=private)
    assert reasons(done) == {"private_leak": 1}
    assert await texts("item 1234 5678 1234 5670") == ["item 1234 5678 1234 5670"]


async def test_a_row_without_a_finding_stays_whatever_the_action():
    for action in ("mask", "pseudonymise", "drop"):
        assert await texts("Nothing.", action=action) == ["Nothing."]
    assert await texts("a@acme.org", action="drop") == []


async def test_what_is_allowed_is_no_leak():
    private = [{"text": "about COVID-19", "name": "Jane Doe"}]
    done = await run(pii_check, [{"text": "the COVID-19 years"}, {"text": "as Jane Doe said"}], private=private)
    assert reasons(done) == {"private_leak": 2}
    allowed = await run(
        pii_check,
        [{"text": "the COVID-19 years"}, {"text": "as Jane Doe said"}],
        private=private,
        allow=["covid-19", "JANE DOE"],
    )
    assert len(allowed.rows) == 2


async def test_rows_of_two_runs_have_each_their_own_private_rows():
    row = {"text": "It was K-5935A7 who wrote."}
    for private, kept in (("K-5935A7", 0), ("K-1111A1", 1), ("K-5935A7", 0)):
        done = await run(pii_check, [row], private=[{"text": f"of {private}"}])
        assert len(done.rows) == kept
