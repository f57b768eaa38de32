"""Reading passages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.agents.passages import (
    Passage,
    chunk_spans,
    read_folder,
    read_jsonl,
    read_passages,
)
from journeyman.models.errors import ConfigError


def write(path: Path, *rows: Any) -> Path:
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    )
    return path


def test_json_lines_keep_id_title_text_and_metadata(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl",
        {"_id": "a", "title": "T", "text": "one", "lang": "en"},
        "\n",
        {"id": 7, "text": "two"},
    )
    first, second = read_jsonl(path)
    assert (first.id, first.title, first.text, first.metadata) == ("a", "T", "one", {"lang": "en"})
    assert (second.id, second.title, second.text) == ("7", "", "two")
    assert first.content == "T\none"


def test_a_byte_order_mark_is_not_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a", "text": "one"}\n')
    assert read_jsonl(path)[0].id == "a"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"id": "b", "text": \n', "not JSON"),
        ("[1, 2]\n", "holds a list"),
        ('{"text": "x"}\n', '"id"'),
        ('{"id": true, "text": "x"}\n', '"id"'),
        ('{"id": "", "text": "x"}\n', '"id"'),
        ('{"id": "b"}\n', 'no "text"'),
        ('{"id": "b", "text": "  "}\n', 'no "text"'),
        ('{"id": "b", "text": 3}\n', 'no "text"'),
        ('{"id": "b", "text": "x", "title": 3}\n', '"title"'),
        ('{"id": "a", "text": "x"}\n', "already used in line 1"),
        ("[" * 100_000 + "\n", "not JSON"),
        ('{"id": "b", "text": "x", "n": ' + "9" * 5000 + "}\n", "not JSON"),
    ],
)
def test_a_bad_line_is_refused_with_file_and_line(tmp_path: Path, row: Any, says: str) -> None:
    path = write(tmp_path / "p.jsonl", {"id": "a", "text": "one"}, row)
    with pytest.raises(ConfigError) as caught:
        read_jsonl(path)
    assert "p.jsonl" in str(caught.value)
    assert "line 2" in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.path == path


def test_bytes_that_are_not_utf8_are_refused_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"fine\nna\xefve\n")
    (tmp_path / "b.jsonl").write_bytes(b'{"id": "a", "text": "one"}\n{"id": "\xff"}\n')
    for read in (lambda: read_folder(tmp_path), lambda: read_jsonl(tmp_path / "b.jsonl")):
        with pytest.raises(ConfigError, match="line 2: byte"):
            read()


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "blank.txt").write_text(" \n")
    for path in (tmp_path / "empty.jsonl", tmp_path):
        with pytest.raises(ConfigError, match="holds no passages"):
            read_passages(path)
    with pytest.raises(ConfigError, match="No passages at"):
        read_passages(tmp_path / "absent")


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", '{"id": "a", "text": "x \\ud800 y"}\n')
    assert read_jsonl(path)[0].text == "x \ufffd y"


def test_a_folder_gives_chunks_that_cite_file_and_characters(tmp_path: Path) -> None:
    body = "\r\n\r\n".join(f"Paragraph {i} " + "word " * 30 for i in range(12))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_bytes(body.encode())
    (tmp_path / "a.txt").write_text("short")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "c.txt").write_text("hidden")
    passages = read_folder(tmp_path, num_words=50, overlap=10)
    assert [p.id for p in passages][:3] == ["a.txt#0", "docs/b.md#0", "docs/b.md#1"]
    assert {p.source for p in passages} == {"a.txt", "docs/b.md"}
    assert all(p.text == body[p.start : p.end] for p in passages[1:])


def test_chunks_are_cut_between_paragraphs_where_one_ends() -> None:
    text = "one two three four five six\n\nseven eight nine ten eleven twelve thirteen"
    spans = [text[a:b] for a, b in chunk_spans(text, num_words=8, overlap=2)]
    assert spans[0] == "one two three four five six"


@given(
    st.text(alphabet="ab \n\t", max_size=400),
    st.integers(1, 20),
    st.data(),
)
def test_chunks_cover_every_word_once_in_order_within_their_size(
    text: str, num_words: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, num_words - 1))
    spans = chunk_spans(text, num_words=num_words, overlap=overlap)
    covered = set()
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""
        assert len(text[start:end].split()) <= num_words
        covered.update(range(start, end))
    assert all(i in covered for i, c in enumerate(text) if not c.isspace())
    assert spans == sorted(set(spans))


@pytest.mark.parametrize(("num_words", "overlap"), [(0, 0), (5, 5), (5, -1)])
def test_impossible_chunks_are_refused(num_words: int, overlap: int) -> None:
    with pytest.raises(ConfigError):
        chunk_spans("a b", num_words=num_words, overlap=overlap)


words = st.text(min_size=1, max_size=20)
jsons = st.dictionaries(
    words.filter(lambda key: key not in {"id", "_id", "title", "text", "source", "start", "end"}),
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=20),
    max_size=3,
)


@given(
    st.builds(
        Passage,
        id=words,
        text=words.filter(str.strip),
        title=st.text(max_size=10),
        source=words | st.just(""),
        start=st.none() | st.integers(0, 99),
        end=st.none() | st.integers(0, 99),
        metadata=jsons,
    )
)
def test_a_passage_survives_its_row(
    tmp_path_factory: pytest.TempPathFactory, passage: Passage
) -> None:
    path = tmp_path_factory.mktemp("rows") / "p.jsonl"
    path.write_text(json.dumps(passage.row()) + "\n", "utf-8")
    assert read_jsonl(path) == [passage]
