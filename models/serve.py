"""Keeps one vLLM server serving the releases in traffic, each under its own immutable name.

A release that is promoted is loaded, proven by the canary, and from then on said to be served; one
that left traffic is drained and unloaded. Nothing is ever reloaded under a name. A server that ends
or hangs is started again, after a pause that grows. Which releases are in traffic, it is told;
orchestrators prove for themselves what they are answered by. An embedder's server is kept the same
way, without releases. Knows no store and no task.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from journeyman.models.breaker import Breaker
from journeyman.models.errors import ConfigError, JourneymanError, ModelError, WeightsError
from journeyman.models.serve_process import ServerProcess, not_there
from journeyman.models.served_canary import Placement, Prover, canary_on, unload_adapter
from journeyman.models.served_http import Server
from journeyman.models.served_tokens import BaseTokens
from journeyman.models.students.generator_weights import Facts

_LINES = re.MULTILINE
_LAST_DRAIN_SECONDS = 20.0  # a server that is told to stop should
_GUESTS_PATIENCE = 10  # drains for which an adapter that others loaded may lie idle: a round's are
_WORK = r"^vllm:(?:prompt_tokens|generation_tokens|request_success)_total(?:\{.*\})? (\S+)$"

logger = logging.getLogger("journeyman.serve")

EventKind = Literal[
    "starting", "ready", "serving", "refused", "draining", "unloaded", "lost", "restarting", "ended"
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for people and logs.

    Attributes:
        kind: What.
        name: Of the release or the base.
        detail: Why, or how.
    """

    kind: EventKind
    name: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release that is to be served.

    Attributes:
        folder: Its student's.
        facts: What the taught model thought.
    """

    folder: Path
    facts: Facts


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long, in seconds.

    Attributes:
        tick: Between two looks at everything.
        health: Between two questions whether the server is there.
        canary: Between two proofs of everything that is served.
        hang: Without an answer, after which the server is ended and started again.
        start: For it to come up.
        drain: For which a release that left traffic stays loaded; longer than a request takes.
        retry: Until a release that was refused is tried again.
        first_pause: Before the first restart; doubled up to
        last_pause: at most, and begun anew after a server has been there for that long.
    """

    tick: float = 0.5
    health: float = 5.0
    canary: float = 30.0
    hang: float = 60.0
    start: float = 900.0
    drain: float = 120.0
    retry: float = 30.0
    first_pause: float = 1.0
    last_pause: float = 60.0


@dataclass
class _Up:
    """What is known of a server since it came up."""

    since: float
    provers: dict[str, Prover] = field(default_factory=dict)
    leaving: dict[str, float] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    answered: float = 0.0
    work: float = 0.0
    is_proven: bool = False
    next_health: float = 0.0
    next_canary: float = 0.0


class Keeper:
    """Keeps a server as it should be, until told to stop.

    Attributes:
        pace: How often and how long.

    Args:
        process: The server; not started yet.
        wanted: The releases in traffic by name; called in a thread, often.
        tell: Told what happens.
        pace: How often and how long.
        tolerance: Nats; see `served_canary.TOLERANCES`.
        seen: A folder as the server sees it.
        api_key_env: Environment variable that holds the server's key.
        prove: Proves what is served where that is no model that writes; by default the canary, by
            log-probabilities, asks the base and every release.
        clock: Monotonic seconds, for tests.
    """

    def __init__(
        self,
        process: ServerProcess,
        wanted: Callable[[], Mapping[str, Wanted]],
        *,
        tell: Callable[[Event], None],
        tolerance: float,
        pace: Pace | None = None,
        seen: Callable[[Path], Path] = Path.resolve,
        api_key_env: str = "JOURNEYMAN_SERVED_API_KEY",
        prove: Callable[[], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process = process
        # Every failure is seen at once: patience is `pace`'s.
        self._server = Server(
            process.launch.url,
            api_key_env=api_key_env,
            timeout_s=(pace or Pace()).hang / 2,
            max_tries=1,
            breaker=Breaker(threshold=sys.maxsize),
        )
        self._wanted = wanted
        self._tell = tell
        self.pace = pace or Pace()
        self._tolerance = tolerance
        self._seen = seen
        self._clock = clock
        self._base = process.launch.base
        self._tokens = BaseTokens(self._base)
        self._prove_whole = prove

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then let requests end, and end the server.

        Raises:
            ConfigError: There is no vLLM, or the port is taken.
            ModelUnavailable: The server did not come up the first time.
        """
        pause, was_up = self.pace.first_pause, False
        try:
            while not stop.is_set():
                try:
                    up = await self._start(stop)
                except JourneymanError as error:
                    if not was_up:
                        raise
                    self._tell(Event("lost", self._base.name, str(error)))
                else:
                    if up is None:
                        break
                    was_up = True
                    why = await self._watch(up, stop)
                    if why is None:
                        break
                    self._tell(Event("lost", self._base.name, why))
                    if self._clock() - up.since >= self.pace.last_pause:
                        pause = self.pace.first_pause
                await asyncio.to_thread(self._process.stop, grace_s=0.0)
                self._tell(Event("restarting", self._base.name, f"in {pause:g} s"))
                await _wait(stop, pause)
                pause = min(2 * pause, self.pace.last_pause)
            await self._drain()
        finally:
            # Not awaited: this must end it even where the loop is being torn down.
            self._process.stop()
            await self._server.aclose()
            self._tell(Event("ended", self._base.name))

    async def _start(self, stop: asyncio.Event) -> _Up | None:
        """Start the server and wait for it; None where it is to stop."""
        self._tell(Event("starting", self._base.name, self._process.launch.url))
        await asyncio.to_thread(self._process.start)
        deadline = self._clock() + self.pace.start
        while not stop.is_set():
            if not self._process.is_running or self._clock() >= deadline:
                raise not_there(self._process.launch, self._process)
            if await self._is_healthy():
                now = self._clock()
                self._tell(Event("ready", self._base.name, self._process.launch.url))
                return _Up(since=now, answered=now)
            await _wait(stop, self.pace.tick)
        return None

    async def _watch(self, up: _Up, stop: asyncio.Event) -> str | None:
        """Keep everything as it should be; why the server is lost, or None where it is to stop."""
        while not stop.is_set():
            if not self._process.is_running:
                return self._process.trouble()
            now = self._clock()
            try:
                if now >= up.next_health:
                    up.next_health = now + self.pace.health
                    if await self._is_healthy():
                        with suppress(ModelError):
                            await self._see_work(up)
                        await self._follow(up)
                if now >= up.next_canary:
                    up.next_canary = now + self.pace.canary
                    await self._prove_all(up)
            except ModelError as error:
                logger.warning("%s", error)
            if self._clock() - up.answered >= self.pace.hang:
                return f"it has not answered for {self.pace.hang:g} s"
            await _wait(stop, self.pace.tick)
        return None

    async def _is_healthy(self) -> bool:
        try:
            reply = await self._server.get("//health", timeout_s=self.pace.health)
        except ModelError:
            return False
        return not reply.is_refusal

    async def _see_work(self, up: _Up) -> None:
        """A server that gets on with its work is there, however long a canary has to wait."""
        text = str((await self._server.get("//metrics", timeout_s=self.pace.health)).data)
        work = sum(float(number) for number in re.findall(_WORK, text, _LINES))
        if work != up.work:
            up.work, up.answered = work, self._clock()

    async def _follow(self, up: _Up) -> None:
        """Load what came into traffic, unload what left it."""
        try:
            wanted = await asyncio.to_thread(self._wanted)
        except JourneymanError as error:  # what is served goes on as it is
            logger.warning("the releases in traffic cannot be looked up: %s", error)
            return
        for name, release in wanted.items():
            up.leaving.pop(name, None)
            if name not in up.provers and self._clock() >= up.refused.get(name, 0.0):
                await self._take_in(up, name, release)
        served = await self._server.cards()
        left = [n for n, card in served.items() if card.parent is not None and n not in wanted]
        in_use = await self._in_use() if left else frozenset()
        for name in left:
            await self._let_go(up, name, in_use=name in in_use)

    async def _take_in(self, up: _Up, name: str, release: Wanted) -> None:
        if release.facts.base_digest != self._base.digest:
            why = f"it was taught on another base, {release.facts.base!r}"
            self._refuse(up, name, f"{why}: serve that one by a server of its own")
            return
        prover = Prover(
            self._server,
            Placement(name, self._seen(release.folder), release.facts),
            self._tokens,
            tolerance=self._tolerance,
            wait_s=0.0,
        )
        try:
            await prover.prove()
        except (WeightsError, ConfigError) as error:
            await unload_adapter(self._server, name)
            self._refuse(up, name, str(error))
        except ModelError as error:
            self._refuse(up, name, str(error))
        else:
            up.provers[name] = prover
            up.refused.pop(name, None)
            up.answered = self._clock()
            self._tell(Event("serving", name, "the canary agrees with the trainer"))

    def _refuse(self, up: _Up, name: str, why: str) -> None:
        if name not in up.refused:  # once, however often it is tried before it is served
            self._tell(Event("refused", name, why))
        up.refused[name] = self._clock() + self.pace.retry

    async def _let_go(self, up: _Up, name: str, *, in_use: bool) -> None:
        """Unload an adapter once nobody can still be asking for it."""
        now, is_own = self._clock(), name in up.provers
        patience = self.pace.drain * (1 if is_own else _GUESTS_PATIENCE)
        if is_own and name not in up.leaving:
            self._tell(Event("draining", name, f"for {patience:g} s"))
        if in_use or name not in up.leaving:
            up.leaving[name] = now + patience
        if now < up.leaving[name]:
            return
        await unload_adapter(self._server, name)
        del up.leaving[name]
        up.provers.pop(name, None)
        self._tell(Event("unloaded", name))

    async def _prove_all(self, up: _Up) -> None:
        """The canary, which goes through the engine: it notices what hangs behind the door."""
        if self._prove_whole is not None:
            try:
                await self._prove_whole()
            except WeightsError as error:
                up.is_proven = False
                self._refuse(up, self._base.name, str(error))
                return
            up.answered = self._clock()
            if not up.is_proven:
                self._tell(Event("serving", self._base.name, "it agrees with the one in process"))
            up.is_proven = True
            up.refused.pop(self._base.name, None)
            return
        await canary_on(self._server, self._base.name, self._tokens)
        up.answered = self._clock()
        for name, prover in list(up.provers.items()):
            try:
                await prover.prove()
            except WeightsError as error:
                del up.provers[name]
                await unload_adapter(self._server, name)
                self._refuse(up, name, str(error))
            except ModelError as error:  # of the others the canary is asked all the same
                logger.warning("%s", error)

    async def _in_use(self) -> frozenset[str]:
        """Adapters with requests under way, as the server counts them."""
        text = str((await self._server.get("//metrics")).data)
        newest, names = -1.0, ""
        for labels, at in re.findall(r"^vllm:lora_requests_info\{(.*)\} (\S+)$", text, _LINES):
            if float(at) > newest:  # each set of names has a line, with the time it was last true
                newest = float(at)
                names = ",".join(re.findall(r'(?:running|waiting)_lora_adapters="([^"]*)"', labels))
        return frozenset(name for name in names.split(",") if name)

    async def _drain(self) -> None:
        """Let requests that are under way end, for a while."""
        if not self._process.is_running:
            return
        deadline = self._clock() + min(self.pace.drain, _LAST_DRAIN_SECONDS)
        with suppress(ModelError):  # it is gone, or hangs, and is ended
            while self._clock() < deadline and await self._num_requests():  # noqa: ASYNC110  # the server has no event
                await asyncio.sleep(self.pace.tick)

    async def _num_requests(self) -> float:
        text = str((await self._server.get("//metrics", timeout_s=self.pace.health)).data)
        found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", text, _LINES)
        return sum(float(number) for number in found)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not past the end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
