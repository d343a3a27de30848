-- What the API publishes for everybody: cursus, campuses, projects, achievements, coalitions.
-- Unqualified on purpose: it runs with search_path = the schema of the mirror. Only ids that every record has are NOT NULL;
-- real data is dirty elsewhere, and a mirror shows it as it is.

CREATE TABLE cursus (
    id bigint PRIMARY KEY,
    created_at timestamptz,
    name text,
    slug text,
    kind text,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX cursus_slug ON cursus (slug);
COMMENT ON TABLE cursus IS 'Curricula of the network, such as 21, the common core.';
COMMENT ON COLUMN cursus.id IS 'Id of the curriculum.';
COMMENT ON COLUMN cursus.created_at IS 'When the curriculum was created.';
COMMENT ON COLUMN cursus.name IS 'Name for people.';
COMMENT ON COLUMN cursus.slug IS 'Name for addresses.';
COMMENT ON COLUMN cursus.kind IS 'main, piscine, external, professional_training, piscine_community, test, or one of these with _deprecated.';
COMMENT ON COLUMN cursus.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE campuses (
    id bigint PRIMARY KEY,
    name text,
    time_zone text,
    language_id bigint,
    language_name text,
    language_identifier text,
    users_count bigint,
    vogsphere_id bigint,
    country text,
    address text,
    zip text,
    city text,
    website text,
    facebook text,
    twitter text,
    active boolean,
    public boolean,
    email_extension text,
    default_hidden_phone boolean,
    endpoint jsonb,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX campuses_name ON campuses (name);
COMMENT ON TABLE campuses IS 'Campuses that the API lists. Other tables can name campuses that it does not.';
COMMENT ON COLUMN campuses.id IS 'Id of the campus.';
COMMENT ON COLUMN campuses.name IS 'Name for people; achievements name their campuses by it.';
COMMENT ON COLUMN campuses.time_zone IS 'Zone of local times, such as Europe/Paris.';
COMMENT ON COLUMN campuses.language_id IS 'Id of the main language (language.id).';
COMMENT ON COLUMN campuses.language_name IS 'Name of the main language (language.name).';
COMMENT ON COLUMN campuses.language_identifier IS 'Code of the main language, such as fr (language.identifier).';
COMMENT ON COLUMN campuses.users_count IS 'Accounts that the campus ever had, by the API''s count.';
COMMENT ON COLUMN campuses.vogsphere_id IS 'Id of its git server; null: none.';
COMMENT ON COLUMN campuses.country IS 'Country.';
COMMENT ON COLUMN campuses.address IS 'Street address.';
COMMENT ON COLUMN campuses.zip IS 'Postal code.';
COMMENT ON COLUMN campuses.city IS 'City.';
COMMENT ON COLUMN campuses.website IS 'Address of its site.';
COMMENT ON COLUMN campuses.facebook IS 'Address of its page there; often an empty text.';
COMMENT ON COLUMN campuses.twitter IS 'Address of its page there; often an empty text.';
COMMENT ON COLUMN campuses.active IS 'Whether the campus is in operation.';
COMMENT ON COLUMN campuses.public IS 'Whether the campus is shown to everybody.';
COMMENT ON COLUMN campuses.email_extension IS 'Domain of its students'' mail; null: none.';
COMMENT ON COLUMN campuses.default_hidden_phone IS 'Whether phone numbers are hidden unless a person decides otherwise.';
COMMENT ON COLUMN campuses.endpoint IS 'Its infrastructure server: id, url, description, created_at, updated_at; null: none.';
COMMENT ON COLUMN campuses.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE projects (
    id bigint PRIMARY KEY,
    name text,
    slug text,
    difficulty bigint,
    parent_id bigint,
    children jsonb,
    attachments jsonb,
    created_at timestamptz,
    updated_at timestamptz,
    exam boolean,
    git_id bigint,
    repository text,
    recommendation text,
    cursus jsonb,
    videos jsonb,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX projects_slug ON projects (slug);
CREATE INDEX projects_parent_id ON projects (parent_id);
COMMENT ON TABLE projects IS 'Projects of the curriculum. Their campuses are in campus_projects, their sessions in project_sessions.';
COMMENT ON COLUMN projects.id IS 'Id of the project.';
COMMENT ON COLUMN projects.name IS 'Name for people.';
COMMENT ON COLUMN projects.slug IS 'Name for addresses; can be null.';
COMMENT ON COLUMN projects.difficulty IS 'Experience points that the project is worth; null: none.';
COMMENT ON COLUMN projects.parent_id IS 'The project that this is a part of (parent.id), perhaps one that is not mirrored; null: it stands alone.';
COMMENT ON COLUMN projects.children IS 'Its parts: an array of name, id, slug, url.';
COMMENT ON COLUMN projects.attachments IS 'Its files: an array, empty without a staff role.';
COMMENT ON COLUMN projects.created_at IS 'When the project was created.';
COMMENT ON COLUMN projects.updated_at IS 'When the project last changed at the API.';
COMMENT ON COLUMN projects.exam IS 'Whether it is an exam.';
COMMENT ON COLUMN projects.git_id IS 'Id of its git repository; null: none.';
COMMENT ON COLUMN projects.repository IS 'The same id as text, as the API has it.';
COMMENT ON COLUMN projects.recommendation IS 'The API''s word on recommending it.';
COMMENT ON COLUMN projects.cursus IS 'The curricula that it belongs to: an array of id, created_at, name, slug, kind.';
COMMENT ON COLUMN projects.videos IS 'Its videos: an array, empty without a staff role.';
COMMENT ON COLUMN projects.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE project_sessions (
    id bigint PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects ON DELETE CASCADE,
    campus_id bigint,
    cursus_id bigint,
    solo boolean,
    begin_at timestamptz,
    end_at timestamptz,
    estimate_time text,
    difficulty bigint,
    objectives jsonb,
    description text,
    duration_days bigint,
    terminating_after bigint,
    max_people bigint,
    is_subscriptable boolean,
    scales jsonb,
    uploads jsonb,
    team_behaviour text,
    commit text,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX project_sessions_project_id ON project_sessions (project_id);
CREATE INDEX project_sessions_campus_id ON project_sessions (campus_id);
CREATE INDEX project_sessions_cursus_id ON project_sessions (cursus_id);
COMMENT ON TABLE project_sessions IS 'The rules of a project for a campus and a curriculum.';
COMMENT ON COLUMN project_sessions.id IS 'Id of the session.';
COMMENT ON COLUMN project_sessions.project_id IS 'Its project.';
COMMENT ON COLUMN project_sessions.campus_id IS 'Its campus, perhaps one that is not mirrored; null: every campus without a session of its own.';
COMMENT ON COLUMN project_sessions.cursus_id IS 'Its curriculum; null: every curriculum without a session of its own.';
COMMENT ON COLUMN project_sessions.solo IS 'Whether one works alone.';
COMMENT ON COLUMN project_sessions.begin_at IS 'When it opens; null: it is open.';
COMMENT ON COLUMN project_sessions.end_at IS 'When it closes; null: never.';
COMMENT ON COLUMN project_sessions.estimate_time IS 'Expected duration in words, such as 2 days.';
COMMENT ON COLUMN project_sessions.difficulty IS 'Experience points that it is worth; null: none.';
COMMENT ON COLUMN project_sessions.objectives IS 'What one learns: an array of texts.';
COMMENT ON COLUMN project_sessions.description IS 'Text for people; can be empty or null.';
COMMENT ON COLUMN project_sessions.duration_days IS 'Days that a team has; null: no limit.';
COMMENT ON COLUMN project_sessions.terminating_after IS 'Days after which a team is closed; null: never.';
COMMENT ON COLUMN project_sessions.max_people IS 'Places; null: no limit.';
COMMENT ON COLUMN project_sessions.is_subscriptable IS 'Whether one can register.';
COMMENT ON COLUMN project_sessions.scales IS 'Its evaluation sheets: an array of id, correction_number, is_primary.';
COMMENT ON COLUMN project_sessions.uploads IS 'Its automatic corrections: an array of id, name.';
COMMENT ON COLUMN project_sessions.team_behaviour IS 'How teams are formed: user, upload, by_rule, none.';
COMMENT ON COLUMN project_sessions.commit IS 'The commit that is evaluated; null: the newest.';
COMMENT ON COLUMN project_sessions.created_at IS 'When the session was created.';
COMMENT ON COLUMN project_sessions.updated_at IS 'When the session last changed at the API.';
COMMENT ON COLUMN project_sessions.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE campus_projects (
    campus_id bigint NOT NULL,
    project_id bigint NOT NULL REFERENCES projects ON DELETE CASCADE,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, campus_id)
);
CREATE INDEX campus_projects_campus_id ON campus_projects (campus_id);
COMMENT ON TABLE campus_projects IS 'Which campus offers which project.';
COMMENT ON COLUMN campus_projects.campus_id IS 'The campus, perhaps one that is not mirrored.';
COMMENT ON COLUMN campus_projects.project_id IS 'The project.';
COMMENT ON COLUMN campus_projects.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE achievements (
    id bigint PRIMARY KEY,
    name text,
    description text,
    tier text,
    kind text,
    visible boolean,
    image text,
    nbr_of_success bigint,
    users_url text,
    achievements jsonb,
    campus jsonb,
    parent_id bigint,
    title jsonb,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX achievements_name ON achievements (name);
CREATE INDEX achievements_parent_id ON achievements (parent_id);
COMMENT ON TABLE achievements IS 'Achievements that a student can earn. Their campuses are in campus_achievements.';
COMMENT ON COLUMN achievements.id IS 'Id of the achievement.';
COMMENT ON COLUMN achievements.name IS 'Name for people; not unique.';
COMMENT ON COLUMN achievements.description IS 'What it is given for.';
COMMENT ON COLUMN achievements.tier IS 'none, easy, medium, hard, challenge.';
COMMENT ON COLUMN achievements.kind IS 'project, social, scolarity, pedagogy.';
COMMENT ON COLUMN achievements.visible IS 'Whether everybody sees it.';
COMMENT ON COLUMN achievements.image IS 'Path of its picture, without a host; null: none.';
COMMENT ON COLUMN achievements.nbr_of_success IS 'Successes needed; null: one.';
COMMENT ON COLUMN achievements.users_url IS 'Address of the list of those who have it.';
COMMENT ON COLUMN achievements.achievements IS 'Names of the achievements under it: an array of texts.';
COMMENT ON COLUMN achievements.campus IS 'Names of the campuses that give it: an array of texts.';
COMMENT ON COLUMN achievements.parent_id IS 'The achievement that this is a step of (parent.id); null: none.';
COMMENT ON COLUMN achievements.title IS 'The title that comes with it: id, name; null: none.';
COMMENT ON COLUMN achievements.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE campus_achievements (
    campus_id bigint NOT NULL,
    achievement_id bigint NOT NULL REFERENCES achievements ON DELETE CASCADE,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (achievement_id, campus_id)
);
CREATE INDEX campus_achievements_campus_id ON campus_achievements (campus_id);
COMMENT ON TABLE campus_achievements IS 'Which campus gives which achievement, as far as the names lead to a campus.';
COMMENT ON COLUMN campus_achievements.campus_id IS 'The campus.';
COMMENT ON COLUMN campus_achievements.achievement_id IS 'The achievement.';
COMMENT ON COLUMN campus_achievements.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE coalitions (
    id bigint PRIMARY KEY,
    name text,
    slug text,
    image_url text,
    cover_url text,
    color text,
    score bigint,
    user_id bigint,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX coalitions_slug ON coalitions (slug);
CREATE INDEX coalitions_user_id ON coalitions (user_id);
COMMENT ON TABLE coalitions IS 'Coalitions of all campuses. The API does not say of which campus.';
COMMENT ON COLUMN coalitions.id IS 'Id of the coalition.';
COMMENT ON COLUMN coalitions.name IS 'Name for people; many campuses use the same.';
COMMENT ON COLUMN coalitions.slug IS 'Name for addresses; not unique.';
COMMENT ON COLUMN coalitions.image_url IS 'Address of its emblem.';
COMMENT ON COLUMN coalitions.cover_url IS 'Address of its background; null: none.';
COMMENT ON COLUMN coalitions.color IS 'Colour, mostly #rrggbb; some have blanks around or lack the #.';
COMMENT ON COLUMN coalitions.score IS 'Points of the coalition.';
COMMENT ON COLUMN coalitions.user_id IS 'Its head, perhaps somebody who is not mirrored.';
COMMENT ON COLUMN coalitions.ingested_at IS 'When this row last changed in the mirror.';

-- The table that this file was recorded in.
COMMENT ON TABLE refinery_schema_history IS 'Migrations of this schema that have been applied; written by cursus.';
COMMENT ON COLUMN refinery_schema_history.version IS 'Number of the migration.';
COMMENT ON COLUMN refinery_schema_history.name IS 'Its name.';
COMMENT ON COLUMN refinery_schema_history.applied_on IS 'When it was applied (RFC 3339).';
COMMENT ON COLUMN refinery_schema_history.checksum IS 'Fingerprint of its text; an applied migration never changes.';
