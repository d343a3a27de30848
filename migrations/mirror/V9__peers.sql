-- For a project and a campus, project_peers looks up the enrolments of each person. The index now includes what the view shows of an
-- enrolment. Nothing changes if a column was dropped or renamed, or if the index of this name is not that of an earlier migration.

DO $$
BEGIN
    IF (
        SELECT count(*) = 7 FROM pg_catalog.pg_attribute
        WHERE attrelid = pg_catalog.to_regclass('projects_users') AND NOT attisdropped
            AND attname IN ('user_id', 'project_id', 'id', 'status', 'validated', 'final_mark', 'marked_at')
    ) AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_class AS c LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
        WHERE c.oid = pg_catalog.to_regclass('projects_users_user_id_project_id_id')
            AND (i.indrelid = pg_catalog.to_regclass('projects_users') AND i.indnatts = 3 AND NOT i.indisunique) IS NOT TRUE
    ) THEN
        DROP INDEX IF EXISTS projects_users_user_id_project_id_id;
        CREATE INDEX projects_users_user_id_project_id_id ON projects_users (user_id, project_id, id)
            INCLUDE (status, validated, final_mark, marked_at);
    END IF;
END
$$;
