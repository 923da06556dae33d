"""What an OpenAI-compatible endpoint says, and what we make of it."""

import asyncio
import contextlib
import email.utils
import json
import socket
import time
from typing import Any

import msgspec
import pytest

from gristmill.errors import BadInput, EndpointDown, PromptTooLong, Refused, Transient
from gristmill.models.http import Http, check_key, limits, retry_after
from gristmill.models.openai import NO_CHANCE, OpenAI
from gristmill.models.protocol import Backend, Image, Limits, Message, Question, Usage, assistant, system, user
from gristmill.testing.server import Response, Server, error

KEY = "sk-proj-verysecret0123456789"


class Verdict(msgspec.Struct):
    score: int
    reason: str = ""


SCHEMA = msgspec.json.schema(Verdict)


@contextlib.asynccontextmanager
async def served(reply=None, *, fault=None, model="test", url="", key="", seconds=10.0, **options):
    """A server that keeps all bodies in `server.asked`, and a started backend for it."""
    asked: list[dict[str, Any]] = []

    def watch(body, before):
        asked.append(body)
        return fault(body, before) if fault else None

    async with Server(reply, fault=watch, **options) as server:
        backend = OpenAI(model, url=url or server.url, key=key, timeout=seconds)
        server.asked = asked
        await backend.start()
        try:
            yield server, backend
        finally:
            await backend.close()


def chat(*messages, schema=None, **sampling):
    made = [user(message) if isinstance(message, str) else message for message in messages]
    return Question("chat", messages=made, sampling=sampling, schema=schema)


def complete(prompt, **sampling):
    return Question("complete", prompt=prompt, sampling=sampling)


def choices(*found, **more):
    return Response(200, {"choices": list(found), **more})


async def one(backend, question):
    return (await backend.answer(question, 1)).samples[0]


async def raised(fault, question=None, **more):
    """What the backend raises where the server answers with `fault`."""
    async with served(fault=lambda body, before: fault, **more) as (_, backend):
        with pytest.raises(Exception) as caught:
            await backend.answer(question or chat("hello"), 1)
    return caught.value


# Asking


async def test_it_is_a_backend():
    assert isinstance(OpenAI("m"), OpenAI)
    backend: Backend = OpenAI("m")
    assert {"model", "can", "endpoint", "concurrency", "max_n", "context", "price"} <= set(vars(backend))


async def test_a_chat_goes_out_with_its_options_and_comes_back_as_replies_and_usage():
    async with served() as (server, backend):
        question = chat(system("be kind"), "hello", temperature=0.5, max_tokens=7, stop=["x"], seed=3, top_p=0.9)
        answer = await backend.answer(question, 3)
        assert server.asked == [
            {
                "model": "test",
                "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}],
                "temperature": 0.5,
                "max_tokens": 7,
                "stop": ["x"],
                "seed": 3,
                "top_p": 0.9,
                "n": 3,
            }
        ]
    assert [reply.finish for reply in answer.samples] == ["length"] * 3
    assert len({reply.text for reply in answer.samples}) == 3
    assert answer.usage.output == 3 * 7
    assert answer.usage.input > 0


async def test_a_raw_prompt_goes_to_completions_and_no_template_is_put_around_it():
    async with served(lambda body, sample: f"{body['prompt']}!") as (server, backend):
        assert (await one(backend, complete("<|im_start|>user\n"))).text == "<|im_start|>user\n!"
        assert "messages" not in server.asked[0]


async def test_texts_are_embedded_in_their_order_and_in_parts():
    async with served() as (server, backend):
        texts = [f"text {i}" for i in range(300)]
        answer = await backend.answer(Question("embed", texts=texts), 1)
        assert [len(body["input"]) for body in server.asked] == [256, 44]
        alone = await backend.answer(Question("embed", texts=texts[-1:]), 1)
    assert len(answer.samples) == 300
    assert answer.samples[-1] == alone.samples[0]
    assert answer.usage.input > 0
    assert answer.usage.output == 0


async def test_vectors_that_come_in_another_order_are_put_right():
    data = [{"index": 1, "embedding": [1.0]}, {"index": 0, "embedding": [0.0]}]
    async with served(fault=lambda body, before: Response(200, {"data": data})) as (_, backend):
        assert (await backend.answer(Question("embed", texts=["a", "b"]), 1)).samples == [[0.0], [1.0]]


async def test_pictures_are_message_parts():
    async with served() as (server, backend):
        await one(backend, chat(user("what is this?", Image("data:image/png;base64,xyz"))))
        assert server.asked[0]["messages"][0]["content"] == [
            {"type": "text", "text": "what is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,xyz"}},
        ]


async def test_text_that_is_no_text_costs_its_row_and_not_the_run():
    async with served() as (_, backend):
        with pytest.raises(Refused, match="not valid text"):
            await one(backend, chat("half an emoji: \ud83d"))


# Schemas


async def test_a_schema_is_asked_for_natively_and_in_the_form_that_openai_enforces():
    async with served() as (server, backend):
        await one(backend, chat("judge", schema=SCHEMA))
        asked = server.asked[0]["response_format"]["json_schema"]
    assert asked["name"] == "Verdict"
    assert asked["strict"] is True
    assert asked["schema"]["type"] == "object"  # and not a reference
    assert asked["schema"]["required"] == ["score", "reason"]  # also the one with a default
    assert asked["schema"]["additionalProperties"] is False
    assert "default" not in json.dumps(asked["schema"])


async def test_a_schema_that_has_no_strict_form_is_sent_as_it_is():
    free = msgspec.json.schema(dict[str, int])
    async with served() as (server, backend):
        await one(backend, chat("count", schema=free))
        assert server.asked[0]["response_format"]["json_schema"]["strict"] is False
        assert server.asked[0]["response_format"]["json_schema"]["schema"]["additionalProperties"] == {
            "type": "integer"
        }


async def test_an_endpoint_without_schemas_gets_them_in_words_and_is_asked_natively_only_once():
    def no_schemas(body, before):
        if "response_format" in body:
            return error(400, "This response_format type is unavailable now")
        return None

    async with served(lambda body, sample: '{"score": 1}', fault=no_schemas) as (server, backend):
        assert (await one(backend, chat(system("s"), "judge this", schema=SCHEMA))).text == '{"score": 1}'
        await one(backend, chat("judge that", schema=SCHEMA))
        assert ["response_format" in body for body in server.asked] == [True, False, False]
        words = server.asked[1]["messages"][1]["content"]
    assert words.startswith("judge this")
    assert json.loads(words[words.index("{") :]) == SCHEMA
    assert any("JSON schemas" in note for note in backend.notes)


async def test_one_schema_that_is_refused_does_not_stop_others_from_being_asked_natively():
    def picky(body, before):
        if body.get("response_format", {}).get("json_schema", {}).get("name") == "Verdict":
            return error(400, "Invalid schema for response_format 'Verdict'", param="response_format")
        return None

    async with served(fault=picky) as (server, backend):
        await one(backend, chat("judge", schema=SCHEMA))
        await one(backend, chat("count", schema=msgspec.json.schema(list[int])))
        assert ["response_format" in body for body in server.asked] == [True, False, True]


async def test_a_schema_in_words_finds_its_place_among_pictures_and_before_a_prefill():
    async with served(fault=lambda body, _: error(400, "no json_schema") if "response_format" in body else None) as (
        server,
        backend,
    ):
        await one(backend, chat(user("look", Image("https://x/y.png")), assistant("{"), schema=SCHEMA))
        look, prefill = server.asked[-1]["messages"]
        assert [part["type"] for part in look["content"]] == ["text", "image_url", "text"]
        assert prefill["content"] == "{"


# Replies


async def test_a_prefill_that_the_endpoint_repeats_is_taken_off():
    async with served(lambda body, sample: "Yes, because it rains") as (server, backend):
        assert (await one(backend, chat("wet?", assistant("Yes, because")))).text == " it rains"
        assert server.asked[0]["continue_final_message"] is True  # vLLM would begin a new message
        assert (await one(backend, chat("wet?", assistant("No")))).text == "Yes, because it rains"


@pytest.mark.parametrize(
    ("message", "text", "thinking"),
    [
        ({"content": "4", "reasoning_content": "2+2"}, "4", "2+2"),
        ({"content": "4", "reasoning": "2+2"}, "4", "2+2"),
        ({"content": "<think>\n2+2\n</think>\n\n4"}, "4", "2+2"),
        ({"content": "2+2\n</think>4"}, "4", "2+2"),  # the template opened it
        ({"content": "<think>2+"}, "", "2+"),  # cut
        ({"content": "HTML has no <think> tag, so </think> is wrong"}, None, ""),
        ({"content": [{"type": "thinking", "thinking": [{"text": "2+2"}]}, {"type": "text", "text": "4"}]}, "4", "2+2"),
        ({"content": None, "reasoning": "2+2"}, "", "2+2"),
        ({"content": ""}, "", ""),
    ],
)
async def test_thoughts_are_kept_apart_from_the_answer(message, text, thinking):
    async with served(fault=lambda body, before: choices({"message": message})) as (_, backend):
        reply = await one(backend, chat("2+2?"))
    assert reply.text == (message["content"] if text is None else text)
    assert reply.thinking == thinking


async def test_a_raw_completion_keeps_every_character():
    async with served(lambda body, sample: "<think>a</think>b") as (_, backend):
        assert (await one(backend, complete("x"))).text == "<think>a</think>b"


async def test_a_refusal_in_words_is_a_reply_that_says_so():
    message = {"content": None, "refusal": "I cannot help with that"}
    async with served(fault=lambda body, before: choices({"message": message, "finish_reason": "stop"})) as (
        _,
        backend,
    ):
        reply = await one(backend, chat("?"))
    assert (reply.text, reply.finish) == ("I cannot help with that", "refusal")


async def test_logprobs_read_alike_from_chat_from_completions_and_from_llama_cpp():
    async with served(lambda body, sample: "one two") as (server, backend):
        spoken = await one(backend, chat("x", logprobs=True, top_logprobs=2))
        raw = await one(backend, complete("x", logprobs=True, top_logprobs=2))
        plain = await one(backend, complete("x", logprobs=True))
        none = await one(backend, chat("x"))
        assert [body.get("logprobs") for body in server.asked] == [True, 2, 1, None]
    assert [token.text for token in spoken.logprobs] == ["one", " two"]
    assert spoken.logprobs == raw.logprobs
    assert len(raw.logprobs[0].top) == 2
    assert plain.logprobs[0].top == {}
    assert none.logprobs is None
    tops = [{"token": "worse", "logprob": -2}, {"token": "b", "logprob": -1}]
    llama = {"content": [{"token": "a", "logprob": None, "top_logprobs": tops}]}
    async with served(fault=lambda body, before: choices({"text": "a", "logprobs": llama})) as (_, backend):
        token = (await one(backend, complete("x", logprobs=True, top_logprobs=1))).logprobs[0]
    assert (token.text, token.logprob, token.top) == ("a", NO_CHANCE, {"b": -1.0})


async def test_a_continuation_is_scored_without_its_prompt():
    def echo(body, before):
        assert (body["echo"], body["max_tokens"], body["prompt"]) == (True, 0, "Is it? Yes indeed")
        logprobs = {
            "tokens": ["<s>", "Is", " it", "?", " Yes", " indeed"],
            "token_logprobs": [None, -1, -2, -3, -4, -5],
        }
        return choices({"text": body["prompt"], "logprobs": logprobs})

    async with served(fault=echo) as (_, backend):
        question = Question("score", prompt="Is it?", continuation=" Yes indeed")
        tokens = (await backend.answer(question, 1)).samples[0]
    assert [(token.text, token.logprob) for token in tokens] == [(" Yes", -4.0), (" indeed", -5.0)]


async def test_an_endpoint_that_cannot_score_is_told_from_one_that_can():
    assert isinstance(await raised(None, Question("score", prompt="a", continuation="b")), EndpointDown)


async def test_a_reply_with_half_an_emoji_or_a_bare_nan_is_read():
    broken = b'{"choices": [{"message": {"content": "good \\ud83d"}, "x": NaN}]}'
    async with served(fault=lambda body, before: Response(200, broken)) as (_, backend):
        assert (await one(backend, chat("x"))).text == "good ?"


async def test_an_endpoint_that_counts_no_tokens_is_counted_by_characters():
    async with served(fault=lambda body, before: choices({"message": {"content": "x" * 400}})) as (_, backend):
        usage = (await backend.answer(chat("y" * 800), 1)).usage
    assert 90 < usage.output < 110
    assert usage.input >= 200


async def test_thoughts_that_only_the_total_counts_are_paid_for():
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    async with served(fault=lambda body, before: choices({"text": "x"}, usage=usage)) as (_, backend):
        assert (await backend.answer(complete("x"), 1)).usage.output == 105


async def test_an_endpoint_cannot_give_tokens_back():
    usage = {"prompt_tokens": -1_000_000, "completion_tokens": -5}
    async with served(fault=lambda body, before: choices({"text": "x"}, usage=usage)) as (_, backend):
        assert (await backend.answer(complete("x"), 1)).usage == Usage(0, 0)


# Peculiar endpoints


async def test_a_token_limit_of_another_name_is_learnt_once():
    def modern(body, before):
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            return error(400, message, param="max_tokens", code="unsupported_parameter")
        return None

    async with served(fault=modern) as (server, backend):
        for _ in range(2):
            assert (await one(backend, chat("x", max_tokens=3))).finish == "length"
        assert [sorted(body)[0] for body in server.asked] == [
            "max_tokens",
            "max_completion_tokens",
            "max_completion_tokens",
        ]


def refuses(*names):
    def fault(body, before):
        for name in names:
            if name in body:
                return error(
                    400, f"Unsupported value: '{name}' does not support it", param=name, code="unsupported_value"
                )
        return None

    return fault


async def test_sampling_options_that_a_reasoning_model_refuses_are_left_out_from_then_on():
    async with served(fault=refuses("temperature", "top_p")) as (server, backend):
        await one(backend, chat("x", temperature=0.3, top_p=0.5, max_tokens=9))
        await one(backend, chat("y", temperature=0.3, top_p=0.5, max_tokens=9))
        assert [("temperature" in body, "top_p" in body) for body in server.asked] == [
            (True, True),
            (False, True),
            (False, False),
            (False, False),
        ]
    assert [note.split(" ")[4].strip(";") for note in backend.notes] == ["temperature", "top_p"]


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
        {"error": "unknown field 'seed'"},
        {"object": "error", "message": "Unrecognized request argument supplied: 'seed'", "code": 400},
        [{"error": {"code": 400, "message": 'Unknown name "seed": Cannot find field.'}}],
    ],
)
async def test_a_refused_option_is_found_in_every_form_of_error(body):
    async with served(fault=lambda asked, before: Response(422, body) if "seed" in asked else None) as (
        server,
        backend,
    ):
        await one(backend, chat("x", seed=1))
        assert len(server.asked) == 2


async def test_calls_in_flight_together_all_survive_the_lesson():
    async with served(fault=refuses("temperature"), latency=0.05) as (server, backend):
        answers = await asyncio.gather(*(backend.answer(chat(f"{i}", temperature=1), 1) for i in range(10)))
        assert len(answers) == 10
        assert len(server.asked) == 20


async def test_stop_words_work_also_where_the_endpoint_refuses_them():
    async with served(lambda body, sample: "one. two. three.", fault=refuses("stop")) as (_, backend):
        reply = await one(backend, chat("x", stop=["three", ". two"]))
    assert (reply.text, reply.finish) == ("one", "stop")


async def test_log_probabilities_and_token_limits_are_never_dropped():
    assert isinstance(await raised(error(400, "'logprobs' is not supported"), chat("x", logprobs=True)), Refused)
    assert isinstance(await raised(error(400, "'max_tokens' is not supported"), chat("x", max_tokens=5)), Refused)


async def test_a_value_out_of_range_is_the_recipes_error_and_drops_nothing():
    problem = await raised(
        error(400, "temperature must be between 0 and 2", param="temperature"), chat("x", temperature=9)
    )
    assert isinstance(problem, Refused)


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("Field 'n': Value must be between 1 <= value <= 4, but got 9", 4),
        ("'n' : number must be at most 1", 1),
        ("n must be 1 when using greedy sampling", 1),
    ],
)
async def test_an_endpoint_that_takes_fewer_samples_gets_asked_for_fewer(message, limit):
    async with served(fault=lambda body, before: error(400, message) if body.get("n", 1) > limit else None) as (
        _,
        backend,
    ):
        assert len((await backend.answer(chat("x"), 9)).samples) == limit
        assert backend.max_n == limit


async def test_an_endpoint_that_ignores_n_is_found_out():
    async with served(fault=lambda body, before: choices({"message": {"content": "x"}})) as (_, backend):
        assert len((await backend.answer(chat("x"), 8)).samples) == 1
        assert backend.max_n == 1


# What goes wrong


async def test_nobody_there_is_unreachable():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with served(url=f"http://127.0.0.1:{port}/v1") as (_, backend):
        with pytest.raises(Transient, match="cannot connect") as caught:
            await one(backend, chat("x"))
    assert caught.value.unreachable


@pytest.mark.parametrize("fault", ["cut", "malformed", "hang"])
async def test_a_broken_answer_can_be_tried_again(fault):
    problem = await raised(fault, seconds=0.3)
    assert isinstance(problem, Transient)
    assert not problem.unreachable


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
async def test_what_may_pass_is_transient_and_carries_the_wait_that_was_asked_for(status):
    problem = await raised(error(status, "later", retry_after="1.5"))
    assert isinstance(problem, Transient)
    assert problem.retry_after == 1.5
    assert problem.busy == (status == 429)
    assert problem.down == (status in (502, 503, 529))  # there, nobody gets an answer; a 504 may be of one long call
    assert (await raised(error(status, "later"))).retry_after is None


def test_the_wait_is_read_in_milliseconds_seconds_and_as_a_date():
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({"retry-after": "9"}) == 9
    assert retry_after({"retry-after": email.utils.formatdate(time.time() + 60, usegmt=True)}) == pytest.approx(
        60, abs=2
    )
    assert retry_after({"retry-after": email.utils.formatdate(time.time() - 60, usegmt=True)}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "-5"}) is None
    assert retry_after({}) is None


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, None),
        ({"x-ratelimit-limit-requests": "60"}, None),
        # OpenAI's reset is when the bucket is full again: 50 of 60 are gone, and come back in 25 s.
        (("60", "10", "25s"), Limits(10, 0.0, 2.0)),
        (("10000", "0", "1m0s"), Limits(0, 0.0, 10000 / 60)),
        (("60", "57", "120ms"), Limits(57)),  # 3 gone, give or take one, say little
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, Limits(0, 360.0)),
        ({"x-ratelimit-remaining-requests": "0"}, Limits(0)),
        (
            {
                "x-ratelimit-remaining-requests": "7",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "1h0m10s",
                "x-ratelimit-limit-tokens": "9",
            },
            Limits(0, 3610 / 50),
        ),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "17"}, Limits(0, 17.0)),
        ({"x-ratelimit-remaining": "5", "x-ratelimit-reset": "17.5"}, Limits(5, 17.5)),
        ({"ratelimit-remaining": "many"}, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "soon"}, Limits(0)),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "-4"}, Limits(0)),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "nan"}, Limits(0)),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "1e300"}, Limits(0)),
    ],
)
def test_rate_limit_headers_of_both_kinds_are_read(headers, told):
    if isinstance(headers, tuple):
        names = ("limit", "remaining", "reset")
        headers = {f"x-ratelimit-{name}-requests": value for name, value in zip(names, headers, strict=True)}
    assert limits(headers) == told


def test_a_reset_may_be_a_moment_since_1970_in_seconds_or_milliseconds():
    for unit in (1, 1000):
        told = limits({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int((time.time() + 30) * unit))})
        assert told.reset == pytest.approx(30, abs=2)
    assert limits({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time() - 30))}).reset == 0


async def test_what_is_left_comes_with_answers_and_with_refusals():
    async with served(rate=0.01, burst=6, limit_headers=True) as (_, backend):
        answers = [await backend.answer(chat("?"), 1) for _ in range(6)]
        assert [answer.limits.remaining for answer in answers] == [5, 4, 3, 2, 1, 0]
        assert answers[-1].limits.rate == pytest.approx(0.01, rel=0.01)
        with pytest.raises(Transient) as caught:
            await backend.answer(chat("?"), 1)
    assert caught.value.busy
    assert caught.value.limits.remaining == 0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(400, "This model's maximum context length is 10 tokens. However, ..."), PromptTooLong),
        (error(400, "too big", code="context_length_exceeded"), PromptTooLong),
        (
            Response(400, {"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 51, "n_ctx": 40}}),
            PromptTooLong,
        ),
        (Response(400, {"object": "error", "message": "max_tokens must be at least 1, got -12"}), PromptTooLong),
        (error(400, "your prompt is rude"), Refused),
        (error(422, "what?"), Refused),
        (error(403, "your input was flagged by moderation"), Refused),
        (error(500, "image input is not supported"), Refused),
        (error(401, "no"), EndpointDown),
        (error(402, "Insufficient credits"), EndpointDown),
        (error(403, "no access from your country"), EndpointDown),
        (error(404, "The model `x` does not exist", code="model_not_found"), EndpointDown),
        (error(400, "model x not found"), EndpointDown),
        (error(405, "no POST here"), EndpointDown),
        (error(501, "This server does not support embeddings"), EndpointDown),
        (error(429, "You exceeded your current quota", code="insufficient_quota"), EndpointDown),
        (Response(200, {"error": {"message": "upstream is busy", "code": 429}}), Transient),
        (Response(200, {"error": {"message": "upstream broke"}}), Transient),
        (Response(200, {"error": {"message": "bad prompt", "code": 400}}), Refused),
        (Response(200, {"choices": []}), Transient),
        (Response(200, b"<html>sign in to the hotel network</html>"), Transient),
        (Response(200, {"choices": [{"finish_reason": "error", "text": ""}]}), Transient),
        (Response(502, b"<html><b>Bad gateway</b></html>"), Transient),
    ],
)
async def test_every_answer_has_its_class(answer, kind):
    problem = await raised(answer)
    assert type(problem) is kind, problem


async def test_errors_say_what_to_do():
    sizes = {"type": "exceed_context_size_error", "message": "too long", "n_prompt_tokens": 51, "n_ctx": 40}
    assert "51 tokens of prompt, 40 of context" in str(await raised(Response(400, {"error": sizes})))
    missing = str(await raised(error(404, "no such thing"), model="nope"))
    assert "nope at http://127.0.0.1:" in missing
    assert "/v1" in missing
    assert "key=NAME" in str(await raised(error(401, "no")))
    assert (await raised(error(400, "rude", code="rude"))).code == "rude"
    long = str(await raised(error(400, "a" * 5000)))
    assert len(long) < 1000


async def test_a_redirect_is_not_followed_so_the_key_stays_with_its_host(monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    async with Server() as other:
        problem = await raised(Response(307, {}, {"Location": f"{other.url}/chat/completions"}), key="SOME_KEY")
        assert other.requests == 0
    assert isinstance(problem, EndpointDown)
    assert other.url in str(problem)


# Keys


async def test_the_key_comes_from_its_variable_and_opens_the_door(monkeypatch):
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    async with served(api_key=KEY, key="SOME_KEY") as (_, backend):
        assert (await one(backend, chat("x"))).text


async def test_a_server_of_ones_own_gets_no_key_unless_one_is_named(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    seen = []

    class Ear(Server):
        def handle(self, connection, head, body):
            seen.append(head.lower())
            super().handle(connection, head, body)

    async with Ear() as server:
        backend = OpenAI("m", url=server.url)
        await backend.start()
        await one(backend, chat("x"))
        await backend.close()
    assert b"content-type: application/json" in seen[0]
    assert b"authorization" not in seen[0]


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "MY_KEY"])
async def test_a_missing_key_is_said_before_the_first_call(monkeypatch, variable):
    monkeypatch.delenv(variable, raising=False)
    backend = OpenAI("gpt-4o-mini", key="" if variable == "OPENAI_API_KEY" else variable)
    with pytest.raises(BadInput, match=rf"{variable} is not set.*embedded:"):
        await backend.start()


@pytest.mark.parametrize("key", [KEY, "a.key/of+no-known_form"])
async def test_no_error_shows_the_key_even_if_the_server_repeats_it(monkeypatch, key):
    monkeypatch.setenv("SOME_KEY", key)
    said = f"Incorrect API key provided: {key}. Also sk-other***9876"
    for status in (400, 401, 403, 404, 429, 500):
        for answer in (error(status, said), Response(status, said.encode()), Response(200, said.encode())):
            problem = await raised(answer, key="SOME_KEY")
            assert key not in str(problem)
            assert "9876" not in str(problem)
    refused = await raised(error(401, said), key="SOME_KEY")
    assert "SOME_KEY" in str(refused)


def test_names_of_models_are_not_taken_for_keys():
    text = "gpt-4o-mini-2024-07-18, gpt-5.4-mini, o3-mini, task-1234-done, skip-this-one12: no such model"
    assert Http("http://x", timeout=1).hide(text) == text


async def test_the_key_is_in_no_identity_and_no_repr(monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    async with served(key="SOME_KEY") as (_, backend):
        assert KEY not in repr(backend) + str(backend.identity()) + repr(backend._http) + backend.spec
        assert "127.0.0.1" not in str(backend.identity())


def test_a_key_with_a_line_break_inside_is_refused_without_being_shown():
    with pytest.raises(BadInput, match="SOME_KEY") as caught:
        check_key("sk-first\nsk-second", "SOME_KEY")
    assert "first" not in str(caught.value)


async def test_a_proxy_of_the_environment_is_none_for_loopback(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with served() as (_, backend):
        assert (await one(backend, chat("x"))).text


# OpenAI itself


def test_openais_own_models_do_what_openai_serves():
    assert OpenAI("gpt-4o-mini").can == {"Chat", "See"}
    assert OpenAI("gpt-3.5-turbo-instruct").can == {"Complete"}
    assert OpenAI("text-embedding-3-small").can == {"Embed"}
    assert {"Chat", "Complete", "Embed"} <= OpenAI("x", url="http://localhost:8000/v1").can


def test_openais_own_models_are_asked_by_the_new_name_of_the_token_limit_at_once():
    assert "max_completion_tokens" in OpenAI("gpt-4o-mini")._body(chat("x", max_tokens=5), 1)
    assert "max_tokens" in OpenAI("davinci-002")._body(complete("x", max_tokens=5), 1)


def test_a_host_that_only_looks_like_openais_gets_no_key():
    for url in (
        "https://api.openai.com.evil.example/v1",
        "http://api.openai.com/v1",
        "https://evil.example/api.openai.com",
    ):
        assert OpenAI("m", url=url)._key_name == ""


async def test_an_image_only_message_and_an_empty_chat_do_not_break_the_body():
    assert OpenAI("m")._body(Question("chat", messages=[Message("user", [])]), 1)["messages"] == [
        {"role": "user", "content": []}
    ]
    assert OpenAI("m")._body(Question("chat"), 1)["messages"] == []
