-- One row per person, campus and week in which the person was logged in: for how long, and on how many days. Weeks begin on Monday, by the
-- campus' clock.
--  user_id: The person, perhaps one without a row in users.
--  campus_id: Where the machines are; 0: the API does not say.
--  week: Its Monday.
--  duration: How long the person was logged in, in hours.
--  days: On how many the person was.
SELECT user_id, campus_id, date_trunc('week', day::timestamp)::date AS week, sum(duration) AS duration, count(*) AS days
FROM logtime_daily
GROUP BY user_id, campus_id, date_trunc('week', day::timestamp)::date
