//! The rows of a scratch schema → the mirror, in one transaction: only what differs is touched, so views, grants and the
//! times of rows that are the same stay.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;
use tracing::info;

use crate::config::PruneConfig;
use crate::database::Quoted;
use crate::failpoint::Point;
use crate::name::Name;

use super::Loader;
use super::books::Loaded;
use super::cell::CellType;
use super::counts::TableCounts;
use super::error::LoadError;
use super::mapping::{INGESTED_AT, Mapping};
use super::merge::unsigned;
use super::prune;
use super::replay::{ReplayError, books_of_schemas};

/// Statements for a table that is in both schemas.
struct Both {
    live: String,
    scratch: String,
    columns: Vec<String>,
    key: Vec<String>,
    differs: String,
    has_ingested_at: bool,
}

impl Both {
    fn new(mapping: &Mapping, live: &str, scratch: &str) -> Self {
        let table = Quoted(mapping.table.name.as_str());
        let side = |alias: &str| {
            let values = mapping.columns.iter().map(|column| {
                // json has no equality; its text has.
                let cast = if column.cell == CellType::Json {
                    "::text"
                } else {
                    ""
                };
                format!("{alias}.{}{cast}", Quoted(&column.name))
            });
            values.collect::<Vec<_>>().join(", ")
        };
        Self {
            live: format!("{}.{table}", Quoted(live)),
            scratch: format!("{}.{table}", Quoted(scratch)),
            columns: (mapping.columns.iter())
                .map(|column| Quoted(&column.name).to_string())
                .collect(),
            key: (mapping.key_names())
                .map(|name| Quoted(name).to_string())
                .collect(),
            differs: format!("ROW({}) IS DISTINCT FROM ROW({})", side("s"), side("t")),
            has_ingested_at: mapping.has_ingested_at(),
        }
    }

    fn same(&self) -> String {
        let pairs = self
            .key
            .iter()
            .map(|column| format!("t.{column} = s.{column}"));
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    /// None if there is nothing but the key.
    fn update(&self) -> Option<String> {
        let mut changes: Vec<String> = (self.columns.iter())
            .filter(|column| !self.key.contains(column))
            .map(|column| format!("{column} = s.{column}"))
            .collect();
        if changes.is_empty() {
            return None;
        }
        if self.has_ingested_at {
            changes.push(format!("{} = now()", Quoted(INGESTED_AT)));
        }
        Some(format!(
            "UPDATE {} AS t SET {} FROM {} AS s WHERE {} AND {}",
            self.live,
            changes.join(", "),
            self.scratch,
            self.same(),
            self.differs
        ))
    }

    fn insert(&self) -> String {
        format!(
            "INSERT INTO {live} ({columns}) SELECT {columns} FROM {} AS s WHERE NOT EXISTS (SELECT FROM {live} AS t WHERE {})",
            self.scratch,
            self.same(),
            live = self.live,
            columns = self.columns.join(", ")
        )
    }

    fn delete(&self) -> String {
        format!(
            "DELETE FROM {} AS t WHERE NOT EXISTS (SELECT FROM {} AS s WHERE {})",
            self.live,
            self.scratch,
            self.same()
        )
    }

    /// How many rows the scratch has, and how many the mirror.
    fn count(&self) -> String {
        format!(
            "SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {})",
            self.scratch, self.live
        )
    }
}

impl Loader<'_> {
    /// Brings these resources of the mirror to what this scratch schema has, takes over its books, and drops it: all of it
    /// or nothing. `before` is what the mirror had loaded; it may go back only if `may_go_back`.
    pub async fn rebuild(
        &mut self,
        live: &Name,
        resources: &BTreeSet<Name>,
        before: &Loaded,
        may_go_back: bool,
    ) -> Result<Vec<TableCounts>, ReplayError> {
        let after = self.loaded().await?;
        let resources = self.rebuildable(resources, before, &after, may_go_back)?;
        let scratch = self.options.schema.clone();
        let guard = (!self.options.allow_prune).then_some(self.config.prune);
        // The order of the load: rows after those that they refer to.
        let mappings: Vec<&Mapping> = (self.config.resources.iter())
            .filter(|resource| resources.contains(&resource.name))
            .flat_map(|resource| {
                self.mappings
                    .iter()
                    .filter(|m| m.table.from == resource.name)
            })
            .collect();
        let transaction = (self.database.client.transaction().await)
            .map_err(LoadError::at("begin a transaction"))?;
        let set_up = format!(
            "SET LOCAL search_path TO {}; SET LOCAL work_mem = '64MB'; SET LOCAL client_min_messages = warning",
            Quoted(live.as_str())
        );
        run(&transaction, &set_up, "set up the transaction").await?;
        let counts = merge(&transaction, &mappings, live, &scratch, guard).await?;
        Point::RebuildMerge.reach();
        for derive in &self.config.derives {
            let doing = format!("run {}", derive.sql.name);
            run(&transaction, &derive.sql.text, &doing).await?;
        }
        take_over_books(&transaction, live, &scratch, &resources).await?;
        Point::RebuildBooks.reach();
        let drop = format!("DROP SCHEMA {} CASCADE", Quoted(scratch.as_str()));
        run(&transaction, &drop, "drop the scratch schema").await?;
        Point::RebuildCommit.reach();
        (transaction.commit().await).map_err(LoadError::at_commit)?;
        Point::RebuildCommitted.reach();
        Ok(counts)
    }

    /// The resources of which the replay knows all rows; refuses if it should and does not.
    fn rebuildable(
        &self,
        resources: &BTreeSet<Name>,
        before: &Loaded,
        after: &Loaded,
        may_go_back: bool,
    ) -> Result<Vec<Name>, ReplayError> {
        let mut rebuildable = Vec::new();
        let mut unproven = Vec::new();
        for resource in (self.config.resources.iter()).filter(|r| resources.contains(&r.name)) {
            let name = &resource.name;
            let (had, has) = (before.get(name), after.get(name));
            if had.is_none() && has.is_none() {
                continue;
            }
            let Some(has) = has.filter(|has| has.full_seq.is_some()) else {
                unproven.push(name.to_string());
                continue;
            };
            if let Some(had) = had
                && had.seq > has.seq
                && !may_go_back
            {
                return Err(ReplayError::Behind {
                    resource: name.to_string(),
                    run: had.run_id.clone(),
                });
            }
            rebuildable.push(name.clone());
        }
        if unproven.is_empty() {
            Ok(rebuildable)
        } else {
            Err(ReplayError::Unproven(unproven))
        }
    }
}

/// Changes, adds and deletes what differs; deletes last table first, and none if some are too many.
async fn merge(
    transaction: &Transaction<'_>,
    mappings: &[&Mapping],
    live: &Name,
    scratch: &Name,
    guard: Option<PruneConfig>,
) -> Result<Vec<TableCounts>, ReplayError> {
    let mut tables = Vec::new();
    for mapping in mappings {
        let name = &mapping.table.name;
        let both = Both::new(mapping, live.as_str(), scratch.as_str());
        let failed = |doing: &str| LoadError::at(format!("rebuild {name}: {doing}"));
        // Fresh statistics: the scratch was filled a moment ago.
        let analyze = format!("ANALYZE {}", both.scratch);
        (transaction.batch_execute(&analyze).await).map_err(failed("look at the scratch"))?;
        let row = (transaction.query_one(&both.count(), &[]).await).map_err(failed("count"))?;
        let mut counts = TableCounts::new(name.clone());
        counts.staged = unsigned(row.get(0));
        if let Some(update) = both.update() {
            counts.updated = (transaction.execute(&update, &[]).await).map_err(failed("update"))?;
        }
        counts.inserted =
            (transaction.execute(&both.insert(), &[]).await).map_err(failed("insert"))?;
        counts.unchanged = counts
            .staged
            .saturating_sub(counts.updated + counts.inserted);
        tables.push((both, counts, unsigned(row.get(1))));
    }
    let mut too_many = Vec::new();
    for (both, counts, rows) in tables.iter_mut().rev() {
        let doing = format!("rebuild {}: delete what is gone", counts.name);
        counts.deleted =
            (transaction.execute(&both.delete(), &[]).await).map_err(LoadError::at(doing))?;
        if guard.is_some_and(|guard| counts.deleted > prune::allowed(guard, *rows)) {
            too_many.push(format!(
                "{} of {rows} rows of {}",
                counts.deleted, counts.name
            ));
        }
    }
    if !too_many.is_empty() {
        too_many.reverse();
        return Err(ReplayError::TooMany {
            tables: too_many,
            scratch: scratch.to_string(),
        });
    }
    let counts: Vec<TableCounts> = tables.into_iter().map(|(_, counts, _)| counts).collect();
    info!(schema = %live, "{} rows changed", counts.iter().map(TableCounts::changed).sum::<u64>());
    Ok(counts)
}

/// What the books say of these resources in the mirror is what they say of the scratch.
async fn take_over_books(
    transaction: &Transaction<'_>,
    live: &Name,
    scratch: &Name,
    resources: &[Name],
) -> Result<(), LoadError> {
    let resources: Vec<&str> = resources.iter().map(Name::as_str).collect();
    for table in books_of_schemas(transaction, &["schema_name", "resource"]).await? {
        let failed = || LoadError::at(format!("take over {table}"));
        let delete = format!("DELETE FROM {table} WHERE schema_name = $1 AND resource = ANY ($2)");
        (transaction
            .execute(&delete, &[&live.as_str(), &resources])
            .await)
            .map_err(failed())?;
        let update = format!(
            "UPDATE {table} SET schema_name = $1 WHERE schema_name = $2 AND resource = ANY ($3)"
        );
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&live.as_str(), &scratch.as_str(), &resources];
        (transaction.execute(&update, &parameters).await).map_err(failed())?;
        let rest = format!("DELETE FROM {table} WHERE schema_name = $1");
        (transaction.execute(&rest, &[&scratch.as_str()]).await).map_err(failed())?;
    }
    Ok(())
}

async fn run(transaction: &Transaction<'_>, statement: &str, doing: &str) -> Result<(), LoadError> {
    (transaction.batch_execute(statement).await).map_err(LoadError::at(doing))
}
