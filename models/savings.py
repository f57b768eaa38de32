"""What keeping traffic with the student saves: the identity behind every cost that is told.

Knows prices and rates alone. Money is micro-USD; a price that is not known stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a task costs.

    Attributes:
        audit_rate: Share of the traffic in [0, 1] shown to the frontier whatever the gate says.
        frontier_microusd: Of one frontier answer; None where it is unknown.
        student_microusd: Of one student answer, at least 0; 0 for one in process.
        teaching_microusd: Spend on teaching and labelling, spread over the tasks it serves.
    """

    audit_rate: float = 0.05
    frontier_microusd: float | None = None
    student_microusd: float = 0.0
    teaching_microusd: float = 0.0

    def escalation_rate(self, coverage: float) -> float:
        """Share of the traffic that goes to the frontier; without coverage all of it does."""
        return 1 - coverage * (1 - self.audit_rate)

    def saving(self, coverage: float) -> float | None:
        """Share of the frontier-only cost that is saved.

        coverage (1 - audit_rate) - student / frontier - teaching / frontier: coverage, not the
        ratio of prices, is the ceiling. None where a ratio is needed and has no known frontier
        price, or the frontier is free.
        """
        kept = 1 - self.escalation_rate(coverage)
        own = self.student_microusd + self.teaching_microusd
        if self.frontier_microusd == 0 or (own and self.frontier_microusd is None):
            return None
        return kept - own / self.frontier_microusd if self.frontier_microusd else kept

    def microusd_per_task(self, coverage: float) -> float | None:
        """Expected cost of one task; None where the frontier's price is unknown."""
        if self.frontier_microusd is None:
            return None
        own = self.student_microusd + self.teaching_microusd
        return self.escalation_rate(coverage) * self.frontier_microusd + own
