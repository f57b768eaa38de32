"""The generator, with the real 135M base."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from journeyman.models.errors import ConfigError, ModelError, WeightsError
from journeyman.models.students.base import Student
from journeyman.models.students.causal import CausalBase
from journeyman.models.students.generator import Generation, Generator, Prompt

pytestmark = pytest.mark.slow  # the first load on a machine converts the base: 20 seconds

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
QUESTIONS = [
    "What is the capital of France?",
    "Name three fruits.",
    "Say hello.",
    "Write one sentence about the sea, and make it a long one.",
]


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def base() -> CausalBase:
    return CausalBase(device="cpu")


@pytest.fixture(scope="module")
def together(base: CausalBase) -> list[Generation]:
    """Answers to all questions, decoded as one batch."""
    return Generator(base, max_new_tokens=12).predict([Prompt(chat(q)) for q in QUESTIONS])


def adapter_folder(folder: Path, base: CausalBase, *, scale: float = 0.0) -> Path:
    """A LoRA adapter for the base; with a scale of 0 it changes nothing."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.files.path, dtype=torch.float32)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = peft.get_peft_model(model, config)
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=scale) if scale else None
    wrapped.save_pretrained(folder)
    return folder


def test_a_generator_is_a_student(base: CausalBase) -> None:
    assert isinstance(Generator(base), Student)


def test_a_batch_gives_the_answers_that_single_prompts_give(
    base: CausalBase, together: list[Generation]
) -> None:
    generator = Generator(base, max_new_tokens=12)
    for question, answer in zip(QUESTIONS, together, strict=True):
        alone = generator.predict([Prompt(chat(question))])[0]
        assert alone.token_ids == answer.token_ids
        assert alone.log_probabilities == pytest.approx(answer.log_probabilities, abs=1e-3)


def test_greedy_decoding_is_what_plain_transformers_gives(
    base: CausalBase, together: list[Generation]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.files.path)
    model = AutoModelForCausalLM.from_pretrained(base.files.path, dtype=torch.float32).eval()
    for question, answer in zip(QUESTIONS[:2], together, strict=False):
        inputs = tokenizer.apply_chat_template(
            chat(question), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=12, do_sample=False)
            logits = model(ids).logits
        new = ids[0, inputs["input_ids"].shape[1] :]
        assert list(answer.token_ids) == new.tolist()
        logs = torch.log_softmax(logits[0, -len(new) - 1 : -1], -1).gather(1, new[:, None])
        assert answer.log_probabilities == pytest.approx(logs[:, 0].tolist(), abs=1e-3)


def test_an_answer_says_whether_it_was_cut_off(together: list[Generation]) -> None:
    assert together[0].finished
    assert "Paris" in together[0].text
    assert not together[3].finished
    assert len(together[3].token_ids) == 12


def test_tokens_know_their_place_in_the_text(together: list[Generation]) -> None:
    answer = together[0]
    start = answer.text.index("Paris")
    assert answer.starts[0] == 0
    assert list(answer.starts) == sorted(answer.starts)
    inside = answer.log_probabilities_between(start, start + len("Paris"))
    assert 0 < len(inside) < len(answer.token_ids)


def test_evidence_has_the_same_finite_names_for_every_answer(together: list[Generation]) -> None:
    names = [set(answer.evidence()) for answer in together]
    assert all(own == names[0] for own in names)
    assert all(math.isfinite(v) for answer in together for v in answer.evidence().values())


def test_grammar_gives_json_that_fits_and_keeps_the_models_own_log_probabilities(
    base: CausalBase,
) -> None:
    generator = Generator(base, max_new_tokens=32, schema=PERSON)
    free = Prompt(chat("Say hello."), schema={"type": "string"})
    answer, other = generator.predict([Prompt(chat("Tom Brown is 34 years old.")), free])
    data = json.loads(answer.text)
    assert isinstance(data["age"], int)
    assert set(data) == {"name", "age"}
    # Unmasked, the model would hardly have begun with a brace; masked, its probability is near 1.
    assert answer.log_probabilities[0] < math.log(0.5)
    assert other.text.startswith('"')


def test_a_schema_that_cannot_be_compiled_is_named(base: CausalBase) -> None:
    with pytest.raises(ConfigError, match="JSON Schema"):
        Generator(base, schema={"type": "nonsense"}).predict([Prompt(chat("Hello."))])


def test_samples_come_with_the_greedy_answer_and_repeat(base: CausalBase) -> None:
    generator = Generator(base, max_new_tokens=6, samples=3, temperature=1.0, seed=1)
    first = generator.predict([Prompt(chat(QUESTIONS[3]))])[0]
    again = generator.predict([Prompt(chat(QUESTIONS[3]))])[0]
    assert len(first.samples) == 3
    assert [s.token_ids for s in first.samples] == [s.token_ids for s in again.samples]
    assert len({s.text for s in first.samples}) > 1
    assert (
        first.token_ids
        == Generator(base, max_new_tokens=6).predict([chat(QUESTIONS[3])])[0].token_ids
    )


def test_a_prompt_that_leaves_no_room_is_refused_not_cut(base: CausalBase) -> None:
    generator = Generator(base, max_new_tokens=base.window - 8)
    with pytest.raises(ModelError, match="shorten the task"):
        generator.predict([Prompt(chat("Name three fruits."))])


def test_no_prompts_no_answers(base: CausalBase) -> None:
    assert Generator(base).predict([]) == []


def test_plain_text_is_continued(base: CausalBase) -> None:
    answer = Generator(base, max_new_tokens=3).predict(["The capital of France is"])[0]
    assert "Paris" in answer.text


def test_adapters_share_a_base_and_change_only_their_own_answers(
    base: CausalBase, together: list[Generation], tmp_path: Path
) -> None:
    still = Generator(base, adapter=adapter_folder(tmp_path / "still", base), max_new_tokens=12)
    moved = Generator(
        base, adapter=adapter_folder(tmp_path / "moved", base, scale=0.5), max_new_tokens=12
    )
    items: list[Any] = [Prompt(chat(QUESTIONS[0]))]
    plain = Generator(base, max_new_tokens=12)
    assert still.predict(items)[0].token_ids == together[0].token_ids
    assert moved.predict(items)[0].log_probabilities != together[0].log_probabilities
    assert plain.predict(items)[0].token_ids == together[0].token_ids
    assert len({g.fingerprint() for g in (still, moved, plain)}) == 3
    assert moved.taught
    assert not plain.taught


def test_an_adapter_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match="safetensors"):
        Generator(adapter=tmp_path)


def test_the_fingerprint_follows_the_decoding(base: CausalBase) -> None:
    prints = {
        Generator(base).fingerprint(),
        Generator(base, max_new_tokens=9).fingerprint(),
        Generator(base, schema=PERSON).fingerprint(),
        Generator(base, samples=2).fingerprint(),
        Generator(base, samples=2, seed=1).fingerprint(),
    }
    assert len(prints) == 5
    assert Generator(base).fingerprint() == Generator(CausalBase(device="cpu")).fingerprint()
