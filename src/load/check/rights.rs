//! What a session will lack before it has loaded anything: rights, a server that takes writes, room for the tables. Each finding is
//! a sentence that names the object, the right, and the statement that grants it. It reads the catalogue and changes nothing.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use crate::config::Config;
use crate::database::snapshot;
use crate::load::error::LoadError;
use crate::migrate::{self, MigrateError, Outlook};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// All without which a load fails.
    ToLoad,
    /// Also policies that hide rows of the mirror: a load reports them and deletes nothing that they may hide, but a run should
    /// know before it makes requests.
    ToRun,
}

/// Who looks, and where. Names are quoted where they need it, here and below.
const ME: &str = "
    WITH me AS MATERIALIZED (
        SELECT pg_catalog.quote_ident(current_user) AS role, pg_catalog.quote_ident(pg_catalog.current_database()) AS db
    )";

/// The names in the statements about rights: `$1` the schema of the mirror, `$2` its tables, `$3` the histories of migrations, without
/// which no table of a schema is ours; `$5` the tables of the load ledger.
const NAMES: &str = "
    , schemas AS MATERIALIZED (
        SELECT w.name, pg_catalog.quote_ident(w.name) AS shown, n.oid
        FROM (SELECT 'pipeline' AS name UNION SELECT $1::text) AS w
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.name
    ), tables AS MATERIALIZED (
        SELECT c.oid, c.relowner, c.relname = ANY ($3) AS is_history, s.name = 'pipeline' AS is_ledger,
            s.shown || '.' || pg_catalog.quote_ident(c.relname) AS shown
        FROM schemas AS s JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid
        WHERE c.relkind IN ('r', 'p') AND c.relname = ANY ($3 || CASE s.name WHEN 'pipeline' THEN $5 ELSE $2 END)
            AND EXISTS (SELECT FROM pg_catalog.pg_class AS h WHERE h.relnamespace = s.oid AND h.relname = $3[1])
    )";

/// The place of what keeps the histories from being read.
const UNREADABLE: i32 = 4;

/// Whether the session's role is a superuser, who lacks no right and sees every row.
const SUPERUSER: &str = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";

/// What lets nobody write. `pg_settings` is slow to list: it is read only where transactions are read only.
const SERVER: &str = "
    SELECT 1 AS place, 'the server is a standby, which takes no writes: name its primary in the database URL, or make it one \
        with `SELECT pg_promote()`' AS sentence
    WHERE pg_catalog.pg_is_in_recovery()
    UNION ALL SELECT 1, CASE WHEN s.source = 'client'
        THEN 'the database URL makes every transaction read only (default_transaction_read_only): take that out of its `options`'
        ELSE pg_catalog.format('every transaction of the role %1$s in the database %2$s is read only (default_transaction_read_only); let it \
            write with `ALTER ROLE %1$s IN DATABASE %2$s SET default_transaction_read_only = off`', role, db) END
    FROM me, pg_catalog.pg_settings AS s
    WHERE s.name = 'default_transaction_read_only' AND pg_catalog.current_setting('default_transaction_read_only') = 'on'
        AND NOT pg_catalog.pg_is_in_recovery()";

/// Rights that have nothing to do with migrations.
const RIGHTS: &str = "
    SELECT 2 AS place, pg_catalog.format('the schema %s is not there, and the role %s lacks CREATE on the database %s to make it; grant it \
        with `GRANT CREATE ON DATABASE %3$s TO %2$s`', s.shown, role, db)
    FROM me, schemas AS s
    WHERE s.oid IS NULL AND NOT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
    UNION ALL SELECT 3, pg_catalog.format('the role %s lacks TEMPORARY on the database %s, for the tables of a load; grant it with `GRANT TEMPORARY \
        ON DATABASE %2$s TO %1$s`', role, db)
    FROM me WHERE NOT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')
    UNION ALL SELECT 4, pg_catalog.format('the role %s lacks USAGE on the schema %s; grant it with `GRANT USAGE ON SCHEMA %2$s TO %1$s`', \
        role, s.shown)
    FROM me, schemas AS s WHERE NOT pg_catalog.has_schema_privilege(s.oid, 'USAGE')
    UNION ALL SELECT 5, pg_catalog.format('the role %s lacks CREATE on the schema %s, which migrations have still to change; grant it with \
        `GRANT CREATE ON SCHEMA %2$s TO %1$s`', role, s.shown)
    FROM me, schemas AS s
    WHERE NOT pg_catalog.has_schema_privilege(s.oid, 'CREATE')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS h WHERE h.relnamespace = s.oid AND h.relname = $3[1])
    UNION ALL SELECT CASE WHEN is_history THEN 4 ELSE 6 END, pg_catalog.format('the role %s lacks %s on %s; grant it with `GRANT %2$s ON %3$s TO %1$s`', role, lacks,
        pg_catalog.string_agg(t.shown, ', ' ORDER BY t.shown))
    FROM me, (
        SELECT t.shown, t.is_history, (
            SELECT pg_catalog.string_agg(w.privilege, ', ' ORDER BY w.place)
            FROM (VALUES (1, 'SELECT'), (2, 'INSERT'), (3, 'UPDATE'), (4, 'DELETE')) AS w (place, privilege)
            WHERE (w.place = 1 OR NOT t.is_history) AND NOT pg_catalog.has_table_privilege(t.oid, w.privilege)
        ) AS lacks FROM tables AS t
    ) AS t WHERE lacks IS NOT NULL GROUP BY role, lacks, is_history
    UNION ALL SELECT 7, pg_catalog.format('the role %s lacks USAGE on the sequence %s, which numbers rows of %s; grant it with `GRANT USAGE ON \
        SEQUENCE %2$s TO %1$s`', role, q.shown, t.shown)
    FROM me, tables AS t
    JOIN pg_catalog.pg_attrdef AS a ON a.adrelid = t.oid
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = a.oid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN (
        SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS shown
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE CASE WHEN c.relkind = 'S' THEN NOT pg_catalog.has_sequence_privilege(c.oid, 'USAGE') END
    ) AS q ON q.oid = d.refobjid
    UNION ALL SELECT 8, pg_catalog.format('%s refers to %s by the foreign key %s, and the role %s may not read it: no delete could be \
        checked; grant it with `GRANT USAGE ON SCHEMA %s TO %4$s; GRANT SELECT ON %1$s TO %4$s`', r.shown, t.shown, \
        pg_catalog.quote_ident(f.conname), role, r.of)
    FROM me, tables AS t
    JOIN pg_catalog.pg_constraint AS f ON f.confrelid = t.oid AND f.contype = 'f'
    JOIN (
        SELECT c.oid, c.relnamespace, pg_catalog.quote_ident(n.nspname) AS of,
            pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS shown
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    ) AS r ON r.oid = f.conrelid
    WHERE f.conparentid = 0 AND NOT EXISTS (SELECT FROM tables AS own WHERE own.oid = r.oid)
        AND NOT (pg_catalog.has_schema_privilege(r.relnamespace, 'USAGE') AND (
            SELECT pg_catalog.bool_and(pg_catalog.has_column_privilege(r.oid, k.number, 'SELECT')) FROM pg_catalog.unnest(f.conkey) AS k (number)))
    UNION ALL SELECT 9, pg_catalog.format('row-level security of %s applies to the role %s and can hide rows; ', t.shown, role) ||
        CASE WHEN pg_catalog.pg_has_role(t.relowner, 'USAGE')
        THEN pg_catalog.format('take it off its owner with `ALTER TABLE %s NO FORCE ROW LEVEL SECURITY`', t.shown)
        ELSE pg_catalog.format('let the role past it with `ALTER ROLE %s BYPASSRLS`', role) END
    FROM me, tables AS t
    WHERE ($4 OR t.is_ledger OR pg_catalog.current_setting('row_security') = 'off') AND pg_catalog.row_security_active(t.oid)";

/// What migrations that wait will lack. `$4`: for each of their schemas its name, the names that they make, and those that they change.
const PENDING: &str = "
    , waiting AS MATERIALIZED (
        SELECT s.name, s.shown, s.oid, w.makes, w.changes, w.changes_schema
        FROM pg_catalog.jsonb_to_recordset($4) AS w (schema text, makes pg_catalog.text[], changes pg_catalog.text[], \
            changes_schema boolean)
        JOIN schemas AS s ON s.name = w.schema AND s.oid IS NOT NULL
    )
    SELECT 5 AS place, pg_catalog.format('the role %s lacks CREATE on the schema %s, which migrations have still to change; grant it with \
        `GRANT CREATE ON SCHEMA %2$s TO %1$s`', role, w.shown) AS sentence
    FROM me, waiting AS w WHERE NOT pg_catalog.has_schema_privilege(w.oid, 'CREATE')
    UNION ALL SELECT 6, pg_catalog.format('the role %s lacks INSERT on %s, where migrations are recorded; grant it with `GRANT INSERT ON %2$s TO \
        %1$s`', role, t.shown)
    FROM me, waiting AS w JOIN pg_catalog.pg_class AS c ON c.relnamespace = w.oid JOIN tables AS t ON t.oid = c.oid AND t.is_history
    WHERE NOT pg_catalog.has_table_privilege(t.oid, 'INSERT')
    UNION ALL SELECT 10, pg_catalog.format('%s.%s is in the way: a migration makes it, and another program, or somebody, has put one there; \
        choose another %5$s, or rename it with `ALTER %3$s %1$s.%2$s RENAME TO %4$s`', w.shown, pg_catalog.quote_ident(o.name), o.kind,
        pg_catalog.quote_ident(o.name || '_before'),
        CASE w.name WHEN 'pipeline' THEN 'database' ELSE 'schema (`schema` under [database])' END)
    FROM waiting AS w JOIN (
        SELECT c.relnamespace AS of, c.relname AS name, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
            WHEN 'S' THEN 'SEQUENCE' WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE'
            ELSE 'TABLE' END AS kind
        FROM pg_catalog.pg_class AS c
        UNION ALL SELECT t.typnamespace, t.typname, CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END
        FROM pg_catalog.pg_type AS t WHERE t.typrelid = 0 AND t.typelem = 0
    ) AS o ON o.of = w.oid AND o.name = ANY (w.makes)
    UNION ALL SELECT 11, pg_catalog.format('the schema %s belongs to the role %s, and a migration has still to change it; give it to the role %s \
        with `ALTER SCHEMA %1$s OWNER TO %3$s`', w.shown, pg_catalog.quote_ident(o.rolname), role)
    FROM me, waiting AS w JOIN pg_catalog.pg_namespace AS n ON n.oid = w.oid JOIN pg_catalog.pg_roles AS o ON o.oid = n.nspowner
    WHERE w.changes_schema AND NOT pg_catalog.pg_has_role(n.nspowner, 'USAGE')
    UNION ALL SELECT 11, pg_catalog.format('%s belongs to the role %s, and a migration has still to change it; give it to the role %s with `ALTER \
        TABLE %1$s OWNER TO %3$s`', w.shown || '.' || pg_catalog.quote_ident(c.relname), pg_catalog.quote_ident(o.rolname), role)
    FROM me, waiting AS w JOIN pg_catalog.pg_class AS c ON c.relnamespace = w.oid AND c.relname = ANY (w.changes)
    JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') AND NOT c.relname = ANY (w.makes)";

/// What a load that writes changes lacks, which makes and drops partitions of `pipeline.change`.
const PARTITIONS: &str = "
    WITH me AS (SELECT pg_catalog.quote_ident(current_user) AS role), change AS (
        SELECT n.oid AS schema, c.relowner AS owner, pg_catalog.quote_ident(o.rolname) AS shown FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
        WHERE n.nspname = 'pipeline' AND c.relname = 'change'
    )
    SELECT 5 AS place, pg_catalog.format('the role %s lacks CREATE on the schema pipeline, where a load makes a partition of changes for each \
        month; grant it with `GRANT CREATE ON SCHEMA pipeline TO %1$s`, or take [changes] out of pipeline.toml', role) AS sentence
    FROM me, change WHERE NOT pg_catalog.has_schema_privilege(change.schema, 'CREATE')
    UNION ALL SELECT 11, pg_catalog.format('pipeline.change belongs to the role %s, and a load makes and drops partitions of it; give it to the \
        role %s with `ALTER TABLE pipeline.change OWNER TO %2$s`, or take [changes] out of pipeline.toml', change.shown, role)
    FROM me, change WHERE NOT pg_catalog.pg_has_role(change.owner, 'USAGE')";

/// What the session lacks, in an order in which it can be mended; nothing if it lacks nothing. An error of the migrations themselves
/// is one more sentence where there are others, else it is the error.
pub(crate) async fn lacking(
    client: &mut Client,
    config: &Config,
    schema: &str,
    look: Look,
) -> Result<Vec<String>, LoadError> {
    let doing = || LoadError::at("look at the rights of the role");
    // One moment for all of it: another process may migrate meanwhile.
    let transaction = snapshot(client).await.map_err(doing())?;
    let mut found = rights(&transaction, config, schema, look).await?;
    // Without these the histories cannot be read.
    if found.iter().all(|(place, _)| *place != UNREADABLE) {
        let folder = config.migrations();
        match migrate::outlook(&transaction, schema, &folder).await {
            Ok(outlook) if outlook.is_empty() => {}
            Ok(outlook) => found.extend(pending(&transaction, config, schema, &outlook).await?),
            // What is said of its tables is meant for ours.
            Err(error @ MigrateError::OtherProgram { .. }) => return Err(error.into()),
            Err(error) if found.is_empty() => return Err(error.into()),
            Err(error) => found.push((12, crate::error_chain::chain(&error))),
        }
    }
    transaction.rollback().await.map_err(doing())?;
    found.sort();
    found.dedup();
    Ok(found.into_iter().map(|(_, sentence)| sentence).collect())
}

/// The limits of time that the role, the database or the server gives to sessions, and that one which writes sets to 0: sentences to
/// know, not to act on.
pub(crate) async fn limits(client: &Client) -> Result<Vec<String>, LoadError> {
    const LIMITS: &str = "SELECT pg_catalog.format('%s is %s ms for this role; sessions that write set it to 0 for themselves', name, reset_val) \
        FROM pg_catalog.pg_settings WHERE reset_val <> '0' AND setting = '0' AND name IN ('statement_timeout', \
        'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout') ORDER BY name";
    let rows = client.query_typed(LIMITS, &[]).await;
    let rows = rows.map_err(LoadError::at("look at the settings of the role"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

type Found = Vec<(i32, String)>;

async fn rights(
    transaction: &Transaction<'_>,
    config: &Config,
    schema: &str,
    look: Look,
) -> Result<Found, LoadError> {
    let doing = || LoadError::at("look at the rights of the role");
    let server = format!("{ME} {SERVER}");
    let (found, is_superuser) = tokio::try_join!(
        transaction.query_typed(&server, &[]),
        transaction.query_typed_one(SUPERUSER, &[]),
    )
    .map_err(doing())?;
    let mut rows = found;
    if !is_superuser.get::<_, bool>(0) {
        let names = names(config);
        let histories = migrate::histories(&config.migrations());
        let ledger = migrate::ledger_names();
        let query = format!("{ME} {NAMES} {RIGHTS}");
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 5] = [
            (&schema, Type::TEXT),
            (&names, Type::TEXT_ARRAY),
            (&histories, Type::TEXT_ARRAY),
            (&(look == Look::ToRun), Type::BOOL),
            (&ledger, Type::TEXT_ARRAY),
        ];
        let lacking = transaction.query_typed(&query, &parameters).await;
        rows.extend(lacking.map_err(doing())?);
        if !config.changes.tables.is_empty() {
            let more = transaction.query_typed(PARTITIONS, &[]).await;
            rows.extend(more.map_err(doing())?);
        }
    }
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn pending(
    transaction: &Transaction<'_>,
    config: &Config,
    schema: &str,
    outlook: &[Outlook],
) -> Result<Found, LoadError> {
    let names = names(config);
    let histories = migrate::histories(&config.migrations());
    let ledger = migrate::ledger_names();
    let waiting: Vec<serde_json::Value> = outlook
        .iter()
        .map(|set| {
            serde_json::json!({
                "schema": set.schema,
                "makes": set.effects.makes,
                "changes": set.effects.changes,
                "changes_schema": set.effects.changes_schema,
            })
        })
        .collect();
    let waiting = serde_json::Value::from(waiting);
    let query = format!("{ME} {NAMES} {PENDING}");
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 5] = [
        (&schema, Type::TEXT),
        (&names, Type::TEXT_ARRAY),
        (&histories, Type::TEXT_ARRAY),
        (&waiting, Type::JSONB),
        (&ledger, Type::TEXT_ARRAY),
    ];
    let rows = transaction.query_typed(&query, &parameters).await;
    let rows = rows.map_err(LoadError::at("look at the rights of the role"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The tables of the mirror, and those that migrations of packs make. The names of indexes among them match no table.
fn names(config: &Config) -> Vec<String> {
    let mut names = migrate::Effects::of(config.pack_migrations()).makes;
    names.extend(config.tables.iter().map(|table| table.name.to_string()));
    names.into_iter().collect()
}

/// Refuses to begin what could not end.
pub(crate) async fn refuse_lacking(
    client: &mut Client,
    config: &Config,
    schema: &str,
    look: Look,
) -> Result<(), LoadError> {
    let lacking = lacking(client, config, schema, look).await?;
    if lacking.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Lacking(lacking))
    }
}
