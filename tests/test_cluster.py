"""A cluster: the rows of a single process, whatever happens to workers, driver and the way between them.

Real Ray, real worker processes, a real server on loopback whose answers are a function of the request and the sample.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import ray

import gristmill
import recipes_for_cluster as recipes
from gristmill import BadInput, Chain
from gristmill.cluster.crew import Crew, Gone
from gristmill.cluster.messages import Message, Result
from gristmill.cluster.ray_core import Cluster, where
from gristmill.engine.budget import Budget, Halt
from gristmill.engine.calls import Ledger
from gristmill.engine.stage import Bound, Stage, Unit
from gristmill.errors import EndpointDown
from gristmill.execute import looking
from gristmill.testing import Scripted, folder
from gristmill.testing.server import counts, spawn

HERE = Path(__file__).parent

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all tests of this file: a run that finds Ray connected uses it."""
    ray.init(
        num_cpus=4,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        configure_logging=False,
    )
    yield "local:3"
    ray.shutdown()


@pytest.fixture(scope="module")
def slow_server():
    with spawn("--latency", "0.02", "--jitter", "0.02") as url:
        yield url


def seeds(count: int) -> list[dict[str, str]]:
    return [{"question": f"Question {number}, é中"} for number in range(count)]


def contents(path: Path) -> dict[str, list[tuple]]:
    """All that a run kept, but for what time decides."""
    with looking(path) as journal:
        kept = {name: list(journal.select(f"SELECT * FROM {name} ORDER BY step, place, seq"))
                for name in ("rows", "rejects", "failures")}  # fmt: skip
        kept["calls"] = sorted(journal.select("SELECT key, place, answer, error FROM calls"))
    return kept


async def both(recipe, cluster, url, **options):
    """A run in one process and one on the cluster, with the requests that each made."""
    done = []
    for where_to in (None, cluster):
        counts(url, reset=True)
        out = folder()
        run = await gristmill.arun(recipe, model=f"openai:test@{url}", out=out, cluster=where_to, **options)
        done.append((run, contents(out), counts(url)["requests"]))
    return done


async def test_rows_rejects_failures_and_calls_are_byte_for_byte_those_of_a_single_process(cluster, slow_server):
    [(one, kept, asked), (other, same, as_many)] = await both(recipes.many_ways, cluster, slow_server, seeds=seeds(40))
    assert same == kept
    assert as_many == asked == len(kept["calls"]) - 40 * 1  # both samples of a seed come of one request
    assert kept["rows"]
    assert kept["rejects"]
    assert kept["failures"]
    assert (other.spent.input_tokens, other.spent.output_tokens) == (one.spent.input_tokens, one.spent.output_tokens)


async def test_draws_with_a_gate_and_a_target_give_the_same_rows(cluster, slow_server):
    [(_, kept, _), (_, same, _)] = await both(recipes.drawn_words, cluster, slow_server, target=12)
    assert same["rows"] == kept["rows"]
    assert len(kept["rows"]) == 12


async def test_a_chain_streams_through_workers_and_a_whole_set_works_on_the_driver(cluster, slow_server):
    chain = Chain([recipes.drawn_words, recipes.shout, recipes.gathered])
    [(_, kept, _), (_, same, _)] = await both(chain, cluster, slow_server, target=6)
    assert same["rows"] == kept["rows"]
    assert sum(row[0] == 2 for row in kept["rows"]) == 6


async def test_durable_steps_races_searches_and_files_go_through_the_driver(cluster, slow_server):
    corpus = [{"text": f"Text of {row['question']}"} for row in seeds(5)]
    out = folder()
    done = await gristmill.arun(recipes.durable, seeds=seeds(6), inputs={"corpus": corpus}, out=out, cluster=cluster)
    assert len(done.rows) == 6, done.failures
    assert {row.completion for row in done.rows[:5]} == {f"Text of {row['question']} 中" for row in seeds(5)}
    [pid] = {row.pid for row in done.rows}  # computed by one worker, for all
    assert pid != os.getpid()
    assert len(list((out / "artefacts").iterdir())) == 6
    again = await gristmill.arerun(out, recipe=recipes.durable, out=folder(), offline=True)
    assert [row.pid for row in again.rows] == [row.pid for row in done.rows]


async def test_what_only_computes_is_spread_over_all_workers(cluster):
    done = await gristmill.arun(recipes.busy, seeds=seeds(600), out=folder(), cluster=cluster)
    assert [row.prompt for row in done.rows] == [row["question"] for row in seeds(600)]
    assert {row.completion for row in done.rows} == {recipes.worked(1000)}
    workers = {row.pid for row in done.rows}
    assert len(workers) == 3
    assert os.getpid() not in workers


# -- things go wrong


def processes(driver: int = 0) -> list[int]:
    """Of the workers that are alive and descend from a driver, this process unless named. Others on this machine may have
    workers of their own."""
    parents, workers = {}, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if b"ray::Worker" in (entry / "cmdline").read_bytes():
                    workers.append(int(entry.name))
            except OSError:
                continue
    return [pid for pid in workers if (driver or os.getpid()) in ancestors(pid, parents)]


def ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while (pid := parents.get(pid, 0)) and pid not in found:
        found.add(pid)
    return found


def alive(pid: int) -> bool:
    try:
        return b"ray::Worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def when(happened, most: float = 60.0) -> None:
    until = time.monotonic() + most
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        await asyncio.sleep(0.02)


async def disturbed(do, recipe, cluster, url, **options):
    """A run on the cluster, and what is done to it once calls were made. No worker outlives it: neither one that stands
    still nor one that was on its way to take another's place."""
    counts(url, reset=True)
    out = folder()
    running = asyncio.ensure_future(
        gristmill.arun(recipe, model=f"openai:test@{url}", out=out, cluster=cluster, **options)
    )
    await when(lambda: counts(url)["requests"] > 30)
    await do()
    done = await running
    await when(lambda: not processes())
    return done, contents(out), counts(url)["requests"]


async def test_a_worker_that_is_killed_costs_nothing_but_time(cluster, slow_server):
    calm = await gristmill.arun(recipes.many_ways, seeds=seeds(120), model=f"openai:test@{slow_server}", out=folder())

    async def kill() -> None:
        os.kill(processes()[0], signal.SIGKILL)
        await asyncio.sleep(0.3)
        os.kill(processes()[0], signal.SIGKILL)

    done, kept, asked = await disturbed(kill, recipes.many_ways, cluster, slow_server, seeds=seeds(120))
    assert kept == contents(calm.folder)
    assert sum("was lost" in note for note in done.notes) == 2
    assert asked == calm.calls


async def test_a_worker_that_hangs_for_a_moment_goes_on_where_it_was(cluster, slow_server):
    calm = await gristmill.arun(recipes.many_ways, seeds=seeds(80), model=f"openai:test@{slow_server}", out=folder())

    async def pause() -> None:
        pid = processes()[0]
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(3)
        os.kill(pid, signal.SIGCONT)

    done, kept, asked = await disturbed(pause, recipes.many_ways, cluster, slow_server, seeds=seeds(80))
    assert kept == contents(calm.folder)
    assert asked == calm.calls
    assert done.notes == []


def test_messages_that_get_lost_between_worker_and_driver_are_sent_again_and_count_once(slow_server):
    """Ray itself drops requests and replies on their way, twenty of a hundred of each kind, forty times."""
    faults = {"num_failures": 40, "req_failure_prob": 20, "resp_failure_prob": 20}
    said = program(
        f"""
import gristmill, recipes_for_cluster as recipes
from gristmill.testing import folder
from gristmill.testing.server import counts
seeds = [{{"question": f"Question {{n}}"}} for n in range(60)]
given = {{"seeds": seeds, "model": "openai:test@{slow_server}"}}
one = gristmill.run(recipes.many_ways, out=folder(), **given)
counts("{slow_server}", reset=True)
other = gristmill.run(recipes.many_ways, out=folder(), cluster="local:3", **given)
print(one.rows == other.rows, one.calls, counts("{slow_server}")["requests"], other.notes)
""",
        RAY_testing_rpc_failure=json.dumps({"CoreWorkerService.grpc_client.PushTask": faults}),
    )
    assert said.stdout.split()[0] == "True", said.stdout + said.stderr
    assert said.stdout.split()[1] == said.stdout.split()[2]
    assert said.stdout.endswith("[]\n")
    assert "RpcFailureManager" in said.stderr  # it did drop some


async def test_a_worker_that_gives_no_sign_for_too_long_is_given_up_and_others_do_its_work(cluster, slow_server):
    calm = await gristmill.arun(recipes.many_ways, seeds=seeds(80), model=f"openai:test@{slow_server}", out=folder())

    async def stop() -> None:
        os.kill(processes()[0], signal.SIGSTOP)

    done, kept, asked = await disturbed(stop, recipes.many_ways, "local:3,silence=8", slow_server, seeds=seeds(80))
    assert kept == contents(calm.folder)
    assert asked == calm.calls
    assert [note for note in done.notes if "no sign of it for 8 s" in note]


async def test_a_slow_worker_gets_less_to_do_and_the_rows_are_the_same(cluster):
    running = asyncio.ensure_future(
        gristmill.arun(recipes.busy, seeds=seeds(1500), loops=5000, out=folder(), cluster=cluster)
    )
    await when(lambda: len(processes()) == 3)
    slow = processes()[0]
    with contextlib.suppress(ProcessLookupError):  # the run may end, and its workers with it
        while not running.done():  # nine tenths of the time it stands still
            os.kill(slow, signal.SIGSTOP)
            await asyncio.sleep(0.18)
            os.kill(slow, signal.SIGCONT)
            await asyncio.sleep(0.02)
    done = await running
    assert [row.prompt for row in done.rows] == [row["question"] for row in seeds(1500)]
    assert done.notes == []
    made = Counter(row.pid for row in done.rows)
    assert 2 * made.pop(slow, 0) < min(made.values())


async def test_a_unit_that_kills_every_worker_is_a_failure_and_the_others_are_made(cluster):
    asked = [*seeds(20), {"question": "die"}, *seeds(40)[20:]]
    done = await gristmill.arun(recipes.deadly, seeds=asked, out=folder(), cluster=cluster)
    assert [row.prompt for row in done.rows] == [row["question"] for row in asked if row["question"] != "die"]
    [failure] = done.failures
    assert "3 workers were lost while they worked on this" in failure.error
    assert failure.seed == {"question": "die"}


# -- one limit, one budget, and people


async def test_all_workers_together_ask_no_more_at_once_than_the_user_allows(cluster, slow_server):
    counts(slow_server, reset=True)
    given = {"seeds": seeds(60), "model": f"openai:test@{slow_server}", "out": folder()}
    await gristmill.arun(recipes.many_ways, concurrency=3, cluster=cluster, **given)
    assert counts(slow_server)["peak"] == 3


async def test_a_wall_holds_for_all_workers_together_and_the_run_goes_on_without_a_cluster(cluster, slow_server):
    given = {"seeds": seeds(60), "model": f"openai:test@{slow_server}"}
    calm = await gristmill.arun(recipes.many_ways, out=folder(), **given)
    out = folder()
    stopped = await gristmill.arun(recipes.many_ways, out=out, max_tokens=4000, cluster=cluster, **given)
    assert stopped.stopped.reason == "budget"
    assert 0 < stopped.spent.input_tokens + stopped.spent.output_tokens <= 4000
    done = await gristmill.aresume(out, max_tokens=10_000_000, recipe=recipes.many_ways)
    assert contents(out) == contents(calm.folder)
    assert stopped.calls + done.calls == calm.calls


async def test_what_waits_for_people_waits_on_a_cluster_too(cluster):
    done = await gristmill.arun(recipes.asked_of_people, seeds=seeds(3), out=folder(), cluster=cluster)
    assert (done.waiting, done.exit_code, done.rows) == (3, 4, [])


async def test_a_model_that_is_an_object_of_the_program_answers_from_the_driver(cluster):
    model = Scripted(lambda question: f"said to {question.messages[-1].content}")
    done = await gristmill.arun(recipes.shout, seeds=[{"prompt": "p", "completion": "c"}], model=model, out=folder(),
                                cluster=cluster)  # fmt: skip
    assert done.rows[0].completion == "SAID TO C"
    assert len(model.questions) == 1


async def test_a_local_model_lives_in_the_workers_and_its_answers_are_kept_like_any_other(cluster):
    out = folder()
    given = {"seeds": [{"prompt": f"p{n}", "completion": f"Say the number {n}."} for n in range(4)], "target": 4}
    done = await gristmill.arun(recipes.shout, model="embedded:", out=out, cluster="local:2", **given)
    assert len(done.rows) == 4, done.failures
    assert done.spent.calls == 4
    assert done.spent.output_tokens > 0
    again = await gristmill.arerun(out, recipe=recipes.shout, out=folder(), offline=True)
    assert again.rows == done.rows


# -- what a user can get wrong


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("local:0", "local:N with N workers"),
        ("local:x", "local:N with N workers"),
        ("local:2,workers=3", "local:N with N workers"),
        ("", "address of a Ray cluster"),
        ("head:6379,cores=3", "there are workers=N and silence=SECONDS"),
        ("head:6379,workers=0", "address of a Ray cluster"),
    ],
)
def test_a_name_of_a_cluster_that_is_none_is_explained(text, message):
    with pytest.raises(BadInput, match=message):
        where(text)
    assert where("local:2,silence=3").silence == 3
    assert where("10.0.0.1:6379,workers=8").workers == 8


async def test_too_few_cores_are_named_before_anything_is_made(cluster, tmp_path):
    with pytest.raises(BadInput, match="9 workers need a core each, and the cluster has 4 cores"):
        await gristmill.arun(recipes.busy, seeds=seeds(3), out=tmp_path / "run", cluster="local:9")
    assert not (tmp_path / "run" / "run.db").exists()


def test_models_that_want_a_gpu_get_a_worker_each_and_other_recipes_one_a_core(cluster):
    """Ray takes our word for the two GPUs; there is none here."""
    assert Cluster(where("local:2")).workers(gpus=True) == 2
    assert Cluster(where("auto")).workers(gpus=True) == 2
    assert Cluster(where("auto")).workers(gpus=False) == 4
    with pytest.raises(BadInput, match="3 workers need a core and a GPU each, and the cluster has 4 cores and 2 GPUs"):
        Cluster(where("local:3")).workers(gpus=True)


def program(text: str, **environment: str) -> subprocess.CompletedProcess:
    """A Python program of its own, with a Ray of its own."""
    environment = os.environ | {"PYTHONPATH": str(HERE)} | environment
    environment.pop("RAY_ADDRESS", None)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=200, env=environment)


def test_a_cluster_that_is_not_there_is_named_at_once(tmp_path):
    said = gristmill_command("run", "amps", "--target", 2, "--cluster", "127.0.0.1:9", "--out", tmp_path / "run")
    assert said.returncode == 1
    assert "--cluster 127.0.0.1:9: nothing answers there" in said.stderr
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_stands_in_the_program_itself_is_refused(tmp_path):
    said = program(f"""
from collections.abc import AsyncIterator
import gristmill
from recipes_for_cluster import Ask, Told

@gristmill.recipe("here")
async def here(row: Ask) -> AsyncIterator[Told]:
    "Nothing."
    yield Told(row.question, "x")

try:
    gristmill.run(here, seeds=[{{"question": "q"}}], out={str(tmp_path / "run")!r}, cluster="local:1")
except gristmill.BadInput as error:
    print("refused:", error)
""")
    assert "workers of a cluster cannot find this recipe" in said.stdout, said.stderr


@pytest.fixture(scope="module")
def other_code(tmp_path_factory):
    """Another version of gristmill, and one that lacks a recipe."""
    import shutil

    found = {}
    for name in ("version", "recipe"):
        found[name] = tmp_path_factory.mktemp(name)
        shutil.copytree(Path(gristmill.__file__).parent, found[name] / "gristmill", ignore=lambda *_: ["__pycache__"])
    init = found["version"] / "gristmill" / "__init__.py"
    init.write_text(init.read_text().replace(f'__version__ = "{gristmill.__version__}"', '__version__ = "9.9"'))
    (found["recipe"] / "gristmill" / "recipes" / "augmentation" / "amps.py").write_text("raise ImportError('gone')")
    return found


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("version", f"has gristmill 9.9, and this is {gristmill.__version__}"),
        ("recipe", "the recipe amps cannot be loaded on the worker's machine"),
    ],
)
def test_a_worker_of_another_version_or_without_the_recipe_is_refused_and_the_run_can_go_on(
    which, message, other_code, tmp_path
):
    out = str(tmp_path / "run")
    said = program(f"""
import ray, gristmill
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False,
         runtime_env={{"env_vars": {{"PYTHONPATH": {str(other_code[which])!r}}}}})
try:
    gristmill.run("amps", target=5, out={out!r}, cluster="local:1")
except gristmill.BadInput as error:
    print("refused:", error)
print("rows:", len(gristmill.resume({out!r}).rows))
""")
    assert message in said.stdout, said.stdout + said.stderr
    assert "rows: 5" in said.stdout, said.stderr


# -- the driver


def gristmill_command(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "gristmill.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        **options,
    )


def test_a_driver_that_is_killed_leaves_no_worker_and_resumes_without_asking_again(tmp_path, slow_server):
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in seeds(150)))
    run = [
        "run",
        f"{HERE / 'recipes_for_cluster.py'}:many_ways",
        "--seeds",
        path,
        "--model",
        f"openai:test@{slow_server}",
    ]
    assert (
        gristmill_command(*run, "--out", tmp_path / "calm", "--json").returncode == 3
    )  # some rows fail, as they are to
    calm = counts(slow_server, reset=True)
    with subprocess.Popen(
        [sys.executable, "-m", "gristmill.cli", *map(str, run), "--out", str(tmp_path / "killed"), "--cluster", "local:3"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as driver:  # fmt: skip
        until = time.monotonic() + 90
        while counts(slow_server)["requests"] < 60 and time.monotonic() < until and driver.poll() is None:
            time.sleep(0.02)
        workers = processes(driver.pid)
        driver.kill()
    assert len(workers) == 3
    until = time.monotonic() + 30
    while any(alive(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert [pid for pid in workers if alive(pid)] == []
    at_death = counts(slow_server)
    assert 60 <= at_death["requests"] < calm["requests"]
    done = gristmill_command("resume", tmp_path / "killed", "--cluster", "local:3", "--json")
    assert done.returncode == 3, done.stderr
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
    # What was in flight when it died had no answer yet; nothing else is asked again.
    in_flight = 128
    assert counts(slow_server)["requests"] <= calm["requests"] + in_flight
    assert counts(slow_server)["repeated"] <= in_flight


# -- the crew alone, with workers that are scripted


class Far:
    """A worker that answers each unit at once, or dies with its first."""

    name = "far"

    def __init__(self, *, dies: bool) -> None:
        self.dies, self.told, self.given = dies, [], asyncio.Event()

    async def give(self, number, messages):
        if self.dies:
            raise Gone("dead")
        self.told += [Message("done", m.number, Result([], [], [])) for m in messages if m.kind == "work"]
        self.given.set()

    async def take(self, number):
        while len(self.told) <= number:
            self.given.clear()
            await self.given.wait()
        return number, self.told[number:]

    async def stop(self):
        """Nothing is open."""

    def kill(self):
        self.dies = True


@pytest.mark.parametrize("replacement", ["never comes", "fails"])
async def test_others_take_over_at_once_whether_or_not_the_dead_worker_can_be_replaced(replacement):
    async def replace():
        if replacement == "fails":
            raise RuntimeError("no room")
        await asyncio.Event().wait()

    ledger = Ledger(None, Budget(), Halt())
    bound = Bound(recipes.busy, "busy", settings={"loops": 1})
    stage = Stage(bound, 0, ledger, seed=0, target=None)
    crew = Crew([Far(dies=True), Far(dies=False)], [stage], ledger, replace=replace)
    # A single unit: the worker that is left has nothing to say by itself that would bring it on.
    done = await asyncio.wait_for(crew.work(stage, Unit(0, "0", recipes.Ask(question="q"), "0", "0")), 10)
    assert (done.rows, done.failures) == ([], [])
    assert any("far was lost" in note for note in ledger.notes)
    assert (replacement == "fails") == any("no worker could be started in its place" in n for n in ledger.notes)
    await crew.close()


async def test_where_no_worker_is_left_every_unit_says_so():
    async def replace():
        raise RuntimeError("no room")

    ledger = Ledger(None, Budget(), Halt())
    stage = Stage(Bound(recipes.busy, "busy", settings={"loops": 1}), 0, ledger, seed=0, target=None)
    crew = Crew([Far(dies=True)], [stage], ledger, replace=replace)
    with pytest.raises(EndpointDown, match="no worker of the cluster is left"):
        await asyncio.wait_for(crew.work(stage, Unit(0, "0", recipes.Ask(question="q"), "0", "0")), 20)
    await crew.close()
