"""The router learns: lessons become a folder, the folder a student, in whatever order they came."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from journeyman.agents.routing import Route, Routing, RoutingTask
from journeyman.agents.routing_trainer import RoutingTrainer
from journeyman.agents.trainer import Lesson, Trainer, TrainingStep
from journeyman.models.errors import TrainingError, WeightsError
from journeyman.models.students.classifier import Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.types import Example

ROUTES = [
    Route("billing", "Invoices, payments and refunds"),
    Route("weather", "Rain, wind and sunshine"),
]
BILLING = [
    "I was charged twice",
    "Where is my refund?",
    "Send me the invoice for May",
    "My card was declined at checkout",
    "Cancel the payment to the landlord",
    "Why is my bill so high this month?",
]
WEATHER = [
    "Will it rain today?",
    "How strong is the wind at the coast?",
    "Is it going to snow tonight?",
    "Do I need sunscreen tomorrow?",
    "How cold does it get in January?",
    "Is a storm coming?",
]
NEITHER = [
    "Tell me a joke",
    "Who won the match?",
    "Translate this poem into French",
    "Write a haiku about owls",
]


def lesson(text: str, *routes: str, weight: float = 1.0) -> Lesson:
    return Lesson(Example("routing", {"text": text}, list(routes)), weight)


LESSONS = [
    *(lesson(text, "billing") for text in BILLING),
    *(lesson(text, "weather") for text in WEATHER),
    *(lesson(text) for text in NEITHER),
]
BOTH = [
    lesson("I was charged twice, and will it rain today?", "billing", "weather"),
    lesson("Is a storm coming? Also, where is my refund?", "billing", "weather"),
    lesson("My card was declined; do I need sunscreen tomorrow?", "billing", "weather"),
    lesson("Will it snow tonight, and send me the invoice", "billing", "weather"),
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(device="cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vectors")


def trainer_of(embedder: Embedder, cache: Path, *, multiple: bool = False) -> RoutingTrainer:
    labels = {route.name: route.description for route in ROUTES}
    return RoutingTrainer(labels, multiple=multiple, embedder=embedder, cache=cache)


def routes_of_text(router: Routing, text: str) -> frozenset[str]:
    attempt = asyncio.run(router.attempt(RoutingTask(text=text)))
    assert attempt.output is not None
    return frozenset(attempt.output.routes)


@pytest.mark.parametrize("arm", ["train", "untrained"])
@pytest.mark.parametrize("multiple", [False, True])
def test_a_taught_router_serves_what_it_was_taught(
    embedder: Embedder, cache: Path, tmp_path: Path, *, arm: str, multiple: bool
) -> None:
    trainer: Trainer = trainer_of(embedder, cache, multiple=multiple)
    lessons = LESSONS + (BOTH if multiple else [])
    trained = getattr(trainer, arm)(lessons, tmp_path / "student")
    assert (trained.num_examples, trained.num_left_out) == (len(lessons), 0)
    router = Routing(ROUTES, Classifier(embedder, {"x": ""}), multiple=multiple)
    router = router.with_student(trainer.load(tmp_path / "student"))
    assert routes_of_text(router, "I was charged twice this month") == {"billing"}
    assert routes_of_text(router, "Is it going to rain tonight?") == {"weather"}
    assert routes_of_text(router, "Tell me a joke") == frozenset()


@pytest.mark.parametrize("arm", ["train", "untrained"])
def test_the_order_of_lessons_does_not_shape_the_student(
    embedder: Embedder, cache: Path, tmp_path: Path, arm: str
) -> None:
    trainer = trainer_of(embedder, cache)
    shuffled = random.Random(1).sample(LESSONS, len(LESSONS))
    getattr(trainer, arm)(LESSONS, tmp_path / "a")
    getattr(trainer, arm)(shuffled, tmp_path / "b")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_weight_counts_as_repetition_does(
    embedder: Embedder, cache: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(embedder, cache)
    heavy = [lesson("Is a storm coming?", "weather", weight=3.0), *LESSONS]
    trainer.train(heavy, tmp_path / "weighted")
    trainer.train([LESSONS[11]] * 3 + LESSONS, tmp_path / "repeated")
    prints = [trainer.load(tmp_path / name).fingerprint() for name in ("weighted", "repeated")]
    assert LESSONS[11].example.task["text"] == "Is a storm coming?"
    assert prints[0] == prints[1]


def test_lessons_that_say_nothing_of_these_routes_are_left_out(
    embedder: Embedder, cache: Path, tmp_path: Path
) -> None:
    odd = [
        lesson("Where are my keys?", "keys"),
        lesson("Rain and bills", "billing", "weather"),
        Lesson(Example("routing", {}, ["billing"])),
        Lesson(Example("routing", {"text": "hello"}, "billing")),
    ]
    trained = trainer_of(embedder, cache).train([*LESSONS, *odd], tmp_path / "student")
    assert (trained.num_examples, trained.num_left_out) == (len(LESSONS), len(odd))


@pytest.mark.parametrize("lessons", [[], LESSONS[:3], [lesson("Where are my keys?", "keys")]])
def test_nothing_to_tell_apart_is_a_training_error_and_leaves_no_folder(
    embedder: Embedder, cache: Path, tmp_path: Path, lessons: list[Lesson]
) -> None:
    with pytest.raises(TrainingError, match="collect examples"):
        trainer_of(embedder, cache).train(lessons, tmp_path / "student")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(embedder: Embedder, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WeightsError, match="not empty"):
        trainer_of(embedder, cache).train(LESSONS, tmp_path)


def test_a_student_of_other_routes_is_not_loaded(
    embedder: Embedder, cache: Path, tmp_path: Path
) -> None:
    trainer_of(embedder, cache).train(LESSONS, tmp_path / "student")
    other = RoutingTrainer({"billing": "", "news": ""}, multiple=False, embedder=embedder)
    with pytest.raises(WeightsError, match="other routes"):
        other.load(tmp_path / "student")
    with pytest.raises(WeightsError, match="other routes"):
        trainer_of(embedder, cache, multiple=True).load(tmp_path / "student")


def test_a_round_embeds_only_what_is_new(embedder: Embedder, tmp_path: Path) -> None:
    trainer = trainer_of(embedder, tmp_path / "vectors")
    steps: list[TrainingStep] = []
    trainer.train(LESSONS[:8], tmp_path / "first", on_step=steps.append)
    assert [step.done for step in steps] == [8, 9]
    steps.clear()
    trainer.train(LESSONS, tmp_path / "second", parent=tmp_path / "first", on_step=steps.append)
    assert [(step.stage, step.done, step.total) for step in steps] == [
        ("embedding", 16, 17),
        ("fitting", 17, 17),
    ]
    assert sorted(path.name for path in (tmp_path / "vectors").iterdir()) == ["embeddings.db"]


def test_the_router_hands_its_embedder_and_settings_to_its_trainer(
    embedder: Embedder, cache: Path, tmp_path: Path
) -> None:
    student = Classifier(embedder, {r.name: r.description for r in ROUTES}, names=False)
    router = Routing(ROUTES, student, multiple=False, out_of_scope="oos")
    trainer = router.trainer()
    trainer.train(LESSONS, tmp_path / "student")
    taught = trainer.load(tmp_path / "student")
    assert taught.embedder is embedder
    assert not taught.names
    assert taught.head is not None
    assert taught.head.classes == ("billing", "oos", "weather")
