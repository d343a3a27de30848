-- title: Highest levels of the newest pool
-- chart: bars
-- unit: level
-- every: 5m
-- caption: A pool is all who came through the piscine of one month; much smaller ones than the largest are passed over.
-- empty: no student with a pool is mirrored; `cursus run` reads them
WITH pools AS (
    SELECT pool_year, pool_month, count(*) AS people
    FROM users
    -- An odd year or month is of no pool.
    WHERE pool_year ~ '^20[0-9]{2}$'
        AND pool_month IN ('january', 'february', 'march', 'april', 'may', 'june', 'july', 'august', 'september', 'october', 'november', 'december')
    GROUP BY pool_year, pool_month
), newest AS (
    SELECT pool_year, pool_month
    FROM pools
    WHERE people * 5 >= (SELECT max(people) FROM pools)
    ORDER BY to_date(pool_year || pool_month, 'YYYYmonth') DESC
    LIMIT 1
)
SELECT people.login AS label, people.level AS value, people.pool_month || ' ' || people.pool_year AS note
FROM newest
JOIN pool_ranking AS people USING (pool_year, pool_month)
WHERE people.level IS NOT NULL
ORDER BY people.level DESC, people.user_id
LIMIT 10
