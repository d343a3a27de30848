-- title: At a glance
-- chart: figures
-- width: full
-- every: 1m
-- empty: no session on a machine is mirrored; `cursus run` reads them
WITH online AS (
    SELECT count(*) AS people, count(DISTINCT (campus_id, host)) AS machines, max(duration) AS longest FROM online_now
), today AS (
    -- By the clock of each campus; the bounds are for the index.
    SELECT count(DISTINCT logtime.user_id) AS people, sum(extract(epoch FROM logtime.duration)) / 3600 AS hours
    FROM logtime_daily AS logtime
    LEFT JOIN campuses ON campuses.id = logtime.campus_id
    WHERE logtime.day BETWEEN now()::date - 1 AND now()::date + 1
        AND logtime.day = (now() AT TIME ZONE coalesce(campuses.time_zone, 'UTC'))::date
), reading AS (
    SELECT max(age) AS age FROM pipeline.freshness WHERE schema_name = current_schema() AND resource = 'locations'
)
SELECT figure.label, figure.value, figure.text, figure.note
FROM online, today, reading
CROSS JOIN LATERAL (VALUES
    (1, 'people online', online.people::numeric, NULL, 'when last read, ' || CASE
        WHEN age < interval '2 minutes' THEN 'a moment ago'
        WHEN age < interval '2 hours' THEN floor(extract(epoch FROM age) / 60) || ' min ago'
        WHEN age < interval '2 days' THEN floor(extract(epoch FROM age) / 3600) || ' h ago'
        ELSE floor(extract(epoch FROM age) / 86400) || ' days ago' END),
    (2, 'machines in use', online.machines, NULL, NULL),
    (3, 'here today', today.people, NULL, NULL),
    (4, 'hours today, of all', round(today.hours), NULL, NULL),
    (5, 'longest session now', round(extract(epoch FROM online.longest) / 3600, 1),
        floor(extract(epoch FROM online.longest) / 3600) || ' h ' || to_char(online.longest, 'MI') || ' min', NULL)
) AS figure (place, label, value, text, note)
WHERE EXISTS (SELECT FROM locations)
ORDER BY figure.place
