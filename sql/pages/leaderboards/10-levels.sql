-- title: Highest levels
-- chart: bars
-- unit: level in the mirrored curriculum
-- every: 5m
-- empty: no current student is mirrored; `cursus run` reads them
SELECT leaderboard.login AS label, leaderboard.level AS value,
    concat_ws(', ', leaderboard.grade, CASE WHEN campuses.count > 1 THEN campus.name END) AS note
FROM leaderboard
LEFT JOIN campuses AS campus ON campus.id = leaderboard.campus_id
CROSS JOIN (SELECT count(DISTINCT campus_id) AS count FROM users) AS campuses
WHERE leaderboard.level IS NOT NULL
ORDER BY leaderboard.level DESC, leaderboard.user_id
LIMIT 10
