"""Create every table and view of the first release.

Written out in full: a migration never imports the models, which go on changing after it.
"""

import sqlalchemy as sa
from alembic import op

from journeyman.traces.migrations.views_0001 import VIEWS

revision = "0001_initial"
down_revision = None
branch_labels = None
depends_on = None


def _create_budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_budgets")),
    )


def _create_payloads() -> None:
    op.create_table(
        "payloads",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_payloads")),
    )


def _create_scenario_results() -> None:
    op.create_table(
        "scenario_results",
        sa.Column("suite_run_id", sa.Text(), nullable=False),
        sa.Column("scenario_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("scenario_hash", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.Double(), nullable=False),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(
            "suite_run_id", "scenario_id", "epoch", name=op.f("pk_scenario_results")
        ),
    )
    op.create_index(
        op.f("ix_scenario_results_run_id"), "scenario_results", ["run_id"], unique=False
    )
    op.create_index(
        op.f("ix_scenario_results_scenario_id_scenario_hash"),
        "scenario_results",
        ["scenario_id", "scenario_hash"],
    )


def _create_schema_info() -> None:
    op.create_table(
        "schema_info",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_schema_info")),
    )


def _create_scores() -> None:
    op.create_table(
        "scores",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("target_type", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("annotator_kind", sa.Text(), nullable=False),
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scores")),
        sa.UniqueConstraint(
            "target_type",
            "target_id",
            "name",
            "identifier",
            name=op.f("uq_scores_target_type_target_id_name_identifier"),
        ),
    )
    op.create_index(op.f("ix_scores_run_id"), "scores", ["run_id"])


def _create_suite_runs() -> None:
    op.create_table(
        "suite_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("suite", sa.Text(), nullable=False),
        sa.Column("suite_hash", sa.Text(), nullable=False),
        sa.Column("config_hash", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("num_total", sa.Integer(), nullable=False),
        sa.Column("num_passed", sa.Integer(), nullable=False),
        sa.Column("num_failed", sa.Integer(), nullable=False),
        sa.Column("num_error", sa.Integer(), nullable=False),
        sa.Column("num_skipped", sa.Integer(), nullable=False),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        sa.Column("git_sha", sa.Text(), nullable=True),
        sa.Column("argv", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suite_runs")),
    )
    op.create_index(
        op.f("ix_suite_runs_suite_started_at"), "suite_runs", ["suite", "started_at"], unique=False
    )


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=True),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("task_key", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("input_hash", sa.Text(), nullable=True),
        sa.Column("output_hash", sa.Text(), nullable=True),
        sa.Column("raw_hash", sa.Text(), nullable=True),
        sa.Column("answer_hash", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("certified", sa.Boolean(), nullable=False),
        sa.Column("audit_probability", sa.Double(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["answer_hash"], ["payloads.hash"], name=op.f("fk_attempts_answer_hash")
        ),
        sa.ForeignKeyConstraint(
            ["input_hash"], ["payloads.hash"], name=op.f("fk_attempts_input_hash")
        ),
        sa.ForeignKeyConstraint(
            ["output_hash"], ["payloads.hash"], name=op.f("fk_attempts_output_hash")
        ),
        sa.ForeignKeyConstraint(["raw_hash"], ["payloads.hash"], name=op.f("fk_attempts_raw_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index(
        op.f("ix_attempts_agent_created_at"), "attempts", ["agent", "created_at"], unique=False
    )
    op.create_index(
        op.f("ix_attempts_agent_task_key"), "attempts", ["agent", "task_key"], unique=False
    )
    op.create_index(op.f("ix_attempts_run_id"), "attempts", ["run_id"])


def _create_escalations() -> None:
    op.create_table(
        "escalations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=True),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("frontier_model", sa.Text(), nullable=True),
        sa.Column("student_output_hash", sa.Text(), nullable=True),
        sa.Column("frontier_output_hash", sa.Text(), nullable=True),
        sa.Column("agreement", sa.Boolean(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("label_source", sa.Text(), nullable=False),
        sa.Column("trainable", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("review_status", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=True),
        sa.Column("reviewed_at", sa.Text(), nullable=True),
        sa.Column("reviewed_output_hash", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["frontier_output_hash"],
            ["payloads.hash"],
            name=op.f("fk_escalations_frontier_output_hash"),
        ),
        sa.ForeignKeyConstraint(
            ["reviewed_output_hash"],
            ["payloads.hash"],
            name=op.f("fk_escalations_reviewed_output_hash"),
        ),
        sa.ForeignKeyConstraint(
            ["student_output_hash"],
            ["payloads.hash"],
            name=op.f("fk_escalations_student_output_hash"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_escalations")),
    )
    op.create_index(
        op.f("ix_escalations_agent_created_at"),
        "escalations",
        ["agent", "created_at"],
    )
    op.create_index(op.f("ix_escalations_attempt_id"), "escalations", ["attempt_id"])
    op.create_index(
        op.f("ix_escalations_review_status_agent_created_at"),
        "escalations",
        ["review_status", "agent", "created_at"],
    )
    op.create_index(op.f("ix_escalations_run_id"), "escalations", ["run_id"])


def _create_examples() -> None:
    op.create_table(
        "examples",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("task_key", sa.Text(), nullable=False),
        sa.Column("group_hash", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("excluded_reason", sa.Text(), nullable=True),
        sa.Column("task_hash", sa.Text(), nullable=True),
        sa.Column("target_hash", sa.Text(), nullable=True),
        sa.Column("rejected_hash", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("label_source", sa.Text(), nullable=False),
        sa.Column("trainable", sa.Boolean(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("escalation_id", sa.Text(), nullable=True),
        sa.Column("round_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rejected_hash"], ["payloads.hash"], name=op.f("fk_examples_rejected_hash")
        ),
        sa.ForeignKeyConstraint(
            ["target_hash"], ["payloads.hash"], name=op.f("fk_examples_target_hash")
        ),
        sa.ForeignKeyConstraint(
            ["task_hash"], ["payloads.hash"], name=op.f("fk_examples_task_hash")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_examples")),
        sa.UniqueConstraint("agent", "task_key", name=op.f("uq_examples_agent_task_key")),
    )
    op.create_index(
        op.f("ix_examples_agent_group_hash"), "examples", ["agent", "group_hash"], unique=False
    )
    op.create_index(
        op.f("ix_examples_agent_split_created_at"),
        "examples",
        ["agent", "split", "created_at"],
    )


def _create_releases() -> None:
    op.create_table(
        "releases",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("promoted_at", sa.Text(), nullable=True),
        sa.Column("retired_at", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("round_id", sa.Text(), nullable=True),
        sa.Column("student_kind", sa.Text(), nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=True),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("parts_hash", sa.Text(), nullable=True),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["parts_hash"], ["payloads.hash"], name=op.f("fk_releases_parts_hash")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
    )
    op.create_index(
        op.f("ix_releases_agent_created_at"), "releases", ["agent", "created_at"], unique=False
    )
    op.create_index(
        "uq_releases_active_agent",
        "releases",
        ["agent"],
        unique=True,
        sqlite_where=sa.text("status = 'active'"),
        postgresql_where=sa.text("status = 'active'"),
    )


def _create_reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["day"], ["budgets.day"], name=op.f("fk_reservations_day")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    op.create_index(
        op.f("ix_reservations_day_owner_amount"),
        "reservations",
        ["day", "owner", "amount"],
    )


def _create_rounds() -> None:
    op.create_table(
        "rounds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("incumbent_id", sa.Text(), nullable=True),
        sa.Column("candidate_id", sa.Text(), nullable=True),
        sa.Column("dataset_hash", sa.Text(), nullable=True),
        sa.Column("num_train", sa.Integer(), nullable=False),
        sa.Column("num_calibration", sa.Integer(), nullable=False),
        sa.Column("num_excluded", sa.Integer(), nullable=False),
        sa.Column("baseline_quality", sa.Double(), nullable=True),
        sa.Column("incumbent_quality", sa.Double(), nullable=True),
        sa.Column("candidate_quality", sa.Double(), nullable=True),
        sa.Column("incumbent_coverage", sa.Double(), nullable=True),
        sa.Column("candidate_coverage", sa.Double(), nullable=True),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("report_hash", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["report_hash"], ["payloads.hash"], name=op.f("fk_rounds_report_hash")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
        sa.UniqueConstraint("agent", "number", name=op.f("uq_rounds_agent_number")),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("graph", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Double(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("parent_run_id", sa.Text(), nullable=True),
        sa.Column("suite_run_id", sa.Text(), nullable=True),
        sa.Column("scenario_id", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("input_hash", sa.Text(), nullable=True),
        sa.Column("output_hash", sa.Text(), nullable=True),
        sa.Column("input_preview", sa.Text(), nullable=True),
        sa.Column("output_preview", sa.Text(), nullable=True),
        sa.Column("num_tasks", sa.Integer(), nullable=False),
        sa.Column("num_escalations", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["input_hash"], ["payloads.hash"], name=op.f("fk_runs_input_hash")),
        sa.ForeignKeyConstraint(
            ["output_hash"], ["payloads.hash"], name=op.f("fk_runs_output_hash")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_parent_run_id"), "runs", ["parent_run_id"])
    op.create_index(
        op.f("ix_runs_session_id_started_at"), "runs", ["session_id", "started_at"], unique=False
    )
    op.create_index(op.f("ix_runs_started_at"), "runs", ["started_at"])
    op.create_index(
        op.f("ix_runs_suite_run_id_scenario_id_epoch"),
        "runs",
        ["suite_run_id", "scenario_id", "epoch"],
    )


def _create_spans() -> None:
    op.create_table(
        "spans",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.Double(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        sa.Column("input_hash", sa.Text(), nullable=True),
        sa.Column("output_hash", sa.Text(), nullable=True),
        sa.Column("input_preview", sa.Text(), nullable=True),
        sa.Column("output_preview", sa.Text(), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["input_hash"], ["payloads.hash"], name=op.f("fk_spans_input_hash")
        ),
        sa.ForeignKeyConstraint(
            ["output_hash"], ["payloads.hash"], name=op.f("fk_spans_output_hash")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spans")),
    )
    op.create_index(
        op.f("ix_spans_agent_started_at"), "spans", ["agent", "started_at"], unique=False
    )
    op.create_index(
        op.f("ix_spans_run_id_started_at"), "spans", ["run_id", "started_at"], unique=False
    )


def _create_certificates() -> None:
    op.create_table(
        "certificates",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("max_error", sa.Double(), nullable=False),
        sa.Column("delta", sa.Double(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("coverage", sa.Double(), nullable=True),
        sa.Column("label_source", sa.Text(), nullable=False),
        sa.Column("data_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("withdrawn_at", sa.Text(), nullable=True),
        sa.Column("withdrawn_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name=op.f("fk_certificates_release_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
    )
    op.create_index(
        op.f("ix_certificates_release_id_created_at"),
        "certificates",
        ["release_id", "created_at"],
    )


def upgrade() -> None:
    _create_budgets()
    _create_payloads()
    _create_scenario_results()
    _create_schema_info()
    _create_scores()
    _create_suite_runs()
    _create_attempts()
    _create_escalations()
    _create_examples()
    _create_releases()
    _create_reservations()
    _create_rounds()
    _create_runs()
    _create_spans()
    _create_certificates()
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
    info = sa.table("schema_info", sa.column("key", sa.Text), sa.column("value", sa.Text))
    op.bulk_insert(info, [{"key": "app", "value": "journeyman"}])


def downgrade() -> None:
    raise NotImplementedError("The first migration has nothing before it; delete the file instead.")
