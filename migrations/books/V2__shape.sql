-- What the records of each resource looked like, so that a load notices what is new, gone, or of another type.

CREATE TABLE pipeline.shape (
    schema_name text NOT NULL,
    resource text NOT NULL,
    fields jsonb NOT NULL,
    run_id text NOT NULL,
    PRIMARY KEY (schema_name, resource)
);
COMMENT ON TABLE pipeline.shape IS 'The fields that loads have seen in samples of each resource''s records; changes of it are in pipeline.drift.';
COMMENT ON COLUMN pipeline.shape.schema_name IS 'The schema of the mirror.';
COMMENT ON COLUMN pipeline.shape.resource IS 'The resource.';
COMMENT ON COLUMN pipeline.shape.fields IS 'Path to: kinds of its values, whether it was in every record, and records without it since it was last seen.';
COMMENT ON COLUMN pipeline.shape.run_id IS 'The run that changed it last.';
