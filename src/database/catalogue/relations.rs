//! All that holds rows in a schema, and its indexes. Reads only; parts of a partitioned table are left out.

use serde::Serialize;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient};

use super::{TableShape, shapes};

/// What kind of relation holds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A table, partitioned or not.
    Table,
    View,
    MaterializedView,
    ForeignTable,
}

impl Kind {
    /// Of a `pg_class.relkind`.
    pub(super) fn of(relkind: &str) -> Self {
        match relkind {
            "v" => Self::View,
            "m" => Self::MaterializedView,
            "f" => Self::ForeignTable,
            _ => Self::Table,
        }
    }
}

/// An index that is not the primary key's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) is_unique: bool,
    /// Such as `btree`.
    pub(crate) method: String,
    /// Its columns in order; empty where it is of expressions, or of some rows only.
    pub(crate) columns: Vec<String>,
    /// The statement that makes it.
    pub(crate) definition: String,
}

/// The tables and views of a schema, by name.
pub(crate) async fn relations(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<TableShape>, Error> {
    const KINDS: [&str; 5] = ["r", "p", "v", "m", "f"];
    let names = "
        SELECT c.relname::text
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind::text = ANY ($2) AND NOT c.relispartition
        ORDER BY c.relname::text COLLATE \"C\"";
    let rows = client
        .query_typed(
            names,
            &[(&schema, Type::TEXT), (&&KINDS[..], Type::TEXT_ARRAY)],
        )
        .await?;
    let names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let found = shapes(client, schema, &names, &KINDS).await?;
    Ok(found.into_iter().flatten().collect())
}

/// The indexes of a schema's tables, by name.
pub(crate) async fn indexes(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<Index>, Error> {
    let indexes = "
        SELECT t.relname::text, c.relname::text, i.indisunique, m.amname::text,
            CASE WHEN i.indpred IS NULL AND i.indexprs IS NULL THEN ARRAY(
                SELECT a.attname::text
                FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                WHERE k.place <= i.indnkeyatts ORDER BY k.place
            ) ELSE '{}' END,
            pg_get_indexdef(i.indexrelid)
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_am m ON m.oid = c.relam
        JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
        WHERE n.nspname = $1 AND NOT i.indisprimary AND i.indisvalid
        ORDER BY c.relname::text COLLATE \"C\"";
    let rows = client
        .query_typed(indexes, &[(&schema, Type::TEXT)])
        .await?;
    let indexes = rows.iter().map(|row| Index {
        table: row.get(0),
        name: row.get(1),
        is_unique: row.get(2),
        method: row.get(3),
        columns: row.get(4),
        definition: row.get(5),
    });
    Ok(indexes.collect())
}
