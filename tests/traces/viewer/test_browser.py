"""Every page in a real browser, over a store that real runs, reviews and rounds have filled.

Chromium through Playwright, against `journeyman view` as a user starts it. Wherever a page wrote
to the console, asked for anything beyond this machine, or an answer was an error, the test fails.
axe looks at each page, light and dark, wide and narrow; what each looked like is left in
`build/screenshots`. `make browser` fetches what is needed; without it these tests are skipped, or
fail where JOURNEYMAN_REQUIRE_BROWSER is set.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.state import Task
from journeyman.traces.recorder import Recorder
from journeyman.traces.store import Store
from journeyman.traces.viewer.routes import PAGES
from journeyman.traces.viewer.visit import ROOT, Page
from tests.graph.apprentice import Desk, Knowing, notes
from tests.traces.viewer.learned import learn

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Route
    from playwright.sync_api import Page as Tab

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]
AXE = REPOSITORY / "build" / "axe.min.js"
SHOTS = REPOSITORY / "build" / "screenshots"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOOKS = [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)]
SECONDS = 1_000  # Playwright counts milliseconds

_PART = re.compile(r"\(\?P<(\w+)>.*?\)(?=/|$)")


def _lacking() -> str:
    if next(filter(None, map(shutil.which, CHROMIUM)), None) is None:
        return "Chromium is not installed: run `make browser`."
    return "" if AXE.exists() else f"{AXE} is missing: run `make browser`."


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A starter project whose suite ran twice, and whose store the learning loop has filled."""
    lacking = _lacking()
    if lacking and os.environ.get("JOURNEYMAN_REQUIRE_BROWSER"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("project")
    for command in (["init"], ["run"], ["run"]):
        subprocess.run(
            [sys.executable, "-m", "journeyman", *command],
            cwd=folder, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    path = folder / ".journeyman" / "traces.db"
    learn(path, folder / "data")
    asyncio.run(_converse(path))
    return folder


async def _converse(path: Path) -> None:
    """Two runs of one session."""
    given = dict(notes(2, seed=9))
    with Store.open(path) as store, Recorder(store) as recorder:
        graph = create_orchestrator([Desk()], Knowing(given), store=recorder)
        config: Any = {"configurable": {"thread_id": "a conversation"}}
        for text in given:
            await graph.ainvoke({"tasks": [Task(agent="desk", input={"text": text})]}, config)


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    """Where `journeyman view --write` shows it."""
    command = [sys.executable, "-m", "journeyman", "view", "--write", "--no-open", "--port", "0"]
    with subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
            server.communicate(timeout=30)


@pytest.fixture(scope="module")
def browser(project: Path) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, CHROMIUM)))
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        opened.close()


class Visitor:
    """A tab, and what went wrong in it."""

    def __init__(self, browser: Browser, address: str, **look: Any) -> None:
        parts = urlsplit(address)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.faults: list[str] = []
        self.context: BrowserContext = browser.new_context(**look)
        self.context.set_default_timeout(60 * SECONDS)
        self.context.route("**/*", self._only_here)
        self.tab: Tab = self.context.new_page()
        self.tab.on("console", self._said)
        self.tab.on("pageerror", lambda error: self.faults.append(f"{self.tab.url}: {error}"))
        self.tab.on(
            "response",
            lambda answer: (
                self.faults.append(f"{answer.url}: {answer.status}")
                if answer.status >= 400
                else None
            ),
        )

    def _only_here(self, route: Route) -> None:
        asked = route.request.url
        if asked.startswith((self.origin + "/", "data:")):
            route.continue_()
        else:
            self.faults.append(f"{self.tab.url} asked for {asked}")
            route.abort()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"{self.tab.url} said {message.text}")

    def open(self, path: str) -> Tab:
        """Go to a page of the viewer; `path` is what follows its root."""
        self.tab.goto(f"{self.origin}{ROOT}{path}")
        return self.tab

    @property
    def path(self) -> str:
        """Where the tab is, after the viewer's root."""
        return urlsplit(self.tab.url).path.removeprefix(ROOT)


@pytest.fixture
def visitor(browser: Browser, address: str) -> Iterator[Visitor]:
    """A tab that must not have come upon any fault."""
    opened = Visitor(browser, address, viewport={"width": 1280, "height": 900})
    yield opened
    opened.context.close()
    assert opened.faults == []


def page_of(path: str) -> Page | None:
    """Which of the pages for reading an address belongs to."""
    plain = path.partition("?")[0].partition("#")[0]
    fitting = (page for page in PAGES if re.fullmatch(page.path + "/?", plain))
    found = next(fitting, None)
    return found if found is not None and _is_read(found) else None


def _is_read(page: Page) -> bool:
    return not page.writes and not page.path.startswith("/static/")


def name_of(page: Page) -> str:
    return _PART.sub(r"\1", page.path).strip("/").replace("/", "-") or "start"


@pytest.fixture(scope="module")
def pages(browser: Browser, address: str) -> dict[str, str]:
    """An address for each kind of page, found by following links from the first one."""
    visitor = Visitor(browser, address)
    found = {"start": ""}
    ahead = [""]
    while ahead:
        path = ahead.pop(0)
        if path.partition("?")[0].endswith("/raw"):
            continue
        links = visitor.open(path).eval_on_selector_all(
            "a[href]", "all => all.map(a => a.getAttribute('href'))"
        )
        for link in links:
            if not str(link).startswith(ROOT):
                continue
            target = str(link).removeprefix(ROOT)
            page = page_of(target)
            if page is not None and name_of(page) not in found:
                found[name_of(page)] = target
                ahead.append(target)
    visitor.context.close()
    assert visitor.faults == []
    return found


def test_links_lead_from_the_first_page_to_every_other(pages: dict[str, str]) -> None:
    assert set(pages) == {name_of(page) for page in PAGES if _is_read(page)}


def test_the_navigation_leads_to_each_page_that_it_names(visitor: Visitor) -> None:
    tab = visitor.open("")
    for page in (page for page in PAGES if page.label):
        tab.get_by_role("navigation", name="Pages").get_by_role("link", name=page.label).click()
        assert visitor.path == page.path
        here = tab.locator("nav [aria-current=page]")
        assert here.inner_text() == page.label


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_axe_finds_nothing_serious_and_nothing_runs_off_the_page(
    scheme: str, width: int, browser: Browser, address: str, pages: dict[str, str]
) -> None:
    visitor = Visitor(
        browser,
        address,
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        bypass_csp=True,  # for axe alone: the other tests hold the pages to their policy
    )
    SHOTS.mkdir(parents=True, exist_ok=True)
    source = AXE.read_text(encoding="utf-8")
    found: list[str] = []
    for name, path in pages.items():
        if name.endswith("raw"):
            continue
        tab = visitor.open(path)
        tab.screenshot(path=SHOTS / f"{name}-{scheme}-{width}.png", full_page=True)
        if tab.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            found.append(f"{name}: wider than {width} px")
        tab.evaluate(source)
        result: dict[str, Any] = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for fault in result["violations"]:
            if fault["impact"] in {"serious", "critical"}:
                where = [str(node["target"]) for node in fault["nodes"][:5]]
                found.append(f"{name} ({path}): {fault['id']}: {', '.join(where)}")
    visitor.context.close()
    assert not found, "\n".join(found)
    assert visitor.faults == []


def test_a_filter_narrows_the_list_and_holds_from_run_to_run(visitor: Visitor) -> None:
    tab = visitor.open("/runs")
    tab.get_by_label("Answered by").select_option("student")
    tab.get_by_role("button", name="Filter").click()
    assert "source=student" in tab.url
    tab.locator("tbody a.open").first.click()
    tab.wait_for_url("**/runs/*")
    assert "source=student" in tab.url
    first = visitor.path
    tab.keyboard.press("n")
    tab.wait_for_url(lambda url: urlsplit(url).path != ROOT + first)
    assert "source=student" in tab.url
    tab.keyboard.press("p")
    tab.wait_for_url(lambda url: urlsplit(url).path == ROOT + first)


def test_what_was_asked_is_found_by_its_words(visitor: Visitor) -> None:
    tab = visitor.open("/runs")
    words = tab.locator("tbody a.open").first.inner_text().split()
    word = max((w.strip(".,:;!?'\"") for w in words), key=len)
    tab.keyboard.press("/")
    tab.keyboard.type(word)
    tab.keyboard.press("Enter")
    tab.wait_for_url("**q=*")
    assert tab.locator("tbody [data-row]").count() >= 1


def test_an_escalation_is_reviewed_with_the_keyboard_alone(visitor: Visitor, project: Path) -> None:
    tab = visitor.open("/escalations?agent=triage&status=pending")
    tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/escalations/*")
    reviewed = visitor.path.rpartition("/")[2]
    tab.get_by_label("Who you are").fill("Ada")
    tab.keyboard.press("Escape")
    tab.keyboard.press("a")
    tab.get_by_role("status").wait_for()
    assert "Kept" in tab.get_by_role("status").inner_text()
    assert verdict(project, reviewed) == ("approved", "Ada")


def test_an_answer_of_one_s_own_is_kept_and_a_wrong_one_is_not(
    visitor: Visitor, project: Path
) -> None:
    tab = visitor.open("/escalations?agent=triage&status=pending")
    tab.locator("a.open").first.click()
    tab.wait_for_url("**/escalations/*")
    reviewed = visitor.path.rpartition("/")[2]
    tab.get_by_label("Who you are").fill("Ada")
    tab.keyboard.press("Escape")
    tab.keyboard.press("e")
    box = tab.get_by_label("The right answer, as JSON")
    right = box.input_value()
    box.fill("{")
    visitor_faults = len(visitor.faults)
    tab.get_by_role("button", name="Keep this answer").click()
    tab.get_by_role("alert").wait_for()
    del visitor.faults[visitor_faults:]  # the answer to a form that cannot be kept is a 4xx
    assert verdict(project, reviewed) == ("pending", None)
    tab.get_by_label("The right answer, as JSON").fill(right)
    tab.get_by_role("button", name="Keep this answer").click()
    tab.get_by_role("status").wait_for()
    assert verdict(project, reviewed) == ("edited", "Ada")


def verdict(project: Path, escalation: str) -> tuple[str, str | None]:
    with sqlite3.connect(project / ".journeyman" / "traces.db") as connection:
        query = "SELECT review_status, reviewer FROM escalations WHERE id = ?"
        [(status, by)] = connection.execute(query, [escalation]).fetchall()
    return status, by


def test_a_run_is_starred_and_found_among_the_starred(visitor: Visitor) -> None:
    tab = visitor.open("/runs")
    asked = tab.locator("tbody a.open").first.inner_text()
    tab.locator("tbody form button").first.click()
    tab.get_by_label("starred").check()
    tab.get_by_role("button", name="Filter").click()
    assert tab.locator("tbody a.open").all_inner_texts() == [asked]


def test_what_if_is_redrawn_by_the_slider(visitor: Visitor) -> None:
    tab = visitor.open("/agents/desk")
    slider = tab.locator("input[type=range]")
    slider.focus()
    slider.press("End")
    tab.wait_for_url("**max_error=0.3*")
    easy = tab.locator("#whatif .figures dd").first.inner_text()
    tab.get_by_label("Acceptable error").fill("0.001")
    tab.get_by_role("button", name="What if?").click()
    tab.wait_for_url("**max_error=0.001*")
    assert tab.locator("#whatif .figures dd").first.inner_text() != easy
    assert tab.locator("table.targets tbody tr").count() > 1


def test_two_runs_of_a_suite_are_compared(visitor: Visitor) -> None:
    tab = visitor.open("/suites")
    tab.get_by_role("link", name="with the one before").first.click()
    assert visitor.path == "/suites/compare"
    assert tab.locator("tbody tr").count() >= 1


def test_datasette_below_opens_without_a_fault(visitor: Visitor) -> None:
    tab = visitor.open("")
    tab.get_by_role("link", name="Tables & SQL").click()
    tab.goto(f"{tab.url.rstrip('/')}/runs?_facet=status")
    assert tab.locator("table.rows-and-columns tbody tr").count() > 1
