-- Titles, and who has them.

CREATE TABLE titles (
    id bigint PRIMARY KEY,
    name text,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE titles IS 'One row per title that people can have.';
COMMENT ON COLUMN titles.id IS 'Number that the API and every title_id use.';
COMMENT ON COLUMN titles.name IS 'The title; %login stands for the login of who has it.';
COMMENT ON COLUMN titles.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE titles_users (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL,
    title_id bigint NOT NULL,
    selected boolean,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX titles_users_user_id ON titles_users (user_id);
CREATE INDEX titles_users_title_id ON titles_users (title_id);
COMMENT ON TABLE titles_users IS 'One row per title that a person has, in the whole network.';
COMMENT ON COLUMN titles_users.id IS 'Number that the API uses.';
COMMENT ON COLUMN titles_users.user_id IS 'The person, perhaps one without a row in users.';
COMMENT ON COLUMN titles_users.title_id IS 'The title.';
COMMENT ON COLUMN titles_users.selected IS 'Whether the person shows it.';
COMMENT ON COLUMN titles_users.created_at IS 'When the person received it.';
COMMENT ON COLUMN titles_users.updated_at IS 'When it last changed at the API.';
COMMENT ON COLUMN titles_users.ingested_at IS 'When this row last changed in the mirror.';
