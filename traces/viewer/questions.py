"""Questions about traces that come with names, for Datasette's SQL pages."""

QUESTIONS = {
    "escalated_most": (
        "Which tasks are escalated again and again",
        """SELECT agent, substr(input.content, 1, 200) AS task, count(*) AS times,
            max(created) AS last_time
        FROM (SELECT agent, input_hash, created_at AS created FROM attempts
            WHERE decision = 'escalate') AS a
        JOIN payloads AS input ON input.hash = a.input_hash
        GROUP BY agent, input_hash HAVING count(*) > 1 ORDER BY times DESC LIMIT 100""",
    ),
    "surely_wrong": (
        "Answers that the student was sure of and the frontier was not",
        """SELECT a.agent, a.confidence, a.threshold, e.reason, a.run_id, a.task_id
        FROM attempts AS a JOIN escalations AS e ON e.attempt_id = a.id
        WHERE e.agreement = 0 AND a.confidence IS NOT NULL
        ORDER BY a.confidence DESC LIMIT 100""",
    ),
    "failed_checks": (
        "Which checks students fail",
        """SELECT a.agent, json_extract(c.value, '$.name') AS failed, count(*) AS times,
            max(a.run_id) AS run_id
        FROM attempts AS a, json_each(a.checks) AS c
        WHERE NOT json_extract(c.value, '$.passed') GROUP BY 1, 2 ORDER BY times DESC LIMIT 100""",
    ),
    "dearest_runs": (
        "What cost most",
        """SELECT run_id, started_at, cost_microusd / 1e6 AS cost_usd, num_tasks, num_escalations,
            input_preview
        FROM v_runs WHERE cost_microusd IS NOT NULL ORDER BY cost_microusd DESC LIMIT 100""",
    ),
}
"""By name: what is asked, in words and in SQLite's SQL."""
