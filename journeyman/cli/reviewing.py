"""Reviews from the command line: answers held to their form, and the queue gone through by keys."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from journeyman.cli.cases import render_case
from journeyman.cli.console import say, talk
from journeyman.cli.terminal import edit, key
from journeyman.models.errors import AlreadyReviewed, ConfigError, JourneymanError

if TYPE_CHECKING:
    from journeyman.scenarios.answer_forms import AnswerForm
    from journeyman.scenarios.suite import Suite
    from journeyman.traces.reviews import Case, Reviewed, Verdict
    from journeyman.traces.store import Store

_KEYS = "[a]pprove  take the [s]tudent's  [e]dit  [r]eject  s[k]ip  [q]uit "


class Answers:
    """Keeps verdicts, with answers in the form that the sub-agent gives them.

    Args:
        suite: Suite that says what answers look like; None takes the one that a task came from.
    """

    def __init__(self, suite: str | None = None) -> None:
        self._suite = suite
        self._forms: dict[tuple[str, str | None], AnswerForm | None] = {}

    def keep(
        self,
        store: Store,
        case: Case,
        verdict: Verdict,
        *,
        by: str,
        answer: Any = None,
        note: str | None = None,
        again: bool = False,
    ) -> Reviewed:
        """Keep a verdict; says on stderr what the reviewer should know of it.

        Raises:
            ConfigError: The answer does not have the sub-agent's form.
            AlreadyReviewed: There is a verdict that is not to be replaced.
            TraceError: The verdict makes no sense here, or the store cannot be written.
        """
        from journeyman.traces.reviews import review

        agrees = None
        if answer is not None:
            form = self.form(case)
            answer = _checked(form, answer, case)
            agrees = form.agrees(case.student_output, answer) if form is not None else None
        done = review(
            store, case, verdict, by=by, answer=answer, agrees=agrees, note=note, again=again
        )
        if done.is_masked:
            talk("Something in the answer looked like a secret and was hidden: it will not teach.")
        return done

    def keep_students(
        self, store: Store, case: Case, *, by: str, note: str | None = None, again: bool = False
    ) -> Reviewed:
        """Keep the student's own answer, as it is, for the right one.

        Raises:
            ConfigError: The student gave none.
            AlreadyReviewed: There is a verdict that is not to be replaced.
            TraceError: The store cannot be written.
        """
        from journeyman.traces.reviews import review

        if case.student_output is None:
            raise ConfigError(
                f"The student gave no answer to escalation {case.id!r}: give one with --edit."
            )
        return review(
            store,
            case,
            "edited",
            by=by,
            answer=case.student_output,
            agrees=True,
            note=note,
            again=again,
        )

    def form(self, case: Case) -> AnswerForm | None:
        """What answers of the case's sub-agent look like; None where nobody knows."""
        place = (case.escalation.agent, self._suite or case.suite)
        if place not in self._forms:
            self._forms[place] = self._find_form(*place)
        form = self._forms[place]
        recorded = (case.escalation.frontier_output, case.student_output)
        known = [answer for answer in recorded if answer is not None]
        # A sub-agent of the user's own may bear the name of one of ours.
        return form if form is None or all(form.fits(answer) for answer in known) else None

    def _find_form(self, agent: str, suite: str | None) -> AnswerForm | None:
        from journeyman.scenarios.answer_forms import answer_form

        return answer_form(agent, None if suite is None else self._load(suite))

    def _load(self, name: str) -> Suite | None:
        from journeyman.scenarios.paths import find_suite
        from journeyman.scenarios.suite import load_suite

        try:
            return load_suite(find_suite(name))
        except ConfigError:
            if self._suite is not None:
                raise
            # The record keeps a suite's name, which is no path.
            talk(f"Suite {name!r} is not found here, so answers are held to their type alone;")
            talk("--suite names its file.")
            return None


class Session:
    """One person going through escalations, key by key.

    Args:
        store: Open for writing.
        answers: Keeps the verdicts.
        by: Who the person is.
        again: Verdicts that stand may be replaced.
    """

    def __init__(self, store: Store, answers: Answers, *, by: str, again: bool = False) -> None:
        self._store = store
        self._answers = answers
        self._by = by
        self._again = again
        self._done: Counter[str] = Counter()

    def go_through(self, escalations: Iterable[str]) -> None:
        """Show each escalation and keep what is said of it, until the end or `q`."""
        from journeyman.traces.reviews import find_case

        waiting = list(escalations)
        for number, escalation in enumerate(waiting, start=1):
            case = find_case(self._store, escalation)
            if case.status != "pending" and not self._again:
                talk(f"{case.id[:18]} was {case.status} by {case.reviewer}; --again replaces that.")
                continue
            say(f"--- {number} of {len(waiting)} " + "-" * 50)
            say(render_case(case))
            if not self._ask(case):
                return

    def summary(self) -> str:
        """What was done, in one line."""
        told = ", ".join(f"{number} {verdict}" for verdict, number in self._done.items())
        return f"Reviewed by {self._by}: {told or 'nothing'}."

    def _ask(self, case: Case) -> bool:
        """Ask until there is an answer; False to stop."""
        draft: str | None = None
        while True:
            talk(_KEYS)
            pressed = key()
            if pressed == "q":
                return False
            if pressed == "k":
                return True
            try:
                if pressed == "e":
                    edited = self._edited(case, draft)
                    if edited is None:
                        continue
                    draft = edited  # where it does not fit, the next e goes on from here
                    self._keep(case, "edited", _parsed(edited))
                elif pressed == "a":
                    self._keep(case, "approved")
                elif pressed == "r":
                    self._keep(case, "rejected")
                elif pressed == "s":
                    self._told(
                        self._answers.keep_students(
                            self._store, case, by=self._by, again=self._again
                        )
                    )
                else:
                    continue
            except AlreadyReviewed as error:
                talk(str(error))
            except JourneymanError as error:
                talk(str(error))
                continue
            return True

    def _edited(self, case: Case, draft: str | None) -> str | None:
        start = case.escalation.frontier_output
        if start is None:
            start = case.student_output if case.student_output is not None else {}
        given = json.dumps(start, ensure_ascii=False, indent=2) + "\n"
        edited = edit(draft or given)
        if edited is None:
            talk("Nothing was changed, and nothing kept.")
        return edited

    def _keep(self, case: Case, verdict: Verdict, answer: Any = None) -> None:
        self._told(
            self._answers.keep(
                self._store, case, verdict, by=self._by, answer=answer, again=self._again
            )
        )

    def _told(self, done: Reviewed) -> None:
        self._done[done.case.status] += 1
        talk(done.case.status)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"That is not JSON ({error}): e goes on where you were.") from error


def _checked(form: AnswerForm | None, answer: Any, case: Case) -> Any:
    """The answer as the sub-agent would give it; any object where its form is not known."""
    if form is not None:
        return form.read(answer, beside=case.escalation.frontier_output)
    if not isinstance(answer, dict):
        raise ConfigError(
            f"The answer is no JSON object but {type(answer).__name__}: answers of "
            f"{case.escalation.agent!r} are objects."
        )
    return answer
