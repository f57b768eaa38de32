"""The views as `0001_initial` creates them; a later migration brings its own.

Sums and means are cast: PostgreSQL would answer with decimals where SQLite has plain numbers.
"""

VIEWS = {
    "v_runs": """
        SELECT id AS run_id, substr(started_at, 1, 10) AS day, graph, status, started_at, ended_at,
               duration_ms, num_tasks, num_escalations,
               CASE WHEN num_tasks > 0
                    THEN CAST(num_escalations AS DOUBLE PRECISION) / num_tasks END
                   AS escalation_rate,
               input_tokens, output_tokens, cost_microusd, session_id, parent_run_id,
               suite_run_id, scenario_id, epoch, input_preview, output_preview,
               error_type, error_message, tags
        FROM runs
    """,
    "v_agent_health": """
        SELECT a.agent,
               count(*) AS num_attempts,
               sum(CASE WHEN a.decision = 'accept' THEN 1 ELSE 0 END) AS num_accepted,
               sum(CASE WHEN a.decision = 'escalate' THEN 1 ELSE 0 END) AS num_escalated,
               avg(CAST(CASE WHEN a.decision = 'escalate' THEN 1.0 ELSE 0.0 END
                        AS DOUBLE PRECISION))
                   AS escalation_rate,
               avg(CAST(CASE WHEN a.certified THEN 1.0 ELSE 0.0 END AS DOUBLE PRECISION))
                   AS certified_rate,
               avg(a.confidence) AS mean_confidence,
               sum(CASE WHEN a.reason = 'student_error' THEN 1 ELSE 0 END) AS num_student_errors,
               sum(CASE WHEN a.source = 'none' THEN 1 ELSE 0 END) AS num_unanswered,
               coalesce(max(e.num_labelled), 0) AS num_labelled,
               max(e.agreement_rate) AS agreement_rate,
               coalesce(max(e.num_audited), 0) AS num_audited,
               max(e.audit_agreement_rate) AS audit_agreement_rate,
               coalesce(max(e.num_failed), 0) AS num_failed_escalations,
               CASE WHEN max(e.agent) IS NULL THEN 0 ELSE max(e.cost_microusd) END
                   AS cost_microusd,
               coalesce(max(e.num_unpriced), 0) AS num_unpriced,
               avg(a.latency_ms) AS mean_latency_ms,
               max(a.created_at) AS last_attempt_at
        FROM attempts AS a
        LEFT JOIN (
            SELECT agent,
                   count(agreement) AS num_labelled,
                   avg(CAST(CASE WHEN agreement THEN 1.0 WHEN NOT agreement THEN 0.0 END
                            AS DOUBLE PRECISION))
                       AS agreement_rate,
                   sum(CASE WHEN reason = 'audit' AND agreement IS NOT NULL THEN 1 ELSE 0 END)
                       AS num_audited,
                   avg(CAST(CASE WHEN reason <> 'audit' THEN NULL
                            WHEN agreement THEN 1.0 WHEN NOT agreement THEN 0.0 END
                                     AS DOUBLE PRECISION))
                       AS audit_agreement_rate,
                   sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS num_failed,
                   CAST(sum(cost_microusd) AS BIGINT) AS cost_microusd,
                   sum(CASE WHEN cost_microusd IS NULL AND status = 'answered'
                            THEN 1 ELSE 0 END) AS num_unpriced
            FROM escalations GROUP BY agent
        ) AS e ON e.agent = a.agent
        GROUP BY a.agent
    """,
    "v_review_queue": """
        SELECT CASE WHEN NOT e.agreement THEN 0 WHEN e.agreement IS NULL THEN 1 ELSE 2 END
                   AS priority,
               e.id AS escalation_id, e.agent, e.reason, e.status, e.agreement, a.confidence,
               a.threshold, e.created_at, e.frontier_model, e.trainable,
               task.content AS task, student.content AS student_output,
               frontier.content AS frontier_output, e.error, e.attempt_id, e.run_id, e.span_id
        FROM escalations AS e
        LEFT JOIN attempts AS a ON a.id = e.attempt_id
        LEFT JOIN payloads AS task ON task.hash = a.input_hash
        LEFT JOIN payloads AS student ON student.hash = e.student_output_hash
        LEFT JOIN payloads AS frontier ON frontier.hash = e.frontier_output_hash
        WHERE e.review_status = 'pending'
        ORDER BY 1, e.created_at, e.id
    """,
    # One row per attempt first: an attempt may have been escalated more than once.
    "v_confidence_bins": """
        SELECT agent, release, bin, CAST(bin / 10.0 AS DOUBLE PRECISION) AS low,
               CAST((bin + 1) / 10.0 AS DOUBLE PRECISION) AS high,
               count(*) AS num_attempts, avg(confidence) AS mean_confidence,
               count(agreed) AS num_labelled,
               avg(CAST(agreed AS DOUBLE PRECISION)) AS agreement_rate,
               count(audited) AS num_audited,
               avg(CAST(audited AS DOUBLE PRECISION)) AS audit_agreement_rate
        FROM (
            SELECT a.agent, a.release, a.confidence,
                   CASE WHEN a.confidence < 0.1 THEN 0 WHEN a.confidence < 0.2 THEN 1
                        WHEN a.confidence < 0.3 THEN 2 WHEN a.confidence < 0.4 THEN 3
                        WHEN a.confidence < 0.5 THEN 4 WHEN a.confidence < 0.6 THEN 5
                        WHEN a.confidence < 0.7 THEN 6 WHEN a.confidence < 0.8 THEN 7
                        WHEN a.confidence < 0.9 THEN 8 ELSE 9 END AS bin,
                   (SELECT max(CASE WHEN e.agreement THEN 1.0 WHEN NOT e.agreement THEN 0.0 END)
                    FROM escalations AS e WHERE e.attempt_id = a.id) AS agreed,
                   (SELECT max(CASE WHEN e.agreement THEN 1.0 WHEN NOT e.agreement THEN 0.0 END)
                    FROM escalations AS e WHERE e.attempt_id = a.id AND e.reason = 'audit')
                       AS audited
            FROM attempts AS a WHERE a.confidence IS NOT NULL
        ) AS judged
        GROUP BY agent, release, bin
    """,
    "v_cost_daily": """
        SELECT substr(created_at, 1, 10) AS day, agent, frontier_model,
               count(*) AS num_escalations,
               CAST(sum(input_tokens) AS BIGINT) AS input_tokens,
               CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
               CAST(sum(cost_microusd) AS BIGINT) AS cost_microusd,
               sum(CASE WHEN cost_microusd IS NULL AND status = 'answered' THEN 1 ELSE 0 END)
                   AS num_unpriced
        FROM escalations
        GROUP BY substr(created_at, 1, 10), agent, frontier_model
    """,
    "v_rounds": """
        SELECT r.id AS round_id, r.agent, r.number, r.status, r.stage, r.decision, r.reason,
               r.started_at, r.ended_at, r.num_train, r.num_calibration, r.num_excluded,
               r.baseline_quality, r.incumbent_quality, r.candidate_quality,
               r.candidate_quality - r.incumbent_quality AS quality_gain,
               r.incumbent_coverage, r.candidate_coverage,
               r.candidate_coverage - r.incumbent_coverage AS coverage_gain,
               r.incumbent_id, r.candidate_id, c.status AS candidate_status
        FROM rounds AS r
        LEFT JOIN releases AS c ON c.id = r.candidate_id
    """,
}
