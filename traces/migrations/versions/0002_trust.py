"""Keep what trust in a release rests on: changes of the release in traffic, drift, audits."""

import sqlalchemy as sa
from alembic import op

revision = "0002_trust"
down_revision = "0001_initial"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("audited", sa.Boolean(), nullable=True))
    op.add_column("attempts", sa.Column("would_accept", sa.Boolean(), nullable=True))
    op.add_column("certificates", sa.Column("num_accepted", sa.Integer(), nullable=True))
    op.add_column("certificates", sa.Column("num_wrong", sa.Integer(), nullable=True))
    op.add_column("certificates", sa.Column("bound", sa.Double(), nullable=True))
    op.add_column("certificates", sa.Column("labels_needed", sa.BigInteger(), nullable=True))
    op.create_table(
        "release_changes",
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=True),
        sa.Column("previous_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "version", name=op.f("pk_release_changes")),
    )
    op.create_table(
        "drift",
        sa.Column("certificate_id", sa.Text(), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificates.id"], name=op.f("fk_drift_certificate_id")
        ),
        sa.PrimaryKeyConstraint("certificate_id", name=op.f("pk_drift")),
    )


def downgrade() -> None:
    raise NotImplementedError("Trust is not forgotten; restore a backup instead.")
