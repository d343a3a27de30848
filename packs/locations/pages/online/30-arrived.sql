-- title: Just arrived
-- chart: table
-- every: 1m
-- empty: nobody was logged in when sessions were last read
SELECT coalesce(login, 'user ' || user_id) AS person, host AS machine, to_char(begin_at, 'HH24:MI') AS since
FROM online_now
ORDER BY begin_at DESC, user_id
LIMIT 10
