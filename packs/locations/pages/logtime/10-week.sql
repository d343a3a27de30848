-- title: When people are here
-- chart: heat
-- unit: people logged in, on average of 4 weeks
-- width: full
-- every: 10m
-- caption: Each cell is an hour of the week, in the 4 weeks until yesterday. Sessions count on this page when they have ended.
-- empty: no session of the last 4 weeks is mirrored; `cursus run` reads them
-- Who comes and who leaves in each quarter of an hour, which begins when a quarter does in every zone; and for how many of its seconds
-- each of them is there. No session is cut into its hours.
WITH moves AS (
    SELECT floor(move.at / 900) AS quarter, sum(move.people) AS people,
        sum(move.people * (900 - (move.at - 900 * floor(move.at / 900)))) AS seconds
    FROM logtime_days
    CROSS JOIN LATERAL unnest(parts) AS part
    CROSS JOIN LATERAL (VALUES (date_part('epoch', lower(part)), 1), (date_part('epoch', upper(part)), -1)) AS move (at, people)
    WHERE day BETWEEN now()::date - 29 AND now()::date
    GROUP BY 1
), quarters AS (
    SELECT quarter, coalesce(moves.seconds, 0)
        + 900 * coalesce(sum(moves.people) OVER (ORDER BY quarter ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS seconds
    FROM (
        SELECT date_part('epoch', at) / 900 AS quarter
        -- Two days more: days of a campus whose clock is ahead begin before those of the page.
        FROM generate_series((now()::date - 31)::timestamptz, now()::date::timestamptz, interval '15 minutes') AS at
    ) AS quarters
    LEFT JOIN moves USING (quarter)
), week AS (
    SELECT extract(isodow FROM at)::integer AS day, extract(hour FROM at)::integer AS hour, sum(seconds) / (900 * count(*)) AS people
    FROM quarters
    CROSS JOIN LATERAL to_timestamp(900 * quarter) AS at
    WHERE at >= (now()::date - 28)::timestamptz AND at < now()::date::timestamptz
    GROUP BY 1, 2
)
SELECT named.name AS "row", hour AS "column", round(coalesce(week.people, 0)::numeric, 1) AS value
FROM (VALUES (1, 'Mon'), (2, 'Tue'), (3, 'Wed'), (4, 'Thu'), (5, 'Fri'), (6, 'Sat'), (7, 'Sun')) AS named (day, name)
CROSS JOIN generate_series(0, 23) AS hour
LEFT JOIN week USING (day, hour)
WHERE EXISTS (SELECT FROM moves)
ORDER BY named.day, hour
