"""What a server can do is found by trying, and what it lacks is said in one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from journeyman.models.loopback_http import HttpReply, HttpRequest, LoopbackServer
from journeyman.models.served_http import Server
from journeyman.models.served_probe import Abilities, probe

ABLE = Abilities("vllm 0.32.0", ("base",), 512, True, True, True, True, True)


def test_a_server_that_can_do_all_lacks_nothing() -> None:
    assert ABLE.missing() is None


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ({"prompt_log_probabilities": False}, "log-probabilities of prompts"),
        ({"token_ids": False, "log_probabilities": False}, "token ids and log-probabilities"),
        ({"grammar": False}, "served.grammar = false"),
        ({"adapters": False}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
        ({"trouble": "It is not there."}, "not there"),
    ],
)
def test_what_is_lacking_is_said(lacking: dict[str, object], said: str) -> None:
    told = replace(ABLE, **lacking).missing()  # type: ignore[arg-type]
    assert told is not None
    assert said in told


async def test_a_server_that_knows_only_models_lacks_the_rest() -> None:
    def answer(request: HttpRequest) -> HttpReply:
        if request.path == "/v1/models":
            return HttpReply(200, b'{"data": [{"id": "gpt", "object": "model"}]}')
        return HttpReply(404, b'{"error": {"message": "Not Found"}}')

    with LoopbackServer(answer, name="plain server") as plain:
        found = await probe(Server(plain.url))
    assert found == Abilities(models=("gpt",))


async def test_no_server_is_trouble_and_no_error() -> None:
    found = await probe(Server("http://127.0.0.1:9", max_tries=1))
    assert "could not be reached" in (found.missing() or "")
