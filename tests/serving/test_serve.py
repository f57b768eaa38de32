"""The keeper of a server: what it loads, refuses, unloads and starts again; over a fake of vLLM."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner

from journeyman.agents.routing import Route, Routing
from journeyman.cli.main import app
from journeyman.cli.serve import _keeper, _until_told
from journeyman.graph.served import base_in_traffic, serve_students, wanted_from
from journeyman.graph.settings import Settings
from journeyman.models.catalog import resolve
from journeyman.models.errors import ConfigError, ModelUnavailable
from journeyman.models.serve import Keeper, Pace, Wanted
from journeyman.models.serve_process import Launch, ServerProcess, check_port, find_python
from journeyman.models.served import ServedGenerator
from journeyman.models.served_embedder import ServedEmbedder
from journeyman.models.served_http import Server, run_blocking
from journeyman.models.served_tokens import BaseTokens
from journeyman.models.students.classifier import Classifier
from journeyman.models.students.embedder import Embedder
from journeyman.models.students.generator_weights import CANARY, Facts
from journeyman.traces.registry import Registry
from tests.serving.keeping import Kept
from tests.serving.writer import Writer, like_of, promoted

FAKE = Path(__file__).with_name("fake_vllm.py")
PACE = Pace(tick=0.05, health=0.3, canary=0.4, hang=2.0, start=20.0, drain=0.3, retry=0.3)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has a fake vLLM."""
    folder = tmp_path_factory.mktemp("fake")
    home = folder / "vllm" / "entrypoints" / "openai"
    home.mkdir(parents=True)
    for package in (home, home.parent, home.parent.parent):
        (package / "__init__.py").touch()
    shutil.copyfile(FAKE, home / "api_server.py")
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" -S "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


@pytest.fixture
def launch(python: Path, base: str) -> Launch:
    with socket.socket() as probed:
        probed.bind(("127.0.0.1", 0))
        port = probed.getsockname()[1]
    return Launch(base=resolve(base), python=python, port=port)


@pytest.fixture
def release(base: str, tmp_path: Path) -> Callable[..., Wanted]:
    """A release that is served with one factor, and was taught with another."""
    files = resolve(base)
    counts = [len(BaseTokens(files).answer(answer)) for _, answer in CANARY]

    def make(name: str, *, served: float, taught: float | None = None) -> Wanted:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "factor").write_text(str(served))
        canaries = [
            tuple(-factor * count for count in counts)
            for factor in (served if taught is None else taught, 1.0)
        ]
        return Wanted(folder, Facts(files.name, files.digest, *canaries))

    return make


@pytest.fixture
def keep(launch: Launch, tmp_path: Path) -> Iterator[Callable[..., Kept]]:
    """Starts keepers of the fake."""
    made: list[Kept] = []

    def start(wanted: dict[str, Wanted], changed: Launch | None = None) -> Kept:
        kept = Kept()
        process = ServerProcess(changed or launch, tmp_path / "serve.log")
        kept.keeper = Keeper(
            process, lambda: dict(wanted), tell=kept.events.append, tolerance=0.01, pace=PACE
        )
        made.append(kept)
        return kept

    yield start
    assert all(kept.keeper is None or not kept.keeper._process.is_running for kept in made)


def _process(kept: Kept) -> ServerProcess:
    assert kept.keeper is not None
    return kept.keeper._process


def _is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # ended, and nobody has asked yet how
        time.sleep(0.05)
    return False


# What is served


def test_what_comes_into_traffic_is_loaded_and_what_leaves_it_unloaded(
    keep: Callable[..., Kept], release: Callable[..., Wanted]
) -> None:
    wanted = {"writer@00000001": release("one", served=2.0)}
    with keep(wanted) as kept:
        kept.wait_for("serving", "writer@00000001")
        wanted["writer@00000002"] = release("two", served=3.0)
        del wanted["writer@00000001"]
        kept.wait_for("serving", "writer@00000002")
        kept.wait_for("unloaded", "writer@00000001")
    kinds = [event.kind for event in kept.events]
    assert kinds == [
        "starting", "ready", "serving", "serving", "draining", "unloaded", "ended",
    ]  # fmt: skip


def test_what_comes_back_while_it_drains_stays(
    keep: Callable[..., Kept], release: Callable[..., Wanted]
) -> None:
    wanted = {"writer@00000001": release("one", served=2.0)}
    with keep(wanted) as kept:
        kept.wait_for("serving")
        assert kept.keeper is not None
        kept.keeper._pace = replace(PACE, drain=30.0)
        away = wanted.pop("writer@00000001")
        kept.wait_for("draining")
        wanted["writer@00000001"] = away
        time.sleep(1.0)
    assert not kept.told("unloaded")


def test_what_a_round_loaded_for_itself_is_left_alone(
    keep: Callable[..., Kept], release: Callable[..., Wanted]
) -> None:
    candidate = release("candidate", served=2.0)
    with keep({"writer@00000001": release("one", served=3.0)}) as kept:
        kept.wait_for("serving")
        server = Server(_process(kept).launch.url)
        given = {"lora_name": "candidate@1", "lora_path": str(candidate.folder)}
        run_blocking(lambda: server.post("/load_lora_adapter", given))
        time.sleep(5 * PACE.drain)
        assert not kept.told("draining")
        kept.wait_for("unloaded", "candidate@1")  # once it has lain idle for long


@pytest.mark.parametrize(
    ("served", "taught", "why"), [(1.0, 2.0, "without its adapter"), (3.0, 2.0, "other weights")]
)
def test_what_the_canary_does_not_know_is_refused_and_unloaded(
    keep: Callable[..., Kept],
    release: Callable[..., Wanted],
    served: float,
    taught: float,
    why: str,
) -> None:
    with keep({"writer@00000001": release("one", served=served, taught=taught)}) as kept:
        assert why in kept.wait_for("refused", "writer@00000001").detail
        time.sleep(1.0)  # it is tried again, and told once
    assert len(kept.told("refused")) == 1
    assert not kept.told("serving")


def test_what_changes_while_it_is_served_is_refused_by_the_next_canary(
    keep: Callable[..., Kept], release: Callable[..., Wanted]
) -> None:
    one = release("one", served=2.0)
    with keep({"writer@00000001": one}) as kept:
        kept.wait_for("serving")
        (one.folder / "factor").write_text("1.0")
        kept.wait_for("refused")
        (one.folder / "factor").write_text("2.0")
        kept.wait_for("serving", times=2)


def test_a_release_on_another_base_is_refused(
    keep: Callable[..., Kept], release: Callable[..., Wanted]
) -> None:
    one = release("one", served=2.0)
    other = replace(one, facts=replace(one.facts, base="other", base_digest="0" * 64))
    with keep({"writer@00000001": other}) as kept:
        assert "another base, 'other'" in kept.wait_for("refused").detail


# The process


def test_a_server_that_was_killed_is_started_again_with_all_that_it_served(
    keep: Callable[..., Kept], release: Callable[..., Wanted]
) -> None:
    with keep({"writer@00000001": release("one", served=2.0)}) as kept:
        kept.wait_for("serving")
        pid = _process(kept).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert "SIGKILL" in kept.wait_for("lost").detail
        kept.wait_for("serving", times=2)


def test_a_server_that_hangs_is_ended_and_started_again(
    keep: Callable[..., Kept], release: Callable[..., Wanted]
) -> None:
    with keep({"writer@00000001": release("one", served=2.0)}) as kept:
        kept.wait_for("serving")
        pid = _process(kept).pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        assert "not answered" in kept.wait_for("lost").detail
        assert _is_gone(pid)
        kept.wait_for("serving", times=2)


def test_a_server_that_is_busy_is_not_taken_for_one_that_hangs(
    keep: Callable[..., Kept], release: Callable[..., Wanted], launch: Launch, tmp_path: Path
) -> None:
    """A canary waits in the server's queue like every request; tokens tell that it moves."""
    busy = tmp_path / "busy"
    watched = replace(launch, environment={"FAKE_BUSY": str(busy)})
    with keep({"writer@00000001": release("one", served=2.0)}, watched) as kept:
        kept.wait_for("serving")
        busy.touch()
        time.sleep(2 * PACE.hang)
        assert not kept.told("lost")
        busy.unlink()


def test_the_end_takes_the_servers_children_along(
    keep: Callable[..., Kept], tmp_path: Path
) -> None:
    with keep({}) as kept:
        kept.wait_for("ready")
        pid = _process(kept).pid
    found = re.search(r"child (\d+)", (tmp_path / "serve.log").read_text())
    assert pid is not None
    assert found is not None
    assert _is_gone(pid)
    assert _is_gone(int(found[1]))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", "not enough memory"),
        ("ValueError: LoRA rank 64 is greater than max_lora_rank 16", "rank 64"),
        ("something else", "ended with code 1"),
    ],
)
def test_why_a_server_does_not_start_is_said(
    keep: Callable[..., Kept], launch: Launch, said: str, told: str
) -> None:
    kept = keep({}, replace(launch, environment={"FAKE_SAY": said}))
    with pytest.raises(ModelUnavailable, match=told), kept:
        kept.wait_for("ready")


def test_a_python_without_vllm_is_refused_with_the_command_that_mends_it() -> None:
    with pytest.raises(ConfigError, match="make vllm"):
        find_python(Path(sys.executable))


def test_a_folder_with_vllm_is_found_from_below(python: Path, tmp_path: Path) -> None:
    (tmp_path / ".venv-vllm" / "bin").mkdir(parents=True)
    (tmp_path / ".venv-vllm" / "bin" / "python").symlink_to(python)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_python(None, start=below).parts[-3] == ".venv-vllm"


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="choose another"):
            check_port("127.0.0.1", taken.getsockname()[1])


def test_the_command_holds_no_key_and_names_the_layers(launch: Launch) -> None:
    told = replace(launch, api_key="hush").described()
    assert "hush" not in told
    assert "--lora-target-modules q_proj" in told
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in told


# From settings and releases


def test_the_releases_in_traffic_are_wanted(registry: Registry, base: str, first: Path) -> None:
    wanted = wanted_from(registry)
    assert wanted() == {}
    release = promoted(registry, base, first)
    assert list(wanted()) == [release.id]
    assert base_in_traffic(registry, registry.data) == base
    registry.rollback("writer")
    assert wanted() == {}


def test_a_damaged_release_keeps_no_other_from_being_served(
    registry: Registry, base: str, first: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = promoted(registry, base, first)
    promoted(registry, base, first, agent="other")
    next(broken.student.glob("*.safetensors")).write_bytes(b"torn")
    assert [name.partition("@")[0] for name in wanted_from(registry)()] == ["other"]
    assert f"{broken.id!r} is not served" in caplog.text


def test_settings_bind_searches_and_routers_to_an_embedders_server() -> None:
    settings = Settings()
    local = Embedder(device="cpu")
    router = Routing([Route("a", "one")], Classifier(local, {"a": "one", "b": "two"}))
    assert serve_students([router], settings) == [router]
    settings.served.embedder_url = "http://127.0.0.1:9/v1"
    [served] = serve_students([router], settings)
    assert isinstance(served.student, Classifier)
    assert isinstance(served.student.embedder, ServedEmbedder)
    assert served.release == router.release


def test_no_generator_in_traffic_needs_a_base_by_name(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"serve\.base"):
        base_in_traffic(registry, registry.data)


def test_settings_bind_sub_agents_that_write_to_their_server(base: str) -> None:
    settings = Settings()
    agent = Writer(like_of(base))
    assert serve_students([agent], settings) == [agent]
    settings.served.url = "http://127.0.0.1:9/v1"
    [served] = serve_students([agent], settings)
    assert isinstance(served.student, ServedGenerator)
    assert served.release == agent.release


# The command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: Path, base: str) -> Path:
    (tmp_path / "journeyman.toml").write_text(f'[serve]\nbase = "{base}"\npython = "{python}"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("project", "registry")
def test_a_dry_run_prints_the_command(target: Path | str) -> None:
    result = CliRunner().invoke(app, ["serve", "--dry-run", "--store", str(target), "--port", "1"])
    assert result.exit_code == 0, result.output
    assert "--port 1 " in result.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("project", "registry")
def test_the_command_serves_until_it_is_told_to_end(target: Path | str, launch: Launch) -> None:
    command = [sys.executable, "-m", "journeyman", "serve", "--json", "--store", str(target)]
    with subprocess.Popen(
        [*command, "--port", str(launch.port)], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if '"ready"' in line:
                running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    with socket.socket() as probed:
        assert probed.connect_ex(("127.0.0.1", launch.port)) != 0


def test_a_closed_terminal_ends_the_server_as_well() -> None:
    class Waiting:
        async def run(self, stop: asyncio.Event) -> None:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.wait_for(stop.wait(), 10)

    before = signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        assert asyncio.run(_until_told(cast("Keeper", Waiting()))) is False
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_server_that_was_ended_is_not_ended_twice(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be another process's by then."""
    process = ServerProcess(launch, tmp_path / "serve.log")
    process.start()
    process.stop(grace_s=0.0)
    ended: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda group, _: ended.append(group))
    process.stop()
    assert not ended


def test_a_canary_that_is_seldom_asked_is_no_sign_of_a_hang(
    project: Path, registry: Registry, launch: Launch
) -> None:
    settings = Settings()
    settings.served.canary_seconds = 300
    keeper = _keeper(settings, launch, registry, project / "serve.log", json=True)
    assert keeper.pace.hang > keeper.pace.canary
