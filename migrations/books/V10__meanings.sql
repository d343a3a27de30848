-- Comments that said no more than the name.

COMMENT ON COLUMN pipeline.run.started_at IS 'Start of the extraction, before its first request.';
COMMENT ON COLUMN pipeline.load.loaded_at IS 'Start of the transaction that merged the rows.';
COMMENT ON COLUMN pipeline.freshness.loaded_at IS 'Start of the transaction of the last load; `age` counts from the API, not from here.';
