-- The rows of campus_achievements: achievements name their campuses, ids are wanted. A name without a campus keeps a null, and is
-- counted as unresolved. Without a list of names it is not known which campuses an achievement has: it is rejected, and keeps those
-- that it had.
SELECT campuses.id AS campus_id, named.achievement_id, named.reject_reason
FROM (
    SELECT DISTINCT staged_achievements.id AS achievement_id, name.value #>> '{}' AS campus_name,
        CASE WHEN jsonb_typeof(name.value) <> 'string' THEN 'campus is no list of names' END AS reject_reason
    FROM staged_achievements
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE jsonb_typeof(staged_achievements.campus) WHEN 'array' THEN staged_achievements.campus ELSE '[null]' END
    ) AS name (value)
    -- Of one that is quarantined or out of scope only the key is staged.
    WHERE staged_achievements.staged_state = 0
) AS named
LEFT JOIN campuses ON campuses.name = named.campus_name
