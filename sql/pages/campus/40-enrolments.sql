-- title: Enrolments
-- chart: bars
-- unit: people
-- caption: The deadline is the day by which a student must leave unless something is finished before (the black hole).
-- every: 5m
-- empty: no enrolment is mirrored yet; `cursus run` reads them
WITH states AS (
    SELECT CASE
        WHEN end_at <= now() - interval '1 year' THEN 6
        WHEN end_at <= now() THEN 5
        WHEN blackholed_at IS NULL THEN 1
        WHEN blackholed_at <= now() THEN 4
        WHEN blackholed_at <= now() + interval '30 days' THEN 3
        ELSE 2 END AS state
    FROM cursus_users
)
SELECT named.label, count(states.state) AS value,
    CASE WHEN count(states.state) = 0 THEN 'plain' ELSE named.tone END AS tone
FROM (VALUES
    (1, 'ongoing, without a deadline', 'plain'),
    (2, 'ongoing, deadline later than in 30 days', 'plain'),
    (3, 'ongoing, deadline within 30 days', 'warning'),
    (4, 'ongoing, deadline has passed', 'failed'),
    (5, 'ended in the last 12 months', 'none'),
    (6, 'ended earlier', 'none')
) AS named (state, label, tone)
LEFT JOIN states USING (state)
WHERE EXISTS (SELECT FROM cursus_users)
GROUP BY named.state, named.label, named.tone
ORDER BY named.state
