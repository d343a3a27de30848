-- A resource can be read in several ways in one run: what each named read was, and how fresh it is.

ALTER TABLE pipeline.load ADD COLUMN own_read boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN pipeline.load.own_read IS 'Whether the run read the resource itself, in full or as a delta, and not only by named reads.';
ALTER TABLE pipeline.load ADD COLUMN reads jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN pipeline.load.reads IS 'Named reads of the resource: name to mode, state, rows, window_end, cursor and finished_at.';

CREATE OR REPLACE VIEW pipeline.freshness AS
WITH last_load AS (
    SELECT DISTINCT ON (schema_name, resource, table_name) *
    FROM pipeline.load
    ORDER BY schema_name, resource, table_name, seq DESC, id DESC
), totals AS (
    SELECT schema_name, resource, sum(staged)::bigint AS staged, sum(unresolved)::bigint AS unresolved,
        sum((SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(dangling)))::bigint AS dangling
    FROM last_load
    GROUP BY schema_name, resource
), cursors AS (
    SELECT schema_name, resource, max(cursor) AS cursor
    FROM pipeline.load
    GROUP BY schema_name, resource
), waiting AS (
    SELECT schema_name, resource, count(*) AS quarantined
    FROM pipeline.quarantine
    GROUP BY schema_name, resource
), staying AS (
    SELECT schema_name, resource, count(*) AS kept
    FROM pipeline.prune_candidate
    WHERE approved_at IS NULL AND referred_by IS NOT NULL
    GROUP BY schema_name, resource
), own AS (
    SELECT DISTINCT ON (schema_name, resource) schema_name, resource, run_id, mode, state, loaded_at
    FROM pipeline.load
    WHERE own_read
    ORDER BY schema_name, resource, seq DESC, id DESC
), named AS (
    SELECT DISTINCT ON (schema_name, resource, read.key) schema_name, resource, read.key AS name, read.value AS figures,
        run_id, loaded_at
    FROM pipeline.load
    CROSS JOIN LATERAL jsonb_each(reads) AS read
    ORDER BY schema_name, resource, read.key, seq DESC, id DESC
), named_cursors AS (
    SELECT schema_name, resource, read.key AS name, max((read.value->>'cursor')::timestamptz) AS cursor
    FROM pipeline.load
    CROSS JOIN LATERAL jsonb_each(reads) AS read
    GROUP BY schema_name, resource, read.key
)
SELECT schema_name, resource, own.run_id, own.mode, own.state, own.loaded_at,
    now() - coalesce(cursors.cursor, own.loaded_at) AS age, cursors.cursor, totals.staged,
    coalesce(waiting.quarantined, 0) AS quarantined, totals.dangling, totals.unresolved,
    coalesce(staying.kept, 0) AS kept, NULL::text AS read
FROM own
JOIN totals USING (schema_name, resource)
JOIN cursors USING (schema_name, resource)
LEFT JOIN waiting USING (schema_name, resource)
LEFT JOIN staying USING (schema_name, resource)
UNION ALL
SELECT schema_name, resource, run_id, figures->>'mode', figures->>'state', loaded_at,
    now() - named_cursors.cursor, named_cursors.cursor, (figures->>'rows')::bigint, 0, 0, 0, 0, name
FROM named
JOIN named_cursors USING (schema_name, resource, name);
COMMENT ON VIEW pipeline.freshness IS 'How fresh and how complete each read of each resource of each mirror is, by its last load.';
COMMENT ON COLUMN pipeline.freshness.age IS 'Time since the data were true at the API; NULL: this read has never been complete or drifted.';
COMMENT ON COLUMN pipeline.freshness.read IS 'The named read; NULL: the resource''s own delta or full read, with the figures of the whole resource.';
