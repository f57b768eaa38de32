"""The tagger: spans that lie in the text, whatever the text, and how sure it is of them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from journeyman.models.errors import WeightsError
from journeyman.models.students.base import Student
from journeyman.models.students.tagger import NOT_TAUGHT, Tagger, Tagging
from journeyman.models.students.tagger_weights import TaggerModel

from .conftest import TINY_LABELS, tiny_examples


def check(text: str, tagging: Tagging) -> None:
    """What holds of every answer."""
    position = 0
    for span in tagging.spans:
        assert position <= span.start < span.end
        assert text[span.start : span.end] == span.text
        assert 0 <= span.probability <= span.mean_probability + 1e-6 <= 1 + 1e-6
        assert span.label in TINY_LABELS
        position = span.end
    assert all(math.isfinite(value) for value in tagging.evidence().values())
    assert set(tagging.missed) == set(TINY_LABELS)


def test_it_finds_what_it_was_taught_in_new_texts(tiny_tagger: Tagger) -> None:
    [tagging] = tiny_tagger.predict(["Pay Silverline $77 by 9 May."])
    assert [(s.label, s.text) for s in tagging.spans] == [
        ("company", "Silverline"),
        ("amount", "$77"),
        ("date", "9 May"),
    ]
    assert tagging.taught
    assert tagging.note is None


def test_it_knows_its_lessons(tiny_tagger: Tagger) -> None:
    examples = tiny_examples()
    taggings = tiny_tagger.predict([example.text for example in examples])
    right = [
        [(s.label, s.text) for s in example.spans] == [(s.label, s.text) for s in tagging.spans]
        for example, tagging in zip(examples, taggings, strict=True)
    ]
    assert sum(right) >= 0.9 * len(examples)


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t \u3000", "\x00", "😀😀", "e\u0301 \u202e", "\ud800 Acme", "x" * 500]
)
def test_odd_texts_are_answered(tiny_tagger: Tagger, text: str) -> None:
    [tagging] = tiny_tagger.predict([text])
    check(text, tagging)


def test_a_text_without_a_word_is_certainly_empty(tiny_tagger: Tagger) -> None:
    [tagging] = tiny_tagger.predict([" \n"])
    assert tagging.spans == ()
    assert (tagging.num_units, tagging.num_windows) == (0, 0)
    assert (tagging.min_probability, tagging.min_margin, tagging.max_missed) == (1.0, 1.0, 0.0)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(
        st.text(st.one_of(st.characters(), st.sampled_from("Acme $40 3 May."))), max_size=4
    )
)
def test_spans_always_lie_in_their_text(tiny_tagger: Tagger, texts: list[str]) -> None:
    taggings = tiny_tagger.predict(texts)
    for text, tagging in zip(texts, taggings, strict=True):
        check(text, tagging)


def test_a_long_text_is_read_to_its_end(tiny_tagger: Tagger) -> None:
    text = "Nothing to do today. " * 150 + "Pay Orion $7.50 by 1 June."
    [tagging] = tiny_tagger.predict([text])
    assert tagging.num_windows > 2
    check(text, tagging)
    assert ("company", "Orion") in [(span.label, span.text) for span in tagging.spans]


def test_a_megabyte_is_tagged_unit_by_unit(
    tiny_tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model that answers at once, so that what is tested is everything around it."""

    def begin_amounts(
        self: TaggerModel, pieces: Sequence[Sequence[int]]
    ) -> list[NDArray[np.float32]]:
        num_tags = 2 * len(TINY_LABELS) + 1
        certain = [np.full((len(row), num_tags), -20.0, np.float32) for row in pieces]
        for row in certain:
            row[:, 3] = 0.0
        return certain

    tiny_tagger.predict(["loaded"])
    monkeypatch.setattr(TaggerModel, "log_probs", begin_amounts)
    text = "word, " * (2**20 // 6)
    [tagging] = tiny_tagger.predict([text])
    assert len(tagging.spans) == tagging.num_units == 2 * (2**20 // 6)


def test_batches_and_order_do_not_change_answers(tiny_tagger: Tagger) -> None:
    texts = [example.text for example in tiny_examples(12)] + ["", "Acme " * 300]
    together = tiny_tagger.predict(texts)
    alone = [tiny_tagger.predict([text])[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert [(s.label, s.start, s.end) for s in one.spans] == [
            (s.label, s.start, s.end) for s in other.spans
        ]
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-3)


def test_it_is_less_sure_of_what_it_never_saw(tiny_tagger: Tagger) -> None:
    known, strange = tiny_tagger.predict(
        ["Pay Acme $40 by 3 May.", "colourless green ideas 12 sleep Furiously, said Chomsky 40"]
    )
    assert known.mean_entropy < strange.mean_entropy
    assert known.min_margin > strange.min_margin


def test_untaught_it_answers_nothing_and_says_so() -> None:
    tagger = Tagger(labels=TINY_LABELS)
    [tagging] = tagger.predict(["Pay Acme $40"])
    assert tagging == Tagging(note=NOT_TAUGHT)
    assert not tagging.taught
    assert not tagger.taught


def test_untaught_it_does_not_load_torch() -> None:
    code = (
        "import sys; from journeyman.models.students.tagger import Tagger;"
        "t = Tagger(labels=['a']); t.predict(['x']); t.fingerprint();"
        "print([m for m in ('torch', 'transformers', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_saving_and_loading_changes_nothing(tiny_tagger: Tagger, tmp_path: Path) -> None:
    tiny_tagger.save(tmp_path / "t")
    again = Tagger.load(tmp_path / "t", device="cpu")
    assert again.labels == TINY_LABELS
    assert again.fingerprint() == tiny_tagger.fingerprint()
    text = "Pay Orion $7.50 by 1 June."
    assert again.predict([text]) == tiny_tagger.predict([text])


def test_an_untaught_tagger_can_be_saved_too(tmp_path: Path) -> None:
    tagger = Tagger(labels=TINY_LABELS)
    tagger.save(tmp_path / "t")
    again = Tagger.load(tmp_path / "t")
    assert (again.taught, again.labels) == (False, TINY_LABELS)
    assert again.fingerprint() == tagger.fingerprint()


def test_a_folder_is_never_written_over(tiny_tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "something").write_text("here")
    with pytest.raises(WeightsError, match="not empty"):
        tiny_tagger.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["something"]


def test_the_fingerprint_follows_labels_weights_and_precision(
    tiny_tagger_folder: Path, tiny_tagger: Tagger
) -> None:
    fingerprints = {
        tiny_tagger.fingerprint(),
        Tagger(weights=tiny_tagger_folder, dtype="bfloat16").fingerprint(),
        Tagger(labels=TINY_LABELS).fingerprint(),
        Tagger(labels=("other",)).fingerprint(),
    }
    assert len(fingerprints) == 4


def test_half_precision_gives_probabilities_too(tiny_tagger_folder: Path) -> None:
    tagger = Tagger(weights=tiny_tagger_folder, device="cpu", dtype="bfloat16")
    text = "Pay Orion $7.50 by 1 June."
    [tagging] = tagger.predict([text])
    check(text, tagging)
    assert len(tagging.spans) == 3


def test_other_labels_than_taught_are_refused(tiny_tagger_folder: Path) -> None:
    Tagger(weights=tiny_tagger_folder, labels=tuple(reversed(TINY_LABELS)))
    with pytest.raises(WeightsError, match="was taught the labels"):
        Tagger(weights=tiny_tagger_folder, labels=("company",))


def test_missing_and_damaged_weights_are_told(tiny_tagger: Tagger, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No tagger can be read"):
        Tagger(weights=tmp_path / "nowhere")
    tiny_tagger.save(tmp_path / "t")
    (tmp_path / "t" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Tagger(weights=tmp_path / "t", device="cpu").predict(["x"])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_is_missing_is_told_at_once(
    tiny_tagger: Tagger, tmp_path: Path, name: str
) -> None:
    tiny_tagger.save(tmp_path / "t")
    (tmp_path / "t" / name).unlink()
    with pytest.raises(WeightsError, match="is missing"):
        Tagger(weights=tmp_path / "t")


def test_it_is_a_student(tiny_tagger: Tagger) -> None:
    assert isinstance(tiny_tagger, Student)
