//! `cursus quarantine retry`: records that wait, tried again, and what has to be done another way.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::super::{output, print_json, print_line, print_table};
use crate::cli::Global;
use crate::config::Table;
use crate::database::Database;
use crate::error_chain::chain;
use crate::exit::{Exit, Failure, load_exit};
use crate::load::{Entry, Options, Retried, SchemaLoader, TableCounts};
use crate::name::Name;
use crate::report::{counted, grouped, tables_table};
use crate::settings::Settings;
use crate::staging::Run;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    schema: Name,
    database: Database,
    all: &[Entry],
    chosen: &BTreeSet<i64>,
) -> Result<Exit, Failure> {
    let runs = settings.staging.runs()?;
    let into = settings.schema_flag(&schema);
    let entries = all.iter().filter(|entry| chosen.contains(&entry.id));
    let skipped = Skipped::of(settings, entries, &runs);
    let options = Options::new(schema);
    let (retried, left) = if chosen.is_empty() && !into.is_empty() {
        // It may be the name of nothing, and to open it would make a schema.
        database.close().await?;
        (Retried::default(), Vec::new())
    } else {
        let mut loader = SchemaLoader::open(&settings.config, database, options).await?;
        let retried = loader.retry(chosen, &runs).await?;
        let left = loader.quarantine().await?;
        loader.close().await?;
        (retried, left)
    };
    let mut warnings = skipped.warnings(&into);
    warnings.extend(left_out(settings, &retried.tables, &skipped, &into));
    let waiting = left
        .iter()
        .filter(|entry| chosen.contains(&entry.id))
        .count();
    let mut exit = if waiting > 0 {
        Exit::Incomplete
    } else {
        Exit::Done
    };
    let mut errors = Vec::new();
    for (name, error) in retried.failed.iter().chain(&retried.derives_failed) {
        exit = exit.max(load_exit(error));
        errors.push(format!("{name}: {}", chain(error)));
    }
    for table in retried.tables.iter().filter(|table| table.refused > 0) {
        exit = exit.max(Exit::Refused);
        errors.push(format!(
            "{}: prune limit exceeded: {} of rows out of scope held; review with `cursus prune ls{into}`",
            table.name,
            counted(table.refused, "delete")
        ));
    }
    let settled = chosen.len().saturating_sub(waiting);
    if global.json {
        print_json(&json!({
            "tried": chosen.len(), "settled": settled, "waiting": waiting, "tables": retried.tables,
            "warnings": warnings, "errors": errors,
        }));
    } else {
        if !retried.tables.is_empty() {
            print_table(&tables_table(&retried.tables));
        }
        print_line(&format!(
            "{} retried, {} settled, {} still quarantined",
            counted(chosen.len() as u64, "row"),
            grouped(settled as u64),
            grouped(waiting as u64)
        ));
    }
    output::sentences(&warnings, &errors);
    Ok(exit)
}

/// Quarantined rows that cannot be retried, counted.
#[derive(Default)]
struct Skipped<'e> {
    /// By tables that `pipeline.toml` no longer has.
    removed: BTreeMap<&'e str, u64>,
    /// By tables whose rows a SELECT makes, with their resources.
    selected: BTreeMap<&'e str, (&'e str, u64)>,
    /// By tables and runs that are no longer in staging.
    unstaged: BTreeMap<(&'e str, &'e str), u64>,
}

impl<'e> Skipped<'e> {
    fn of(settings: &Settings, entries: impl Iterator<Item = &'e Entry>, runs: &[Run]) -> Self {
        let mut skipped = Self::default();
        for entry in entries {
            let (table, run) = (entry.table.as_str(), entry.run_id.as_str());
            let mut tables = settings.config.tables.iter();
            if !tables.any(|known| known.name.as_str() == table) {
                *skipped.removed.entry(table).or_default() += 1;
            } else if entry.file.is_empty() {
                let (_, count) = skipped
                    .selected
                    .entry(table)
                    .or_insert((&entry.resource, 0));
                *count += 1;
            } else if !runs.iter().any(|known| known.id().as_str() == run) {
                *skipped.unstaged.entry((table, run)).or_default() += 1;
            }
        }
        skipped
    }

    fn warnings(&self, into: &str) -> Vec<String> {
        let removed = self.removed.iter().map(|(table, count)| {
            format!(
                "{table}: {} not retried, because pipeline.toml no longer has this table; remove them with \
                 `cursus quarantine drop --table {table}{into}`",
                counted(*count, "row")
            )
        });
        let selected = self.selected.iter().map(|(table, (resource, count))| {
            format!(
                "{table}: {} not retried, because a SELECT makes them from other rows and no record of theirs is staged; {}",
                counted(*count, "row"),
                reload_command(resource, into)
            )
        });
        let unstaged = self.unstaged.iter().map(|((table, run), count)| {
            format!(
                "{table}: {} not retried, because their run {run} is no longer in staging",
                counted(*count, "row")
            )
        });
        removed.chain(selected).chain(unstaged).collect()
    }
}

/// Warns of tables that may lack rows which refer to the rows loaded now: those were left out, because their parents were
/// missing.
fn left_out(
    settings: &Settings,
    tables: &[TableCounts],
    skipped: &Skipped<'_>,
    into: &str,
) -> Vec<String> {
    let mut warnings = Vec::new();
    // The same replay also restores these rows.
    let is_named = |table: &&Table| skipped.selected.contains_key(table.name.as_str());
    for table in settings
        .config
        .tables
        .iter()
        .filter(|table| !is_named(table))
    {
        let is_of = |came: &&TableCounts| came.name != table.name && depends(table, came);
        if let Some(came) = tables.iter().find(is_of) {
            warnings.push(format!(
                "{}: rows that refer to the rows of {} loaded now may have been left out before; {}",
                table.name,
                came.name,
                reload_command(table.from.as_str(), into)
            ));
        }
    }
    warnings
}

fn depends(table: &Table, came: &TableCounts) -> bool {
    let is_within = table.within.iter().any(|within| within.table == came.name);
    let is_made_of =
        table.select.is_some() && (table.after.is_empty() || table.after.contains(&came.name));
    (is_within && came.inserted > 0) || (is_made_of && came.inserted + came.updated > 0)
}

/// The command that loads the rows of a resource from staging again.
fn reload_command(resource: &str, into: &str) -> String {
    if into.is_empty() {
        format!("to load them again from staging: `cursus replay --rebuild --select {resource}`")
    } else {
        "to load them again from staging, drop the schema and replay into it".to_owned()
    }
}
