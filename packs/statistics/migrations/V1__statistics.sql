-- What project_statistics shows of each project.

-- Kept by sql/project_totals.sql: what project_statistics would take too long to add up.
CREATE TABLE project_totals (
    project_id bigint PRIMARY KEY,
    enrolments bigint NOT NULL,
    open bigint NOT NULL,
    validated bigint NOT NULL,
    failed bigint NOT NULL,
    pass_rate numeric,
    tries numeric,
    days numeric,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE project_totals IS 'One row per project that somebody has begun, added up from current_enrolments; read project_statistics, which has its slug and name.';
COMMENT ON COLUMN project_totals.project_id IS 'The project, perhaps of another curriculum, without a row in projects.';
COMMENT ON COLUMN project_totals.enrolments IS 'People who have begun.';
COMMENT ON COLUMN project_totals.open IS 'Those of them without a mark who are at it.';
COMMENT ON COLUMN project_totals.validated IS 'Those who have passed.';
COMMENT ON COLUMN project_totals.failed IS 'Those who have a mark and no pass.';
COMMENT ON COLUMN project_totals.pass_rate IS 'The share of passes in all that are marked, 0 to 1. NULL: none is marked.';
COMMENT ON COLUMN project_totals.tries IS 'Attempts up to a pass, on average. NULL: nobody has passed.';
COMMENT ON COLUMN project_totals.days IS 'From the begin to the mark of a pass, at the median. NULL: nobody has passed.';
COMMENT ON COLUMN project_totals.ingested_at IS 'When this row last changed in the mirror.';

-- A mirror that has enrolments already: the view of before showed them, and the next load may be hours away.
INSERT INTO project_totals (project_id, enrolments, open, validated, failed, pass_rate, tries, days)
SELECT project_id, count(*),
    count(*) FILTER (WHERE status IN ('in_progress', 'searching_a_group', 'creating_group', 'waiting_for_correction')),
    count(*) FILTER (WHERE validated),
    count(*) FILTER (WHERE NOT validated),
    round(avg(validated::integer), 3),
    round(avg(occurrence + 1) FILTER (WHERE validated), 2),
    round((percentile_cont(0.5) WITHIN GROUP (ORDER BY date_part('epoch', marked_at - created_at)) FILTER (WHERE validated) / 86400)::numeric, 1)
FROM current_enrolments
GROUP BY project_id;
