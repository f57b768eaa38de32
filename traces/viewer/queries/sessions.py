"""Conversations: their list, and one with its runs as turns."""

from __future__ import annotations

import sqlite3
from typing import Any

PAGE = 50
MAX_TURNS = 200


def listing(connection: sqlite3.Connection, page: int) -> tuple[list[dict[str, Any]], bool]:
    """One page of conversations, the one that went on last first, and whether there are more."""
    rows = connection.execute(
        "SELECT * FROM v_sessions ORDER BY last_run_at DESC, session_id LIMIT ? OFFSET ?",
        [PAGE + 1, (page - 1) * PAGE],
    ).fetchall()
    return [dict(row) for row in rows[:PAGE]], len(rows) > PAGE


def turns(connection: sqlite3.Connection, session_id: str, page: int) -> list[dict[str, Any]]:
    """Runs of a conversation, oldest first; one more than `MAX_TURNS` where there are more."""
    rows = connection.execute(
        """SELECT r.id, graph, status, started_at, duration_ms, num_tasks, num_escalations,
            cost_microusd, input_preview, output_preview, error_type, error_message,
            substr(t.input, 1, 1000) AS asked, substr(t.output, 1, 1000) AS answered
        FROM runs AS r LEFT JOIN run_texts AS t ON t.run_id = r.id
        WHERE session_id = ? ORDER BY started_at, r.id LIMIT ? OFFSET ?""",
        [session_id, MAX_TURNS + 1, (page - 1) * MAX_TURNS],
    )
    return [dict(row) for row in rows]
