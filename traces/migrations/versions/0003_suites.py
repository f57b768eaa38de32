"""Keep what a suite run is resumed, compared and gated by: arms, assertions, figures, baselines."""

import sqlalchemy as sa
from alembic import op

revision = "0003_suites"
down_revision = "0002_trust"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("suite_runs", sa.Column("path", sa.Text(), nullable=True))
    op.add_column("suite_runs", sa.Column("arm", sa.Text(), nullable=True))
    op.add_column("suite_runs", sa.Column("group_id", sa.Text(), nullable=True))
    op.add_column(
        "suite_runs",
        sa.Column("is_baseline", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column(
        "suite_runs", sa.Column("num_resumed", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column(
        "suite_runs", sa.Column("options", sa.Text(), server_default="{}", nullable=False)
    )
    op.add_column(
        "suite_runs", sa.Column("summary", sa.Text(), server_default="{}", nullable=False)
    )
    op.add_column(
        "scenario_results", sa.Column("assertions", sa.Text(), server_default="[]", nullable=False)
    )
    op.add_column(
        "scenario_results", sa.Column("figures", sa.Text(), server_default="{}", nullable=False)
    )
    op.add_column(
        "scenario_results", sa.Column("tags", sa.Text(), server_default="[]", nullable=False)
    )
    op.add_column("scenario_results", sa.Column("xfail", sa.Text(), nullable=True))
    op.add_column("scenario_results", sa.Column("finished_at", sa.Text(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("Results are not forgotten; restore a backup instead.")
