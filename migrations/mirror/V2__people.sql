-- People, and what they do: enrolments, campuses, projects, achievements, coalitions. References to people, campuses and projects
-- have no foreign key, because real data point outside the mirror; they have indexes.

CREATE TABLE users (
    id bigint PRIMARY KEY,
    login text,
    email text,
    first_name text,
    last_name text,
    usual_full_name text,
    usual_first_name text,
    displayname text,
    url text,
    phone text,
    kind text,
    image_link text,
    image_large text,
    image_medium text,
    image_small text,
    image_micro text,
    image jsonb,
    staff boolean,
    correction_point bigint,
    pool_month text,
    pool_year text,
    location text,
    wallet bigint,
    anonymize_date timestamptz,
    data_erasure_date timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    alumnized_at timestamptz,
    alumni boolean,
    active boolean,
    cursus_id bigint,
    campus_id bigint,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX users_login ON users (login);
CREATE INDEX users_campus_id ON users (campus_id);
CREATE INDEX users_cursus_id_kind ON users (cursus_id, kind);
CREATE INDEX users_updated_at ON users (updated_at);
COMMENT ON TABLE users IS 'Students of the curriculum who are not alumni.';
COMMENT ON COLUMN users.id IS 'Id of the person.';
COMMENT ON COLUMN users.login IS 'Login.';
COMMENT ON COLUMN users.email IS 'Mail address.';
COMMENT ON COLUMN users.first_name IS 'First name.';
COMMENT ON COLUMN users.last_name IS 'Last name.';
COMMENT ON COLUMN users.usual_full_name IS 'Name in use, in full.';
COMMENT ON COLUMN users.usual_first_name IS 'First name in use; null: first_name.';
COMMENT ON COLUMN users.displayname IS 'Name that the intranet shows.';
COMMENT ON COLUMN users.url IS 'Address of the person at the API.';
COMMENT ON COLUMN users.phone IS 'Phone number, or the word hidden.';
COMMENT ON COLUMN users.kind IS 'student, external, admin.';
COMMENT ON COLUMN users.image_link IS 'Address of the picture in full size (image.link); null: none.';
COMMENT ON COLUMN users.image_large IS 'Address of the large picture (image.versions.large); null: none.';
COMMENT ON COLUMN users.image_medium IS 'Address of the medium picture (image.versions.medium); null: none.';
COMMENT ON COLUMN users.image_small IS 'Address of the small picture (image.versions.small); null: none.';
COMMENT ON COLUMN users.image_micro IS 'Address of the smallest picture (image.versions.micro); null: none.';
COMMENT ON COLUMN users.image IS 'The pictures as the API has them: link, versions.';
COMMENT ON COLUMN users.staff IS 'Whether the person is staff (staff?).';
COMMENT ON COLUMN users.correction_point IS 'Evaluation points; can be negative.';
COMMENT ON COLUMN users.pool_month IS 'Month of the piscine in English, such as july; null: none.';
COMMENT ON COLUMN users.pool_year IS 'Year of the piscine, a text; null: none.';
COMMENT ON COLUMN users.location IS 'Seat of the open session, such as c1r9s3; null: not logged in on campus.';
COMMENT ON COLUMN users.wallet IS 'Wallet points; can be negative.';
COMMENT ON COLUMN users.anonymize_date IS 'When the account is to be made anonymous; midnight somewhere.';
COMMENT ON COLUMN users.data_erasure_date IS 'When the person''s data are to be erased; midnight somewhere.';
COMMENT ON COLUMN users.created_at IS 'When the account was created.';
COMMENT ON COLUMN users.updated_at IS 'When the account last changed at the API, also by logging in; says nothing of projects or enrolments.';
COMMENT ON COLUMN users.alumnized_at IS 'When the person became an alumnus; null: not yet.';
COMMENT ON COLUMN users.alumni IS 'Whether the person is an alumnus (alumni?).';
COMMENT ON COLUMN users.active IS 'The API''s flag (active?). It does not mean presence; location does.';
COMMENT ON COLUMN users.cursus_id IS 'The curriculum that the person was listed under.';
COMMENT ON COLUMN users.campus_id IS 'The primary campus by campus_users; null: none is known.';
COMMENT ON COLUMN users.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE cursus_users (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL,
    cursus_id bigint NOT NULL REFERENCES cursus,
    begin_at timestamptz,
    end_at timestamptz,
    grade text,
    level double precision,
    skills jsonb,
    has_coalition boolean,
    blackholed_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX cursus_users_user_id ON cursus_users (user_id);
CREATE INDEX cursus_users_cursus_id_level ON cursus_users (cursus_id, level);
CREATE INDEX cursus_users_blackholed_at ON cursus_users (blackholed_at);
COMMENT ON TABLE cursus_users IS 'Enrolments: a person in a curriculum.';
COMMENT ON COLUMN cursus_users.id IS 'Id of the enrolment.';
COMMENT ON COLUMN cursus_users.user_id IS 'The person (user.id), perhaps one who is not mirrored, such as an alumnus.';
COMMENT ON COLUMN cursus_users.cursus_id IS 'The curriculum.';
COMMENT ON COLUMN cursus_users.begin_at IS 'When it begins.';
COMMENT ON COLUMN cursus_users.end_at IS 'When it ended; null: it goes on.';
COMMENT ON COLUMN cursus_users.grade IS 'Grade, such as Cadet or Member; null: none yet.';
COMMENT ON COLUMN cursus_users.level IS 'Level; the fraction is the way to the next.';
COMMENT ON COLUMN cursus_users.skills IS 'Skills: an array of id, name, level.';
COMMENT ON COLUMN cursus_users.has_coalition IS 'Whether coalitions exist for this enrolment.';
COMMENT ON COLUMN cursus_users.blackholed_at IS 'When the student must leave unless something is finished before; null: no such date.';
COMMENT ON COLUMN cursus_users.created_at IS 'When the enrolment was created.';
COMMENT ON COLUMN cursus_users.updated_at IS 'When the enrolment last changed at the API.';
COMMENT ON COLUMN cursus_users.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE campus_users (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL,
    campus_id bigint NOT NULL,
    is_primary boolean,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX campus_users_user_id ON campus_users (user_id);
CREATE INDEX campus_users_campus_id ON campus_users (campus_id);
COMMENT ON TABLE campus_users IS 'Which mirrored person belongs to which campus.';
COMMENT ON COLUMN campus_users.id IS 'Id of the membership.';
COMMENT ON COLUMN campus_users.user_id IS 'The person.';
COMMENT ON COLUMN campus_users.campus_id IS 'The campus, perhaps one that is not mirrored.';
COMMENT ON COLUMN campus_users.is_primary IS 'Whether it is the person''s main campus; users.campus_id comes from it.';
COMMENT ON COLUMN campus_users.created_at IS 'When the membership was created.';
COMMENT ON COLUMN campus_users.updated_at IS 'When the membership last changed at the API.';
COMMENT ON COLUMN campus_users.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE projects_users (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL,
    user_login text,
    user_email text,
    project_id bigint NOT NULL,
    cursus_id bigint,
    cursus_ids jsonb,
    occurrence integer,
    final_mark integer,
    status text,
    validated boolean,
    current_team_id bigint,
    marked boolean,
    marked_at timestamptz,
    retriable_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX projects_users_user_id ON projects_users (user_id);
CREATE INDEX projects_users_project_id ON projects_users (project_id);
CREATE INDEX projects_users_cursus_id ON projects_users (cursus_id);
CREATE INDEX projects_users_updated_at ON projects_users (updated_at);
COMMENT ON TABLE projects_users IS 'What people did with projects: a row a person and project.';
COMMENT ON COLUMN projects_users.id IS 'Id of the registration.';
COMMENT ON COLUMN projects_users.user_id IS 'The person (user.id), perhaps one who is not mirrored.';
COMMENT ON COLUMN projects_users.user_login IS 'The person''s login when the row was read (user.login).';
COMMENT ON COLUMN projects_users.user_email IS 'The person''s mail address when the row was read (user.email).';
COMMENT ON COLUMN projects_users.project_id IS 'The project (project.id), perhaps one of another curriculum that is not mirrored.';
COMMENT ON COLUMN projects_users.cursus_id IS 'The first of cursus_ids.';
COMMENT ON COLUMN projects_users.cursus_ids IS 'The curricula that the registration counts for: an array of ids.';
COMMENT ON COLUMN projects_users.occurrence IS 'Retries, from 0.';
COMMENT ON COLUMN projects_users.final_mark IS 'Mark, above 100 with a bonus; null: not marked yet.';
COMMENT ON COLUMN projects_users.status IS 'in_progress, searching_a_group, creating_group, waiting_for_correction, finished, failed, parent.';
COMMENT ON COLUMN projects_users.validated IS 'Whether it is passed (validated?); null: not marked yet.';
COMMENT ON COLUMN projects_users.current_team_id IS 'The team of the present try; null: none.';
COMMENT ON COLUMN projects_users.marked IS 'Whether a mark was given.';
COMMENT ON COLUMN projects_users.marked_at IS 'When the mark was given; null: not yet.';
COMMENT ON COLUMN projects_users.retriable_at IS 'From when on it can be tried again; null: no such date.';
COMMENT ON COLUMN projects_users.created_at IS 'When the registration was created.';
COMMENT ON COLUMN projects_users.updated_at IS 'When the registration last changed at the API.';
COMMENT ON COLUMN projects_users.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE achievements_users (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL,
    user_login text,
    achievement_id bigint NOT NULL REFERENCES achievements,
    nbr_of_success bigint,
    url text,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX achievements_users_user_id ON achievements_users (user_id);
CREATE INDEX achievements_users_achievement_id ON achievements_users (achievement_id);
COMMENT ON TABLE achievements_users IS 'Who has earned which achievement.';
COMMENT ON COLUMN achievements_users.id IS 'Id of the award.';
COMMENT ON COLUMN achievements_users.user_id IS 'The person, perhaps one who is not mirrored.';
COMMENT ON COLUMN achievements_users.user_login IS 'The person''s login when the row was read (login).';
COMMENT ON COLUMN achievements_users.achievement_id IS 'The achievement.';
COMMENT ON COLUMN achievements_users.nbr_of_success IS 'Successes so far; null: not counted.';
COMMENT ON COLUMN achievements_users.url IS 'Address of the award at the API.';
COMMENT ON COLUMN achievements_users.created_at IS 'When it was earned.';
COMMENT ON COLUMN achievements_users.updated_at IS 'When the award last changed at the API.';
COMMENT ON COLUMN achievements_users.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE coalitions_users (
    id bigint PRIMARY KEY,
    coalition_id bigint NOT NULL REFERENCES coalitions,
    user_id bigint NOT NULL,
    score bigint,
    rank bigint,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX coalitions_users_coalition_id ON coalitions_users (coalition_id);
CREATE INDEX coalitions_users_user_id ON coalitions_users (user_id);
COMMENT ON TABLE coalitions_users IS 'Who belongs to which coalition, piscines and alumni included.';
COMMENT ON COLUMN coalitions_users.id IS 'Id of the membership.';
COMMENT ON COLUMN coalitions_users.coalition_id IS 'The coalition.';
COMMENT ON COLUMN coalitions_users.user_id IS 'The person, perhaps one who is not mirrored.';
COMMENT ON COLUMN coalitions_users.score IS 'Points earned for the coalition; can be negative.';
COMMENT ON COLUMN coalitions_users.rank IS 'Place within the coalition; null: none.';
COMMENT ON COLUMN coalitions_users.created_at IS 'When the person joined.';
COMMENT ON COLUMN coalitions_users.updated_at IS 'When the membership last changed at the API.';
COMMENT ON COLUMN coalitions_users.ingested_at IS 'When this row last changed in the mirror.';
