"""Credentials are hidden, everything else is left as it is."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.traces.redact import is_secret_field, make_redactor, redact_secrets

HIDDEN = "__REDACTED__"

SECRETS = [
    "sk-proj-abcDEF0123456789abcDEF",
    "sk-ant-api03-abcDEF0123456789_-",
    "sk_live_abcdef0123456789",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0123456789_abcdefghij",
    "glpat-abcdefghij0123456789",
    "xoxb-1234567890-abcdefghij",
    "AKIAIOSFODNN7EXAMPLE",
    "AIza" + "Sy0123456789abcdefghijklmnopqrstuvw",
    "hf_abcdefghijklmnopqrstuvwxyz01234567",
    "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_key_of_a_known_form_is_hidden_wherever_it_stands(secret: str) -> None:
    value = {"a": [f"use {secret}, please"], secret: 1, "b": secret}
    assert redact_secrets(value) == {"a": [f"use {HIDDEN}, please"], HIDDEN: 1, "b": HIDDEN}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc123def456ghi7", f"Authorization: Bearer {HIDDEN}"),
        ("curl -H 'authorization: Basic dXNlcjpwYXNz'", f"curl -H 'authorization: Basic {HIDDEN}'"),
        ("token is bearer 0123456789abcdef", f"token is bearer {HIDDEN}"),
        ("postgresql://ada:pa55:w@rd@db/x", f"postgresql://ada:{HIDDEN}@db/x"),
        ("https://:token@host/path", f"https://:{HIDDEN}@host/path"),
        ("https://x.org/a?api_key=abc&b=1", f"https://x.org/a?api_key={HIDDEN}&b=1"),
        ("OPENAI_API_KEY=verysecret", f"OPENAI_API_KEY={HIDDEN}"),
        ('export DB_PASSWORD="hunter22"', f'export DB_PASSWORD="{HIDDEN}"'),
        ("SLACK_TOKEN: abc123def456ghi7", f"SLACK_TOKEN: {HIDDEN}"),
    ],
)
def test_a_credential_is_hidden_and_its_surroundings_stay(text: str, expected: str) -> None:
    assert redact_secrets(text) == expected


@pytest.mark.parametrize("end", ["\n-----END RSA PRIVATE KEY-----\nafter", ""])
def test_a_private_key_is_hidden_even_when_it_is_cut_off(end: str) -> None:
    text = f"before\n-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC{end}"
    redacted = redact_secrets(text)
    assert "MIIEow" not in redacted
    assert redacted.startswith(f"before\n{HIDDEN}")
    assert ("after" in redacted) == bool(end)


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "X-API-Key", "OPENAI_API_KEY", "password", "client_secret", "accessToken",
     "refresh-token", "Authorization", "Set-Cookie", "aws_secret_access_key"],
)  # fmt: skip
def test_a_field_named_like_a_secret_is_hidden(name: str) -> None:
    assert redact_secrets({name: "plain words"}) == {name: HIDDEN}


@pytest.mark.parametrize(
    "name",
    ["token", "tokens", "input_tokens", "max_tokens", "key", "primary_key", "author", "secretary",
     "password_reset_count", "task_key"],
)  # fmt: skip
def test_an_ordinary_field_is_left_alone(name: str) -> None:
    assert not is_secret_field(name)


@pytest.mark.parametrize(
    "value",
    [
        "The bearer of this letter has basic understanding of authorization rules.",
        "bearer certificates and bearer shares",
        "token = tokens[i + 1]\nif token == expected_token:\n    pass",
        "MAX_TOKENS = 4096\nPAD_TOKEN = tokenizer.pad_token",
        "def secret_santa(names): return dict(zip(names, names[1:]))",
        "Ratio 3:4@5, see http://x.org/a:b and mailto:ada@example.org",
        "task-sk-learn-is-not-a-key and risk-averse-investors-do-not-care",
        {"password": None, "api_key": "", "cookie": True, "access_token": 3},
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_ordinary_values_are_left_alone(value: Any) -> None:
    assert redact_secrets(value) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON)
def test_redaction_is_settled_after_one_pass(value: Any) -> None:
    once = redact_secrets(value)
    assert redact_secrets(once) == once


@given(st.text(), st.sampled_from(SECRETS), st.text())
def test_a_key_among_other_text_is_always_hidden(before: str, secret: str, after: str) -> None:
    assert secret not in redact_secrets(f"{before} {secret} {after}")


def test_addresses_and_patterns_are_hidden_when_asked_for() -> None:
    text = "Ada <ada.l@mail.example.org>, customer 123-45"
    assert redact_secrets(text) == text
    redactor = make_redactor(emails=True, patterns=[re.compile(r"\d{3}-\d{2}")])
    assert redactor(text) == f"Ada <{HIDDEN}>, customer {HIDDEN}"
    assert redactor({"api_key": "x"}) == {"api_key": HIDDEN}


@pytest.mark.parametrize(
    "hostile",
    ["a" * 200_000, "://" * 70_000, "://a:b@" * 30_000,
     "://a:" * 40_000, "sk-" * 70_000, "A_" * 100_000, "eyJ" * 70_000,
     "eyJ-" * 250_000, "eyJaaaaaaaa-" * 20_000,
     "SG.aaaaaaaaaaaaaaaaaaaa-" * 10_000, "A_TOKEN=" * 30_000,
     "(sk-" * 50_000,
     "Authorization:" * 15_000, "a@" * 100_000, "-----BEGIN PRIVATE KEY-----" * 8_000,
     "bearer " * 30_000, "?key=" * 40_000, " " * 200_000, "PASSWORD " + " " * 200_000],
)  # fmt: skip
def test_no_input_makes_redaction_slow(hostile: str) -> None:
    start = time.process_time()
    make_redactor(emails=True)(hostile)
    assert time.process_time() - start < 2
