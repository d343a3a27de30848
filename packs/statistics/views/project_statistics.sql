-- One row per project that somebody has begun: enrolments that count, how many are open, validated or failed, the share of marked ones
-- that passed (pass_rate), attempts that a pass took on average (tries), and days from the begin to the mark of a pass, at the median.
-- A retried project has the dates and the mark of its last attempt. People without a row in users count as well. As of the last load of
-- projects_users.
--  project_id: Perhaps of another curriculum, without a row in projects.
--  slug: The same in addresses, such as 42cursus-libft; no two projects were seen with the same.
--  name: Title that people read.
--  enrolments: People who have begun.
--  open: Those of them without a mark who are at it.
--  validated: Those who have passed.
--  failed: Those who have a mark and no pass.
--  pass_rate: The share of passes in all that are marked, 0 to 1.
--  tries: Attempts up to a pass, on average.
--  days: From the begin to the mark of a pass, at the median.
SELECT t.project_id, p.slug, p.name, t.enrolments, t.open, t.validated, t.failed, t.pass_rate, t.tries, t.days
FROM project_totals AS t
LEFT JOIN projects AS p ON p.id = t.project_id
