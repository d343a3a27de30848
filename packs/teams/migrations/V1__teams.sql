-- Teams, nested in the registrations of their people.

CREATE TABLE teams (
    id bigint PRIMARY KEY,
    project_id bigint,
    project_session_id bigint,
    status text,
    final_mark integer,
    locked boolean,
    validated boolean,
    closed boolean,
    locked_at timestamptz,
    closed_at timestamptz,
    terminating_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX teams_project_id ON teams (project_id);
CREATE INDEX teams_updated_at ON teams (updated_at);
COMMENT ON TABLE teams IS 'Tries at projects: a row a team, also of one person. One that was abandoned stays until the next full read of projects_users.';
COMMENT ON COLUMN teams.id IS 'Id of the team; projects_users.current_team_id names it.';
COMMENT ON COLUMN teams.project_id IS 'The project, perhaps one of another curriculum that is not mirrored.';
COMMENT ON COLUMN teams.project_session_id IS 'Which offer of the project it was made for (project_sessions.id), perhaps one that is not mirrored.';
COMMENT ON COLUMN teams.status IS 'in_progress, waiting_for_correction, finished, creating_group.';
COMMENT ON COLUMN teams.final_mark IS 'Mark of the team, above 100 with a bonus; null: not marked yet.';
COMMENT ON COLUMN teams.locked IS 'Whether nobody can join any more (locked?).';
COMMENT ON COLUMN teams.validated IS 'Whether the project is passed (validated?); null: not marked yet.';
COMMENT ON COLUMN teams.closed IS 'Whether the work was handed in (closed?).';
COMMENT ON COLUMN teams.locked_at IS 'When it was locked; null: not yet.';
COMMENT ON COLUMN teams.closed_at IS 'When the work was handed in; null: not yet.';
COMMENT ON COLUMN teams.terminating_at IS 'When it ends by itself; null: no such date.';
COMMENT ON COLUMN teams.created_at IS 'When the team was created; a retry makes another one.';
COMMENT ON COLUMN teams.updated_at IS 'When the team last changed at the API.';
COMMENT ON COLUMN teams.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE teams_users (
    team_id bigint NOT NULL REFERENCES teams ON DELETE CASCADE,
    user_id bigint NOT NULL,
    projects_user_id bigint,
    leader boolean,
    occurrence integer,
    validated boolean,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX teams_users_user_id ON teams_users (user_id);
CREATE INDEX teams_users_projects_user_id ON teams_users (projects_user_id);
COMMENT ON TABLE teams_users IS 'Who is in which team.';
COMMENT ON COLUMN teams_users.team_id IS 'The try at a project (teams.id).';
COMMENT ON COLUMN teams_users.user_id IS 'The person, perhaps one of another campus who is not mirrored.';
COMMENT ON COLUMN teams_users.projects_user_id IS 'The person''s registration (projects_users.id), perhaps one that is not mirrored.';
COMMENT ON COLUMN teams_users.leader IS 'Whether the person leads the team.';
COMMENT ON COLUMN teams_users.occurrence IS 'Which try of the person it is, from 0.';
COMMENT ON COLUMN teams_users.validated IS 'Whether the person has confirmed to be in the team.';
COMMENT ON COLUMN teams_users.ingested_at IS 'When this row last changed in the mirror.';
