-- Copies of logins and mail addresses go: a copy is as old as its row, and stays when the person is made anonymous. users has both.
-- Of the enrolments of a person in a project a view shows the one that counts.

DO $$
DECLARE
    dependents text;
BEGIN
    SELECT string_agg(DISTINCT CASE WHEN d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        THEN pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 0)
        ELSE pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) END, ', ')
    INTO dependents
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    LEFT JOIN pg_catalog.pg_rewrite AS r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid
    WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'n'
        AND d.refobjid IN ('projects_users'::pg_catalog.regclass, 'achievements_users'::pg_catalog.regclass)
        AND a.attname IN ('user_login', 'user_email');
    IF dependents IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CU001', MESSAGE = pg_catalog.format(
            'projects_users loses user_login and user_email, and achievements_users loses user_login, but these depend on them: %s; '
            'drop them, or take login and email from users in them (JOIN users ON users.id = user_id), then run the command again',
            dependents);
    END IF;
    IF pg_catalog.to_regclass(pg_catalog.format('%I.current_enrolments', pg_catalog.current_schema())) IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CU001', MESSAGE = pg_catalog.format(
            'it has a table or view current_enrolments that cursus has not made, and cursus makes a view of that name; rename yours '
            '(such as ALTER TABLE %I.current_enrolments RENAME TO my_enrolments, also for a view), then run the command again',
            pg_catalog.current_schema());
    END IF;
END
$$;

ALTER TABLE projects_users DROP COLUMN IF EXISTS user_login, DROP COLUMN IF EXISTS user_email;
ALTER TABLE achievements_users DROP COLUMN IF EXISTS user_login;

-- Finds the enrolments of a person, as the index before it did, and the newest of a person in a project.
CREATE INDEX projects_users_user_id_project_id_id ON projects_users (user_id, project_id, id);
DROP INDEX IF EXISTS projects_users_user_id;

CREATE VIEW current_enrolments AS
SELECT e.id, e.user_id, e.project_id, e.cursus_id, e.cursus_ids, e.occurrence, e.final_mark, e.status, e.validated,
    e.current_team_id, e.marked, e.marked_at, e.retriable_at, e.created_at, e.updated_at, e.ingested_at
FROM projects_users AS e
WHERE NOT EXISTS (
    SELECT FROM projects_users AS newer
    WHERE newer.user_id = e.user_id AND newer.project_id = e.project_id AND newer.id > e.id
);
COMMENT ON VIEW current_enrolments IS 'The enrolment that counts of each person in a project: the one with the newest id. The API can replace an enrolment by one with a new id.';
