-- One row per coalition of a bloc: its score and its place among the coalitions that it competes with, and the end of the season that
-- is on. Equal scores share a place.
--  campus_id: Where the coalition is, perhaps a campus that the API does not list.
--  cursus_id: In cursus: 21 is the common core.
--  bloc_id: The coalitions that compete with each other have the same.
--  coalition_id: In coalitions.
--  name: Title that people read.
--  color: Mostly #rrggbb; some have blanks around or lack the #.
--  score: Points.
--  place: 1 has the most points of its bloc.
--  season_end_at: When the points are counted. NULL: no season is on.
SELECT b.campus_id, b.cursus_id, b.id AS bloc_id, c.id AS coalition_id, c.name, c.color, c.score,
    rank() OVER (PARTITION BY b.campus_id, b.cursus_id, b.id ORDER BY c.score DESC NULLS LAST) AS place,
    (
        SELECT min(d.end_at) FROM bloc_deadlines AS d
        WHERE d.bloc_id = b.id AND d.begin_at <= now() AND d.end_at > now()
    ) AS season_end_at
FROM blocs AS b
JOIN blocs_coalitions AS bc ON bc.bloc_id = b.id
JOIN coalitions AS c ON c.id = bc.coalition_id
