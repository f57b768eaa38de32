"""What is refused, and the headers of what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from journeyman.traces.viewer.options import Options, digest_of
from journeyman.traces.viewer.safety import Safety
from tests.traces.viewer.conftest import SITE, Site, run_id

TOKEN = "a-token-that-nobody-guesses"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.7", "",
     "localhost@evil.example", "localhost:x", "evil.example:8765", "[::2]", "0x7f000001x"],
)  # fmt: skip
@pytest.mark.parametrize("path", [SITE, "/", "/traces.json", "/-/versions"])
async def test_names_that_are_not_ours_are_refused(site: Site, host: str, path: str) -> None:
    answer = await site.datasette.client.get(path, headers={"host": host})
    assert answer.status_code == 403
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8765", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "LOCALHOST"]
)
async def test_loopback_is_ours(site: Site, host: str) -> None:
    answer = await site.datasette.client.get(SITE, headers={"host": host})
    assert answer.status_code == 200


async def test_beyond_loopback_addresses_and_named_hosts_are_ours(template: Path) -> None:
    site = Site(template, any_address=True, hosts=("traces.example",))
    for host, status in (("10.1.2.3:80", 200), ("traces.example", 200), ("evil.example", 403)):
        answer = await site.datasette.client.get(SITE, headers={"host": host})
        assert answer.status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost"},
    ],
)
async def test_a_write_that_another_origin_caused_is_refused(
    filled: Path, headers: dict[str, str]
) -> None:
    site = Site(filled, write=True)
    path = f"{SITE}/runs/{run_id(5)}/star"
    # No cookie: Datasette 0.65's own check lets these through.
    answer = await site.datasette.client.post(path, data={"star": "yes"}, headers=headers)
    assert answer.status_code == 403
    assert "No run is like this" in (await site.get("/runs?starred=yes")).text


async def test_a_write_of_the_same_origin_is_taken(filled: Path) -> None:
    site = Site(filled, write=True)
    given = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
    answer = await site.post(f"/runs/{run_id(5)}/star", {"star": "yes"}, **given)
    assert answer.status_code == 303


async def test_a_write_is_neither_endless_nor_huge(filled: Path) -> None:
    site = Site(filled, write=True)
    path = f"{SITE}/runs/{run_id(5)}/star"
    huge = await site.datasette.client.post(path, content=b"x" * (4 * 1024 * 1024 + 1))
    assert huge.status_code == 413

    async def endless() -> object:
        yield b"star=yes"

    assert (await site.datasette.client.post(path, content=endless())).status_code == 411


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_pages_are_for_reading(site: Site, method: str) -> None:
    answer = await site.datasette.client.request(
        method, f"{SITE}/runs", headers={"content-length": "0"}
    )
    assert answer.status_code in {403, 405}


@pytest.mark.parametrize("path", [SITE, f"{SITE}/runs", f"{SITE}/runs/ffff", "/", "/traces/runs"])
async def test_every_answer_forbids_framing_and_guessing(site: Site, path: str) -> None:
    headers = (await site.datasette.client.get(path)).headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers.get_list("content-security-policy").__len__() == 1


async def test_our_pages_have_no_inline_script_or_style(site: Site) -> None:
    answer = await site.get(f"/runs/{run_id(7)}")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    assert answer.text.count("<script") == answer.text.count("<script src=") == 1


async def test_without_the_token_nothing_is_shown(template: Path) -> None:
    site = Site(template, token_sha256=digest_of(TOKEN), any_address=True)
    for path in (SITE, "/", "/traces/runs.json", f"{SITE}/static/viewer.css", f"{SITE}?token=x"):
        answer = await site.datasette.client.get(path)
        assert answer.status_code == 401
        assert "parcels" not in answer.text


async def test_the_token_goes_from_the_address_into_a_cookie(template: Path) -> None:
    site = Site(template, token_sha256=digest_of(TOKEN), any_address=True)
    answer = await site.get(f"/runs?agent=x&token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{SITE}/runs?agent=x")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    for headers in ({"cookie": cookie.partition(";")[0]}, {"authorization": f"Bearer {TOKEN}"}):
        assert (await site.get("/runs", headers=headers)).status_code == 200


@pytest.mark.parametrize("path", [b"//evil.example/", b"/\\evil.example/", b"/\\/evil.example/"])
async def test_the_token_leads_to_no_other_server(template: Path, path: bytes) -> None:
    site = Site(template, token_sha256=digest_of(TOKEN))
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path.decode(),
        "raw_path": path,
        "query_string": f"token={TOKEN}".encode(),
        "headers": [(b"host", b"localhost")],
    }
    await Safety(site.datasette.app(), site.datasette)(scope, send, send)
    assert dict(sent[0]["headers"])[b"location"] == b"/evil.example/"


async def test_the_configuration_that_datasette_shows_holds_no_token(template: Path) -> None:
    site = Site(template, token_sha256=digest_of(TOKEN))
    shown = ""
    for path in ("/-/metadata.json", "/-/config.json"):  # of the 0.65 line, and of the 1.0 line
        answer = await site.datasette.client.get(path, headers={"authorization": f"Bearer {TOKEN}"})
        shown += answer.text if answer.status_code == 200 else ""
    assert '"journeyman"' in shown
    assert TOKEN not in shown


async def test_arbitrary_sql_can_be_turned_off(template: Path) -> None:
    for allowed, status in ((True, 200), (False, 403)):
        site = Site(template, allow_sql=allowed)
        answer = await site.datasette.client.get("/traces.json?sql=select+1", follow_redirects=True)
        assert answer.status_code == status


def test_options_survive_the_configuration() -> None:
    options = Options(write=True, hosts=("a", "b"), any_address=True, note="n")

    class Configured:
        def plugin_config(self, name: str) -> dict[str, object]:
            return options.as_config()

    assert Options.of(Configured()) == options
