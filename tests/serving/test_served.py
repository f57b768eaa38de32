"""A served generator answers as the one in process does, or raises: over a stand-in for vLLM."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from journeyman.models.breaker import Breaker
from journeyman.models.errors import ConfigError, ModelError, ModelUnavailable, WeightsError
from journeyman.models.loopback_http import HttpReply
from journeyman.models.served import ServedGenerator, Serving, served_name
from journeyman.models.served_http import Server
from journeyman.models.students.batching import Batcher
from journeyman.models.students.generator import Generator, Prompt
from journeyman.models.students.generator_weights import open_generator, write_untaught
from tests.models.tiny_causal import chat
from tests.serving.stand_in import Change, StandIn, edited
from tests.serving.writer import SCHEMA, like_of

PROMPTS = [Prompt(chat("a1")), Prompt(chat("b2"), SCHEMA), Prompt("plain text")]


@pytest.fixture
async def server(stand_in: StandIn) -> AsyncIterator[Server]:
    opened = Server(stand_in.url, timeout_s=20)
    yield opened
    await opened.aclose()


def served(server: Server, base: str, folder: Path, **serving: Any) -> ServedGenerator:
    local = open_generator(folder, like=like_of(base))
    return ServedGenerator(local, server, Serving(**serving), folder=folder)


# The same student


async def test_answers_are_those_of_the_student_in_process(
    server: Server, base: str, first: Path
) -> None:
    student = served(server, base, first)
    for prompt in PROMPTS:
        here = student.local.predict([prompt])[0]
        there = await student.answer(prompt)
        assert replace(there, log_probabilities=()) == replace(here, log_probabilities=())
        assert there.log_probabilities == pytest.approx(here.log_probabilities, abs=1e-4)


async def test_evidence_is_before_the_grammars_mask(server: Server, base: str, first: Path) -> None:
    student = served(server, base, first)
    here = student.local.predict([PROMPTS[1]])[0].evidence()
    there = (await student.answer(PROMPTS[1])).evidence()
    assert there == pytest.approx(here, abs=1e-3)
    assert there["log_probability"] < -1.0  # the mask would have left almost nothing to doubt


async def test_two_releases_of_one_base_answer_differently(
    server: Server, base: str, first: Path, second: Path
) -> None:
    one, other = served(server, base, first), served(server, base, second)
    assert (await one.answer(PROMPTS[0])).text != (await other.answer(PROMPTS[0])).text


def test_the_same_precision_and_grammar_are_the_same_release(base: str, first: Path) -> None:
    student = served(Server("http://127.0.0.1:1"), base, first)
    assert student.fingerprint() == student.local.fingerprint()


@pytest.mark.parametrize("other", [{"dtype": "bfloat16"}, {"grammar": False}])
def test_another_precision_or_no_grammar_is_another_release(
    base: str, first: Path, second: Path, other: dict[str, Any]
) -> None:
    server = Server("http://127.0.0.1:1")
    student = served(server, base, first, **other)
    prints = {
        student.fingerprint(),
        student.local.fingerprint(),
        served(server, base, second, **other).fingerprint(),
        served(server, base, first, engine="other", **other).fingerprint(),
    }
    assert len(prints) == 4


def test_samples_are_another_release_and_are_drawn_by_the_server(base: str, first: Path) -> None:
    like = Generator(base, samples=2, max_new_tokens=4)
    local = open_generator(first, like=like)
    student = ServedGenerator(local, Server("http://127.0.0.1:1"), folder=first)
    assert student.fingerprint() != local.fingerprint()


def test_an_unknown_type_needs_a_tolerance(base: str, first: Path) -> None:
    with pytest.raises(ConfigError, match="fp8"):
        served(Server("http://127.0.0.1:1"), base, first, dtype="fp8")


def test_a_release_is_served_under_its_id_and_a_candidate_under_its_digest(
    first: Path, tmp_path: Path
) -> None:
    student = tmp_path / "releases" / "writer" / "0a1b2c3d" / "student"
    student.mkdir(parents=True)
    (student.parent / "manifest.json").write_text("{}")
    assert served_name(student) == "writer@0a1b2c3d"
    assert served_name(first).startswith("candidate@")


async def test_it_can_be_asked_from_code_that_is_not_asynchronous(
    server: Server, base: str, first: Path
) -> None:
    student = served(server, base, first)
    within = student.predict(PROMPTS[:1])  # a loop is running
    assert await asyncio.to_thread(student.predict, PROMPTS[:1]) == within


async def test_many_at_once_share_one_canary(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    batcher: Batcher[Prompt, Any] = Batcher(served(server, base, first))
    answers = await asyncio.gather(*(batcher.submit(PROMPTS[0]) for _ in range(16)))
    assert len({answer.text for answer in answers}) == 1
    assert stand_in.num_canaries == 1


# What is asked of the server


async def test_an_adapter_is_loaded_under_its_immutable_name_and_never_in_place(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    student = served(server, base, first)
    await student.answer(PROMPTS[0])
    assert stand_in.adapters == {student.name: str(first)}
    assert stand_in.asked["/v1/load_lora_adapter"] == 1


async def test_the_server_may_see_the_data_directory_elsewhere(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    student = served(server, base, first, here=first.parent, there=Path("/else"), wait_seconds=0)
    stand_in.applied[student.name] = first
    await student.answer(PROMPTS[0])
    assert stand_in.adapters[student.name] == "/else/first"


async def test_an_adapter_that_was_unloaded_is_loaded_and_proven_again(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    student = served(server, base, first)
    before = await student.answer(PROMPTS[0])
    stand_in.adapters.clear()
    assert await student.answer(PROMPTS[0]) == before
    assert stand_in.num_canaries == 2


async def test_many_that_find_an_adapter_unloaded_load_it_once_and_all_answer(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    student = served(server, base, first)
    await student.answer(PROMPTS[0])
    stand_in.adapters.clear()
    answers = await asyncio.gather(*(student.answer(PROMPTS[0]) for _ in range(8)))
    assert len({answer.text for answer in answers}) == 1
    assert stand_in.asked["/v1/load_lora_adapter"] == 2


async def test_an_adapter_that_cannot_be_loaded_is_waited_for_and_then_refused(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    stand_in.may_load = False
    student = served(server, base, first, wait_seconds=0.3)
    with pytest.raises(ModelUnavailable, match="journeyman serve"):
        await student.answer(PROMPTS[0])


async def test_prefixes_are_never_shared_with_what_was_computed_before_a_proof_was_lost(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    student = served(server, base, first)
    await student.answer(PROMPTS[0])
    await student.answer(PROMPTS[0])
    stand_in.adapters.clear()
    await student.answer(PROMPTS[0])
    salts = [body["cache_salt"] for body in stand_in.bodies if "cache_salt" in body]
    assert salts[0] == salts[1] != salts[-1]


async def test_a_prompt_that_leaves_no_room_is_refused_unasked(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    with pytest.raises(ModelError, match="shorten"):
        await served(server, base, first).answer("x" * 500)
    assert not stand_in.asked


# Who answers


async def test_an_adapter_that_is_not_applied_never_answers(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    student = served(server, base, first)
    stand_in.applied[student.name] = None
    with pytest.raises(WeightsError, match="without its adapter"):
        await student.answer(PROMPTS[0])
    assert all("prompt_logprobs" in body for body in stand_in.bodies)  # it was not even asked


async def test_an_adapter_of_another_release_under_the_name_never_answers(
    server: Server, stand_in: StandIn, base: str, first: Path, second: Path
) -> None:
    student = served(server, base, first)
    stand_in.adapters[student.name] = str(second)
    with pytest.raises(WeightsError, match="other weights"):
        await student.answer(PROMPTS[0])


async def test_what_is_exchanged_between_two_answers_is_noticed_at_once(
    server: Server, stand_in: StandIn, base: str, first: Path, second: Path
) -> None:
    student = served(server, base, first)
    await student.answer(PROMPTS[0])
    stand_in.adapters[student.name] = str(second)
    with pytest.raises(WeightsError):
        await student.answer(PROMPTS[0])


async def test_what_is_exchanged_during_an_answer_is_noticed_before_it_is_let_out(
    server: Server, stand_in: StandIn, base: str, first: Path, second: Path
) -> None:
    student = served(server, base, first)
    await student.prove()
    stand_in.meanwhile = lambda: stand_in.adapters.update({student.name: str(second)})
    with pytest.raises(WeightsError):
        await student.answer(PROMPTS[0])


async def test_an_answer_whose_proof_was_lost_meanwhile_is_not_let_out_by_a_new_one(
    server: Server, base: str, first: Path
) -> None:
    prover = served(server, base, first)._prover
    proof = await prover.prove()
    prover.forget()  # a canary found other weights, which are gone again
    await prover.confirm(await prover.prove())
    with pytest.raises(WeightsError, match="not used"):
        await prover.confirm(proof)


async def test_what_stops_being_applied_is_noticed_by_the_next_canary(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    student = served(server, base, first, canary_seconds=0.2)
    await student.answer(PROMPTS[0])
    stand_in.applied[student.name] = None
    await asyncio.sleep(0.25)
    with pytest.raises(WeightsError, match="without its adapter"):
        await student.answer(PROMPTS[0])


async def test_a_proof_is_renewed_while_answers_go_on(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    student = served(server, base, first, canary_seconds=60)
    await student.answer(PROMPTS[0])
    proven = student._prover._state.proven
    assert proven is not None
    student._prover._state.proven = replace(proven, at=proven.at - 40)
    await student.answer(PROMPTS[0])
    await asyncio.gather(*student._prover._renewing)
    assert stand_in.num_canaries == 2


async def test_trust_is_regained_once_the_right_adapter_is_served(
    server: Server,
    stand_in: StandIn,
    base: str,
    first: Path,
    second: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("journeyman.models.served_canary._REFUSED_SECONDS", 0.0)
    student = served(server, base, first)
    stand_in.adapters[student.name] = str(second)
    with pytest.raises(WeightsError):
        await student.answer(PROMPTS[0])
    stand_in.adapters.clear()
    assert (await student.answer(PROMPTS[0])).text


async def test_an_untaught_base_is_known_by_what_it_thought_where_it_was_evaluated(
    server: Server, base: str, tmp_path: Path
) -> None:
    like = like_of(base)
    plain = ServedGenerator(like, server)
    for name, canary in (("known", plain.canary()), ("other", (-1.0, -2.0)), ("unknown", ())):
        write_untaught(tmp_path / name, like.base.files, canary)
    assert (await served(server, base, tmp_path / "known").answer(PROMPTS[0])).text
    with pytest.raises(WeightsError, match="other weights"):
        await served(server, base, tmp_path / "other").answer(PROMPTS[0])
    with pytest.raises(WeightsError, match="run a round"):
        await served(server, base, tmp_path / "unknown").answer(PROMPTS[0])


# A server in trouble


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda data: data.update(model="another"), "another"),
        (lambda data: data.update(choices=[]), "0 answers"),
        (lambda data: data["choices"][0].pop("token_ids"), "token_ids"),
        (lambda data: data["choices"][0].update(token_ids=[9999] * 24), "does not have"),
        (lambda data: data["choices"][0].update(prompt_token_ids=[5]), "another prompt"),
        (lambda data: data["choices"][0]["logprobs"].update(token_logprobs=[-1.0]), "for"),
        (lambda data: data["choices"][0]["logprobs"]["token_logprobs"].append(2.0), "2.0"),
        (lambda data: data["choices"][0].update(logprobs=None), "TypeError"),
        (lambda data: data["choices"][0].update(finish_reason="abort"), "abort"),
    ],
)
async def test_a_malformed_answer_is_none(
    server: Server, stand_in: StandIn, base: str, first: Path, edit: Any, said: str
) -> None:
    stand_in.change = edited(edit)
    with pytest.raises(ModelUnavailable, match=said):
        await served(server, base, first).answer(PROMPTS[0])


async def test_no_log_probabilities_of_prompts_are_no_proof(
    server: Server, stand_in: StandIn, base: str, first: Path
) -> None:
    stand_in.change = lambda reply: replace(
        reply, body=reply.body.replace(b"prompt_logprobs", b"nothing")
    )
    with pytest.raises(ModelUnavailable, match="use vLLM"):
        await served(server, base, first).answer(PROMPTS[0])


async def test_a_server_that_hangs_is_waited_for_no_longer_than_allowed(
    stand_in: StandIn, base: str, first: Path
) -> None:
    server = Server(stand_in.url, timeout_s=1.0)
    student = served(server, base, first)
    await asyncio.to_thread(student.tokens.prepare, None)
    stand_in.change = lambda reply: replace(reply, wait_s=30.0)
    start = time.monotonic()
    with pytest.raises(ModelUnavailable, match="did not answer within 1 s"):
        await student.answer(PROMPTS[0])
    assert time.monotonic() - start < 10
    await server.aclose()


@pytest.mark.parametrize(
    "fault",
    [
        lambda reply: replace(reply, cut=True),
        lambda reply: replace(reply, silent=True),
        lambda _: HttpReply(500, b"{}"),
        lambda _: HttpReply(503, b"no"),
    ],
    ids=["cut", "silent", "500", "503"],
)
async def test_a_failure_is_tried_again_and_what_is_served_is_proven_again(
    server: Server, stand_in: StandIn, base: str, first: Path, fault: Change
) -> None:
    student = served(server, base, first)
    before = await student.answer(PROMPTS[0])
    faults = [fault]
    stand_in.change = lambda reply: faults.pop()(reply) if faults else reply
    assert await student.answer(PROMPTS[0]) == before
    assert stand_in.num_canaries == 2


async def test_failures_in_a_row_open_the_breaker(
    stand_in: StandIn, base: str, first: Path
) -> None:
    breaker = Breaker(threshold=3, cooldown_s=60, kind="Server")
    server = Server(stand_in.url, timeout_s=5, max_tries=1, breaker=breaker)
    stand_in.change = lambda _: HttpReply(500, b"{}")
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="500"):
            await server.post("/completions", {"model": base, "prompt": [1], "prompt_logprobs": 0})
    asked = stand_in.asked.total()
    with pytest.raises(ModelUnavailable, match="is not asked"):
        await served(server, base, first).answer(PROMPTS[0])
    assert stand_in.asked.total() == asked
    await server.aclose()


async def test_a_door_that_answers_keeps_no_breaker_closed(
    stand_in: StandIn, base: str, first: Path
) -> None:
    breaker = Breaker(threshold=2, cooldown_s=60, kind="Server")
    server = Server(stand_in.url, timeout_s=5, max_tries=1, breaker=breaker)
    stand_in.change = lambda _: HttpReply(500, b"{}")
    for _ in range(2):
        await server.cards()
        with pytest.raises(ModelUnavailable, match="500"):
            await server.post("/completions", {"model": base, "prompt": [1], "prompt_logprobs": 0})
    assert breaker.state == "open"
    await server.aclose()


async def test_no_server_at_all_is_said_in_one_sentence(base: str, first: Path) -> None:
    server = Server("http://127.0.0.1:9", max_tries=1)
    with pytest.raises(ModelUnavailable, match="could not be reached") as caught:
        await served(server, base, first).answer(PROMPTS[0])
    assert str(caught.value).endswith("by `journeyman serve`.")
    await server.aclose()


def test_an_address_must_be_one() -> None:
    with pytest.raises(ConfigError, match="address"):
        Server("localhost:8000")
