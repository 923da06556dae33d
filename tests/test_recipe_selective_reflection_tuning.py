"""Selective Reflection-Tuning: the teacher's versions of a pair, and the student's choice by ratios of its losses."""

from math import log

import pytest

from gristmill.models.protocol import Reply, Token
from gristmill.recipes.distillation.selective_reflection_tuning import selective_reflection_tuning
from gristmill.testing import Scripted, replay, run

SEED = {"instruction": "Name a bird.", "input": "Any of Europe.", "output": "A robin."}
X, Y = "Name a bird.\n\nAny of Europe.", "A robin."
NEW_X, NEW_Y = "Explain how magpies recognise themselves.", "They look into a mirror."
BETTER = {"A": "The European robin, a small thrush.", "QA": "They inspect a mark that only a mirror shows."}
VERSIONS = {"original": (X, Y), "Q": (NEW_X, NEW_Y), "A": (X, BETTER["A"]), "QA": (NEW_X, BETTER["QA"])}

REFLECTED = f"The topic is simple.\n[New Instruction] {NEW_X} [End]\n[New Answer]\n{NEW_Y}\n[End]"


def better(text):
    return f"It lacks detail.\n\n[Better Answer]\n{text}\n[End]"


def teacher(instruction=REFLECTED, a=None, qa=None):
    """Reflects on instructions with one reply, and on responses with one for the old and one for the new side."""

    def say(question):
        text = question.messages[-1].content
        if "[New Instruction]" in text:
            return instruction
        return (qa or better(BETTER["QA"])) if NEW_X in text else (a or better(BETTER["A"]))

    return Scripted(say, model="teacher")


def student(ifd, r_ifd, model="student", first=-1.0):
    """Finds every text alone e times as unlikely as 1 a token, and in its context by the ratio of its version."""

    def say(question):
        if not question.prompt:
            return [Token("a", first), Token("b", -1.0), Token("c", -1.0)]
        for version, (x, y) in VERSIONS.items():
            for ratios, context, text in ((ifd, x, y), (r_ifd, y, x)):
                if question.continuation == text and context in question.prompt:
                    return [Token("d", -1.0 - log(ratios[version]))] * 3
        raise AssertionError(f"nobody should ask for {question}")

    return Scripted(say, model=model)


IFD = {"original": 0.5, "Q": 0.6, "A": 0.7, "QA": 0.7}
R_IFD = {"original": 0.8, "Q": 0.8, "A": 0.7, "QA": 0.7}


async def made(ifd=(), r_ifd=(), seeds=(SEED,), judge=None, **options):
    roles = {"teacher": judge or teacher(), "student": student(IFD | dict(ifd), R_IFD | dict(r_ifd))}
    return await run(selective_reflection_tuning, seeds, **roles, **options)


def reasons(done):
    return [reject.reason for reject in done.rejects]


# -- the choice


async def test_the_harder_instruction_with_the_better_fitting_reflected_answer_is_emitted():
    [row] = (await made()).rows
    assert (row.source, row.instruction, row.input, row.output) == ("QA", NEW_X, "", BETTER["QA"])
    assert (row.ifd, row.r_ifd) == pytest.approx((0.7, 0.7))


async def test_nothing_is_emitted_where_reflection_did_not_make_the_instruction_easier_to_guess():
    for r_ifd in (0.9, 0.8):  # higher, and the same
        done = await made(r_ifd={"QA": r_ifd})
        assert not done.rows
        assert reasons(done) == ["not_improved"]
        [reject] = done.rejects
        assert reject.candidate["source"] == "QA"
        assert reject.candidate["r_ifd"] == pytest.approx(r_ifd)
        assert reject.details["unreflected"] == pytest.approx(0.8)


@pytest.mark.parametrize("of_q", [0.4, 0.5])
async def test_the_old_instruction_stays_where_the_new_one_is_not_harder(of_q):
    [row] = (await made(ifd={"Q": of_q})).rows
    assert (row.source, row.instruction, row.input, row.output) == ("A", "Name a bird.", "Any of Europe.", BETTER["A"])


async def test_the_instruction_is_chosen_by_ifd_and_the_response_by_r_ifd():
    # The reflected pair has the lower IFD, and Q the higher r-IFD than the original: neither counts where it stands.
    [row] = (await made(ifd={"QA": 0.1}, r_ifd={"original": 0.2, "A": 0.1})).rows
    assert row.source == "QA"


async def test_an_answer_is_compared_with_the_unreflected_one_of_its_own_side():
    done = await made(r_ifd={"original": 0.9, "Q": 0.3, "QA": 0.4})  # better than the original, worse than Q
    assert (done.rows, reasons(done)) == ([], ["not_improved"])


@pytest.mark.parametrize(
    ("ifd", "r_ifd", "reason"),
    [({"QA": 1.02}, {"QA": 0.01}, "high_ifd"), ({"QA": 1.0}, {}, "high_ifd"), ({"QA": 0.01}, {"QA": 1.02, "Q": 1.5}, "high_r_ifd")],
)  # fmt: skip
async def test_what_does_not_help_to_expect_the_other_is_dropped_whatever_else(ifd, r_ifd, reason):
    for options in ({}, {"emit_unimproved": True}):
        done = await made(ifd=ifd, r_ifd=r_ifd, **options)
        assert (done.rows, reasons(done)) == ([], [reason])
        assert done.rejects[0].candidate["ifd"] == pytest.approx(ifd["QA"])
    assert len((await made(ifd=ifd, r_ifd=r_ifd, below=1.1)).rows) == 1


async def test_rows_whose_response_was_not_improved_come_out_only_on_demand():
    for ifd, source, output in ((0.6, "Q", NEW_Y), (0.4, "original", Y)):
        worse = {"A": 0.9, "QA": 0.9}
        [row] = (await made(ifd={"Q": ifd}, r_ifd=worse, emit_unimproved=True)).rows
        assert (row.source, row.output, row.r_ifd) == (source, output, pytest.approx(0.8))


# -- the losses


async def test_ifd_is_of_the_response_given_the_instruction_and_r_ifd_of_the_instruction_given_the_response():
    scorer = student(IFD, R_IFD)
    await run(selective_reflection_tuning, [SEED], teacher=teacher(), student=scorer)
    asked = [(question.prompt, question.continuation) for question in scorer.questions]
    for x, y in VERSIONS.values():
        assert sum(x in prompt and text == y for prompt, text in asked) == 1
        assert sum(y in prompt and text == x for prompt, text in asked) == 1
    assert {text for prompt, text in asked if not prompt} == {text for pair in VERSIONS.values() for text in pair}
    assert len(asked) == 4 * 4


async def test_a_first_token_without_a_probability_does_not_count():
    scorer = student(IFD, R_IFD, first=-9999.0)
    [row] = (await run(selective_reflection_tuning, [SEED], teacher=teacher(), student=scorer)).rows
    assert (row.source, row.ifd, row.r_ifd) == ("QA", pytest.approx(0.7), pytest.approx(0.7))


async def test_a_student_that_gives_no_probabilities_costs_the_version_and_not_more():
    scorer = student(IFD, R_IFD)
    silent = Scripted(lambda q: [] if q.continuation == NEW_Y else scorer._script(q), model="student")
    done = await run(selective_reflection_tuning, [SEED], teacher=teacher(), student=silent)
    assert [(r.reason, r.candidate["source"]) for r in done.rejects] == [("no_loss", "Q")]
    assert [row.source for row in done.rows] == ["A"]
    silent = Scripted(lambda q: [] if q.continuation == Y else scorer._script(q), model="student")
    done = await run(selective_reflection_tuning, [SEED], teacher=teacher(), student=silent)
    assert ([(r.reason, r.candidate["source"]) for r in done.rejects], done.rows) == ([("no_loss", "original")], [])


async def test_what_the_student_scores_is_cut_to_the_length_it_can_take():
    long = " ".join(f"Sentence number {n} says something." for n in range(500))
    asked = []

    def say(question):
        asked.append(question)
        return [Token("t", -1.0)]

    done = await run(
        selective_reflection_tuning, [{**SEED, "output": long}], teacher=teacher(), student=Scripted(say), max_length=200
    )  # fmt: skip
    assert max(len(question.prompt + question.continuation) for question in asked if long not in question.prompt) < 1000
    cut = [q.continuation for q in asked if q.continuation.startswith("Sentence number 0 ")]
    assert len(cut) == 2  # given and alone: the same text
    assert len(set(cut)) == 1
    assert long.startswith(cut[0])
    assert cut[0].endswith(". ")
    # The instruction given that response does not fit at all.
    assert [(r.reason, r.candidate["source"]) for r in done.rejects] == [("too_long", "original")]
    assert done.rejects[0].details["tokens"] > 200


async def test_another_student_selects_otherwise_from_the_same_texts_of_the_teacher():
    done = await made()
    again = teacher()
    other = student({**IFD, "Q": 0.3}, R_IFD, model="other")
    changed = await replay(done, offline=False, model={"teacher": again, "student": other})
    assert not again.questions
    assert [row.source for row in done.rows] == ["QA"]
    assert [(row.source, row.output) for row in changed.rows] == [("A", BETTER["A"])]


# -- the teacher


async def test_the_teacher_reflects_once_on_the_instruction_and_on_both_responses_at_temperature_zero():
    model = teacher()
    await made(judge=model)
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in model.questions} == {(0.0, 2048)}
    first = [prompt for prompt in model.prompts if "[New Answer]" in prompt]
    second = [prompt for prompt in model.prompts if "[Better Answer]" in prompt]
    assert (len(model.prompts), len(first), len(second)) == (3, 1, 2)
    assert X in first[0]
    assert Y in first[0]
    for word in ("topic", "detail", "know", "ambiguous", "reasoning", "helpfulness", "relevance", "accuracy"):
        assert word in first[0]
    assert sorted((X in p and Y in p, NEW_X in p and NEW_Y in p) for p in second) == [(False, True), (True, False)]
    assert all(
        word in prompt for prompt in second for word in ("helpfulness", "relevance", "accuracy", "level of detail")
    )


@pytest.mark.parametrize(
    ("said", "reason", "part"),
    [
        ("", "no_markers", "New Instruction"),
        ("I cannot help with that.", "no_markers", "New Instruction"),
        (f"[New Instruction] {NEW_X} [New Answer] {NEW_Y} [End]", "no_markers", "New Instruction"),
        (f"[New Instruction] {NEW_X} [End] [New Answer] {NEW_Y}", "no_markers", "New Answer"),
        (f"[New Instruction] {NEW_X} [End] [Better Answer] {NEW_Y} [End]", "no_markers", "New Answer"),
        (f"[New Instruction]  [End] [New Answer] {NEW_Y} [End]", "empty", "New Instruction"),
        (f"[New Instruction] {NEW_X} [End] **[New Answer]**\n**[End]**", "empty", "New Answer"),
    ],
)
async def test_an_instruction_reflection_that_cannot_be_read_is_rejected_and_the_old_side_goes_on(said, reason, part):
    model = teacher(Reply(said, finish="length"))
    done = await made(judge=model)
    assert [(r.reason, r.candidate, r.details) for r in done.rejects] == [(reason, said, {"part": part})]
    assert [row.source for row in done.rows] == ["A"]
    assert len(model.questions) == 2  # no better answer to a question that there is not


async def test_a_response_reflection_that_cannot_be_read_leaves_nothing_to_emit():
    done = await made(judge=teacher(qa=f"[Better Answer] {BETTER['QA']}"))
    assert (done.rows, reasons(done)) == ([], ["no_markers", "not_improved"])
    assert done.calls == 3 + 3 * 4  # three versions are left to score
    done = await made(judge=teacher(a="[Better Answer]"))
    assert ([row.source for row in done.rows], reasons(done)) == (["QA"], ["no_markers"])


async def test_marks_are_read_whatever_is_said_around_and_about_them():
    said = (
        "I write it between [New Instruction] and [End], the answer between [New Answer] and [End].\r\n"
        f"**[new instruction]**: {NEW_X}\n**[END]**\n\n**[New Answer]**\n{NEW_Y}\n**[End]** Done."
    )
    done = await made(judge=teacher(said))
    assert [(row.source, row.instruction) for row in done.rows] == [("QA", NEW_X)]
    assert not done.rejects


@pytest.mark.parametrize(
    ("seed", "reason"),
    [({"instruction": "Sing."}, "no_answer"), ({"instruction": " ", "output": "La."}, "no_instruction")],
)
async def test_half_a_pair_is_rejected_and_nothing_is_asked(seed, reason):
    model = teacher()
    done = await made(seeds=[seed], judge=model)
    assert (reasons(done), model.questions) == ([reason], [])


async def test_a_row_knows_every_call_that_its_choice_depends_on():
    done = await made()
    assert len(set(done.rows[0].lineage.calls)) == 3 + 16


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    seeds = [{**SEED, "output": Y, "input": "Any of Europe."} for _ in range(4)] + [{"instruction": "Sing."}]
    one = await made(seeds=seeds, concurrency=1)
    many = await made(seeds=seeds, concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert len(one.rows) == 4
    assert one.rejects == again.rejects
    assert again.calls == 0
