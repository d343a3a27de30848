-- title: Just passed
-- chart: table
-- every: 1m
-- empty: nothing was passed in the last 30 days, or it is not mirrored; `cursus run` reads it
SELECT coalesce(users.displayname, users.login, 'user ' || passed.user_id) AS student,
    coalesce(projects.name, 'project ' || passed.project_id) AS project, passed.final_mark AS mark,
    to_char(passed.marked_at, 'FMDD Mon HH24:MI') AS "when"
FROM (
    SELECT user_id, project_id, final_mark, marked_at, id
    FROM projects_users
    WHERE validated AND marked_at BETWEEN now() - interval '30 days' AND now()
        AND updated_at >= now() - interval '30 days'
    ORDER BY marked_at DESC, id DESC
    LIMIT 10
) AS passed
LEFT JOIN users ON users.id = passed.user_id
LEFT JOIN projects ON projects.id = passed.project_id
ORDER BY passed.marked_at DESC, passed.id DESC
