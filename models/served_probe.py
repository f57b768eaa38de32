"""What a server can do, found out by asking it small things.

Nothing is believed of version numbers: each ability is tried. Changes nothing on the server but the
adapters of a trial, which it never has. Knows nothing of releases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from journeyman.models.errors import ModelError
from journeyman.models.served_http import Reply, Server

_TRIAL = "journeyman-probe"
_NOT_FOUND = 404
_GRAMMAR = 'root ::= "ready"'


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server can do.

    Attributes:
        engine: Name and version, as far as it says.
        models: Names that it serves.
        window: Tokens of a prompt and its answer together; None where it does not say.
        token_ids: It takes and gives token ids.
        log_probabilities: Of the tokens of its answers.
        prompt_log_probabilities: Of the tokens of prompts; what the canary needs.
        grammar: It holds answers to a grammar.
        adapters: It loads and unloads adapters while it runs.
        trouble: Why it could not be asked; empty where it could.
    """

    engine: str = "unknown"
    models: tuple[str, ...] = ()
    window: int | None = None
    token_ids: bool = False
    log_probabilities: bool = False
    prompt_log_probabilities: bool = False
    grammar: bool = False
    adapters: bool = False
    trouble: str = ""

    def missing(self) -> str | None:
        """What it lacks, in one sentence with what to do; None where nothing is lacking."""
        if self.trouble:
            return self.trouble
        lacking = {
            "token ids": self.token_ids,
            "log-probabilities": self.log_probabilities,
            "log-probabilities of prompts": self.prompt_log_probabilities,
        }
        needed = [name for name, there in lacking.items() if not there]
        if needed:
            return (
                f"The server ({self.engine}) does not give {_joined(needed)}, so no student can be "
                f"proven to be served: use vLLM 0.11 or newer."
            )
        if not self.grammar:
            return (
                f"The server ({self.engine}) holds no answer to a grammar: set served.grammar = "
                f"false and run a round, which certifies answers without one."
            )
        if not self.adapters:
            return (
                f"The server ({self.engine}) loads no adapters while it runs: start it with "
                f"--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or load every release "
                f"under its id before it is promoted."
            )
        return None


async def probe(server: Server, model: str | None = None) -> Abilities:
    """Find out what a server can do; never raises for what it cannot.

    Args:
        server: Where.
        model: Name of the model that is asked; the first that is served, where it is None. Give a
            base: vLLM that was not told which layers adapters lie on may die of log-probabilities
            of prompts with an adapter.
    """
    try:
        cards = await server.cards()
        asked = model or next(iter(cards), "")
        version = await server.get("//version")
        answer = await server.post(
            "/completions",
            _plain(asked) | {"logprobs": 0, "return_token_ids": True},
        )
        scored = await server.post("/completions", _plain(asked) | {"prompt_logprobs": 0})
        held = await server.post(
            "/completions",
            _plain(asked) | {"max_tokens": 16, "structured_outputs": {"grammar": _GRAMMAR}},
        )
        unloaded = await server.post("/unload_lora_adapter", {"lora_name": _TRIAL})
    except ModelError as error:
        return Abilities(trouble=str(error))
    finally:
        await server.aclose()
    known = cards.get(asked)
    base = cards.get(known.parent) if known is not None and known.parent else known
    told, prompt = _choice(answer), _choice(scored)
    return Abilities(
        engine=_engine(version),
        models=tuple(cards),
        window=None if base is None else base.window,
        token_ids=isinstance(told.get("token_ids"), list),
        log_probabilities=_are_numbers((told.get("logprobs") or {}).get("token_logprobs")),
        prompt_log_probabilities=isinstance(prompt.get("prompt_logprobs"), list),
        grammar=_choice(held).get("text") == "ready",
        # The trial was never loaded: a server that can says so, others do not know the route.
        adapters=unloaded.status == _NOT_FOUND and _TRIAL in unloaded.said,
    )


def _plain(model: str) -> dict[str, Any]:
    return {"model": model, "prompt": [1, 2, 3], "max_tokens": 1, "temperature": 0}


def _choice(reply: Reply) -> dict[str, Any]:
    try:
        choice = reply.data["choices"][0]
    except (KeyError, IndexError, TypeError):
        return {}
    return choice if isinstance(choice, dict) else {}


def _engine(version: Reply) -> str:
    data = version.data
    if not version.is_refusal and isinstance(data, dict) and "version" in data:
        return f"vllm {data['version']}"
    return "unknown"


def _are_numbers(logs: Any) -> bool:
    return isinstance(logs, list) and all(isinstance(log, (int, float)) for log in logs)


def _joined(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
