-- What loads have changed, row by row, of the tables that [changes] of pipeline.toml follows.

CREATE TABLE pipeline.change (
    schema_name text NOT NULL,
    seq bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    run_id text NOT NULL,
    resource text,
    table_name text NOT NULL,
    op text NOT NULL CHECK (op IN ('c', 'u', 'd', 's')),
    key jsonb,
    changed text[] NOT NULL DEFAULT '{}',
    before jsonb,
    after jsonb,
    file text,
    record_index bigint,
    PRIMARY KEY (schema_name, seq, seen_at)
) PARTITION BY RANGE (seen_at);
-- A hash has no limit to the length of a key.
CREATE INDEX change_key ON pipeline.change USING hash (key);
COMMENT ON TABLE pipeline.change IS 'Rows that differ between two loads, of the tables of [changes]; a partition a month (UTC), dropped when all of it is older than `keep`.';
COMMENT ON COLUMN pipeline.change.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.change.seq IS 'Place in the order of loads of this schema, from 1 on and without gaps; within a load: what came or differs, table by table, then deletes in the opposite order.';
COMMENT ON COLUMN pipeline.change.seen_at IS 'Start of the transaction that changed the row.';
COMMENT ON COLUMN pipeline.change.run_id IS 'Run of the record; of a delete or a derived statement the run that was loaded.';
COMMENT ON COLUMN pipeline.change.resource IS 'Resource of the record; of a delete that of the table; NULL of a derived statement and of `s`.';
COMMENT ON COLUMN pipeline.change.table_name IS 'Table of the row.';
COMMENT ON COLUMN pipeline.change.op IS 'c: the row came; u: columns differ; d: it was deleted; s: the table is followed from here, and its rows so far are in the table only.';
COMMENT ON COLUMN pipeline.change.key IS 'Key of the row: column name to value; NULL of `s`.';
COMMENT ON COLUMN pipeline.change.changed IS 'Columns that differ, of `u`; those that are followed, of `s`.';
COMMENT ON COLUMN pipeline.change.before IS 'Key and followed columns before the load; NULL of `c` and `s`.';
COMMENT ON COLUMN pipeline.change.after IS 'Key and followed columns after the load; NULL of `d` and `s`.';
COMMENT ON COLUMN pipeline.change.file IS 'Page of the record, relative to its run''s directory; NULL if no record says it.';
COMMENT ON COLUMN pipeline.change.record_index IS 'Place of the record in the page, from 0.';

CREATE TABLE pipeline.change_feed (
    schema_name text PRIMARY KEY,
    last_seq bigint NOT NULL DEFAULT 0,
    dropped_seq bigint NOT NULL DEFAULT 0,
    dropped_until timestamptz,
    tables jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE pipeline.change_feed IS 'How far the changes of each mirror go, and from where on they are kept.';
COMMENT ON COLUMN pipeline.change_feed.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.change_feed.last_seq IS 'Number of the newest change; 0: there was none yet.';
COMMENT ON COLUMN pipeline.change_feed.dropped_seq IS 'Number of the newest change that is not kept any more; 0: all are kept.';
COMMENT ON COLUMN pipeline.change_feed.dropped_until IS 'Changes before this time may have been dropped; NULL: none was.';
COMMENT ON COLUMN pipeline.change_feed.tables IS 'What is followed since the last load: table name to list of columns.';

CREATE TABLE pipeline.consumer (
    schema_name text NOT NULL,
    consumer text NOT NULL,
    seq bigint NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schema_name, consumer)
);
COMMENT ON TABLE pipeline.consumer IS 'How far each named reader of `cursus changes --consumer` has read.';
COMMENT ON COLUMN pipeline.consumer.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.consumer.consumer IS 'Name of the reader.';
COMMENT ON COLUMN pipeline.consumer.seq IS 'Number of the last change that it was given.';
COMMENT ON COLUMN pipeline.consumer.moved_at IS 'Start of the transaction that stored it.';
