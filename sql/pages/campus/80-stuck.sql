-- title: Stuck
-- chart: table
-- caption: Students with an ongoing enrolment and a project in progress of whom nothing has changed for the longest time, from 14 days to a year.
-- every: 5m
-- empty: nobody with a project in progress has been without a change for 14 days
WITH idle AS (
    SELECT user_id, max(updated_at) AS changed_at
    FROM projects_users
    GROUP BY user_id
    HAVING max(updated_at) BETWEEN now() - interval '1 year' AND now() - interval '14 days'
        AND bool_or(status = 'in_progress')
)
SELECT coalesce(users.displayname, users.login) AS student, coalesce(projects.name, 'project ' || work.project_id) AS project,
    floor(extract(epoch FROM now() - idle.changed_at) / 86400)::bigint AS days
FROM idle
JOIN users ON users.id = idle.user_id
CROSS JOIN LATERAL (
    SELECT project_id FROM current_enrolments
    WHERE current_enrolments.user_id = idle.user_id AND status = 'in_progress'
    ORDER BY updated_at DESC, id DESC
    LIMIT 1
) AS work
LEFT JOIN projects ON projects.id = work.project_id
WHERE EXISTS (
    SELECT FROM cursus_users
    WHERE cursus_users.user_id = idle.user_id AND (end_at IS NULL OR end_at > now())
)
ORDER BY idle.changed_at, idle.user_id
LIMIT 10
