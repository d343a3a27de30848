-- The rows of campus_achievements: achievements name their campuses, ids are wanted. A name without a campus keeps a null, and is
-- counted as unresolved.
SELECT campuses.id AS campus_id, named.achievement_id
FROM (
    SELECT DISTINCT staged_achievements.id AS achievement_id, name.value AS campus_name
    FROM staged_achievements
    CROSS JOIN LATERAL jsonb_array_elements_text(
        CASE jsonb_typeof(staged_achievements.campus) WHEN 'array' THEN staged_achievements.campus ELSE '[]' END
    ) AS name (value)
) AS named
LEFT JOIN campuses ON campuses.name = named.campus_name
