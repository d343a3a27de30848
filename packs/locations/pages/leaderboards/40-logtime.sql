-- title: Most time on site
-- chart: bars
-- unit: hours in 7 days
-- every: 5m
-- caption: Sessions count when they have ended.
-- empty: nobody was logged in during the last 7 days, or it is not mirrored; `cursus run` reads it
-- logtime_days lacks sessions that are open, and is read in a fraction of the time of logtime_daily.
SELECT coalesce(users.login, 'user ' || logtime.user_id) AS label, logtime.hours AS value,
    logtime.days || CASE logtime.days WHEN 1 THEN ' day' ELSE ' days' END AS note
FROM (
    SELECT user_id, round(extract(epoch FROM sum(duration)) / 3600, 1) AS hours, count(DISTINCT day) AS days
    FROM logtime_days
    WHERE day > now()::date - 7
    GROUP BY user_id
    ORDER BY sum(duration) DESC, user_id
    LIMIT 10
) AS logtime
LEFT JOIN users ON users.id = logtime.user_id
ORDER BY logtime.hours DESC, logtime.user_id
