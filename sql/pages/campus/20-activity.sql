-- title: Projects marked, day by day
-- chart: columns
-- unit: marks in 8 weeks
-- width: full
-- every: 5m
-- empty: no mark of the last 8 weeks is mirrored; `cursus run` reads them
-- A mark moves updated_at, which has an index: no older row is looked at.
WITH marked AS (
    SELECT date_trunc('day', marked_at) AS day, count(*) AS count
    FROM projects_users
    WHERE marked_at >= date_trunc('day', now()) - interval '55 days' AND updated_at >= date_trunc('day', now()) - interval '55 days'
    GROUP BY 1
)
SELECT to_char(day, 'FMDD Mon') AS label, coalesce(marked.count, 0) AS value,
    to_char(coalesce(marked.count, 0), 'FM999,999,990') || CASE WHEN extract(isodow FROM day) > 5 THEN ', weekend' ELSE '' END AS text
FROM generate_series(date_trunc('day', now()) - interval '55 days', date_trunc('day', now()), interval '1 day') AS day
LEFT JOIN marked USING (day)
WHERE EXISTS (SELECT FROM marked)
ORDER BY day
