-- Sessions of people on the machines of campuses.

CREATE TABLE locations (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL,
    campus_id bigint,
    host text,
    begin_at timestamptz,
    end_at timestamptz,
    "primary" boolean,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX locations_user_id_begin_at_id ON locations (user_id, begin_at, id);
CREATE INDEX locations_campus_id_host_begin_at_id ON locations (campus_id, host, begin_at, id);
CREATE INDEX locations_begin_at ON locations (begin_at);
CREATE INDEX locations_open ON locations (begin_at) WHERE end_at IS NULL;
CREATE INDEX locations_ingested_at ON locations (ingested_at);
COMMENT ON TABLE locations IS 'One row per session of a person on a machine of a campus, of the last 400 days when the mirror began, and since. online_now and logtime_daily are read more easily.';
COMMENT ON COLUMN locations.id IS 'Number that the API uses; grows with time.';
COMMENT ON COLUMN locations.user_id IS 'The person (user.id), perhaps one without a row in users, such as a member of the staff.';
COMMENT ON COLUMN locations.campus_id IS 'The campus of the machine.';
COMMENT ON COLUMN locations.host IS 'Name of the machine, mostly its seat: c1r9s3 is cluster 1, row 9, seat 3.';
COMMENT ON COLUMN locations.begin_at IS 'When the person logged in.';
COMMENT ON COLUMN locations.end_at IS 'When the person left. NULL: has not left, or the API never learnt of it; after 24 hours believe the latter.';
COMMENT ON COLUMN locations."primary" IS 'Whether it was the first of the person''s sessions that were open at one time.';
COMMENT ON COLUMN locations.ingested_at IS 'When this row last changed in the mirror.';

-- Kept by sql/logtime_days.sql: what logtime_daily would take too long to add up.
CREATE TABLE logtime_days (
    user_id bigint NOT NULL,
    campus_id bigint NOT NULL,
    day date NOT NULL,
    parts tstzmultirange NOT NULL,
    duration interval NOT NULL,
    sessions bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, day, campus_id)
);
CREATE INDEX logtime_days_campus_id_day ON logtime_days (campus_id, day);
CREATE INDEX logtime_days_day ON logtime_days (day);
CREATE INDEX logtime_days_ingested_at ON logtime_days (ingested_at);
COMMENT ON TABLE logtime_days IS 'One row per person, campus and day of its clock on which the person was logged in, without open sessions; read logtime_daily, which adds those.';
COMMENT ON COLUMN logtime_days.user_id IS 'The person (user.id), perhaps one without a row in users.';
COMMENT ON COLUMN logtime_days.campus_id IS 'The campus of the machines; 0: the API does not say.';
COMMENT ON COLUMN logtime_days.day IS 'The day, by the clock of the campus.';
COMMENT ON COLUMN logtime_days.parts IS 'When the person was logged in on that day; time of several sessions once.';
COMMENT ON COLUMN logtime_days.duration IS 'How long that is together.';
COMMENT ON COLUMN logtime_days.sessions IS 'Sessions that have a part in it.';
COMMENT ON COLUMN logtime_days.ingested_at IS 'When this row last changed in the mirror.';
