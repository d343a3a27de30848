-- What stays although it left the API, because other rows refer to it, is told for as long as it stays.

ALTER TABLE pipeline.prune_candidate ADD COLUMN referred_by text;
COMMENT ON TABLE pipeline.prune_candidate IS 'Rows that a load would have deleted: the prune limit holds them back, or other rows refer to them.';
COMMENT ON COLUMN pipeline.prune_candidate.created_at IS 'Since when it is held back or kept.';
COMMENT ON COLUMN pipeline.prune_candidate.referred_by IS 'The table whose rows refer to it, which is why it is kept; null: the prune limit holds it back.';

ALTER TABLE pipeline.load ADD COLUMN kept bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN pipeline.load.kept IS 'Rows that had left the API by then and were kept, because other rows refer to them.';

COMMENT ON COLUMN pipeline.quarantine.code IS 'type, null, orphan (its parent is missing; retried by itself), key; of earlier versions also where, json.';

CREATE OR REPLACE VIEW pipeline.freshness AS
WITH last_load AS (
    SELECT DISTINCT ON (schema_name, resource, table_name) *
    FROM pipeline.load
    ORDER BY schema_name, resource, table_name, seq DESC, id DESC
), last_run AS (
    SELECT DISTINCT ON (schema_name, resource) *
    FROM last_load
    ORDER BY schema_name, resource, seq DESC, id DESC
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
)
SELECT schema_name, resource, last_run.run_id, last_run.mode, last_run.state, last_run.loaded_at,
    now() - coalesce(last_run.window_end, last_run.loaded_at) AS age, cursors.cursor, totals.staged,
    coalesce(waiting.quarantined, 0) AS quarantined, totals.dangling, totals.unresolved,
    coalesce(staying.kept, 0) AS kept
FROM last_run
JOIN totals USING (schema_name, resource)
JOIN cursors USING (schema_name, resource)
LEFT JOIN waiting USING (schema_name, resource)
LEFT JOIN staying USING (schema_name, resource);
COMMENT ON COLUMN pipeline.freshness.kept IS 'Rows that left the API and are kept, because other rows refer to them.';
