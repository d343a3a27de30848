-- title: Hours on site, day by day
-- chart: columns
-- unit: hours of all people in 8 weeks
-- width: full
-- every: 10m
-- caption: Sessions count when they have ended, each by the clock of its campus.
-- empty: no session of the last 8 weeks is mirrored; `cursus run` reads them
WITH logged AS (
    SELECT day, date_part('epoch', sum(duration)) / 3600 AS hours
    FROM logtime_days
    WHERE day > now()::date - 56
    GROUP BY day
)
SELECT to_char(day, 'FMDD Mon') AS label, round(coalesce(logged.hours, 0)) AS value,
    to_char(round(coalesce(logged.hours, 0)), 'FM999,999,990') || ' h'
        || CASE WHEN extract(isodow FROM day) > 5 THEN ', weekend' ELSE '' END AS text
FROM (SELECT now()::date - back AS day FROM generate_series(0, 55) AS back) AS days
LEFT JOIN logged USING (day)
WHERE EXISTS (SELECT FROM logged)
ORDER BY day
