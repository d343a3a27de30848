//! `cursus quarantine`: records that do not fit and wait, for a person to look at and to settle.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tracing::warn;

use super::stage::cat;
use super::{eprint_line, load, print_json, print_line, print_table};
use crate::chain::chain;
use crate::cli::{Global, QuarantineCommand};
use crate::database::Database;
use crate::exit::{Exit, Failure, load_exit};
use crate::failpoint::Point;
use crate::load::{Entry, Loader, Options, drop_entries, entries};
use crate::name::nearest;
use crate::pointer::Pointer;
use crate::printable;
use crate::report::{grouped, table, tables_table};
use crate::settings::Settings;
use crate::staging::Run;

/// Runs the command.
pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    command: &QuarantineCommand,
) -> Result<Exit, Failure> {
    let database = match command {
        QuarantineCommand::Ls { .. } | QuarantineCommand::Show { .. } => {
            load::connect(settings).await?
        }
        QuarantineCommand::Retry { .. } | QuarantineCommand::Drop { .. } => {
            load::connect_to_write(settings).await?
        }
    };
    let schema = settings.config.database.schema.as_str();
    let all = entries(&database.client, schema).await?;
    match command {
        QuarantineCommand::Ls { table } => {
            database.close().await?;
            match table {
                None => ls(global, &all),
                Some(table) => ls_table(global, settings, &all, table)?,
            }
            Ok(Exit::Done)
        }
        QuarantineCommand::Show { id } => {
            database.close().await?;
            show(global, settings, one(&all, *id)?)
        }
        QuarantineCommand::Retry { ids, table } => {
            let chosen = choose(settings, &all, ids, table.as_deref())?;
            retry(global, settings, database, &all, &chosen).await
        }
        QuarantineCommand::Drop {
            ids,
            table,
            all: every,
        } => {
            if ids.is_empty() && table.is_none() && !every {
                return Err(Failure::usage(
                    "name the entries to drop by their numbers, by --table, or all of them with --all; `cursus quarantine ls` \
                     lists them",
                ));
            }
            let chosen = choose(settings, &all, ids, table.as_deref())?;
            let ids: Vec<i64> = chosen.into_iter().collect();
            Point::DropEntries.reach();
            let dropped = drop_entries(&database.client, schema, &ids).await?;
            Point::DropDone.reach();
            database.close().await?;
            if global.json {
                print_json(&json!({ "dropped": dropped }));
            } else {
                print_line(&format!(
                    "{} entries dropped; their records stay in staging, and a later read that shows them tries them anew",
                    grouped(dropped)
                ));
            }
            Ok(Exit::Done)
        }
    }
}

fn one(all: &[Entry], id: i64) -> Result<&Entry, Failure> {
    all.iter().find(|entry| entry.id == id).ok_or_else(|| {
        Failure::usage(format!(
            "nothing waits in quarantine with the number {id}; `cursus quarantine ls TABLE` lists the numbers"
        ))
    })
}

fn check_table(settings: &Settings, table: &str) -> Result<(), Failure> {
    let names = || {
        settings
            .config
            .tables
            .iter()
            .map(|table| table.name.as_str())
    };
    if names().any(|name| name == table) {
        return Ok(());
    }
    let advice = nearest(table, names()).map_or_else(
        || format!("the tables are: {}", names().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    Err(Failure::usage(format!(
        "there is no table `{table}`; {advice}"
    )))
}

/// The numbers of the entries that are meant; without a choice all of them.
fn choose(
    settings: &Settings,
    all: &[Entry],
    ids: &[i64],
    table: Option<&str>,
) -> Result<BTreeSet<i64>, Failure> {
    if let Some(table) = table {
        check_table(settings, table)?;
    }
    if !ids.is_empty() {
        return (ids.iter())
            .map(|id| one(all, *id).map(|entry| entry.id))
            .collect();
    }
    let of_table = all
        .iter()
        .filter(|entry| table.is_none_or(|table| entry.table == table));
    Ok(of_table.map(|entry| entry.id).collect())
}

fn ls(global: &Global, all: &[Entry]) {
    if global.json {
        print_json(&all);
        return;
    }
    if all.is_empty() {
        print_line("nothing waits in quarantine");
        return;
    }
    let mut groups: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
    for entry in all {
        let column = entry.column.as_deref().unwrap_or_default();
        let group = (entry.table.as_str(), column, entry.reason.as_str());
        groups.entry(group).or_default().push(entry);
    }
    let rows = groups
        .into_iter()
        .map(|((table, column, reason), entries)| {
            let since = entries.iter().map(|entry| entry.since.as_str()).min();
            let first = entries.iter().map(|entry| entry.id).min();
            vec![
                table.to_owned(),
                column.to_owned(),
                reason.to_owned(),
                since.unwrap_or_default().to_owned(),
                first.unwrap_or_default().to_string(),
                grouped(entries.len() as u64),
            ]
        });
    let header = ["table", "column", "why", "since", "first", "rows"];
    print_table(&table(&header, rows, 4));
}

fn ls_table(
    global: &Global,
    settings: &Settings,
    all: &[Entry],
    name: &str,
) -> Result<(), Failure> {
    check_table(settings, name)?;
    let of_table: Vec<&Entry> = all.iter().filter(|entry| entry.table == name).collect();
    if global.json {
        print_json(&of_table);
    } else if of_table.is_empty() {
        print_line(&format!("nothing waits for {name}"));
    } else {
        let rows = of_table.iter().map(|entry| {
            vec![
                entry.id.to_string(),
                entry.run_id.clone(),
                place(entry),
                entry.column.clone().unwrap_or_default(),
                entry.reason.clone(),
                entry.attempts.to_string(),
            ]
        });
        let header = ["number", "run", "place", "column", "why", "tried"];
        print_table(&table(&header, rows, 5));
    }
    Ok(())
}

/// `users/page-00001.json.gz [12]`, and the place in the nested list.
fn place(entry: &Entry) -> String {
    let element = entry
        .element
        .map_or_else(String::new, |element| format!(" [{element}]"));
    format!("{} [{}]{element}", entry.file, entry.record)
}

/// The JSON document of `show`.
#[derive(Serialize)]
struct Shown<'s> {
    entry: &'s Entry,
    record: Option<&'s RawValue>,
}

fn show(global: &Global, settings: &Settings, entry: &Entry) -> Result<Exit, Failure> {
    if entry.file.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "this row was made by a SELECT of pipeline.toml from other rows, so no record of its own is staged",
        ));
    }
    let run = settings.staging.find(&entry.run_id)?;
    let record = record(&run, entry)?.ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            format!(
                "the run {} has no record at {}; it was extracted again since",
                run.id(),
                place(entry)
            ),
        )
    })?;
    if global.json {
        // As it is: a value would round its numbers, and ends at some depth.
        let record = serde_json::from_str(&record).ok();
        print_json(&Shown { entry, record });
        return Ok(Exit::Done);
    }
    let column = entry.column.as_deref().unwrap_or("the whole row");
    let pointer = entry
        .pointer
        .as_deref()
        .map_or_else(String::new, |pointer| format!(" ({pointer})"));
    eprint_line(&format!(
        "# {}: {}/{}, tried {} times since {}",
        entry.table,
        run.directory().display(),
        place(entry),
        entry.attempts,
        entry.since,
    ));
    eprint_line(&format!("# {column}{pointer}: {}", entry.reason));
    print_line(&printable::json(&record));
    Ok(Exit::Done)
}

/// The text of the staged record.
fn record(run: &Run, entry: &Entry) -> Result<Option<String>, Failure> {
    let staged = super::stage::staged(run, &entry.resource)?;
    let mut found = None;
    for page in staged.pages() {
        if staged.file(page).as_os_str() != entry.file.as_str() {
            continue;
        }
        cat::records(&staged, page, &Pointer::whole(), |index, text, _| {
            if index == entry.record {
                found = Some(text.to_owned());
            }
        })?;
    }
    Ok(found)
}

async fn retry(
    global: &Global,
    settings: &Settings,
    database: Database,
    all: &[Entry],
    chosen: &BTreeSet<i64>,
) -> Result<Exit, Failure> {
    let runs = settings.staging.runs()?;
    for entry in all.iter().filter(|entry| chosen.contains(&entry.id)) {
        if entry.file.is_empty() {
            warn!(number = entry.id, table = %entry.table, "it was made by a SELECT from other rows; the next load makes it anew");
        } else if !runs.iter().any(|run| run.id().as_str() == entry.run_id) {
            warn!(number = entry.id, run = %entry.run_id, "it cannot be read again: its run is not in staging any more");
        }
    }
    let options = Options {
        schema: settings.config.database.schema.clone(),
        dry_run: false,
        allow_prune: false,
    };
    let mut loader = Loader::open(&settings.config, database, options).await?;
    let retried = loader.retry(chosen, &runs).await?;
    let left = loader.quarantine().await?;
    loader.close().await?;
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
            "{}: {} rows are out of scope, more than the guard lets go at once; they are held back, see `cursus prune ls`",
            table.name, table.refused
        ));
    }
    let settled = chosen.len().saturating_sub(waiting);
    if global.json {
        print_json(&json!({
            "tried": chosen.len(), "settled": settled, "waiting": waiting, "tables": retried.tables, "errors": errors,
        }));
    } else {
        if !retried.tables.is_empty() {
            print_table(&tables_table(&retried.tables));
        }
        print_line(&format!(
            "{} entries tried again, {} settled, {} wait on",
            grouped(chosen.len() as u64),
            grouped(settled as u64),
            grouped(waiting as u64)
        ));
    }
    for error in &errors {
        super::eprint_error(error);
    }
    Ok(exit)
}
