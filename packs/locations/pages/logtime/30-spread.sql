-- title: Hours of a person in a week
-- chart: columns
-- unit: people by their hours in the last 7 days
-- every: 10m
-- empty: nobody was logged in during the last 7 days, or it is not mirrored; `cursus run` reads it
WITH logged AS (
    SELECT least(floor(extract(epoch FROM sum(duration)) / 3600 / 5), 12)::integer AS step
    FROM logtime_days
    WHERE day > now()::date - 7
    GROUP BY user_id
)
SELECT CASE step WHEN 12 THEN '60+' ELSE (5 * step)::text END AS label, count(logged.step) AS value,
    CASE step WHEN 12 THEN '60 h or more: ' ELSE 5 * step || ' h to ' || 5 * (step + 1) || ' h: ' END || count(logged.step) AS text
FROM generate_series(0, 12) AS step
LEFT JOIN logged USING (step)
WHERE EXISTS (SELECT FROM logged)
GROUP BY step
ORDER BY step
