//! What the ledger holds of a schema, and how it is forgotten.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient};

use crate::load::error::LoadError;
use crate::migrate;

/// The table with the numbers of changes, as [`ledger_tables`] names it.
const FEED: &str = "pipeline.change_feed";
/// The table with the positions of consumers.
const CONSUMERS: &str = "pipeline.consumer";

/// Deletes the ledger rows of a schema that was dropped: a new one of the same name must not inherit them.
pub(crate) async fn forget_dropped(client: &Client, schema: &str) -> Result<(), LoadError> {
    let is_made = client
        .query_typed_opt(
            "SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = $2",
            &[(&schema, Type::TEXT), (&migrate::HISTORY, Type::TEXT)],
        )
        .await
        .map_err(LoadError::at("look at the schema"))?;
    match is_made {
        Some(_) => Ok(()),
        None => forget(client, schema).await,
    }
}

/// Deletes the ledger rows of a schema. The numbers of changes continue, so that a reader finds a gap behind the last one, and not
/// changes of another table that happen to have later numbers.
pub(crate) async fn forget(client: &impl GenericClient, schema: &str) -> Result<(), LoadError> {
    let doing = || LoadError::at("forget what was loaded into the schema");
    for table in ledger_tables(client, &["schema_name"]).await? {
        // Who reads under a name finds the gap, too.
        if table == CONSUMERS {
            continue;
        }
        if table == FEED {
            let forget = format!(
                "UPDATE {FEED} SET last_seq = last_seq + 1, dropped_seq = last_seq + 1, tables = '{{}}' WHERE schema_name = $1"
            );
            (client.execute(&forget, &[&schema]).await).map_err(doing())?;
            continue;
        }
        client
            .execute(
                &format!("DELETE FROM {table} WHERE schema_name = $1"),
                &[&schema],
            )
            .await
            .map_err(doing())?;
    }
    Ok(())
}

/// The ledger tables that have these columns, quoted.
pub(crate) async fn ledger_tables(
    client: &impl GenericClient,
    columns: &[&str],
) -> Result<Vec<String>, LoadError> {
    let rows = client
        .query(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c \
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND $2 <@ ARRAY(SELECT a.attname::text \
             FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) ORDER BY 1",
            &[&migrate::LEDGER_SCHEMA, &columns],
        )
        .await
        .map_err(LoadError::at("read the catalogue of the load ledger"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
