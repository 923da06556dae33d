"""A green-list watermark is written by a model and found without one; `transformers` finds the same."""

import json
import math
import random
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import gristmill
import tiny
from gristmill.ops.text import words
from gristmill.quality.sets import Set, of_texts
from gristmill.quality.values import decide
from gristmill.quality.watermark import (
    PUBLIC_KEY,
    RULES,
    Mark,
    by_length,
    detect,
    detect_text,
    green_list,
    hits,
    judged,
    key_id,
    load_tokenizer,
    measure,
    normalised,
    p_value,
    processor,
    strongest_window,
    z_score,
)

SECRET = 987_654_321


def all_green(mark: Mark, tokens: int) -> list[int]:
    """A text of so many scored tokens, all of them green and no bigram twice."""
    ids = [7]
    seen = set()
    while len(ids) <= tokens:
        following = next(id for id in sorted(green_list(mark, ids)) if (ids[-1], id) not in seen)
        seen.add((ids[-1], following))
        ids.append(following)
    return ids


def written(mark: Mark, tokens: int, seed: int, share: float = 1.0) -> list[int]:
    """As a model of no opinion would write it: green with probability `share`, else any token."""
    rng = np.random.default_rng(seed)
    ids = [int(rng.integers(mark.vocabulary))]
    for green in rng.random(tokens) < share:
        ids.append(int(rng.choice(green_list(mark, ids)) if green else rng.integers(mark.vocabulary)))
    return ids


def documents() -> list[str]:
    lines = Path(gristmill.__file__).parent.joinpath("recipes", "data", "documents.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)["text"] for line in lines.splitlines()]


def by_word(vocabulary: int):
    return lambda text: [zlib.crc32(word.encode()) % vocabulary for word in words(text)]


def test_a_text_of_green_tokens_alone_has_the_z_of_the_paper():
    mark = Mark(1000, SECRET)
    assert detect(all_green(mark, 16), mark).z == pytest.approx(6.93, abs=0.005)
    assert detect(all_green(mark, 25), mark).z == pytest.approx(8.66, abs=0.005)
    assert detect(all_green(mark, 25), mark).green_fraction == 1.0
    assert z_score(16, 16, 0.5) == pytest.approx(4.0)
    assert p_value(4.0) == pytest.approx(stats.norm.sf(4), rel=1e-9)
    assert p_value(4.0) == pytest.approx(3.2e-5, abs=0.05e-5)


def test_few_tokens_are_too_short_whatever_their_z_and_never_clean():
    mark = Mark(1000, SECRET)
    short, enough = detect(all_green(mark, 24), mark), detect(all_green(mark, 25), mark)
    assert (short.verdict, short.tokens_scored, enough.verdict) == ("too short", 24, "marked")
    assert short.z > 4
    rng = np.random.default_rng(0)
    assert detect(rng.integers(0, 1000, 25).tolist(), mark).verdict == "too short"  # 24 are scored
    assert detect(rng.integers(0, 1000, 26).tolist(), mark).verdict == "clean"
    for nothing in ([], [3]):
        found = detect(nothing, mark)
        assert (found.z, found.p_value, found.green_fraction, found.tokens_scored) == (None, None, None, 0)
        assert found.verdict == "too short"


def test_a_text_is_marked_above_the_threshold_not_at_it():
    assert z_score(30, 48, 0.25) == 6.0
    assert judged([True] * 30 + [False] * 18, 0.25, z_threshold=6.0).verdict == "clean"
    assert judged([True] * 30 + [False] * 18, 0.25, z_threshold=5.99).verdict == "marked"


def test_z_of_unmarked_text_is_about_0_and_passes_4_as_seldom_as_chance_does():
    # Of 20,000 texts of 200 tokens the binomial puts 1.2 above 4; more than 6 come in 1 of 5,000 keys.
    mark = Mark(500, SECRET)
    rng = np.random.default_rng(1)
    scores, counts = [], []
    for _ in range(4):
        found = hits(rng.integers(0, 500, (5_000, 201)), mark)
        scores += [z_score(sum(one.green), len(one.green), 0.25) for one in found]
        counts += [len(one.green) for one in found]
    assert min(counts) > 185
    assert np.mean(scores) == pytest.approx(0, abs=0.05)
    assert np.std(scores) == pytest.approx(1, abs=0.05)
    assert sum(z > 4 for z in scores) <= 6
    assert np.mean(np.array(scores) > 2) == pytest.approx(stats.norm.sf(2), abs=0.005)


def test_z_of_english_prose_is_about_0_whatever_the_key():
    texts = [by_word(5000)(text)[:200] for text in documents()[:5]]
    scores = []
    for key in range(1, 41):
        found = hits(texts, Mark(5000, 7_919 * key))
        scores += [z_score(sum(one.green), len(one.green), 0.25) for one in found]
    assert np.mean(scores) == pytest.approx(0, abs=4 / math.sqrt(len(scores)))
    assert np.std(scores) == pytest.approx(1, abs=0.25)
    assert sum(z > 4 for z in scores) == 0


def test_the_right_key_finds_what_a_wrong_one_does_not():
    mark = Mark(1000, SECRET)
    texts = [written(mark, 200, seed, 0.7) for seed in range(30)]
    right = [detect(ids, mark) for ids in texts]
    wrong = [detect(ids, Mark(1000, SECRET + 1)) for ids in texts]
    assert min(one.z for one in right) > 10
    assert {one.verdict for one in right} == {"marked"}
    assert np.mean([one.z for one in wrong]) == pytest.approx(0, abs=0.75)
    assert {one.verdict for one in wrong} == {"clean"}


def test_a_repeated_phrase_counts_once():
    mark = Mark(1000, SECRET)
    green = green_list(mark, [5])[0]
    assert detect([5, green] * 100, mark).tokens_scored == 2
    assert detect([5] * 100, mark).tokens_scored == 1
    assert detect([5, green] * 100, mark).verdict == "too short"
    assert hits([[5, green, 5, green, 5]], mark)[0].positions == [1, 2]
    wide = Mark(1000, SECRET, scheme="selfhash", width=3)
    assert hits([[5, 6, 7, 5, 6, 7, 5, 6, 7]], wide)[0].positions == [2, 3, 4]


def torchs(mark: Mark):
    torch = pytest.importorskip("torch")
    from transformers.generation.logits_process import WatermarkLogitsProcessor

    made = WatermarkLogitsProcessor(
        mark.vocabulary, "cpu", mark.gamma, mark.delta, mark.hash_key, mark.scheme, mark.width
    )
    return lambda context: made._get_greenlist_ids(torch.tensor(context)).tolist()


@pytest.mark.parametrize(
    "mark",
    [
        Mark(91),
        Mark(50_257, 3, 0.5),
        Mark(1000, 2**40 + 11),
        Mark(500, SECRET, scheme="selfhash", width=4),
        Mark(500, 7, scheme="selfhash", width=1),
    ],
    ids=str,
)
def test_green_lists_are_those_of_transformers(mark):
    theirs = torchs(mark)
    for context in ([3, 1, 4, 1], [90, 89, 7, 2], [0, 0, 0, 0]):
        expected = theirs(context)
        assert green_list(mark, context) == expected
        assert len(expected) == mark.size
        if mark.scheme == "lefthash":  # the fast way says the same of every token
            pairs = [[context[-1], token] for token in range(min(mark.vocabulary, 1000))]
            green = {pair[1] for pair, one in zip(pairs, hits(pairs, mark), strict=True) if one.green == [True]}
            assert green == {token for token in expected if token < 1000}
        else:
            for token in range(60):
                gram = [*context, token][-mark.width :]
                assert hits([gram], mark)[0].green == [token in theirs(gram)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a random Llama, and a function that lets it write."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, LogitsProcessorList, WatermarkingConfig

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of so small a model, many threads only wait for one another
    folder = tiny.make(tmp_path_factory.mktemp("tiny"), layers=1, width=32)
    llama = AutoModelForCausalLM.from_pretrained(folder)

    def write(ours: Mark | None = None, theirs: Mark | None = None, rows=2, tokens=220, hard=False, **options):
        torch.manual_seed(3)
        if ours:
            options["logits_processor"] = LogitsProcessorList([processor(ours, hard=hard)])
        if theirs:
            options["watermarking_config"] = WatermarkingConfig(
                theirs.gamma, theirs.delta, theirs.hash_key, theirs.scheme, theirs.width
            )
        prompt = torch.tensor([[5, 6, 7, 8]] * rows)
        # Without top_k, since theirs comes after it and ours before.
        options = {"do_sample": True, "top_k": 0, "max_new_tokens": tokens, "min_new_tokens": tokens} | options
        made = llama.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        return made[:, prompt.shape[1] :]

    write.folder, write.vocabulary = folder, llama.config.vocab_size
    yield write
    torch.set_num_threads(threads)


MARKS = pytest.mark.parametrize("scheme", [{}, {"scheme": "selfhash", "width": 4}], ids=["lefthash", "selfhash"])


@MARKS
def test_what_we_mark_transformers_finds_and_the_other_way_round_with_the_same_z(model, scheme):
    from transformers import WatermarkDetector, WatermarkingConfig

    mark = Mark(model.vocabulary, SECRET, **scheme)
    config = WatermarkingConfig(mark.gamma, mark.delta, mark.hash_key, mark.scheme, mark.width)
    about = SimpleNamespace(vocab_size=mark.vocabulary, bos_token_id=-1, is_encoder_decoder=False)
    detector = WatermarkDetector(about, "cpu", config, ignore_repeated_ngrams=True)
    tokens = 100 if mark.scheme == "lefthash" else 60
    ours = model(ours=mark, tokens=tokens)
    for made in (ours, model(tokens=tokens)):
        theirs = detector(made, return_dict=True)
        found = [detect(ids, mark) for ids in made.tolist()]
        assert [one.z for one in found] == pytest.approx(theirs.z_score.tolist())
        assert [one.p_value for one in found] == pytest.approx(theirs.p_value.tolist())
        assert [one.tokens_scored for one in found] == theirs.num_tokens_scored.tolist()
    assert {one.verdict for one in found} == {"clean"}
    assert {detect(ids, mark).verdict for ids in ours.tolist()} == {"marked"}
    assert detector(ours, z_threshold=4.0).all()
    # Given the same randomness, both write the same text.
    assert model(theirs=mark, tokens=tokens).tolist() == ours.tolist()


def test_the_hard_rule_leaves_no_red_token_and_a_higher_delta_fewer():
    torch = pytest.importorskip("torch")
    logits = torch.randn(50, 200, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[3, token] for token in range(50)])
    before, red = logits.clone(), torch.ones(50, 200, dtype=torch.bool)
    mark = Mark(200, SECRET)
    for token in range(50):
        red[token, green_list(mark, [token])] = False
    hard = processor(mark, hard=True)(ids, logits)
    assert torch.isinf(hard[red]).all()
    assert hard[~red].equal(logits[~red])
    soft = processor(Mark(200, SECRET, delta=1.5))(ids, logits)
    assert soft[red].equal(logits[red])
    assert soft[~red].equal(logits[~red] + 1.5)
    assert logits.equal(before)
    none = torch.empty(1, 0, dtype=torch.long)
    assert processor(mark)(none, logits[:1]).equal(logits[:1])  # no token before the first one


@pytest.mark.parametrize(
    "options", [{"do_sample": False}, {"do_sample": False, "num_beams": 2}], ids=["greedy", "beam"]
)
def test_greedy_and_beam_search_are_marked_too(model, options):
    mark = Mark(model.vocabulary, SECRET, delta=4.0)
    options |= {"tokens": 40, "rows": 1, "no_repeat_ngram_size": 2, "top_k": None}
    [marked, plain] = hits([model(ours=mark, **options)[0].tolist(), model(**options)[0].tolist()], mark)
    assert len(marked.green) == len(plain.green) == 39
    assert np.mean(marked.green) > 0.9
    assert np.mean(plain.green) < 0.5


def test_a_processor_for_another_vocabulary_is_refused(model):
    with pytest.raises(ValueError, match="logits, the mark says 1000"):
        model(ours=Mark(1000, SECRET), tokens=3)


def test_text_is_detected_with_the_tokenizer_alone_and_disguises_are_undone(model):
    tokenize, vocabulary = load_tokenizer(model.folder)
    assert vocabulary == model.vocabulary
    mark = Mark(vocabulary, SECRET)
    from transformers import AutoTokenizer

    letters = [tokenize(c)[0] for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ "]
    suppressed = [token for token in range(vocabulary) if token not in letters]
    made = model(ours=mark, rows=1, suppress_tokens=suppressed)
    text = AutoTokenizer.from_pretrained(model.folder).decode(made[0])
    assert tokenize(text) == made[0].tolist()
    plain = detect_text(text, tokenize, mark)
    assert plain.verdict == "marked"
    assert plain == detect(made[0].tolist(), mark)
    disguised = text.replace("a", "а").replace("e", "е").replace("o", "ο").replace("c", "ｃ")
    disguised = "\u200b".join(disguised).replace(" ", "\u2009")
    assert tokenize(disguised) != made[0].tolist()
    assert detect(tokenize(disguised), mark).verdict != "marked"
    assert detect_text(disguised, tokenize, mark).z == pytest.approx(plain.z)


def test_a_tokenizer_is_read_without_the_tokens_that_it_would_add(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<bos>": 0, "a": 1, "b": 2}, unk_token="a"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    made.save(str(tmp_path / "tokenizer.json"))
    assert made.encode("a b").ids == [0, 1, 2]
    tokenize, vocabulary = load_tokenizer(tmp_path)
    assert tokenize("a b") == [1, 2]
    assert vocabulary == 3
    for about, size in (({"vocab_size": 64}, 64), ({"text_config": {"vocab_size": 32}}, 32), ({}, 3)):
        (tmp_path / "config.json").write_text(json.dumps(about))
        assert load_tokenizer(tmp_path)[1] == size


def test_text_in_other_scripts_is_no_disguise():
    for text in (
        "Привет, как дела? Сор, хор и рот.",
        "сор, хор",
        "Привет, world: сор",
        "Καλημέρα κόσμε",
        "你好，世界。　《书》",
        "می‌خواهم",
        "👩‍👩‍👧 family",
        "naïve café, Straße… “quoted” — 5 %",
        "",
    ):
        assert normalised(text) == text
    assert normalised("Mоscow is а сity") == "Moscow is a city"  # Cyrillic о, а, с
    assert normalised("Привет: mоscow") == "Привет: moscow"
    assert normalised("in\u00advis\u200bi\u200dble\u2060 \ufeffte\u202ext") == "invisible text"
    assert normalised("ｆｕｌｌ 𝐛𝐨𝐥𝐝 ﬁ\u00a0x") == "full bold fi x"
    assert normalised("e\u0301") == "é"


def test_a_marked_passage_is_found_in_mixed_text():
    mark = Mark(1000, SECRET)
    rng = np.random.default_rng(2)
    mixed = [*rng.integers(0, 1000, 600).tolist(), *written(mark, 80, 4, 0.9), *rng.integers(0, 1000, 600).tolist()]
    [found] = hits([mixed], mark)
    window = strongest_window(found.green, 0.25)
    inside = range(found.positions[window.start], found.positions[window.end - 1] + 1)
    assert abs(inside.start - 600) < 40
    assert abs(inside.stop - 681) < 40
    assert window.z > detect(mixed, mark).z + 3
    assert window.p_value < 1e-6
    assert (
        60 < window.end - window.start < 120
    )  # no longer and no shorter than the passage, as far as lengths are tried
    alone = [hits([rng.integers(0, 1000, 1200).tolist()], mark)[0].green for _ in range(20)]
    assert sum(strongest_window(green, 0.25).p_value < 0.01 for green in alone) <= 1
    assert strongest_window([True] * 24, 0.25) is None
    whole = strongest_window([True] * 25, 0.25)
    assert (whole.start, whole.end, whole.z) == (0, 25, pytest.approx(8.66, abs=0.005))
    assert whole.p_value == pytest.approx(p_value(whole.z))
    assert strongest_window([False] * 30, 0.25).p_value == 1.0


def test_longer_texts_and_stronger_marks_are_found_more_often():
    mark = Mark(300, SECRET)
    strong, weak = ([written(mark, 220, seed, share) for seed in range(25)] for share in (0.5, 0.15))
    table = by_length(strong, mark, lengths=(25, 100, 200, 400))
    assert [one["tokens"] for one in table] == [25, 100, 200]  # no text has 400
    assert table[0]["found"] < table[1]["found"] <= table[2]["found"] == 1.0
    assert table[0]["mean_z"] < table[1]["mean_z"] < table[2]["mean_z"]
    assert by_length(weak, mark, lengths=(200,))[0]["found"] < 0.8
    assert table[0]["texts"] == 25
    assert by_length([], mark) == []


def test_nonsense_is_refused():
    for wrong in ({"gamma": 0.0}, {"gamma": 1.0}, {"scheme": "md5"}, {"width": 2}, {"scheme": "selfhash", "width": 0}):
        with pytest.raises(ValueError):
            Mark(100, **wrong)
    with pytest.raises(ValueError, match="none is green"):
        Mark(3)
    for ids, strange in (([5, 100], 100), ([-1, 5], -1)):
        with pytest.raises(ValueError, match=f"text 1 has token {strange}, the vocabulary has 100"):
            hits([[1, 2], ids], Mark(100))


def test_defaults_are_those_that_the_authors_recommend():
    mark = Mark(1000)
    assert (mark.gamma, mark.delta, mark.hash_key, mark.scheme, mark.width) == (0.25, 2.0, 15485863, "lefthash", 1)
    assert RULES[0].above == 4.0


VOCABULARY = 1000


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def spelled(ids) -> str:
    return " ".join(map(str, ids))


def some_set() -> Set:
    mark, rng = Mark(VOCABULARY, SECRET), np.random.default_rng(3)
    marked = [spelled(written(mark, 60, seed, 0.8)) for seed in range(3)]
    plain = [spelled(rng.integers(0, VOCABULARY, 61)) for _ in range(5)]
    mixed = spelled([*rng.integers(0, VOCABULARY, 1500), *written(mark, 45, 8), *rng.integers(0, VOCABULARY, 1500)])
    texts = [*marked, *plain, "5 6 7", "", mixed]
    return Set("some", [*["999 998"] * 10, ""], texts)


def test_a_set_with_a_key_has_a_z_a_row_and_without_one_says_what_it_needs():
    found = measure(some_set(), tokenize=numbers, vocabulary=VOCABULARY, hash_key=SECRET)
    scores = found.rows["z"]
    assert len(scores) == 11
    assert min(scores[:3]) > 4 > max(scores[3:8])
    assert scores[8] is None
    assert scores[9] is None
    assert found.rows["tokens_scored"][8:10] == [2.0, 1.0]  # a row without a response is its prompt
    assert [flag.row for flag in decide([found], RULES)] == [0, 1, 2]
    share, mean, short = found.measures
    assert (share.name, share.value, share.n, share.null) == ("watermarked_share", 3 / 9, 9, 0.0)
    assert share.low < 3 / 9 < share.high
    assert len(found.tables["wrong_keys"]) == 5
    assert mean.null == pytest.approx(np.mean([one["mean_z"] for one in found.tables["wrong_keys"]]))
    assert abs(mean.null) < 1 < mean.value
    assert mean.value == pytest.approx(np.mean([z for z in scores if z is not None]))
    assert short.value == 2 / 11
    assert set(found.details) == {0, 1, 2, 10}
    assert abs(found.details[10][0]["first_token"] - 1500) < 20  # z of the whole row does not tell
    assert scores[10] < 4
    for missing in ({"hash_key": None}, {"tokenize": None}, {"vocabulary": 0}):
        options = {"tokenize": numbers, "vocabulary": VOCABULARY, "hash_key": SECRET} | missing
        none = measure(some_set(), **options)
        assert none.measures[0].value is None
        assert "the key, the tokenizer" in none.measures[0].why
        assert none.rows == {}


def test_a_wrong_key_is_never_the_right_one_and_a_disguise_of_a_row_is_undone():
    drawn_first = random.Random(0).getrandbits(32)
    marked = spelled(written(Mark(VOCABULARY, drawn_first), 60, 1))
    options = {"tokenize": numbers, "vocabulary": VOCABULARY, "hash_key": drawn_first}
    found = measure(of_texts([marked, "\u200b".join(marked)]), **options)
    assert found.rows["z"][0] == found.rows["z"][1] > 4
    assert [one["watermarked_share"] for one in found.tables["wrong_keys"]] == [0.0] * 5


def test_the_key_stands_in_no_result_and_its_id_does():
    found = measure(some_set(), tokenize=numbers, vocabulary=VOCABULARY, hash_key=SECRET)
    assert str(SECRET) not in repr(found)
    assert str(SECRET) not in repr(Mark(100, SECRET))
    assert found.settings["key_id"] == key_id(SECRET) != key_id(PUBLIC_KEY)


def test_the_same_again_whatever_the_order_and_a_threshold_decides_nothing_about_scores():
    data = some_set()
    options = {"tokenize": numbers, "vocabulary": VOCABULARY, "hash_key": SECRET}
    found = measure(data, **options)
    assert measure(data, **options) == found
    turned = measure(data.take(reversed(range(11))), **options)
    assert turned.rows["z"] == found.rows["z"][::-1]
    assert [one.value for one in turned.measures] == pytest.approx([one.value for one in found.measures])
    assert measure(data, z_threshold=1.0, **options).rows == found.rows
    with_reference = measure(data, data.take([0, 3]), **options)
    assert with_reference.measures[0].reference == 0.5


def test_a_row_of_24_scored_tokens_is_too_short_and_one_of_25_is_not():
    texts = [spelled(all_green(Mark(VOCABULARY, SECRET), tokens)) for tokens in (24, 25)]
    found = measure(of_texts(texts), tokenize=numbers, vocabulary=VOCABULARY, hash_key=SECRET)
    assert found.rows["z"] == [None, pytest.approx(8.66, abs=0.005)]
    assert found.rows["tokens_scored"] == [24.0, 25.0]


@pytest.mark.parametrize("texts", [[], [""], ["1"], ["1 1 1 1"] * 30, ["2 3 " * 60_000]], ids=len)
def test_sets_of_nothing_have_defined_values(texts):
    found = measure(of_texts(texts), tokenize=numbers, vocabulary=VOCABULARY, hash_key=SECRET)
    assert found.rows["z"] == [None] * len(texts)
    assert found.measures[0].value is None
    assert found.measures[0].why == "no row has enough tokens"
    assert found.measures[2].value == (1.0 if texts else None)
    assert measure(of_texts([spelled(range(1000)) * 30]), tokenize=by_word(50), vocabulary=50, hash_key=1).measures
