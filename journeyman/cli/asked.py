"""What `journeyman run` was asked, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of one command; `journeyman run --help` says what each means."""

    suites: tuple[str, ...] = ()
    keyword: str | None = None
    tags: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    limit: int | None = None
    shard: str | None = None
    parts: tuple[str, ...] | None = None
    seed: int = 0
    jobs: int = 8
    epochs: int | None = None
    timeout_s: float | None = None
    arms: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    reference: bool | None = None
    error_rate: float = 0.0
    latency_ms: float = 0.0
    trust_uncertified: bool = False
    cache: bool = False
    max_cost_usd: float | None = None
    max_time_s: float | None = None
    max_errors: str | None = None
    fail_fast: bool = False
    resume: str | None = None
    retry_errors: str | None = None
    baseline: str | None = None
    tolerances: tuple[str, ...] = ()
    min_pass_rate: float | None = None
    reports: tuple[str, ...] = ()
    label: str | None = None
    dry_run: bool = False
    store: str | None = None
    json: bool = False
    argv: tuple[str, ...] = ()
