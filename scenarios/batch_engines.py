"""Where the students of a batch answer: in this process, or on the actors of a Ray cluster.

Either way rows come back decided (accepted, or to be escalated), in order and in chunks; what is
escalated goes to the frontier from the one process that drives the job, so that caps and records
are kept in one place. Nothing distributed is written here: Ray Data moves the rows, restarts what
dies and repeats what was lost with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from journeyman.graph.batch import Bulk
from journeyman.graph.settings import Settings
from journeyman.graph.state import AgentState, Context
from journeyman.graph.trust import ReleaseTrust, loaders_of, trust_from
from journeyman.models.errors import ConfigError, JourneymanError
from journeyman.scenarios.batch_agent import AgentSource
from journeyman.scenarios.batch_journal import Done
from journeyman.scenarios.batch_rows import Chunk, Columns, Row, RowFile, row_file
from journeyman.scenarios.paths import find_suite
from journeyman.traces.store import Store

CHUNK = 256
"""Rows that students are given at once, which is what their batchers take at once."""

_STRETCH = 1024  # rows of one task of Ray, and so what is repeated when a node dies
_MOST_STRETCHES = 20_000


@dataclass(frozen=True, slots=True)
class Decided:
    """A row that the student has answered and the gate has judged.

    Attributes:
        number: Of the row.
        key: Of the row.
        state: The task on its way through its sub-agent's nodes; None where there is an error.
        error: Why there is no task.
    """

    number: int
    key: Any
    state: AgentState | None = None
    error: str | None = None


Engine = Callable[[RowFile, Done], AsyncGenerator[list[Decided], None]]
"""Decides the rows of a file that are not done, in order."""


async def decide(bulk: Bulk, rows: Iterable[Row]) -> list[Decided]:
    """Let students answer rows together; whatever is wrong with one is its own."""
    return await asyncio.gather(*(_decide(bulk, row) for row in rows))


async def _decide(bulk: Bulk, row: Row) -> Decided:
    if row.error is not None:
        return Decided(row.number, row.key, error=row.error)
    try:
        task = row.task
        if isinstance(task, str):
            task = bulk.agent.from_request(task)
            if task is None:
                name, kind = bulk.agent.name, bulk.agent.input_type.__name__
                return Decided(
                    row.number, row.key, error=f"Agent {name!r} finds no {kind} in the text."
                )
        return Decided(row.number, row.key, await bulk.decide(row.number, task))
    except JourneymanError as error:
        return Decided(row.number, row.key, error=str(error))
    except Exception as error:  # noqa: BLE001  # a sub-agent's own code may raise anything
        return Decided(row.number, row.key, error=f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class LocalEngine:
    """Students in this process; the next chunk is under way while this one is looked at."""

    bulk: Bulk

    async def __call__(self, rows: RowFile, done: Done) -> AsyncGenerator[list[Decided], None]:
        """See `Engine`."""
        ahead: asyncio.Task[list[Decided]] | None = None
        try:
            for chunk in _chunked(r for r in rows.rows(done.before) if r.number not in done):
                started = asyncio.create_task(decide(self.bulk, chunk))
                if ahead is not None:
                    yield await ahead
                ahead = started
            if ahead is not None:
                yield await ahead
        finally:
            if ahead is not None:
                ahead.cancel()


@dataclass(frozen=True)
class RayOptions:
    """How Ray is used.

    Attributes:
        address: Of a running cluster; None: $RAY_ADDRESS, else one is started on this machine.
        workers: Actors, each with a student of its own; None: as many as the cluster has CPUs for.
        cpus: Of each actor. When a node dies its actors wait for as many on another one.
        gpus: Of each actor.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class RayEngine:
    """Students on the actors of a Ray cluster, by Ray Data.

    Every node must have this package and the sub-agent's module, and see the input, the data
    directory and, where releases are to be trusted, the trace store under the same names.

    Attributes:
        source: The sub-agent.
        settings: As the driving process has them.
        job: Names the job, for audits.
        context: Settings of every task's run.
        store: The trace store.
        num_rows: Of the input.
        options: How Ray is used.
    """

    source: AgentSource
    settings: Settings
    job: str
    context: Context
    store: str
    num_rows: int
    options: RayOptions

    async def __call__(self, rows: RowFile, done: Done) -> AsyncGenerator[list[Decided], None]:
        """See `Engine`."""
        with _ray(self.options) as ray:
            async with aclosing(self._decided(ray, rows, done)) as decided:
                async for chunk in decided:
                    yield chunk

    async def _decided(
        self, ray: Any, rows: RowFile, done: Done
    ) -> AsyncGenerator[list[Decided], None]:
        size = max(_STRETCH, self.num_rows // _MOST_STRETCHES)
        stretches = [
            chunk for chunk in rows.chunks(size) if chunk.start + chunk.num_rows > done.before
        ]
        if not stretches:
            return
        suite = self.source.suite
        source = replace(
            self.source,
            suite=None if suite is None else str(find_suite(suite).resolve()),
            folder=self.source.folder.resolve(),
        )
        made = {
            "source": source,
            "settings": self.settings,
            "job": self.job,
            "context": self.context,
            "store": self.store,
            "path": rows.path.resolve(),
            "columns": rows.columns,
        }
        batches = self._batches(ray, stretches, made)
        async with _off_the_loop(batches) as decided:
            async for chunk in decided:
                yield [row for row in chunk if row.number not in done]

    def _batches(
        self, ray: Any, stretches: list[Chunk], made: Mapping[str, Any]
    ) -> Generator[list[Decided], None, None]:
        """Decided rows as Ray gives them: each once, in order, whatever dies on the way."""
        context = ray.data.DataContext.get_current()
        before = context.execution_options.preserve_order, context.enable_progress_bars
        context.execution_options.preserve_order, context.enable_progress_bars = True, False
        try:
            dataset = ray.data.from_items(
                [asdict(one) for one in stretches], override_num_blocks=len(stretches)
            ).map_batches(
                Students,
                fn_constructor_kwargs=dict(made),
                batch_size=1,
                num_cpus=self.options.cpus,
                num_gpus=self.options.gpus or None,
                compute=ray.data.ActorPoolStrategy(
                    size=self.options.workers or self._workers(ray),
                    max_tasks_in_flight_per_actor=2,
                ),
                scheduling_strategy="SPREAD",
            )
            for batch in dataset.iter_batches(batch_size=CHUNK, batch_format="numpy"):
                yield [Decided(**json.loads(one)) for one in batch["decided"]]
        finally:
            context.execution_options.preserve_order, context.enable_progress_bars = before

    def _workers(self, ray: Any) -> int:
        total = ray.cluster_resources()
        fits = [total.get("CPU", 1) / self.options.cpus] if self.options.cpus else []
        if self.options.gpus:
            fits.append(total.get("GPU", 0) / self.options.gpus)
        return max(1, int(min(fits, default=1)))


class Students:
    """One actor: a sub-agent with its student, that decides whole stretches of the input."""

    def __init__(
        self,
        *,
        source: AgentSource,
        settings: Settings,
        job: str,
        context: Context,
        store: str,
        path: Path,
        columns: Columns,
    ) -> None:
        agent = source.build(settings)
        self._rows = row_file(path, columns)
        loaders = loaders_of([agent])
        # Only what learns can have a release, and only that needs the store.
        self._store = Store.open(store) if loaders else None
        trust: ReleaseTrust | None = None
        if self._store is not None:
            trust = trust_from(settings, self._store, loaders)
        self._bulk = Bulk(agent, job=job, context=context, trust=trust)
        self._runner = asyncio.Runner()

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
        """Decide the rows of one stretch, a chunk at a time."""
        stretch = Chunk(**{name: int(column[0]) for name, column in batch.items()})
        for rows in _chunked(self._rows.rows_of(stretch)):
            decided = self._runner.run(decide(self._bulk, rows))
            yield {"decided": [json.dumps(asdict(one), default=str) for one in decided]}


@contextmanager
def _ray(options: RayOptions) -> Iterator[Any]:
    """Ray, connected; a connection of the caller's own is used and stays.

    Raises:
        ConfigError: It is not installed, or the cluster does not answer.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ConfigError("--engine ray needs Ray; run `pip install 'journeyman[ray]'`.") from error
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=options.address, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            told = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"No Ray cluster answers at {options.address or '$RAY_ADDRESS'!r} ({told}); start "
                "one with `ray start --head`, or leave the address out."
            ) from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


@asynccontextmanager
async def _off_the_loop(
    iterator: Generator[list[Decided], None, None],
) -> AsyncIterator[AsyncGenerator[list[Decided], None]]:
    """Iterate something that blocks on a thread of its own; closing waits for the step it is at."""
    with ThreadPoolExecutor(1, thread_name_prefix="journeyman-ray") as thread:
        loop = asyncio.get_running_loop()

        async def steps() -> AsyncGenerator[list[Decided], None]:
            while (batch := await loop.run_in_executor(thread, next, iterator, None)) is not None:
                yield batch

        try:
            yield steps()
        finally:
            await loop.run_in_executor(thread, iterator.close)


def _chunked(rows: Iterable[Row]) -> Iterator[list[Row]]:
    waiting = iter(rows)
    while chunk := list(islice(waiting, CHUNK)):
        yield chunk
