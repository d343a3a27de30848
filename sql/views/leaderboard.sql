-- One row per current student: the level in the mirrored curriculum, and the place by it on the campus. Equal levels share a place.
--  user_id: The person, in users.
--  login: Name on the intranet.
--  campus_id: The primary one of the person.
--  level: Experience in the mirrored curriculum.
--  grade: Rank that comes with it, such as Cadet or Member.
--  place: 1 is the highest level of the campus.
--  pool_year: When the piscine was, as a text.
--  pool_month: The same in English, such as july.
--  begin_at: Since when the person has been enrolled.
SELECT u.id AS user_id, u.login, u.campus_id, c.level, c.grade,
    rank() OVER (PARTITION BY u.campus_id ORDER BY c.level DESC NULLS LAST) AS place,
    u.pool_year, u.pool_month, c.begin_at
FROM users AS u
JOIN current_cursus_users AS c ON c.user_id = u.id AND c.cursus_id = u.cursus_id
WHERE c.begin_at <= now() AND (c.end_at IS NULL OR c.end_at > now())
