-- What a row and a column mean, for people who know SQL and not the API. What a user has dropped or renamed is left out.

DO $$
DECLARE
    comment record;
BEGIN
    FOR comment IN
        SELECT w.relation, c.relkind, a.attname AS column_name, w.text
        FROM (VALUES
            ('cursus', NULL, 'One row per curriculum of the network, such as 21, the common core. A person can be enrolled in several.'),
            ('cursus', 'id', 'Number that the API and every cursus_id use.'),
            ('cursus', 'name', 'Title that people read, such as 42cursus.'),
            ('cursus', 'slug', 'Short form in addresses, in lower case, such as 42cursus; two can have the same.'),
            ('campuses', NULL, 'One row per campus that the API lists. Other tables can name campuses that it does not list.'),
            ('campuses', 'id', 'Number that the API and every campus_id use.'),
            ('campuses', 'name', 'Title that people read, mostly the city; achievements name their campuses by it.'),
            ('campuses', 'country', 'Where the campus is, in English.'),
            ('campuses', 'city', 'Where the campus is; two campuses can be in the same.'),
            ('campuses', 'users_count', 'Accounts that ever existed there, by the API''s count: far more than students who are there now.'),
            ('campuses', 'zip', 'Postal code of the address, a text.'),
            ('projects', NULL, 'One row per project of the mirrored curriculum, exams and parts of projects included. Its campuses are in campus_projects, its rules in project_sessions.'),
            ('projects', 'id', 'Number that the API and every project_id use.'),
            ('projects', 'name', 'Title that people read; not unique.'),
            ('projects', 'slug', 'Short form in addresses, such as 42cursus-libft; can be NULL.'),
            ('projects', 'exam', 'True for an exam, which is sat at a fixed time in a room of the campus.'),
            ('projects', 'recommendation', 'The word of the API on recommending it; mostly NULL.'),
            ('project_sessions', NULL, 'One row per set of rules of a project: dates, places and worth for a campus and a curriculum. It is no meeting, and nobody is enrolled in it.'),
            ('project_sessions', 'id', 'Number of these rules at the API.'),
            ('project_sessions', 'project_id', 'Which project the rules are for.'),
            ('project_sessions', 'solo', 'Whether one works alone; NULL: not said.'),
            ('project_sessions', 'is_subscriptable', 'Whether a student can enrol now, as far as dates and places let.'),
            ('campus_projects', NULL, 'One row per campus and project that it offers.'),
            ('campus_projects', 'project_id', 'What is offered.'),
            ('achievements', NULL, 'One row per achievement, a badge that a student can earn. Who has it is in achievements_users, which campuses give it in campus_achievements.'),
            ('achievements', 'id', 'Number that the API and every achievement_id use.'),
            ('achievements', 'name', 'Title that people read; not unique, since each step of a series has the same.'),
            ('campus_achievements', NULL, 'One row per achievement and campus that gives it, as far as a campus has the name that the API gives.'),
            ('campus_achievements', 'campus_id', 'Who gives it.'),
            ('campus_achievements', 'achievement_id', 'What is given.'),
            ('coalitions', NULL, 'One row per coalition of any campus: a house of students, who earn points for it. The API does not say of which campus; users.campus_id of its members does.'),
            ('coalitions', 'id', 'Number that the API and every coalition_id use.'),
            ('coalitions', 'name', 'Title that people read; many campuses use the same.'),
            ('coalitions', 'score', 'Points that the API shows for it; they need not be the sum of coalitions_users.score.'),
            ('coalitions', 'user_id', 'Its head (users.id), perhaps somebody who is not mirrored; NULL: none.'),
            ('users', NULL, 'One row per student of the mirrored curriculum who is not an alumnus. Staff and alumni have no row, though other tables name them.'),
            ('users', 'id', 'Number that the API and every user_id use. It stays when the login changes.'),
            ('users', 'login', 'Short name on the intranet, such as jdoe; it changes when the person is made anonymous.'),
            ('users', 'email', 'Mail address at the campus; changes with the login.'),
            ('users', 'first_name', 'Given name, as registered.'),
            ('users', 'last_name', 'Family name, as registered.'),
            ('users', 'phone', 'Phone number, or the word hidden; NULL: none.'),
            ('users', 'staff', 'Whether the API marks the person as staff of a campus (staff?).'),
            ('users', 'correction_point', 'Points to pay evaluations with: one is spent to be evaluated, one is earned by evaluating; can be negative.'),
            ('users', 'wallet', 'Wallet points, which buy things on the intranet; can be negative.'),
            ('users', 'location', 'Seat of the open session, such as c1r9s3; NULL: not logged in when the row was read, which is as long ago as pipeline.freshness says.'),
            ('users', 'cursus_id', 'The curriculum that the person was listed under (cursus.id), the same in every row.'),
            ('users', 'campus_id', 'The primary campus (campuses.id) by campus_users; NULL: none is known.'),
            ('cursus_users', NULL, 'One row per enrolment of a person in a curriculum, with level, grade and blackhole; also of people without a row in users, such as alumni.'),
            ('cursus_users', 'id', 'Number of the enrolment at the API.'),
            ('cursus_users', 'cursus_id', 'In which curriculum.'),
            ('cursus_users', 'begin_at', 'First day in the curriculum; can be in the future.'),
            ('cursus_users', 'end_at', 'When it ended; NULL: it is current. A date in the future is possible.'),
            ('cursus_users', 'grade', 'Rank that the curriculum gives, such as Cadet or Member; NULL: none yet.'),
            ('cursus_users', 'level', 'Level, from 0 up; the fraction is the progress to the next. The server computes it again without moving updated_at.'),
            ('cursus_users', 'blackholed_at', 'The blackhole: when the student must leave unless a project is validated before. A date in the past does not mean that the person has left: see end_at. NULL: no such date.'),
            ('campus_users', NULL, 'One row per membership of a person of users in a campus; a person who moved can have several.'),
            ('campus_users', 'id', 'Number of the membership at the API.'),
            ('campus_users', 'user_id', 'Who belongs there.'),
            ('campus_users', 'created_at', 'When the membership was created; for a second campus, about when the person moved.'),
            ('projects_users', NULL, 'One row per enrolment of a person in a project: status, attempts and mark. A person can have several in one project; current_enrolments shows the one that counts.'),
            ('projects_users', 'id', 'Number of the enrolment at the API; of two in a project the larger counts.'),
            ('projects_users', 'cursus_id', 'The first of cursus_ids (cursus.id).'),
            ('projects_users', 'occurrence', 'Attempts before this one: 0 is the first attempt.'),
            ('projects_users', 'final_mark', 'Mark of the last marked attempt, above 100 with a bonus; negative marks are sanctions; NULL: not marked yet.'),
            ('projects_users', 'status', 'in_progress, searching_a_group, creating_group, waiting_for_correction, finished, failed, parent. `finished` says that it was marked, not that it is passed: see validated.'),
            ('projects_users', 'validated', 'Whether it is passed (validated?); NULL: not marked yet. A condition on it skips rows with NULL, and so does NOT validated.'),
            ('projects_users', 'marked', 'Whether any attempt has a mark.'),
            ('achievements_users', NULL, 'One row per achievement that a person has earned, in the whole network.'),
            ('achievements_users', 'id', 'Number of the award at the API.'),
            ('achievements_users', 'achievement_id', 'What was earned.'),
            ('achievements_users', 'user_id', 'Who earned it, perhaps somebody who is not mirrored.'),
            ('coalitions_users', NULL, 'One row per membership of a person in a coalition, piscines and alumni included.'),
            ('coalitions_users', 'id', 'Number of the membership at the API.'),
            ('coalitions_users', 'coalition_id', 'Where the person is a member.'),
            ('projects', 'created_at', 'When the API got the project; when it opens for a campus is in project_sessions.begin_at.'),
            ('project_sessions', 'created_at', 'When the API got these rules; from when they hold is in begin_at.'),
            ('projects_users', 'created_at', 'When the enrolment was made, or made again under a new id.'),
            ('coalitions_users', 'user_id', 'Who belongs to it, perhaps somebody who is not mirrored.'),
            ('current_enrolments', NULL, 'One row per person and project: the enrolment with the newest id, which is the one that counts. The API can replace an enrolment by one with a new id.')
        ) AS w (relation, attribute, text)
        JOIN pg_catalog.pg_class AS c ON c.relname = w.relation AND c.relkind IN ('r', 'p', 'v')
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = pg_catalog.current_schema()
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.attribute AND NOT a.attisdropped
        WHERE w.attribute IS NULL OR a.attname IS NOT NULL
    LOOP
        IF comment.column_name IS NOT NULL THEN
            EXECUTE pg_catalog.format('COMMENT ON COLUMN %I.%I IS %L', comment.relation, comment.column_name, comment.text);
        ELSIF comment.relkind = 'v' THEN
            EXECUTE pg_catalog.format('COMMENT ON VIEW %I IS %L', comment.relation, comment.text);
        ELSE
            EXECUTE pg_catalog.format('COMMENT ON TABLE %I IS %L', comment.relation, comment.text);
        END IF;
    END LOOP;

    -- The columns of the view mean what those of its table mean.
    FOR comment IN
        SELECT v.relname AS relation, a.attname AS column_name, pg_catalog.col_description(t.oid, b.attnum) AS text
        FROM pg_catalog.pg_class AS v
        JOIN pg_catalog.pg_namespace AS n ON n.oid = v.relnamespace AND n.nspname = pg_catalog.current_schema()
        JOIN pg_catalog.pg_class AS t ON t.relnamespace = n.oid AND t.relname = 'projects_users'
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_catalog.pg_attribute AS b ON b.attrelid = t.oid AND b.attname = a.attname AND NOT b.attisdropped
        WHERE v.relname = 'current_enrolments' AND v.relkind = 'v'
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %I.%I IS %L', comment.relation, comment.column_name, comment.text);
    END LOOP;
END
$$;
