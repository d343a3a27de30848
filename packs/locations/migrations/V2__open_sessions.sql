-- Kept by sql/open_sessions.sql: what online_now would take too long to look up.
CREATE TABLE open_sessions (
    location_id bigint PRIMARY KEY,
    user_id bigint NOT NULL,
    campus_id bigint NOT NULL,
    host text NOT NULL,
    cluster integer,
    line integer,
    seat integer,
    begin_at timestamptz NOT NULL,
    next_begin_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE open_sessions IS 'One row per session with a campus, a machine and a begin but no end, however old. Read online_now, which leaves out those of 24 hours or more, and those after which another began on the machine.';
COMMENT ON COLUMN open_sessions.location_id IS 'The session, in locations.';
COMMENT ON COLUMN open_sessions.user_id IS 'The person, perhaps one without a row in users.';
COMMENT ON COLUMN open_sessions.campus_id IS 'The campus of the machine.';
COMMENT ON COLUMN open_sessions.host IS 'Name of the machine.';
COMMENT ON COLUMN open_sessions.cluster IS 'First number in the name of the machine. NULL: the name has fewer than three.';
COMMENT ON COLUMN open_sessions.line IS 'Second number in that name.';
COMMENT ON COLUMN open_sessions.seat IS 'Third number in that name.';
COMMENT ON COLUMN open_sessions.begin_at IS 'When the person logged in.';
COMMENT ON COLUMN open_sessions.next_begin_at IS 'When the next session on that machine began, which ends this one. NULL: there is none.';
COMMENT ON COLUMN open_sessions.ingested_at IS 'When this row last changed in the mirror.';

-- Fills the table in a mirror that has sessions, as the next load may be hours away. If a column was dropped or renamed, that load
-- reports it.
DO $$
BEGIN
    IF (
        SELECT count(*) = 6 FROM pg_catalog.pg_attribute
        WHERE attrelid = pg_catalog.to_regclass('locations') AND NOT attisdropped
            AND attname IN ('id', 'user_id', 'campus_id', 'host', 'begin_at', 'end_at')
    ) THEN
        INSERT INTO open_sessions (location_id, user_id, campus_id, host, cluster, line, seat, begin_at, next_begin_at)
        SELECT l.id, l.user_id, l.campus_id, l.host,
            seat.numbers[1]::integer, seat.numbers[2]::integer, seat.numbers[3]::integer,
            l.begin_at,
            (
                SELECT later.begin_at FROM locations AS later
                WHERE later.campus_id = l.campus_id AND later.host = l.host AND (later.begin_at, later.id) > (l.begin_at, l.id)
                ORDER BY later.begin_at, later.id
                LIMIT 1
            )
        FROM locations AS l
        CROSS JOIN LATERAL (
            SELECT regexp_split_to_array(
                substring(l.host, '[0-9]{1,6}[A-Za-z]+[0-9]{1,6}[A-Za-z]+[0-9]{1,6}$'), '[A-Za-z]+'
            ) AS numbers
            OFFSET 0
        ) AS seat
        WHERE l.end_at IS NULL AND l.begin_at IS NOT NULL AND l.campus_id IS NOT NULL AND l.host IS NOT NULL;
    END IF;
END
$$;
