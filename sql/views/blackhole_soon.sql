-- One row per current student whose blackhole is less than 30 days away: the next validated project moves it on. Those with a date in
-- the past are overdue, and not here.
--  user_id: The person, in users.
--  login: Name on the intranet.
--  campus_id: The primary one of the person.
--  level: Experience in the mirrored curriculum.
--  blackholed_at: By then something must be validated, or the person leaves.
--  remaining: How long that is from now.
SELECT u.id AS user_id, u.login, u.campus_id, c.level, c.blackholed_at, c.blackholed_at - now() AS remaining
FROM current_cursus_users AS c
JOIN users AS u ON u.id = c.user_id AND u.cursus_id = c.cursus_id
WHERE c.begin_at <= now() AND (c.end_at IS NULL OR c.end_at > now())
    AND c.blackholed_at >= now() AND c.blackholed_at < now() + interval '30 days'
