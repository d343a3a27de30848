-- Which derived statements have failed: the next load runs them again, whether it has new rows for them or not.

CREATE TABLE pipeline.derive_failed (
    schema_name text NOT NULL,
    derive text NOT NULL,
    run_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schema_name, derive)
);
COMMENT ON TABLE pipeline.derive_failed IS 'Derived statements whose last try failed: the next load tries them again.';
COMMENT ON COLUMN pipeline.derive_failed.schema_name IS 'The schema of the mirror.';
COMMENT ON COLUMN pipeline.derive_failed.derive IS 'The name of the statement.';
COMMENT ON COLUMN pipeline.derive_failed.run_id IS 'The run whose load it failed in.';
COMMENT ON COLUMN pipeline.derive_failed.created_at IS 'Since when.';
