"""The index: searches, changes, files."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.agents import index_files
from journeyman.agents.embeddings import CACHE_FILE, Vectors
from journeyman.agents.index import Change, Index
from journeyman.agents.lexical import LexicalSettings
from journeyman.agents.passages import Passage
from journeyman.agents.search import Found, Fusion, Hit, top_rows
from journeyman.models.errors import ConfigError, ModelError, WeightsError

WORDS = ["river", "bank", "money", "stream", "loan", "fish", "water", "credit", "shore", "boat"]


class BagOfWords:
    """Unit vectors of word counts; remembers what it embedded."""

    dimension = 16

    def __init__(self, tower: str = "bag") -> None:
        self.tower = tower
        self.seen: list[str] = []

    def document_fingerprint(self) -> str:
        return self.tower

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.seen += texts
        return np.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> Vectors:
        vector = np.full(self.dimension, 1e-3, dtype=np.float32)
        for word in text.split():
            vector[zlib.crc32(word.encode()) % self.dimension] += 1
        return vector / np.linalg.norm(vector)


def passage(name: str, text: str, **more: Any) -> Passage:
    return Passage(id=name, text=text, **more)


CORPUS = [
    passage("b", "money in the bank, a loan"),
    passage("a", "the river and its shore"),
    passage("c", "fish in the water of the river", title="Fishing", metadata={"lang": "en"}),
    passage("d", "a boat", source="x.txt", start=3, end=9),
]


@pytest.fixture(scope="module")
def built() -> Index:
    return Index.build(CORPUS, BagOfWords())


def found(index: Index, query: str) -> Found:
    vector = BagOfWords().vector(query) if index.dimension else None
    return index.search(query, vector, 10)


def same(first: Index, second: Index) -> None:
    """Everything that can be asked of two indexes is the same."""
    assert first.ids == second.ids
    assert [first.get(name) for name in first.ids] == [second.get(name) for name in second.ids]
    assert first.content_hash == second.content_hash
    assert first.parts() == second.parts()
    for query in [*WORDS, "river bank loan", "unheard"]:
        assert found(first, query) == found(second, query)


def test_words_find_the_passages_that_share_them(built: Index) -> None:
    assert [hit.id for hit in built.search_bm25("rivers", 5)] == ["a", "c"]
    assert built.search_bm25("fishing", 1)[0].id == "c"  # a title is searched too


def test_words_that_no_passage_has_find_nothing(built: Index) -> None:
    assert built.search_bm25("zebra", 5) == []
    assert built.search_bm25("", 5) == []


def test_vectors_rank_every_passage(built: Index) -> None:
    hits = built.search_dense(BagOfWords().vector("a boat"), 10)
    assert hits[0].id == "d"
    assert len(hits) == 4
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)


def test_a_search_counts_the_words_it_knows(built: Index) -> None:
    result = found(built, "rivers of zebra")
    assert (result.num_terms, result.num_known_terms) == (2, 1)


def test_a_vector_that_does_not_fit_is_refused(built: Index) -> None:
    with pytest.raises(ConfigError, match="shape"):
        built.search_dense(np.zeros(3, dtype=np.float32), 1)
    with pytest.raises(ConfigError, match="shape"):
        Index.build(CORPUS).search_dense(np.zeros(16, dtype=np.float32), 1)
    with pytest.raises(ModelError, match="finite"):
        built.search_dense(np.full(16, np.nan, dtype=np.float32), 1)


def test_equal_passages_come_in_order_of_their_ids() -> None:
    names = [f"p{i:02}" for i in range(40)]
    shuffled = random.Random(1).sample(names, 40)
    index = Index.build([passage(name, "same words") for name in shuffled], BagOfWords())
    result = index.search("same", BagOfWords().vector("same words"), 7)
    for hits in (result.fused, result.dense[:7], result.bm25[:7]):
        assert [hit.id for hit in hits] == names[:7]


def test_the_order_of_passages_makes_no_difference() -> None:
    same(Index.build(CORPUS, BagOfWords()), Index.build(CORPUS[::-1], BagOfWords()))


def test_an_empty_index_finds_nothing_and_can_be_filled() -> None:
    index = Index.build([], BagOfWords())
    assert found(index, "river") == Found("river", (), num_terms=1)
    index.add(CORPUS)
    same(index, Index.build(CORPUS, BagOfWords()))


def test_passages_without_any_word_are_harmless(tmp_path: Path) -> None:
    index = Index.build([passage("a", "!!"), passage("b", "the of")])
    assert found(index, "river").fused == ()
    index.save(tmp_path)
    same(index, Index.load(tmp_path))


@pytest.mark.parametrize("bad", [passage("a", "again"), passage("", "x"), passage("e", " ")])
def test_passages_without_id_or_text_and_repeated_ids_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigError):
        Index.build([*CORPUS, bad])


# Fusion


def hits(*names: str) -> tuple[Hit, ...]:
    return tuple(Hit(name, 1.0 - place / 10) for place, name in enumerate(names))


def test_reciprocal_ranks_add_up() -> None:
    fused = Fusion(method="ranks", dense_weight=0.5).fuse(hits("a", "b"), hits("b", "c"), 5)
    assert [hit.id for hit in fused] == ["b", "a", "c"]
    assert fused[0].score == pytest.approx(0.5 / 62 + 0.5 / 61)


def test_scores_are_stretched_and_weighed() -> None:
    dense = (Hit("a", 0.9), Hit("b", 0.8), Hit("c", 0.7))
    fused = Fusion(dense_weight=0.6).fuse(dense, (Hit("b", 10.0), Hit("d", 5.0)), 5)
    expected = {"a": 0.6, "b": 0.6 * 0.5 + 0.4, "c": 0.0, "d": 0.4 * 0.5}
    assert {hit.id: hit.score for hit in fused} == pytest.approx(expected)


@pytest.mark.parametrize("method", ["scores", "ranks"])
def test_one_list_alone_keeps_its_order(method: Any) -> None:
    fusion = Fusion(method=method)
    for lists in ((hits("c", "a", "b"), ()), ((), hits("c", "a", "b"))):
        assert [hit.id for hit in fusion.fuse(*lists, 5)] == ["c", "a", "b"]
    assert fusion.fuse((), (), 5) == []


@pytest.mark.parametrize("method", ["scores", "ranks"])
@given(data=st.data())
def test_fusing_is_deterministic_and_takes_ties_in_order_of_ids(
    method: Any, data: st.DataObject
) -> None:
    names = st.lists(st.sampled_from("abcdefgh"), unique=True)
    scores = st.lists(st.sampled_from([1.0, 2.0, 2.5, 4.0]), min_size=8, max_size=8)

    def ranked() -> list[Hit]:
        values = sorted(data.draw(scores), reverse=True)
        drawn = [Hit(n, s) for n, s in zip(data.draw(names), values, strict=False)]
        return sorted(drawn, key=lambda hit: (-hit.score, hit.id))

    dense, bm25 = ranked(), ranked()
    fused = Fusion(method=method, depth=4).fuse(dense, bm25, 8)
    assert fused == Fusion(method=method, depth=4).fuse(dense, bm25, 8)
    assert [(-h.score, h.id) for h in fused] == sorted((-h.score, h.id) for h in fused)
    assert {hit.id for hit in fused} == {h.id for h in [*dense[:4], *bm25[:4]]}


def test_tuning_finds_the_list_that_is_right() -> None:
    searches = [Found("q", (), dense=hits("x", "y"), bm25=hits("y", "x"))] * 3
    assert Fusion().tuned(searches, [{"x"}] * 3) == Fusion()  # already right: nothing moves
    assert Fusion().tuned(searches, [{"y"}] * 3).dense_weight < 0.5
    assert Fusion().tuned([], []) == Fusion()


@pytest.mark.parametrize("bad", [{"dense_weight": 1.1}, {"rrf_k": -1}, {"depth": 0}])
def test_impossible_fusions_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigError):
        Fusion(**bad)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=30), st.integers(1, 40))
def test_the_top_rows_are_those_of_a_stable_sort(values: list[float], k: int) -> None:
    scores = np.array(values, dtype=np.float32)
    assert list(top_rows(scores, k)) == list(np.argsort(-scores, kind="stable")[:k])


# Changes

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
steps = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.none() | texts),  # None removes
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps, st.booleans())
def test_any_changes_end_in_the_index_that_a_rebuild_gives(
    tmp_path_factory: pytest.TempPathFactory, changes: Any, reload: bool
) -> None:
    embedder = BagOfWords()
    corpus = {}
    index = Index.build([], embedder)
    for place, (name, text) in enumerate(changes):
        if text is not None:
            corpus[name] = passage(name, text)
            index.update([corpus[name]])
        elif name in corpus:
            del corpus[name]
            index.remove([name])
        if reload and place == len(changes) // 2:
            folder = tmp_path_factory.mktemp("index")
            index.save(folder)
            index = Index.load(folder, embedder)
    same(index, Index.build(corpus.values(), BagOfWords()))


def test_an_update_embeds_only_new_texts_and_says_what_it_did() -> None:
    embedder = BagOfWords()
    index = Index.build(CORPUS, embedder)
    embedder.seen.clear()
    change = index.update(
        [
            CORPUS[0],
            passage("a", "the river, changed"),
            passage("c", CORPUS[2].text, title="Fishing"),  # metadata alone
            passage("copy", CORPUS[0].text),
        ]
    )
    assert embedder.seen == ["the river, changed"]
    assert change == Change(num_added=1, num_changed=2, num_unchanged=2)
    assert index.update([CORPUS[0]], prune=True) == Change(num_removed=4, num_unchanged=1)
    assert index.ids == ["b"]


def test_adding_what_is_there_and_removing_what_is_not_is_refused() -> None:
    index = Index.build(CORPUS)
    with pytest.raises(ConfigError, match="already holds"):
        index.add([passage("a", "x")])
    with pytest.raises(ConfigError, match="holds no passage 'zz'"):
        index.remove(["a", "zz"])
    assert len(index) == 4


def test_a_failed_change_leaves_the_index_as_it_was() -> None:
    embedder = BagOfWords()
    index = Index.build(CORPUS, embedder)
    embedder.embed_documents = lambda texts: np.full((len(texts), 16), np.nan)
    with pytest.raises(ModelError, match="finite"):
        index.update([passage("e", "new")])
    same(index, Index.build(CORPUS, BagOfWords()))


# Files


def test_an_index_survives_its_files(tmp_path: Path, built: Index) -> None:
    built.save(tmp_path)
    same(Index.load(tmp_path, BagOfWords()), built)
    assert isinstance(Index.load(tmp_path)._state.vectors, np.memmap)


def test_an_index_of_words_alone_survives_its_files(tmp_path: Path) -> None:
    settings = LexicalSettings(stop_words="none", k1=0.9)
    index = Index.build(CORPUS, settings=settings)
    index.save(tmp_path)
    loaded = Index.load(tmp_path)
    assert (loaded.settings, loaded.dimension, loaded.document_tower) == (settings, None, "")
    same(loaded, index)


def test_saving_over_an_index_that_is_open_leaves_it_readable(tmp_path: Path, built: Index) -> None:
    built.save(tmp_path)
    opened = Index.load(tmp_path, BagOfWords())
    Index.build([passage("z", "other")], BagOfWords()).save(tmp_path)
    same(opened, built)
    assert Index.load(tmp_path).ids == ["z"]
    assert len(list(tmp_path.glob("gen-*"))) == 1


def test_another_document_tower_is_refused(tmp_path: Path, built: Index) -> None:
    built.save(tmp_path)
    with pytest.raises(WeightsError, match="document tower 'bag', not of 'other'"):
        Index.load(tmp_path, BagOfWords("other"))


def test_new_texts_need_the_embedder(tmp_path: Path, built: Index) -> None:
    built.save(tmp_path)
    index = Index.load(tmp_path)
    assert index.remove(["a"]) == Change(num_removed=1, num_unchanged=3)
    with pytest.raises(ConfigError, match="pass the embedder"):
        index.add([passage("e", "new")])


def test_there_is_no_index_in_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no index"):
        Index.load(tmp_path)


def damage_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def damage_passages(folder: Path) -> None:
    path = next(folder.glob("gen-*/passages.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"boat", b"goat"))


def cut_vectors(folder: Path) -> None:
    path = next(folder.glob("gen-*/vectors.npy"))
    path.write_bytes(path.read_bytes()[:-7])


def swap_vectors(folder: Path) -> None:
    np.save(next(folder.glob("gen-*/vectors.npy")), np.zeros((3, 16), dtype=np.float32))


def pickle_vectors(folder: Path) -> None:
    np.save(next(folder.glob("gen-*/vectors.npy")), np.array([{"a": 1}], dtype=object))


def remove_words(folder: Path) -> None:
    next(folder.glob("gen-*/bm25/params.index.json")).unlink()


@pytest.mark.parametrize(
    "harm",
    [damage_manifest, damage_passages, cut_vectors, swap_vectors, pickle_vectors, remove_words],
)
def test_a_damaged_index_is_named_as_such(
    tmp_path: Path, built: Index, harm: Callable[[Path], None]
) -> None:
    built.save(tmp_path)
    harm(tmp_path)
    with pytest.raises(ConfigError, match="is damaged") as caught:
        Index.load(tmp_path)
    assert caught.value.path == tmp_path


def test_another_format_is_named_as_such(tmp_path: Path, built: Index) -> None:
    built.save(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
    with pytest.raises(ConfigError, match="format 99"):
        Index.load(tmp_path)


@pytest.mark.parametrize("step", ["_write_passages", "_replace_manifest", "_sweep"])
def test_a_save_killed_at_any_step_leaves_a_whole_index(
    tmp_path: Path, built: Index, step: str
) -> None:
    built.save(tmp_path)
    fresh = Index.build([passage("z", "other")], BagOfWords())

    def save_and_die() -> None:
        setattr(index_files, step, lambda *_, **__: os._exit(9))
        fresh.save(tmp_path)

    child = multiprocessing.get_context("fork").Process(target=save_and_die)
    with warnings.catch_warnings():  # from 3.12 on a fork beside other threads is warned of
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    child.join(30)
    assert child.exitcode == 9
    same(Index.load(tmp_path, BagOfWords()), fresh if step == "_sweep" else built)
    fresh.save(tmp_path)
    same(Index.load(tmp_path, BagOfWords()), fresh)


def test_leftovers_of_dead_saves_go_after_an_hour(tmp_path: Path, built: Index) -> None:
    old, young = tmp_path / "gen-old", tmp_path / "gen-young"
    old.mkdir()
    young.mkdir()
    os.utime(old, (time.time() - 4000,) * 2)
    built.save(tmp_path)
    assert not old.exists()
    assert young.exists()  # another process may be writing it


# Embedding once


def test_building_again_embeds_nothing(tmp_path: Path) -> None:
    Index.build(CORPUS, BagOfWords(), cache=tmp_path)
    embedder = BagOfWords()
    index = Index.build([*CORPUS, passage("e", "new")], embedder, cache=tmp_path)
    assert embedder.seen == ["new"]
    same(index, Index.build([*CORPUS, passage("e", "new")], BagOfWords()))


def test_the_cache_keeps_document_towers_apart(tmp_path: Path) -> None:
    Index.build(CORPUS, BagOfWords(), cache=tmp_path)
    other = BagOfWords("other")
    Index.build(CORPUS, other, cache=tmp_path)
    assert len(other.seen) == 4


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    corpus = [passage(f"p{i}", f"text {i}") for i in range(600)]
    embedder = BagOfWords()

    def stop(done: int, total: int) -> None:
        assert total == 600
        if done > 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.build(corpus, embedder, cache=tmp_path, progress=stop)
    rest = BagOfWords()
    Index.build(corpus, rest, cache=tmp_path)
    assert len(rest.seen) == 600 - 512


def test_a_broken_cache_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / CACHE_FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match="delete it"):
        Index.build(CORPUS, BagOfWords(), cache=tmp_path)


def test_sync_brings_a_folder_to_the_passages_and_embeds_what_is_new(tmp_path: Path) -> None:
    Index.sync(tmp_path, CORPUS, BagOfWords())
    embedder = BagOfWords()
    manifest = (tmp_path / "manifest.json").read_bytes()
    Index.sync(tmp_path, CORPUS, embedder)
    assert (tmp_path / "manifest.json").read_bytes() == manifest
    index = Index.sync(tmp_path, [*CORPUS[1:], passage("e", "new")], embedder)
    assert embedder.seen == ["new"]
    same(index, Index.load(tmp_path, embedder))
    assert index.ids == ["a", "c", "d", "e"]


def test_sync_builds_anew_for_other_settings_and_towers(tmp_path: Path) -> None:
    Index.sync(tmp_path, CORPUS, BagOfWords())
    other = BagOfWords("other")
    assert Index.sync(tmp_path, CORPUS, other).document_tower == "other"
    assert len(other.seen) == 4
    settings = LexicalSettings(stem=False)
    assert Index.sync(tmp_path, CORPUS, other, settings=settings).settings == settings
    assert Index.sync(tmp_path, CORPUS, None).dimension is None
    assert Index.load(tmp_path).dimension is None


# Size


@pytest.mark.slow
def test_a_hundred_thousand_passages_are_searched_in_milliseconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    class Drawn(BagOfWords):
        dimension = 384

        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            rows = rng.standard_normal((len(texts), 384), dtype=np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    lexicon = np.array([f"word{i}" for i in range(20_000)])
    drawn = lexicon[(rng.zipf(1.3, (100_000, 40)) - 1) % 20_000]
    corpus = [passage(f"p{i:06}", " ".join(row)) for i, row in enumerate(drawn)]
    Index.build(corpus, Drawn()).save(tmp_path)
    index = Index.load(tmp_path)
    assert len(index) == 100_000
    queries = [(corpus[i].text, np.array(index._state.vectors[i])) for i in range(0, 100_000, 5000)]
    index.search(*queries[0], 10)
    start = time.perf_counter()
    firsts = [index.search(query, vector, 10).fused[0].id for query, vector in queries]
    assert (time.perf_counter() - start) / len(queries) < 1.0
    assert firsts == [f"p{i:06}" for i in range(0, 100_000, 5000)]
