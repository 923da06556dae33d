"""More than one machine: the same engine on leased units, over Ray Core. `Connected` is where a run gets its workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from gristmill.cluster.crew import Crew, Hosted
from gristmill.cluster.ray_core import Cluster, where
from gristmill.cluster.worker import PROGRAMS, Setup, digest_of, reference
from gristmill.engine.calls import Handle, Ledger
from gristmill.engine.stage import Stage
from gristmill.errors import BadInput
from gristmill.execute import Config, Part
from gristmill.models.protocol import Backend
from gristmill.models.spec import parse
from gristmill.rows import Rows

LIVING = ("embedded", "transformers", "sentence-transformers", "wordllama", "sandbox", "prover", "physics")
"""Backends that compute where they are: each worker has its own."""
ON_A_GPU = ("transformers", "embedded", "sentence-transformers")


class Connected:
    """The cluster of a run, from its connection to its end."""

    def __init__(self, text: str) -> None:
        self._cluster = Cluster(where(text))
        self._cluster.workers(gpus=False)  # too few cores are told before a folder is made
        self._models: list[Hosted] = []
        self._count = 0

    def hosted(self, parts: list[Part]) -> list[Part]:
        """The steps, with models that live in the workers in place of those that would live here. Steps over a whole set
        work on the driver, and so do their models.

        Raises:
            BadInput: too few resources; a recipe that no other process can find.
        """
        for part in parts:
            reference(part.recipe, part.config.recipe)
        away = [part for part in parts if part.recipe.shape != "set"]
        specs = [s for part in away for bound in part.backends.values() for b in bound if (s := _living(b))]
        self._count = self._cluster.workers(gpus=any(parse(spec).backend in ON_A_GPU for spec in specs))
        made: dict[int, Hosted] = {}
        found = []
        for part in parts:
            backends = part.backends
            if part in away:
                backends = {role: [self._host(b, made) for b in bound] for role, bound in backends.items()}
            found.append(Part(part.recipe, part.config, backends))
        return found

    def _host(self, backend: Backend, made: dict[int, Hosted]) -> Backend:
        if not _living(backend):
            return backend
        if id(backend) not in made:
            each = PROGRAMS if parse(_living(backend)).backend == "sandbox" else backend.concurrency
            made[id(backend)] = Hosted(backend, len(self._models), self._count, each)
            self._models.append(made[id(backend)])
        return made[id(backend)]

    @asynccontextmanager
    async def crew(self, config: Config, folder: Path, stages: list[Stage], ledger: Ledger) -> AsyncIterator[Crew]:
        """Workers that are ready for the steps of a run."""
        setup = Setup(
            config=msgspec.json.encode(config),
            recipes=[reference(stage.recipe, step.recipe) for stage, step in zip(stages, config.steps, strict=True)],
            folder=str(folder.absolute()),  # noqa: ASYNC240 - of a name, no disk
            roles=[_roles(stage) for stage in stages],
            inputs=[_inputs(stage) for stage in stages],
            models=[model.spec for model in self._models],
        )
        digests = [digest_of(stage.recipe) for stage in stages]
        actors = await self._cluster.start(self._count, setup, digests)
        silence = self._cluster.place.silence
        options = {} if silence is None else {"silence": silence}
        crew = Crew([*actors], stages, ledger, replace=self._cluster.another, **options)
        for model in self._models:
            model.crew = crew
        try:
            yield crew
        finally:
            await crew.close()

    def close(self) -> None:
        self._cluster.close()


def _living(backend: Backend) -> str:
    """The spec of a model that computes where it is; "" for all others, and for objects that no worker could open."""
    spec = getattr(backend, "spec", "")
    try:
        return spec if spec and isinstance(spec, str) and parse(spec).backend in LIVING else ""
    except BadInput:  # a backend of the user's own may call its name a spec
        return ""


def _roles(stage: Stage) -> dict[str, list[tuple[str, bytes]]]:
    found: dict[str, list[tuple[str, bytes]]] = {}
    for role, played in stage.bound.roles.items():
        handles: list[Handle] = played if isinstance(played, list) else [played] if played else []
        found[role] = [(handle.model, handle.identity) for handle in handles]
    return found


def _inputs(stage: Stage) -> dict[str, list[bytes] | None]:
    encode = msgspec.json.Encoder().encode
    given: dict[str, Rows[Any] | None] = stage.bound.inputs
    if stage.recipe.shape == "set":  # it works on the driver
        return dict.fromkeys(given)
    return {name: None if rows is None else [encode(row) for row in rows] for name, rows in given.items()}
