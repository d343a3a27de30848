-- title: Levels
-- chart: columns
-- unit: students with an ongoing enrolment
-- every: 5m
-- empty: no ongoing enrolment of a student is mirrored; `cursus run` reads them
-- Staff and alumni can have an ongoing enrolment as well.
SELECT level AS label, count(enrolled.level) AS value
FROM generate_series(0, (
    SELECT floor(max(level))::integer FROM cursus_users
    WHERE (end_at IS NULL OR end_at > now()) AND level BETWEEN 0 AND 99 AND user_id IN (SELECT id FROM users)
)) AS level
LEFT JOIN (
    SELECT floor(cursus_users.level)::integer AS level
    FROM cursus_users
    WHERE (end_at IS NULL OR end_at > now()) AND cursus_users.level BETWEEN 0 AND 99 AND user_id IN (SELECT id FROM users)
) AS enrolled USING (level)
GROUP BY level
ORDER BY level
