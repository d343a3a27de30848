-- title: Highest levels
-- chart: bars
-- unit: level
-- every: 5m
-- empty: no ongoing enrolment of a student is mirrored; `cursus run` reads them
SELECT coalesce(users.displayname, users.login) AS label, max(cursus_users.level) AS value
FROM cursus_users
JOIN users ON users.id = cursus_users.user_id
WHERE cursus_users.end_at IS NULL OR cursus_users.end_at > now()
GROUP BY users.id
HAVING max(cursus_users.level) IS NOT NULL
ORDER BY max(cursus_users.level) DESC, users.id
LIMIT 10
