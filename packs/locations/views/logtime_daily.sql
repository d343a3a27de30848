-- One row per person, campus and day on which the person was logged in: for how long (duration), by the clock of the campus. Time of
-- several sessions counts once, a session counts for 24 hours at most. One without an end lasts until the person's next one, else until
-- now; after 24 hours it was never closed, and counts nothing.
--  user_id: The person, perhaps one without a row in users.
--  campus_id: Where the machines are; 0: the API does not say.
--  day: A date by the clock of the campus.
--  duration: How long the person was logged in, in hours.
--  sessions: How many have a part in it.
--  first_at: The beginning of the first part.
--  last_at: The end of the last part.
SELECT d.user_id, d.campus_id, d.day,
    CASE
        WHEN live.parts IS NULL THEN d.duration
        ELSE (
            SELECT make_interval(secs => sum(extract(epoch FROM upper(part) - lower(part)))::double precision)
            FROM unnest(d.parts + live.parts) AS part
        )
    END AS duration,
    d.sessions + (live.parts IS NOT NULL)::integer AS sessions,
    lower(d.parts + coalesce(live.parts, '{}')) AS first_at, upper(d.parts + coalesce(live.parts, '{}')) AS last_at
FROM logtime_days AS d
-- The person's newest session, if it is open: its part in the day.
LEFT JOIN LATERAL (
    SELECT tstzmultirange(tstzrange(
        part.begin_at, greatest(part.begin_at, least(now(), (d.day + 1)::timestamp AT TIME ZONE zone.name))
    )) AS parts
    FROM (
        SELECT newest.begin_at, newest.end_at, newest.campus_id FROM locations AS newest
        WHERE newest.user_id = d.user_id AND newest.begin_at <= now() AND d.day > (now() AT TIME ZONE 'UTC')::date - 3
        ORDER BY newest.begin_at DESC, newest.id DESC
        LIMIT 1
    ) AS l
    LEFT JOIN campuses AS c ON c.id = l.campus_id
    CROSS JOIN LATERAL (SELECT coalesce(c.time_zone, 'UTC') AS name) AS zone
    CROSS JOIN LATERAL (SELECT greatest(l.begin_at, d.day::timestamp AT TIME ZONE zone.name) AS begin_at) AS part
    WHERE l.end_at IS NULL AND l.begin_at > now() - interval '24 hours' AND coalesce(l.campus_id, 0) = d.campus_id
        AND (d.day + 1)::timestamp AT TIME ZONE zone.name > l.begin_at AND d.day::timestamp AT TIME ZONE zone.name < now()
) AS live ON true
UNION ALL
-- Days of which logtime_days has nothing yet.
SELECT l.user_id, coalesce(l.campus_id, 0), day.day::date,
    make_interval(secs => extract(
        epoch FROM least(now(), (day.day + interval '1 day') AT TIME ZONE zone.name) - greatest(l.begin_at, day.day AT TIME ZONE zone.name)
    )::double precision),
    1,
    greatest(l.begin_at, day.day AT TIME ZONE zone.name),
    least(now(), (day.day + interval '1 day') AT TIME ZONE zone.name)
FROM locations AS l
JOIN LATERAL (
    SELECT newest.id FROM locations AS newest
    WHERE newest.user_id = l.user_id AND newest.begin_at <= now()
    ORDER BY newest.begin_at DESC, newest.id DESC
    LIMIT 1
) AS newest ON newest.id = l.id
LEFT JOIN campuses AS c ON c.id = l.campus_id
CROSS JOIN LATERAL (SELECT coalesce(c.time_zone, 'UTC') AS name) AS zone
-- Where a day has 23 hours, 24 hours can have a part in three days.
CROSS JOIN (VALUES (0), (1), (2)) AS next (days)
CROSS JOIN LATERAL (
    SELECT date_trunc('day', l.begin_at AT TIME ZONE zone.name) + next.days * interval '1 day' AS day
) AS day
WHERE l.end_at IS NULL AND l.begin_at > now() - interval '24 hours' AND l.begin_at < now()
    AND day.day AT TIME ZONE zone.name < now()
    AND NOT EXISTS (
        SELECT FROM logtime_days AS d
        WHERE d.user_id = l.user_id AND d.campus_id = coalesce(l.campus_id, 0) AND d.day = day.day::date
    )
