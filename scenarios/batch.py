"""A batch: one sub-agent over the rows of a file, into a file with an answer for each of them.

Students answer a chunk, then what of it is to be escalated goes to the frontier together, while the
next chunk is with the students. Every row ends in a row of the output, as an answer, open or with
an error; a job that was broken off, in whatever way, goes on where it was. Prints nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from journeyman.agents.base import Agent
from journeyman.graph.agent_graph import FrontierClient
from journeyman.graph.batch import Bulk, Recorded
from journeyman.graph.clients import forwarder_from, frontier_from
from journeyman.graph.settings import Settings
from journeyman.graph.standing import TrustSource
from journeyman.graph.state import Context
from journeyman.graph.trust import loaders_of, trust_from
from journeyman.models.errors import ConfigError, JourneymanError
from journeyman.models.frontier import Frontier
from journeyman.models.types import Answer, content_hash
from journeyman.scenarios.batch_agent import AgentSource, takes
from journeyman.scenarios.batch_engines import Decided, LocalEngine, RayEngine, RayOptions
from journeyman.scenarios.batch_frontier import JobFrontier, JobStopped
from journeyman.scenarios.batch_journal import WINDOW, BatchJournal, Line, Tally
from journeyman.scenarios.batch_rows import Columns, RowFile, is_parquet, row_file
from journeyman.scenarios.limits import Stop
from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store

OnProgress = Callable[[Tally, int], None]
"""Told what finished rows come to so far, and how many rows there are."""

_ROOM = 2  # escalations under way for each call that may be: retries wait outside of the calls


@dataclass(frozen=True)
class BatchOptions:
    """How a batch runs.

    Attributes:
        key: Column that names a row in the output; None: its line.
        text: Column whose text is the whole request; None: the row's columns are the task.
        engine: Where students answer.
        ray: How Ray is used.
        ask_frontier: False leaves escalations open, with their reason.
        on_frontier_failure: What becomes of a row that the frontier fails: `queue` gives it an
            error, `return_uncertified` the student's answer as well.
        trust_uncertified: For experiments: accept what nobody has certified, marked as such.
        trace: Which rows are put on record.
        max_cost_usd: Most the job may cost, all its beginnings together; None for no cap.
        max_errors: Rows that may end in an error before the job stops; None for no limit.
        max_error_share: The same as a share of all rows.
        unordered: Write rows as they were finished; otherwise in the order of the input.
        details: Further columns that differ from run to run: latency and run.
        restart: Drop what is there of an output, finished or not.
    """

    key: str | None = None
    text: str | None = None
    engine: Literal["local", "ray"] = "local"
    ray: RayOptions = field(default_factory=RayOptions)
    ask_frontier: bool = True
    on_frontier_failure: Literal["queue", "return_uncertified"] = "queue"
    trust_uncertified: bool = False
    trace: Recorded = "escalations"
    max_cost_usd: float | None = None
    max_errors: int | None = None
    max_error_share: float | None = None
    unordered: bool = False
    details: bool = False
    restart: bool = False


@dataclass(frozen=True)
class BatchReport:
    """What a batch came to.

    Attributes:
        num_rows: Rows of the input.
        tally: What those finished come to, earlier beginnings of the job included.
        num_resumed: Rows that an earlier beginning had finished.
        stop: Why the job stopped early; None where every row is in the output.
        seconds: Of this beginning, loading of models not included.
        trouble: Why the record is incomplete; None where it is whole.
    """

    num_rows: int
    tally: Tally
    num_resumed: int
    stop: Stop | None
    seconds: float
    trouble: Exception | None = None


async def run_batch(
    source: Path,
    target: Path,
    agent: AgentSource | Agent[Any, Any],
    settings: Settings,
    *,
    options: BatchOptions | None = None,
    store: str | Path | None = None,
    frontier: FrontierClient | None = None,
    trust: TrustSource | None = None,
    on_progress: OnProgress | None = None,
) -> BatchReport:
    """Answer every row of a file.

    Run again after it was broken off, it goes on; the output is then the same, byte by byte, as if
    it had not been, as long as the frontier answers alike and the release in traffic is the same.

    Args:
        source: JSON Lines or Parquet, by its ending.
        target: The output; it appears when all rows are there.
        agent: The sub-agent; Ray needs it as a source, since its actors build their own.
        settings: The frontier, its caps, and where releases lie.
        options: How to run.
        store: The trace store; by default the settings'.
        frontier: In place of the settings'.
        trust: What has been certified; by default what the store has on record.
        on_progress: Told every time that rows are finished.

    Raises:
        ConfigError: An option, the input or the output cannot be used, no frontier is configured,
            or the output was begun by another job.
        UnknownAgent: There is no such sub-agent.
        TraceError: The store cannot be opened.
    """
    options = options or BatchOptions()
    is_parquet(target)  # a mistake in its name should not cost a job first
    # Before models are loaded: nobody should wait for those to hear of a wrong path.
    scan = await asyncio.to_thread(row_file(source, Columns()).scan)
    built = agent.build(settings) if isinstance(agent, AgentSource) else agent
    keep_key = options.key is not None and takes(built, options.key)
    rows = row_file(source, Columns(options.key, options.text, keep_key))
    where = str(store if store is not None else settings.store)
    with Store.open(where) as opened:
        asked = _frontier(options, settings, opened, frontier)
        job = _job(scan.digest, built, options, settings, asked)
        name = content_hash(job, length=16)
        engine = None
        if options.engine == "ray":
            engine = _ray_engine(agent, settings, name, options, where, scan.num_rows)
        output = {**job, "output": target.suffix.lower()}
        with (
            BatchJournal(target, output, restart=options.restart) as journal,
            Recorder(opened, forward=forwarder_from(settings.otlp)) as recorder,
            _trusted(trust, settings, opened, built) as trusted,
        ):
            left = _left(options.max_cost_usd, journal.tally)
            capped = JobFrontier(asked, left) if asked is not None else None
            bulk = Bulk(
                built,
                job=name,
                context=_context(options, name),
                frontier=capped,
                trust=trusted,
                recorder=recorder,
                recorded=options.trace,
            )
            running = _Running(bulk, journal, capped, options, scan.num_rows, settings, on_progress)
            try:
                report = await running.run(rows, engine or LocalEngine(bulk))
            finally:
                if isinstance(asked, Frontier) and frontier is None:
                    await asked.aclose()
            return replace(report, trouble=recorder.trouble)


class _Running:
    """One beginning of a job."""

    def __init__(
        self,
        bulk: Bulk,
        journal: BatchJournal,
        frontier: JobFrontier | None,
        options: BatchOptions,
        num_rows: int,
        settings: Settings,
        on_progress: OnProgress | None,
    ) -> None:
        self._bulk = bulk
        self._journal = journal
        self._frontier = frontier
        self._options = options
        self._num_rows = num_rows
        self._on_progress = on_progress
        self._room = asyncio.Semaphore(_ROOM * settings.frontier.max_concurrency)
        self._open: dict[int, asyncio.Task[None]] = {}  # in ascending order
        self._freed = asyncio.Event()
        self._failure: BaseException | None = None
        self._own_stop: Stop | None = None

    @property
    def stop(self) -> Stop | None:
        """Why nothing more is begun; None to go on."""
        if self._frontier is not None and self._frontier.stop is not None:
            return self._frontier.stop
        return self._own_stop

    async def run(self, rows: RowFile, engine: LocalEngine | RayEngine) -> BatchReport:
        """Every row that is left, until there is a reason to stop; then the output, if all is.

        Raises:
            ConfigError: The input has other rows than when it was scanned.
        """
        start, resumed = time.monotonic(), self._journal.tally.num_rows
        await self._answer(engine(rows, self._journal.done))
        seconds = time.monotonic() - start
        if self.stop is None:
            num_rows = self._journal.tally.num_rows
            if num_rows != self._num_rows:
                raise ConfigError(
                    f"{str(rows.path)!r} had {self._num_rows} rows, and {num_rows} were read: "
                    "leave it alone while a batch reads it, and begin anew with --restart.",
                    path=rows.path,
                )
            await asyncio.to_thread(
                self._journal.finish,
                ordered=not self._options.unordered,
                details=self._options.details,
            )
        return BatchReport(self._num_rows, self._journal.tally, resumed, self.stop, seconds)

    async def _answer(self, chunks: AsyncGenerator[list[Decided], None]) -> None:
        self._count_errors()
        try:
            async with aclosing(chunks):
                while self.stop is None:
                    chunk = await anext(chunks, None)
                    if chunk is None:
                        break
                    for part in _within_windows(chunk):
                        if await self._has_room(part[-1].number):
                            await self._take(part)
            await self._drain()
        finally:
            for task in self._open.values():
                task.cancel()
            await asyncio.gather(*self._open.values(), return_exceptions=True)

    async def _take(self, chunk: list[Decided]) -> None:
        """Write what is accepted, send the rest to the frontier."""
        now = [one for one in chunk if not _escalates(one)]
        # Together, so that those on record share transactions.
        lines = await asyncio.gather(*(self._line(one) for one in now))
        self._write(
            {one.number: line for one, line in zip(now, lines, strict=True) if line is not None}
        )
        for one in chunk:
            if _escalates(one):
                self._open[one.number] = asyncio.create_task(self._escalate(one))

    async def _has_room(self, last: int) -> bool:
        """Wait until a row may be written without running too far ahead; False at a stop."""
        while self.stop is None and self._open and last - next(iter(self._open)) >= WINDOW:
            await self._one_freed()
        return self.stop is None

    async def _drain(self) -> None:
        while self._open:
            await self._one_freed()
        if self._failure is not None:
            raise self._failure

    async def _one_freed(self) -> None:
        self._freed.clear()
        await self._freed.wait()
        if self._failure is not None:
            raise self._failure

    async def _escalate(self, one: Decided) -> None:
        try:
            async with self._room:
                line = await self._line(one) if self.stop is None else None
            if line is not None:
                self._write({one.number: line})
        except Exception as error:  # noqa: BLE001  # told by whoever waits: the disk may be full
            self._failure = error
        finally:
            self._open.pop(one.number, None)
            self._freed.set()

    def _write(self, lines: Mapping[int, Line]) -> None:
        if lines:
            self._journal.write(lines.items())
            self._count_errors()
            if self._on_progress is not None:
                self._on_progress(self._journal.tally, self._num_rows)

    def _count_errors(self) -> None:
        most: float | None = self._options.max_errors
        if most is None and self._options.max_error_share is not None:
            most = self._options.max_error_share * self._num_rows
        num = self._journal.tally.num_errors
        if most is not None and num > most:
            self._own_stop = Stop("errors", f"{num} rows ended in an error (--max-errors).")

    async def _line(self, one: Decided) -> Line | None:
        """The row of the output; None where the job was stopped before there is one."""
        if one.state is None:
            return _failed(one.key, one.error)
        try:
            answer = await self._bulk.finish(one.state)
        except JobStopped:
            return None
        except JourneymanError as error:
            return _failed(one.key, str(error))
        except Exception as error:  # noqa: BLE001  # a sub-agent's own code may raise anything
            return _failed(one.key, f"{type(error).__name__}: {error}")
        error_told = answer.error
        if self._frontier is None:  # nobody was to be asked: that is no error, a crash is one
            error_told = one.state["attempt"]["error"] if answer.value is None else None
        return _line(one.key, answer, error_told)


def _escalates(one: Decided) -> bool:
    return one.state is not None and not Bulk.is_accepted(one.state)


def _within_windows(chunk: list[Decided]) -> Iterator[list[Decided]]:
    """A chunk in parts that fit a window: the rows an interruption left may be far apart."""
    part: list[Decided] = []
    for one in chunk:
        if part and one.number - part[0].number >= WINDOW:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _line(key: Any, answer: Answer, error: str | None) -> Line:
    confidence = answer.confidence
    return {
        "key": key,
        "value": answer.value,
        "source": answer.source,
        # What shared a student's batch shows in the last digits.
        "confidence": None if confidence is None else round(confidence, 6),
        "certified": answer.certified,
        "reason": answer.reason,
        "release": answer.release,
        "cost_microusd": answer.cost_microusd,
        "error": error,
        "latency_ms": round(answer.latency_ms, 3),
        "run_id": answer.run_id,
    }


def _failed(key: Any, error: str | None) -> Line:
    return {
        "key": key,
        "value": None,
        "source": "none",
        "confidence": None,
        "certified": False,
        "reason": None,
        "release": "",
        "cost_microusd": 0,
        "error": error or "There is no task.",
        "latency_ms": None,
        "run_id": None,
    }


def _job(
    digest: str,
    agent: Agent[Any, Any],
    options: BatchOptions,
    settings: Settings,
    frontier: FrontierClient | None,
) -> dict[str, Any]:
    """Whatever shapes the output; not what may change between two beginnings."""
    asked = None
    if frontier is not None:
        asked = [frontier.model, settings.frontier.base_url]
    return {
        "input": digest,
        "agent": agent.release,
        "key": options.key,
        "text": options.text,
        "frontier": asked,
        "on_frontier_failure": options.on_frontier_failure,
        "trust_uncertified": options.trust_uncertified,
        "unordered": options.unordered,
        "details": options.details,
    }


def _context(options: BatchOptions, name: str) -> Context:
    return Context(
        trust_uncertified=options.trust_uncertified,
        on_frontier_failure=options.on_frontier_failure,
        tags=("batch", f"batch:{name}"),
    )


def _ray_engine(
    agent: AgentSource | Agent[Any, Any],
    settings: Settings,
    name: str,
    options: BatchOptions,
    store: str,
    num_rows: int,
) -> RayEngine:
    if not isinstance(agent, AgentSource):
        raise ConfigError("Ray's actors build the sub-agent themselves: pass an AgentSource.")
    context = _context(options, name)
    return RayEngine(agent, settings, name, context, store, num_rows, options.ray)


def _left(max_cost_usd: float | None, tally: Tally) -> float | None:
    return None if max_cost_usd is None else max(0.0, max_cost_usd - tally.cost_microusd / 1e6)


def _frontier(
    options: BatchOptions, settings: Settings, store: Store, given: FrontierClient | None
) -> FrontierClient | None:
    if not options.ask_frontier:
        return None
    chosen = given if given is not None else frontier_from(settings, store)
    if chosen is None:
        raise ConfigError(
            "No frontier is configured; set [frontier] model in journeyman.toml, or use "
            "--no-frontier, which leaves escalations open."
        )
    return chosen


@contextmanager
def _trusted(
    given: TrustSource | None, settings: Settings, store: Store, agent: Agent[Any, Any]
) -> Iterator[TrustSource]:
    if given is not None:
        yield given
        return
    trust = trust_from(settings, store, loaders_of([agent]))
    try:
        yield trust
    finally:
        trust.close()
