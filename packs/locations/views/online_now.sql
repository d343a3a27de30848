-- One row per person and campus where the person is logged in: the machine, its seat as numbers where its name has them
-- (c1r9s3: cluster 1, line 9, seat 3), and since when. Of several machines that of the newest session. A session of 24 hours or more was never closed
-- and is left out, as is one on whose machine another has begun since. As old as the last read of locations.
--  user_id: The person, perhaps one without a row in users, such as a member of the staff.
--  login: Name on the intranet. NULL: without a row in users.
--  campus_id: Where the machine is.
--  host: The machine, such as c1r9s3.
--  cluster: First number in the name of the machine. NULL: the name has fewer than three.
--  line: Second number in that name.
--  seat: Third number in that name.
--  begin_at: Since when.
--  duration: How long that is.
SELECT DISTINCT ON (s.campus_id, s.user_id) s.user_id, u.login, s.campus_id, s.host, s.cluster, s.line, s.seat,
    s.begin_at, now() - s.begin_at AS duration
FROM open_sessions AS s
LEFT JOIN users AS u ON u.id = s.user_id
WHERE s.begin_at > now() - interval '24 hours' AND s.begin_at <= now()
    AND (s.next_begin_at IS NULL OR s.next_begin_at > now())
ORDER BY s.campus_id, s.user_id, s.begin_at DESC, s.location_id DESC
