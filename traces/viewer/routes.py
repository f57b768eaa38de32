"""The table of pages."""

from __future__ import annotations

from journeyman.traces.viewer.answering import View, nowhere, view_of
from journeyman.traces.viewer.pages import (
    agents,
    escalations,
    overview,
    payloads,
    releases,
    rounds,
    run,
    runs,
    sessions,
    stars,
    static,
    suites,
)
from journeyman.traces.viewer.visit import ROOT, Page

PAGES: tuple[Page, ...] = (
    Page(path="", answer=overview.overview, label="Overview"),
    Page(path="/runs", answer=runs.runs, label="Runs"),
    Page(path="/runs/(?P<run>[^/]+)", answer=run.run),
    Page(path="/runs/(?P<run>[^/]+)/star", answer=stars.star, writes=True),
    Page(path="/sessions", answer=sessions.sessions, label="Sessions"),
    Page(path="/sessions/(?P<session>[^/]+)", answer=sessions.session),
    Page(path="/escalations", answer=escalations.escalations, label="Escalations"),
    Page(path="/escalations/(?P<escalation>[^/]+)", answer=escalations.escalation),
    Page(path="/escalations/(?P<escalation>[^/]+)/review", answer=escalations.review, writes=True),
    Page(path="/agents", answer=agents.agents, label="Sub-agents"),
    Page(path="/agents/(?P<agent>[^/]+)", answer=agents.agent),
    Page(path="/suites", answer=suites.suites, label="Suites"),
    Page(path="/suites/compare", answer=suites.compare),
    Page(path="/suites/(?P<run>[^/]+)", answer=suites.suite),
    Page(path="/rounds", answer=rounds.rounds, label="Rounds"),
    Page(path="/rounds/(?P<round>[^/]+)", answer=rounds.round_),
    Page(path="/releases", answer=releases.releases, label="Releases"),
    Page(path="/releases/(?P<release>[^/]+)", answer=releases.release),
    Page(path="/payloads/(?P<hash>[^/]+)", answer=payloads.payload),
    Page(path="/payloads/(?P<hash>[^/]+)/raw", answer=payloads.raw),
    Page(path="/static/(?P<name>[a-z]+[.](css|js))", answer=static.static),
)
"""Every page. One with a label stands in the navigation, in this order."""

NOWHERE = Page(path="/.*", answer=nowhere)


def routes() -> list[tuple[str, View]]:
    """What Datasette is to serve: patterns and views, the first that fits counts."""
    return [(f"{ROOT}{page.path}/?$", view_of(page, PAGES)) for page in (*PAGES, NOWHERE)]
