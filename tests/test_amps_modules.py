"""The problem modules of AMPS: every answer holds, every wrong answer is caught."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.recipes.augmentation.amps_modules import MODULES, Problem, generate
from gristmill.recipes.augmentation.amps_modules.base import ends_with, worked
from gristmill.recipes.augmentation.amps_modules.read import brackets, close, entries, same, steep, value, values
from gristmill.recipes.augmentation.amps_modules.write import forms, matrix, number, poly, rounded, surd

ALL = pytest.mark.parametrize("name", sorted(MODULES))
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
OTHER_WORD = {
    "Yes": "No",
    "No": "Yes",
    "prime": "composite",
    "composite": "prime",
    "perfect": "abundant",
    "abundant": "deficient",
    "deficient": "perfect",
    **{day: DAYS[i - 1] for i, day in enumerate(DAYS)},
}


def problems(name: str, count: int, draws: int = 6000) -> Iterator[Problem]:
    """Different problems of a module, in the order of the seeds."""
    seen = set()
    for seed in range(draws):
        problem = generate(name, Random(seed))
        if problem and problem.question not in seen:
            seen.add(problem.question)
            yield problem
            if len(seen) == count:
                return


def wrong(answer: str) -> list[str]:
    """The answer with one of its numbers raised by 1, for each number in it; else another word, or twice as much."""
    bumped = [answer[: m.start()] + str(int(m[0]) + 1) + answer[m.end() :] for m in re.finditer(r"\d+", answer)]
    return bumped or [OTHER_WORD.get(answer, f"2 {answer}")]


@ALL
def test_an_independent_check_confirms_every_answer_and_the_last_step_is_the_answer(name):
    for problem in problems(name, 60):
        assert problem.fault() == "", problem
        assert (problem.steps is not None) == MODULES[name].has_steps


@ALL
def test_a_planted_bug_is_caught_whatever_number_of_the_answer_it_changes(name):
    for problem in problems(name, 15):
        for answer in problem.answers:
            for bad in wrong(answer):
                assert replace(problem, answers=[bad], steps=None).fault() == "answer_check", (problem, bad)


@ALL
def test_two_hundred_different_problems_are_reached_in_more_than_one_wording(name):
    found = list(problems(name, 200))
    assert len(found) == 200
    assert len({re.sub(r"\$[^$]*\$|\d+", "", problem.question) for problem in found}) > 1


@ALL
def test_the_same_seed_gives_the_same_problem(name):
    for seed in range(5):
        first, second = (generate(name, Random(seed)) for _ in range(2))
        assert (first and (first.question, first.answers, first.steps)) == (
            second and (second.question, second.answers, second.steps)
        )


@ALL
def test_the_text_reads_like_a_textbook(name):
    slips = re.compile(r"\+ -|- -|--|(?<![\d.^_{,])1[xyabtk]\b|[a-z]\^1\b|\s[,.]|  |\{\}(?!_)|None|Fraction")
    for problem in problems(name, 40):
        for text in (problem.question, problem.steps or ""):
            assert all(line.count("$") % 2 == 0 for line in text.splitlines()), text
            assert not slips.search(text), (slips.search(text), text)
        assert problem.question.strip() == problem.question
        assert problem.question[-1] in ".?)", problem.question
        assert len(set(problem.answers)) == len(problem.answers)


def test_another_process_draws_the_same_problems():
    code = (
        "from random import Random; from gristmill.recipes.augmentation.amps_modules import MODULES, generate\n"
        "for name in MODULES:\n"
        "    p = generate(name, Random(7)); print(p and (p.question, p.answers, p.steps))"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1] != b""


def test_there_are_a_hundred_modules_over_six_topics_and_more_than_37_with_steps():
    assert len(MODULES) >= 100
    assert sum(module.has_steps for module in MODULES.values()) >= 37
    assert len({module.topic for module in MODULES.values()}) == 6
    assert all(module.doc for module in MODULES.values())


def test_steps_that_end_in_another_number_are_a_fault():
    problem = next(problems("mean", 1))
    assert problem.fault() == ""
    assert replace(problem, steps=problem.steps + " 7").fault() == "steps_miss_answer"
    assert not ends_with(worked("First.", "So it is $15$."), "5")
    assert not ends_with("So it is $-5$.", "5")
    assert ends_with("So it is $3 + 2 = 5$.", "5")


def test_an_answer_that_cannot_be_read_is_a_wrong_answer():
    problem = next(problems("linear-equation", 1))
    assert not any(problem.accepts(text) for text in ("", "x", "\\frac{1}{0}", "???", "1, 2", "\\frac{1}", "(((", "=="))


def test_a_computer_algebra_system_agrees():
    sympy = pytest.importorskip("sympy")
    x = sympy.Symbol("x")

    def read(text: str) -> object:
        return sympy.sympify(value(text, x=x))

    for name in ("derivative-of-polynomial", "product-rule", "quotient-rule", "chain-rule"):
        for problem in problems(name, 20):
            function = re.search(r"f\(x\) = (.*)\$|\$(.*)\$ with respect|\\left\((.*)\\right\)\$", problem.question)
            text = next(filter(None, function.groups())).partition("$")[0]
            assert sympy.simplify(sympy.diff(read(text), x) - read(problem.answers[0])) == 0, problem
    for name in ("quadratic-factoring", "cubic-factoring", "factor-by-grouping", "binomial-expansion"):
        for problem in problems(name, 20):
            text = re.search(r"\$(.*?)\$", problem.question)[1]
            assert sympy.expand(read(text) - read(problem.answers[0])) == 0, problem


# Reading and writing


@given(st.fractions())
def test_a_written_fraction_reads_back_exactly_in_every_form(x):
    assert value(number(x)) == x
    assert all(value(form) == x for form in forms(x, "x = "))


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=6), st.fractions(max_denominator=50))
def test_a_written_polynomial_reads_back_as_the_same_function(coefficients, x):
    expected = Fraction(0)
    for c in coefficients:
        expected = expected * x + c
    assert value(poly(coefficients), x=x) == expected


@given(st.fractions(-100, 100, max_denominator=20), st.integers(1, 500))
def test_a_surd_is_simplified_and_keeps_its_value(x, n):
    text = surd(x, n)
    assert close(value(text), float(x) * n**0.5)
    inside = re.search(r"\\sqrt\{(\d+)\}", text)
    assert not inside or all(int(inside[1]) % (p * p) for p in range(2, 30))


@given(st.lists(st.lists(st.fractions(max_denominator=9), min_size=2, max_size=2), min_size=1, max_size=3))
def test_a_matrix_reads_back(rows):
    assert entries(matrix(rows)) == rows


@given(st.fractions(-1000, 1000), st.integers(0, 4))
def test_rounding_is_off_by_half_a_unit_at_most(x, places):
    text = rounded(x, places)
    assert abs(Fraction(text) - x) * 2 * 10**places <= 1
    assert len(text.partition(".")[2]) == places


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2x^2 - 3x + 1", 10),
        ("-x^2", -9),
        ("\\frac{x + 1}{2}(x - 1)", 4),
        ("2^{x}", 8),
        ("\\sqrt{x + 6}", 3),
        ("\\sqrt[3]{-8}", -2),
        ("\\left|2 - 3x\\right|", 7),
        ("x!", 6),
        ("\\log_{2} 8", 3),
        ("\\sin^{2}{\\left(x \\right)} + \\cos^{2}{\\left(x \\right)}", 1),
        ("\\ln{\\left(e^{x} \\right)}^{2}", 9),
        ("3 \\cdot -2", -6),
        ("6 / 4", Fraction(3, 2)),
        ("y = 4x", 12),
        ("(1 + 2i)(1 - 2i)", 5),
    ],
)
def test_the_reader_knows_the_latex_of_the_modules_and_of_sympy(text, expected):
    assert close(value(text, x=Fraction(3)), expected)


def test_lists_products_and_slopes_are_read():
    assert values("x = 2 \\text{ or } x = \\frac{1}{2}") == [2, Fraction(1, 2)]
    assert values("(-1, 3)") == [-1, 3]
    assert [round(x, 6) for x in values("1 \\pm \\sqrt{2}")] == [2.414214, -0.414214]
    assert brackets("-3x(x - 1)^2(2x + 5)") == ["x - 1", "x - 1", "2x + 5"]
    assert close(steep("x^3e^{2x}", x=1.0), 5 * 2.718281828459045**2)
    assert same("(x + 1)^2", lambda x: x * x + 2 * x + 1)
    assert not same("(x + 1)^2", lambda x: x * x + 2 * x + Fraction(999, 1000))
    with pytest.raises(ValueError):
        brackets("x^2 + 1")
