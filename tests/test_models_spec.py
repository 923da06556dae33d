"""Models by name: what a name means, what it must not hold, what a model costs and can do."""

import os

import pytest

from gristmill.errors import BadInput
from gristmill.models import prices, templates
from gristmill.models.openai import OpenAI
from gristmill.models.protocol import Message, Price, Question
from gristmill.models.spec import DEFAULT, Spec, check_can, parse
from gristmill.testing.server import Server

SECRET = "sk-proj-verysecret0123456789"


def refused(text):
    with pytest.raises(BadInput) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("openai:gpt-4o-mini", {"model": "gpt-4o-mini"}),
        ("openai:meta-llama/Llama-3:free", {"model": "meta-llama/Llama-3:free"}),
        ("openai:qwen2.5:7b@http://localhost:11434/v1", {"model": "qwen2.5:7b", "url": "http://localhost:11434/v1"}),
        ("openai:a@b@https://x.example/api/v1/", {"model": "a@b", "url": "https://x.example/api/v1"}),
        ("openai:m@http://localhost:8000", {"model": "m", "url": "http://localhost:8000/v1"}),
        ("openai:m@http://LocalHost:8000/V1", {"model": "m", "url": "http://localhost:8000/V1"}),
        ("openai:m,price=0.15/0.6", {"model": "m", "price": Price(0.15, 0.6)}),
        (
            "openai:m@http://h/v1,key=MY_KEY,context=8192,as=complete,timeout=2.5,concurrency=7",
            {
                "model": "m",
                "url": "http://h/v1",
                "key": "MY_KEY",
                "context": 8192,
                "as_complete": True,
                "timeout": 2.5,
                "concurrency": 7,
            },
        ),
    ],
)
def test_a_name_is_taken_apart(text, parts):
    assert parse(text) == Spec(backend="openai", **parts)


def test_an_embedded_model_is_named_by_name_or_by_file():
    assert parse("embedded") == parse("embedded:") == parse(DEFAULT)
    assert parse("embedded:/a,b/c d.gguf,slots=2,threads=1") == Spec(
        backend="embedded", model="/a,b/c d.gguf", slots=2, threads=1
    )


@pytest.mark.parametrize(
    "text",
    [
        DEFAULT,
        "openai:a:b/c@http://h:1/v1,key=K,context=1,price=0.15/0.6,as=complete,timeout=0.5,concurrency=2",
        "embedded:/x/y.gguf,context=2048,slots=2,threads=1",
    ],
)
def test_the_canonical_text_means_the_same_again(text):
    assert parse(text).text == text
    assert parse("  " + text + " ").text == text


def test_options_stand_in_any_order_and_come_out_in_one():
    assert parse("openai:m,timeout=5,key=K").text == parse("openai:m,key=K,timeout=5.0").text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("opnai:gpt-4o", "did you mean openai"),
        ("gpt-4o-mini", "openai:gpt-4o-mini"),
        ("llama3.2:1b", "openai:llama3.2:1b"),
        ("/models/x.gguf", "embedded:/models/x.gguf"),
        ("", "names no backend"),
        ("openai:", "which model"),
        ("openai:@http://h/v1", "expected MODEL"),
        ("openai:m,contxt=5", "did you mean context"),
        ("openai:m,context=5,context=6", "twice"),
        ("openai:m,big", "option=value"),
        ("openai:m@http://h/v1,big", "option=value"),
        ("openai:m,context=0", "whole number"),
        ("openai:m,context=lots", "whole number"),
        ("openai:m,concurrency=-1", "whole number"),
        ("openai:m,timeout=nan", "seconds"),
        ("openai:m,price=cheap", "0.15/0.60"),
        ("openai:m,price=-1/2", "0.15/0.60"),
        ("openai:m,price=1/inf", "0.15/0.60"),
        ("openai:m,as=chat", "as=complete"),
        ("openai:m,slots=2", "no option 'slots'"),
        ("embedded:x@http://h/v1", "takes no URL"),
        ("openai:m@http://", "http(s)://HOST"),
        ("openai:m@http://h:port/v1", "cannot be read"),
        ("openai:m@http://h/v1?api-version=3", "without '?'"),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(text, hint):
    assert hint in refused(text)


@pytest.mark.parametrize(
    "text",
    [
        f"openai:m,key={SECRET}",
        "openai:m,key=gsk_verysecret0123456789",
        "openai:m,key=AKIAVERYSECRET012345",
        f"openai:m@https://user:{SECRET}@host.example/v1",
        f"openai:m@https://{SECRET}@httphost.example/v1",
        f"openai:m@https://host.example/v1?key={SECRET}",
        f"openai:m,api_key={SECRET}",
        f"openai:m,context={SECRET}",
        f"openai:m,timeout={SECRET}",
        f"openai:m,as={SECRET}",
    ],
)
def test_a_credential_in_a_name_is_refused_and_not_repeated(text):
    said = refused(text)
    assert "verysecret" not in said.lower()


def test_a_variable_in_small_letters_is_a_name_if_it_is_set(monkeypatch):
    monkeypatch.setenv("my_key", SECRET)
    assert parse("openai:m,key=my_key").key == "my_key"
    monkeypatch.delenv("my_key")
    assert "NAME" in refused("openai:m,key=my_key")


# Opening


def test_opening_gives_the_backend_what_its_name_says():
    backend = parse("openai:m@http://h:8/v1,context=9,price=1/2,concurrency=3").open()
    assert isinstance(backend, OpenAI)
    assert (backend.model, backend.endpoint, backend.context, backend.concurrency) == ("m", "http://h:8", 9, 3)
    assert backend.price == Price(1, 2)
    assert backend.spec == "openai:m@http://h:8/v1,context=9,price=1/2,concurrency=3"


def test_a_moved_server_loses_no_paid_answer_and_neither_does_a_changed_limit():
    plain = parse("openai:m@http://a/v1").open().identity()
    assert plain == parse("openai:m@http://b:9/v1,timeout=5,price=1/2,concurrency=2,key=K").open().identity()
    assert plain != parse("openai:n@http://a/v1").open().identity()
    assert plain != parse("openai:m@http://a/v1,as=complete").open().identity()


async def test_a_chat_model_plays_raw_completion_only_if_asked_and_the_key_shows_it():
    async with Server(lambda body, sample: body["messages"][0]["content"] + "!") as server:
        backend = parse(f"openai:m@{server.url},as=complete").open()
        assert backend.identity()["as"] == "complete"
        assert "Complete" in backend.can
        await backend.start()
        for question in (Question("complete", prompt="once"), Question("chat", messages=[Message("user", "once")])):
            assert (await backend.answer(question, 1)).samples[0].text == "once!"
        backend._chat.max_n = 3
        assert backend.max_n == 3
        await backend.close()


def test_litellm_says_how_to_install_it():
    import asyncio
    from importlib.util import find_spec

    backend = parse("litellm:anthropic/claude-haiku-4-5").open()
    assert backend.can == {"Chat", "Embed"}
    if find_spec("litellm") is None:
        with pytest.raises(BadInput, match=r"pip install 'gristmill\[litellm\]'"):
            asyncio.run(backend.start())


# What it can


def test_a_model_that_cannot_play_its_role_is_refused_with_those_that_can():
    chat = parse("openai:gpt-4o-mini").open()
    check_can(chat, "judge", frozenset({"Chat"}))
    with pytest.raises(BadInput) as caught:
        check_can(chat, "student", frozenset({"Chat", "Complete"}))
    said = str(caught.value)
    for part in ("'student'", "Complete", "gpt-4o-mini", "embedded:", "vLLM", ",as=complete"):
        assert part in said
    check_can(parse("openai:gpt-4o-mini,as=complete").open(), "student", frozenset({"Chat", "Complete"}))


def test_raw_completion_is_no_way_out_for_other_capabilities():
    with pytest.raises(BadInput) as caught:
        check_can(parse("openai:gpt-4o-mini").open(), "scorer", frozenset({"Score"}))
    assert "as=complete" not in str(caught.value)


# Prices


def test_prices_ship_for_the_providers_own_address_only():
    known = prices.load()
    assert known.of(parse("openai:gpt-4o-mini")) == Price(0.15, 0.60)
    assert known.of(parse("openai:gpt-4o-mini-2024-07-18")) == Price(0.15, 0.60)
    assert known.of(parse("openai:gpt-4o-mini@http://localhost:8000/v1")) is None
    assert known.of(parse("openai:no-such-model")) is None
    assert known.of(parse(DEFAULT)) == Price(0, 0)
    assert known.of(parse("litellm:anthropic/claude-haiku-4-5@2025")) is None


def test_a_users_own_prices_win_and_the_name_itself_wins_over_those():
    known = prices.load(
        {
            "gpt-4o-mini": "1/2",
            "openai:mine": [3, 4],
            "openai:mine@http://h/v1": {"input": 5, "output": 6},
        }
    )
    assert known.of(parse("openai:gpt-4o-mini")) == Price(1, 2)
    assert known.of(parse("openai:mine")) == Price(3, 4)
    assert known.of(parse("openai:mine@http://elsewhere/v1")) == Price(3, 4)
    assert known.of(parse("openai:mine@http://h/v1")) == Price(5, 6)
    assert known.of(parse("openai:mine,price=7/8")) == Price(7, 8)


@pytest.mark.parametrize("price", ["cheap", "1", [1, 2, 3], {"input": 1}, 5, None, "1/-2"])
def test_a_price_that_is_none_is_named(price):
    with pytest.raises(BadInput, match="'mine'"):
        prices.load({"mine": price})


# Templates


def test_templates_are_found_by_a_models_name():
    assert templates.of("smollm2-135m-instruct") is templates.PRE_QUERY["smollm2"]
    assert templates.of("Qwen/Qwen2.5-7B-Instruct") is templates.PRE_QUERY["qwen2.5"]
    assert templates.of("Qwen/Qwen2-7B-Instruct") is templates.PRE_QUERY["qwen2"]
    assert templates.of("meta-llama/Meta-Llama-3-8B-Instruct") is templates.PRE_QUERY["llama-3"]
    assert templates.of("meta-llama/Llama-3.1-8B-Instruct") is templates.PRE_QUERY["llama-3"]
    assert templates.of("gpt-4o-mini") is None


def test_a_template_ends_where_the_users_words_begin():
    llama, qwen = templates.PRE_QUERY["llama-3"], templates.PRE_QUERY["qwen2"]
    assert llama.pre_query() == "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
    assert qwen.pre_query() == "<|im_start|>user\n"
    assert qwen.pre_query("Be brief.", [("user", "Hi"), ("assistant", "Hello")]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\n"
    )
    assert templates.PRE_QUERY["qwen2.5"].pre_query("") == "<|im_start|>user\n"


def test_no_name_of_a_key_is_read_before_the_start():
    assert "NO_SUCH_KEY" not in os.environ
    assert parse("openai:m,key=NO_SUCH_KEY").open().model == "m"
