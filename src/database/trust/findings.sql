-- After roles.sql: what roles that are not trusted could have this session run. $1: schemas of which every relation is in use; $2:
-- schemas of the search path; $3: names without a schema in the statements that are to come.
,spaces AS MATERIALIZED (
    SELECT n.oid, n.nspname::text AS name, n.nspowner, n.nspacl, n.nspname = ANY ($1) AS is_whole, n.nspname = ANY ($2) AS is_path,
        CASE pg_get_userbyid(n.nspowner) WHEN 'pg_database_owner'
            THEN (SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database())
            ELSE n.nspowner END AS owner
    FROM pg_catalog.pg_namespace AS n WHERE n.nspname = ANY ($1 || $2)
),
-- A role that owns a schema by membership is trusted as its owner is.
creators AS (
    SELECT s.oid, array_agg(quote_ident(r.rolname) ORDER BY r.rolname) AS roles
    FROM spaces AS s CROSS JOIN pg_catalog.pg_roles AS r
    WHERE r.oid NOT IN (SELECT oid FROM trusted) AND r.oid <> s.owner AND r.rolname !~ '^pg_'
        AND has_schema_privilege(r.oid, s.oid, 'CREATE')
        AND NOT (s.owner IN (SELECT oid FROM trusted) AND pg_has_role(r.oid, s.owner, 'MEMBER'))
    GROUP BY s.oid
),
-- With the parts of a table, and with tables whose rows change with its own: the triggers after that run as this session.
used AS (
    SELECT c.oid, NULL::oid AS cascade
    FROM spaces AS s JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid
    WHERE (s.is_whole OR c.relname = ANY ($3)) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION
    SELECT further.oid, further.cascade FROM used CROSS JOIN LATERAL (
        SELECT i.inhrelid, used.cascade FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = used.oid
        UNION ALL
        SELECT k.conrelid, k.oid FROM pg_catalog.pg_constraint AS k
        WHERE k.confrelid = used.oid AND k.contype = 'f'
            AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
    ) AS further (oid, cascade)
),
-- All that runs when a relation is read or written, as far as the catalogue records it: nothing is recorded of what belongs to
-- the system.
reached AS (
    SELECT 'pg_catalog.pg_class'::regclass::oid AS class, oid AS object, 0::oid AS part_class, 0::oid AS part,
        cascade IS NOT NULL AS is_on_write
    FROM used
    UNION
    SELECT further.class, further.object,
        CASE WHEN r.part <> 0 THEN r.part_class WHEN further.is_part THEN further.class ELSE 0 END,
        CASE WHEN r.part <> 0 THEN r.part WHEN further.is_part THEN further.object ELSE 0 END,
        r.is_on_write OR further.is_on_write
    FROM reached AS r CROSS JOIN LATERAL (
        SELECT 'pg_catalog.pg_rewrite'::regclass::oid, w.oid, true, w.ev_type <> '1' FROM pg_catalog.pg_rewrite AS w
        WHERE r.class = 'pg_catalog.pg_class'::regclass AND w.ev_class = r.object AND w.ev_enabled <> 'D'
        UNION ALL
        SELECT 'pg_catalog.pg_trigger'::regclass::oid, t.oid, true, true FROM pg_catalog.pg_trigger AS t
        WHERE r.class = 'pg_catalog.pg_class'::regclass AND t.tgrelid = r.object AND NOT t.tgisinternal AND t.tgenabled <> 'D'
        UNION ALL
        SELECT 'pg_catalog.pg_attrdef'::regclass::oid, d.oid, true, a.attgenerated <> 'v' FROM pg_catalog.pg_attrdef AS d
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE r.class = 'pg_catalog.pg_class'::regclass AND d.adrelid = r.object
        UNION ALL
        SELECT 'pg_catalog.pg_policy'::regclass::oid, p.oid, true, false FROM pg_catalog.pg_policy AS p
        WHERE r.class = 'pg_catalog.pg_class'::regclass AND p.polrelid = r.object
        UNION ALL
        SELECT 'pg_catalog.pg_constraint'::regclass::oid, k.oid, true, false FROM pg_catalog.pg_constraint AS k
        WHERE r.class = 'pg_catalog.pg_class'::regclass AND k.conrelid = r.object
        UNION ALL
        SELECT 'pg_catalog.pg_constraint'::regclass::oid, k.oid, true, false FROM pg_catalog.pg_constraint AS k
        WHERE r.class = 'pg_catalog.pg_type'::regclass AND k.contypid = r.object
        UNION ALL
        -- The planner looks at the expressions of an index, and computes what is constant in them.
        SELECT r.class, i.indexrelid, true, false FROM pg_catalog.pg_index AS i
        WHERE r.class = 'pg_catalog.pg_class'::regclass AND i.indrelid = r.object
        UNION ALL
        SELECT d.refclassid, d.refobjid, false, false FROM pg_catalog.pg_depend AS d
        WHERE d.classid = r.class AND d.objid = r.object AND d.deptype <> 'e'
            AND (d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass,
                    'pg_catalog.pg_type'::regclass, 'pg_catalog.pg_opclass'::regclass, 'pg_catalog.pg_collation'::regclass)
                OR d.refclassid = 'pg_catalog.pg_class'::regclass
                    AND r.class IN ('pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_policy'::regclass, 'pg_catalog.pg_type'::regclass))
    ) AS further (class, object, is_part, is_on_write)
),
owned AS MATERIALIZED (
    SELECT r.*, o.owner, (SELECT c.relkind FROM pg_catalog.pg_class AS c
        WHERE r.class = 'pg_catalog.pg_class'::regclass AND c.oid = r.object) AS relkind
    FROM reached AS r CROSS JOIN LATERAL (SELECT CASE r.class
        WHEN 'pg_catalog.pg_class'::regclass THEN (SELECT relowner FROM pg_catalog.pg_class WHERE oid = r.object)
        WHEN 'pg_catalog.pg_proc'::regclass THEN (SELECT proowner FROM pg_catalog.pg_proc WHERE oid = r.object)
        WHEN 'pg_catalog.pg_operator'::regclass THEN (SELECT oprowner FROM pg_catalog.pg_operator WHERE oid = r.object)
        WHEN 'pg_catalog.pg_type'::regclass THEN (SELECT typowner FROM pg_catalog.pg_type WHERE oid = r.object)
        WHEN 'pg_catalog.pg_opclass'::regclass THEN (SELECT opcowner FROM pg_catalog.pg_opclass WHERE oid = r.object)
        WHEN 'pg_catalog.pg_collation'::regclass THEN (SELECT collowner FROM pg_catalog.pg_collation WHERE oid = r.object)
        END AS owner OFFSET 0) AS o
    WHERE o.owner NOT IN (SELECT oid FROM trusted)
),
-- What stands in views and policies of others.
trees AS (
    SELECT o.object AS relation, w.ev_action::text AS tree FROM owned AS o
    JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = o.object AND w.ev_type = '1'
    WHERE o.class = 'pg_catalog.pg_class'::regclass AND NOT o.is_on_write
    UNION ALL
    SELECT o.object, concat(p.polqual::text, p.polwithcheck::text) FROM owned AS o
    JOIN pg_catalog.pg_policy AS p ON p.polrelid = o.object
    WHERE o.class = 'pg_catalog.pg_class'::regclass AND NOT o.is_on_write
),
-- Objects that a statement could find by a name without a schema: overloads of what the system or a trusted role has under that
-- name, and what a statement names. A type of the system is found before one of the same name.
found AS (
    SELECT s.name, 'pg_catalog.pg_proc'::regclass::oid AS class, p.oid AS object, p.proowner AS owner
    FROM spaces AS s JOIN pg_catalog.pg_proc AS p ON p.pronamespace = s.oid
    WHERE s.is_path AND (p.proname = ANY ($3) OR EXISTS (
        SELECT FROM pg_catalog.pg_proc AS o WHERE o.proname = p.proname AND (o.pronamespace = 'pg_catalog'::regnamespace
            OR o.pronamespace = s.oid AND o.proowner IN (SELECT oid FROM trusted))))
    UNION ALL
    SELECT s.name, 'pg_catalog.pg_operator'::regclass::oid, o.oid, o.oprowner
    FROM spaces AS s JOIN pg_catalog.pg_operator AS o ON o.oprnamespace = s.oid WHERE s.is_path
    UNION ALL
    SELECT s.name, 'pg_catalog.pg_type'::regclass::oid, t.oid, t.typowner
    FROM spaces AS s JOIN pg_catalog.pg_type AS t ON t.typnamespace = s.oid
    WHERE s.is_path AND t.typname = ANY ($3) AND (t.typrelid = 0 OR EXISTS (
        SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
),
findings (kind, schema, class, object, owner, others, grantees, part_class, part) AS (
    SELECT 'session', NULL::text, 0::oid, 0::oid, r.oid, NULL::text[], NULL::text[], 0::oid, 0::oid
    FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user AND r.oid NOT IN (SELECT oid FROM trusted)
    UNION ALL
    SELECT 'schema', s.name, 'pg_catalog.pg_namespace'::regclass::oid, s.oid, s.owner, NULL, NULL, 0, 0
    FROM spaces AS s WHERE s.owner NOT IN (SELECT oid FROM trusted)
    UNION ALL
    SELECT 'create', s.name, 'pg_catalog.pg_namespace'::regclass::oid, s.oid, s.owner, c.roles, ARRAY(
            SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
            FROM aclexplode(s.nspacl) AS a
            WHERE a.privilege_type = 'CREATE' AND a.grantee <> s.nspowner AND a.grantee NOT IN (SELECT oid FROM down) ORDER BY 1),
        0, 0
    FROM creators AS c JOIN spaces AS s ON s.oid = c.oid
    UNION ALL
    SELECT 'found', f.name, f.class, f.object, f.owner, NULL, NULL, 0, 0 FROM found AS f
    WHERE f.owner NOT IN (SELECT oid FROM trusted)
    UNION ALL
    SELECT DISTINCT 'relation', NULL, 'pg_catalog.pg_class'::regclass::oid, c.oid, c.relowner, NULL::text[], NULL::text[],
        CASE WHEN u.cascade IS NULL THEN 0 ELSE 'pg_catalog.pg_constraint'::regclass::oid END, coalesce(u.cascade, 0)
    FROM used AS u JOIN pg_catalog.pg_class AS c ON c.oid = u.oid WHERE c.relowner NOT IN (SELECT oid FROM trusted)
    UNION ALL
    SELECT 'relation', NULL, o.class, o.object, o.owner, NULL, NULL, o.part_class, o.part
    FROM owned AS o WHERE o.class = 'pg_catalog.pg_class'::regclass AND o.is_on_write AND o.part <> 0 AND o.relkind <> 'i'
    UNION ALL
    SELECT CASE WHEN o.is_on_write THEN 'writing' ELSE 'reading' END, NULL, o.class, o.object, o.owner, NULL, NULL, o.part_class, o.part
    FROM owned AS o WHERE o.class <> 'pg_catalog.pg_class'::regclass
    UNION ALL
    SELECT 'reading', NULL, o.class, o.object, o.owner, NULL, NULL, 0, 0 FROM owned AS o WHERE o.relkind = 'f'
    UNION ALL
    -- Rights to add triggers and foreign keys. A group of which the session is a member has other members.
    SELECT DISTINCT 'open', NULL, 'pg_catalog.pg_class'::regclass::oid, c.oid, c.relowner, NULL::text[], NULL::text[], 0::oid, 0::oid
    FROM used AS u JOIN pg_catalog.pg_class AS c ON c.oid = u.oid
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
    CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)) AS x
    WHERE c.relkind IN ('r', 'p') AND x.privilege_type IN ('TRIGGER', 'REFERENCES') AND x.grantee <> c.relowner
        AND x.grantee NOT IN (SELECT oid FROM down) AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
    UNION ALL
    -- What is not immutable can run any statement that it is given, as query_to_xml does.
    SELECT DISTINCT 'reading', NULL, 'pg_catalog.pg_class'::regclass::oid, t.relation, c.relowner, NULL::text[], NULL::text[],
        'pg_catalog.pg_proc'::regclass::oid, p.oid
    FROM trees AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.relation
    CROSS JOIN regexp_matches(t.tree, ':funcid ([0-9]+)', 'g') AS m
    JOIN pg_catalog.pg_proc AS p ON p.oid = m[1]::oid
    WHERE p.provolatile <> 'i' AND p.oid <> 'pg_catalog.now()'::regprocedure
)
SELECT DISTINCT f.kind, f.schema, CASE WHEN f.class <> 0 THEN (pg_identify_object(f.class, f.object, 0)).type END,
    CASE WHEN f.class <> 0 THEN (pg_identify_object(f.class, f.object, 0)).identity END, quote_ident(pg_get_userbyid(f.owner)),
    f.others, f.grantees, CASE WHEN f.part_class <> 0 THEN (pg_identify_object(f.part_class, f.part, 0)).type END,
    CASE WHEN f.part_class <> 0 THEN (pg_identify_object(f.part_class, f.part, 0)).identity END, quote_ident(session_user)
FROM findings AS f
ORDER BY 1, 2, 3, 4, 8, 9
