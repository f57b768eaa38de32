"""Teaching a generator: on a tiny base, and once on the real one."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from journeyman.models.errors import ModelError, TrainingError, WeightsError
from journeyman.models.release import Release
from journeyman.models.students.generator import Generator
from journeyman.models.students.generator_weights import (
    canary_of,
    check_canary,
    open_generator,
    read_facts,
    write_untaught,
)
from journeyman.models.training.generator import (
    GeneratorReport,
    PromptedAnswer,
    TrainProgress,
    train_generator,
)
from journeyman.models.training.generator_rows import Row, fitting, split
from tests.models.tiny_causal import chat, make_tiny_base, tiny_lessons

pytest.importorskip("trl", reason="teaching generators needs journeyman[train]")

RATE = 2e-2  # a tiny base that knows nothing needs large steps


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def taught(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GeneratorReport]:
    out = tmp_path_factory.mktemp("taught") / "generator"
    return out, teach(base, out, lessons=tiny_lessons(40), epochs=6)


def teach(
    base: str, out: Path, *, lessons: list[PromptedAnswer] | None = None, **options: Any
) -> GeneratorReport:
    options = {"epochs": 2, "learning_rate": RATE, "device": "cpu"} | options
    return train_generator(lessons or tiny_lessons(), base=base, out=out, **options)


def test_teaching_lowers_the_loss_of_held_out_answers(
    taught: tuple[Path, GeneratorReport],
) -> None:
    _, report = taught
    assert report.untaught_loss is not None
    assert report.held_out_loss is not None
    assert report.held_out_loss < 0.5 * report.untaught_loss
    assert report.held_out_loss == min(report.held_out_losses)
    assert report.losses[-1] < report.losses[0]
    assert report.num_examples + report.num_held_out == 40
    assert len(report.losses) == report.num_epochs
    assert not report.resumed


def test_a_taught_generator_answers_as_it_was_taught(
    taught: tuple[Path, GeneratorReport],
) -> None:
    generator = open_generator(taught[0])
    answers = generator.predict([chat("a77"), chat("b78")])
    assert [answer.text for answer in answers] == ["yes", "no"]
    assert all(answer.finished for answer in answers)


def test_the_folder_gives_the_trainers_own_probabilities_and_not_the_bases(
    taught: tuple[Path, GeneratorReport],
) -> None:
    out, _ = taught
    facts = read_facts(out)
    generator = open_generator(out)
    assert check_canary(generator, facts) == pytest.approx(facts.canary, abs=1e-3)
    assert canary_of(generator.rebound(None)) == pytest.approx(facts.base_canary, abs=1e-3)
    assert np.abs(np.subtract(facts.canary, facts.base_canary)).min() > 1
    assert generator.taught
    scores = generator.score([chat("a77")] * 2, ["yes", "no"])
    assert sum(scores[0]) > sum(scores[1]) + 1
    assert len(scores[0]) == len("yes") + 1


def test_a_generator_that_is_not_the_one_that_was_taught_fails_its_canary(
    taught: tuple[Path, GeneratorReport],
) -> None:
    out, _ = taught
    with pytest.raises(WeightsError, match="load its adapter"):
        check_canary(open_generator(out).rebound(None), read_facts(out))


def test_the_folder_holds_safetensors_and_text_alone_and_nothing_lies_beside_it(
    taught: tuple[Path, GeneratorReport],
) -> None:
    out, _ = taught
    names = {path.name for path in out.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "generator.json"}
    assert list(out.parent.iterdir()) == [out]


def test_a_release_of_a_generator_is_written_and_loaded(
    taught: tuple[Path, GeneratorReport], tmp_path: Path
) -> None:
    out, _ = taught
    generator = open_generator(out)
    parts = {"student": generator.fingerprint()}
    release = Release.write(
        tmp_path, "writer", parts=parts, student=out, student_kind="generator", base_model="tiny"
    )
    loaded = Release.load(release.folder)
    again = open_generator(loaded.student)
    assert loaded.has_parts({"student": again.fingerprint()})
    assert again.score([chat("a1")], ["yes"]) == generator.score([chat("a1")], ["yes"])


def test_the_examples_order_does_not_matter_and_the_seed_does(base: str, tmp_path: Path) -> None:
    lessons = tiny_lessons()
    mixed = random.Random(3).sample(lessons, len(lessons))
    prints = [
        teach(base, tmp_path / name, lessons=rows, seed=seed, epochs=1).fingerprint
        for name, rows, seed in (("a", lessons, 0), ("b", mixed, 0), ("c", lessons, 1))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_a_training_that_was_broken_off_goes_on_to_the_same_weights(
    base: str, tmp_path: Path
) -> None:
    seen: list[int] = []

    def stop(progress: TrainProgress) -> None:
        seen.append(progress.step)
        if progress.epoch == 3:
            raise KeyboardInterrupt

    whole = teach(base, tmp_path / "whole", epochs=3)
    with pytest.raises(KeyboardInterrupt):
        teach(base, tmp_path / "broken", epochs=3, progress=stop)
    assert not (tmp_path / "broken").exists()
    first = len(seen)
    resumed = teach(base, tmp_path / "broken", epochs=3, progress=lambda p: seen.append(p.step))
    assert seen[first] == seen[first - 1]  # the step that was not kept
    assert resumed.resumed
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.losses == pytest.approx(whole.losses, abs=1e-6)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["broken", "whole"]


def test_checkpoints_of_another_training_are_not_gone_on_from(base: str, tmp_path: Path) -> None:
    def stop(progress: TrainProgress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach(base, tmp_path / "g", progress=stop, seed=1)
    report = teach(base, tmp_path / "g")
    assert not report.resumed
    assert report.fingerprint == teach(base, tmp_path / "fresh").fingerprint


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(
    base: str, tmp_path: Path
) -> None:
    def stop(progress: TrainProgress) -> None:
        if progress.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach(base, tmp_path / "g", epochs=3, progress=stop)
    answers = tmp_path / ".g-training" / "answers"
    newest = max(answers.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (newest / "trainer_state.json").unlink()
    (newest / "adapter_model.safetensors").write_bytes(b"half")
    report = teach(base, tmp_path / "g", epochs=3)
    assert report.resumed
    assert report.fingerprint == teach(base, tmp_path / "whole", epochs=3).fingerprint


def test_preferences_are_learned_after_the_answers(base: str, tmp_path: Path) -> None:
    """Against answers that say the opposite, so that the pairs have to turn them over."""
    wrong = [replace(row, rejected="maybe") for row in tiny_lessons(40)]
    seen: list[TrainProgress] = []
    pairs = [replace(row, answer=row.answer, rejected="yes!") for row in wrong]
    report = teach(
        base,
        tmp_path / "g",
        lessons=pairs,
        epochs=1,
        preference_epochs=4,
        preference_learning_rate=RATE,
        progress=seen.append,
    )
    assert report.num_pairs == report.num_examples
    assert report.preferred is not None
    assert report.preferred_before is not None
    assert report.preferred >= report.preferred_before
    assert seen[-1].step == seen[-1].num_steps
    assert seen[-1].epoch == 5
    plain = teach(base, tmp_path / "plain", lessons=tiny_lessons(40), epochs=1)
    both = [chat("a5"), chat("b6")]
    turned, kept = (
        [sum(s) for s in open_generator(tmp_path / name).score(both, ["yes!", "yes!"])]
        for name in ("g", "plain")
    )
    assert plain.num_pairs == 0
    assert max(turned) < min(kept)


def test_a_training_broken_off_among_the_preferences_keeps_its_answers(
    base: str, tmp_path: Path
) -> None:
    lessons = tiny_lessons(24, pairs=True)

    def stop(progress: TrainProgress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    seen: list[TrainProgress] = []
    options: dict[str, Any] = {"epochs": 1, "lessons": lessons}
    with pytest.raises(KeyboardInterrupt):
        teach(base, tmp_path / "g", progress=stop, **options)
    report = teach(base, tmp_path / "g", progress=seen.append, **options)
    assert {progress.epoch for progress in seen} == {2}
    assert report.fingerprint == teach(base, tmp_path / "whole", **options).fingerprint


def test_a_heavy_example_counts_for_more(base: str, tmp_path: Path) -> None:
    """Two answers to the same prompts: the heavier one wins."""
    rows = [PromptedAnswer(chat(f"x{i}"), "yes", weight=1.9) for i in range(8)]
    rows += [PromptedAnswer(chat(f"x{i}"), "no!", weight=0.1) for i in range(8)]
    teach(base, tmp_path / "g", lessons=rows, epochs=6)
    yes, no = open_generator(tmp_path / "g").score([chat("x3")] * 2, ["yes", "no!"])
    assert sum(yes) > sum(no) + 1


def test_long_examples_are_left_out_and_counted(base: str, tmp_path: Path) -> None:
    rows = [*tiny_lessons(6), PromptedAnswer(chat("a" * 200), "yes")]
    report = teach(base, tmp_path / "g", lessons=rows, epochs=1, max_length=100)
    assert (report.num_examples, report.num_too_long) == (6, 1)
    with pytest.raises(TrainingError, match="raise max_length"):
        teach(base, tmp_path / "h", lessons=rows, max_length=5)


def test_a_wrong_answer_that_is_too_long_is_dropped_and_its_example_is_kept() -> None:
    row = Row(prompt=[1, 2], answer=[3], rejected=[4] * 9, weight=1.0)
    assert fitting([row], 5) == [replace(row, rejected=[])]
    assert fitting([row], 11) == [row]
    assert fitting([row], 2) == []


def test_examples_of_one_source_are_held_out_together() -> None:
    rows = [PromptedAnswer(f"{i}", "x", source=f"s{i % 5}") for i in range(40)]
    learned, held_out = split(rows, 0.2, seed=0)
    assert len(held_out) == 8
    assert not {row.source for row in learned} & {row.source for row in held_out}


def test_teaching_goes_on_from_an_adapter(
    base: str, taught: tuple[Path, GeneratorReport], tmp_path: Path
) -> None:
    report = teach(
        base, tmp_path / "g", lessons=tiny_lessons(40), start=taught[0], epochs=1, seed=0
    )
    assert report.untaught_loss == pytest.approx(taught[1].held_out_loss, abs=1e-3)


def test_an_untaught_folder_is_the_base(base: str, tmp_path: Path) -> None:
    like = Generator(base, device="cpu", max_new_tokens=3)
    write_untaught(tmp_path / "g", like.base.files)
    generator = open_generator(tmp_path / "g", like=like)
    assert not generator.taught
    assert generator.base is like.base
    assert generator.fingerprint() == like.fingerprint()
    assert check_canary(generator, read_facts(tmp_path / "g")) == canary_of(like)


def test_an_adapter_of_another_base_is_refused(
    taught: tuple[Path, GeneratorReport], tmp_path: Path
) -> None:
    facts = json.loads((taught[0] / "generator.json").read_text())
    folder = tmp_path / "g"
    folder.mkdir()
    (folder / "generator.json").write_text(json.dumps(facts | {"base_digest": "0" * 64}))
    with pytest.raises(WeightsError, match="taught on another"):
        open_generator(folder)


def test_a_folder_that_lost_its_adapter_is_refused(
    taught: tuple[Path, GeneratorReport], tmp_path: Path
) -> None:
    folder = tmp_path / "g"
    folder.mkdir()
    (folder / "generator.json").write_bytes((taught[0] / "generator.json").read_bytes())
    with pytest.raises(WeightsError, match="No adapter can be read"):
        open_generator(folder)
    with pytest.raises(WeightsError, match="No generator can be read"):
        open_generator(tmp_path)


def test_a_used_folder_is_refused_before_training(base: str, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("something")
    with pytest.raises(WeightsError, match="not empty"):
        teach(base, tmp_path, progress=lambda _: pytest.fail("trained in vain"))


@pytest.mark.parametrize(
    ("lessons", "options"),
    [
        ([], {}),
        ([PromptedAnswer("a", "")], {}),
        ([PromptedAnswer("a", "b")], {"epochs": 0}),
        ([PromptedAnswer("a", "b")], {"held_out_share": 1.0}),
    ],
)
def test_what_cannot_be_taught_is_refused(
    lessons: list[PromptedAnswer], options: dict[str, Any], base: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError):
        train_generator(lessons, base=base, out=tmp_path / "g", device="cpu", **options)


def test_a_loss_that_is_not_finite_ends_the_training(base: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="lower the learning rate"):
        teach(base, tmp_path / "g", learning_rate=1e30)
    assert not (tmp_path / "g").exists()


def test_nothing_is_reported_to_anybody(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*_: Any, **__: Any) -> None:
        raise AssertionError("telemetry was sent")

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", told)
    teach(base, tmp_path / "g", lessons=tiny_lessons(4, pairs=True), epochs=1)


def test_half_precision_leaves_an_adapter_in_full(base: str, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    options: dict[str, Any] = {"lessons": tiny_lessons(40), "epochs": 1}
    half = teach(base, tmp_path / "half", precision="bfloat16", **options)
    full = teach(base, tmp_path / "full", **options)
    assert half.fingerprint != full.fingerprint
    assert half.held_out_loss == pytest.approx(full.held_out_loss, rel=0.1)
    weights = load_file(tmp_path / "half" / "adapter_model.safetensors")
    assert {str(array.dtype) for array in weights.values()} == {"float32"}
    check_canary(open_generator(tmp_path / "half"), read_facts(tmp_path / "half"))


def test_training_leaves_others_chance_alone(base: str, tmp_path: Path) -> None:
    import torch

    random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), float(torch.rand(1))
    random.seed(5)
    torch.manual_seed(5)
    teach(base, tmp_path / "g", lessons=tiny_lessons(4), epochs=1)
    assert (random.random(), float(torch.rand(1))) == expected


def test_training_prints_nothing(
    base: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    teach(base, tmp_path / "g", lessons=tiny_lessons(4, pairs=True), epochs=1)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_chat_for_a_base_without_a_template_is_refused(base: str, tmp_path: Path) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(base, bare)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        path = bare / name
        if path.suffix == ".json":
            settings = json.loads(path.read_text())
            settings.pop("chat_template", None)
            path.write_text(json.dumps(settings))
        else:
            path.unlink(missing_ok=True)
    with pytest.raises(ModelError, match="no chat template"):
        teach(str(bare), tmp_path / "g")
    report = teach(str(bare), tmp_path / "g", lessons=[PromptedAnswer("ab", "cd")], epochs=1)
    assert report.num_examples == 1


@pytest.mark.slow
def test_the_real_base_learns_in_a_few_steps(tmp_path: Path) -> None:
    rows = [
        PromptedAnswer(chat(f"Which team plays in {city}?"), f'{{"city": "{city}", "team": null}}')
        for city in ("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Turin", "Perth")
    ]
    report = train_generator(rows, out=tmp_path / "g", epochs=4, batch_size=4, device="cpu")
    assert report.losses[-1] < 0.7 * report.losses[0]
    facts = read_facts(tmp_path / "g")
    found = check_canary(open_generator(tmp_path / "g"), facts)
    assert found == pytest.approx(facts.canary, abs=1e-2)
