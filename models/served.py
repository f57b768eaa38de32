"""Students behind a server: generators that vLLM serves, with the answers of those in process.

A served generator asks in token ids and reads token ids and log-probabilities back, so its answers
and their evidence are those of the same generator in this process, up to rounding. Whatever fails
(no server, no answer in time, another student under the name) raises and never answers. Knows no
process: starting servers is `serve`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from journeyman.models.errors import ConfigError, ModelError, ModelUnavailable
from journeyman.models.release import MANIFEST, STUDENT, release_id_of
from journeyman.models.served_canary import (
    Placement,
    Proven,
    Prover,
    canary_on,
    check_accepted,
    finite,
    score_on,
    tolerance_of,
)
from journeyman.models.served_http import Reply, Server, run_blocking
from journeyman.models.served_tokens import BaseTokens
from journeyman.models.students.causal import CausalBase, adapter_digest
from journeyman.models.students.chat import Messages
from journeyman.models.students.generator import Generation, Generator, Prompt
from journeyman.models.students.generator_weights import read_facts
from journeyman.models.types import content_hash

_NOT_FOUND = 404
_FINISHED = {"stop": True, "length": False}


@dataclass(frozen=True, slots=True)
class Serving:
    """How a server serves.

    Attributes:
        dtype: Name of the type that it computes in.
        engine: What it is; part of the fingerprint where its answers are not those in process.
        grammar: Whether it can be held to a grammar; without one, answers that should be JSON may
            be none.
        tolerance: Nats that a fixed text's log-probability may differ by; None goes by `dtype`.
        canary_seconds: For how long a proof of what is served is good.
        wait_seconds: How long a release that is not served yet is waited for.
        here: Folder of the data directory on this machine, and
        there: as the server sees it; both None where they are the same.
    """

    dtype: str = "float32"
    engine: str = "vllm"
    grammar: bool = True
    tolerance: float | None = None
    canary_seconds: float = 30.0
    wait_seconds: float = 10.0
    here: Path | None = None
    there: Path | None = None

    @property
    def nats(self) -> float:
        """The tolerance that holds.

        Raises:
            ConfigError: None is set and none is known for the type.
        """
        return tolerance_of(self.dtype) if self.tolerance is None else self.tolerance

    def seen(self, folder: Path) -> Path:
        """A folder as the server sees it."""
        folder = folder.resolve()
        if self.here is None or self.there is None:
            return folder
        try:
            return self.there / folder.relative_to(self.here.resolve())
        except ValueError:
            return folder


class ServedGenerator:
    """Writes answers by a server. Safe to use from several tasks, event loops and threads at once.

    It is the same student as the one in process, with the same fingerprint, where the server
    computes in the same type and by the same grammar: the canary proves that before any answer.
    Otherwise it is another one, which a round has to certify as it is served.

    Args:
        local: The generator in process: its base, adapter and settings. Its weights stay unloaded.
        server: Where it is served.
        serving: How.
        folder: What `write_generator` wrote, for a release the one in its folder; None for a base
            as it is, which nothing is known of and which is trusted with nothing.
        tokens: The base's tokenizer, where it is loaded already.

    Raises:
        WeightsError: The folder is no generator's.
        ConfigError: Nothing is known about the server's type.
    """

    def __init__(
        self,
        local: Generator,
        server: Server,
        serving: Serving | None = None,
        *,
        folder: Path | None = None,
        tokens: BaseTokens | None = None,
    ) -> None:
        self.local = local
        self.server = server
        self.serving = serving or Serving()
        self.tokens = tokens or BaseTokens(local.base.files)
        self._placement = self._placed(folder)
        self._prover = Prover(
            server,
            self._placement,
            self.tokens,
            tolerance=self.serving.nats,
            seconds=self.serving.canary_seconds,
            wait_s=self.serving.wait_seconds,
        )

    def __repr__(self) -> str:
        return f"ServedGenerator({self.name!r}, {self.server.url!r})"

    @property
    def name(self) -> str:
        """What it is called on the server: its release's id, or its base's name."""
        return self._placement.name

    @property
    def base(self) -> CausalBase:
        """The base that it was taught on."""
        return self.local.base

    @property
    def taught(self) -> bool:
        """Whether there is an adapter."""
        return self.local.taught

    def rebound(self, local: Generator, folder: Path) -> ServedGenerator:
        """Another generator on the same server.

        Raises:
            WeightsError: The folder is no generator's.
        """
        is_same = local.base.files.digest == self.local.base.files.digest
        tokens = self.tokens if is_same else None  # loading them takes a second
        return ServedGenerator(local, self.server, self.serving, folder=folder, tokens=tokens)

    def rebased(self) -> ServedGenerator:
        """The base of this one, as it is, on the same server."""
        plain = self.local.rebound(None)
        return ServedGenerator(plain, self.server, self.serving, tokens=self.tokens)

    def fingerprint(self) -> str:
        """Hash of everything that shapes an answer. Asks no server."""
        serving = self.serving
        exact = serving.dtype == self.local.base.dtype and serving.grammar
        if exact and not self.local.sampling.num_samples:  # no two engines draw the same samples
            return self.local.fingerprint()
        return content_hash(
            {
                "student": "served generator",
                "local": self.local.fingerprint(),  # base, adapter and settings are in there
                "engine": serving.engine,
                "dtype": serving.dtype,
                "grammar": serving.grammar,
            }
        )

    async def answer(self, item: Prompt | Messages | str) -> Generation:
        """One answer, let out only if the server is proven to have served this student.

        Raises:
            ModelUnavailable: The server is not there, fails, or answers with something else.
            WeightsError: It serves something else under the student's name.
            ModelError: The prompt is empty, or leaves no room for an answer: it is never cut.
            ConfigError: The schema cannot be made a grammar.
        """
        prompt = item if isinstance(item, Prompt) else Prompt(item)
        graded = self._graded(prompt)
        if not self.tokens.is_ready(graded):
            await asyncio.to_thread(self.tokens.prepare, graded)
        ids = self._ids(prompt)
        for is_last in (False, True):
            proof = await self._prover.proven()
            reply = await self._complete(ids, self._wanted(graded, proof))
            if reply.status != _NOT_FOUND or is_last:
                break
            self._prover.forget(proof=proof)  # unloaded meanwhile: loaded and proven again
        generation = await self._generation(ids, reply, is_graded=graded is not None)
        if self.local.sampling.num_samples:
            generation = replace(generation, samples=await self._samples(ids, graded, proof))
        await self._prover.confirm(proof)
        return generation

    def predict(self, items: Sequence[Prompt | Messages | str]) -> list[Generation]:
        """One answer per prompt, in order; all are asked for at once.

        Raises:
            ModelError: As `answer`.
        """

        async def all_of_them() -> list[Generation]:
            try:
                return list(await asyncio.gather(*(self.answer(item) for item in items)))
            finally:
                await self.server.aclose()

        return run_blocking(all_of_them)

    async def prove(self) -> Proven:
        """Make sure now that the server serves this student.

        Raises:
            ModelUnavailable: It is not there, or does not serve it.
            WeightsError: It serves something else under its name.
        """
        return await self._prover.prove()

    async def scored(
        self, prompts: Sequence[Prompt | Messages | str], answers: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Log-probability (nats) of each token of given answers, the end token included.

        Raises:
            ModelUnavailable: As `answer`.
            WeightsError: As `answer`.
        """
        proof = await self._prover.proven()
        messages = [item.messages if isinstance(item, Prompt) else item for item in prompts]
        rows = [self.tokens.prompt(each) for each in messages]
        written = [self.tokens.answer(text) for text in answers]
        scores = await score_on(self.server, self.name, rows, written) if rows else []
        await self._prover.confirm(proof)
        return scores

    def canary(self) -> tuple[float, ...]:
        """What the served model thinks of the fixed texts: log-probabilities in nats.

        Raises:
            ModelUnavailable: As `answer`.
        """

        async def ask() -> tuple[float, ...]:
            try:
                return await canary_on(self.server, self.name, self.tokens)
            finally:
                await self.server.aclose()

        return run_blocking(ask)

    # The request.

    def _placed(self, folder: Path | None) -> Placement:
        if folder is None:
            adapter = self.local.adapter
            if adapter is not None:
                raise ConfigError(
                    f"The adapter {str(adapter)!r} can only be served from a folder that training "
                    f"wrote: pass folder=."
                )
            return Placement(self.local.base.name)
        facts = read_facts(folder)
        if not self.local.taught:
            return Placement(self.local.base.name, facts=facts)
        return Placement(served_name(folder), self.serving.seen(folder), facts)

    def _ids(self, prompt: Prompt) -> list[int]:
        ids = self.tokens.prompt(prompt.messages)
        room = self.tokens.window - self.local.max_new_tokens - 1  # scoring takes a token more
        if not ids or len(ids) > room:
            raise ModelError(
                f"A prompt has {len(ids)} tokens and {self.name!r} reads 1 to {room} beside an "
                f"answer of {self.local.max_new_tokens}: shorten the task, or lower "
                f"max_new_tokens.",
                model=self.name,
            )
        return ids

    def _graded(self, prompt: Prompt) -> Mapping[str, Any] | None:
        """The schema that the server is to hold the answer to."""
        return (prompt.schema or self.local.schema) if self.serving.grammar else None

    def _wanted(self, graded: Mapping[str, Any] | None, proof: Proven) -> dict[str, Any]:
        wanted: dict[str, Any] = {"temperature": 0.0, "logprobs": 0, "cache_salt": proof.salt}
        if graded is not None:
            wanted["structured_outputs"] = {"grammar": self.tokens.grammar(graded)}
        return wanted

    async def _complete(self, ids: list[int], wanted: Mapping[str, Any]) -> Reply:
        plain = {  # else a base's own advice on sampling would hold
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        }
        body = {
            "model": self.name,
            "prompt": ids,
            "max_tokens": self.local.max_new_tokens,
            "stop_token_ids": self.tokens.stop_ids,
            "return_token_ids": True,
        }
        return await self.server.post("/completions", {**plain, **body, **wanted})

    async def _generation(self, ids: list[int], reply: Reply, *, is_graded: bool) -> Generation:
        check_accepted(self.server, self.name, reply)
        answers = self._answers(ids, reply)
        if len(answers) != 1:
            raise self._malformed(f"{len(answers)} answers to one prompt")
        [answer] = answers
        if not is_graded or not answer.token_ids:
            return answer
        # A server's log-probabilities are of what its grammar left over; evidence is of the model.
        [scores] = await score_on(self.server, self.name, [ids], [answer.token_ids])
        return replace(answer, log_probabilities=scores)

    async def _samples(
        self, ids: list[int], graded: Mapping[str, Any] | None, proof: Proven
    ) -> tuple[Generation, ...]:
        sampling = self.local.sampling
        drawn = {"n": sampling.num_samples, "temperature": sampling.temperature}
        wanted = {**self._wanted(graded, proof), **drawn, "seed": sampling.seed}
        reply = await self._complete(ids, wanted)
        check_accepted(self.server, self.name, reply)
        return tuple(self._answers(ids, reply))

    def _answers(self, ids: list[int], reply: Reply) -> list[Generation]:
        try:
            named = reply.data["model"]
            choices = sorted(reply.data["choices"], key=lambda choice: choice["index"])
            answers = [self._answer(ids, choice) for choice in choices]
        except (KeyError, TypeError, ValueError) as error:
            raise self._malformed(f"{type(error).__name__}: {error}") from error
        if named != self.name:
            raise self._malformed(f"an answer of {named!r}")
        return answers

    def _answer(self, ids: list[int], choice: Mapping[str, Any]) -> Generation:
        if choice.get("prompt_token_ids") not in (None, ids):
            raise ValueError("an answer to another prompt")
        written = [int(token) for token in choice["token_ids"]]
        logs = tuple(finite(log) for log in choice["logprobs"]["token_logprobs"])
        if len(logs) != len(written):
            raise ValueError(f"{len(logs)} log-probabilities for {len(written)} tokens")
        if any(not 0 <= token < self.tokens.vocab_size for token in written):
            raise ValueError("tokens that the base does not have")
        finished = _FINISHED[choice["finish_reason"]]
        if finished and (not written or written[-1] not in self.tokens.stop_ids):
            raise ValueError("an answer that ended without its end token")
        text, starts = self.tokens.text(written)
        return Generation(text, tuple(written), starts, logs, finished)

    def _malformed(self, what: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"The server at {self.server.url!r} did not answer for {self.name!r} as vLLM does "
            f"({what[:200]}): use vLLM 0.11 or newer.",
            model=self.name,
        )


def served_name(folder: Path) -> str:
    """What the generator of a folder is called on servers.

    A release's own student goes by the release's id; a candidate that is no release yet by its
    adapter's digest. Neither name is ever given to other weights.

    Raises:
        WeightsError: The folder holds no adapter.
    """
    if folder.name == STUDENT and (folder.parent / MANIFEST).is_file():
        return release_id_of(folder.parent)
    return f"candidate@{adapter_digest(folder)[:16]}"
