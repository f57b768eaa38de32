"""The classifier: untaught it goes by descriptions, taught by a head, and its name says which."""

from __future__ import annotations

import numpy as np
import pytest

from journeyman.models.students.classifier import NEIGHBORS_SAY, Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.linear import LinearHead
from journeyman.models.students.neighbors import Neighbors

LABELS = {"billing": "Invoices, payments and refunds", "weather": "Rain, wind and sunshine"}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(device="cpu")


def test_untaught_it_goes_by_the_descriptions(embedder: Embedder) -> None:
    found = Classifier(embedder, LABELS).predict(["I was charged twice", "Will it rain today?"])
    assert [max(f.probabilities, key=lambda n, f=f: f.probabilities[n]) for f in found] == [
        "billing",
        "weather",
    ]
    assert all(sum(f.probabilities.values()) == pytest.approx(1) for f in found)
    assert not any(f.taught for f in found)
    assert {f.nearest_taught for f in found} == {0.0}


def test_taught_it_goes_by_the_head_whose_classes_need_no_description(embedder: Embedder) -> None:
    texts = ["pay", "refund", "rain", "storm", "hello", "thanks"]
    vectors = np.stack(embedder.predict(texts))
    head = LinearHead.fit(vectors, ["billing", "billing", "weather", "weather", "none", "none"])
    sets = [("billing",)] * 2 + [("weather",)] * 2 + [("none",)] * 2
    known = Neighbors.of(vectors, sets)
    (found,) = Classifier(embedder, LABELS, head=head, neighbors=known).predict(["storm"])
    assert set(found.probabilities) == {"billing", "weather", "none"}
    assert max(found.probabilities.values()) == found.probabilities["weather"]
    assert set(found.similarities) == set(LABELS)
    assert found.nearest_taught == pytest.approx(1, abs=1e-4)
    assert found.taught


def test_a_head_for_one_label_shares_its_say_with_the_nearest_texts(embedder: Embedder) -> None:
    texts = ["pay", "refund", "rain", "storm"]
    vectors = np.stack(embedder.predict(texts))
    labels = ["billing", "billing", "weather", "weather"]
    head = LinearHead.fit(vectors, labels)
    known = Neighbors.of(vectors, [(label,) for label in labels])
    (alone,) = Classifier(embedder, LABELS, head=head).predict(["thunder"])
    (both,) = Classifier(embedder, LABELS, head=head, neighbors=known).predict(["thunder"])
    for label in LABELS:
        votes = both.votes.get((label,), 0.0)
        mixed = (1 - NEIGHBORS_SAY) * alone.probabilities[label] + NEIGHBORS_SAY * votes
        assert both.probabilities[label] == pytest.approx(mixed)
    assert sum(both.probabilities.values()) == pytest.approx(1)


def test_no_texts_no_classifications(embedder: Embedder) -> None:
    assert Classifier(embedder, LABELS).predict([]) == []


def test_whatever_shapes_an_answer_or_its_evidence_shapes_the_fingerprint(
    embedder: Embedder,
) -> None:
    vectors = np.eye(2, embedder.dimension, dtype=np.float32)
    head = LinearHead.fit(vectors, ["billing", "weather"])
    both = Neighbors.of(vectors, [("billing",), ("weather",)])
    one = Neighbors.of(vectors[:1], [("billing",)])
    made = [
        Classifier(embedder, LABELS),
        Classifier(embedder, dict(reversed(LABELS.items()))),
        Classifier(embedder, LABELS, names=False),
        Classifier(embedder, LABELS, head=head),
        Classifier(embedder, LABELS, head=head, neighbors=both),
        Classifier(embedder, LABELS, head=head, neighbors=one),
        Classifier(embedder, LABELS, neighbors=both),
        Classifier(embedder, LABELS, neighbors=both, multi_label=True),
    ]
    assert len({classifier.fingerprint() for classifier in made}) == len(made)
    assert Classifier(embedder, LABELS).fingerprint() == made[0].fingerprint()
