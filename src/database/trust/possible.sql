-- After roles.sql: whether findings.sql, which takes many times as long, can find anything. All that it reports belongs to a role that is
-- not trusted, was granted to one, or is this session acting as one. $1 and $2 as there.
, owners AS (
    SELECT oid AS owner FROM pg_catalog.pg_roles WHERE rolname = current_user
    UNION ALL SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()
    -- Not by pg_shdepend, in which nothing is recorded of what belongs to predefined roles. pg_database_owner stands for the owner above.
    UNION ALL SELECT nspowner FROM pg_catalog.pg_namespace WHERE pg_get_userbyid(nspowner) <> 'pg_database_owner'
    UNION ALL SELECT relowner FROM pg_catalog.pg_class
    UNION ALL SELECT proowner FROM pg_catalog.pg_proc
    UNION ALL SELECT oprowner FROM pg_catalog.pg_operator
    UNION ALL SELECT typowner FROM pg_catalog.pg_type
    UNION ALL SELECT opcowner FROM pg_catalog.pg_opclass
    UNION ALL SELECT collowner FROM pg_catalog.pg_collation
)
-- Without another role nothing belongs to one.
SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' AND oid NOT IN (SELECT oid FROM trusted))
    AND (
        EXISTS (SELECT FROM owners WHERE owner NOT IN (SELECT oid FROM trusted))
        OR EXISTS (
            SELECT FROM pg_catalog.pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS x
            WHERE n.nspname = ANY ($1 || $2) AND x.privilege_type = 'CREATE' AND x.grantee <> n.nspowner
                AND x.grantee NOT IN (SELECT oid FROM down)
        )
        -- Each list of rights once: thousands of relations share a few.
        OR EXISTS (
            SELECT FROM (
                SELECT relacl, relowner FROM pg_catalog.pg_class WHERE relacl IS NOT NULL
                UNION
                SELECT a.attacl, c.relowner FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
                WHERE a.attacl IS NOT NULL
            ) AS c (acl, owner) CROSS JOIN aclexplode(c.acl) AS x
            WHERE x.privilege_type IN ('TRIGGER', 'REFERENCES') AND x.grantee <> c.owner AND x.grantee NOT IN (SELECT oid FROM down)
        )
    )
