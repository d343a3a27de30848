-- What `cursus demo` asks, a query a line, and at the end one that it leaves to the reader.
SELECT COUNT(*) FROM users WHERE cursus_id=21 AND kind='student';
SELECT COUNT(*) FROM projects_users WHERE cursus_id=21;
SELECT u.login, p.name, pu.final_mark FROM users u JOIN projects_users pu ON u.id=pu.user_id JOIN projects p ON pu.project_id=p.id WHERE u.cursus_id=21 LIMIT 5;
SELECT login, host, campus_id, begin_at AS online_since FROM online_now ORDER BY begin_at DESC LIMIT 5;
SELECT u.login, count(*) AS days, date_trunc('minute', sum(d.duration)) AS logtime_of_the_week FROM logtime_daily d JOIN users u ON u.id=d.user_id WHERE d.day > current_date - 7 GROUP BY u.login ORDER BY 3 DESC LIMIT 5;
SELECT name, score FROM coalitions ORDER BY score DESC LIMIT 5;
