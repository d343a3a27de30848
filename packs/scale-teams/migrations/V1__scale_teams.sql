-- Evaluations of teams.

CREATE TABLE scale_teams (
    id bigint PRIMARY KEY,
    scale_id bigint,
    team_id bigint,
    project_id bigint,
    user_id bigint,
    final_mark bigint,
    flag_id bigint,
    flag text,
    is_positive boolean,
    begin_at timestamptz,
    filled_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX scale_teams_team_id ON scale_teams (team_id);
CREATE INDEX scale_teams_user_id_begin_at ON scale_teams (user_id, begin_at);
CREATE INDEX scale_teams_project_id ON scale_teams (project_id);
CREATE INDEX scale_teams_begin_at ON scale_teams (begin_at);
COMMENT ON TABLE scale_teams IS 'One row per evaluation of a team by a person, of the last 60 days when the mirror began, and since. What was written in it is not kept.';
COMMENT ON COLUMN scale_teams.id IS 'Number that the API uses.';
COMMENT ON COLUMN scale_teams.scale_id IS 'The sheet of questions by which it is done.';
COMMENT ON COLUMN scale_teams.team_id IS 'The team that is evaluated; the pack teams has its people.';
COMMENT ON COLUMN scale_teams.project_id IS 'The project of the team.';
COMMENT ON COLUMN scale_teams.user_id IS 'Who evaluates (corrector.id). NULL: nobody yet, or the API hides who.';
COMMENT ON COLUMN scale_teams.final_mark IS 'The mark that was given. NULL: none yet.';
COMMENT ON COLUMN scale_teams.flag_id IS 'Number of the verdict.';
COMMENT ON COLUMN scale_teams.flag IS 'The verdict in words, such as Ok, Cheat or Empty work.';
COMMENT ON COLUMN scale_teams.is_positive IS 'Whether the verdict is a good one.';
COMMENT ON COLUMN scale_teams.begin_at IS 'When it is to take place.';
COMMENT ON COLUMN scale_teams.filled_at IS 'When the sheet was filled in. NULL: not yet.';
COMMENT ON COLUMN scale_teams.created_at IS 'When it was arranged.';
COMMENT ON COLUMN scale_teams.updated_at IS 'When it last changed at the API.';
COMMENT ON COLUMN scale_teams.ingested_at IS 'When this row last changed in the mirror.';
