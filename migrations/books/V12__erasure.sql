-- Who was erased: the half of the erasure ledger that is in the database. The other half is erasures.jsonl in the staging directory; what one of
-- them lacks, after a backup was restored, the next load takes from the other, and erases again.

CREATE TABLE pipeline.erasure (
    person text NOT NULL,
    staging_id text NOT NULL,
    erasure text NOT NULL,
    erased_at timestamptz NOT NULL,
    PRIMARY KEY (person, staging_id)
);
COMMENT ON TABLE pipeline.erasure IS 'People whom `cursus forget` has erased: a keyed hash of each id, no id and no name.';
COMMENT ON COLUMN pipeline.erasure.person IS 'HMAC-SHA-256 of the id, in hex.';
COMMENT ON COLUMN pipeline.erasure.staging_id IS 'Key of the hash: the random id of the staging directory in which the person was erased.';
COMMENT ON COLUMN pipeline.erasure.erasure IS 'Id of the erasure, which the lines of rewritten pages name as well.';
COMMENT ON COLUMN pipeline.erasure.erased_at IS 'When it was asked for.';
