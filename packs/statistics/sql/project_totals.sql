-- project_totals: all of it, so that enrolments that were deleted count no more. Only rows that differ are written or locked.
-- The enrolments are those of current_enrolments: in the order of an index they are found in half the time.
WITH added AS (
    SELECT project_id, count(*) AS enrolments,
        count(*) FILTER (WHERE status IN ('in_progress', 'searching_a_group', 'creating_group', 'waiting_for_correction')) AS open,
        count(*) FILTER (WHERE validated) AS validated,
        count(*) FILTER (WHERE NOT validated) AS failed,
        round(avg(validated::integer), 3) AS pass_rate,
        round(avg(occurrence + 1) FILTER (WHERE validated), 2) AS tries,
        -- A median in its place would have all enrolments sorted by project.
        array_agg(date_part('epoch', marked_at - created_at)) FILTER (WHERE validated) AS seconds
    FROM (
        SELECT DISTINCT ON (user_id, project_id) project_id, status, validated, occurrence, marked_at, created_at
        FROM projects_users
        ORDER BY user_id DESC, project_id DESC, id DESC
    ) AS newest
    GROUP BY project_id
), gone AS (
    DELETE FROM project_totals AS t
    WHERE NOT EXISTS (SELECT FROM added AS a WHERE a.project_id = t.project_id)
)
INSERT INTO project_totals (project_id, enrolments, open, validated, failed, pass_rate, tries, days)
SELECT project_id, enrolments, open, validated, failed, pass_rate, tries,
    (SELECT round((percentile_cont(0.5) WITHIN GROUP (ORDER BY one) / 86400)::numeric, 1) FROM unnest(seconds) AS one)
FROM added
EXCEPT
SELECT project_id, enrolments, open, validated, failed, pass_rate, tries, days
FROM project_totals
ON CONFLICT (project_id) DO UPDATE
SET enrolments = excluded.enrolments, open = excluded.open, validated = excluded.validated, failed = excluded.failed,
    pass_rate = excluded.pass_rate, tries = excluded.tries, days = excluded.days, ingested_at = now()
