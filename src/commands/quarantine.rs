//! `cursus quarantine`: inspect and settle quarantined rows.

mod retry;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::stage::cat;
use super::{note, print_json, print_line, print_table};
use crate::cli::{Global, QuarantineCommand};
use crate::exit::{Exit, Failure};
use crate::failpoint::Point;
use crate::load::{Entry, drop_entries, entries};
use crate::name::advice;
use crate::pipeline::connect;
use crate::pointer::Pointer;
use crate::printable;
use crate::report::{self, Column, Table, counted, grouped};
use crate::settings::Settings;
use crate::staging::Run;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    command: &QuarantineCommand,
) -> Result<Exit, Failure> {
    let (QuarantineCommand::Ls { into, .. }
    | QuarantineCommand::Show { into, .. }
    | QuarantineCommand::Retry { into, .. }
    | QuarantineCommand::Drop { into, .. }) = command;
    let schema = settings.schema(into.as_deref())?;
    let into = settings.schema_flag(&schema);
    connect::refuse_unmade(settings)?;
    let database = match command {
        QuarantineCommand::Ls { .. } | QuarantineCommand::Show { .. } => {
            connect::connect(settings, schema.as_str()).await?
        }
        QuarantineCommand::Retry { .. } | QuarantineCommand::Drop { .. } => {
            connect::connect_to_write(settings, schema.as_str()).await?
        }
    };
    let all = entries(&database.client, schema.as_str()).await?;
    match command {
        QuarantineCommand::Ls { table, .. } => {
            database.close().await?;
            match table {
                None => ls(global, &all),
                Some(table) => ls_table(global, settings, &all, table)?,
            }
            Ok(Exit::Done)
        }
        QuarantineCommand::Show { id, .. } => {
            database.close().await?;
            show(global, settings, one(&all, *id, &into)?)
        }
        QuarantineCommand::Retry { ids, table, .. } => {
            let chosen = choose(settings, &all, ids, table.as_deref(), &into)?;
            retry::run(global, settings, schema, database, &all, &chosen).await
        }
        QuarantineCommand::Drop {
            ids,
            table,
            all: every,
            ..
        } => {
            if ids.is_empty() && table.is_none() && !every {
                return Err(Failure::usage(format!(
                    "no rows to drop are named: give their numbers, --table or --all; list them with `cursus quarantine ls{into}`"
                )));
            }
            let chosen = choose(settings, &all, ids, table.as_deref(), &into)?;
            let ids: Vec<i64> = chosen.into_iter().collect();
            Point::DropEntries.reach();
            let dropped = drop_entries(&database.client, schema.as_str(), &ids).await?;
            Point::DropDone.reach();
            database.close().await?;
            if global.json {
                print_json(&json!({ "dropped": dropped }));
            } else {
                print_line(&format!(
                    "{} dropped from quarantine; their records stay in staging, and a later read of them loads them again",
                    counted(dropped, "row")
                ));
            }
            Ok(Exit::Done)
        }
    }
}

fn one<'e>(all: &'e [Entry], id: i64, into: &str) -> Result<&'e Entry, Failure> {
    all.iter().find(|entry| entry.id == id).ok_or_else(|| {
        Failure::usage(format!(
            "no quarantined row has the number {id}; list the numbers with `cursus quarantine ls TABLE{into}`"
        ))
    })
}

/// A table that was removed from `pipeline.toml` counts while it has quarantined rows.
fn check_table(settings: &Settings, all: &[Entry], table: &str) -> Result<(), Failure> {
    let names = (settings.config.tables.iter()).map(|table| table.name.as_str());
    if names.clone().any(|name| name == table) || all.iter().any(|entry| entry.table == table) {
        return Ok(());
    }
    let advice = advice(table, names, "the tables are");
    Err(Failure::usage(format!(
        "there is no table `{table}`; {advice}"
    )))
}

/// The numbers of the selected rows; all of them if none is selected.
fn choose(
    settings: &Settings,
    all: &[Entry],
    ids: &[i64],
    table: Option<&str>,
    into: &str,
) -> Result<BTreeSet<i64>, Failure> {
    if let Some(table) = table {
        check_table(settings, all, table)?;
    }
    if !ids.is_empty() {
        return (ids.iter())
            .map(|id| one(all, *id, into).map(|entry| entry.id))
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
        print_line("quarantine is empty");
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
    let columns = [
        Column::fixed("table"),
        Column::fixed("column"),
        Column::sentence("why"),
        Column::fixed("since").rank(1),
        Column::number("first").rank(2),
        Column::number("rows"),
    ];
    print_table(&Table::new(columns, rows));
}

fn ls_table(
    global: &Global,
    settings: &Settings,
    all: &[Entry],
    name: &str,
) -> Result<(), Failure> {
    check_table(settings, all, name)?;
    let of_table: Vec<&Entry> = all.iter().filter(|entry| entry.table == name).collect();
    if global.json {
        print_json(&of_table);
    } else if of_table.is_empty() {
        print_line(&format!("no quarantined rows of {name}"));
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
        let columns = [
            Column::fixed("number"),
            Column::fixed("run").rank(2),
            Column::text("place").rank(1),
            Column::fixed("column"),
            Column::sentence("why"),
            Column::number("tried").rank(3),
        ];
        print_table(&Table::new(columns, rows));
    }
    Ok(())
}

/// `users/page-00001.json.gz [12]`, and the place in the nested list.
pub(super) fn place(entry: &Entry) -> String {
    report::place(&entry.file, entry.record, entry.element)
}

#[derive(Serialize)]
struct QuarantinedRecord<'s> {
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
    let record = printable::json(&record);
    if global.json {
        // As it is: a value would round its numbers, and ends at some depth.
        let record = serde_json::from_str(&record).ok();
        print_json(&QuarantinedRecord { entry, record });
        return Ok(Exit::Done);
    }
    let column = entry.column.as_deref().unwrap_or("the whole row");
    let pointer = entry
        .pointer
        .as_deref()
        .map_or_else(String::new, |pointer| format!(" ({pointer})"));
    note(&format!(
        "# {}: {}/{}, tried {} since {}",
        entry.table,
        run.directory().display(),
        place(entry),
        counted(u64::try_from(entry.attempts).unwrap_or(0), "time"),
        entry.since,
    ));
    note(&format!("# {column}{pointer}: {}", entry.reason));
    print_line(&record);
    Ok(Exit::Done)
}

fn record(run: &Run, entry: &Entry) -> Result<Option<String>, Failure> {
    let staged = super::stage::staged(run, &entry.resource)?;
    let mut found = None;
    for page in staged.pages() {
        let page = page?;
        if staged.file(&page).as_os_str() != entry.file.as_str() {
            continue;
        }
        cat::records(&staged, &page, &Pointer::to_record(), |index, text, _| {
            if index == entry.record {
                found = Some(text.to_owned());
            }
        })?;
    }
    Ok(found)
}
