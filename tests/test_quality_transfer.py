"""What is learnt of one domain, tested on others."""

import inspect
import math
import random

import numpy as np
import pytest

from gristmill.errors import BadInput
from gristmill.quality.embed import Embedder, hashed
from gristmill.quality.transfer import (
    Cell,
    Domain,
    Transfer,
    asymmetry,
    bases,
    foretold,
    gap,
    gaps,
    in_domain,
    leave_one_out,
    matrix,
    retention,
    spearman,
    transfer,
    worst,
)
from gristmill.quality.tstr import Fitted, Labelled, Learner, linear

EMBED = Embedder("hashed:256", hashed)


def rows(n: int, seed: int, names: str, common: str, shown: int = 3) -> Labelled:
    """Texts of two labels, each with words of its own named after a letter of `names`, among common ones."""
    rng = random.Random(seed)
    labels = [("good", "bad")[at % 2] for at in range(n)]
    texts = []
    for label in labels:
        own = [f"{names[label == 'good']}{rng.randrange(12)}x" for _ in range(shown)]
        text = own + [f"{common}{rng.randrange(200)}" for _ in range(8 - shown)]
        rng.shuffle(text)
        texts.append(" ".join(text))
    return Labelled(texts, labels)


def domain(seed: int, names: str, common: str, n: int = 120) -> Domain:
    return Domain(*(rows(n, 10 * seed + at, names, common) for at in range(3)))


@pytest.fixture(scope="module")
def same():
    return transfer({"mon": domain(1, "gb", "c"), "tue": domain(2, "gb", "c")}, linear(), embed=EMBED, steps=2000)


@pytest.fixture(scope="module")
def disjoint():
    return transfer({"law": domain(1, "gb", "c"), "sea": domain(2, "hd", "k")}, linear(), embed=EMBED, steps=2000)


@pytest.fixture(scope="module")
def three():
    domains = {"law": domain(1, "gb", "c"), "tax": domain(2, "gb", "c"), "sea": domain(3, "hd", "k")}
    return transfer(domains, linear(), embed=EMBED, steps=2000)


def test_two_domains_of_one_distribution_keep_about_all_both_ways(same):
    for source in ("synthetic", "real"):
        kept = retention(matrix(same, source), bases(same))
        assert kept[0][1] == pytest.approx(1, abs=0.15)
        assert kept[1][0] == pytest.approx(1, abs=0.15)
        assert kept[0][0] == kept[1][1] == 1.0
    assert abs(asymmetry(same)[0]["difference"]) < 0.2
    for one in gaps(same):
        assert one.low <= 0.05, one.name
        assert abs(one.value) < 0.1
    assert all(value == pytest.approx(1, abs=0.2) for value in in_domain(same).values())


def test_disjoint_vocabularies_leave_off_the_diagonal_what_the_base_scores(disjoint):
    scores, base = matrix(disjoint, "synthetic"), bases(disjoint)
    assert np.diag(scores).min() > 0.85
    for i, j in ((0, 1), (1, 0)):
        assert scores[i, j] == pytest.approx(base[j], abs=0.12)
    found = {one.name: one for one in gaps(disjoint)}
    assert found["gap_synthetic"].low > 0.2
    assert found["gap_real"].low > 0.2
    assert found["gap_excess"].value == pytest.approx(found["gap_synthetic"].value - found["gap_real"].value)
    assert found["gap_excess"].low < 0 < found["gap_excess"].high  # real rows are tied to their domain as much


def test_the_matrix_is_that_of_the_stored_answers(three):
    by_hand = np.zeros((3, 3))
    for i, one in enumerate(three.domains):
        for j, other in enumerate(three.domains):
            cells = [c for c in three.cells if (c.source, c.trained_on, c.tested_on) == ("synthetic", [one], other)]
            assert len(cells) == 3
            by_hand[i, j] = np.mean(
                [np.mean([a == b for a, b in zip(cell.said, three.truth[other], strict=True)]) for cell in cells]
            )
    assert matrix(three, "synthetic") == pytest.approx(by_hand)
    cell = next(c for c in three.cells if (c.source, c.trained_on, c.tested_on) == ("synthetic", ["law"], "sea"))
    kept = list(cell.said)
    cell.said[:] = three.truth["sea"]
    try:
        assert matrix(three, "synthetic")[0, 2] > by_hand[0, 2]
        assert (matrix(three, "synthetic") != by_hand).sum() == 1
    finally:
        cell.said[:] = kept


def test_every_model_has_rows_and_steps_of_one_number(three):
    assert {cell.rows for cell in three.cells} == {120}
    assert {cell.steps for cell in three.cells} == {2000}
    assert len(three.cells) == 3 * 2 * (3 * 3 + 3)
    uneven = {"law": domain(1, "gb", "c"), "sea": domain(2, "hd", "k", n=70)}
    assert {cell.rows for cell in transfer(uneven, linear(), seeds=1, steps=10).cells} == {70}
    assert {cell.rows for cell in transfer(uneven, linear(), seeds=1, steps=10, size=30).cells} == {30}


def test_three_seeds_are_taken_unless_others_are_asked_for():
    assert inspect.signature(transfer).parameters["seeds"].default == 3


def test_seeds_choose_other_rows_and_the_budget_is_ten_passes():
    seen = []

    def fit(features, labels, steps, seed):
        seen.append((frozenset(features), steps))
        return Fitted(lambda rows: ["x"] * len(rows), steps)

    learner = Learner("texts", lambda texts: np.array(texts, dtype=object), fit)
    domains = {"law": domain(1, "gb", "c", n=600), "sea": domain(2, "hd", "k", n=600)}
    transfer(domains, learner, seeds=2, size=550)
    assert {steps for _, steps in seen} == {5500}
    assert len({rows for rows, _ in seen}) == 8
    assert seen[0][0] < set(domains["law"].synthetic.texts)
    assert seen[2][0] < set(domains["law"].real_train.texts)
    seen.clear()
    transfer(domains, learner, seeds=1, size=20)
    assert {steps for _, steps in seen} == {5000}


def test_the_worst_cell_is_between_domains_even_where_all_transfer_better_than_their_own():
    truth = {"law": ["x", "y", "x", "y"], "sea": ["x", "y", "x", "y"]}
    right, half = ["x", "y", "x", "y"], ["x", "y", "x", "x"]
    said = {("law", "law"): half, ("law", "sea"): right, ("sea", "law"): right, ("sea", "sea"): half}
    cells = [
        Cell(source="synthetic", trained_on=[one], tested_on=other, seed=0, rows=1, steps=1, said=answers)
        for (one, other), answers in said.items()
    ]
    found = Transfer(
        domains=["law", "sea"],
        cells=cells,
        truth=truth,
        base={"law": "x", "sea": "x"},
        metric="accuracy",
        distances=[],
        settings={},
    )
    assert worst(found) == {"trained_on": "law", "tested_on": "sea", "retention": 2.0}


def test_of_all_domains_but_one_each_gives_about_as_many_rows():
    seen = []

    def fit(features, labels, steps, seed):
        seen.append([text.split()[0][0] for text in features])
        return Fitted(lambda rows: ["x"] * len(rows), steps)

    def one(letter: str) -> Domain:
        parts = [Labelled([f"{letter}{at} {kind}{at} {letter}{kind}" for at in range(9)], ["x"] * 9) for kind in "rts"]
        return Domain(parts[0], parts[1], parts[2])

    learner = Learner("texts", lambda texts: np.array(texts, dtype=object), fit)
    found = transfer({letter: one(letter) for letter in "abc"}, learner, seeds=1)
    assert [sorted(set(rows)) for rows in seen[:6]] == [["a"], ["b"], ["c"], ["b", "c"], ["a", "c"], ["a", "b"]]
    assert all(len(rows) == 9 for rows in seen)
    assert sorted(seen[3].count(letter) for letter in "bc") == [4, 5]
    assert all(one.trained_on != [] and one.tested_on not in one.trained_on for one in found.cells[9:12])


def test_training_on_all_others_reaches_the_domain_that_is_like_one_of_them(three):
    found = leave_one_out(three)
    assert found["law"] > 0.8
    assert found["tax"] > 0.8
    assert found["sea"] < 0.65


def test_with_two_domains_all_others_are_the_other(disjoint):
    scores = matrix(disjoint, "synthetic")
    assert leave_one_out(disjoint) == pytest.approx({"law": scores[1, 0], "sea": scores[0, 1]})
    assert all(len(cell.trained_on) == 1 for cell in disjoint.cells)
    assert len(disjoint.cells) == 3 * 2 * 2 * 2


def test_the_worst_cell_and_the_asymmetry_name_domains(three):
    cell = worst(three)
    assert "sea" in (cell["trained_on"], cell["tested_on"])
    assert cell["trained_on"] != cell["tested_on"]
    assert cell["retention"] < 0.3
    lines = asymmetry(three)
    kept = retention(matrix(three, "synthetic"), bases(three))
    assert len(lines) == 3
    assert abs(lines[0]["difference"]) >= abs(lines[1]["difference"]) >= abs(lines[2]["difference"])
    first = next(line for line in lines if (line["from"], line["to"]) == ("law", "sea"))
    assert (first["there"], first["back"]) == (kept[0][2], kept[2][0])


def test_a_narrow_synthesis_ties_data_to_their_domain_more_than_real_rows():
    """Real rows show words of the domain and words that both domains share; the synthetic ones only the former."""

    def one(seed: int, names: str) -> Domain:
        def both(n: int, at: int) -> Labelled:
            own, shared = (rows(n, 10 * seed + at, kind, "c") for kind in (names, "GB"))
            return Labelled(
                [f"{a} {b}" for a, b in zip(own.texts, rows_like(shared, own.labels), strict=True)], own.labels
            )

        return Domain(both(120, 0), both(120, 1), rows(120, 10 * seed + 2, names, "c"))

    def rows_like(shared: Labelled, labels: list[str]) -> list[str]:
        by_label = {kind: [t for t, k in zip(shared.texts, shared.labels, strict=True) if k == kind] for kind in labels}
        return [by_label[label][at % len(by_label[label])] for at, label in enumerate(labels)]

    found = transfer({"law": one(1, "gb"), "sea": one(2, "hd")}, linear(), steps=2000)
    measures = {one.name: one for one in gaps(found)}
    assert measures["gap_excess"].low > 0.1
    assert measures["gap_excess"].value == pytest.approx(measures["gap_synthetic"].value - measures["gap_real"].value)
    assert measures["gap_synthetic"].value == pytest.approx(gap(matrix(found, "synthetic")))


def test_distance_foretells_transfer_where_it_does(three):
    assert len(three.distances) == 9
    apart = {(line["trained_on"], line["tested_on"]): line for line in three.distances}
    assert apart["law", "sea"]["auc"] > 0.9 > apart["law", "tax"]["auc"]
    assert apart["law", "sea"]["mmd2"] > apart["law", "tax"]["mmd2"]
    assert foretold(three, "auc") < -0.5
    assert foretold(three, "mmd2") < -0.5
    assert (
        foretold(transfer({"a": domain(1, "gb", "c"), "b": domain(2, "hd", "k")}, linear(), seeds=1, steps=10)) is None
    )


def test_a_rank_correlation_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    x, y = [1.0, 2.0, 2.0, 5.0, 3.0, 2.0], [2.0, 1.0, 1.0, 0.0, 3.0, 0.5]
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman(x, [1.0] * 6) is None
    assert spearman([1.0], [1.0]) is None


def test_a_domain_that_is_not_learnt_keeps_nothing_that_could_be_told():
    scores = np.array([[0.9, 0.5], [0.6, 0.5]])
    assert retention(scores, np.array([0.5, 0.5])) == [[1.0, None], [pytest.approx(0.25), None]]
    assert gap(scores) == pytest.approx(0.7 - 0.55)


def test_what_is_kept_is_counted_from_the_base_of_the_tested_domain():
    kept = retention(np.array([[0.9, 0.5], [0.6, 0.8]]), np.array([0.5, 0.2]))
    assert kept == [[1.0, pytest.approx(0.5)], [pytest.approx(0.25), 1.0]]


def by_hand(shares: dict[tuple[str, tuple[str, ...], str], int]) -> Transfer:
    """Of four items each, how many are right, by source, domains trained on, and domain; the base has two."""
    truth = ["x", "y", "x", "y"]
    cells = [
        Cell(
            source=source, trained_on=list(of), tested_on=on, seed=0, rows=1, steps=1, said=truth[:n] + ["z"] * (4 - n)
        )
        for (source, of, on), n in shares.items()
    ]
    names = sorted({on for _, _, on in shares})
    return Transfer(
        domains=names,
        cells=cells,
        truth=dict.fromkeys(names, truth),
        base=dict.fromkeys(names, "x"),
        metric="accuracy",
        distances=[],
        settings={},
    )


def test_in_its_own_domain_the_gain_of_synthetic_rows_is_over_that_of_real_ones():
    found = {(source, (one,), other): 2 for source in ("synthetic", "real") for one in "ab" for other in "ab"}
    found |= {("synthetic", ("a",), "a"): 3, ("real", ("a",), "a"): 4}
    assert in_domain(by_hand(found)) == {"a": 0.5, "b": None}


def test_all_others_are_all_others():
    found = {("synthetic", ("a", "b"), "c"): 4, ("synthetic", ("b", "c"), "a"): 3, ("synthetic", ("a", "c"), "b"): 1}
    found |= {("synthetic", (one,), other): 0 for one in "abc" for other in "abc"}
    assert leave_one_out(by_hand(found)) == {"a": 0.75, "b": 0.25, "c": 1.0}


def test_the_base_says_what_is_most_frequent_in_training_rows():
    def one(letter: str) -> Domain:
        kinds = {"r": "xxy", "t": "yyy", "s": "yyy"}
        parts = [Labelled([f"{letter}{at} {kind}{at}" for at in range(3)], [*said]) for kind, said in kinds.items()]
        return Domain(*parts)

    found = transfer({letter: one(letter) for letter in "ab"}, linear(), seeds=1, steps=3)
    assert found.base == {"a": "x", "b": "x"}


def test_distances_are_those_of_the_synthetic_rows():
    def one(seed: int) -> Domain:
        near = domain(seed, "gb", "c")
        return Domain(near.real_train, near.real_test, rows(120, seed + 90, "hd", "k"))

    found = transfer({"a": one(1), "b": one(2)}, linear(), embed=EMBED, seeds=1, steps=10)
    assert all(line["auc"] > 0.9 for line in found.distances)


def test_the_same_seed_gives_the_same_answers_and_seeds_differ():
    domains = {"law": domain(1, "gb", "c"), "sea": domain(2, "gb", "c")}
    runs = [transfer(domains, linear(), seeds=2, steps=30, seed=seed) for seed in (0, 0, 5)]
    assert runs[0] == runs[1]
    assert [cell.said for cell in runs[0].cells] != [cell.said for cell in runs[2].cells]


def test_test_rows_in_any_training_set_stop_it_even_of_another_domain():
    law, sea = domain(1, "gb", "c"), domain(2, "hd", "k")
    leaky = Domain(law.real_train, law.real_test, Labelled([*law.synthetic.texts, sea.real_test.texts[4]], [*law.synthetic.labels, "good"]))  # fmt: skip
    with pytest.raises(BadInput, match="1 of the synthetic law rows hold test rows"):
        transfer({"law": leaky, "sea": sea}, linear())


def test_what_cannot_be_carried_out_is_said():
    law, none = domain(1, "gb", "c"), Labelled([], [])
    with pytest.raises(BadInput, match="there are 1"):
        transfer({"law": law}, linear())
    with pytest.raises(BadInput, match="synthetic sea has 0"):
        transfer({"law": law, "sea": Domain(law.real_train, law.real_test, none)}, linear())
    with pytest.raises(BadInput, match="must have 500 rows"):
        transfer({"law": law, "sea": law}, linear(), size=500)
    with pytest.raises(BadInput, match="no test rows of sea"):
        transfer({"law": law, "sea": Domain(law.real_train, none, law.synthetic)}, linear())


def test_one_row_and_empty_texts_are_defined():
    def one(text: str) -> Domain:
        return Domain(Labelled([text], ["a"]), Labelled(["anderes\ud800", ""], ["a", "b"]), Labelled([""], ["b"]))

    found = transfer({"x": one("мама"), "y": one("你好")}, linear(), embed=EMBED, seeds=1)
    assert np.isfinite(matrix(found, "real")).all()
    assert retention(matrix(found, "real"), bases(found)) == [[None, None], [None, None]]
    assert in_domain(found) == {"x": None, "y": None}
    assert worst(found) is None
    assert asymmetry(found) == []
    assert foretold(found) is None
    assert all(line["auc"] is None for line in found.distances)
    assert all(math.isfinite(one.value) for one in gaps(found))
