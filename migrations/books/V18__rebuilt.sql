-- What a mirror was rebuilt from in jobs: a job scheduler runs `replay --finish` again when it has lost its end.

ALTER TABLE pipeline.source ADD COLUMN rebuilt_from text;
COMMENT ON COLUMN pipeline.source.rebuilt_from IS 'Fingerprint of the groups that the last `replay --finish` applied, so that the same one finds that it is finished; NULL after another rebuild.';
