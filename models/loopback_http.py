"""A small HTTP/1.1 server on loopback, in a thread of its own, for stand-ins and tests.

h11 speaks the protocol; asyncio carries it. One function answers every request, and may say that
the answer takes its time, breaks off half-way or never comes. Not for production: no TLS, no
routing, whole bodies in memory.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import h11

from journeyman.models.errors import ModelUnavailable

_READ_BYTES = 65536
_MAX_BODY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What was asked; header names are in lower case, the path is without its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What to answer.

    Attributes:
        status: HTTP status.
        body: Sent as JSON unless `headers` name another content type.
        headers: Further headers.
        wait_s: Seconds before it is sent; other requests go on meanwhile.
        cut: Close the connection in the middle of the body.
        silent: Close it without any answer.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    wait_s: float = 0.0
    cut: bool = False
    silent: bool = False


class LoopbackServer:
    """Listens on a free port of 127.0.0.1 while the context is open.

    Args:
        answer: Called in the server's thread, one request at a time; must not block.
        name: What messages and the thread call it.
    """

    def __init__(self, answer: Callable[[HttpRequest], HttpReply], *, name: str) -> None:
        self.answer = answer
        self.num_in_flight = 0
        self._name = name
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Scheme, host and port.

        Raises:
            ModelUnavailable: The server is not open.
        """
        if not self._port:
            raise ModelUnavailable(f"The {self._name} is not running: open it with 'with'.")
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        """Start listening.

        Raises:
            ModelUnavailable: No port could be opened.
        """
        started = threading.Event()
        failures: list[OSError] = []

        def serve() -> None:
            try:
                asyncio.run(self._serve(started))
            except OSError as error:
                failures.append(error)
            finally:
                started.set()

        self._thread = threading.Thread(target=serve, name=self._name, daemon=True)
        self._thread.start()
        started.wait()
        if failures:
            self._thread.join()
            raise ModelUnavailable(
                f"The {self._name} could not open a port on 127.0.0.1 ({failures[0]}): free one."
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Drop every connection and stop."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._port = 0

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        talks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talk = asyncio.create_task(_Connection(reader, writer).talk(self))
            talks.add(talk)
            talk.add_done_callback(talks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


class _Connection:
    """One keep-alive connection, one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def talk(self, server: LoopbackServer) -> None:
        try:
            while await self._exchange(server):
                self._http.start_next_cycle()
        except (OSError, h11.RemoteProtocolError):
            pass  # the caller hung up, or speaks no HTTP
        finally:
            self._writer.transport.abort()

    async def _exchange(self, server: LoopbackServer) -> bool:
        """Answer one request; False where the connection is over."""
        request = await self._request()
        if request is None:
            return False
        server.num_in_flight += 1
        try:
            reply = server.answer(request)
            if reply.wait_s:
                await asyncio.sleep(reply.wait_s)
            if not reply.silent:
                await self._send(reply)
        finally:
            server.num_in_flight -= 1
        return not (reply.silent or reply.cut) and self._http.our_state is h11.DONE

    async def _request(self) -> HttpRequest | None:
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > _MAX_BODY_BYTES:
                return None
        return HttpRequest(
            method=head.method.decode("ascii"),
            path=head.target.decode("latin-1").partition("?")[0],
            headers={name.decode("latin-1"): text.decode("latin-1") for name, text in head.headers},
            body=bytes(body),
        )

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._http.send(go_on) or b"")
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def _send(self, reply: HttpReply) -> None:
        headers = [("content-length", str(len(reply.body))), *reply.headers]
        if not any(name.lower() == "content-type" for name, _ in reply.headers):
            headers.append(("content-type", "application/json"))
        body = reply.body[: len(reply.body) // 2] if reply.cut else reply.body
        parts = [
            self._http.send(h11.Response(status_code=reply.status, headers=headers)),
            self._http.send(h11.Data(data=body)),
        ]
        if not reply.cut:
            parts.append(self._http.send(h11.EndOfMessage()))
        self._writer.write(b"".join(part for part in parts if part))
        await self._writer.drain()
        if reply.cut:  # a clean end of the stream in the middle of the body
            self._writer.close()
            await self._writer.wait_closed()
