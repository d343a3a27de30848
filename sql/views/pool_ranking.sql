-- One row per person in users who came through a piscine, also one whose enrolment has ended: the level, and the place by it in the pool,
-- which is the people of one campus, year and month. Alumni have left it.
--  campus_id: The primary one of the person.
--  pool_year: When the piscine was, as a text.
--  pool_month: The same in English, such as july.
--  user_id: The person, in users.
--  login: Name on the intranet.
--  level: Experience in the mirrored curriculum.
--  place: 1 is the highest level in the pool.
--  people: How many of the pool are in users.
SELECT u.campus_id, u.pool_year, u.pool_month, u.id AS user_id, u.login, c.level,
    rank() OVER pool AS place,
    count(*) OVER (PARTITION BY u.campus_id, u.pool_year, u.pool_month) AS people
FROM users AS u
JOIN current_cursus_users AS c ON c.user_id = u.id AND c.cursus_id = u.cursus_id
WHERE u.pool_year IS NOT NULL AND u.pool_month IS NOT NULL
WINDOW pool AS (PARTITION BY u.campus_id, u.pool_year, u.pool_month ORDER BY c.level DESC NULLS LAST)
