-- Events of campuses, and who subscribed to them.

CREATE TABLE events (
    id bigint PRIMARY KEY,
    name text,
    description text,
    kind text,
    location text,
    begin_at timestamptz,
    end_at timestamptz,
    max_people bigint,
    nbr_subscribers bigint,
    prohibition_of_cancellation bigint,
    themes jsonb,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX events_begin_at ON events (begin_at);
CREATE INDEX events_end_at ON events (end_at);
COMMENT ON TABLE events IS 'One row per event of a campus, such as a workshop. Its campuses are in events_campuses, its curricula in events_cursus, who comes in events_users. upcoming lists those to come, with exams.';
COMMENT ON COLUMN events.id IS 'Number that the API and every event_id use.';
COMMENT ON COLUMN events.name IS 'Title that people read.';
COMMENT ON COLUMN events.description IS 'What it is about, in Markdown.';
COMMENT ON COLUMN events.kind IS 'pedago, rush, piscine, partnership, meet, conference, meet_up, event, association, speed_working, hackathon, workshop, challenge, other, extern.';
COMMENT ON COLUMN events.location IS 'Where it is, in words. NULL: nobody said.';
COMMENT ON COLUMN events.begin_at IS 'When it begins.';
COMMENT ON COLUMN events.end_at IS 'When it ends.';
COMMENT ON COLUMN events.max_people IS 'Places. NULL: no limit.';
COMMENT ON COLUMN events.nbr_subscribers IS 'People who subscribed, by the API''s count; it moves no date, so it is as old as the last read of coming events.';
COMMENT ON COLUMN events.prohibition_of_cancellation IS 'Hours before the begin from which on nobody can leave it. NULL: one always can.';
COMMENT ON COLUMN events.themes IS 'Subjects: an array of objects with id, name, created_at, updated_at.';
COMMENT ON COLUMN events.created_at IS 'When it was announced.';
COMMENT ON COLUMN events.updated_at IS 'When it last changed at the API; not by subscriptions.';
COMMENT ON COLUMN events.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE events_campuses (
    event_id bigint NOT NULL REFERENCES events ON DELETE CASCADE,
    campus_id bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, campus_id)
);
CREATE INDEX events_campuses_campus_id ON events_campuses (campus_id);
COMMENT ON TABLE events_campuses IS 'One row per event and campus that it is for.';
COMMENT ON COLUMN events_campuses.event_id IS 'The event.';
COMMENT ON COLUMN events_campuses.campus_id IS 'The campus, perhaps one that the API does not list.';
COMMENT ON COLUMN events_campuses.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE events_cursus (
    event_id bigint NOT NULL REFERENCES events ON DELETE CASCADE,
    cursus_id bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, cursus_id)
);
CREATE INDEX events_cursus_cursus_id ON events_cursus (cursus_id);
COMMENT ON TABLE events_cursus IS 'One row per event and curriculum that it is for.';
COMMENT ON COLUMN events_cursus.event_id IS 'The event.';
COMMENT ON COLUMN events_cursus.cursus_id IS 'The curriculum.';
COMMENT ON COLUMN events_cursus.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE events_users (
    id bigint PRIMARY KEY,
    event_id bigint NOT NULL,
    user_id bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX events_users_event_id ON events_users (event_id);
CREATE INDEX events_users_user_id ON events_users (user_id);
COMMENT ON TABLE events_users IS 'One row per person who subscribed to an event. One who left it again has a row until the next full read of events, a week later at most.';
COMMENT ON COLUMN events_users.id IS 'Number that the API uses for the subscription.';
COMMENT ON COLUMN events_users.event_id IS 'The event.';
COMMENT ON COLUMN events_users.user_id IS 'The person, perhaps one without a row in users, such as an alumnus.';
COMMENT ON COLUMN events_users.ingested_at IS 'When this row last changed in the mirror.';
