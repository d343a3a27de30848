-- title: Most projects passed
-- chart: bars
-- unit: projects in 30 days
-- every: 5m
-- empty: nothing was passed in the last 30 days, or it is not mirrored; `cursus run` reads it
-- A mark moves updated_at, which has an index: no older row is looked at.
SELECT users.login AS label, passed.count AS value
FROM (
    SELECT user_id, count(DISTINCT project_id) AS count
    FROM projects_users
    WHERE validated AND marked_at BETWEEN now() - interval '30 days' AND now() AND updated_at >= now() - interval '30 days'
    GROUP BY user_id
) AS passed
JOIN users ON users.id = passed.user_id
ORDER BY passed.count DESC, passed.user_id
LIMIT 10
