-- title: Coalitions
-- chart: bars
-- unit: points
-- every: 1m
-- empty: no coalition with a mirrored student; `cursus run` reads coalitions and their members
-- Coalitions of all campuses are mirrored, without their campus: those of the mirrored students count.
SELECT coalitions.name AS label, coalitions.score AS value, coalitions.color AS colour,
    CASE members.count WHEN 1 THEN '1 member' ELSE to_char(members.count, 'FM999,999,999') || ' members' END AS note
FROM coalitions
JOIN (
    SELECT coalitions_users.coalition_id, count(DISTINCT coalitions_users.user_id) AS count
    FROM coalitions_users
    JOIN users ON users.id = coalitions_users.user_id
    GROUP BY coalitions_users.coalition_id
) AS members ON members.coalition_id = coalitions.id
ORDER BY coalitions.score DESC NULLS LAST, coalitions.id
LIMIT 8
