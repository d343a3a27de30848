-- Exports of a mirror: a person who is erased may be in one, and only its holder can change that. And indexes by which changes are looked up.

CREATE TABLE pipeline.export (
    serial bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mirror text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    what text NOT NULL,
    columns text[] NOT NULL
);
COMMENT ON TABLE pipeline.export IS 'Copies of rows that were given out; `cursus forget` prints those that may hold the person.';
COMMENT ON COLUMN pipeline.export.serial IS 'Number of the export, which its files carry.';
COMMENT ON COLUMN pipeline.export.mirror IS 'Schema of the mirror. It stays when the schema is dropped: the copies are still there.';
COMMENT ON COLUMN pipeline.export.made_at IS 'Start of the transaction that recorded it.';
COMMENT ON COLUMN pipeline.export.what IS 'What it is, such as its format and where it was written to; no value of a row.';
COMMENT ON COLUMN pipeline.export.columns IS 'What it holds, as table.column.';

COMMENT ON COLUMN pipeline.change.run_id IS 'Run of the record; of a delete or a derived statement the run that was loaded; `erasure-` and its id where a person was erased.';

CREATE INDEX change_table ON pipeline.change (schema_name, table_name, seq);
CREATE INDEX change_run ON pipeline.change (schema_name, run_id, seq);
