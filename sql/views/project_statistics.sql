-- One row per project that somebody has begun: enrolments that count, how many are open, validated or failed, the share of marked ones
-- that passed (pass_rate), attempts that a pass took on average (tries), and days from the begin to the mark of a pass, at the median.
-- A retried project has the dates and the mark of its last attempt. People without a row in users count as well.
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
SELECT e.project_id, p.slug, p.name, count(*) AS enrolments,
    count(*) FILTER (WHERE e.status IN ('in_progress', 'searching_a_group', 'creating_group', 'waiting_for_correction')) AS open,
    count(*) FILTER (WHERE e.validated) AS validated,
    count(*) FILTER (WHERE NOT e.validated) AS failed,
    round(avg(e.validated::integer), 3) AS pass_rate,
    round(avg(e.occurrence + 1) FILTER (WHERE e.validated), 2) AS tries,
    round((percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM e.marked_at - e.created_at)) FILTER (WHERE e.validated)
        / 86400)::numeric, 1) AS days
FROM current_enrolments AS e
LEFT JOIN projects AS p ON p.id = e.project_id
GROUP BY e.project_id, p.slug, p.name
