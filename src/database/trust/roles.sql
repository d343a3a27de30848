-- Roles that this session trusts: those whose rights it has by membership, superusers, and roles that can become one of them or its
-- own. Not by pg_has_role: a superuser would be a member of everything. Since 16 a membership can be one that gives no rights.
WITH RECURSIVE
me AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user),
up AS (
    SELECT oid FROM me
    UNION
    SELECT m.roleid FROM up JOIN pg_catalog.pg_auth_members AS m ON m.member = up.oid
    WHERE coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) OR (to_jsonb(m) ->> 'inherit_option')::boolean
),
down AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper OR rolname = session_user
    UNION
    SELECT m.member FROM down JOIN pg_catalog.pg_auth_members AS m ON m.roleid = down.oid
),
trusted AS MATERIALIZED (SELECT oid FROM up UNION SELECT oid FROM down)
