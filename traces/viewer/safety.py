"""Checks and headers around everything that Datasette serves of a trace store.

A local server is reachable by any page that the same browser has open. So: only known names in the
Host header (a name can be rebound to loopback by whoever owns it), no write that another origin
caused, no framing, no script but files of this server, and beyond loopback a token.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from journeyman.traces.viewer.gate import trace_database
from journeyman.traces.viewer.options import Options, digest_of
from journeyman.traces.viewer.visit import ROOT

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

COOKIE = "journeyman_token"
MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of a form: an answer that a person writes is far smaller."""

_MAX_DIGITS = len(str(MAX_BODY_BYTES))
_SAFE = {"GET", "HEAD", "OPTIONS"}
_LOCAL_NAMES = {"localhost"}

OUR_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of the viewer's pages, which have no inline script or style."""

DATASETTE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of Datasette's own pages, which have both."""

HEADERS = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: a browser would then send its own forms with `Origin: null`.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Safety:
    """An ASGI application around Datasette's.

    Args:
        app: Datasette.
        datasette: The same, to ask for its databases and settings.
    """

    def __init__(self, app: App, datasette: Any) -> None:
        self._app = app
        self._datasette = datasette
        self._options = Options.of(datasette)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or await trace_database(self._datasette) is None:
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _respond(send, *refusal)
            return
        if self._options.token_sha256 is not None and not self._is_known(headers):
            await self._ask_for_token(scope, send)
            return
        await self._app(scope, receive, _with_headers(send, self._policy(scope)))

    def _refusal(self, scope: Message, headers: Mapping[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return 403, "This server does not answer to that name; see --allow-host."
        if scope["method"] in _SAFE:
            return None
        if not _is_same_origin(headers, host):
            return 403, "Refused: this request was caused by a page of another origin."
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return 411, "Refused: a request that writes must say its length."
        if len(length) > _MAX_DIGITS or int(length) > MAX_BODY_BYTES:
            return 413, "Refused: the request is too large."
        return None

    def _is_own(self, host: str) -> bool:
        name = _host_name(host)
        if name in _LOCAL_NAMES or name in self._options.hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address, unlike a name, cannot be rebound.
        return address.is_loopback or self._options.any_address

    def _is_known(self, headers: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        shown = given.strip() if scheme.lower() == "bearer" else _cookie(headers)
        return self._is_token(shown)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(digest_of(given), self._options.token_sha256 or "")

    async def _ask_for_token(self, scope: Message, send: Send) -> None:
        """Move the token from the address into a cookie, once; or say what is missing."""
        pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = dict(pairs).get("token", "")
        if scope["method"] == "GET" and self._is_token(given):
            kept = urlencode([pair for pair in pairs if pair[0] != "token"])
            path = scope.get("raw_path") or scope["path"].encode()
            # One slash: two would name another server, and so would a backslash for one of them.
            target = "/" + path.decode("latin-1").partition("?")[0].lstrip("/\\")
            extra = {
                "location": target + (f"?{kept}" if kept else ""),
                "set-cookie": f"{COOKIE}={given}; Path=/; HttpOnly; SameSite=Lax",
            }
            await _respond(send, 303, "", extra)
            return
        await _respond(
            send, 401, "Open the address that `journeyman view` printed: it holds the token."
        )

    def _policy(self, scope: Message) -> str:
        base: str = self._datasette.urls.path(ROOT)
        is_ours = scope["path"] == base or scope["path"].startswith(base + "/")
        return OUR_POLICY if is_ours else DATASETTE_POLICY


def _headers(scope: Message) -> dict[str, str]:
    return {
        key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]
    }


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets; empty where it cannot be read."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018  # raises where it is no number
    except ValueError:
        return ""
    if "@" in host or parts.path or parts.query or parts.fragment:
        return ""
    return (parts.hostname or "").rstrip(".")


def _is_same_origin(headers: Mapping[str, str], host: str) -> bool:
    """Whether a page of ours, or no page at all, caused a request that writes."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    # Whoever sends neither is no browser, and could do without this server.
    return origin is None or origin in {f"http://{host}", f"https://{host}"}


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _with_headers(send: Send, policy: str) -> Send:
    """Set our headers on an answer, in place of what it says of them."""
    ours = {**HEADERS, "content-security-policy": policy}

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (key, value)
                for key, value in message.get("headers", [])
                if key.lower().decode("latin-1") not in ours
            ]
            added = [(key.encode(), value.encode()) for key, value in ours.items()]
            message = {**message, "headers": [*kept, *added]}
        await send(message)

    return wrapped


async def _respond(
    send: Send, status: int, text: str, extra: Mapping[str, str] | None = None
) -> None:
    body = (text + "\n").encode()
    headers = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "content-security-policy": OUR_POLICY,
        **HEADERS,
        **(extra or {}),
    }
    raw = [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
