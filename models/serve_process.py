"""One vLLM process: the command that starts it, its log, its end, and why it ended.

It runs in a session of its own, so that it is ended with all its children. Knows nothing of
releases, nor when a server should be started again.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from journeyman.models.catalog import Base
from journeyman.models.errors import ConfigError, ModelUnavailable

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Layers that adapters may lie on. vLLM is told, since with an adapter on the output layer (which
it allows for by default) it computes log-probabilities of prompts wrongly, or dies of them."""

_TAIL_BYTES = 20_000
_GRACE_SECONDS = 15.0
_NO_MEMORY = re.compile(
    r"out of memory|OutOfMemory|Cannot allocate memory|bad_alloc|MemoryError|"
    r"No available memory for the cache|larger than the available KV cache memory",
    re.IGNORECASE,
)
_MORE_MEMORY = "lower serve.max_model_len or serve.max_loras, or set serve.cpu_cache_gb"
_REASONS = (
    (re.compile(r"No module named '?vllm"), "vLLM is not installed there"),
    (re.compile(r"address already in use", re.IGNORECASE), "its port is taken"),
    (_NO_MEMORY, f"there is not enough memory; {_MORE_MEMORY}"),
)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started.

    Attributes:
        base: The model that it serves.
        python: A Python that has vLLM.
        host: Address to listen at; anything but this machine's own opens it to the network.
        port: Port to listen at.
        dtype: Name of the type that it computes in.
        max_model_len: Tokens of a prompt and its answer; None is the base's window.
        max_loras: Adapters in one batch.
        max_lora_rank: Highest rank of an adapter.
        targets: Layers that adapters may lie on.
        cpu_cache_gb: Memory for attention caches on a CPU; None leaves it to vLLM.
        arguments: Further arguments of vLLM.
        environment: Further environment variables.
        runner: `generate`, or `pooling` for an embedder.
        api_key: What callers have to send; empty: nothing.
    """

    base: Base
    python: Path
    host: str = "127.0.0.1"
    port: int = 8000
    dtype: str = "float32"
    max_model_len: int | None = None
    max_loras: int = 8
    max_lora_rank: int = 16
    targets: tuple[str, ...] = TARGETS
    cpu_cache_gb: int | None = None
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    runner: Literal["generate", "pooling"] = "generate"
    api_key: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Where it will be reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104  # compared, not bound
        return f"http://{host}:{self.port}/v1"

    def command(self) -> list[str]:
        """The command line; it holds no secret."""
        # Its console script looks for a distribution that the CPU build does not have.
        command = [str(self.python), "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(self.base.path), "--served-model-name", self.base.name]
        command += ["--host", self.host, "--port", str(self.port), "--dtype", self.dtype]
        if self.max_model_len is not None:
            command += ["--max-model-len", str(self.max_model_len)]
        if self.runner == "pooling":
            command += ["--runner", "pooling"]
        else:
            command += ["--enable-lora", "--max-loras", str(self.max_loras)]
            command += ["--max-lora-rank", str(self.max_lora_rank)]
            command += ["--lora-target-modules", *self.targets]
        return [*command, *self.arguments]

    def variables(self) -> dict[str, str]:
        """Environment variables that it needs beside those that are set."""
        own = {
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",  # the base lies on this machine
        }
        if self.cpu_cache_gb is not None:
            own["VLLM_CPU_KVCACHE_SPACE"] = str(self.cpu_cache_gb)
        return {**own, **self.environment}

    def described(self) -> str:
        """The command as it could be typed."""
        variables = " ".join(f"{k}={shlex.quote(v)}" for k, v in self.variables().items())
        return f"{variables} {shlex.join(self.command())}"


class ServerProcess:
    """A vLLM process and its log.

    Args:
        launch: How it is started.
        log: File that its output is added to.
    """

    def __init__(self, launch: Launch, log: Path) -> None:
        self.launch = launch
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._group: int | None = None  # to be ended; its number may be another's afterwards

    @property
    def pid(self) -> int | None:
        """Of the process; None where there is none."""
        return self._process.pid if self.is_running and self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; it answers some time later.

        Raises:
            ConfigError: There is no vLLM, or its port is taken.
        """
        check_vllm(self.launch.python)
        check_port(self.launch.host, self.launch.port)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        variables = {**os.environ, **self.launch.variables()}
        if self.launch.api_key:
            variables["VLLM_API_KEY"] = self.launch.api_key
        with self.log.open("ab") as out:
            self._log_start = out.tell()
            self._process = _popen(self.launch.command(), variables, out)
            self._group = self._process.pid

    def stop(self, *, grace_s: float = _GRACE_SECONDS) -> None:
        """End it and its children: politely, then for good. Does nothing where there is none."""
        process, group = self._process, self._group
        if process is None or group is None:
            return
        if process.poll() is None and grace_s > 0:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):  # it hangs, and is ended for good
                process.wait(grace_s)
        _end_group(group)
        process.wait()
        self._group = None

    def trouble(self) -> str:
        """Why it ended, or hangs, as far as its log tells."""
        said = self._tail()
        for pattern, reason in _REASONS:
            if pattern.search(said):
                return reason
        code = self._process.poll() if self._process is not None else None
        errors = re.findall(r"(\w*(?:Error|Exception): .+)", said)
        if errors:
            return str(errors[-1])[:300]
        if code is not None and code < 0:
            return f"it was killed by {signal.Signals(-code).name}"
        return "it does not answer" if code is None else f"it ended with code {code}"

    def _tail(self) -> str:
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, size - _TAIL_BYTES))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""


def find_python(given: Path | None, *, start: Path | None = None) -> Path:
    """A Python that has vLLM: the one given, else `.venv-vllm` here or above, else this one.

    Raises:
        ConfigError: There is none.
    """
    if given is not None:
        check_vllm(given)
        return given
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        python = folder / ".venv-vllm" / "bin" / "python"
        if python.exists():
            check_vllm(python)
            return python
    this = Path(sys.executable)
    check_vllm(this)
    return this


def check_vllm(python: Path) -> None:
    """Make sure that a Python has vLLM.

    Raises:
        ConfigError: It has not.
    """
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
    try:
        found = subprocess.run([str(python), "-c", look], capture_output=True, check=False)  # noqa: S603  # the user's own Python
        missing = found.returncode != 0
    except OSError:
        missing = True
    if missing:
        raise ConfigError(
            f"vLLM is not installed for {str(python)!r}: run `make vllm` (CPU) or `pip install "
            f"vllm` (GPU), or set serve.python to a Python that has it.",
            key="serve.python",
        )


def check_port(host: str, port: int) -> None:
    """Make sure that a port is free.

    Raises:
        ConfigError: It is not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} of {host!r} cannot be listened at ({error.strerror}): end what uses "
                f"it, or choose another by --port.",
                key="serve.port",
            ) from error


def not_there(launch: Launch, process: ServerProcess) -> ModelUnavailable:
    """What is raised where a server did not come up."""
    return ModelUnavailable(
        f"vLLM did not start for base {launch.base.name!r}: {process.trouble()}; see "
        f"{str(process.log)!r}.",
        model=launch.base.name,
    )


def _popen(
    command: Sequence[str], variables: Mapping[str, str], out: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # a command of our own making
        command,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _end_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # all of it has ended
        os.killpg(group, signal.SIGKILL)
