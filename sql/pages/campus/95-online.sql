-- title: Where people sit
-- chart: bars
-- unit: students at a computer when they were last read
-- every: 1m
-- empty: no student was at a computer when last read
-- A computer is named by cluster, row and seat, such as c1r2s3.
SELECT coalesce(nullif(substring(location FROM '^[A-Za-z-]*[0-9]+'), ''), location) AS label, count(*) AS value
FROM users
WHERE location IS NOT NULL
GROUP BY 1
ORDER BY count(*) DESC, 1
LIMIT 12
