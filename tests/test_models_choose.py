"""`choose` and `score` where the server is the model's own: llama.cpp by grammars, others by echo, and torch beside them."""

import math

import pytest

from gristmill.errors import EndpointDown, Refused
from gristmill.models import choices
from gristmill.models.embedded import _Server
from gristmill.models.openai import OpenAI
from gristmill.models.protocol import Question
from gristmill.models.spec import parse
from gristmill.models.weights import KNOWN, locate
from gristmill.testing.server import Response, Server

SMOLLM2 = "smollm2-135m-instruct"
ZANZIBAR = [" Zanzibar", " Paris", " London"]
CLEAR = [
    ("The capital of France is", [" Paris", " London", " Zanzibar"]),
    ("The capital of France is ", ["Paris", "London"]),  # the space and the name are one token
    ("Once upon a", [" time", " purple", " seventeen times"]),
    ("The opposite of hot is", [" cold", " window", " Thursday"]),
    ("Two plus two equals", [" four", " banana"]),
    ("Water is made of hydrogen and", [" oxygen", " carpets", " tea"]),
    ("<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n", ["Hello", "Bonjour", "Zebra!"]),
]


@pytest.fixture(scope="module")
def server():
    running = _Server.of(locate(KNOWN[SMOLLM2]).resolve(), slots=2, threads=1, context=1024)
    yield running
    running.release()


@pytest.fixture
async def embedded(server):
    backend = parse(f"embedded:{SMOLLM2},slots=2,threads=1,context=1024").open()
    await backend.start()
    yield backend
    await backend.close()


@pytest.fixture(scope="module")
def torch_model():
    """The same file in torch; loaded once, for it takes a while."""
    backend = parse(f"transformers:{SMOLLM2},device=cpu").open()
    backend._load()
    yield backend
    backend._lane._threads.shutdown()


async def chosen(backend, prompt, options):
    return (await backend.answer(Question("choose", prompt=prompt, texts=options), 1)).samples[0]


# -- the same weights in llama.cpp and in torch


@pytest.mark.parametrize(("prompt", "options"), CLEAR)
async def test_llama_cpp_and_torch_agree_on_what_is_likely_where_the_gap_is_clear(
    embedded, torch_model, prompt, options
):
    here, there = await chosen(embedded, prompt, options), await chosen(torch_model, prompt, options)
    assert max(options, key=dict(zip(options, here, strict=True)).get) == options[0]
    assert sorted(options, key=lambda o: -here[options.index(o)]) == sorted(
        options, key=lambda o: -there[options.index(o)]
    )
    assert sum(here) == pytest.approx(1) == sum(there)
    # llama.cpp computes with 8-bit activations, so that they are equal only roughly.
    for a, b in zip(here, there, strict=True):
        assert abs(math.log(a) - math.log(b)) < 1.0


async def test_what_a_grammar_forces_is_reported_with_the_models_own_probability(embedded, torch_model):
    forced = await chosen(embedded, "The capital of France is", [" Zanzibar", " Paris"])
    scored = await torch_model.answer(Question("score", prompt="The capital of France is", continuation=" Zanzibar"), 1)
    assert [token.text for token in scored.samples[0]] == [" Z", "anz", "ibar"]
    assert sum(token.logprob for token in scored.samples[0]) == pytest.approx(math.log(forced[0] / forced[1]), abs=1.0)


async def test_a_token_across_the_border_belongs_to_the_continuation_and_letters_of_several_tokens_stay_whole(
    torch_model,
):
    async def pieces(prompt, continuation):
        scored = await torch_model.answer(Question("score", prompt=prompt, continuation=continuation), 1)
        return [token.text for token in scored.samples[0]]

    assert await pieces("The capital is ", "Paris") == [" Paris"]
    llama = await pieces("Look:", " 🦙 é<|im_end|>!")
    assert "".join(llama) == " 🦙 é<|im_end|>!"
    assert llama[-2:] == ["<|im_end|>", "!"]
    assert await pieces("x", "") == []


async def test_a_llama_cpp_server_behind_the_openai_name_is_recognised_and_asked_by_grammar(
    embedded, server, monkeypatch
):
    monkeypatch.setenv("LLAMA_KEY", server.key)
    backend = OpenAI("any", url=f"{server.url}/v1", key="LLAMA_KEY")
    await backend.start()
    prompt, options = CLEAR[0]
    assert await chosen(backend, prompt, options) == pytest.approx(await chosen(embedded, prompt, options), abs=1e-3)
    await backend.close()


async def test_an_option_that_begins_another_is_the_likelier_one(embedded):
    first, second = await chosen(embedded, "Once upon a", [" time", " time machine"])
    assert first > second
    assert first + second == pytest.approx(1)


async def test_an_option_whose_probability_llama_cpp_does_not_tell_is_refused_and_torch_can_have_it(
    embedded, torch_model
):
    with pytest.raises(Refused, match="character of several tokens"):
        await chosen(embedded, "The animal:", [" 🦙", " cat"])
    assert (await chosen(embedded, "The animal 🦙:", [" a", " b"]))[0] > 0  # in the prompt it does not matter
    assert (await chosen(torch_model, "The animal:", [" 🦙", " cat"]))[1] > 0.5


async def test_a_choice_without_a_prompt_is_refused(embedded):
    with pytest.raises(Refused, match="needs a prompt"):
        await chosen(embedded, "", ["Paris", "London"])


# -- servers that echo


def echoing(chances, *, text=None):
    """A server that gives words as tokens, with log-probabilities of its own."""

    def answer(body, before):
        whole = body["prompt"]
        words = whole.replace(" ", "| ").split("|")
        logprobs = [None if i == 0 else chances.get(word, -1.0) for i, word in enumerate(words)]
        choice = {
            "index": 0,
            "text": whole if text is None else text,
            "finish_reason": "length",
            "logprobs": {"tokens": words, "token_logprobs": logprobs},
        }
        return Response(200, {"choices": [choice], "usage": {"prompt_tokens": len(words), "total_tokens": len(words)}})

    return answer


async def test_a_server_that_echoes_is_asked_for_each_options_log_probabilities():
    async with Server(fault=echoing({" yes": -0.5, " no": -1.5, " way": -2.0})) as server:
        backend = OpenAI("m", url=server.url)
        await backend.start()
        answer = await backend.answer(Question("choose", prompt="Is it so", texts=[" yes", " no", " no way"]), 1)
        worth = [math.exp(-0.5), math.exp(-1.5), math.exp(-3.5)]
        assert answer.samples[0] == pytest.approx([w / sum(worth) for w in worth])
        assert answer.usage.input == 4 + 4 + 5
        await backend.close()


async def test_a_server_that_can_neither_echo_nor_force_says_so():
    async with Server(fault=echoing({}, text=" something else")) as server:
        backend = OpenAI("m", url=server.url)
        await backend.start()
        with pytest.raises(EndpointDown, match="vLLM"):
            await chosen(backend, "Is it so", [" yes", " no"])
        await backend.close()


# -- the arithmetic


def test_options_are_compared_from_the_first_token_in_which_any_two_differ():
    assert choices.common_start([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert choices.common_start([[1, 2], [1, 2, 4]]) == 2
    assert choices.common_start([[1], [2]]) == 0
    assert choices.shares([-1000.0, -1000.0]) == [0.5, 0.5]
    assert choices.shares([0.0, -9999.0]) == [1.0, 0.0]
