"""What Alembic runs to migrate; the connection and its transaction belong to `migrate.upgrade`."""

from __future__ import annotations

from alembic import context

from journeyman.traces.schema import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    # SQLite can undo DDL too; half a migration is never left behind.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
