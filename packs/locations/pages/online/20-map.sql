-- title: Who sits where
-- chart: map
-- unit: machines that were used in the last 60 days
-- width: full
-- every: 1m
-- caption: A machine is a place in a row of a cluster by its name, such as c1r2s3. Of several campuses only clusters are shown in which somebody is.
-- empty: nobody is at a machine, or sessions are not mirrored; `cursus run` reads them
WITH RECURSIVE machines AS (
    -- Each machine once, from one to the next in an index: no session is read twice.
    (SELECT campus_id, host FROM locations WHERE campus_id IS NOT NULL AND host IS NOT NULL ORDER BY campus_id, host LIMIT 1)
    UNION ALL
    SELECT next.campus_id, next.host
    FROM machines CROSS JOIN LATERAL (
        SELECT campus_id, host FROM locations
        WHERE (campus_id, host) > (machines.campus_id, machines.host)
        ORDER BY campus_id, host
        LIMIT 1
    ) AS next
), used AS (
    SELECT machines.campus_id, machines.host,
        -- Capitals before a row are part of the cluster: f4Br5s7 is cluster f4B.
        coalesce(
            regexp_match(machines.host, '^(.*[0-9][A-Z]*)([a-z]+[0-9]+)([a-z]+[0-9]+)$'),
            regexp_match(machines.host, '^(.*[0-9])([a-z]+[0-9]+)([a-z]+[0-9]+)$', 'i')
        ) AS parts
    FROM machines
    WHERE EXISTS (
        SELECT FROM locations
        WHERE locations.campus_id = machines.campus_id AND locations.host = machines.host
            AND locations.begin_at > now() - interval '60 days'
    )
), places AS (
    SELECT used.*, campuses.name AS campus, online.user_id, online.login, online.begin_at,
        (SELECT count(DISTINCT campus_id) FROM used) > 1 AS has_campuses,
        count(online.user_id) OVER (PARTITION BY used.campus_id, used.parts[1]) AS people
    FROM used
    LEFT JOIN campuses ON campuses.id = used.campus_id
    LEFT JOIN online_now AS online ON online.campus_id = used.campus_id AND online.host = used.host
)
SELECT concat_ws(' ', CASE WHEN has_campuses THEN coalesce(campus, 'campus ' || campus_id) END,
        coalesce(parts[1], 'other machines')) AS zone,
    coalesce(parts[2], '') AS "row", coalesce(parts[3], host) AS seat, host AS label,
    CASE WHEN user_id IS NOT NULL THEN coalesce(login, 'user ' || user_id) END AS text,
    'since ' || to_char(begin_at, 'HH24:MI') AS note
FROM places
WHERE people > 0 OR NOT has_campuses
ORDER BY campus, campus_id, parts IS NULL, regexp_replace(parts[1], '[0-9].*', ''), length(parts[1]), parts[1],
    length(parts[2]), parts[2], length(parts[3]), parts[3], host
