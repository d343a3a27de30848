-- One row per event or exam and campus of it that has not ended: what comes next. what is event or exam, places_left NULL where there
-- is no limit. Event and exam ids are numbers of their own.
--  what: event or exam.
--  id: Number in events or exams, by what.
--  campus_id: Where it is, perhaps a campus that the API does not list.
--  name: Title that people read.
--  kind: Of an event, such as workshop; exam otherwise.
--  location: The room or the clusters, in words. NULL: nobody said.
--  begin_at: When it starts; it can have started.
--  end_at: When it is over. NULL: nobody said; then it is listed until it starts.
--  nbr_subscribers: People who come, by the API's count.
--  places_left: How many more can come, at least 0; the campuses of an event share them. NULL: no limit.
SELECT 'event' AS what, e.id, ec.campus_id, e.name, e.kind, e.location, e.begin_at, e.end_at, e.nbr_subscribers,
    CASE WHEN e.max_people IS NOT NULL THEN greatest(e.max_people - coalesce(e.nbr_subscribers, 0), 0) END AS places_left
FROM events AS e
LEFT JOIN events_campuses AS ec ON ec.event_id = e.id
WHERE e.end_at > now() OR (e.end_at IS NULL AND e.begin_at > now())
UNION ALL
SELECT 'exam', x.id, x.campus_id, x.name, 'exam', x.location, x.begin_at, x.end_at, x.nbr_subscribers,
    CASE WHEN x.max_people IS NOT NULL THEN greatest(x.max_people - coalesce(x.nbr_subscribers, 0), 0) END
FROM exams AS x
WHERE x.end_at > now() OR (x.end_at IS NULL AND x.begin_at > now())
