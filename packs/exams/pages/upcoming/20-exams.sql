-- title: Exams
-- chart: calendar
-- unit: not over yet
-- every: 5m
-- empty: no exam is announced, or none is mirrored; `cursus run` reads them
SELECT 'exam-' || exams.id AS id, coalesce(exams.name, 'exam ' || exams.id) AS label, exams.begin_at, exams.end_at,
    concat_ws(', ', CASE WHEN of.campuses > 1 THEN campuses.name END, exams.location) AS place,
    'exam' AS text,
    CASE
        WHEN exams.max_people IS NULL THEN exams.nbr_subscribers || ' registered'
        WHEN exams.max_people <= coalesce(exams.nbr_subscribers, 0) THEN 'no place left'
        ELSE (exams.max_people - coalesce(exams.nbr_subscribers, 0)) || ' of ' || exams.max_people || ' places left'
    END AS note
FROM exams
LEFT JOIN campuses ON campuses.id = exams.campus_id
CROSS JOIN (SELECT count(DISTINCT campus_id) AS campuses FROM exams) AS of
WHERE (exams.end_at > now() AND exams.begin_at IS NOT NULL) OR (exams.end_at IS NULL AND exams.begin_at > now())
ORDER BY exams.begin_at, exams.id
