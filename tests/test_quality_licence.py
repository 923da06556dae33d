"""Licences of rows by their parents, and cultural fit as it was judged."""

import pytest

from gristmill.quality.licence import (
    CODES,
    RUBRIC,
    RULES,
    BadExpression,
    Conflict,
    Judgement,
    Parent,
    Use,
    alternatives,
    attribution,
    attribution_file,
    countries,
    cultural,
    judge,
    load,
    measure,
    table,
)
from gristmill.quality.sets import of_records, of_texts
from gristmill.quality.values import Found, Measure, decide

FREE = Use(commercial=False, competing=False)
SELL = Use(commercial=True, competing=False)


def value(found: Found, name: str) -> Measure:
    return next(one for one in found.measures if one.name == name)


def reasons(*parents: Parent, use: Use = SELL) -> list[tuple[str, str]]:
    return [(one.parent, one.reason) for one in judge(parents, use).conflicts]


# Expressions


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("MIT", [("MIT",)]),
        ("MIT OR Apache-2.0", [("MIT",), ("Apache-2.0",)]),
        ("MIT AND Apache-2.0", [("MIT", "Apache-2.0")]),
        ("A OR B AND C", [("A",), ("B", "C")]),  # AND binds closer
        ("(A OR B) AND C", [("A", "C"), ("B", "C")]),
        ("((A))", [("A",)]),
        ("A and (B or C) and D", [("A", "B", "D"), ("A", "C", "D")]),
        (
            "GPL-2.0-only WITH Classpath-exception-2.0 OR MIT",
            [("GPL-2.0-only WITH Classpath-exception-2.0",), ("MIT",)],
        ),
        ("MIT AND MIT OR MIT", [("MIT",)]),
    ],
)
def test_an_expression_gives_what_one_may_choose_from(expression, found):
    assert alternatives(expression) == found


@pytest.mark.parametrize(
    "expression", ["", "  ", "(MIT", "MIT)", "MIT OR", "AND MIT", "MIT Apache-2.0", "()", "A WITH", "A WITH (B)"]
)
def test_an_expression_that_cannot_be_read_is_refused(expression):
    with pytest.raises(BadExpression):
        alternatives(expression)


def test_names_are_read_in_any_case_by_old_ids_common_spellings_and_with_a_plus():
    assert table()["mit"].id == "MIT"
    assert table()["GPL-3.0"].id == "GPL-3.0-only"
    assert table()["GPL-2.0+"].id == "GPL-2.0-or-later"
    assert table()["Apache-2.0+"].id == "Apache-2.0"
    assert judge([Parent("p", "CC BY 4.0")], SELL).conflicts == ()
    assert judge([Parent("p", "GPL-2.0-only WITH Classpath-exception-2.0")], SELL).unknown == ()
    assert not table()["no-such"].known
    assert not table()["no-such"].commercial  # what is unknown is never free


def test_every_line_of_the_table_names_something_in_it():
    rules = table()
    assert all(other in rules.licences for other in rules.same.values())
    families = {one.share_alike for one in rules.licences.values() if one.share_alike}
    assert {name for pair in rules.compatible for name in pair} <= families
    assert not any(one.permissive and (one.share_alike or not one.commercial) for one in rules.licences.values())
    assert rules.version


def test_licences_of_creative_commons_say_in_their_names_what_they_ask_for():
    for name, one in table().licences.items():
        if name.startswith("cc-"):
            parts = name.split("-")
            assert (one.commercial, one.derivatives) == ("nc" not in parts, "nd" not in parts), name
            assert bool(one.share_alike) == ("sa" in parts), name
            assert one.attribution, name
            assert one.permissive == ({"nc", "nd", "sa"}.isdisjoint(parts)), name


def test_output_of_the_large_providers_trains_no_competing_model():
    for provider in ("OpenAI", "Anthropic", "Gemini-API"):
        assert reasons(Parent("m", f"LicenseRef-{provider}-Terms", "wrote"), use=Use()) == [("m", "competing")]


# Parents


def test_one_cc_by_nc_parent_among_ten_makes_the_row_non_commercial_and_is_named():
    parents = [Parent(f"source {n}", "CC-BY-4.0") for n in range(9)]
    assert judge(parents, SELL).commercial
    parents.insert(4, Parent("the one", "CC-BY-NC-4.0"))
    verdict = judge(parents, SELL)
    assert not verdict.commercial
    assert verdict.conflicts == (Conflict("the one", "CC-BY-NC-4.0", "non_commercial"),)
    assert verdict.licences == ("CC-BY-4.0", "CC-BY-NC-4.0")
    research = judge(parents, FREE)
    assert research.conflicts == ()
    assert not research.commercial


def test_a_no_derivatives_passage_is_a_conflict_where_it_is_rewritten_and_none_where_it_only_checks_retrieval():
    assert reasons(Parent("p", "CC-BY-ND-4.0", "rewritten")) == [("p", "no_derivatives")]
    assert reasons(Parent("p", "CC-BY-ND-4.0", "evaluation")) == []
    assert reasons(Parent("p", "CC-BY-ND-4.0", "quoted")) == []
    assert reasons(Parent("p", "CC-BY-ND-4.0", "rewritten"), use=FREE) == [("p", "no_derivatives")]
    assert judge([Parent("p", "CC-BY-ND-4.0", "evaluation")], SELL).licences == ()
    assert reasons(Parent("p", "CC-BY-NC-4.0", "evaluation")) == [("p", "non_commercial")]


def test_a_model_with_unknown_terms_blocks_commercial_export_until_they_are_set():
    seed = Parent("seed", "MIT")
    model = Parent("some-model", "", "wrote")
    assert reasons(seed, model) == [("some-model", "unknown")]
    assert judge([seed, model], SELL).unknown == ("some-model",)
    assert judge([seed, model], SELL).licences == ("MIT", "unknown")
    assert reasons(seed, Parent("some-model", "Apache-2.0", "wrote")) == []
    assert reasons(seed, model, use=FREE) == []
    assert judge([seed, model], FREE).unknown == ("some-model",)  # a finding all the same


def test_an_unknown_name_and_an_expression_that_cannot_be_read_are_no_permission():
    assert reasons(Parent("p", "LicenseRef-mine")) == [("p", "unknown")]
    assert reasons(Parent("p", "LicenseRef-mine"), use=FREE) == []
    assert reasons(Parent("p", "MIT AND LicenseRef-mine")) == [("p", "unknown")]
    assert reasons(Parent("p", "see the file")) == [("p", "unreadable")]
    assert not judge([Parent("p", "see the file")], SELL).commercial
    assert judge([Parent("p", "see the file")], FREE).unknown == ("p",)


def test_terms_that_forbid_competing_models_bind_what_the_model_wrote():
    wrote = Parent("m", "LicenseRef-OpenAI-Terms", "wrote")
    assert reasons(wrote, use=Use()) == [("m", "competing")]
    assert reasons(wrote, use=Use(competing=False)) == []
    assert reasons(Parent("m", "LicenseRef-OpenAI-Terms", "evaluation"), use=Use()) == []


def test_of_alternatives_the_one_without_conflicts_is_taken_then_that_with_fewer_duties():
    assert judge([Parent("p", "CC-BY-NC-4.0 OR MIT")], SELL).licences == ("MIT",)
    assert judge([Parent("p", "CC-BY-NC-4.0 OR LicenseRef-x")], SELL).licences == ("CC-BY-NC-4.0",)
    assert judge([Parent("p", "GPL-3.0-only OR MIT")], SELL).licences == ("MIT",)
    assert reasons(Parent("p", "CC-BY-NC-4.0 AND MIT")) == [("p", "non_commercial")]
    assert judge([Parent("p", "LicenseRef-x OR MIT")], FREE).licences == ("MIT",)


def test_two_share_alike_licences_conflict_unless_one_can_be_given_under_the_other():
    def families(*names: str) -> list[str]:
        return [reason for _, reason in reasons(*(Parent(name, name) for name in names))]

    assert families("CC-BY-SA-4.0", "ODbL-1.0") == ["share_alike"] * 2
    assert families("CC-BY-SA-4.0", "CC-BY-SA-4.0", "MIT") == []
    assert (
        families(
            "CC-BY-SA-3.0",
            "CC-BY-SA-4.0",
        )
        == []
    )
    assert families("CC-BY-SA-4.0", "GPL-3.0-only") == []
    assert families("CC-BY-SA-3.0", "GPL-3.0-only") == ["share_alike"] * 2
    assert families("GPL-2.0-only", "GPL-3.0-only") == ["share_alike"] * 2
    assert families("GPL-2.0-or-later", "GPL-3.0-only") == []
    three = ("GPL-2.0-or-later", "GPL-2.0-only", "GPL-3.0-only")
    assert families(*three) == ["share_alike"] * 3  # the first fits either, but nothing fits all
    verdict = judge([Parent("p", "CC-BY-SA-4.0"), Parent("q", "ODbL-1.0", "evaluation")], SELL)
    assert verdict.obligations == ("attribution", "share_alike:CC-BY-SA-4")
    assert verdict.conflicts == ()


def test_attribution_lists_each_source_once():
    parents = [
        Parent("wiki", "CC-BY-SA-4.0", attribution="Wikipedia editors", jurisdiction="US"),
        Parent("wiki", "CC-BY-SA-4.0", "quoted", attribution="Wikipedia editors"),
        Parent("zero", "CC0-1.0"), Parent("code", "MIT"), Parent("checks", "CC-BY-4.0", "evaluation"), Parent("odd", ""),
        Parent("bench", "", "evaluation"),
    ]  # fmt: skip
    assert [one["source"] for one in attribution(parents)] == ["code", "odd", "wiki"]
    assert attribution(parents)[2] == {
        "source": "wiki", "attribution": "Wikipedia editors", "licence": "CC-BY-SA-4.0", "jurisdiction": "US",
    }  # fmt: skip
    text = attribution_file(parents)
    assert text.count("Wikipedia editors (CC-BY-SA-4.0)") == 1
    assert "- odd (unknown)" in text
    assert "zero" not in text
    assert attribution_file([]) == ""
    data = of_records([{"text": "a", "sources": ["wiki", "code"]}, {"text": "b", "sources": ["wiki"]}], "s")
    assert [one["source"] for one in measure(data, sources=parents).tables["attribution"]] == ["code", "wiki"]


# Rows


SOURCES = [Parent("open", "CC-BY-4.0"), Parent("closed", "CC-BY-NC-4.0"), Parent("m", "Apache-2.0", "wrote")]


def test_rows_with_a_conflicting_parent_are_blocked_and_the_report_names_it():
    rows = [
        {"text": "a", "sources": ["open"]},
        {"text": "b", "sources": ["open", "closed"]},
        {"text": "c", "sources": "closed"},
    ]
    found = measure(of_records(rows, "s"), sources=SOURCES)
    assert found.rows["conflicts"] == [0.0, 1.0, 1.0]
    assert [(flag.row, flag.reason) for flag in decide([found], RULES)] == [
        (1, "licence_conflict"),
        (2, "licence_conflict"),
    ]
    assert found.tables["blocked_by"] == [
        {"parent": "closed", "licence": "CC-BY-NC-4.0", "reason": "non_commercial", "rows": 2}
    ]
    assert value(found, "blocked_rate").value == pytest.approx(2 / 3)
    assert value(found, "commercial_rate").value == pytest.approx(1 / 3)
    assert found.details[1] == [
        {"kind": "conflict", "parent": "closed", "licence": "CC-BY-NC-4.0", "reason": "non_commercial"}
    ]
    assert decide([measure(of_records(rows, "s"), sources=SOURCES, use=FREE)], RULES) == []
    assert {row["licence"]: row["rows"] for row in found.tables["licences"]} == {
        "Apache-2.0": 3, "CC-BY-4.0": 2, "CC-BY-NC-4.0": 2,
    }  # fmt: skip


def test_a_declared_model_wrote_every_row_that_names_no_other():
    rows = [
        {"text": "a", "sources": ["open"]},
        {"text": "b", "sources": ["open", "m"]},
        {"text": "c", "licence": "MIT"},
    ]
    declared = [*SOURCES, Parent("n", "", "wrote")]
    assert measure(of_records(rows, "s"), sources=declared).rows["conflicts"] == [1.0, 0.0, 1.0]


def test_a_row_has_the_sources_it_names_else_its_own_licence_else_all_that_are_declared_else_none_that_is_known():
    rows = [
        {"text": "a", "licence": "MIT"},
        {"text": "b", "license": "CC-BY-NC-4.0"},
        {"text": "c"},
        {"text": "d", "sources": ["new"]},
    ]
    found = measure(of_records(rows, "s"), sources=[Parent("open", "CC-BY-4.0"), Parent("other", "")])
    assert found.rows["conflicts"] == [0.0, 1.0, 1.0, 1.0]
    assert found.rows["unknown"] == [0.0, 0.0, 1.0, 1.0]
    assert found.details[3][0]["parent"] == "new"
    bare = measure(of_texts(["a"]), use=FREE)
    assert (bare.rows["unknown"], bare.rows["conflicts"]) == ([1.0], [0.0])
    assert value(bare, "unknown_rate").value == 1.0


def words(start: int, count: int) -> str:
    return " ".join(f"w{n}" for n in range(start, start + count))


def test_rows_that_carry_a_source_that_is_not_permissive_are_found_by_run_and_by_coverage():
    texts = [words(0, 300)]
    closed, free = Parent("closed", "CC-BY-SA-4.0", texts=texts), Parent("free", "MIT", texts=texts)
    rows = [
        f"{words(0, 50)} {words(900, 400)}",  # a run of 50 in a long row
        f"{words(0, 49)} {words(900, 400)}",
        f"{words(0, 10)} {words(900, 20)}",  # a third
        f"{words(0, 9)} {words(900, 21)}",  # 0.3, not above it
        words(0, 7),
    ]
    found = measure(of_texts(rows), sources=[closed], use=FREE)
    assert found.rows["copied_tokens"] == [50.0, 49.0, 10.0, 9.0, 0.0]
    assert found.rows["copied_share"] == pytest.approx([50 / 450, 49 / 449, 1 / 3, 0.3, 0.0])
    assert [(flag.row, flag.reason) for flag in decide([found], RULES)] == [
        (0, "copied_from_source"),
        (2, "copied_from_source"),
    ]
    assert value(found, "copied_rate").value == 0.4
    assert found.details[0][-1]["source"] == "closed"
    assert value(measure(of_texts(rows), sources=[free], use=FREE), "copied_rate").value is None
    either = Parent("either", "CC-BY-NC-4.0 OR MIT", texts=texts)
    assert value(measure(of_texts(rows), sources=[either], use=FREE), "copied_rate").value is None
    both = Parent("both", "CC-BY-NC-4.0 AND MIT", texts=texts)  # free of one part alone is not free
    assert value(measure(of_texts(rows), sources=[both], use=FREE), "copied_rate").value == 0.4
    unknown = Parent("unknown", "", texts=texts)
    assert value(measure(of_texts(rows), sources=[unknown], use=FREE), "copied_rate").value == 0.4


def test_texts_of_a_source_are_looked_for_whatever_roles_it_is_declared_with():
    texts = [words(0, 300)]
    rows = of_texts([words(0, 60)])
    roles = [
        Parent("p", "CC-BY-SA-4.0", texts=texts),
        Parent("p", "CC-BY-SA-4.0", "quoted"),
        Parent("p", "MIT", "evaluation"),
    ]
    for declared in (roles, roles[::-1], [roles[0], roles[0]]):
        found = measure(rows, sources=declared, use=FREE)
        assert (found.rows["copied_tokens"], found.details[0][-1]["source"]) == ([60.0], "p")


def test_a_source_that_is_declared_with_two_licences_is_under_both():
    both = [Parent("p", "CC-BY-NC-4.0"), Parent("p", "MIT")]
    for parents in (both, both[::-1]):
        assert reasons(*parents) == [("p", "non_commercial")]
        assert not judge(parents, SELL).commercial
    assert reasons(both[0], both[0]) == [("p", "non_commercial")]  # and the same twice is one


@pytest.mark.parametrize("named", [7, 7.5, float("nan"), {"id": "open"}, [7], ["open", 7], True])
def test_what_is_no_list_of_ids_is_a_source_that_nobody_knows(named):
    found = measure(of_records([{"text": "a", "sources": named}], "s"), sources=[Parent("open", "MIT")])
    assert found.rows["conflicts"] == found.rows["unknown"] == [1.0]


def test_a_users_own_table_decides():
    own = load('version = "mine"\n[licences]\n"House-1" = { commercial = true }\n')
    rows = of_records([{"text": "a", "licence": "House-1"}], "s")
    assert measure(rows, rules=own).rows["conflicts"] == [0.0]
    assert measure(rows, rules=own).settings["rules"] == "mine"
    assert measure(rows).rows["conflicts"] == [1.0]


# Cultural fit

TEXTS = ["Dinner was at 40 Fahrenheit.", "Herr Doktor came.", "Nothing."]


def said(row: int, code: str, rater: str, human: bool = False, item: str = "units", quote: str = "") -> Judgement:
    return Judgement(row, item, code, quote or TEXTS[row], rater, human)


def test_misfits_are_counted_by_the_majority_of_raters_with_an_interval():
    counted = cultural([said(0, "foreign", "a"), said(0, "foreign", "b"), said(0, "fits", "c"), said(1, "fits", "a"),
                        said(1, "offends", "b"), said(2, "none", "a", quote="x")], TEXTS)  # fmt: skip
    units = next(row for row in counted["items"] if row["item"] == "units")
    assert (units["rows"], units["misfits"], units["share"]) == (2, 1, 0.5)  # one of two is no majority
    assert units["low"] < 0.5 < units["high"]
    assert counted["rows"] == [1.0, 0.0, 0.0]
    assert counted["refused"] == []
    assert {row["item"] for row in counted["items"]} == set(RUBRIC)


def test_a_judgement_without_a_quote_from_the_row_or_outside_of_the_rubric_is_refused_and_listed():
    wrong = [
        said(0, "foreign", "a", quote="not there"), said(0, "strange", "a"), said(0, "fits", "a", item="music"),
        Judgement(9, "units", "fits", "x", "a"), Judgement(0, "units", "fits", " ", "a"),
    ]  # fmt: skip
    counted = cultural(wrong, TEXTS)
    assert [one["reason"] for one in counted["refused"]] == [
        "quote_not_in_row", "not_in_rubric", "not_in_rubric", "no_such_row", "quote_not_in_row",
    ]  # fmt: skip
    assert counted["rows"] == [None, None, None]
    assert len(CODES) == 4


def test_agreement_is_reported_between_people_and_of_the_judge_with_them():
    people = [
        said(row, code, rater, True) for row, code in ((0, "foreign"), (1, "fits"), (2, "fits")) for rater in "ab"
    ]
    judges = [said(0, "fits", "model"), said(1, "foreign", "model"), said(2, "fits", "model")]
    counted = cultural([*people, *judges], TEXTS)
    assert counted["alpha_human"] == 1.0
    assert counted["alpha_judge"] < 0.5
    agreeing = cultural([*people, said(0, "foreign", "m"), said(1, "fits", "m"), said(2, "fits", "m")], TEXTS)
    assert agreeing["alpha_judge"] == 1.0
    assert cultural(judges, TEXTS)["alpha_human"] is None
    split = [said(1, "foreign", "a", True), said(1, "fits", "b", True)]  # no majority of people to hold a judge against
    for order in (split, split[::-1]):
        held = [
            *people[:2],
            *people[4:],
            *order,
            *[said(row, code, "m") for row, code in enumerate(["foreign", "fits", "fits"])],
        ]
        assert cultural(held, TEXTS)["alpha_judge"] == 1.0
    found = measure(of_texts(TEXTS), judgements=[*people, *judges], use=FREE)
    assert value(found, "culture_alpha_human").value == 1.0
    assert found.rows["misfits"] == [1.0, 0.0, 0.0]  # two people and one model: two of three
    assert value(measure(of_texts(TEXTS)), "culture_alpha_judge").value is None


def test_rows_that_take_one_country_for_granted_are_counted_beside_those_of_the_reference():
    texts = [
        "It was 90 Fahrenheit in Texas.",
        "From Berlin to Paris",
        "He went to MUMBAI.",
        "Nothing",
        "The unread band",
    ]
    assert countries(texts) == [frozenset({"US"}), frozenset({"DE", "FR"}), frozenset({"IN"}), frozenset(), frozenset()]
    found = measure(of_texts(texts), of_texts(["In Delhi", "x"]), locale="IN", use=FREE)
    assert value(found, "one_country_rate").value == 0.4
    assert value(found, "other_country_rate").value == 0.2
    listed = {row["country"]: row for row in found.tables["countries"]}
    assert (listed["IN"]["share"], listed["IN"]["reference"], listed["IN"]["target"]) == (0.2, 0.5, True)
    assert (listed["US"]["reference"], listed["US"]["target"]) == (0.0, False)


def test_the_order_of_parents_changes_no_conflict_and_the_same_input_gives_the_same():
    parents = [Parent("a", "CC-BY-NC-4.0"), Parent("b", "MIT"), Parent("c", "ODbL-1.0"), Parent("d", "GPL-3.0-only")]
    assert set(judge(parents, SELL).conflicts) == set(judge(parents[::-1], SELL).conflicts)
    data = of_records([{"text": "a", "sources": ["a", "b"]}], "s")
    assert measure(data, data, sources=parents) == measure(data, data, sources=parents)


@pytest.mark.parametrize("texts", [[], ["one"], [""], ["same"] * 3, ["\ud800 日本語 🧪"], ["london " * 50_000]])
def test_empty_small_equal_long_and_odd_sets_are_measured(texts):
    data = of_texts(texts)
    for sources in ((), [Parent("p", "CC-BY-SA-4.0", texts=texts)]):
        found = measure(data, data, sources=sources)
        assert all(len(scores) == len(texts) for scores in found.rows.values())
        if not texts:
            assert value(found, "blocked_rate").value is None


def test_the_terms_of_a_model_are_known_by_its_name_and_not_where_another_serves_it():
    for spec, terms in (
        ("embedded:smollm2-135m-instruct", "Apache-2.0"),
        ("embedded:smollm2-135m-instruct,slots=2", "Apache-2.0"),
        ("openai:gpt-4o-mini,key=MINE", "LicenseRef-OpenAI-Terms"),
        ("openai:o3", "LicenseRef-OpenAI-Terms"),
        ("openai:o4-mini", "LicenseRef-OpenAI-Terms"),
        ("annotator:litellm:anthropic/claude-x", "LicenseRef-Anthropic-Terms"),
        ("litellm:gemini/gemini-x", "LicenseRef-Gemini-API-Terms"),
        ("openai:gpt-4o@https://elsewhere.org/v1,key=MINE", ""),
        ("openai:qwen2.5:7b@http://localhost:11434/v1", ""),
        ("embedded:mine.gguf", ""),
        ("scripted:scripted", ""),
    ):
        assert table().of_model(spec) == terms, spec
    assert all(table()[terms].known for terms in table().models.values())
    assert load('version = "mine"\n[licences]\n').of_model("openai:gpt-4o") == ""
