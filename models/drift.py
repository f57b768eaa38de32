"""The drift alarm: a Shiryaev-Roberts e-detector over audited answers.

As long as the error rate stays within the target, the mean number of audits to an alarm is at least
the alarm level, whatever the stream does; it bounds how often alarms are false, not whether one
ever is. It knows audits in their order and nothing else: who draws them, and what is done on an
alarm, is decided elsewhere.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from journeyman.models.types import RiskKind

ALARM_LEVEL = 2000.0
_WORSE_BY = (1.6, 2.4, 4.0)
_HIGHEST_RATE = 0.95
_CEILING = 1e300  # keeps a detector that nobody resets finite, hence storable as JSON


class DriftDetector(BaseModel):
    """Three detectors for a small, a middling and a large rise of the error rate; their mean rules.

    Every field is state: dump it as JSON and validate it again to go on after a restart.

    Attributes:
        max_error: Error rate that is still all right, in (0, 0.95).
        alarm_level: Mean number of audits to a false alarm, at least 1.
        statistics: One number for each detector.
        num_audits: Audits seen since the last reset.
        num_wrong: Wrong answers among them.
        alarm_at: Zero-based position of the audit that raised the alarm; None while there is none.
    """

    model_config = ConfigDict(extra="forbid")

    max_error: float = Field(gt=0, lt=_HIGHEST_RATE)
    alarm_level: float = Field(default=ALARM_LEVEL, ge=1, allow_inf_nan=False)
    statistics: tuple[float, ...] = (0.0,) * len(_WORSE_BY)
    num_audits: int = Field(default=0, ge=0)
    num_wrong: int = Field(default=0, ge=0)
    alarm_at: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _state_fits(self) -> Self:
        if len(self.statistics) != len(_WORSE_BY) or min(self.statistics) < 0:
            raise ValueError(f"a drift detector needs {len(_WORSE_BY)} statistics, none below 0")
        return self

    @property
    def level(self) -> float:
        """Mean of the three; the alarm goes off at `alarm_level`."""
        return sum(self.statistics) / len(self.statistics)

    @property
    def is_alarmed(self) -> bool:
        """The alarm went off and has not been reset."""
        return self.alarm_at is not None

    def update(self, wrong: bool) -> bool:
        """Take one audit into account.

        Args:
            wrong: The label source disagrees with the answer.

        Returns:
            True from the audit that raises the alarm until `reset`.
        """
        rates = [min(factor * self.max_error, _HIGHEST_RATE) for factor in _WORSE_BY]
        self.statistics = tuple(
            min((1 + statistic) * self._likelihood_ratio(rate, wrong), _CEILING)
            for statistic, rate in zip(self.statistics, rates, strict=True)
        )
        if self.alarm_at is None and self.level >= self.alarm_level:
            self.alarm_at = self.num_audits
        self.num_audits += 1
        self.num_wrong += wrong
        return self.is_alarmed

    def reset(self) -> None:
        """Begin anew, for a new certificate."""
        self.statistics = (0.0,) * len(_WORSE_BY)
        self.num_audits = self.num_wrong = 0
        self.alarm_at = None

    def _likelihood_ratio(self, rate: float, wrong: bool) -> float:
        return rate / self.max_error if wrong else (1 - rate) / (1 - self.max_error)


def audit_outcome(kind: RiskKind, *, accepted: bool, wrong: bool) -> bool | None:
    """What one audit says about the risk that was certified: the detector's next `wrong`.

    A selective certificate speaks of accepted answers alone. A joint one speaks of all traffic, and
    the share of wrong answers among the accepted may well exceed its target; so every audit counts,
    and those that the gate would have escalated count as right.

    Args:
        kind: Of the certificate.
        accepted: The gate would have accepted the student's answer.
        wrong: The label source disagrees with it.

    Returns:
        The outcome; None where this audit has nothing to say.
    """
    if kind == "joint":
        return accepted and wrong
    return wrong if accepted else None
