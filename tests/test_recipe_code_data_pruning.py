"""Cluster-based pruning: how many rows are left of each cluster, and which."""

from collections import Counter

import numpy as np
import pytest

from gristmill.errors import BadInput
from gristmill.ops import clusters
from gristmill.recipes.augmentation.code_data_pruning import code_data_pruning
from gristmill.testing import Scripted, replay, run

# Three places: a crowd of ten nearly the same, a pair of crowds of five, and four rows alone.
PLACES = {f"sort {n}": [10.0, n / 1e3, 0.0] for n in range(10)}
PLACES |= {f"parse {n}": [0.0, 10.0, n / 50] for n in range(5)}
PLACES |= {f"query {n}": [0.0, 0.0, 10.0 + n / 50] for n in range(5)}
PLACES |= {f"odd {n}": [5.0 * n - 4, 3.0 * n, -20.0 - 9 * n] for n in range(4)}
ROWS = [{"instruction": name, "input": " x ", "output": f"def f():\n\treturn {name!r}\n"} for name in PLACES]


def embedder(places=PLACES):
    return Scripted(lambda question: places[question.texts[0].split("\n")[0]], model="embedder", can={"Embed"})


async def kept(rows=ROWS, places=PLACES, **options):
    return await run(code_data_pruning, rows, embedder=embedder(places), **options)


def names(done):
    return [row.instruction for row in done.rows]


@pytest.mark.parametrize("clustering", ["kmeans", "agglomerative", "hdbscan"])
@pytest.mark.parametrize("metric", ["diversity", "density", "random", "random-overall"])
async def test_what_is_kept_is_that_share_of_the_rows_and_each_as_it_came(clustering, metric):
    for ratio in (0.05, 0.33, 0.5, 1.0):
        done = await kept(clustering=clustering, metric=metric, keep_ratio=ratio, clusters=4)
        assert len(done.rows) == round(ratio * len(ROWS))
        given = [(row.instruction, row.input, row.output) for row in done.rows]
        positions = [ROWS.index({"instruction": i, "input": n, "output": o}) for i, n, o in given]
        assert positions == sorted(set(positions))
        assert [r.reason for r in done.rejects] == ["pruned"] * (len(ROWS) - len(done.rows))
        assert {r.candidate["instruction"] for r in done.rejects} | set(names(done)) == set(PLACES)


async def test_clusters_are_those_of_the_places_and_hdbscans_noise_is_a_group():
    for clustering in ("kmeans", "agglomerative", "hdbscan"):
        done = await kept(clustering=clustering, keep_ratio=1.0, clusters=7)
        of = {row.instruction: row.cluster_id for row in done.rows}
        crowds = [{of[name] for name in of if name.startswith(kind)} for kind in ("sort", "parse", "query")]
        assert all(len(crowd) == 1 for crowd in crowds)
        assert len(set.union(*crowds)) == 3
        odd = [of[f"odd {n}"] for n in range(4)]
        assert odd == [-1] * 4 if clustering == "hdbscan" else len(set(odd) - set.union(*crowds)) == 4


@pytest.mark.parametrize("metric", ["diversity", "density", "random"])
async def test_every_cluster_keeps_its_share(metric):
    done = await kept(metric=metric, keep_ratio=0.5)
    assert Counter(name.split()[0] for name in names(done)) == {"sort": 5, "parse": 3, "query": 2, "odd": 2}
    done = await kept(metric=metric, keep_ratio=5 / 24)
    assert Counter(name.split()[0] for name in names(done)) == {"sort": 2, "parse": 1, "query": 1, "odd": 1}


async def test_diversity_keeps_what_is_far_from_what_is_kept():
    line = {f"p {n}": [float(x), 0.0] for n, x in enumerate((0, 0.1, 0.2, 4.9, 5.0, 5.1, 9.9, 10))}
    rows = [{"instruction": name} for name in line]
    done = await kept(rows, line, clustering="kmeans", clusters=1, keep_ratio=3 / 8, dimensions=2)
    assert names(done) == ["p 0", "p 3", "p 7"]  # the middle, and then the two ends
    scores = {row.instruction: row.score for row in done.rows}
    assert scores["p 3"] is None  # the nearest to the mean is the first
    unit = scores["p 7"] / (10 - 4.9)
    assert scores["p 0"] == pytest.approx(4.9 * unit, abs=1e-5)
    rest = {r.candidate["instruction"]: r.details["score"] for r in done.rejects}
    assert rest["p 2"] == pytest.approx(0.2 * unit, abs=1e-5)
    assert rest["p 6"] == pytest.approx(0.1 * unit, abs=1e-5)


async def test_density_thins_a_crowd_more_than_a_row_alone():
    # Five rows of 24 that are drawn evenly would hold the lone one in about 1 run of 5.
    crowd = {f"same {n}": [1.0 + n / 1e4, 0.0, 0.0, 0.0] for n in range(20)}
    crowd |= {f"alone {n}": [0.0] * n + [30.0] + [0.0] * (3 - n) for n in range(1, 4)} | {"alone 4": [-30.0, 0, 0, 0]}
    rows = [{"instruction": name} for name in crowd]
    options = {"clustering": "kmeans", "clusters": 1, "keep_ratio": 5 / 24, "dimensions": 4}
    alone = dict.fromkeys(("density", "random"), 0)
    for seed in range(12):
        for metric in alone:
            done = await kept(rows, crowd, metric=metric, seed=seed, **options)
            alone[metric] += sum(name.startswith("alone") for name in names(done))
    assert alone["random"] <= 20  # of 48; 10 by chance
    assert alone["density"] >= 28  # 2.6 of 4 by the weights of 1 / density
    scores = {row.instruction[:4]: row.score for row in done.rows} | {
        r.candidate["instruction"][:4]: r.details["score"] for r in done.rejects
    }
    assert done.rows[0].score is None
    dense = await kept(rows, crowd, metric="density", **options)
    scores = {r.candidate["instruction"][:4]: r.details["score"] for r in dense.rejects}
    scores |= {row.instruction[:4]: row.score for row in dense.rows}
    assert scores["same"] > scores["alon"] + 1


async def test_random_overall_heeds_no_cluster():
    counts = set()
    for seed in range(6):
        done = await kept(metric="random-overall", keep_ratio=0.5, seed=seed)
        counts.add(tuple(sorted(Counter(name.split()[0] for name in names(done)).items())))
    assert len(counts) > 1
    assert len({tuple(names(await kept(metric="random", keep_ratio=0.5, seed=seed))) for seed in range(3)}) == 3


@pytest.mark.parametrize("metric", ["density", "random"])
async def test_the_same_seed_keeps_the_same_rows_and_another_does_not(metric):
    first, again = [names(await kept(metric=metric, keep_ratio=0.4, seed=3)) for _ in range(2)]
    assert first == again
    assert names(await kept(metric=metric, keep_ratio=0.4, seed=4)) != first


async def test_nothing_is_asked_but_the_embedding_of_each_whole_row_and_a_replay_computes_nothing(monkeypatch):
    model = embedder()
    done = await run(code_data_pruning, ROWS, embedder=model, keep_ratio=0.5)
    assert {question.kind for question in model.questions} == {"embed"}
    embedded = [text for question in model.questions for text in question.texts]
    assert embedded == [f"{row['instruction']}\n\n{row['input']}\n\n{row['output']}" for row in ROWS]
    assert all(row.lineage.parents for row in done.rows)
    monkeypatch.setattr(clusters, "clustered", None)
    again = await replay(done)
    assert (again.rows, again.rejects, again.calls) == (done.rows, done.rejects, 0)


async def test_too_few_to_keep_any_is_said_and_so_is_what_to_install(monkeypatch):
    with pytest.raises(BadInput, match="is none"):
        await kept(keep_ratio=0.01)
    model = embedder()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BadInput, match=r"gristmill\[learn\]"):
        await run(code_data_pruning, ROWS, embedder=model, keep_ratio=0.5)
    assert not model.questions


@pytest.mark.parametrize("clustering", ["kmeans", "agglomerative", "hdbscan"])
@pytest.mark.parametrize("metric", ["diversity", "density"])
async def test_small_and_repetitive_sets_go_through(clustering, metric):
    for size, places in ((1, 1), (2, 2), (3, 1), (6, 2)):
        at = {f"r {n}": [float(n % places), 1.0] for n in range(size)}
        rows = [{"instruction": name} for name in at]
        done = await kept(rows, at, clustering=clustering, metric=metric, keep_ratio=0.7, clusters=5)
        assert len(done.rows) == round(0.7 * size)


# -- shares


def test_shares_are_proportional_and_sum_to_the_whole():
    groups = [0] * 70 + [1] * 20 + [2] * 10
    assert clusters.quotas(groups, 10) == {0: 7, 1: 2, 2: 1}
    assert clusters.quotas(groups, 1) == {0: 1, 1: 0, 2: 0}
    assert clusters.quotas(groups, 5) == {0: 4, 1: 1, 2: 0}  # 3.5, 1, 0.5: of equal remainders the larger group's
    for total in range(101):
        found = clusters.quotas(groups, total)
        assert sum(found.values()) == total
        assert all(found[group] <= groups.count(group) for group in found)


def test_the_embeddings_are_reduced_to_what_varies():
    rng = np.random.default_rng(0)
    points = np.hstack([rng.normal(size=(50, 2)) * 9, np.full((50, 30), 7.0)])
    found = clusters.reduced(points, 10)
    assert found.shape == (50, 10)
    assert np.abs(found[:, 2:]).max() < 1e-6
    assert np.sqrt((found**2).mean()) == pytest.approx(1)
