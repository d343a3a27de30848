-- Rows that wait for a parent which may have come: to try them again has failed, so the next load tries once more.

ALTER TABLE pipeline.quarantine ADD COLUMN due boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN pipeline.quarantine.due IS 'Its parent may have come, but trying it again failed: the next load does.';
