-- title: People on site, week by week
-- chart: columns
-- unit: people in 8 weeks
-- every: 10m
-- empty: no session of the last 8 weeks is mirrored; `cursus run` reads them
WITH people AS (
    SELECT ((SELECT date_trunc('week', now())::date + 6) - day) / 7 AS weeks_ago, user_id
    FROM logtime_days
    WHERE day >= date_trunc('week', now())::date - 49
    GROUP BY 1, 2
), logged AS (
    SELECT weeks_ago, count(*) AS people FROM people GROUP BY weeks_ago
)
SELECT to_char(date_trunc('week', now())::date - 7 * weeks_ago, 'FMDD Mon') AS label, coalesce(logged.people, 0) AS value
FROM generate_series(0, 7) AS weeks_ago
LEFT JOIN logged USING (weeks_ago)
WHERE EXISTS (SELECT FROM logged)
ORDER BY weeks_ago DESC
