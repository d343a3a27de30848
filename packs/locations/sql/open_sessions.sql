-- open_sessions: every load compares all rows, so that those of sessions that have ended or were deleted are deleted. Only rows that
-- differ are written or locked.
WITH wanted AS (
    SELECT l.id AS location_id, l.user_id, l.campus_id, l.host,
        seat.numbers[1]::integer AS cluster, seat.numbers[2]::integer AS line, seat.numbers[3]::integer AS seat,
        l.begin_at,
        (
            SELECT later.begin_at FROM locations AS later
            WHERE later.campus_id = l.campus_id AND later.host = l.host AND (later.begin_at, later.id) > (l.begin_at, l.id)
            ORDER BY later.begin_at, later.id
            LIMIT 1
        ) AS next_begin_at
    FROM locations AS l
    -- One pattern with three groups would take five times as long.
    CROSS JOIN LATERAL (
        SELECT regexp_split_to_array(
            substring(l.host, '[0-9]{1,6}[A-Za-z]+[0-9]{1,6}[A-Za-z]+[0-9]{1,6}$'), '[A-Za-z]+'
        ) AS numbers
        OFFSET 0
    ) AS seat
    WHERE l.end_at IS NULL AND l.begin_at IS NOT NULL AND l.campus_id IS NOT NULL AND l.host IS NOT NULL
), deleted AS (
    DELETE FROM open_sessions AS o
    WHERE NOT EXISTS (SELECT FROM wanted AS w WHERE w.location_id = o.location_id)
)
INSERT INTO open_sessions (location_id, user_id, campus_id, host, cluster, line, seat, begin_at, next_begin_at)
SELECT location_id, user_id, campus_id, host, cluster, line, seat, begin_at, next_begin_at
FROM wanted
EXCEPT
SELECT location_id, user_id, campus_id, host, cluster, line, seat, begin_at, next_begin_at
FROM open_sessions
ON CONFLICT (location_id) DO UPDATE
SET user_id = excluded.user_id, campus_id = excluded.campus_id, host = excluded.host, cluster = excluded.cluster,
    line = excluded.line, seat = excluded.seat, begin_at = excluded.begin_at, next_begin_at = excluded.next_begin_at, ingested_at = now()
