-- One row per person and campus where the person is logged in: the machine, its seat as numbers where its name has them
-- (c1r9s3: cluster 1, line 9, seat 3), and since when. Of several machines that of the newest session. A session of 24 hours or more was never closed
-- and is left out, as is one on whose machine another has begun since. As old as the last read of locations.
--  user_id: The person, perhaps one without a row in users, such as a member of the staff.
--  login: Name on the intranet. NULL: without a row in users.
--  campus_id: Where the machine is.
--  host: The machine, such as c1r9s3.
--  cluster: First number in the name of the machine. NULL: it has not three.
--  line: Second number in that name.
--  seat: Third number in that name.
--  begin_at: Since when.
--  duration: How long that is.
SELECT DISTINCT ON (l.campus_id, l.user_id) l.user_id, u.login, l.campus_id, l.host,
    seat.numbers[1]::integer AS cluster, seat.numbers[2]::integer AS line, seat.numbers[3]::integer AS seat,
    l.begin_at, now() - l.begin_at AS duration
FROM locations AS l
LEFT JOIN users AS u ON u.id = l.user_id
-- One pattern with three groups would take five times as long.
CROSS JOIN LATERAL (
    SELECT regexp_split_to_array(
        substring(l.host, '[0-9]{1,6}[A-Za-z]+[0-9]{1,6}[A-Za-z]+[0-9]{1,6}$'), '[A-Za-z]+'
    ) AS numbers
    OFFSET 0
) AS seat
WHERE l.end_at IS NULL AND l.begin_at > now() - interval '24 hours' AND l.begin_at <= now()
    AND l.campus_id IS NOT NULL AND l.host IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM locations AS later
        WHERE later.campus_id = l.campus_id AND later.host = l.host AND later.begin_at <= now()
            AND (later.begin_at, later.id) > (l.begin_at, l.id)
    )
ORDER BY l.campus_id, l.user_id, l.begin_at DESC, l.id DESC
