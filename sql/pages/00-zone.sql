-- title: Time zone
-- chart: zone
-- every: 10m
-- A mirror of one campus counts days as that campus does; any other in UTC.
SELECT min(campuses.name) AS label, min(campuses.time_zone) AS value
FROM campuses
WHERE campuses.id IN (SELECT DISTINCT users.campus_id FROM users)
HAVING count(*) = 1
