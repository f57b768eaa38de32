"""Words for BM25."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.agents.lexical import LexicalSettings, Tokenizer, fold, split_identifier

PLAIN = LexicalSettings(stop_words="none", stem=False)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("parser", ["parser"]),
        ("HTMLParser", ["html", "parser", "htmlparser"]),
        ("getUserName", ["get", "user", "name", "getusername"]),
        ("read_csv_file", ["read", "csv", "file", "read_csv_file"]),
        ("os.path.join", ["os", "path", "join", "os.path.join"]),
        ("__init__", ["init"]),
        ("_format_json", ["format", "json", "format_json"]),
        ("utf8", ["utf", "8", "utf8"]),
        ("3.14", ["3", "14", "3.14"]),
        ("___", []),
    ],
)
def test_an_identifier_gives_its_parts_and_the_whole(run: str, words: list[str]) -> None:
    assert split_identifier(run) == words


def test_spellings_of_one_name_share_their_parts() -> None:
    tokens = Tokenizer().tokens
    shared = {"user", "name"}
    for text in ("getUserName", "user_name", "user names", "UserName.get"):
        assert shared <= set(tokens(text))


def test_an_exact_identifier_shares_more_words_with_itself_than_with_its_parts() -> None:
    tokens = Tokenizer().tokens
    query = set(tokens("read_csv"))
    assert len(query & set(tokens("def read_csv(path)"))) > len(query & set(tokens("read a csv")))


def test_words_are_stemmed_and_lowered() -> None:
    assert Tokenizer().tokens("Connections CONNECTING connected") == ["connect"] * 3


def test_stop_words_go_and_can_be_kept() -> None:
    assert Tokenizer().tokens("how do I open the file") == ["open", "file"]
    kept = Tokenizer(PLAIN).tokens("how do I open the file")
    assert kept == ["how", "do", "i", "open", "the", "file"]


def test_identifiers_stay_whole_when_asked() -> None:
    settings = LexicalSettings(split_identifiers=False, stem=False)
    assert Tokenizer(settings).tokens("os.path.join readCsv") == ["os.path.join", "readcsv"]


def test_repeated_words_are_kept_since_bm25_counts_them() -> None:
    assert Tokenizer().tokens("cat cat dog") == ["cat", "cat", "dog"]


def test_accents_compatibility_forms_and_digit_groups_are_folded() -> None:
    assert fold("Beyoncé") == "Beyonce"
    assert fold("ﬁle") == "file"
    assert fold("1,234,567 and 1,2") == "1234567 and 1,2"
    assert fold("かが") == "かが"  # a Japanese voicing mark is a letter's own, not an accent


def test_sentences_end_without_gluing_words() -> None:
    assert Tokenizer(PLAIN).tokens("The end. Next") == ["the", "end", "next"]


def test_threads_see_the_same_words() -> None:
    tokenizer = Tokenizer()
    texts = [f"running runner{i} connectionPool_{i % 7}" for i in range(400)]
    expected = [Tokenizer().tokens(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenizer.tokens, texts)) == expected


@given(st.text())
def test_any_text_gives_non_empty_words_and_the_same_ones_twice(text: str) -> None:
    tokenizer = Tokenizer()
    words = tokenizer.tokens(text)
    assert all(words)
    assert tokenizer.tokens(text) == words == Tokenizer().tokens(text)
