-- title: Coalitions of the season
-- chart: bars
-- unit: points
-- every: 1m
-- empty: no coalition with a bloc is mirrored; `cursus run` reads them
SELECT board.name AS label, board.score AS value, board.color AS colour,
    -- Coalitions compete with those of their campus alone.
    CASE
        WHEN of.campuses > 1 THEN concat_ws(', ', campuses.name, 'place ' || board.place)
        ELSE 'until ' || to_char(board.season_end_at, 'FMDD Mon')
    END AS note
FROM coalition_board AS board
LEFT JOIN campuses ON campuses.id = board.campus_id
CROSS JOIN (SELECT count(DISTINCT campus_id) AS campuses FROM coalition_board) AS of
ORDER BY board.place, board.score DESC NULLS LAST, board.coalition_id
LIMIT 10
