-- The books of every mirror in this database: what was read, what was loaded, what waits. Staging is the log; this says how far the
-- database has followed it.

CREATE TABLE pipeline.run (
    run_id text PRIMARY KEY,
    seq bigint NOT NULL,
    mode text,
    state text,
    version text,
    started_at timestamptz,
    finished_at timestamptz,
    hits bigint,
    selection jsonb
);
CREATE INDEX run_seq ON pipeline.run (seq);
COMMENT ON TABLE pipeline.run IS 'Extractions that were loaded here, as their run.json tells.';
COMMENT ON COLUMN pipeline.run.run_id IS 'The run, by its start in UTC, such as 20261123T020000Z.';
COMMENT ON COLUMN pipeline.run.seq IS 'Its place in the order of runs.';
COMMENT ON COLUMN pipeline.run.mode IS 'full: every resource was read in full; delta: not so; null: it was still open.';
COMMENT ON COLUMN pipeline.run.state IS 'complete, partial, stopped, failed; open: it was still open when it was loaded.';
COMMENT ON COLUMN pipeline.run.version IS 'The cursus that read it.';
COMMENT ON COLUMN pipeline.run.started_at IS 'When it began.';
COMMENT ON COLUMN pipeline.run.finished_at IS 'When it ended; null: it was still open when it was loaded.';
COMMENT ON COLUMN pipeline.run.hits IS 'Requests that it cost.';
COMMENT ON COLUMN pipeline.run.selection IS 'What was asked for: select, exclude, full.';

CREATE TABLE pipeline.load (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text NOT NULL,
    run_id text NOT NULL,
    seq bigint NOT NULL,
    resource text NOT NULL,
    table_name text NOT NULL,
    manifest_hash text NOT NULL,
    mode text NOT NULL,
    state text NOT NULL,
    window_start timestamptz,
    window_end timestamptz,
    cursor timestamptz,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    staged bigint NOT NULL DEFAULT 0,
    inserted bigint NOT NULL DEFAULT 0,
    updated bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,
    out_of_scope bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    unresolved bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    dangling jsonb NOT NULL DEFAULT '{}',
    duration_ms bigint,
    UNIQUE (schema_name, run_id, resource, table_name, manifest_hash)
);
CREATE INDEX load_schema_name_resource_seq ON pipeline.load (schema_name, resource, seq);
COMMENT ON TABLE pipeline.load IS 'What has been loaded, written in the transaction that wrote the rows: a line a run, resource and table.';
COMMENT ON COLUMN pipeline.load.id IS 'Order of writing.';
COMMENT ON COLUMN pipeline.load.schema_name IS 'The schema of the mirror.';
COMMENT ON COLUMN pipeline.load.run_id IS 'The run.';
COMMENT ON COLUMN pipeline.load.seq IS 'The run''s place in the order of runs.';
COMMENT ON COLUMN pipeline.load.resource IS 'The resource that was read.';
COMMENT ON COLUMN pipeline.load.table_name IS 'The table that was filled from it.';
COMMENT ON COLUMN pipeline.load.manifest_hash IS 'Fingerprint of the manifest: a resource that was completed later loads again.';
COMMENT ON COLUMN pipeline.load.mode IS 'full or delta.';
COMMENT ON COLUMN pipeline.load.state IS 'complete, drifted or partial.';
COMMENT ON COLUMN pipeline.load.window_start IS 'Begin of what a delta asked for; null: everything.';
COMMENT ON COLUMN pipeline.load.window_end IS 'Server time up to which the data are known.';
COMMENT ON COLUMN pipeline.load.cursor IS 'Where the next delta goes on; null: the read did not move it.';
COMMENT ON COLUMN pipeline.load.loaded_at IS 'When it was loaded.';
COMMENT ON COLUMN pipeline.load.staged IS 'Distinct rows that the pages gave.';
COMMENT ON COLUMN pipeline.load.inserted IS 'Rows that were new.';
COMMENT ON COLUMN pipeline.load.updated IS 'Rows that differed.';
COMMENT ON COLUMN pipeline.load.unchanged IS 'Rows that were the same.';
COMMENT ON COLUMN pipeline.load.deleted IS 'Rows that left.';
COMMENT ON COLUMN pipeline.load.out_of_scope IS 'Rows that a rule of pipeline.toml keeps out.';
COMMENT ON COLUMN pipeline.load.quarantined IS 'Rows that went to quarantine.';
COMMENT ON COLUMN pipeline.load.unresolved IS 'Rows of a SELECT without a complete key, such as a campus name without a campus.';
COMMENT ON COLUMN pipeline.load.refused IS 'Deletes that the guard held back.';
COMMENT ON COLUMN pipeline.load.dangling IS 'References that lead nowhere, which is no fault: column name to count.';
COMMENT ON COLUMN pipeline.load.duration_ms IS 'Milliseconds that it took.';

CREATE TABLE pipeline.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text NOT NULL,
    run_id text NOT NULL,
    resource text NOT NULL,
    table_name text NOT NULL,
    file text NOT NULL,
    record_index bigint NOT NULL,
    element_index bigint,
    key jsonb,
    column_name text,
    pointer text,
    code text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    attempts bigint NOT NULL DEFAULT 1
);
CREATE INDEX quarantine_schema_name_table_name ON pipeline.quarantine (schema_name, table_name);
CREATE INDEX quarantine_run_id ON pipeline.quarantine (run_id);
COMMENT ON TABLE pipeline.quarantine IS 'Rows that do not fit and wait. The record itself is in the staging directory, at the place named here.';
COMMENT ON COLUMN pipeline.quarantine.id IS 'Order of writing.';
COMMENT ON COLUMN pipeline.quarantine.schema_name IS 'The schema of the mirror.';
COMMENT ON COLUMN pipeline.quarantine.run_id IS 'The run that brought it.';
COMMENT ON COLUMN pipeline.quarantine.resource IS 'The resource.';
COMMENT ON COLUMN pipeline.quarantine.table_name IS 'The table that it was meant for.';
COMMENT ON COLUMN pipeline.quarantine.file IS 'Its page, relative to the run''s directory.';
COMMENT ON COLUMN pipeline.quarantine.record_index IS 'Its place in the page, from 0.';
COMMENT ON COLUMN pipeline.quarantine.element_index IS 'Its place in the nested array, from 0; null: it is the record itself.';
COMMENT ON COLUMN pipeline.quarantine.key IS 'Its key as far as it could be read: column name to value.';
COMMENT ON COLUMN pipeline.quarantine.column_name IS 'The column at fault; null: the whole row.';
COMMENT ON COLUMN pipeline.quarantine.pointer IS 'Where the value lies in the record.';
COMMENT ON COLUMN pipeline.quarantine.code IS 'type, null, orphan (its parent is missing; retried by itself), key, where, json.';
COMMENT ON COLUMN pipeline.quarantine.reason IS 'Why, in words, without the value.';
COMMENT ON COLUMN pipeline.quarantine.created_at IS 'When it came here.';
COMMENT ON COLUMN pipeline.quarantine.attempts IS 'Times that it was tried.';

CREATE TABLE pipeline.prune_candidate (
    schema_name text NOT NULL,
    run_id text NOT NULL,
    resource text NOT NULL,
    table_name text NOT NULL,
    key jsonb NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    approved_at timestamptz,
    PRIMARY KEY (schema_name, table_name, run_id, key)
);
COMMENT ON TABLE pipeline.prune_candidate IS 'Rows that a load would have deleted, had they not been too many at once.';
COMMENT ON COLUMN pipeline.prune_candidate.schema_name IS 'The schema of the mirror.';
COMMENT ON COLUMN pipeline.prune_candidate.run_id IS 'The run that missed them.';
COMMENT ON COLUMN pipeline.prune_candidate.resource IS 'The resource.';
COMMENT ON COLUMN pipeline.prune_candidate.table_name IS 'The table.';
COMMENT ON COLUMN pipeline.prune_candidate.key IS 'The row''s key: column name to value.';
COMMENT ON COLUMN pipeline.prune_candidate.reason IS 'Why it would go, in words.';
COMMENT ON COLUMN pipeline.prune_candidate.created_at IS 'When the guard held it back.';
COMMENT ON COLUMN pipeline.prune_candidate.approved_at IS 'When its delete was approved; null: not yet.';

CREATE TABLE pipeline.drift (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text NOT NULL,
    run_id text NOT NULL,
    resource text NOT NULL,
    path text NOT NULL,
    kind text NOT NULL,
    first_file text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX drift_schema_name_resource ON pipeline.drift (schema_name, resource);
COMMENT ON TABLE pipeline.drift IS 'Changes in the shape of the API''s records that loads have seen.';
COMMENT ON COLUMN pipeline.drift.id IS 'Order of writing.';
COMMENT ON COLUMN pipeline.drift.schema_name IS 'The schema of the mirror.';
COMMENT ON COLUMN pipeline.drift.run_id IS 'The run that showed it first.';
COMMENT ON COLUMN pipeline.drift.resource IS 'The resource.';
COMMENT ON COLUMN pipeline.drift.path IS 'Where in the record.';
COMMENT ON COLUMN pipeline.drift.kind IS 'What changed: a key came, a key went, a type changed.';
COMMENT ON COLUMN pipeline.drift.first_file IS 'The first page that shows it.';
COMMENT ON COLUMN pipeline.drift.created_at IS 'When it was noticed.';

CREATE VIEW pipeline.freshness AS
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
)
SELECT schema_name, resource, last_run.run_id, last_run.mode, last_run.state, last_run.loaded_at,
    now() - coalesce(last_run.window_end, last_run.loaded_at) AS age, cursors.cursor, totals.staged,
    coalesce(waiting.quarantined, 0) AS quarantined, totals.dangling, totals.unresolved
FROM last_run
JOIN totals USING (schema_name, resource)
JOIN cursors USING (schema_name, resource)
LEFT JOIN waiting USING (schema_name, resource);
COMMENT ON VIEW pipeline.freshness IS 'How fresh and how whole each resource of each mirror is, by its last load.';
COMMENT ON COLUMN pipeline.freshness.schema_name IS 'The schema of the mirror.';
COMMENT ON COLUMN pipeline.freshness.resource IS 'The resource.';
COMMENT ON COLUMN pipeline.freshness.run_id IS 'The last run loaded.';
COMMENT ON COLUMN pipeline.freshness.mode IS 'full or delta.';
COMMENT ON COLUMN pipeline.freshness.state IS 'complete, drifted or partial.';
COMMENT ON COLUMN pipeline.freshness.loaded_at IS 'When it was loaded.';
COMMENT ON COLUMN pipeline.freshness.age IS 'Time since the data were true at the API.';
COMMENT ON COLUMN pipeline.freshness.cursor IS 'Where the next delta goes on; null: the resource is always read in full.';
COMMENT ON COLUMN pipeline.freshness.staged IS 'Rows that the last load of each of its tables staged.';
COMMENT ON COLUMN pipeline.freshness.quarantined IS 'Rows that wait in quarantine.';
COMMENT ON COLUMN pipeline.freshness.dangling IS 'References that lead nowhere; no fault.';
COMMENT ON COLUMN pipeline.freshness.unresolved IS 'Rows without a complete key, such as a campus name without a campus.';

COMMENT ON SCHEMA pipeline IS 'The books of cursus.';
COMMENT ON TABLE pipeline.refinery_schema_history IS 'Migrations of the books that have been applied; written by cursus.';
COMMENT ON COLUMN pipeline.refinery_schema_history.version IS 'Number of the migration.';
COMMENT ON COLUMN pipeline.refinery_schema_history.name IS 'Its name.';
COMMENT ON COLUMN pipeline.refinery_schema_history.applied_on IS 'When it was applied (RFC 3339).';
COMMENT ON COLUMN pipeline.refinery_schema_history.checksum IS 'Fingerprint of its text; an applied migration never changes.';
