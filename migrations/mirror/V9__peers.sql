-- Whom of a campus to ask about a project is found person by person: project_peers reads of each enrolment what the index has of it.
-- The index without these columns goes. Where a column was dropped or renamed, or the index is not the one that was made here, it stays.

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
