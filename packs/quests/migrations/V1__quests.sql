-- Milestones, and who has reached them.

CREATE TABLE quests (
    id bigint PRIMARY KEY,
    name text,
    slug text,
    kind text,
    description text,
    cursus_id bigint,
    campus_id bigint,
    position bigint,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX quests_slug ON quests (slug);
COMMENT ON TABLE quests IS 'One row per milestone that somebody has begun, such as a rank of the common core.';
COMMENT ON COLUMN quests.id IS 'Number that the API and every quest_id use.';
COMMENT ON COLUMN quests.name IS 'Title that people read, such as Common Core Rank 02.';
COMMENT ON COLUMN quests.slug IS 'Name for addresses; the same for good.';
COMMENT ON COLUMN quests.kind IS 'main, side, pedagogy and others.';
COMMENT ON COLUMN quests.description IS 'What it takes.';
COMMENT ON COLUMN quests.cursus_id IS 'The curriculum, perhaps another than the mirrored one.';
COMMENT ON COLUMN quests.campus_id IS 'The campus. NULL: all.';
COMMENT ON COLUMN quests.position IS 'Its place among those of its curriculum.';
COMMENT ON COLUMN quests.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE quests_users (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL,
    quest_id bigint NOT NULL,
    prct double precision,
    advancement text,
    end_at timestamptz,
    validated_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX quests_users_user_id ON quests_users (user_id);
CREATE INDEX quests_users_quest_id_validated_at ON quests_users (quest_id, validated_at);
COMMENT ON TABLE quests_users IS 'One row per milestone that a person has begun.';
COMMENT ON COLUMN quests_users.id IS 'Number that the API uses.';
COMMENT ON COLUMN quests_users.user_id IS 'The person (user.id), perhaps one without a row in users, such as an alumnus.';
COMMENT ON COLUMN quests_users.quest_id IS 'The milestone.';
COMMENT ON COLUMN quests_users.prct IS 'How much of it is done, in percent. NULL: nobody counts.';
COMMENT ON COLUMN quests_users.advancement IS 'How far it is, in words. NULL: nobody said.';
COMMENT ON COLUMN quests_users.end_at IS 'By when it must be reached. NULL: no such date.';
COMMENT ON COLUMN quests_users.validated_at IS 'When it was reached. NULL: not yet.';
COMMENT ON COLUMN quests_users.created_at IS 'When it was begun.';
COMMENT ON COLUMN quests_users.updated_at IS 'When it last changed at the API.';
COMMENT ON COLUMN quests_users.ingested_at IS 'When this row last changed in the mirror.';
