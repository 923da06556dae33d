"""A cluster: the rows of a single process, whatever happens to workers, driver and the way between them.

Real Ray, real worker processes, a real server on loopback whose answers are a function of the request and the sample.
"""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import ray

import gristmill
import recipes_for_cluster as recipes
from gristmill import Chain
from gristmill.execute import looking
from gristmill.testing import folder
from gristmill.testing.server import counts, spawn

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all tests of this file: a run that finds Ray connected uses it."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR", configure_logging=False)
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
    assert [row.completion for row in done.rows] == [row["question"][::-1] for row in seeds(600)]
    workers = {row.pid for row in done.rows}
    assert len(workers) == 3
    assert os.getpid() not in workers


# -- things go wrong


def processes() -> list[int]:
    """Of the workers that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if b"ray::Worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def when(happened, most: float = 60.0) -> None:
    until = time.monotonic() + most
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        await asyncio.sleep(0.02)


async def disturbed(do, recipe, cluster, url, **options):
    """A run on the cluster, and what is done to it once calls were made."""
    counts(url, reset=True)
    out = folder()
    running = asyncio.ensure_future(
        gristmill.arun(recipe, model=f"openai:test@{url}", out=out, cluster=cluster, **options)
    )
    await when(lambda: counts(url)["requests"] > 30)
    await do()
    return await running, contents(out), counts(url)["requests"]


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


async def test_a_worker_that_gives_no_sign_for_too_long_is_given_up_and_others_do_its_work(cluster, slow_server):
    calm = await gristmill.arun(recipes.many_ways, seeds=seeds(80), model=f"openai:test@{slow_server}", out=folder())

    async def stop() -> None:
        os.kill(processes()[0], signal.SIGSTOP)

    done, kept, asked = await disturbed(stop, recipes.many_ways, "local:3,silence=8", slow_server, seeds=seeds(80))
    assert kept == contents(calm.folder)
    assert asked == calm.calls
    assert [note for note in done.notes if "no sign of it for 8 s" in note]


async def test_a_unit_that_kills_every_worker_is_a_failure_and_the_others_are_made(cluster):
    asked = [*seeds(20), {"question": "die"}, *seeds(40)[20:]]
    done = await gristmill.arun(recipes.deadly, seeds=asked, out=folder(), cluster=cluster)
    assert [row.prompt for row in done.rows] == [row["question"] for row in asked if row["question"] != "die"]
    [failure] = done.failures
    assert "3 workers were lost while they worked on this" in failure.error
    assert failure.seed == {"question": "die"}
