-- A mirror of the network's size: 54 campuses, 40,000 people of whom 15,000 come on a day, 400 days of their sessions, 880,000 enrolments
-- in projects. Tables and columns that no measured view reads are empty. The seed is fixed.
SELECT setseed(0.42);
INSERT INTO cursus (id, name) VALUES (21, 'cursus'), (9, 'piscine');
INSERT INTO campuses (id, name, time_zone)
SELECT id, 'campus ' || id, (ARRAY['Europe/Paris', 'Asia/Tokyo', 'America/Sao_Paulo', 'UTC'])[1 + id % 4]
FROM generate_series(1, 54) AS id;
INSERT INTO projects (id, slug, name) SELECT id, '42cursus-' || id, 'Project ' || id FROM generate_series(1, 538) AS id;

INSERT INTO users (id, login, cursus_id, campus_id, kind, location, pool_year, pool_month)
SELECT id, 'login' || id, 21, 1 + id % 54, 'student', CASE WHEN random() < 0.1 THEN 'c1r1s1' END, (2016 + floor(10 * random()))::text,
    (ARRAY['february', 'july', 'august', 'september'])[1 + floor(4 * random())]
FROM generate_series(1, 40000) AS id;
INSERT INTO cursus_users (id, user_id, cursus_id, level, grade, begin_at, end_at, blackholed_at, skills)
SELECT id, id, 21, 21 * random(), 'Cadet', now() - 2000 * random() * interval '1 day', CASE WHEN random() < 0.3 THEN now() - interval '10 days' END,
    now() + (700 * random() - 200) * interval '1 day', '[]'
FROM generate_series(1, 40000) AS id;
INSERT INTO projects_users (id, user_id, project_id, cursus_id, occurrence, status, validated, final_mark, created_at, marked_at)
-- 22 enrolments a person; most people begin the same few projects, as in a curriculum.
SELECT n, 1 + n % 40000, 1 + (538 * random() ^ 3)::bigint, 21, (3 * random())::bigint,
    CASE WHEN is_open THEN 'in_progress' ELSE 'finished' END, CASE WHEN NOT is_open THEN mark >= 60 END, CASE WHEN NOT is_open THEN mark END,
    created_at, CASE WHEN NOT is_open THEN created_at + 60 * random() * interval '1 day' END
FROM (
    SELECT n, random() < 0.2 AS is_open, (125 * random())::bigint AS mark, now() - 1500 * random() * interval '1 day' AS created_at
    FROM generate_series(1, 880000) AS n
) AS enrolment;

-- Each day, 15,000 people for up to ten hours, on a machine of their campus; some sessions of the last hours are open.
INSERT INTO locations (id, user_id, campus_id, host, begin_at, end_at)
SELECT row_number() OVER (ORDER BY begin_at), user_id, 1 + user_id % 54,
    format('c%sr%ss%s', 1 + floor(4 * random()), 1 + floor(13 * random()), 1 + floor(20 * random())),
    begin_at, CASE WHEN begin_at + stay < now() THEN begin_at + stay END
FROM (
    SELECT 1 + floor(40000 * random())::bigint AS user_id, 10 * random() * interval '1 hour' AS stay,
        now() - (day + random()) * interval '1 day' AS begin_at
    FROM generate_series(0, 399) AS day, generate_series(1, 15000) AS n
) AS session;

INSERT INTO events (id, name, kind, begin_at, end_at, max_people, nbr_subscribers)
SELECT id, 'event ' || id, 'workshop', at, at + interval '2 hours', 30, id % 31
FROM (SELECT id, now() + (id % 1460 - 1430) * interval '1 day' AS at FROM generate_series(1, 30000) AS id) AS event;
INSERT INTO events_campuses (event_id, campus_id) SELECT id, 1 + id % 54 FROM generate_series(1, 30000) AS id;
INSERT INTO exams (id, name, begin_at, end_at, campus_id, max_people, nbr_subscribers)
SELECT id, 'exam ' || id, at, at + interval '3 hours', 1 + id % 54, 60, id % 61
FROM (SELECT id, now() + (id % 1460 - 1440) * interval '1 day' AS at FROM generate_series(1, 20000) AS id) AS exam;
INSERT INTO blocs (id, campus_id, cursus_id) SELECT id, 1 + id % 54, 21 FROM generate_series(1, 100) AS id;
INSERT INTO coalitions (id, name, score) SELECT id, 'coalition ' || id, id * 37 % 1000 FROM generate_series(1, 346) AS id;
INSERT INTO blocs_coalitions (bloc_id, coalition_id) SELECT 1 + id % 100, id FROM generate_series(1, 346) AS id;
INSERT INTO bloc_deadlines (id, bloc_id, begin_at, end_at)
SELECT id, 1 + id % 100, now() - (id / 100 * 90) * interval '1 day', now() - (id / 100 * 90 - 80) * interval '1 day'
FROM generate_series(1, 1000) AS id;
