-- People of whom not only the personal values were erased, but also the records: `cursus forget --drop`.

ALTER TABLE pipeline.erasure ADD COLUMN dropped boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN pipeline.erasure.dropped IS 'Records and rows that are the person''s own were removed, and the id elsewhere; false: ids stayed, and personal values became null.';
