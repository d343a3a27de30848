-- What comments of before said more surely than the API does. What a user has dropped or renamed is left out.

DO $$
DECLARE
    comment record;
BEGIN
    FOR comment IN
        SELECT w.relation, w.attribute, w.text
        FROM (VALUES
            ('projects_users', 'final_mark', 'Mark, 0 to 125 with bonuses, or negative as a sanction; NULL: none yet. Until a retry is marked, it is the mark before or NULL: the API does not say which.'),
            ('current_enrolments', 'final_mark', 'Mark, 0 to 125 with bonuses, or negative as a sanction; NULL: none yet. Until a retry is marked, it is the mark before or NULL: the API does not say which.'),
            ('achievements_users', 'achievement_id', 'What the row is about; the steps of a series have ids of their own.'),
            ('achievements_users', 'user_id', 'Whose it is, perhaps somebody who is not mirrored.'),
            ('achievements_users', 'created_at', 'When the API got the row.')
        ) AS w (relation, attribute, text)
        JOIN pg_catalog.pg_class AS c ON c.relname = w.relation AND c.relkind IN ('r', 'p', 'v')
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = pg_catalog.current_schema()
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.attribute AND NOT a.attisdropped
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %I.%I IS %L', comment.relation, comment.attribute, comment.text);
    END LOOP;
    IF pg_catalog.to_regclass('achievements_users') IS NOT NULL THEN
        COMMENT ON TABLE achievements_users IS 'One row per person and achievement that the API lists, in the whole network. Whether it lists one before its successes are complete, it does not say: see nbr_of_success.';
    END IF;
END
$$;
