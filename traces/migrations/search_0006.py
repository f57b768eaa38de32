"""Full-text search in PostgreSQL as `0006_search` creates it: over what SQLite's index covers.

`run_texts` keeps the texts of each run as words, kept up by triggers on `runs`. The texts of a
payload are its JSON strings, but for those under names that the graph itself puts beside them.
Content that PostgreSQL cannot parse, such as a NUL, is taken as plain text: it must fail no write.
"""

from journeyman.traces.migrations.search_0004 import MAX_CHARS, MAX_PARSED_BYTES

_NAMES = "'agent', 'id', 'reason', 'release', 'role', 'run_id', 'source', 'task_id', 'type'"

_TEXTS = f"""
CREATE FUNCTION journeyman_texts(wanted text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    body text;
    size bigint;
BEGIN
    SELECT content, num_bytes INTO body, size FROM payloads WHERE hash = wanted;
    IF size > {MAX_PARSED_BYTES} THEN
        RETURN left(body, {MAX_CHARS});
    END IF;
    RETURN (
        WITH RECURSIVE tree(key, value, is_within) AS (
            SELECT NULL::text, body::jsonb, false
            UNION ALL
            SELECT child.key, child.value, tree.is_within OR coalesce(tree.key = 'value', false)
            FROM tree CROSS JOIN LATERAL (
                SELECT each.key, each.value FROM jsonb_each(
                    CASE jsonb_typeof(tree.value) WHEN 'object' THEN tree.value ELSE '{{}}' END
                ) AS each
                UNION ALL
                SELECT NULL, item FROM jsonb_array_elements(
                    CASE jsonb_typeof(tree.value) WHEN 'array' THEN tree.value ELSE '[]' END
                ) AS item
            ) AS child
        )
        SELECT left(string_agg(value #>> '{{}}', chr(10)), {MAX_CHARS}) FROM tree
        WHERE jsonb_typeof(value) = 'string'
        AND (key IS NULL OR key NOT IN ({_NAMES}) OR is_within)
    );
EXCEPTION WHEN OTHERS THEN
    RETURN left(body, {MAX_CHARS});
END
$$
"""  # noqa: S608  # constants alone

_WORDS = "to_tsvector('simple', coalesce(said.input, '') || ' ' || coalesce(said.output, ''))"


def _fill(source: str) -> str:
    return f"""
        INSERT INTO run_texts (run_id, input, output, words)
        SELECT said.id, said.input, said.output, {_WORDS} FROM (
            SELECT r.id, journeyman_texts(r.input_hash) AS input,
                   journeyman_texts(r.output_hash) AS output FROM {source} AS r
        ) AS said
        WHERE said.input IS NOT NULL OR said.output IS NOT NULL
        ON CONFLICT (run_id) DO UPDATE
        SET input = excluded.input, output = excluded.output, words = excluded.words
    """  # noqa: S608  # constants alone


_KEEP = f"""
CREATE FUNCTION journeyman_keep_texts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {_fill("(SELECT new.id, new.input_hash, new.output_hash)")};
    RETURN NULL;
END
$$
"""

_FORGET = """
CREATE FUNCTION journeyman_forget_texts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_texts WHERE run_id = old.id;
    RETURN NULL;
END
$$
"""

POSTGRESQL = (
    "DROP INDEX ix_runs_search",
    (
        'CREATE TABLE run_texts (run_id text COLLATE "C" CONSTRAINT pk_run_texts PRIMARY KEY, '
        'input text COLLATE "C", output text COLLATE "C", words tsvector)'
    ),
    "CREATE INDEX ix_run_texts_words ON run_texts USING gin (words)",
    _TEXTS,
    _KEEP,
    _FORGET,
    (
        "CREATE TRIGGER runs_insert_texts AFTER INSERT ON runs FOR EACH ROW "
        "WHEN (new.input_hash IS NOT NULL OR new.output_hash IS NOT NULL) "
        "EXECUTE FUNCTION journeyman_keep_texts()"
    ),
    (
        "CREATE TRIGGER runs_update_texts AFTER UPDATE ON runs FOR EACH ROW "
        "WHEN (new.input_hash IS DISTINCT FROM old.input_hash "
        "OR new.output_hash IS DISTINCT FROM old.output_hash) "
        "EXECUTE FUNCTION journeyman_keep_texts()"
    ),
    (
        "CREATE TRIGGER runs_delete_texts AFTER DELETE ON runs FOR EACH ROW "
        "EXECUTE FUNCTION journeyman_forget_texts()"
    ),
    _fill("runs"),
)
