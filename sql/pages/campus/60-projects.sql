-- title: Passed most often
-- chart: bars
-- unit: times in 30 days
-- every: 5m
-- empty: nothing was passed in the last 30 days, or it is not mirrored; `cursus run` reads it
SELECT coalesce(projects.name, 'project ' || passed.project_id) AS label, passed.count AS value
FROM (
    SELECT project_id, count(*) AS count
    FROM projects_users
    WHERE validated AND marked_at BETWEEN now() - interval '30 days' AND now()
        AND updated_at >= now() - interval '30 days'
    GROUP BY project_id
    ORDER BY count(*) DESC, project_id
    LIMIT 10
) AS passed
LEFT JOIN projects ON projects.id = passed.project_id
ORDER BY passed.count DESC, passed.project_id
