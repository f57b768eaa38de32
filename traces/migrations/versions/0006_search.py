"""Let PostgreSQL find the words that SQLite's index finds, far behind the previews too."""

from alembic import op

from journeyman.traces.migrations import search_0006

revision = "0006_search"
down_revision = "0005_bytes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for statement in search_0006.POSTGRESQL:
            connection.exec_driver_sql(statement)


def downgrade() -> None:
    raise NotImplementedError("What can be found is not forgotten; restore a backup instead.")
