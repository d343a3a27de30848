-- What each schema is filled from, so that no load deletes rows because another project does not show them.

CREATE TABLE pipeline.source (
    schema_name text PRIMARY KEY,
    staging_id text,
    origin text,
    scope jsonb,
    first_run text NOT NULL,
    last_run text NOT NULL,
    adopted_at timestamptz,
    resources jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE pipeline.source IS 'What each schema is filled from. Runs of another API or of another project''s scope are refused (`cursus load --adopt` rebinds a schema).';
COMMENT ON COLUMN pipeline.source.schema_name IS 'The schema of the mirror.';
COMMENT ON COLUMN pipeline.source.staging_id IS 'Id of the staging directory of the last run loaded, as in its .staging.json; NULL if an earlier version of cursus made that run.';
COMMENT ON COLUMN pipeline.source.origin IS 'Scheme, host and port of the API that the last run loaded was read from; NULL if the run does not say.';
COMMENT ON COLUMN pipeline.source.scope IS 'Values of [scope] that the last run loaded was read with; NULL if they are not known.';
COMMENT ON COLUMN pipeline.source.first_run IS 'First run loaded of this staging directory and API.';
COMMENT ON COLUMN pipeline.source.last_run IS 'Last run loaded.';
COMMENT ON COLUMN pipeline.source.adopted_at IS 'When another staging directory or another API took the place of the one before; NULL: never.';
COMMENT ON COLUMN pipeline.source.resources IS 'By resource: the staging directory, the fingerprint of the request and the scope of the reads that its rows rest on.';
