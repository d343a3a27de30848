-- Skills of people, nested in their enrolments.

CREATE TABLE cursus_users_skills (
    cursus_user_id bigint NOT NULL,
    skill_id bigint NOT NULL,
    user_id bigint NOT NULL,
    cursus_id bigint,
    name text,
    level double precision,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cursus_user_id, skill_id)
);
CREATE INDEX cursus_users_skills_user_id ON cursus_users_skills (user_id);
CREATE INDEX cursus_users_skills_skill_id_level ON cursus_users_skills (skill_id, level);
COMMENT ON TABLE cursus_users_skills IS 'Skills of people: a row an enrolment and skill.';
COMMENT ON COLUMN cursus_users_skills.cursus_user_id IS 'The enrolment (cursus_users.id).';
COMMENT ON COLUMN cursus_users_skills.skill_id IS 'Id of the skill, the same for all people.';
COMMENT ON COLUMN cursus_users_skills.user_id IS 'The person (user.id), perhaps one who is not mirrored.';
COMMENT ON COLUMN cursus_users_skills.cursus_id IS 'The curriculum of the enrolment.';
COMMENT ON COLUMN cursus_users_skills.name IS 'Name of the skill in English.';
COMMENT ON COLUMN cursus_users_skills.level IS 'Level of the skill; the API computes it again and moves no date.';
COMMENT ON COLUMN cursus_users_skills.ingested_at IS 'When this row last changed in the mirror.';
