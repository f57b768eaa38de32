"""Tokens: units that lie in the text, and windows that leave nothing out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.models.catalog import resolve
from journeyman.models.errors import WeightsError
from journeyman.models.students.tokens import (
    encodable,
    length_sorted,
    load_tokenizer,
    pad,
    special_ids,
    tokenize,
    windows,
)

TOKENIZER = load_tokenizer(resolve("all-MiniLM-L6-v2").path)


@given(st.integers(0, 500), st.integers(1, 64), st.data())
def test_windows_tile_every_token_and_fit(num_tokens: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    cut = windows(num_tokens, size, overlap)
    kept = [token for window in cut for token in range(window.keep_start, window.keep_end)]
    assert kept == list(range(num_tokens))
    for window in cut:
        assert 0 <= window.start <= window.keep_start <= window.keep_end <= window.end <= num_tokens
        assert window.end - window.start <= size


def test_a_token_is_answered_where_it_sees_half_the_overlap_on_either_side() -> None:
    for window in windows(1000, 100, 40):
        assert window.keep_start - window.start >= 20 or window.start == 0
        assert window.end - window.keep_end >= 20 or window.end == 1000


@given(st.text())
def test_units_lie_in_the_text_in_order_and_are_not_empty(text: str) -> None:
    [tokenized] = tokenize(TOKENIZER, [text])
    position = 0
    for start, end in tokenized.units.tolist():
        assert position <= start < end <= len(text)
        assert text[start:end].strip()
        position = end
    assert len(tokenized.first) == len(tokenized.units)
    assert all(first < len(tokenized.ids) for first in tokenized.first.tolist())


def test_punctuation_splits_words_and_pieces_join_them() -> None:
    text = 'File "a.py", line 3 unbelievableness'
    [tokenized] = tokenize(TOKENIZER, [text])
    words = [text[start:end] for start, end in tokenized.units.tolist()]
    assert words == ["File", '"', "a", ".", "py", '"', ",", "line", "3", "unbelievableness"]
    assert len(tokenized.ids) > len(words)


@given(st.text(st.characters()))
def test_any_text_can_be_encoded_without_moving_a_character(text: str) -> None:
    clean = encodable(text)
    clean.encode()
    assert len(clean) == len(text)
    assert all(a == b or "\ud800" <= a <= "\udfff" for a, b in zip(text, clean, strict=True))


@given(st.lists(st.integers(0, 30)), st.integers(1, 7))
def test_length_sorted_batches_hold_every_index_once(lengths: list[int], size: int) -> None:
    batches = list(length_sorted(lengths, size))
    order = [i for batch in batches for i in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)
    assert all(len(batch) <= size for batch in batches)


def test_padding_fills_short_rows_and_masks_them() -> None:
    ids, mask = pad([[5, 6, 7], [8]], 0)
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_special_tokens_are_told_apart() -> None:
    assert special_ids(TOKENIZER) == ([101], [102])


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No tokenizer"):
        load_tokenizer(tmp_path)
