"""A stand-in that speaks vLLM's routes, with the log-probabilities of real (tiny) models.

Like vLLM 0.32, it gives answers' log-probabilities after the grammar's mask, and prompts' without.
It has faults that vLLM may have.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import xgrammar

from journeyman.models.loopback_http import HttpReply, HttpRequest, LoopbackServer
from journeyman.models.students.causal import CausalBase

Change = Callable[[HttpReply], HttpReply]


class StandIn:
    """Serves one base and any adapters, one request after the other.

    Attributes:
        adapters: Where each name was loaded from.
        applied: Where a name's weights really come from, if not from there; None is the base.
        asked: How often each path was asked for.
        bodies: Of `/v1/completions`, newest last.
        change: What is done to a completion's reply before it is sent.
        meanwhile: Called when a completion has been computed.
        may_load: Adapters can be loaded at run time.
    """

    def __init__(self, base: CausalBase) -> None:
        self.base = base
        self.adapters: dict[str, str] = {}
        self.applied: dict[str, Path | None] = {}
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.change: Change = lambda reply: reply
        self.meanwhile: Callable[[], None] = lambda: None
        self.may_load = True
        self._is_closed = False
        self._server = LoopbackServer(self._answer, name="stand-in for vLLM")

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def num_canaries(self) -> int:
        return sum("prompt_logprobs" in body and len(body["prompt"]) > 1 for body in self.bodies)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Be gone; may be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._server.__exit__(None, None, None)

    def _answer(self, request: HttpRequest) -> HttpReply:
        self.asked[request.path] += 1
        body = json.loads(request.body) if request.body else {}
        if request.path == "/health":
            return _json({})
        if request.path == "/v1/models":
            return _json({"data": self._cards()})
        if request.path == "/v1/load_lora_adapter" and self.may_load:
            if body["lora_name"] in self.adapters:
                return _refusal(400, "has already been loaded")
            self.adapters[body["lora_name"]] = body["lora_path"]
            return HttpReply(200, b"Success")
        if request.path == "/v1/unload_lora_adapter" and self.may_load:
            if self.adapters.pop(body["lora_name"], None) is None:
                return _refusal(404, "cannot be found")
            return HttpReply(200, b"Success")
        if request.path == "/v1/completions":
            self.bodies.append(body)
            reply = self._complete(body)
            self.meanwhile()
            return self.change(reply)
        return _refusal(404, "Not Found")

    def _cards(self) -> list[dict[str, Any]]:
        base = {"id": self.base.name, "root": self.base.name, "parent": None}
        lying = [
            {"id": name, "root": root, "parent": self.base.name}
            for name, root in self.adapters.items()
        ]
        return [base, *lying]

    def _complete(self, body: dict[str, Any]) -> HttpReply:
        name = body["model"]
        if name != self.base.name and name not in self.adapters:
            return _refusal(404, f"The model `{name}` does not exist.")
        adapter: Path | None = None
        if name in self.adapters:
            adapter = self.applied.get(name, Path(self.adapters[name]))
        prompts = body["prompt"]
        rows = prompts if isinstance(prompts[0], list) else [prompts]
        make = self._scored if "prompt_logprobs" in body else self._written
        loaded = self.base._load()
        with loaded.adapted(adapter), torch.inference_mode():
            choices = [{"index": i, **make(loaded, row, body)} for i, row in enumerate(rows)]
        return _json({"model": name, "choices": choices})

    def _scored(self, loaded: Any, row: list[int], body: dict[str, Any]) -> dict[str, Any]:
        logits = loaded.module(input_ids=torch.tensor([row])).logits[0].float()
        logs = torch.log_softmax(logits, -1)
        told: list[Any] = [None]
        told += [{str(row[i]): {"logprob": float(logs[i - 1, row[i]])}} for i in range(1, len(row))]
        return {"text": "", "finish_reason": "length", "prompt_logprobs": told}

    def _written(self, loaded: Any, row: list[int], body: dict[str, Any]) -> dict[str, Any]:
        matcher = self._matcher(loaded, body)
        size = int(loaded.module.config.vocab_size)
        ids, logs = list(row), []
        while len(logs) < body["max_tokens"]:
            scores = loaded.module(input_ids=torch.tensor([ids])).logits[0, -1:].float()
            if matcher is not None:
                mask = xgrammar.allocate_token_bitmask(1, size)
                matcher.fill_next_token_bitmask(mask)
                xgrammar.apply_token_bitmask_inplace(scores, mask)
            kept = torch.log_softmax(scores[0], -1)  # after the mask, as vLLM does
            token = int(kept.argmax())
            ids.append(token)
            logs.append(float(kept[token]))
            if token in body["stop_token_ids"]:
                break
            if matcher is not None:
                matcher.accept_token(token)
        written = ids[len(row) :]
        ended = written[-1] in body["stop_token_ids"]
        return {
            "text": "",
            "token_ids": written,
            "prompt_token_ids": row,
            "logprobs": {"token_logprobs": logs},
            "finish_reason": "stop" if ended else "length",
        }

    def _matcher(self, loaded: Any, body: dict[str, Any]) -> Any:
        wanted = body.get("structured_outputs")
        if wanted is None:
            return None
        info = xgrammar.TokenizerInfo.from_huggingface(
            loaded.tokenizer,
            vocab_size=int(loaded.module.config.vocab_size),
            stop_token_ids=body["stop_token_ids"],
        )
        compiler = xgrammar.GrammarCompiler(info, max_threads=1)
        return xgrammar.GrammarMatcher(compiler.compile_grammar(wanted["grammar"]))


def edited(edit: Callable[[dict[str, Any]], None]) -> Change:
    """A change of the first answer in a reply; canaries and refusals stay as they are."""

    def change(reply: HttpReply) -> HttpReply:
        data = json.loads(reply.body)
        if reply.status != 200 or "token_ids" not in data["choices"][0]:
            return reply
        edit(data)
        return replace(reply, body=json.dumps(data).encode())

    return change


def _json(data: Any) -> HttpReply:
    return HttpReply(200, json.dumps(data).encode())


def _refusal(status: int, message: str) -> HttpReply:
    return HttpReply(status, json.dumps({"error": {"message": message, "code": status}}).encode())
