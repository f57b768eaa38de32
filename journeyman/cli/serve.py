"""`journeyman serve`: vLLM with every generator in traffic, watched over."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeyman.cli.console import ExitCode, emit, talk
from journeyman.cli.options import JsonOption, StoreOption, open_store

if TYPE_CHECKING:
    from journeyman.graph.settings import Settings
    from journeyman.models.serve import Event, Keeper
    from journeyman.models.serve_process import Launch
    from journeyman.traces.registry import Registry


def serve(
    base: Annotated[
        str | None,
        typer.Option(help="Base model; default: the settings', else that of what is in traffic."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address; default: the settings'.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default: the settings'.")] = None,
    python: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A Python that has vLLM.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Data directory; default: the settings'."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="vLLM's own log; default: in the data directory."),
    ] = None,
    embedder: Annotated[
        bool,
        typer.Option("--embedder", help="Serve the embedder of searches and routers instead."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command that would be run, and end.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Serve every generator in traffic with one vLLM, each under its release's name.

    Examples:

      journeyman serve

      journeyman serve --dry-run

      journeyman serve --base SmolLM2-135M-Instruct --port 8001 --json

      journeyman serve --embedder

    What is promoted is loaded, proven by the canary, and served; what left traffic is drained and
    unloaded. A server that dies or hangs is started again. SIGTERM or Ctrl-C lets requests end.
    """
    from journeyman.graph.settings import load_settings
    from journeyman.traces.registry import Registry

    settings = load_settings()
    given = {
        "embedder" if embedder else "base": base,
        "host": host,
        "embedder_port" if embedder else "port": port,
        "python": python and str(python),
    }
    changed = {name: value for name, value in given.items() if value is not None}
    settings.serve = settings.serve.model_copy(update=changed)
    folder = (data or Path(settings.data_dir)).absolute()
    settings.data_dir = str(folder)
    with ExitStack() as opened:
        # An embedder has nothing to do with releases, so with no store either.
        registry = None if embedder else Registry(opened.enter_context(open_store(store)), folder)
        launch = _launch(settings, registry)
        if dry_run:
            _show(launch, json=json)
            return
        named = "serve-embedder.log" if embedder else "serve.log"
        keeper = _keeper(settings, launch, registry, log or folder / named, json=json)
        interrupted = asyncio.run(_until_told(keeper))
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


def _launch(settings: Settings, registry: Registry | None) -> Launch:
    """How the server of what is in traffic is started, or without a registry an embedder's."""
    from journeyman.graph.served import base_in_traffic
    from journeyman.models.catalog import resolve
    from journeyman.models.serve_process import Launch, find_python

    chosen = settings.serve
    if registry is None:
        base = resolve(chosen.embedder)
    else:
        base = resolve(chosen.base or base_in_traffic(registry, registry.data))
    return Launch(
        base=base,
        python=find_python(None if chosen.python is None else Path(chosen.python)),
        host=chosen.host,
        port=chosen.embedder_port if registry is None else chosen.port,
        runner="pooling" if registry is None else "generate",
        dtype=settings.served.dtype,
        max_model_len=chosen.max_model_len,
        max_loras=chosen.max_loras,
        max_lora_rank=chosen.max_lora_rank,
        cpu_cache_gb=chosen.cpu_cache_gb,
        arguments=tuple(shlex.split(chosen.arguments)),
        api_key=os.environ.get(settings.served.api_key_env, ""),
    )


def _keeper(
    settings: Settings, launch: Launch, registry: Registry | None, log: Path, *, json: bool
) -> Keeper:
    from journeyman.graph.served import prove_embedder, serving_from, wanted_from
    from journeyman.models.serve import Keeper, Pace
    from journeyman.models.serve_process import ServerProcess

    def tell(event: Event) -> None:
        if json:
            emit({"event": event.kind, "name": event.name, "detail": event.detail})
        else:
            talk(" ".join(part for part in (event.kind, event.name, event.detail) if part))

    if not json:
        talk(f"vLLM's own log is {log}")
    canary = settings.served.canary_seconds
    return Keeper(
        ServerProcess(launch, log),
        dict if registry is None else wanted_from(registry),
        prove=prove_embedder(settings, launch.base, launch.url) if registry is None else None,
        tell=tell,
        tolerance=serving_from(settings).nats,
        pace=Pace(
            canary=canary,
            hang=max(Pace().hang, 2 * canary),  # only canaries tell that a server hangs
            drain=settings.serve.drain_seconds,
        ),
        api_key_env=settings.served.api_key_env,
    )


def _show(launch: Launch, *, json: bool) -> None:
    if json:
        emit({"command": launch.command(), "environment": launch.variables(), "url": launch.url})
    else:
        typer.echo(launch.described())


async def _until_told(keeper: Keeper) -> bool:
    """Keep serving until a signal; whether it was Ctrl-C."""
    stop, interrupted = asyncio.Event(), False
    loop = asyncio.get_running_loop()

    def told(*, by_hand: bool) -> None:
        nonlocal interrupted
        interrupted = by_hand
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, lambda: told(by_hand=False))
    loop.add_signal_handler(signal.SIGINT, lambda: told(by_hand=True))
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as `nohup` has it
        # A terminal that is closed would leave vLLM behind, which has a session of its own.
        loop.add_signal_handler(signal.SIGHUP, lambda: told(by_hand=False))
    await keeper.run(stop)
    return interrupted
