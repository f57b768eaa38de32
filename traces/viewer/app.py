"""Datasette with the viewer in it, and a server on a socket that is already open."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import Any

import datasette.handle_exception
import uvicorn
from datasette.app import Datasette
from datasette.plugins import pm

from journeyman.models.errors import ConfigError
from journeyman.traces.viewer import plugin
from journeyman.traces.viewer.answers import Forms, give_forms
from journeyman.traces.viewer.options import PLUGIN, Options
from journeyman.traces.viewer.source import Source

SQL_TIME_LIMIT_MS = 1_000
"""Of Datasette's own pages, where anybody's SQL runs."""


def make_datasette(
    shown: Source, options: Options, *, allow_sql: bool = True, forms: Forms | None = None
) -> Any:
    """A Datasette over one trace store.

    Args:
        shown: What to show.
        options: For the plugin.
        allow_sql: Visitors may write SQL of their own; it only reads, and not for long.
        forms: Who knows what answers of sub-agents look like, for answers that a reviewer writes.
    """
    # Where rich is there, Datasette prints errors with the values of all variables, which is
    # content, and fails on a plain 404.
    datasette.handle_exception.rich = None
    if not pm.is_registered(plugin):  # DATASETTE_LOAD_PLUGINS may have left it out
        pm.register(plugin, name=PLUGIN)
    path = str(shown.path)
    made = Datasette(
        files=[path] if shown.is_live else [],
        immutables=[] if shown.is_live else [path],
        settings={
            "default_allow_sql": allow_sql,
            "allow_download": False,
            "sql_time_limit_ms": SQL_TIME_LIMIT_MS,
        },
        metadata={"title": "Journeyman traces", "plugins": {PLUGIN: options.as_config()}},
    )
    give_forms(made, forms)
    return made


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def new_token() -> str:
    """A token that nobody guesses, fit for an address and a cookie."""
    return secrets.token_urlsafe(24)


def listen(host: str, port: int) -> socket.socket:
    """An open socket; visitors who come before the server wait.

    Args:
        host: An address of this machine.
        port: 0 for any that is free.

    Raises:
        ConfigError: The address cannot be had; the message says what to do.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        opened = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"Nothing can listen on {host}:{port} ({error.strerror or error}): give another "
            "--port, or 0 for any that is free."
        ) from error
    opened.set_inheritable(False)
    return opened


def serve(served: Any, opened: socket.socket) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(
        served.app(),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[opened])
