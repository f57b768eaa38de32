"""Proof that a name on a server is the student that was taught, before anything is believed of it.

Adapters can be left out without a word, lie under another's name, or be replaced. So the server is
asked what the model under that name thinks of fixed texts: it must think as the taught model did
when it was taught, and not as the base did. That is asked before the first answer, again after a
while, and after every broken connection; between, each answer is let out only while the server
still shows the same files under the name. Knows no prompt and no answer of a task.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from journeyman.models.errors import ConfigError, ModelError, ModelUnavailable, WeightsError
from journeyman.models.served_http import Card, Reply, Server
from journeyman.models.served_tokens import BaseTokens
from journeyman.models.students.generator_weights import CANARY, Facts, distance

TOLERANCES = {"float32": 0.01, "bfloat16": 0.5, "float16": 0.1}
"""Nats by which the log-probability of a fixed text (11 to 20 tokens) may differ from the
trainer's, by the type that the server computes in; see docs/serving.md for what was measured."""

_POLL_SECONDS = 0.25
_PATIENCE = 3  # proofs that may be crossed by a broken connection
_REFUSED_SECONDS = 2.0  # for which a failed proof is not tried again
_ROUNDING = 1e-3  # nats by which a certain token may seem more than certain


@dataclass(frozen=True, slots=True)
class Placement:
    """Under which name a student is served, and what it has to be.

    Attributes:
        name: On the server: the release's id, or the base's name.
        adapter: The adapter's folder as the server sees it; None for the base itself.
        facts: What the taught model thought; None where nothing is known, and nothing is trusted.
    """

    name: str
    adapter: Path | None = None
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Proven:
    """That a name was the student, at a moment.

    Attributes:
        card: What the server said of the name then.
        num_breaks: The server's count of broken connections then.
        at: When, in the prover's seconds.
        salt: Of the server's prefix cache: what others computed under this name is not used.
    """

    card: Card
    num_breaks: int
    at: float
    salt: str


@dataclass
class _State:
    """What is believed now; replaced as a whole when nothing is."""

    proven: Proven | None = None
    salt: str = field(default_factory=lambda: uuid.uuid4().hex)
    error: ModelError | None = None
    until: float = float("-inf")


class Prover:
    """Proves one placement on one server, as often as it takes. Safe between loops and threads.

    Args:
        server: Where.
        placement: What.
        tokens: The base's.
        tolerance: Nats; see `TOLERANCES`.
        seconds: For how long a proof is good; half-way it is renewed while answers go on.
        wait_s: How long an adapter that the server may not be told to load is waited for.
        clock: Monotonic seconds, for tests.
    """

    def __init__(
        self,
        server: Server,
        placement: Placement,
        tokens: BaseTokens,
        *,
        tolerance: float,
        seconds: float = 30.0,
        wait_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.placement = placement
        self._server = server
        self._tokens = tokens
        self._tolerance = tolerance
        self._seconds = seconds
        self._wait_s = wait_s
        self._clock = clock
        self._state = _State()
        self._lock = threading.Lock()
        self._asking: Future[Proven] | None = None
        self._was_served = False
        self._renewing: set[asyncio.Task[Proven]] = set()

    async def proven(self) -> Proven:
        """A proof that is good now; the server is asked where there is none.

        Raises:
            ModelUnavailable: The server is not there, or does not serve the name.
            WeightsError: It serves something else under it.
        """
        state = self._state
        known, now = state.proven, self._clock()
        if known is None and state.error is not None and now < state.until:
            raise state.error.with_traceback(None)
        if known is None or known.num_breaks != self._server.num_breaks:
            return await self.prove()
        age = now - known.at
        if age >= self._seconds:
            return await self.prove()
        if age >= self._seconds / 2 and not self._renewing:
            task = asyncio.create_task(self.prove())
            self._renewing.add(task)
            task.add_done_callback(self._renewed)
        return known

    async def confirm(self, proof: Proven) -> None:
        """Make sure that a proof still held when an answer came: raises where it may not.

        Raises:
            ModelUnavailable: The server is not there any more.
            WeightsError: Other files lie under the name now.
        """
        salt = proof.salt
        if proof.num_breaks != self._server.num_breaks:
            proof = await self.prove()
        # Proven anew after it was forgotten, it may have been another one in between.
        if self._state.proven is None or self._state.salt != salt:
            raise self._changed()
        card = (await self._server.cards()).get(self.placement.name)
        if card != proof.card:
            self.forget()
            raise self._changed()

    def forget(self, error: ModelError | None = None, *, proof: Proven | None = None) -> None:
        """Believe nothing any more, until it is proven anew.

        Args:
            error: Why; for a moment it is the answer to whoever asks.
            proof: The one that failed; where another has taken its place, that one stays.
        """
        if proof is not None and proof.salt != self._state.salt:
            return
        # With a salt of its own: what was cached meanwhile is not trusted.
        until = self._clock() + _REFUSED_SECONDS
        self._state = _State(error=error, until=until)

    async def prove(self) -> Proven:
        """Ask the server now; whoever asks meanwhile shares the answer.

        Raises:
            ModelUnavailable: The server is not there, or does not serve the name.
            WeightsError: It serves something else under it.
        """
        while True:
            with self._lock:
                shared = self._asking
                if shared is None:
                    mine = self._asking = Future()
            if shared is None:
                return await self._lead(mine)
            try:
                return await asyncio.shield(asyncio.wrap_future(shared))
            except asyncio.CancelledError:
                if not shared.cancelled():  # it is this task that was cancelled
                    raise

    async def _lead(self, mine: Future[Proven]) -> Proven:
        try:
            proven = await self._ask()
        except ModelError as error:
            self.forget(error)
            self._asking = None
            mine.set_exception(error)
            raise
        except BaseException:
            self._asking = None
            mine.cancel()
            raise
        self._state.proven, self._state.error = proven, None
        self._was_served = True
        self._asking = None
        mine.set_result(proven)
        return proven

    async def _ask(self) -> Proven:
        for _ in range(_PATIENCE):
            num_breaks = self._server.num_breaks
            card = await self._served()
            await self._compare()
            if card != await self._card():
                raise self._changed()
            if num_breaks == self._server.num_breaks:
                return Proven(card, num_breaks, self._clock(), self._state.salt)
        raise ModelUnavailable(
            f"The connection to the server at {self._server.url!r} keeps breaking: see its log.",
            model=self.placement.name,
        )

    async def _card(self) -> Card | None:
        return (await self._server.cards()).get(self.placement.name)

    async def _served(self) -> Card:
        """What the server says of the name, once it serves it."""
        place = self.placement
        deadline = self._clock() + (0.0 if self._was_served else self._wait_s)
        may_load = place.adapter is not None
        said = ""
        while True:
            card = await self._card()
            if card is not None:
                if place.adapter is not None and card.parent is None and card.root:
                    raise WeightsError(
                        f"The server at {self._server.url!r} serves {place.name!r} as a base and "
                        f"not as an adapter: start it with that name free.",
                        model=place.name,
                    )
                return card
            if may_load:
                may_load = False
                reply = await load_adapter(self._server, place.name, str(place.adapter))
                if not reply.is_refusal:
                    continue
                said = f" (it refused to load it: {reply.said})"
            if place.adapter is None or self._clock() >= deadline:
                raise ModelUnavailable(
                    f"The server at {self._server.url!r} does not serve {place.name!r}{said}: run "
                    f"`journeyman serve`, or load it there under this name.",
                    model=place.name,
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _compare(self) -> None:
        facts = self.placement.facts
        if facts is None:
            return
        if not (facts.canary or facts.base_canary):
            raise WeightsError(
                f"Nothing is on record of what the untaught base {facts.base!r} thinks, so "
                f"{self.placement.name!r} cannot be proven to be served: run a round with the "
                f"server configured.",
                model=self.placement.name,
            )
        found = await canary_on(self._server, self.placement.name, self._tokens)
        problem = stranger(found, facts, self._tolerance)
        if problem is not None:
            raise WeightsError(
                f"The server at {self._server.url!r} serves {self.placement.name!r} {problem}: "
                f"unload that name there, and load the release's own adapter.",
                model=self.placement.name,
            )

    def _changed(self) -> WeightsError:
        return WeightsError(
            f"What the server at {self._server.url!r} serves as {self.placement.name!r} changed "
            f"while it answered, or could not be proven, so the answer is not used: see its log.",
            model=self.placement.name,
        )

    def _renewed(self, task: asyncio.Task[Proven]) -> None:
        self._renewing.discard(task)
        if not task.cancelled():
            task.exception()  # it was forgotten then, and the next answer tells


def stranger(found: Sequence[float], facts: Facts, tolerance: float) -> str | None:
    """Why a served model is not the taught one; None where it is.

    Args:
        found: What it thinks of the fixed texts, in nats.
        facts: What the taught model thought, or the base where nothing was taught.
        tolerance: Nats by which a text may differ.
    """
    wanted = facts.canary or facts.base_canary
    off = distance(found, wanted)
    if not off <= tolerance:  # written so that NaN, which is above nothing, is refused
        nearest = distance(found, facts.base_canary)
        if facts.canary and nearest <= tolerance:
            return (
                f"without its adapter (fixed texts get the base's log-probabilities, "
                f"{off:.3g} nats from the trainer's)"
            )
        return (
            f"with other weights or at another precision (fixed texts get log-probabilities "
            f"{off:.3g} nats from the trainer's; {tolerance:g} are allowed)"
        )
    if facts.canary and off >= distance(found, facts.base_canary):
        return "in a way that cannot be told from its base"
    return None


async def canary_on(server: Server, name: str, tokens: BaseTokens) -> tuple[float, ...]:
    """What a served model thinks of the fixed texts: log-probabilities in nats.

    Raises:
        ModelUnavailable: The server does not say.
        WeightsError: The base's tokenizer is missing here.
    """
    prompts, answers = await asyncio.to_thread(_canary_ids, tokens)
    scored = await score_on(server, name, prompts, answers)
    return tuple(sum(logs) for logs in scored)


async def score_on(
    server: Server, name: str, prompts: Sequence[list[int]], answers: Sequence[Sequence[int]]
) -> list[tuple[float, ...]]:
    """Log-probability (nats) of each token of given answers, by a served model.

    Args:
        server: Where.
        name: Of the model there.
        prompts: Token ids, none empty.
        answers: Token ids, one answer for each prompt.

    Raises:
        ModelUnavailable: The server refuses, or does not give log-probabilities of prompts.
    """
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    reply = await server.post(
        "/completions",
        {"model": name, "prompt": rows, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0},
    )
    check_accepted(server, name, reply)
    try:
        choices = sorted(reply.data["choices"], key=lambda choice: choice["index"])
        told = [choice["prompt_logprobs"] for choice in choices]
        return [
            tuple(
                finite(told_row[at][str(row[at])]["logprob"])
                for at in range(len(row) - len(answer), len(row))
            )
            for row, answer, told_row in zip(rows, answers, told, strict=True)
        ]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelUnavailable(
            f"The server at {server.url!r} gives no log-probabilities of prompts, without which "
            f"nothing proves what it serves: use vLLM.",
            model=name,
        ) from error


async def load_adapter(server: Server, name: str, folder: str) -> Reply:
    """Ask a server to serve an adapter under a name; one that is there already stays as it is.

    Raises:
        ModelUnavailable: The server is not there.
    """
    return await server.post("/load_lora_adapter", {"lora_name": name, "lora_path": folder})


async def unload_adapter(server: Server, name: str) -> Reply:
    """Ask a server to serve an adapter no more; requests under way end as they began.

    Raises:
        ModelUnavailable: The server is not there.
    """
    return await server.post("/unload_lora_adapter", {"lora_name": name})


def check_accepted(server: Server, name: str, reply: Reply) -> None:
    """Raise where a server refused a request.

    Raises:
        ModelUnavailable: It did.
    """
    if reply.is_refusal:
        raise ModelUnavailable(
            f"The server at {server.url!r} refused a request for {name!r} (status "
            f"{reply.status}: {reply.said}): see its log.",
            model=name,
        )


def finite(number: object) -> float:
    """A log-probability as a server gave it.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(number, (int, float)) or not math.isfinite(number) or number > _ROUNDING:
        raise ValueError(f"{number!r} is no log-probability")
    return float(number)


def tolerance_of(dtype: str) -> float:
    """Nats that are allowed where the server computes in a type.

    Raises:
        ConfigError: Nothing is known about it.
    """
    if dtype not in TOLERANCES:
        raise ConfigError(
            f"Servers that compute in {dtype!r} are not known: choose of {', '.join(TOLERANCES)}, "
            f"or set a tolerance.",
            key="served.dtype",
        )
    return TOLERANCES[dtype]


def _canary_ids(tokens: BaseTokens) -> tuple[list[list[int]], list[list[int]]]:
    return (
        [tokens.prompt(prompt) for prompt, _ in CANARY],
        [tokens.answer(answer) for _, answer in CANARY],
    )
