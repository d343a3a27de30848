-- What comments of before left open or contradicted. What a user has dropped or renamed is left out.

DO $$
DECLARE
    comment record;
BEGIN
    FOR comment IN
        SELECT w.relation, w.attribute, w.text
        FROM (VALUES
            ('users', 'kind', 'student: the pipeline asks for no other kind, such as external or admin.'),
            ('users', 'alumnized_at', 'When the person becomes an alumnus, by the API; NULL: no such date. Who is one has no row here.')
        ) AS w (relation, attribute, text)
        JOIN pg_catalog.pg_class AS c ON c.relname = w.relation AND c.relkind IN ('r', 'p', 'v')
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = pg_catalog.current_schema()
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.attribute AND NOT a.attisdropped
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %I.%I IS %L', comment.relation, comment.attribute, comment.text);
    END LOOP;
    IF pg_catalog.to_regclass('coalitions') IS NOT NULL THEN
        COMMENT ON TABLE coalitions IS 'Coalitions of all campuses. A row does not say of which campus: blocs_coalitions of the pack blocs does.';
    END IF;
END
$$;
