-- Blocs: the coalitions of a campus that compete with each other.

CREATE TABLE blocs (
    id bigint PRIMARY KEY,
    campus_id bigint,
    cursus_id bigint,
    squad_size bigint,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX blocs_campus_id_cursus_id ON blocs (campus_id, cursus_id);
COMMENT ON TABLE blocs IS 'One row per bloc: the coalitions of a campus and a curriculum, which compete with each other. Its coalitions are in blocs_coalitions; coalition_board has them with their scores.';
COMMENT ON COLUMN blocs.id IS 'Number that the API and every bloc_id use.';
COMMENT ON COLUMN blocs.campus_id IS 'The campus, perhaps one that the API does not list.';
COMMENT ON COLUMN blocs.cursus_id IS 'The curriculum; only the mirrored one.';
COMMENT ON COLUMN blocs.squad_size IS 'People whose points count for a coalition. NULL: all.';
COMMENT ON COLUMN blocs.created_at IS 'When it was created.';
COMMENT ON COLUMN blocs.updated_at IS 'When it last changed at the API; scores do not move it.';
COMMENT ON COLUMN blocs.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE blocs_coalitions (
    bloc_id bigint NOT NULL REFERENCES blocs ON DELETE CASCADE,
    coalition_id bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bloc_id, coalition_id)
);
CREATE INDEX blocs_coalitions_coalition_id ON blocs_coalitions (coalition_id);
COMMENT ON TABLE blocs_coalitions IS 'One row per coalition of a bloc: the way from a coalition to its campus.';
COMMENT ON COLUMN blocs_coalitions.bloc_id IS 'The bloc.';
COMMENT ON COLUMN blocs_coalitions.coalition_id IS 'The coalition.';
COMMENT ON COLUMN blocs_coalitions.ingested_at IS 'When this row last changed in the mirror.';

CREATE TABLE bloc_deadlines (
    id bigint PRIMARY KEY,
    bloc_id bigint NOT NULL,
    coalition_id bigint,
    begin_at timestamptz,
    end_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    ingested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX bloc_deadlines_bloc_id_end_at ON bloc_deadlines (bloc_id, end_at);
COMMENT ON TABLE bloc_deadlines IS 'One row per season of a bloc, at the end of which a coalition wins.';
COMMENT ON COLUMN bloc_deadlines.id IS 'Number that the API uses.';
COMMENT ON COLUMN bloc_deadlines.bloc_id IS 'The bloc.';
COMMENT ON COLUMN bloc_deadlines.coalition_id IS 'The coalition that won. NULL: the season is on, or nobody said.';
COMMENT ON COLUMN bloc_deadlines.begin_at IS 'When the season begins.';
COMMENT ON COLUMN bloc_deadlines.end_at IS 'When the season ends.';
COMMENT ON COLUMN bloc_deadlines.created_at IS 'When it was created.';
COMMENT ON COLUMN bloc_deadlines.updated_at IS 'When it last changed at the API.';
COMMENT ON COLUMN bloc_deadlines.ingested_at IS 'When this row last changed in the mirror.';
