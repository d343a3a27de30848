-- Comments in the words of the documentation, and those that were wrong. What a user has dropped or renamed is left out.

DO $$
DECLARE
    comment record;
BEGIN
    FOR comment IN
        SELECT w.relation, a.attname AS column_name, w.text
        FROM (VALUES
            ('campus_achievements', NULL, 'Campuses that give an achievement, as far as a campus has the name that the API gives.'),
            ('projects_users', NULL, 'Enrolments of people in projects. A person can have several in one project; current_enrolments shows the one that counts.'),
            ('projects_users', 'id', 'Id of the enrolment.'),
            ('projects_users', 'cursus_ids', 'Curricula that the enrolment counts for: an array of ids.'),
            ('projects_users', 'current_team_id', 'Team of the current attempt; NULL: none.'),
            ('projects_users', 'retriable_at', 'From when the project can be retried; NULL: no such date.'),
            ('projects_users', 'created_at', 'When the enrolment was created.'),
            ('projects_users', 'updated_at', 'When the enrolment last changed at the API.'),
            ('cursus_users', 'end_at', 'When it ended; NULL: it is current.'),
            ('cursus_users', 'level', 'Level; the fraction is the progress to the next.'),
            ('projects', 'recommendation', 'Whether the API recommends it.'),
            ('refinery_schema_history', NULL, 'Applied migrations of this schema; written by cursus.'),
            ('refinery_schema_history', 'name', 'Name of the migration.')
        ) AS w (relation, attribute, text)
        JOIN pg_catalog.pg_class AS c ON c.relname = w.relation AND c.relkind IN ('r', 'p')
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = pg_catalog.current_schema()
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.attribute AND NOT a.attisdropped
        WHERE w.attribute IS NULL OR a.attname IS NOT NULL
    LOOP
        IF comment.column_name IS NULL THEN
            EXECUTE pg_catalog.format('COMMENT ON TABLE %I IS %L', comment.relation, comment.text);
        ELSE
            EXECUTE pg_catalog.format('COMMENT ON COLUMN %I.%I IS %L', comment.relation, comment.column_name, comment.text);
        END IF;
    END LOOP;
END
$$;
