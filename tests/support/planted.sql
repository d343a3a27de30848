-- Plants, in the schema {schema} and as {role}, what a name without a schema could find instead of what pg_catalog has: functions,
-- aggregates, operators, types and views. Each of them strikes.
DO $plant$
DECLARE
    names text[] := {names};
    relations text[] := {relations};
    types text[] := '{text,int4,int8,int2,float8,bool,name,oid,jsonb,timestamptz,regclass,"\"char\"",text[],name[],int2[]}';
    p record;
    t text;
    u text;
    signature text;
    result text;
    strikes text := 'BEGIN PERFORM planted.strike(); RETURN NULL; END';
BEGIN
    SET LOCAL ROLE {role};
    SET LOCAL search_path = pg_catalog;
    FOR p IN
        SELECT oid, proname, prokind, proretset, prorettype, proargtypes::oid[] AS args, quote_ident(proname) AS name
        FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY (names) AND prokind <> 'p'
            AND 'internal'::regtype <> ALL (proargtypes::oid[])
    LOOP
        -- The very same, which is found where pg_catalog is not the first in the path.
        BEGIN
            result := pg_get_function_result(p.oid);
            EXECUTE format('CREATE FUNCTION {schema}.%s(%s) RETURNS %s LANGUAGE plpgsql AS %L', p.name,
                pg_get_function_identity_arguments(p.oid), result,
                CASE WHEN p.proretset OR result = 'void' THEN 'BEGIN PERFORM planted.strike(); RETURN; END' ELSE strikes END);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        -- What matches better than a polymorphic one, or than one that needs a cast.
        FOREACH t IN ARRAY types LOOP
            FOR arity IN array_length(p.args, 1) .. greatest(array_length(p.args, 1), CASE WHEN p.args @> '{2276}' THEN 4 ELSE 0 END) LOOP
                BEGIN
                    SELECT string_agg(CASE
                        WHEN a.type IN ('anyarray'::regtype, 'anycompatiblearray'::regtype) THEN trim(t, '[]') || '[]'
                        WHEN a.type IS NULL OR a.kind = 'p' THEN t
                        WHEN a.place = 1 THEN t
                        ELSE format_type(a.type, NULL) END, ', ' ORDER BY a.place)
                    INTO signature
                    FROM (SELECT n.place, p.args[n.place - 1 + array_lower(p.args, 1)] AS type, y.typtype AS kind
                        FROM generate_series(1, arity) AS n (place)
                        LEFT JOIN pg_type AS y ON y.oid = p.args[n.place - 1 + array_lower(p.args, 1)]) AS a;
                    result := CASE
                        WHEN p.prorettype IN ('anyarray'::regtype, 'anycompatiblearray'::regtype) THEN trim(t, '[]') || '[]'
                        WHEN (SELECT typtype FROM pg_type WHERE oid = p.prorettype) = 'p' AND p.prorettype NOT IN ('void'::regtype, 'record'::regtype)
                            THEN t
                        ELSE format_type(p.prorettype, NULL) END;
                    IF p.prokind = 'a' THEN
                        EXECUTE format('CREATE OR REPLACE FUNCTION planted.step(%s) RETURNS bigint LANGUAGE plpgsql AS %L',
                            concat_ws(', ', 'bigint', signature), strikes);
                        EXECUTE format('CREATE AGGREGATE {schema}.%s(%s) (SFUNC = planted.step, STYPE = bigint)', p.name, signature);
                    ELSE
                        EXECUTE format('CREATE FUNCTION {schema}.%s(%s) RETURNS %s%s LANGUAGE plpgsql AS %L', p.name, signature,
                            CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END, result,
                            CASE WHEN p.proretset OR result = 'void' THEN 'BEGIN PERFORM planted.strike(); RETURN; END' ELSE strikes END);
                    END IF;
                EXCEPTION WHEN OTHERS THEN NULL;
                END;
            END LOOP;
        END LOOP;
    END LOOP;
    FOR p IN
        SELECT oprname, oprkind, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r, format_type(oprresult, NULL) AS result
        FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace
        UNION
        SELECT o.oprname, 'b', l, r, CASE WHEN o.result = 'bool' THEN 'bool' ELSE l END
        FROM (VALUES ('=', 'bool'), ('<>', 'bool'), ('<', 'bool'), ('>', 'bool'), ('<=', 'bool'), ('>=', 'bool'), ('||', ''), ('-', ''),
            ('+', ''), ('*', ''), ('>>', ''), ('&', ''), ('->', ''), ('->>', ''), ('<@', 'bool'), ('@>', 'bool'), ('~', 'bool')) AS o (oprname, result)
        CROSS JOIN unnest(types) AS l CROSS JOIN unnest(types) AS r
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION planted.operate(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                concat_ws(', ', nullif(p.l, '-'), p.r), p.result, strikes);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        BEGIN
            EXECUTE format('CREATE OPERATOR {schema}.%s (%s RIGHTARG = %s, FUNCTION = planted.operate)', p.oprname,
                CASE WHEN p.l = '-' THEN '' ELSE format('LEFTARG = %s,', p.l) END, p.r);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOREACH u IN ARRAY relations LOOP
        EXECUTE format('CREATE VIEW {schema}.%I AS SELECT planted.strike() AS oid', u);
    END LOOP;
    FOREACH t IN ARRAY types[:11] LOOP
        EXECUTE format('CREATE DOMAIN {schema}.%I AS pg_catalog.%s CHECK (planted.strike())', trim(t, '"'), t);
    END LOOP;
    RESET ROLE;
END
$plant$;
