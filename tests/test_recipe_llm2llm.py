"""What makes LLM2LLM LLM2LLM: only what the student got wrong is multiplied, only seeds are parents, it begins anew."""

from gristmill import Refused, Reply
from gristmill.recipes.augmentation.llm2llm import STUDENT, llm2llm
from gristmill.testing import Scripted, replay, run

APPLES = {"question": "Six apples and two more, how many?", "answer": "6 + 2 = 8\n#### 8"}
SHEEP = {"question": "Nine sheep, four run off, how many stay?", "answer": "9 - 4 = 5\n#### 5"}
NEW = iter(range(1000))


def block(question: str, answer: str = "So it is.\n#### 3") -> str:
    return f"1. Question: {question}\nAnswer: {answer}"


def student(*wrong: str, trained=()):
    """Right on all but the questions with one of these words."""

    def script(question):
        asked = question.prompt
        if any(word in asked for word in wrong):
            return " I think #### 77"
        return " #### 8" if "apples" in asked else " #### 5.0"

    return Scripted(script, trained=trained)


def teacher() -> Scripted:
    words = iter(
        ["plums", "nuts", "boats", "hats", "cups", "bells", "coins", "stamps", "pens", "cards", "maps", "keys", "rings"]
        * 9
    )

    def script(question):
        word = next(words)
        return block(f"A box of {word} {next(NEW)} and {word} again, what is the sum of {word}?")

    return Scripted(script)


async def test_only_seeds_that_were_answered_wrongly_reach_the_teacher():
    guide = teacher()
    done = await run(llm2llm, [APPLES, SHEEP], student=student("sheep"), teacher=guide, steps=2)
    assert len(guide.questions) == 1
    assert "Nine sheep" in guide.questions[0].messages[-1].content
    assert "77" not in guide.prompts[0]  # the wrong answer itself is not shown
    seeds = [row for row in done.rows if row.iteration == 0]
    assert [row.question for row in seeds] == [APPLES["question"], SHEEP["question"]]
    [new] = [row for row in done.rows if row.iteration == 1]
    assert new.parent == seeds[1].parent


async def test_no_generated_row_is_ever_a_parent_or_examined():
    pupil, guide = student("apples", "sheep"), teacher()
    done = await run(llm2llm, [APPLES, SHEEP], student=pupil, teacher=guide, steps=4)
    seeds = {row.parent for row in done.rows if row.iteration == 0}
    assert {row.parent for row in done.rows} == seeds
    asked = {question.prompt for one in pupil.family for question in one.questions}
    assert asked == {STUDENT(question=row["question"]) for row in (APPLES, SHEEP)}
    assert all("box of" not in question.messages[-1].content for question in guide.questions)


async def test_every_step_begins_with_the_base_and_has_the_new_rows_of_the_last():
    pupil = student("apples", "sheep")
    await run(llm2llm, [APPLES, SHEEP], student=pupil, teacher=teacher(), steps=4, rows_per_wrong_seed=2)
    assert [name for name, _ in pupil.courses] == ["scripted"] * 4
    assert [len(course.lessons) for _, course in pupil.courses] == [2, 6, 10, 14]
    assert {(c.training.epochs, c.training.learning_rate, c.training.schedule) for _, c in pupil.courses} == {
        (3, 2e-5, "cosine")
    }


async def test_with_a_student_that_knows_everything_nobody_is_asked():
    guide = teacher()
    done = await run(llm2llm, [APPLES, SHEEP], student=student(), teacher=guide, steps=3)
    assert (guide.questions, {row.iteration for row in done.rows}) == ([], {0})


async def test_the_last_step_only_trains_and_asks_no_teacher():
    pupil, guide = student("sheep"), teacher()
    await run(llm2llm, [SHEEP], student=pupil, teacher=guide, steps=1)
    assert (len(pupil.courses), guide.questions) == (1, [])


async def test_a_question_that_is_there_already_is_rejected_and_another_one_is_asked_for():
    guide = Scripted([block(SHEEP["question"]), block("Something else entirely, is it three?")])
    done = await run(llm2llm, [APPLES, SHEEP], student=student("sheep"), teacher=guide, steps=2)
    assert [(r.reason, r.details["to"]) for r in done.rejects] == [("too_similar", SHEEP["question"])]
    assert [row.question for row in done.rows if row.iteration] == ["Something else entirely, is it three?"]
    assert ["Write 1 new" in p for p in guide.prompts] == [True, True]  # its worked example asks for one
    assert [q.messages[-1].content.count("Write 2 new") for q in guide.questions] == [0, 1]


async def test_two_seeds_whose_new_questions_are_alike_keep_the_first_in_their_order():
    said = iter([block("The very same question of nine words, is it?")] * 2 + [block("A different one, of hats?")])
    done = await run(
        llm2llm, [APPLES, SHEEP], student=student("apples", "sheep"), teacher=Scripted(lambda q: next(said)), steps=2
    )
    new = [row for row in done.rows if row.iteration]
    first, second = (row.parent for row in done.rows if row.iteration == 0)
    assert [(row.parent, row.question[:6]) for row in new] == [(first, "The ve"), (second, "A diff")]


async def test_every_second_request_shows_what_is_kept():
    guide = Scripted([block("Alpha of the hats?"), block("Alpha of the hats?"), block("Beta of cups and more?")])
    await run(llm2llm, [SHEEP], student=student("sheep"), teacher=guide, steps=2, rows_per_wrong_seed=2)
    shows = ["- Alpha of the hats?" in question.messages[-1].content for question in guide.questions]
    assert shows == [False, True, False]


async def test_it_is_given_up_after_so_many_requests():
    guide = Scripted(lambda q: "nothing of use")
    done = await run(llm2llm, [SHEEP], student=student("sheep"), teacher=guide, steps=2)
    assert (len(guide.questions), dict(done.reject_counts)) == (10, {"unparsable": 10})


async def test_a_seed_that_the_student_cannot_be_asked_costs_no_other():
    pupil, guide = Scripted(lambda q: Refused("no") if "apples" in q.prompt else " #### 77"), teacher()
    done = await run(llm2llm, [APPLES, SHEEP], student=pupil, teacher=guide, steps=3, allow_failures=True)
    sheep = done.rows[1].parent
    assert [(row.iteration, row.parent) for row in done.rows[2:]] == [(1, sheep), (2, sheep)]
    assert [failure.error for failure in done.failures] == ["no", "no"]
    deaf = Scripted(lambda q: Refused("no"))
    none = await run(llm2llm, [APPLES, SHEEP], student=deaf, teacher=Scripted([]), steps=3, allow_failures=True)
    assert ([row.iteration for row in none.rows], none.failed) == ([0, 0], 4)  # twice two: the last step asks nobody


async def test_a_seed_that_the_teacher_refuses_costs_no_other_and_is_not_asked_about_again_in_that_step():
    guide = teacher()
    script = guide._script
    guide._script = lambda q: Refused("no") if "Six apples" in q.messages[-1].content else script(q)
    pupil = student("apples", "sheep")
    done = await run(llm2llm, [APPLES, SHEEP], student=pupil, teacher=guide, steps=3, allow_failures=True)
    sheep = done.rows[1].parent
    assert [(row.iteration, row.parent) for row in done.rows[2:]] == [(1, sheep), (2, sheep)]
    assert ([failure.error for failure in done.failures], len(guide.questions)) == (["no", "no"], 4)


async def test_blocks_that_are_broken_cut_or_not_ascii_are_rejected_one_by_one():
    reply = (
        "1. Question: Good one about hats?\nAnswer: It is.\n#### 4\n"
        "2. Question: No number here?\nAnswer: Well.\n"
        "3. Question: Schöne Äpfel?\nAnswer: Ja.\n#### 2\n"
        "4. Question: - bullet?\nAnswer: Yes.\n#### 2\n"
        "5. Question: Cut off at the end of the text?\nAnswer: It is 4\n#### 1"
    )
    guide = Scripted([Reply(reply, finish="length")])
    done = await run(llm2llm, [SHEEP], student=student("sheep"), teacher=guide, steps=2)
    assert [row.question for row in done.rows if row.iteration] == ["Good one about hats?"]
    assert dict(done.reject_counts) == {"unparsable": 3, "cut": 1}


async def test_numbers_are_compared_and_no_number_is_wrong():
    for said, asked in ((" #### 5.00", 0), (" #### five", 1), (" it is 5", 1), (" #### 4", 1)):
        guide = teacher()
        await run(llm2llm, [SHEEP], student=Scripted(lambda q, said=said: said), teacher=guide, steps=2)
        assert (said, len(guide.questions)) == (said, asked)


async def test_a_replay_asks_and_trains_nothing():
    done = await run(llm2llm, [APPLES, SHEEP], student=student("sheep"), teacher=teacher(), steps=3)
    nobody = Scripted()
    again = await replay(done, model={"student": nobody, "teacher": nobody})
    assert (again.rows, nobody.courses) == (done.rows, [])
    assert all(row.lineage.parents and row.lineage.calls for row in done.rows if row.iteration)
