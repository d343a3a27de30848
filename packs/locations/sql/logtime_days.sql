-- logtime_days: the sessions of each person, cut at midnight by the clock of the campus, overlapping ones merged. A session with an end counts
-- for 24 hours at most. One without an end lasts until the person's next one, if that began within 24 hours; otherwise it is open
-- or was never closed, and has no part here. Only people whose sessions changed since the last time are looked at, an hour of slack
-- for clocks that went back, and only around those sessions.
WITH touched AS (
    SELECT user_id, min(begin_at) - interval '1 day' AS from_at,
        max(begin_at) + interval '1 day' AS until_at
    FROM locations
    WHERE ingested_at >= (SELECT coalesce(max(ingested_at), '-infinity') FROM logtime_days) - interval '1 hour'
        AND begin_at IS NOT NULL
    GROUP BY user_id
), sessions AS (
    SELECT l.user_id, coalesce(l.campus_id, 0) AS campus_id, coalesce(c.time_zone, 'UTC') AS time_zone, l.begin_at,
        CASE
            WHEN l.end_at IS NOT NULL THEN least(l.end_at, l.begin_at + interval '24 hours')
            ELSE (
                SELECT min(later.begin_at) FROM locations AS later
                WHERE later.user_id = l.user_id AND later.begin_at > l.begin_at
                    AND later.begin_at <= l.begin_at + interval '24 hours'
            )
        END AS end_at,
        (t.from_at AT TIME ZONE coalesce(c.time_zone, 'UTC'))::date AS from_day,
        (t.until_at AT TIME ZONE coalesce(c.time_zone, 'UTC'))::date AS until_day
    FROM touched AS t
    JOIN locations AS l ON l.user_id = t.user_id
        AND l.begin_at >= t.from_at - interval '3 days' AND l.begin_at <= t.until_at + interval '1 day'
    LEFT JOIN campuses AS c ON c.id = l.campus_id
), parts AS (
    SELECT s.user_id, s.campus_id, day.day::date AS day,
        tstzrange(
            greatest(s.begin_at, day.day AT TIME ZONE s.time_zone),
            least(s.end_at, (day.day + interval '1 day') AT TIME ZONE s.time_zone)
        ) AS part
    FROM sessions AS s
    CROSS JOIN LATERAL generate_series(
        date_trunc('day', s.begin_at AT TIME ZONE s.time_zone),
        date_trunc('day', s.end_at AT TIME ZONE s.time_zone),
        interval '1 day'
    ) AS day (day)
    WHERE s.end_at > s.begin_at AND day.day BETWEEN s.from_day AND s.until_day
        AND least(s.end_at, (day.day + interval '1 day') AT TIME ZONE s.time_zone)
            > greatest(s.begin_at, day.day AT TIME ZONE s.time_zone)
), merged AS (
    SELECT user_id, campus_id, day, range_agg(part) AS parts, count(*) AS sessions
    FROM parts
    GROUP BY user_id, campus_id, day
), gone AS (
    DELETE FROM logtime_days AS d
    USING touched AS t
    WHERE d.user_id = t.user_id
        AND (
            SELECT d.day BETWEEN (t.from_at AT TIME ZONE zone.name)::date AND (t.until_at AT TIME ZONE zone.name)::date
            FROM (SELECT coalesce((SELECT time_zone FROM campuses WHERE id = d.campus_id), 'UTC') AS name) AS zone
        )
        AND NOT EXISTS (
            SELECT FROM merged AS m
            WHERE m.user_id = d.user_id AND m.campus_id = d.campus_id AND m.day = d.day
        )
)
INSERT INTO logtime_days AS d (user_id, campus_id, day, parts, duration, sessions)
SELECT user_id, campus_id, day, parts,
    (SELECT make_interval(secs => sum(extract(epoch FROM upper(part) - lower(part)))::double precision) FROM unnest(parts) AS part), sessions
FROM merged
ON CONFLICT (user_id, day, campus_id) DO UPDATE
SET parts = excluded.parts, duration = excluded.duration, sessions = excluded.sessions, ingested_at = now()
WHERE (d.parts, d.sessions) IS DISTINCT FROM (excluded.parts, excluded.sessions)
