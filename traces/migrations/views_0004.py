"""The views that `0004_viewer` adds.

Sums and means are cast: PostgreSQL would answer with decimals where SQLite has plain numbers.
"""

VIEWS = {
    "v_trust": """
        SELECT known.agent, r.id AS release,
               CASE WHEN c.id IS NULL THEN 'cold'
                    WHEN c.withdrawn_at IS NOT NULL THEN 'suspended'
                    WHEN c.threshold IS NULL THEN 'cold'
                    ELSE 'certified' END AS trust,
               c.kind, c.max_error, c.delta, c.threshold, c.coverage, c.bound, c.n AS num_labels,
               c.label_source, c.labels_needed, r.promoted_at, c.created_at AS certified_at,
               c.withdrawn_at, c.withdrawn_reason
        FROM (SELECT agent FROM attempts UNION SELECT agent FROM releases) AS known
        LEFT JOIN releases AS r ON r.agent = known.agent AND r.status = 'active'
        LEFT JOIN certificates AS c ON c.id = (
            SELECT max(id) FROM certificates WHERE release_id = r.id
        )
    """,
    "v_sessions": """
        SELECT session_id, count(*) AS num_runs,
               min(started_at) AS started_at, max(started_at) AS last_run_at,
               CAST(sum(num_tasks) AS BIGINT) AS num_tasks,
               CAST(sum(num_escalations) AS BIGINT) AS num_escalations,
               CAST(sum(cost_microusd) AS BIGINT) AS cost_microusd,
               sum(CASE WHEN cost_microusd IS NULL THEN 1 ELSE 0 END) AS num_unpriced
        FROM runs WHERE session_id IS NOT NULL
        GROUP BY session_id
    """,
    "v_suite_history": """
        SELECT id AS suite_run_id, suite, label, arm, group_id, is_baseline, status, stop_reason,
               started_at, ended_at, num_total, num_passed, num_failed, num_error, num_skipped,
               CASE WHEN num_passed + num_failed + num_error > 0
                    THEN CAST(num_passed AS DOUBLE PRECISION)
                         / (num_passed + num_failed + num_error) END AS pass_rate,
               cost_microusd, git_sha, suite_hash, config_hash
        FROM suite_runs
    """,
}
