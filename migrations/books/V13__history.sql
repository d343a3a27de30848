-- How rows were, of the tables that [history] of pipeline.toml names.

CREATE TABLE pipeline.history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    key jsonb NOT NULL,
    row jsonb NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz CHECK (valid_to > valid_from),
    from_run text NOT NULL,
    to_run text CHECK ((to_run IS NULL) = (valid_to IS NULL))
);
-- A hash has no limit to the length of a key. Of each row one version is open.
CREATE INDEX history_open ON pipeline.history USING hash (key) WHERE valid_to IS NULL;
CREATE INDEX history_valid_to ON pipeline.history (schema_name, table_name, valid_to);
COMMENT ON TABLE pipeline.history IS 'How rows were, of the tables of [history]: a version for each time in which a row was the same. `pipeline.as_of` and `cursus explain --at` read it.';
COMMENT ON COLUMN pipeline.history.id IS 'Number of the version; no order is promised.';
COMMENT ON COLUMN pipeline.history.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.history.table_name IS 'Table of the row.';
COMMENT ON COLUMN pipeline.history.key IS 'Key of the row: column name to value.';
COMMENT ON COLUMN pipeline.history.row IS 'Key and followed columns of the row: column name to value.';
COMMENT ON COLUMN pipeline.history.valid_from IS 'From when on the row is known to be so: time of the last answer of the run that showed it, by the server''s clock.';
COMMENT ON COLUMN pipeline.history.valid_to IS 'From when on it is known to differ or to be deleted, exclusive; NULL: it is so now.';
COMMENT ON COLUMN pipeline.history.from_run IS 'Run whose load made the row so.';
COMMENT ON COLUMN pipeline.history.to_run IS 'Run whose load changed or deleted the row; NULL: it is so now.';

CREATE TABLE pipeline.history_span (
    schema_name text NOT NULL,
    table_name text NOT NULL,
    columns text[] NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz CHECK (valid_to > valid_from),
    from_run text NOT NULL,
    to_run text,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (schema_name, table_name, valid_from)
);
COMMENT ON TABLE pipeline.history_span IS 'From when to when the history of a table is known, without gaps in between.';
COMMENT ON COLUMN pipeline.history_span.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.history_span.table_name IS 'Table whose rows are kept.';
COMMENT ON COLUMN pipeline.history_span.columns IS 'Columns that are kept, the key first.';
COMMENT ON COLUMN pipeline.history_span.valid_from IS 'From when on it is known: the first load with these columns under [history], or the first run that `cursus history rebuild` had.';
COMMENT ON COLUMN pipeline.history_span.valid_to IS 'Until when, exclusive: the table was taken out of [history], or its columns changed; NULL: it is kept now.';
COMMENT ON COLUMN pipeline.history_span.from_run IS 'Run that was loaded then.';
COMMENT ON COLUMN pipeline.history_span.to_run IS 'Run that was loaded at its end; NULL: it is kept now.';
COMMENT ON COLUMN pipeline.history_span.changed_at IS 'Time of the newest version that was opened or closed; no later one is dated before it.';

CREATE FUNCTION pipeline.history_at(followed regclass, at timestamptz) RETURNS SETOF pipeline.history
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    mirror text;
    named text;
    spans text;
BEGIN
    SELECT n.nspname, c.relname INTO mirror, named FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = followed;
    IF named IS NULL OR at IS NULL THEN
        RAISE EXCEPTION 'the rows of no table, or at no time, are asked for'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write pipeline.as_of(''users'', ''2026-10-01'').';
    END IF;
    IF NOT EXISTS (SELECT FROM pipeline.history_span AS s WHERE s.schema_name = mirror AND s.table_name = named
        AND s.valid_from <= at AND (s.valid_to > at OR s.valid_to IS NULL AND at <= greatest(pg_catalog.now(), s.changed_at)))
    THEN
        SELECT pg_catalog.string_agg(pg_catalog.format('from %s to %s', s.valid_from, coalesce(s.valid_to::text, 'now')), ', '
            ORDER BY s.valid_from) INTO spans FROM pipeline.history_span AS s WHERE s.schema_name = mirror AND s.table_name = named;
        IF spans IS NULL THEN
            RAISE EXCEPTION 'no history of %.% is kept', mirror, named
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the table in [history] of pipeline.toml, and load.';
        END IF;
        RAISE EXCEPTION 'how the rows of %.% were at % is not known', mirror, named, at
            USING ERRCODE = 'invalid_parameter_value', HINT = pg_catalog.format('Known is %s.', spans);
    END IF;
    RETURN QUERY SELECT h.* FROM pipeline.history AS h WHERE h.schema_name = mirror AND h.table_name = named
        AND h.valid_from <= at AND (h.valid_to > at OR h.valid_to IS NULL);
END $$;
COMMENT ON FUNCTION pipeline.history_at(regclass, timestamptz) IS 'Versions of the rows of a table at a time; an error if the history is not known then.';

CREATE FUNCTION pipeline.as_of(followed text, at timestamptz) RETURNS SETOF pipeline.history
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_catalog.to_regclass(followed) IS NULL THEN
        RAISE EXCEPTION 'there is no table %', followed USING ERRCODE = 'undefined_table';
    END IF;
    RETURN QUERY SELECT h.* FROM pipeline.history_at(pg_catalog.to_regclass(followed), at) AS h;
END $$;
COMMENT ON FUNCTION pipeline.as_of(text, timestamptz) IS 'The rows of a table as they were at a time, as versions: SELECT row->>''login'' FROM pipeline.as_of(''users'', ''2026-10-01'').';

CREATE FUNCTION pipeline.as_of(followed anyelement, at timestamptz) RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE AS $$
DECLARE
    relation regclass := (SELECT t.typrelid::regclass FROM pg_catalog.pg_type AS t
        WHERE t.oid = pg_catalog.pg_typeof(followed) AND t.typrelid <> 0);
BEGIN
    IF relation IS NULL THEN
        RAISE EXCEPTION '% is not the type of the rows of a table', pg_catalog.pg_typeof(followed)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write pipeline.as_of(NULL::users, ''2026-10-01'').';
    END IF;
    RETURN QUERY EXECUTE pg_catalog.format('SELECT r.* FROM pipeline.history_at($1, $2) AS h, '
        'LATERAL pg_catalog.jsonb_populate_record(NULL::%s, h.row) AS r', pg_catalog.pg_typeof(followed)) USING relation, at;
END $$;
COMMENT ON FUNCTION pipeline.as_of(anyelement, timestamptz) IS 'The rows of a table as they were at a time, typed as the table is today: SELECT * FROM pipeline.as_of(NULL::users, ''2026-10-01''). Columns that were not followed then are NULL.';
