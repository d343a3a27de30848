-- title: Here for the longest
-- chart: bars
-- unit: hours since they logged in
-- every: 1m
-- empty: nobody was logged in when sessions were last read
SELECT coalesce(login, 'user ' || user_id) AS label, round(extract(epoch FROM duration) / 3600, 1) AS value, host AS note
FROM online_now
ORDER BY begin_at, user_id
LIMIT 10
