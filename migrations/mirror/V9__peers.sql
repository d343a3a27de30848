-- Whom of a campus to ask about a project is found person by person: project_peers reads of each enrolment what the index has of it.
-- An index that lacks these columns is found in the same order, so it goes. Where a column was dropped or renamed, it stays.

DO $$
BEGIN
    IF (
        SELECT count(*) = 7 FROM pg_catalog.pg_attribute
        WHERE attrelid = pg_catalog.to_regclass('projects_users') AND NOT attisdropped
            AND attname IN ('user_id', 'project_id', 'id', 'status', 'validated', 'final_mark', 'marked_at')
    ) THEN
        DROP INDEX IF EXISTS projects_users_user_id_project_id_id;
        CREATE INDEX projects_users_user_id_project_id_id ON projects_users (user_id, project_id, id)
            INCLUDE (status, validated, final_mark, marked_at);
    END IF;
END
$$;
