-- Exams of campuses.

CREATE TABLE exams (
    id bigint PRIMARY KEY,
    name text,
    location text,
    begin_at timestamptz,
    end_at timestamptz,
    max_people bigint,
    nbr_subscribers bigint,
    campus_id bigint,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX exams_begin_at ON exams (begin_at);
CREATE INDEX exams_end_at ON exams (end_at);
CREATE INDEX exams_campus_id ON exams (campus_id);
COMMENT ON TABLE exams IS 'One row per exam of a campus: a time at which people can take an exam project. Its curricula are in exams_cursus, its projects in exams_projects. upcoming lists those to come, with events.';
COMMENT ON COLUMN exams.id IS 'Number that the API and every exam_id use.';
COMMENT ON COLUMN exams.name IS 'Title that people read.';
COMMENT ON COLUMN exams.location IS 'Clusters in which it takes place, such as c1,c2. NULL: nobody said.';
COMMENT ON COLUMN exams.begin_at IS 'When it begins.';
COMMENT ON COLUMN exams.end_at IS 'When it ends.';
COMMENT ON COLUMN exams.max_people IS 'Places. NULL: no limit.';
COMMENT ON COLUMN exams.nbr_subscribers IS 'People who registered, by the API''s count; it moves no date, so it can be a day old.';
COMMENT ON COLUMN exams.campus_id IS 'The campus.';
COMMENT ON COLUMN exams.created_at IS 'When it was announced.';
COMMENT ON COLUMN exams.updated_at IS 'When it last changed at the API; not by registrations.';
COMMENT ON COLUMN exams.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE exams_cursus (
    exam_id bigint NOT NULL REFERENCES exams ON DELETE CASCADE,
    cursus_id bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (exam_id, cursus_id)
);
CREATE INDEX exams_cursus_cursus_id ON exams_cursus (cursus_id);
COMMENT ON TABLE exams_cursus IS 'One row per exam and curriculum that it is for.';
COMMENT ON COLUMN exams_cursus.exam_id IS 'The exam.';
COMMENT ON COLUMN exams_cursus.cursus_id IS 'The curriculum.';
COMMENT ON COLUMN exams_cursus.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE exams_projects (
    exam_id bigint NOT NULL REFERENCES exams ON DELETE CASCADE,
    project_id bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (exam_id, project_id)
);
CREATE INDEX exams_projects_project_id ON exams_projects (project_id);
COMMENT ON TABLE exams_projects IS 'One row per exam and project that it offers.';
COMMENT ON COLUMN exams_projects.exam_id IS 'The exam.';
COMMENT ON COLUMN exams_projects.project_id IS 'The project, perhaps one of another curriculum, which has no row in projects.';
COMMENT ON COLUMN exams_projects.ingested_at IS 'When this row last changed in the mirror.';
