"""Full-text search as `0004_viewer` creates it: over what was asked and answered, nothing else.

In SQLite an FTS5 table reads from `run_texts`, which triggers on `runs` keep up. A run has an
ordinary number there, since a VACUUM may renumber the rows of `runs` itself. In PostgreSQL an index
over the previews does.

The texts of a payload are its JSON strings, without the names that the graph itself puts beside
them: a search for an agent's name would otherwise find every run.
"""

MAX_CHARS = 8_000
"""Of one side of a run; what is longer is found by how it starts."""

MAX_PARSED_BYTES = 262_144
"""A larger payload is taken as plain text: parsing it would hold the writer up."""

_NAMES = "'agent', 'id', 'reason', 'release', 'role', 'run_id', 'source', 'task_id', 'type'"


def _texts(hash_column: str) -> str:
    # Content nested deeper than SQLite reads is no valid JSON to it, and must fail no write.
    return f"""(
        SELECT CASE
            WHEN p.num_bytes > {MAX_PARSED_BYTES} OR NOT json_valid(p.content)
            THEN substr(p.content, 1, {MAX_CHARS})
            ELSE (
                SELECT substr(group_concat(t.atom, char(10)), 1, {MAX_CHARS})
                FROM json_tree(p.content) AS t
                WHERE t.type = 'text'
                AND (t.key IS NULL OR t.key NOT IN ({_NAMES}) OR t.path LIKE '%.value%')
            ) END
        FROM payloads AS p WHERE p.hash = {hash_column}
    )"""  # noqa: S608  # constants alone


_FILL = f"""
    INSERT INTO run_texts (run_id, input, output)
    SELECT new.id, {_texts("new.input_hash")}, {_texts("new.output_hash")} WHERE true
    ON CONFLICT (run_id) DO UPDATE SET input = excluded.input, output = excluded.output
"""  # constants alone

_FORGET = """
    INSERT INTO run_search (run_search, rowid, input, output)
    VALUES ('delete', old.id, old.input, old.output)
"""

_LEARN = """
    INSERT INTO run_search (rowid, input, output) VALUES (new.id, new.input, new.output)
"""

SQLITE = (
    (
        "CREATE TABLE run_texts "
        "(id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, input TEXT, output TEXT)"
    ),
    (
        "CREATE VIRTUAL TABLE run_search USING fts5 "
        "(input, output, content='run_texts', content_rowid='id', "
        'tokenize="unicode61 remove_diacritics 2")'
    ),
    f"CREATE TRIGGER run_texts_insert AFTER INSERT ON run_texts BEGIN {_LEARN}; END",
    f"CREATE TRIGGER run_texts_delete AFTER DELETE ON run_texts BEGIN {_FORGET}; END",
    f"CREATE TRIGGER run_texts_update AFTER UPDATE ON run_texts BEGIN {_FORGET}; {_LEARN}; END",
    (
        "CREATE TRIGGER runs_insert_texts AFTER INSERT ON runs "
        "WHEN new.input_hash IS NOT NULL OR new.output_hash IS NOT NULL "
        f"BEGIN {_FILL}; END"
    ),
    (
        "CREATE TRIGGER runs_update_texts AFTER UPDATE OF input_hash, output_hash ON runs "
        "WHEN new.input_hash IS NOT old.input_hash OR new.output_hash IS NOT old.output_hash "
        f"BEGIN {_FILL}; END"
    ),
    (
        "CREATE TRIGGER runs_delete_texts AFTER DELETE ON runs "
        "BEGIN DELETE FROM run_texts WHERE run_id = old.id; END"
    ),
    f"""
    INSERT INTO run_texts (run_id, input, output)
    SELECT r.id, {_texts("r.input_hash")}, {_texts("r.output_hash")} FROM runs AS r
    WHERE r.input_hash IS NOT NULL OR r.output_hash IS NOT NULL
    """,  # noqa: S608  # constants alone
)

POSTGRESQL = (
    (
        "CREATE INDEX ix_runs_search ON runs USING gin (to_tsvector('simple', "
        "coalesce(input_preview, '') || ' ' || coalesce(output_preview, '')))"
    ),
)
