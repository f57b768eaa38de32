"""How retrieval's student learns: lessons become a query tower and the weight of its list."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from journeyman.agents.index import Index
from journeyman.agents.passages import Passage
from journeyman.agents.retrieval import RankedPassage, Ranking, Retrieval, RetrievalTask
from journeyman.agents.retriever_index import RetrieverIndex
from journeyman.agents.search import Fusion
from journeyman.agents.search_student import SearchStudent
from journeyman.agents.trainer import Lesson, TrainingStep
from journeyman.models.errors import TrainingError, WeightsError
from journeyman.models.students.embedder import Embedder
from journeyman.models.types import Example

_ANIMALS = ["fox", "owl", "bear", "wolf", "heron", "otter", "lynx", "toad", "crane", "mole"]
_PLACES = ["forest", "harbour", "desert"]
CORPUS = [
    Passage(f"{animal}-{place}", f"A {animal} was seen in the {place}.")
    for animal in _ANIMALS
    for place in _PLACES
]


@pytest.fixture(scope="module")
def agent() -> Retrieval:
    embedder = Embedder(device="cpu")
    return Retrieval(Index.build(CORPUS, embedder), embedder)


def lesson(agent: Retrieval, question: str, *relevant: str, weight: float = 1.0) -> Lesson:
    """What the frontier's pick among a few passages teaches."""
    others = [passage.id for passage in CORPUS if passage.id not in relevant][:5]
    passages = [agent.index.get(name) for name in (*relevant, *others)]
    ranking = Ranking(
        passages=tuple(
            RankedPassage(id=p.id, text=p.text, score=1.0) for p in passages if p is not None
        ),
        relevant=relevant,
    )
    return Lesson(agent.example(RetrievalTask(question=question), ranking), weight)


def misled(agent: Retrieval) -> list[Lesson]:
    """Questions that share words with wrong passages only."""
    names = {"fox": "Reineke", "owl": "Minerva's bird", "bear": "grizzly", "toad": "amphibian"}
    return [
        lesson(agent, f"{name} in the {place}, not an otter or a heron or a lynx", f"{a}-{place}")
        for a, name in names.items()
        for place in _PLACES
        for _ in range(2)
    ]


def test_who_has_no_vectors_of_its_own_does_not_learn(agent: Retrieval) -> None:
    class Shelf(BaseRetriever):
        def _get_relevant_documents(
            self, query: str, *, run_manager: CallbackManagerForRetrieverRun
        ) -> list[Document]:
            return []

    assert Retrieval(Index.build(CORPUS)).trainer() is None
    assert Retrieval(RetrieverIndex(Shelf(), name="shelf"), Embedder()).trainer() is None
    trainer = agent.trainer()
    assert trainer is not None
    assert (trainer.kind, trainer.base) == ("embedder", "all-MiniLM-L6-v2")


def test_a_round_of_teaching_answers_in_the_houses_words(agent: Retrieval, tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="teaching embedders needs journeyman[train]")
    trainer = agent.trainer()
    assert trainer is not None
    lessons = [
        lesson(agent, f"{word} {place} {extra}", f"{animal}-{place}")
        for word, animal in (("frobnicate", "mole"), ("quux", "crane"), ("plugh", "wolf"))
        for place in _PLACES
        for extra in ("please", "now")
    ]
    steps: list[TrainingStep] = []
    nothing = Lesson(Example("retrieval", {"question": "?"}, {"positives": [], "negatives": []}))
    done = trainer.train([*lessons, nothing], tmp_path / "s", on_step=steps.append)
    assert (done.num_examples, done.num_left_out) == (18, 1)
    assert steps[-1].done == steps[-1].total
    assert done.facts["num_documents"] == len(CORPUS)
    student = trainer.load(tmp_path / "s")
    bound = agent.with_student(student)
    assert bound.release != agent.release
    assert isinstance(student, SearchStudent)
    assert student.embedder.taught
    base, taught = (s.predict(["quux forest"])[0] for s in (Embedder(), student))
    wanted = agent.index.vector("crane-forest")
    assert wanted is not None
    assert taught @ wanted > base @ wanted
    attempt = asyncio.run(bound.attempt(RetrievalTask(question="quux forest now")))
    assert attempt.output is not None
    again = bound.trainer()
    assert again is not None
    more = again.train(lessons, tmp_path / "t", parent=tmp_path / "s")
    assert more.num_examples == 18


def test_the_untrained_student_is_the_base_and_its_release_the_one_in_traffic(
    agent: Retrieval, tmp_path: Path
) -> None:
    trainer = agent.trainer()
    assert trainer is not None
    done = trainer.untrained([lesson(agent, "fox in a forest", "fox-forest")], tmp_path / "s")
    assert done is not None
    assert done.num_examples == 1
    student = trainer.load(tmp_path / "s")
    assert agent.with_student(student).release == agent.release
    assert student.document_fingerprint() == agent.index.document_tower
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_weight_is_fitted_to_lessons_and_kept_with_the_student(
    agent: Retrieval, tmp_path: Path
) -> None:
    words_first = Retrieval(agent.index, agent.student, fusion=Fusion(dense_weight=0.1))
    trainer = words_first.trainer()
    assert trainer is not None
    lessons = misled(agent)
    done = trainer.untrained(lessons, tmp_path / "s")
    assert done is not None
    weight = done.facts["dense_weight"]
    assert weight > 0.3
    bound = words_first.with_student(trainer.load(tmp_path / "s"))
    assert bound.fusion.dense_weight == weight
    assert words_first.fusion.dense_weight == 0.1
    assert bound.release != words_first.release
    assert Retrieval(agent.index, trainer.load(tmp_path / "s")).fusion.dense_weight == weight
    shuffled = trainer.untrained(lessons[::-1], tmp_path / "t")
    assert shuffled is not None
    assert shuffled.facts["dense_weight"] == weight


def test_lessons_without_an_answer_teach_nothing(agent: Retrieval, tmp_path: Path) -> None:
    trainer = agent.trainer()
    assert trainer is not None
    useless = [
        Lesson(Example("retrieval", {"question": "?"}, {"positives": [], "negatives": []})),
        Lesson(Example("retrieval", {"question": " "}, {"positives": [{"id": "a", "text": "b"}]})),
        Lesson(Example("retrieval", {}, None)),
        Lesson(Example("retrieval", {"question": "?"}, {"positives": ["x"], "negatives": []})),
    ]
    with pytest.raises(TrainingError, match="None of 4 lessons"):
        trainer.train(useless, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_folder_that_is_no_taught_search_is_refused(agent: Retrieval, tmp_path: Path) -> None:
    trainer = agent.trainer()
    assert trainer is not None
    with pytest.raises(WeightsError, match="is no taught search"):
        trainer.load(tmp_path)
    (tmp_path / "search.json").write_text('{"fusion": {"dense_weight": 7}}')
    with pytest.raises(WeightsError, match="is no taught search"):
        trainer.load(tmp_path)
    with pytest.raises(WeightsError, match="not empty"):
        trainer.untrained([], tmp_path)


def test_an_index_tells_its_passages_vectors(agent: Retrieval) -> None:
    vector = agent.index.vector("fox-forest")
    assert vector is not None
    assert agent.student is not None
    expected = Embedder(device="cpu").embed_documents(["A fox was seen in the forest."])[0]
    np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert agent.index.vector("unicorn") is None
    assert Index.build(CORPUS).vector("fox-forest") is None
