-- What `cursus demo` asks, a query a line, and at the end one that it leaves to the reader.
SELECT COUNT(*) FROM users WHERE cursus_id=21 AND kind='student';
SELECT COUNT(*) FROM projects_users WHERE cursus_id=21;
SELECT u.login, p.name, pu.final_mark FROM users u JOIN projects_users pu ON u.id=pu.user_id JOIN projects p ON pu.project_id=p.id WHERE u.cursus_id=21 LIMIT 5;
SELECT name, score FROM coalitions ORDER BY score DESC LIMIT 5;
