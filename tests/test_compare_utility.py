"""What data is worth in a comparison: the split, the baselines, the students, the domains."""

import dataclasses
import json
import math
import random
from collections import Counter

import numpy as np
import pytest

import tiny
from comparing import compared, entries, track, writer
from gristmill import BadInput, Training
from gristmill.compare import Entry, acompare, bare
from gristmill.errors import TrainingFailed
from gristmill.models import finetune
from gristmill.models.protocol import Token
from gristmill.quality import transfer, tstr
from gristmill.quality.embed import Embedder
from gristmill.quality.sets import Set, of_records
from gristmill.students import Student, linear, ngrams, of_size, size_of, split, student_of, trained
from gristmill.testing import Scripted, folder
from gristmill.utility import ALL_REAL, NO_DATA, RANDOM_REAL, refusals, utility

pytestmark = pytest.mark.usefixtures("methods")


def first_letters(texts: list[str]) -> np.ndarray:
    """How many words begin with each letter."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return np.array(
        [[sum(word[0] == one for word in text.lower().split()) for one in letters] for text in texts], float
    )


EMBED = Embedder("first letters", first_letters)


def quiet(text: str) -> None:
    pass


def reviews(count: int, seed: int, names: str = "gb", common: str = "c", name: str = "rows", **columns: str) -> Set:
    """Texts of two labels; words that tell them apart begin with a letter of `names`, the others with `common`."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        label = ("bad", "good")[number % 2]
        words = [f"{names[label == 'bad']}{rng.randrange(12)}x" for _ in range(3)]
        words += [f"{common}{rng.randrange(200)}" for _ in range(5)]
        rng.shuffle(words)
        records.append({"text": " ".join(words), "label": label, **columns})
    return of_records(records, name)


def both(one: Set, other: Set, name: str = "rows") -> Set:
    return of_records([*one.records, *other.records], name)


def recording(taught: list[tuple[Set, int]], real, unit="rows", trainings=1) -> Student:
    """A student that keeps what it was taught; its score of every test row is the seed."""

    async def teach(part: Set, seed: int) -> list[float]:
        taught.append((part, seed))
        return [float(seed)] * len(real.test)

    async def floor() -> list[float]:
        return [-1.0] * len(real.test)

    async def close() -> None:
        pass

    return Student("recording", "seeds", "high", unit, trainings, "nothing", floor, teach, close)


async def worth(cut, real, student, seed=0):
    return await utility(cut, real, student, embed=EMBED, seed=seed, say=quiet)


# -- the split


def test_no_real_row_that_holds_a_test_row_is_trained_on():
    rows = reviews(100, 1)
    real = split(both(rows, rows), seed=0)
    assert len(real.test) == 40
    assert not set(real.test.texts) & set(real.train.texts)
    assert real.leaked == 160 - len(real.train) > 0


def test_the_split_is_by_chance_of_the_seed_and_leaves_out_rows_without_text():
    rows = both(reviews(50, 1), of_records([{"text": "  ", "label": "good"}] * 10, "empty"))
    one, other = split(rows, seed=0), split(rows, seed=1)
    assert len(one.train) + len(one.test) == 50
    assert one.test.texts == split(rows, seed=0).test.texts != other.test.texts
    with pytest.raises(BadInput, match="too few to split"):
        split(reviews(1, 1), seed=0)


async def test_what_is_wrong_with_the_real_rows_or_the_student_is_said_before_anything_is_asked(topics):
    model = Scripted(lambda question: "never")
    both_entries = [Entry("one", "well", model), Entry("other", "well", model)]
    half = of_records([{"text": f"row {n} of several", "label": "a" if n else None} for n in range(9)], "half")
    test = track(topics).split().test
    leaking = folder() / "seeds.jsonl"
    leaking.write_text("".join(json.dumps({"topic": text}) + "\n" for text in test.texts))
    for options, message in [
        ({"label": "kind"}, "no column 'kind'"),
        ({"real": half}, "row 1 has nothing in the column 'label'"),
        ({"domain": "label", "real": of_records([{"text": f"row {n} it is", "label": "a"} for n in range(60)], "one")},
         "between two domains or more"),
        ({"label": None, "learner": "linear"}, "name their column with --label"),
        ({"learner": "cubic"}, "linear, ngram, or a model that can be trained"),
        ({"learner": Scripted(can=["Chat", "Score"])}, "it lacks Trainable"),
        ({"learner": Scripted(can=["Chat", "Trainable"])}, "it lacks Score"),
        ({"real": None, "label": None, "domain": "kind"}, "--domain is about real rows"),
        ({"people": "verdicts.jsonl"}, "there is no judge to hold against people"),
        ({"seeds": str(leaking)}, "of the seed rows hold test rows"),
    ]:  # fmt: skip
        with pytest.raises(BadInput, match=message):
            await acompare(both_entries, track(options.pop("seeds", topics), **options), embed=EMBED)
    assert model.questions == []


async def test_a_folder_with_runs_of_another_track_is_refused(topics):
    one = track(topics, target=20, runs=1)
    await compared(one, "well", "ill")
    for name, value in (("seed", 1), ("target", 30)):
        other = track(topics, target=20, runs=1)
        other.out = one.out
        setattr(other, name, value)
        with pytest.raises(BadInput, match=f"was made with {name}=.*--out"):
            await compared(other, "well", "ill")


async def test_a_folder_whose_runs_another_model_made_is_refused_unless_only_its_address_is_another(topics):
    one = track(topics, target=20, runs=1)
    await compared(one, "well", "ill")
    other = Scripted(writer, model="other")
    for model in (other, {"writer": other}, {"writer": [other]}):
        with pytest.raises(BadInput, match=r"was made with writer=scripted:scripted, and scripted:other is asked"):
            await acompare([*entries("ill"), Entry("well", "well", model)], one, embed=EMBED)
    same = await acompare([*entries("ill"), Entry("well", "well", {"writer": Scripted(writer)})], one, embed=EMBED)
    assert not any(entry.refused for entry in same.entries)
    assert [bare(name) for name in ("openai:a@http://x:1/v1,key=K", "openai:a", "my-own thing")] == [
        "openai:a", "openai:a", "my-own thing",
    ]  # fmt: skip


async def test_seeds_that_were_changed_under_the_same_name_are_refused(topics, tmp_path):
    one = track(topics, target=20, runs=1)
    first = await compared(one, "well", "ill")
    file = tmp_path / "topics.jsonl"
    lines = file.read_text()
    file.write_text(lines + '{"topic": "one more"}\n')
    with pytest.raises(BadInput, match=r"was begun with other seeds .* --out"):
        await compared(one, "well", "ill")
    file.write_text(lines)
    again = await compared(one, "well", "ill")
    assert again.track == first.track
    assert first.track["seeds_digest"] != first.track["real_digest"]
    assert len(first.track["real_digest"]) == 32


# -- the baselines


async def test_the_random_real_rows_are_as_many_as_an_entrys_and_drawn_anew_for_each_run():
    real, taught = split(reviews(200, 1), seed=0, label="label"), []
    cut = {"one": [reviews(30, seed) for seed in (2, 3, 4)], "other": [reviews(40, 5)]}
    found = await worth(cut, real, recording(taught, real))
    sizes = [len(part) for part, _ in taught]
    # one, other, all real rows, random real rows; then one and other at a quarter and a half of it
    assert sizes == [30, 30, 30, 30, len(real.train), 30, 30, 30, 7, 7, 7, 7, 15, 15, 15, 15]
    drawn = [tuple(part.texts) for part, _ in taught[5:8]]
    assert len(set(drawn)) == 3
    assert all(set(texts) <= set(real.train.texts) for texts in drawn)
    assert tuple(real.train.texts[:30]) not in drawn
    assert found.baselines == {
        ALL_REAL: f"{len(real.train)} rows",
        RANDOM_REAL: "30 rows, drawn 3 times",
        NO_DATA: "nothing",
    }
    assert {line.entry for line in found.board} == {"one", "other", ALL_REAL, RANDOM_REAL, NO_DATA}


async def test_a_language_model_reads_as_many_characters_of_each_and_of_random_real_rows():
    real, taught = split(reviews(200, 1), seed=0), []
    long = of_records([{"text": text * 3} for text in reviews(30, 2).texts], "long")
    found = await worth({"short": [reviews(30, 3)], "long": [long]}, real, recording(taught, real, "characters"))
    short, longer, everything, random_rows, *smaller = (sum(map(len, part.texts)) for part, _ in taught)
    assert short == longer == random_rows == found.size == size_of(reviews(30, 3), "characters")
    assert smaller == [found.size // 4] * 2 + [found.size // 2] * 2
    assert everything == size_of(real.train, "characters") > found.size


async def test_it_is_said_how_many_training_rows_held_a_test_row():
    rows = reviews(100, 1)
    real, taught = split(both(rows, rows), seed=0), []
    found = await worth({"one": [reviews(30, 2)]}, real, recording(taught, real))
    assert f"{real.leaked} real training rows hold a test row and were left out" in found.notes


async def test_fewer_real_rows_than_an_entry_has_are_all_taken_and_it_is_said():
    real, taught = split(reviews(50, 1), seed=0), []
    found = await worth({"one": [reviews(90, 2)]}, real, recording(taught, real))
    assert [len(part) for part, _ in taught] == [90, 40, 40]
    assert "there are fewer real rows to train on than an entry's 90" in found.notes


async def test_trainings_on_one_set_are_no_further_sets():
    real, taught = split(reviews(50, 1), seed=0), []
    cut = {"thrice": [reviews(20, seed) for seed in (2, 3, 4)], "once": [reviews(20, 5)]}
    found = await worth(cut, real, recording(taught, real, trainings=2), seed=7)
    runs = {line.entry: line.runs for line in found.board}
    assert runs == {"thrice": 3, "once": 2, ALL_REAL: 2, RANDOM_REAL: 3, NO_DATA: 1}
    assert {line.entry: line.score for line in found.board}["thrice"] == 7.5  # the mean of seeds 7 and 8
    assert {seed for _, seed in taught} == {7, 8}


def by_first_word(real, of: dict[str, list[float]]) -> Student:
    """A student whose score is that of an entry, by the first word of its texts, with 60, 15 and 30 rows."""

    async def teach(part: Set, seed: int) -> list[float]:
        levels = of.get(part.texts[0].split()[0], [0.1] * 3)  # real rows are worth little
        level = dict(zip((60, 15, 30), levels, strict=True)).get(len(part), 0.1)
        return [level + 0.01 * (row % 5) for row in range(len(real.test))]

    return dataclasses.replace(recording([], real), teach=teach)


@pytest.mark.parametrize(
    ("fast", "slow", "notes"),
    [
        ([0.6, 0.7, 0.7], [0.9, 0.3, 0.8], ["with 15 rows fast is ahead of slow, with 60 behind it"]),
        ([0.6, 0.7, 0.8], [0.9, 0.3, 0.5], ["with 15 rows fast is ahead", "with 30 rows fast is ahead"]),
        ([0.6, 0.2, 0.3], [0.9, 0.3, 0.8], []),
        ([0.6, 0.3, 0.3], [0.9, 0.3, 0.3], []),  # not told apart where there are few
    ],
)
async def test_where_another_entry_leads_as_long_as_there_are_few_rows_it_is_said(fast, slow, notes):
    real = split(reviews(200, 1), seed=0)
    cut = {
        name: [of_records([{"text": f"{name} {text}"} for text in reviews(60, 2).texts], name)]
        for name in ("slow", "fast")
    }
    found = await worth(cut, real, by_first_word(real, {"fast": fast, "slow": slow}))
    assert found.smaller.keys() == {15, 30}
    scores = {size: {line.entry: line.score for line in board} for size, board in found.smaller.items()}
    assert scores[15] == pytest.approx({"fast": fast[1] + 0.02, "slow": slow[1] + 0.02})
    assert scores[30] == pytest.approx({"fast": fast[2] + 0.02, "slow": slow[2] + 0.02})
    said = [note for note in found.notes if "ahead of" in note]
    assert len(said) == len(notes)
    assert all(note.startswith(start) for note, start in zip(said, notes, strict=True))


async def test_few_rows_or_one_entry_are_compared_at_one_size():
    real, taught = split(reviews(100, 1), seed=0), []
    assert (await worth({"one": [reviews(60, 2)]}, real, recording(taught, real))).smaller == {}
    few = {"one": [reviews(12, 2)], "other": [reviews(12, 3)]}
    assert (await worth(few, real, recording(taught, real))).smaller.keys() == {6}


def test_a_set_is_cut_to_characters_within_its_last_row_and_by_chance():
    rows = of_records([{"text": letter * 10, "label": letter} for letter in "abcdef"], "rows")
    cut = of_size(rows, "characters", 25, 0)
    assert [len(text) for text in cut.texts] == [10, 10, 5]
    assert [record["label"] for record in cut.records] == [text[0] for text in cut.texts]
    assert len({of_size(rows, "characters", 25, seed).texts[0] for seed in range(9)}) > 1
    assert of_size(rows, "characters", 1000, 0).texts != rows.texts
    assert sorted(of_size(rows, "characters", 1000, 0).texts) == rows.texts


def test_rows_without_the_label_or_with_labels_of_their_own_or_without_text_are_refused():
    real = split(reviews(100, 1), seed=0, label="label")
    other = of_records([{"text": text, "label": "positive"} for text in reviews(20, 2).texts], "other")
    none = of_records([{"text": text} for text in reviews(20, 2).texts], "none")
    empty = Set("empty", ["", ""], ["", ""], [{"label": "good"}, {"label": "bad"}])
    leaks = [reviews(20, 2), both(reviews(20, 2), real.test.take([4]))]
    cut = {"fine": [reviews(20, 2)], "other": [other], "none": [none], "empty": [empty], "leaks": leaks}
    found = refusals(cut, real, linear(real, EMBED, 1))
    assert found.keys() == {"other", "none", "empty", "leaks"}
    assert "1 of the leaks (run 2) rows hold test rows" in found["leaks"]
    assert "none of its labels (positive) is one of the real rows (bad, good)" in found["other"]
    assert "no column 'label'" in found["none"]
    assert "no text" in found["empty"]
    assert refusals({"none": [none]}, real, ngrams(real)) == {}


async def test_without_data_the_most_frequent_label_is_said_and_characters_are_as_frequent_as_in_real_rows():
    rows = both(reviews(90, 1), reviews(30, 2).take(range(1, 30, 2)))  # more good than bad
    real = split(rows, seed=0, label="label")
    assert await linear(real, EMBED, 1).floor() == [float(record["label"] == "good") for record in real.test.records]
    counts = Counter("".join(text + "\n" for text in real.train.texts))  # a text's end is counted as one, here "\n"
    bits = {one: -math.log2(count / counts.total()) for one, count in counts.items()}
    by_hand = [np.mean([bits[one] for one in text + "\n"]) for text in real.test.texts]
    assert await ngrams(real).floor() == pytest.approx(by_hand, abs=0.05)
    assert np.mean(await ngrams(real).teach(real.train, 0)) < np.mean(by_hand) - 1


# -- domains


def two_domains(real_names=("gb", "gb"), count=120, **columns) -> Set:
    sea = reviews(count, 1, real_names[0], "c", kind="sea")
    law = reviews(count, 2, real_names[1], "k" if real_names[0] != real_names[1] else "c", kind="law")
    return both(sea, law, "real")


async def test_the_boards_of_domains_are_the_same_scores_in_parts():
    real = split(two_domains(("gb", "hd")), seed=0, label="label", domain="kind")
    found = await worth({"sea": [reviews(60, 5, "gb", "c")]}, real, linear(real, EMBED, 1))
    scores = {name: {line.entry: line.score for line in board} for name, board in found.by_domain.items()}
    assert scores["sea"]["sea"] > 0.8 > 0.65 > scores["law"]["sea"]  # it has never seen a word of the law
    items = {name: board[0].items for name, board in found.by_domain.items()}
    whole = {line.entry: line.score for line in found.board}
    for entry, score in whole.items():
        parts = sum(items[name] * scores[name][entry] for name in items) / sum(items.values())
        assert parts == pytest.approx(score)
    ranks = {line.entry: line.rank for line in found.by_domain["sea"]}
    assert ranks["sea"] < ranks[NO_DATA]


@pytest.mark.parametrize("student", [lambda real: linear(real, EMBED, 1), ngrams])
async def test_what_is_learnt_of_a_domain_stays_there_where_domains_share_nothing(student):
    for names, tied in ((("gb", "gb"), False), (("gb", "hd"), True)):
        real = split(two_domains(names), seed=0, label="label", domain="kind")
        found = await worth({"one": [reviews(60, 5)]}, real, student(real))
        [matrix] = found.transfers
        assert (matrix.entry, matrix.domains) == (ALL_REAL, ["law", "sea"])
        assert matrix.retention[0][0] == matrix.retention[1][1] == 1.0
        [gap] = matrix.measures
        if tied:
            assert max(matrix.retention[0][1], matrix.retention[1][0]) < 0.5
            assert gap.low > 0
        else:
            assert min(matrix.retention[0][1], matrix.retention[1][0]) > 0.7
            assert gap.low < 0.1
        own, others = np.diag(matrix.scores).mean(), np.mean([matrix.scores[0][1], matrix.scores[1][0]])
        assert gap.value == pytest.approx(own - others if found.better == "high" else others - own)
        assert not tied or gap.low < gap.value < gap.high
        assert "no column 'kind' in the rows of one: their domains are not crossed" in found.notes
        assert not any("too few rows" in note for note in found.notes)


async def test_entries_whose_rows_have_domains_are_crossed_beside_as_many_real_rows():
    real = split(two_domains(("gb", "hd")), seed=0, label="label", domain="kind")
    made = both(reviews(30, 7, "gb", "c", kind="sea"), reviews(20, 8, "hd", "k", kind="law"))
    found = await worth({"made": [made]}, real, linear(real, EMBED, 1))
    theirs, own = found.transfers
    assert (theirs.entry, own.entry) == (ALL_REAL, "made")
    assert theirs.size == own.size == 20
    assert {one.name for one in own.measures} == {"gap_synthetic", "gap_real", "gap_excess"}
    assert own.in_domain.keys() == own.leave_one_out.keys() == {"law", "sea"}
    assert own.scores[0][0] > own.scores[0][1]

    def labelled(part: Set, domain: str) -> tstr.Labelled:
        rows = [record for record in part.records if record["kind"] == domain]
        return tstr.Labelled([row["text"] for row in rows], [row["label"] for row in rows])

    by_hand = transfer.transfer(
        {name: transfer.Domain(*(labelled(part, name) for part in (real.train, real.test, made))) for name in own.domains},
        tstr.linear(EMBED), size=20,
    )  # fmt: skip
    assert own.scores == transfer.matrix(by_hand, "synthetic").tolist()


async def test_a_language_model_crosses_the_domains_of_entries_too():
    real = split(two_domains(("gb", "hd")), seed=0, domain="kind")
    made = both(reviews(30, 7, "gb", "c", kind="sea"), reviews(30, 8, "hd", "k", kind="law"))
    found = await worth({"made": [made]}, real, ngrams(real))
    theirs, own = found.transfers
    assert theirs.size == own.size
    ranks = [{line.entry: line.rank for line in board} for board in found.by_domain.values()]
    assert all(one[ALL_REAL] < one["made"] < one[NO_DATA] for one in ranks)
    for matrix in (theirs, own):
        assert matrix.scores[0][0] < matrix.scores[0][1]  # bits a character
        assert matrix.retention[1][0] < 1
        assert matrix.measures[0].low > 0


async def test_a_domain_with_few_real_rows_is_left_out_and_said():
    rows = both(two_domains(), reviews(6, 3, kind="air"))
    real = split(rows, seed=0, label="label", domain="kind")
    found = await worth({"one": [reviews(60, 5)]}, real, linear(real, EMBED, 1))
    assert found.by_domain.keys() == {"law", "sea"}
    assert "too few real rows of: air; left out of the domains" in found.notes


async def test_an_entry_with_few_rows_of_a_domain_is_not_crossed_and_it_is_said():
    real = split(two_domains(), seed=0, label="label", domain="kind")
    found = await worth({"one": [reviews(60, 5, kind="sea")]}, real, linear(real, EMBED, 1))
    assert [matrix.entry for matrix in found.transfers] == [ALL_REAL]
    assert "one has too few rows of law: its domains are not crossed" in found.notes


async def test_a_gap_is_above_chance_only_where_test_rows_say_so():
    """The same scores on every domain: the gap is 0, and its interval holds it."""
    real, taught = split(two_domains(), seed=0, label="label", domain="kind"), []
    found = await worth({"one": [reviews(60, 5)]}, real, recording(taught, real))
    assert found.transfers[0].measures[0].value == 0


# -- a model that is trained


def scripted(**bits: float) -> Scripted:
    """Says one number of bits for a character as it came, and another after training."""

    def says(value: float):
        def tokens(question):
            return [Token(one, -value * math.log(2)) for one in question.continuation]

        return tokens

    return Scripted(says(bits["before"]), trained=[says(bits["after"])])


async def test_a_trained_model_reads_pieces_of_one_length_and_says_its_bits():
    real = split(reviews(60, 1), seed=0)
    model = scripted(before=6.0, after=2.0)
    student = trained(real, model, 2, Training(epochs=2.0), folder(), quiet)
    long = of_records([{"text": text * 5} for text in reviews(40, 2).texts], "long")
    found = await worth({"short": [reviews(40, 3)], "long": [long]}, real, student)
    scores = {line.entry: line.score for line in found.board}
    assert scores == pytest.approx({"short": 2.0, "long": 2.0, ALL_REAL: 2.0, RANDOM_REAL: 2.0, NO_DATA: 6.0})
    courses = [course for _, course in model.courses]
    assert {name for name, _ in model.courses} == {"scripted"}  # each begins with the model as it came
    lengths = [[len(lesson.completion) for lesson in course.lessons] for course in courses]
    assert lengths[:4] == [lengths[0]] * 4  # of both entries, with both seeds
    assert set(lengths[0][:-1]) == {1000}
    assert sum(lengths[0]) == found.size
    assert [course.training.seed for course in courses[:4]] == [0, 1, 0, 1]
    assert {course.training.epochs for course in courses} == {2.0}
    assert all(question.prompt == "\n" for one in model.family for question in one.questions)


async def test_no_training_is_repeated_and_no_weights_are_left():
    real, kept = split(reviews(60, 1), seed=0), folder()
    cut = {"one": [reviews(40, 2)]}
    first = await worth(cut, real, trained(real, scripted(before=6.0, after=2.0), 1, Training(), kept, quiet))
    assert {path.suffix for path in kept.iterdir()} == {".json"}
    again = scripted(before=6.0, after=3.0)
    assert (await worth(cut, real, trained(real, again, 1, Training(), kept, quiet))).board == first.board
    assert again.courses == []
    await worth(cut, real, trained(real, again, 1, Training(epochs=2.0), kept, quiet))
    assert len(again.courses) == 3


async def test_a_loss_that_is_no_number_is_no_score():
    real, model = split(reviews(60, 1), seed=0), scripted(before=6.0, after=2.0)

    async def explode(course, place, progress):
        return {"loss": math.nan, "steps": 3.0}

    model.train = explode
    with pytest.raises(TrainingFailed, match=r"the loss became nan after 3 steps\. A smaller learning rate"):
        await worth({"one": [reviews(40, 2)]}, real, trained(real, model, 1, Training(), folder(), quiet))


async def test_a_model_that_gives_no_probability_is_an_error():
    real = split(reviews(60, 1), seed=0)
    model = Scripted(lambda question: [Token(question.continuation, -9999.0)])
    with pytest.raises(BadInput, match="gives no probability of"):
        await trained(real, model, 1, Training(), folder(), quiet).floor()


@pytest.mark.timeout(600)
async def test_a_transformer_that_read_rows_like_the_real_ones_expects_them_better(tmp_path, monkeypatch):
    """Nothing pretended: a very small transformer, the trainer in a process of its own."""
    monkeypatch.setattr("gristmill.utility.SHARES", ())  # smaller sizes are others' concern: four more trainings
    base = tiny.make(tmp_path / "base", context=256)
    (tmp_path / "near.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reviews(60, 2).records))
    far = [{"text": text.swapcase().replace("X", "?").replace("C", "%")} for text in reviews(60, 3).texts]
    (tmp_path / "far.jsonl").write_text("".join(json.dumps(row) + "\n" for row in far))
    sets = [Entry(name, source=str(tmp_path / f"{name}.jsonl")) for name in ("near", "far")]
    one = track(
        None, real=reviews(150, 1), label=None, learner=f"transformers:{base},device=cpu", trainings=1,
        training=Training(learning_rate=3e-3, epochs=3.0, batch_size=16),
    )  # fmt: skip
    done = await acompare(sets, one, embed=EMBED)
    scores = {line.entry: line.score for line in done.utility.board}
    assert scores["near"] < scores["far"] - 0.5
    assert scores["near"] < scores[NO_DATA] - 1
    assert scores[ALL_REAL] < scores[NO_DATA] - 1
    assert scores[RANDOM_REAL] == pytest.approx(scores["near"], abs=0.3)
    assert done.utility.better == "low"
    assert scores[NO_DATA] == pytest.approx(math.log2(88), abs=0.6)  # untrained, over its 88 tokens

    async def never(*_, **__):
        raise AssertionError("it was trained again")

    monkeypatch.setattr(finetune, "train", never)
    again = await acompare(sets, one, embed=EMBED)
    assert again.utility.board == done.utility.board
    assert {path.suffix for path in (one.out / "learner").iterdir()} == {".json"}


def test_a_student_is_chosen_by_labels_unless_it_is_named():
    labelled, bare = (split(reviews(60, 1), seed=0, label=label) for label in ("label", None))
    options = {"embed": EMBED, "trainings": 2, "training": Training(), "folder": folder(), "say": quiet}
    assert [student_of(None, real, **options).unit for real in (labelled, bare)] == ["rows", "characters"]
    assert student_of("ngram", labelled, **options).better == "low"
    assert student_of(Scripted(), labelled, **options).floor_of == "the model as it came"
