-- Which record a nested row that waits belongs to: a newer read of that record settles it.

ALTER TABLE pipeline.quarantine ADD COLUMN parent jsonb;
COMMENT ON COLUMN pipeline.quarantine.parent IS 'What it has in the column that names its owner; null: it has none.';
