-- title: Events
-- chart: calendar
-- unit: not over yet
-- every: 5m
-- empty: no event is announced, or none is mirrored; `cursus run` reads them
SELECT 'event-' || events.id AS id, coalesce(events.name, 'event ' || events.id) AS label, events.begin_at, events.end_at,
    concat_ws(', ', CASE WHEN of.campuses > 1 THEN of_event.names END, events.location) AS place,
    replace(events.kind, '_', ' ') AS text,
    CASE
        WHEN events.max_people IS NULL THEN events.nbr_subscribers || ' subscribed'
        WHEN events.max_people <= coalesce(events.nbr_subscribers, 0) THEN 'no place left'
        ELSE (events.max_people - coalesce(events.nbr_subscribers, 0)) || ' of ' || events.max_people || ' places left'
    END AS note
FROM events
LEFT JOIN LATERAL (
    SELECT string_agg(campuses.name, ', ' ORDER BY campuses.name) AS names
    FROM events_campuses
    JOIN campuses ON campuses.id = events_campuses.campus_id
    WHERE events_campuses.event_id = events.id
) AS of_event ON true
CROSS JOIN (SELECT count(DISTINCT campus_id) AS campuses FROM events_campuses) AS of
WHERE (events.end_at > now() AND events.begin_at IS NOT NULL) OR (events.end_at IS NULL AND events.begin_at > now())
ORDER BY events.begin_at, events.id
