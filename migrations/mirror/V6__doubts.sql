-- What people who read the comments alone were in doubt about. What a user has dropped or renamed is left out.

DO $$
DECLARE
    comment record;
BEGIN
    FOR comment IN
        SELECT w.relation, w.attribute, w.text
        FROM (VALUES
            ('users', 'active', 'A flag of the API (active?) that about half of the students have as false: neither presence nor being a student.'),
            ('users', 'alumni', 'Whether the API calls the person an alumnus (alumni?); true only in a row whose delete is held or kept back.'),
            ('cursus_users', 'end_at', 'When it ended; NULL: no end is set, which does not prove a student: see users. A date in the future is possible.'),
            ('projects_users', 'marked', 'Whether it is marked, by the API; whether a retry that is not marked yet counts, it does not say.'),
            ('projects_users', 'marked_at', 'When the mark was given, and so when the project was passed if validated; NULL: not yet.'),
            ('current_enrolments', 'marked', 'Whether it is marked, by the API; whether a retry that is not marked yet counts, it does not say.'),
            ('current_enrolments', 'marked_at', 'When the mark was given, and so when the project was passed if validated; NULL: not yet.'),
            ('achievements', 'campus', 'Names of the campuses that give it: an array of texts; empty: none is named.'),
            ('achievements_users', 'nbr_of_success', 'Successes so far; NULL: not counted. The API does not say whether a row is made before achievements.nbr_of_success is reached.'),
            ('coalitions_users', 'rank', 'Place by the API; among whom, and of when, it does not say. NULL: none.')
        ) AS w (relation, attribute, text)
        JOIN pg_catalog.pg_class AS c ON c.relname = w.relation AND c.relkind IN ('r', 'p', 'v')
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = pg_catalog.current_schema()
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.attribute AND NOT a.attisdropped
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %I.%I IS %L', comment.relation, comment.attribute, comment.text);
    END LOOP;
END
$$;
