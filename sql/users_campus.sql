-- users.campus_id: the primary campus by campus_users, for everybody in the mirror, also those who came into scope later.
UPDATE users
SET campus_id = wanted.campus_id, ingested_at = now()
FROM (
    SELECT users.id, home.campus_id
    FROM users
    LEFT JOIN (
        SELECT DISTINCT ON (user_id) user_id, campus_id
        FROM campus_users
        WHERE is_primary
        ORDER BY user_id, updated_at DESC NULLS LAST, id DESC
    ) AS home ON home.user_id = users.id
) AS wanted
WHERE users.id = wanted.id AND users.campus_id IS DISTINCT FROM wanted.campus_id
