-- title: At a glance
-- chart: figures
-- width: full
-- every: 1m
-- empty: no student is mirrored yet; `cursus run` reads them
-- A mark moves updated_at, which has an index: no older row is looked at.
WITH people AS (
    SELECT count(*) AS students, count(*) FILTER (WHERE location IS NOT NULL) AS online
    FROM users
), enrolled AS (
    SELECT count(*) AS ongoing FROM cursus_users WHERE end_at IS NULL OR end_at > now()
), work AS (
    SELECT count(*) FILTER (WHERE status = 'in_progress') AS in_progress,
        count(*) FILTER (WHERE status = 'waiting_for_correction') AS waiting
    FROM current_enrolments
    WHERE status IN ('in_progress', 'waiting_for_correction')
), marked AS (
    SELECT count(*) FILTER (WHERE marked_at >= now() - interval '7 days') AS passed,
        count(*) FILTER (WHERE marked_at < now() - interval '7 days') AS passed_before
    FROM projects_users
    WHERE validated AND marked_at BETWEEN now() - interval '14 days' AND now() AND updated_at >= now() - interval '14 days'
), reading AS (
    -- A read that was never complete has no age.
    SELECT min(age) AS age FROM pipeline.freshness WHERE schema_name = current_schema() AND resource = 'users'
)
SELECT figure.label, figure.value, figure.note
FROM people, enrolled, work, marked, reading
CROSS JOIN LATERAL (VALUES
    (1, 'students', students, NULL),
    (2, 'ongoing enrolments', ongoing, NULL),
    (3, 'at a computer', online, 'when last read, ' || CASE
        WHEN age < interval '2 minutes' THEN 'a moment ago'
        WHEN age < interval '2 hours' THEN floor(extract(epoch FROM age) / 60) || ' min ago'
        WHEN age < interval '2 days' THEN floor(extract(epoch FROM age) / 3600) || ' h ago'
        ELSE floor(extract(epoch FROM age) / 86400) || ' days ago' END),
    (4, 'projects in progress', in_progress, NULL),
    (5, 'waiting for evaluation', waiting, NULL),
    (6, 'passed in 7 days', passed, to_char(passed_before, 'FM999,999,999') || ' in the 7 days before')
) AS figure (place, label, value, note)
WHERE students > 0
ORDER BY figure.place
