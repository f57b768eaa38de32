"""Let PostgreSQL sort and compare text by its bytes, as SQLite does, whatever its language is.

Lists come in the same order from either database, and a search for how an id starts finds an index.
"""

import sqlalchemy as sa
from alembic import op

from journeyman.traces.migrations import views_0001, views_0004

revision = "0005_bytes"
down_revision = "0004_viewer"
branch_labels = None
depends_on = None

TABLES = (
    "attempts",
    "budgets",
    "certificates",
    "drift",
    "escalations",
    "examples",
    "payloads",
    "release_changes",
    "releases",
    "reservations",
    "rounds",
    "runs",
    "scenario_results",
    "schema_info",
    "scores",
    "spans",
    "stars",
    "suite_runs",
)
VIEWS = {**views_0001.VIEWS, **views_0004.VIEWS}


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    # A column that a view reads cannot be changed under it.
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
    found = sa.inspect(connection)
    for table in TABLES:
        texts = [c["name"] for c in found.get_columns(table) if isinstance(c["type"], sa.Text)]
        changes = ", ".join(f'ALTER COLUMN "{name}" TYPE text COLLATE "C"' for name in texts)
        op.execute(f"ALTER TABLE {table} {changes}")
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    raise NotImplementedError("The order of texts is not given back; restore a backup instead.")
