//! `bundle.json`: what is in a bundle, from when, and what it does not promise.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Transaction};

use super::plan::PlannedTable;
use super::profile::Profile;
use crate::database::{DatabaseError, utc};

pub(crate) const FILE: &str = "bundle.json";
const FORMAT: u32 = 1;

/// What a hash does not hide.
pub(crate) const NOTICE: &str = "k-anonymity is not promised: names and ids are not in the bundle, but who knows enough of a person, such as \
    marks and days, can find the rows of that person; treat it as data of people, and give it to nobody who may not have them";

/// The document.
#[derive(Debug, Serialize)]
pub(crate) struct Bundle {
    /// Of this document.
    pub(crate) version: u32,
    /// A random name of the bundle.
    pub(crate) serial: String,
    /// Its number in `pipeline.export`, by which `forget` names it.
    pub(crate) export: u64,
    pub(crate) made_at: Timestamp,
    pub(crate) cursus_version: &'static str,
    pub(crate) notice: &'static str,
    pub(crate) format: &'static str,
    pub(crate) profile: String,
    pub(crate) profile_sha256: String,
    pub(crate) tables: Vec<BundleTable>,
}

#[derive(Debug, Serialize)]
pub(crate) struct BundleTable {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) comment: Option<String>,
    /// Rows in the bundle.
    pub(crate) rows: u64,
    /// Rows of people who were erased or anonymised, which are not.
    pub(crate) left_out: u64,
    pub(crate) columns: Vec<BundleColumn>,
    /// None: nothing was loaded yet.
    pub(crate) freshness: Option<Freshness>,
}

#[derive(Debug, Serialize)]
pub(crate) struct BundleColumn {
    pub(crate) name: String,
    /// In SQL, as PostgreSQL and DuckDB know it.
    pub(crate) r#type: &'static str,
    /// As the profile has it.
    pub(crate) treatment: String,
    pub(crate) comment: Option<String>,
}

/// How old what is in a table is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Freshness {
    pub(crate) resource: String,
    /// Everything up to then is known, by the API's clock; none of a resource that is always read in full.
    pub(crate) known_until: Option<String>,
    pub(crate) loaded_at: Option<String>,
    /// Of the last read.
    pub(crate) state: Option<String>,
}

impl Bundle {
    pub(super) fn new(serial: String, profile: &Profile, format: &'static str) -> Self {
        Self {
            version: FORMAT,
            serial,
            export: 0,
            made_at: crate::clock::now(),
            cursus_version: env!("CARGO_PKG_VERSION"),
            notice: NOTICE,
            format,
            profile: profile.name.clone(),
            profile_sha256: profile.sha256.clone(),
            tables: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        table: &PlannedTable,
        file: String,
        (rows, left_out): (u64, u64),
        freshness: Option<Freshness>,
    ) {
        let columns = table.columns.iter().map(|column| BundleColumn {
            name: column.name.clone(),
            r#type: column.kind.sql(),
            treatment: column.treatment.text(),
            comment: column.comment.clone(),
        });
        self.tables.push(BundleTable {
            name: table.name.clone(),
            file,
            comment: table.comment.clone(),
            rows,
            left_out,
            columns: columns.collect(),
            freshness,
        });
    }
}

/// How fresh each resource is in a mirror.
pub(super) async fn freshness(
    transaction: &Transaction<'_>,
    schema: &str,
) -> Result<BTreeMap<String, Freshness>, DatabaseError> {
    // The view that says the same is closed to a session that reads tables only.
    let (known, loaded) = (utc("known"), utc("loaded_at"));
    let statement = format!(
        "SELECT DISTINCT ON (resource) resource::text, {known}, {loaded}, state::text \
         FROM (SELECT *, max(cursor) OVER (PARTITION BY resource) AS known FROM pipeline.load WHERE schema_name = $1) AS loads \
         WHERE own_read ORDER BY resource, seq DESC, id DESC"
    );
    let of: [(&(dyn ToSql + Sync), Type); 1] = [(&schema, Type::TEXT)];
    let rows = transaction.query_typed(&statement, &of).await?;
    let fresh = |row: &Row| Freshness {
        resource: row.get(0),
        known_until: row.get(1),
        loaded_at: row.get(2),
        state: row.get(3),
    };
    Ok(rows.iter().map(|row| (row.get(0), fresh(row))).collect())
}
