"""Vicuna: shared chats become clean conversations by rules alone."""

import json

import pytest

from gristmill.errors import BadInput
from gristmill.export import formats
from gristmill.ops import html
from gristmill.ops.ask import Bad
from gristmill.ops.text import approx_tokens
from gristmill.recipes.distillation.vicuna_sharegpt import RATE_LIMIT, to_markdown, vicuna_sharegpt
from gristmill.testing import replay, run

CODE = (
    '<div class="m"><p>So:</p><pre><div><div><span>python</span><button class="b">Copy code</button></div><div>'
    '<code class="hljs"><span class="k">def</span> <span>f</span>(my_x):\n    <span>return</span> my_x\n\n\n<span>f</span>(1)'
    "\n</code></div></div></pre><p>Done.</p></div>"
)


def chat(*values, first=0, **fields):
    """Turns of human and gpt, in this order from `first` on."""
    turns = [{"from": ("human", "gpt")[(first + number) % 2], "value": value} for number, value in enumerate(values)]
    return {"conversations": turns, **fields}


def plain(number=0):
    return chat(f"Question number {number}?", f"This is answer number {number}.")


async def cleaned(*chats, **options):
    """Without the language filter and the identity rows, unless asked for."""
    return await run(vicuna_sharegpt, list(chats), **{"skip_lang": "", "identity_name": ""} | options)


def said(row):
    return [(turn.role, turn.content) for turn in row.messages]


def reasons(done):
    return [(reject.reason, reject.details) for reject in done.rejects]


# -- turns


@pytest.mark.proof("vicuna-sharegpt", 1)
async def test_a_first_turn_of_gpt_is_lost_and_two_human_turns_in_a_row_drop_the_chat():
    begun = chat("Hello!", "What is snow?", "Frozen water, of a kind.", first=1)
    twice = chat("What is snow?", "I mean sleet.", "Frozen water, of a kind.")
    twice["conversations"][1]["from"] = "human"
    done = await cleaned(begun, twice)
    assert [said(row) for row in done.rows] == [[("user", "What is snow?"), ("assistant", "Frozen water, of a kind.")]]
    assert reasons(done) == [("wrong_format", {"turn": 1, "sender": "human"})]


@pytest.mark.parametrize("last", ["And ice?", "Thanks, ChatGPT."])
async def test_a_last_turn_of_the_human_is_lost_before_words_are_looked_at(last):
    done = await cleaned(chat("What is snow?", "Frozen water, of a kind.", last))
    assert [turn.content for turn in done.rows[0].messages] == ["What is snow?", "Frozen water, of a kind."]


@pytest.mark.parametrize(
    "bad",
    [
        chat(),
        chat("What is snow, pray?"),
        chat("I am an answer.", first=1),
        chat("I am an answer.", "I am a question.", first=1),
        chat("What is snow, pray?", "", "And what is ice?", "Frozen water too."),
        chat("\u200b\u200b", "An answer that is long enough."),
    ],
)
async def test_a_chat_without_a_pair_is_too_short(bad):
    done = await cleaned(bad)
    assert not done.rows
    assert [reason for reason, _ in reasons(done)] == ["too_short"]


async def test_other_roles_than_human_and_gpt_are_a_wrong_format():
    odd = plain()
    odd["conversations"][1]["from"] = "bard"
    done = await cleaned(odd)
    assert reasons(done) == [("wrong_format", {"turn": 1, "sender": "bard"})]


@pytest.mark.parametrize("empty", ["", "  <div> </div>", "\u200bhidden", "\x07bell"])
async def test_a_chat_ends_before_its_first_empty_or_unprintable_turn_and_keeps_whole_pairs(empty):
    done = await cleaned(chat("First question?", "First answer.", "Second question?", empty, "Third?", "Third answer."))
    assert [turn.content for turn in done.rows[0].messages] == ["First question?", "First answer."]
    done = await cleaned(chat("First question?", "First answer.", empty, "Second answer."))
    assert [turn.content for turn in done.rows[0].messages] == ["First question?", "First answer."]


async def test_a_chat_has_sixteen_characters_at_least():
    fifteen, sixteen = chat("12345", "1234567890"), chat("123456", "1234567890")
    done = await cleaned(fifteen, sixteen)
    assert [turn.content for turn in done.rows[0].messages] == ["123456", "1234567890"]
    assert reasons(done) == [("too_short", {"characters": 15})]
    assert len((await cleaned(fifteen, min_chars=15)).rows) == 1


# -- words


@pytest.mark.proof("vicuna-sharegpt", 2)
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("word", ["ChatGPT", "OPENAI", "openai's"])
async def test_a_turn_that_mentions_chatgpt_or_openai_removes_the_whole_chat(place, word):
    values = ["What is snow?", "Frozen water.", "And ice?", "The same, harder."]
    values[place] += f" Says {word}."
    done = await cleaned(chat(*values))
    assert not done.rows
    assert [(reason, details["word"]) for reason, details in reasons(done)] == [
        ("blocked_words", "chatgpt" if word == "ChatGPT" else "openai")
    ]


async def test_a_blocked_word_counts_also_behind_the_end_and_words_can_be_chosen():
    done = await cleaned(chat("What is snow?", "Frozen water.", "", "x", "Ask ChatGPT?", "No, no."))
    assert [reason for reason, _ in reasons(done)] == ["blocked_words"]
    chats = (chat("Who is Bard?", "A poet or a model."), chat("What is ChatGPT?", "A model, too."))
    done = await cleaned(*chats, blocked_words=("Bard",))
    assert [row.messages[0].content for row in done.rows] == ["What is ChatGPT?"]


@pytest.mark.parametrize("shown", ["{} x", '<div class="m"><p>{}</p></div>'])
async def test_an_answer_that_is_the_sites_limit_drops_the_chat_and_a_question_about_it_does_not(shown):
    limit, asked = chat("What is snow?", shown.format(RATE_LIMIT)), chat(f"{RATE_LIMIT} Why?", "Because of the load.")
    done = await cleaned(limit, asked)
    assert [reason for reason, _ in reasons(done)] == ["rate_limit"]
    assert len(done.rows) == 1


async def test_repeated_digits_drop_a_chat_only_if_asked():
    nine, eight = chat("Count.", "It is 999999999 now."), chat("Count on.", "It is 99999999 now.")
    assert len((await cleaned(nine, eight)).rows) == 2
    done = await cleaned(nine, eight, chat("And?", "123456789123456789"), digit_repeat=9)
    assert [row.messages[0].content for row in done.rows] == ["Count on.", "And?"]
    assert reasons(done) == [("repeated_digits", {})]


# -- HTML


@pytest.mark.proof("vicuna-sharegpt", 4)
async def test_a_block_of_code_with_its_button_becomes_fenced_code_with_its_language():
    done = await cleaned(chat("Show me a function.", CODE))
    fenced = "```python\ndef f(my_x):\n    return my_x\n\n\nf(1)\n```"
    assert done.rows[0].messages[1].content == f"So:\n\n{fenced}\n\nDone."


@pytest.mark.parametrize(
    ("shared", "text"),
    [
        ("<p>2 / 3</p><p>One half is 1 / 2 here.</p>", "One half is 1 / 2 here."),
        ("12 / 13 Yes.", "Yes."),
        ("Half is 1 / 2 here.", "Half is 1 / 2 here."),
        ("<p>A</p><p>Copy120 chars / 21 words</p><p>B</p>", "A\n\n\n\nB"),
        ("<pre><button>Copy code</button></pre><p>A</p>", "A"),
        ("<pre><span>bash</span><button>Copy code</button><code>\n</code></pre>A", "A"),
        ("<p>a &lt; b &amp;&amp; c</p>", "a < b && c"),
        ("<ul><li>x<ul><li>y</li></ul></li></ul>", "* x\n  + y"),
        (
            "<p><b>bold</b> and <em>soft</em> <a href='https://a.b'>link</a></p>",
            "**bold** and *soft* [link](https://a.b)",
        ),
        ("日本語 and שלום", "日本語 and שלום"),
        ("https://example.org/a_b", r"https://example.org/a\_b"),
    ],
)
def test_html_becomes_markdown_without_the_buttons_and_counters_of_the_page(shared, text):
    assert to_markdown(shared, escape=True) == text


def test_code_of_two_blocks_is_not_run_together():
    plain, other = "<pre><code>plain\n</code></pre>", "<pre>js<button>Copy code</button><code>let x\n</code></pre>"
    assert to_markdown(f"{plain}<p>and</p>{other}", escape=True) == "```\nplain\n```\n\nand\n\n```js\nlet x\n```"


TABS = "\t" * 300_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize("value", ["```" + "x" * 300_000, f"<pre>pythonCopy codex{TABS}y</pre>"])
def test_a_long_line_and_a_long_run_of_tabs_cost_no_more_than_their_length(value):
    assert to_markdown(value, escape=True).startswith("```")


async def test_signs_of_markdown_are_escaped_outside_of_code_unless_that_is_turned_off():
    shared = chat("What is a_b * c?", "<code>a_b</code> times c.")
    for escape, question in ((True, r"What is a\_b \* c?"), (False, "What is a_b * c?")):
        done = await cleaned(shared, escape=escape)
        assert [turn.content for turn in done.rows[0].messages] == [question, "`a_b` times c."]


async def test_markup_that_cannot_be_parsed_drops_the_chat():
    deep = "<b>" * 3000 + "x" + "</b>" * 3000
    done = await cleaned(chat("What is snow?", deep), plain())
    assert [reason for reason, _ in reasons(done)] == ["parser_error"]
    assert "RecursionError" in reasons(done)[0][1]["error"]
    assert len(done.rows) == 1
    with pytest.raises(Bad, match="parser_error"):
        html.markdown(deep)


# -- copies, plugins, languages


async def test_copies_by_id_and_by_the_first_pair_are_dropped_and_the_first_stays():
    first = chat("What is snow?", "<b>Frozen</b> water.", "Sure?", "Yes, quite.", chat_id="a")
    same_id = chat("What is ice?", "Frozen water too.", chat_id="a")
    same_pair = chat("What is snow?", "<strong>Frozen</strong> water.", "And?", "No more.", chat_id="b")
    no_id = [chat("What is fog?", "Water in the air.", chat_id=""), chat("What is dew?", "Water on the grass.")]
    other_answer = chat("What is fog?", "A cloud on the ground.")
    done = await cleaned(first, same_id, same_pair, *no_id, other_answer)
    assert reasons(done) == [("duplicate_id", {"chat_id": "a"}), ("duplicate_value", {})]
    asked = ["What is snow?", "What is fog?", "What is dew?", "What is fog?"]
    assert [row.messages[0].content for row in done.rows] == asked
    assert [row.piece_id.partition("_")[0] for row in done.rows] == [
        "a",
        *(row.lineage.parents[0] for row in done.rows[1:]),
    ]


async def test_a_chat_that_was_dropped_makes_no_later_one_a_copy():
    short = chat("", "An answer that is long enough.", chat_id="a")
    done = await cleaned(short, {**plain(), "chat_id": "a"}, {**plain(1), "plugins": ["x"]}, plain(1))
    assert [reason for reason, _ in reasons(done)] == ["too_short", "plugin"]
    assert len(done.rows) == 2


async def test_chats_made_with_plugins_are_dropped():
    done = await cleaned(
        {**plain(), "plugins": ["browser"]}, {**plain(1), "plugins": []}, {**plain(2), "plugins": None}
    )
    assert reasons(done) == [("plugin", {"plugins": ["browser"]})]
    assert len(done.rows) == 2


TONGUES = {
    "en": chat("How do you make kimchi at home?", "Salt the cabbage, then mix it with chilli, garlic and ginger."),
    "ko": chat("김치는 어떻게 만들어요?", "배추를 소금에 절인 다음 양념을 바르고 며칠 동안 익히면 됩니다."),
    "de": chat("Wie macht man zu Hause Sauerkraut?", "Man schneidet den Kohl fein, salzt ihn und stampft ihn."),
}


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, ["en", "de"]),
        ({"skip_lang": "de"}, ["en", "ko"]),
        ({"skip_lang": ""}, ["en", "ko", "de"]),
        ({"keep_lang": "de"}, ["de"]),
        ({"keep_lang": "ko", "skip_lang": ""}, ["ko"]),
    ],
)
async def test_korean_is_skipped_by_default_and_any_language_can_be_kept_or_skipped(options, kept):
    chats = [{**shared, "chat_id": code} for code, shared in TONGUES.items()]
    done = await run(vicuna_sharegpt, chats, identity_name="", **options)
    assert [row.piece_id for row in done.rows] == [f"{code}_0" for code in kept]
    assert sorted(r.details["language"] for r in done.rejects) == sorted(set(TONGUES) - set(kept))


async def test_languages_are_given_as_codes():
    for options in ({"skip_lang": "Korean"}, {"keep_lang": "EN"}, {"keep_lang": "ko"}):
        with pytest.raises(BadInput, match="lang"):
            await run(vicuna_sharegpt, [plain()], **options)


# -- pieces


def tokens(turn):
    return approx_tokens(turn.content) + 6


@pytest.mark.proof("vicuna-sharegpt", 3)
@pytest.mark.parametrize("max_length", [40, 60, 100, 1000])
async def test_a_long_chat_is_split_into_pieces_of_whole_pairs_within_the_length_which_together_are_all_of_it(
    max_length,
):
    values = [f"{'Question' if i % 2 == 0 else 'Answer'} {i}: {'so ' * (i % 5)}" for i in range(20)]
    done = await cleaned(chat(*values, chat_id="long"), max_length=max_length)
    assert not done.rejects
    joined = []
    for row in done.rows:
        assert [turn.role for turn in row.messages] == ["user", "assistant"] * (len(row.messages) // 2)
        assert sum(map(tokens, row.messages)) <= max_length
        assert row.piece_id == f"long_{len(joined)}"
        joined += row.messages
    assert [turn.content for turn in joined] == [value.strip() for value in values]
    assert (len(done.rows) > 1) == (max_length < 1000)
    for row, following in zip(done.rows, done.rows[1:], strict=False):  # no piece is shorter than it need be
        assert sum(map(tokens, [*row.messages, *following.messages[:2]])) > max_length
    assert len({row.split for row in done.rows}) == 1


async def test_a_piece_may_have_exactly_the_length_and_the_overhead_counts_for_every_turn():
    values = ("One two three?", "Four five six.", "Seven eight?", "Nine, ten.")
    whole = sum(map(approx_tokens, values))
    for overhead in (0, 6):
        exact = whole + 4 * overhead
        for max_length, count in ((exact, 1), (exact - 1, 2)):
            done = await cleaned(chat(*values), max_length=max_length, turn_overhead_tokens=overhead)
            assert len(done.rows) == count


async def test_the_length_and_the_overhead_are_those_of_the_paper_unless_given():
    assert vicuna_sharegpt.parameters["max_length"].default == 2048
    assert vicuna_sharegpt.parameters["turn_overhead_tokens"].default == 6


async def test_a_pair_that_alone_is_too_long_is_put_aside_and_the_pieces_around_it_stay():
    done = await cleaned(
        chat(
            "First question?", "First answer.", "Second?", "so " * 200, "Third question?", "Third answer.", chat_id="c"
        ),
        max_length=60,
    )
    assert [row.piece_id for row in done.rows] == ["c_0", "c_4"]
    assert [(reason, details["piece_id"]) for reason, details in reasons(done)] == [("too_long", "c_2")]
    assert reasons(done)[0][1]["tokens"] > 200


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Like this:\n1. Dig.\n1. Plant.", False),
        ("Like this:\n1. Dig.\n2. Plant.\n1. Rest.", True),
        ("Like this:\n1. Dig.\n2. Plant.", True),
        ("Version 1.1. is out", True),
    ],
)
async def test_a_list_that_says_1_where_2_is_due_drops_its_piece(text, kept):
    done = await cleaned(chat("How do I plant a tree?", text), plain())
    assert len(done.rows) == 1 + kept
    assert [reason for reason, _ in reasons(done)] == ([] if kept else ["broken_list"])


# -- splits and identity


async def test_one_chat_in_a_hundred_is_for_testing_and_which_is_left_to_chance():
    found = []
    for seed in (0, 1):
        done = await cleaned(*(plain(number) for number in range(200)), seed=seed)
        assert [row.split for row in done.rows].count("test") == 2
        found.append([row.split for row in done.rows])
    assert found[0] != found[1]
    half = await cleaned(*(plain(number) for number in range(10)), train_ratio=0.5)
    assert [row.split for row in half.rows].count("train") == 5
    assert (await cleaned(plain())).rows[0].split == "train"


async def test_identity_questions_are_added_to_the_training_split_with_the_names_given():
    named = {"identity_name": "Grist", "identity_maker": "the mill"}
    done = await run(vicuna_sharegpt, [plain()], skip_lang="", **named)
    added = done.rows[1:]
    assert len(added) == 6
    assert {row.split for row in added} == {"train"}
    for row in added:
        question, answer = row.messages
        assert (question.role, answer.role) == ("user", "assistant")
        assert "Grist" in answer.content
        assert "the mill" in answer.content.lower()
        assert answer.content[0].isupper()
        assert "{" not in answer.content
    assert [row.messages[0].content for row in added][:1] == ["Who are you?"]
    assert len((await cleaned(plain())).rows) == 1
    default = await run(vicuna_sharegpt, [plain()], skip_lang="")
    assert "Vicuna" in default.rows[1].messages[1].content


# -- what comes out


async def test_rows_export_as_sharegpt_and_as_chats(tmp_path):
    done = await cleaned(chat("Show me a function.", CODE, chat_id="a"))
    formats.export(done.folder, "sharegpt", tmp_path / "s.jsonl")
    record = json.loads((tmp_path / "s.jsonl").read_text())
    assert [turn["from"] for turn in record["conversations"]] == ["human", "gpt"]
    formats.export(done.folder, "trl-sft", tmp_path / "t.jsonl")
    assert list(json.loads((tmp_path / "t.jsonl").read_text())) == ["messages"]


async def test_a_replay_gives_the_same_rows_and_tells_no_language_anew():
    chats = [*TONGUES.values(), *(plain(number) for number in range(20))]
    done = await run(vicuna_sharegpt, chats)
    again = await replay(done)
    assert again.rows == done.rows
    assert again.calls == 0
    assert all(row.lineage.parents for row in done.rows)


async def test_a_file_without_the_column_is_refused_and_where_no_chat_is_left_there_is_only_the_identity():
    with pytest.raises(BadInput, match="conversations"):
        await run(vicuna_sharegpt, [{"messages": []}])
    done = await run(vicuna_sharegpt, [chat()])
    assert [row.piece_id for row in done.rows] == [f"identity-{number}_0" for number in range(6)]


async def test_ids_are_read_from_a_column_of_the_name_id():
    done = await run(
        vicuna_sharegpt,
        [{**plain(), "id": "x7"}],
        mapping={"id": "chat_id"},
        skip_lang="",
        identity_name="",
    )
    assert done.rows[0].piece_id == "x7_0"
