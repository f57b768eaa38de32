"""The queue of escalations, one of them, and the verdict that a person gives on it."""

from __future__ import annotations

import getpass
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, unquote

from datasette import Response

from journeyman.models.errors import AlreadyReviewed, ConfigError, NotOnRecord, TraceError
from journeyman.traces import reviews
from journeyman.traces.reviews import Case, Reviewed
from journeyman.traces.store import Store
from journeyman.traces.viewer.answers import Forms, forms_of, hold, parse
from journeyman.traces.viewer.queries import escalations as queries
from journeyman.traces.viewer.visit import Shown, Visit

FACETS = {
    "status": "review",
    "agreement": "student agrees",
    "agent": "sub-agent",
    "reason": "reason",
    "label": "label from",
    "frontier": "frontier",
}
"""Filters, all of them offered with counts, and what they are called."""

COOKIE = "journeyman_reviewer"

_YEAR_SECONDS = 365 * 86_400


async def escalations(visit: Visit) -> Shown:
    """The queue of a filter: what waits first, and of that what is disagreed about."""
    query = visit.query
    asked = queries.Filter.of(query)

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        return {
            "listing": queries.listing(
                connection, asked, after=query.get("after"), before=query.get("before")
            ),
            "facets": queries.facets(connection, asked),
        }

    facts = await visit.read(read)
    facts |= {"asked": asked, "facet_names": FACETS, "done": query.get("done", "")}
    return Shown("escalations.html", "Escalations", facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A verdict as it was typed.

    Attributes:
        verdict: `approved`, `student`, `edited` or `rejected`.
        by: Who gives it.
        answer: What stood in the field for an edited answer; None where nothing was typed.
        note: Why.
        seen_status, seen_at: The verdict that stood when the page was made.
        again: That one is to be replaced.
    """

    verdict: str = ""
    by: str = ""
    answer: str | None = None
    note: str = ""
    seen_status: str = "pending"
    seen_at: str = ""
    again: bool = False

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Given:
        """What a submitted form says."""
        return cls(
            verdict=form.get("verdict", ""),
            by=form.get("by", "").strip()[:200],
            answer=form.get("answer"),
            note=form.get("note", "").strip(),
            seen_status=form.get("seen_status", "pending"),
            seen_at=form.get("seen_at", ""),
            again=form.get("again") == "yes",
        )


async def escalation(visit: Visit) -> Any:
    """One escalation by its id; the start of an id leads to it."""
    wanted = visit.part("escalation")
    asked = queries.Filter.of(visit.query)
    facts = await _facts(visit, wanted, asked)
    if "row" not in facts:
        if len(facts["others"]) == 1:
            return Response.redirect(visit.url("/escalations", facts["others"][0], **asked.said))
        raise NotOnRecord(f"No escalation, or more than one, has an id that starts {wanted!r}.")
    return _shown(visit, facts, asked, Given(by=_reviewer(visit)))


async def review(visit: Visit) -> Any:
    """Keep a verdict and go on to what comes next; where that fails, keep what was typed."""
    wanted = visit.part("escalation")
    asked = queries.Filter.of(visit.query)
    given = Given.of(await visit.form())
    facts = await _facts(visit, wanted, asked)
    if "row" not in facts:
        raise NotOnRecord(f"No escalation {wanted!r} is on record.")
    # Before it moves behind what still waits.
    following = facts["after"]
    forms = forms_of(visit.datasette)
    try:
        done = await visit.with_store(lambda store: keep(store, wanted, given, forms), write=True)
    except AlreadyReviewed as error:
        facts = await _facts(visit, wanted, asked)
        return _shown(visit, facts, asked, given, status=409, problem=str(error))
    except (ConfigError, TraceError) as error:
        return _shown(visit, facts, asked, given, status=400, problem=str(error))
    query = {**asked.said, "done": wanted, "masked": "yes" if done.is_masked else None}
    target = ("/escalations", following) if following else ("/escalations",)
    response = Response.redirect(visit.url(*target, **query), status=303)
    response.set_cookie(
        COOKIE, quote(given.by), max_age=_YEAR_SECONDS, httponly=True, samesite="strict"
    )
    return response


def keep(store: Store, wanted: str, given: Given, forms: Forms | None) -> Reviewed:
    """Keep a verdict, where the record still is what the reviewer saw.

    Raises:
        AlreadyReviewed: Somebody gave a verdict in the meantime, or the one that stands is not to
            be replaced.
        ConfigError: The answer does not have its form, or the verdict makes no sense.
        TraceError: The store cannot be written, or does not know the escalation.
    """
    case = reviews.find_case(store, wanted)
    seen = _as_seen(case, given)
    kept: dict[str, Any] = {"by": given.by, "note": given.note or None, "again": given.again}
    if given.verdict == "student":
        if case.student_output is None:
            raise ConfigError("The student gave no answer that could be right: edit one instead.")
        return reviews.review(
            store, seen, "edited", answer=case.student_output, agrees=True, **kept
        )
    if given.verdict == "edited":
        held = hold(store, case, parse(given.answer or ""), forms)
        return reviews.review(store, seen, "edited", answer=held.answer, agrees=held.agrees, **kept)
    if given.verdict not in {"approved", "rejected"}:
        raise ConfigError("No verdict was given: approve, edit or reject.")
    verdict: reviews.Verdict = "approved" if given.verdict == "approved" else "rejected"
    return reviews.review(store, seen, verdict, **kept)


def _as_seen(case: Case, given: Given) -> Case:
    """The case with the verdict that stood on the reviewer's page, whatever stands now."""
    at = None
    if given.seen_status != "pending":
        try:
            at = datetime.fromisoformat(given.seen_at)
        except ValueError as error:
            raise ConfigError("The page does not say what it showed: load it again.") from error
    status: Any = given.seen_status
    seen = replace(case.escalation, review_status=status)
    # Who gave the verdict that was seen, as far as it still stands.
    return replace(case, escalation=seen, reviewed_at=at)


async def _facts(visit: Visit, wanted: str, asked: queries.Filter) -> dict[str, Any]:
    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        row = queries.find(connection, wanted)
        if row is None:
            return {"others": queries.starting_with(connection, wanted)}
        before, after = queries.neighbours(connection, asked, row)
        return {
            "row": row,
            "side": queries.side_of(connection, row),
            "before": before,
            "after": after,
        }

    return await visit.read(read)


def _shown(
    visit: Visit,
    facts: dict[str, Any],
    asked: queries.Filter,
    given: Given,
    *,
    status: int = 200,
    problem: str = "",
) -> Shown:
    facts |= {
        "asked": asked,
        "given": given,
        "problem": problem,
        "is_race": status == 409,
        "done": visit.query.get("done", ""),
        "masked": visit.query.get("masked", ""),
    }
    title = f"Escalation {facts['row']['id'][:8]}"
    return Shown("escalation.html", title, facts, status)


def _reviewer(visit: Visit) -> str:
    """Who reviewed last in this browser; on one's own machine whoever is logged in."""
    header = visit.request.headers.get("cookie", "")
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        found = None
    if found is not None and found.value:
        return unquote(found.value, errors="replace")[:200]
    if visit.options.any_address or visit.options.hosts:
        return ""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""
