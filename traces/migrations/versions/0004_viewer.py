"""Keep what the viewer reads: stars, search over what was said, views, indexes that cover lists."""

import sqlalchemy as sa
from alembic import op

from journeyman.traces.migrations import search_0004
from journeyman.traces.migrations.views_0004 import VIEWS

revision = "0004_viewer"
down_revision = "0003_suites"
branch_labels = None
depends_on = None

# The lists' counts and sums are read from these alone, without the wide rows behind them.
INDEXES = {
    "ix_runs_listed": ("runs", ["started_at", "id", "status", "graph", "num_escalations"]),
    "ix_runs_of_session": (
        "runs",
        ["session_id", "started_at", "num_tasks", "num_escalations", "cost_microusd"],
    ),
    "ix_attempts_daily": (
        "attempts",
        ["created_at", "agent", "source", "decision", "certified", "run_id"],
    ),
    "ix_attempts_of_run": ("attempts", ["run_id", "agent", "source"]),
    "ix_escalations_daily": (
        "escalations",
        ["created_at", "agent", "reason", "cost_microusd", "status"],
    ),
    "ix_escalations_of_run": ("escalations", ["run_id", "reason"]),
}

REPLACED = {
    "ix_runs_started_at": "runs",
    "ix_runs_session_id_started_at": "runs",
    "ix_attempts_run_id": "attempts",
    "ix_escalations_run_id": "escalations",
}
"""A longer index with the same start takes their place."""


def upgrade() -> None:
    op.create_table(
        "stars",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("starred_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_stars")),
    )
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    for name, table in REPLACED.items():
        op.drop_index(name, table_name=table)
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
    dialect = op.get_bind().dialect.name
    for statement in search_0004.SQLITE if dialect == "sqlite" else search_0004.POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise NotImplementedError("Stars are not forgotten; restore a backup instead.")
