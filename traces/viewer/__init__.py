"""The trace viewer: a Datasette plugin over the trace store."""
