"""Settings: what is found, what wins, and how a mistake is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.graph.settings import load_settings
from journeyman.graph.settings_file import key_lines
from journeyman.graph.settings_origins import described_settings, settings_in_force
from journeyman.models.errors import ConfigError


def write(folder: Path, text: str, name: str = "journeyman.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_nearest_file_upwards_holds_and_its_store_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "store = 'kept.db'\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert load_settings(below).store == str(tmp_path / "kept.db")


def test_a_project_file_counts_only_with_our_table(tmp_path: Path) -> None:
    write(tmp_path, "[tool.journeyman.frontier]\nmodel = 'm'\n", "pyproject.toml")
    below = tmp_path / "package"
    below.mkdir()
    write(below, "[project]\nname = 'x'\n", "pyproject.toml")
    assert load_settings(below).frontier.model == "m"


@pytest.mark.parametrize(
    ("text", "key", "known"),
    [
        ("stoer = 'x'\n", "stoer", "store"),
        ("[frontier]\nmodle = 'x'\n", "frontier.modle", "model"),
        (
            "[frontier.price]\ninput = 1\ninput_per_million_usd = 1\noutput_per_million_usd = 1\n",
            "frontier.price.input",
            "input_per_million_usd",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones_beside_it(
    tmp_path: Path, text: str, key: str, known: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path)
    assert repr(key) in str(caught.value)
    assert known in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_environment_beats_the_file_and_is_named_in_its_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "[frontier]\nmax_tries = 2\n")
    monkeypatch.setenv("JOURNEYMAN_FRONTIER__MAX_TRIES", "3")
    assert load_settings(tmp_path).frontier.max_tries == 3
    monkeypatch.setenv("JOURNEYMAN_FRONTIER__MAX_TRIES", "none")
    with pytest.raises(ConfigError, match="JOURNEYMAN_"):
        load_settings(tmp_path)


def test_the_file_is_named_by_the_environment_and_beaten_by_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "[risk]\nmax_error = 0.1\n")
    named = write(tmp_path, "[risk]\nmax_error = 0.2\n", "named.toml")
    given = write(tmp_path, "[risk]\nmax_error = 0.3\n", "given.toml")
    monkeypatch.setenv("JOURNEYMAN_CONFIG", str(named))
    assert load_settings(tmp_path).risk.max_error == 0.2
    assert load_settings(tmp_path, file=given).risk.max_error == 0.3


def test_somebody_elses_broken_project_file_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "{{ cookiecutter }}\n", "pyproject.toml")
    assert load_settings(tmp_path).frontier.model is None


def test_an_empty_variable_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "[frontier]\nmodel = 'm'\n")
    monkeypatch.setenv("JOURNEYMAN_FRONTIER__MODEL", "")
    assert load_settings(tmp_path).frontier.model == "m"


MALFORMED = {
    "no_toml": (b"[frontier\nmodel = 'x'\n", 1, "no TOML"),
    "unfinished": (b"store = 'x'\nrisk = [1,\n", 3, "no TOML"),
    "twice": (b"store = 'a'\nstore = 'b'\n", 2, "no TOML"),
    "unknown_key": (b"\n# why\nstoer = 'x'\n", 3, "did you mean 'store'"),
    "unknown_below": (b"[frontier]\nmax_tries = 2\nmodle = 'x'\n", 3, "'frontier.model'"),
    "unknown_table": (b"store = 'x'\n[fronteer]\nmodel = 'm'\n", 2, "did you mean 'frontier'"),
    "wrong_type": (b"[frontier]\nmax_tries = 'many'\n", 2, "frontier.max_tries"),
    "out_of_range": (b"[risk]\ndelta = 0.1\nmax_error = 1.5\n", 3, "risk.max_error"),
    "no_choice": (b"[risk]\nkind = 'loose'\n", 2, "risk.kind"),
    "missing": (b"[frontier.price]\ninput_per_million_usd = 1\n", 1, "output_per_million_usd"),
    "no_table": (b"store = 'x'\nfrontier = 'gpt'\n", 2, "is a table"),
    "latin_1": ("store = 'x'\n# prêt\n".encode("latin-1"), 2, "no UTF-8"),
    "utf_16": ("store = 'x'\n".encode("utf-16"), 1, "UTF-16"),
    "empty_path": (b"store = ''\n", 1, "store"),
    "path_with_nul": (b'data_dir = "a\\u0000b"\n', 1, "data_dir"),
    "home_of_nobody": (b"store = '~nobody-of-this-name/x'\n", 1, "store"),
    "argument_of_the_library": (b"_env_file = 'x'\n", 1, "_env_file"),
    "inline": (b"frontier = { modle = 'x' }\n", 1, "frontier.modle"),
    "several_lines": (b"store = '''\nx'''\nstoer = 1\n", 3, "stoer"),
    "nested_deeply": (b"a = " + b"[" * 3000 + b"]" * 3000 + b"\n", None, "journeyman.toml"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_one_sentence_with_its_line(tmp_path: Path, name: str) -> None:
    content, line, said = MALFORMED[name]
    path = tmp_path / "journeyman.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path)
    told = str(caught.value)
    assert said in told
    assert f"{path}:{line}" in told if line is not None else str(path) in told
    assert "\n" not in told


def test_a_byte_order_mark_before_utf_8_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "journeyman.toml").write_bytes(b"\xef\xbb\xbfstore = 'kept.db'\n")
    assert load_settings(tmp_path).store == str(tmp_path / "kept.db")


@pytest.mark.parametrize("kind", ["folder", "dead_link", "pipe", "huge", "absent", "no_table"])
def test_what_is_no_settings_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("pyproject.toml" if kind == "no_table" else "journeyman.toml")
    if kind == "folder":
        path.mkdir()
    elif kind == "dead_link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        path.write_bytes(b"#" * 2_000_000)
    elif kind == "no_table":
        path.write_text("[tool]\njourneyman = 3\n", "utf-8")
    with pytest.raises(ConfigError, match=path.name):
        load_settings(tmp_path, file=path if kind == "absent" else None)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("JOURNEYMAN_FRONTIER", "gpt", "JOURNEYMAN_FRONTIER__KEY"),
        ("JOURNEYMAN_FRONTIER", "3", "JOURNEYMAN_FRONTIER"),
        ("JOURNEYMAN_FRONTIER__MODLE", "x", "did you mean 'frontier.model'"),
        ("JOURNEYMAN_STOER", "x", "JOURNEYMAN_STORE"),
        ("JOURNEYMAN_FRONTEIR__MODEL", "x", "JOURNEYMAN_FRONTIER__MODEL"),
        ("journeyman_risk__delta", "2", "journeyman_risk__delta"),
        ("JOURNEYMAN_BUDGET", '{"per_run_usd": -1}', "JOURNEYMAN_BUDGET"),
    ],
)
def test_a_wrong_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    write(tmp_path, "[frontier]\nmodel = 'm'\n")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path)
    assert said in str(caught.value)
    assert variable in str(caught.value)


def test_variables_of_others_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNEYMAN_DATA", "/somewhere")
    monkeypatch.setenv("JOURNEYMAN_WRAPPER_FLAG", "1")
    assert load_settings(tmp_path)


def test_every_setting_says_where_it_is_from_and_no_secret_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path,
        "store = 'postgresql://me:hidden@db/t?password=hidden'\n\n[frontier]\n"
        "base_url = 'https://user:hidden@host/v1'\nprice = { input_per_million_usd = 1,"
        " output_per_million_usd = 2 }\n",
    )
    monkeypatch.setenv("OPENAI_API_KEY", "hidden")
    monkeypatch.setenv("JOURNEYMAN_RISK__MAX_ERROR", "0.02")
    monkeypatch.setenv("JOURNEYMAN_AUDIT", '{"rate": 0.5}')
    found, settings = settings_in_force(tmp_path)
    held = {setting.key: setting for setting in settings}
    assert found == path
    assert "hidden" not in repr(settings)
    assert held["store"].where == f"{path}:1"
    assert held["frontier.price.output_per_million_usd"].where == f"{path}:5"
    assert held["risk.max_error"].where == "JOURNEYMAN_RISK__MAX_ERROR"
    assert (held["audit.rate"].value, held["audit.rate"].where) == (0.5, "JOURNEYMAN_AUDIT")
    assert (held["risk.delta"].origin, held["risk.delta"].where) == ("default", None)
    assert held["frontier.api_key_env"].is_set is True


def test_every_setting_is_described() -> None:
    described = described_settings()
    assert len(described) > 20
    assert [each.key for each in described if not each.meaning] == []


names = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5),
)
scalars = st.one_of(
    st.integers(-9, 9), st.booleans(), st.text(st.sampled_from("ab\n\"'[=# "), max_size=6)
)
tables = st.recursive(
    st.dictionaries(names, scalars, max_size=3),
    lambda inner: st.dictionaries(names, st.one_of(scalars, inner), max_size=3),
    max_leaves=8,
)


@given(tables)
def test_each_key_of_a_toml_text_is_found_on_the_line_that_writes_it(table: dict[str, Any]) -> None:
    lines: list[str] = []
    wanted: dict[tuple[str, ...], int] = {}

    def quoted(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

    def emit(inner: dict[str, Any], path: tuple[str, ...]) -> None:
        for key, value in inner.items():
            if not isinstance(value, dict):
                lines.extend(["", "# [no.table]"])
                wanted[(*path, key)] = len(lines) + 1
                if isinstance(value, str) and "'''" not in value and '"' not in value:
                    lines.extend(f"{quoted(key)} = '''\n{value} '''".split("\n"))
                else:
                    lines.append(f"{quoted(key)} = {quoted(value)}")
        for key, value in inner.items():
            if isinstance(value, dict):
                wanted[(*path, key)] = len(lines) + 1
                lines.append(f"[ {' . '.join(quoted(part) for part in (*path, key))} ] # x")
                emit(value, (*path, key))

    emit(table, ())
    found = key_lines("\n".join(lines))
    assert {path: found.get(path) for path in wanted} == wanted
