"""`journeyman view`: the trace viewer in a browser."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from journeyman.cli.console import say, talk
from journeyman.cli.options import StoreOption, store_target

if TYPE_CHECKING:
    from journeyman.traces.viewer.options import Options

AllowHostOption = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="Answer to this name too; repeatable."),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        envvar="JOURNEYMAN_VIEW_TOKEN",
        help="What visitors must show; beyond loopback a new one is made by default.",
    ),
]
UnsafeOption = Annotated[
    bool,
    typer.Option(
        "--unsafe-allow-unauthenticated", help="Beyond loopback, ask visitors for nothing."
    ),
]


def view(
    store: StoreOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8765,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = True,
    write: Annotated[bool, typer.Option("--write", help="Let reviews and stars be kept.")] = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Show a copy of this moment, not the live file.")
    ] = False,
    days: Annotated[
        int, typer.Option(min=1, help="Of a PostgreSQL store: copy so many days, the latest.")
    ] = 7,
    allow_host: AllowHostOption = None,
    token: TokenOption = None,
    unsafe: UnsafeOption = False,
) -> None:
    """The trace viewer: runs, escalations, trust, suites and rounds, in a browser.

    Examples:

      journeyman view

      journeyman view --store .journeyman/demo.db --write

      journeyman view --host 0.0.0.0 --allow-host traces.example.org --no-open

    It reads the live file, so that a reload shows what has come since. Nobody but this machine
    reaches it unless --host or --allow-host says so; then visitors need a token, and may not write
    SQL.
    """
    import_viewer()
    from journeyman.cli.reviewing import Answers
    from journeyman.traces.viewer import app
    from journeyman.traces.viewer.source import source

    is_loopback = app.is_loopback(host)
    # A name that is allowed is a proxy's or a tunnel's: visitors come from elsewhere.
    is_local = is_loopback and not allow_host
    if token is None and not is_local and not unsafe:
        token = app.new_token()
    _check_token(token)
    window = timedelta(days=days)
    with (
        source(store_target(store), write=write, snapshot=snapshot, window=window) as shown,
        app.listen(host, port) as opened,
    ):
        options = _options(shown.note, write, allow_host or [], token, any_address=not is_loopback)
        forms = Answers() if write else None
        datasette = app.make_datasette(shown, options, allow_sql=is_local, forms=forms)
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{opened.getsockname()[1]}/-/journeyman"
        url += f"?token={token}" if token else ""
        say(url)
        talk(shown.note or "Ctrl-C ends it.")
        if open_:
            typer.launch(url)
        app.serve(datasette, opened)


def import_viewer() -> None:
    """Load what the viewer needs, or say how to get it.

    Raises:
        ConfigError: The extra is not installed.
    """
    from journeyman.models.errors import ConfigError

    try:
        import datasette
    except ImportError as error:
        raise ConfigError(
            "The viewer needs the `view` extra: pip install 'journeyman[view]'."
        ) from error
    del datasette


def _check_token(token: str | None) -> None:
    from journeyman.models.errors import ConfigError

    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,}", token):
        raise ConfigError(
            "A token has at least 16 letters, digits, '-' or '_': leave out --token to get one."
        )


def _options(
    note: str, write: bool, hosts: list[str], token: str | None, *, any_address: bool
) -> Options:
    from journeyman.traces.viewer.options import Options, digest_of

    return Options(
        write=write,
        hosts=tuple(name.lower() for name in hosts),
        any_address=any_address,
        token_sha256=None if token is None else digest_of(token),
        note=note,
    )
