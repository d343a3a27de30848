//! `cursus forget` and `cursus subject`: erase a person, and print what is held of one.

use std::collections::BTreeMap;

use serde_json::json;

use super::{print, print_json, print_line, print_table};
use crate::cli::{ForgetArgs, Global, SubjectArgs};
use crate::exit::{Exit, Failure};
use crate::person::Extent;
use crate::pipeline::forget::{Forgotten, Whom, forget, subject};
use crate::printable;
use crate::report::{Column, Table, counted, grouped};
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &ForgetArgs,
) -> Result<Exit, Failure> {
    let whom = if arguments.anonymised {
        Whom::Anonymised
    } else if arguments.finish {
        Whom::Erased
    } else {
        let mut ids = arguments.ids.clone();
        ids.sort();
        ids.dedup();
        Whom::Ids(ids)
    };
    let extent = if arguments.drop {
        Extent::Records
    } else {
        Extent::Values
    };
    let forgotten = forget(settings, whom, extent, arguments.dry_run).await?;
    if global.json {
        print_json(&json!(forgotten));
    } else {
        print_places(&forgotten);
    }
    for error in &forgotten.errors {
        super::output::error(error);
    }
    Ok(forgotten.exit)
}

/// Places by resource and table: a year of runs has thousands of pages.
fn print_places(forgotten: &Forgotten) {
    let mut staged: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for page in &forgotten.pages {
        let (pages, records, values) = staged.entry(page.resource.as_str()).or_default();
        *pages += 1;
        *records += page.records;
        *values += page.values;
    }
    let staged = staged
        .into_iter()
        .map(|(resource, (pages, records, values))| {
            let what = format!(
                "{} in {}",
                counted(records, "record"),
                counted(pages, "page")
            );
            vec![format!("staging, {resource}"), what, grouped(values)]
        });
    let rows = forgotten.rows.iter().map(|rows| {
        let place = if rows.table.contains('.') {
            rows.table.clone()
        } else {
            format!("{}.{}", rows.schema, rows.table)
        };
        vec![place, counted(rows.rows, "row"), grouped(rows.personal)]
    });
    let columns = [
        Column::fixed("place"),
        Column::text("what is there"),
        Column::number("personal"),
    ];
    let lines: Vec<_> = staged.chain(rows).collect();
    if lines.is_empty() {
        print_line("nothing is held of them");
    } else {
        print_table(&Table::new(columns, lines));
    }
    for export in &forgotten.exports {
        let (serial, schema, made_at) = (export.serial, &export.schema, export.made_at);
        print_line(&printable::line(&format!(
            "export {serial} of {schema} ({made_at:.0}, {}) may hold them; erase it, or ask its holder to erase it",
            export.what
        )));
    }
    if forgotten.dropped_before > 0 && !forgotten.drop {
        print_line(&format!(
            "records of {} were removed before (--drop), and stay so",
            counted(forgotten.dropped_before as u64, "person")
        ));
    }
    match &forgotten.erasure {
        None => print_line("nothing was changed (--dry-run)"),
        Some(erasure) if forgotten.errors.is_empty() => {
            let done = if forgotten.drop { "removed" } else { "erased" };
            print_line(&format!("{done}: {erasure}"));
        }
        Some(_) => {}
    }
}

pub(super) async fn print_subject(
    global: &Global,
    settings: &Settings,
    arguments: &SubjectArgs,
) -> Result<Exit, Failure> {
    let held = subject(settings, &arguments.id).await?;
    let exit = if held.rows.is_empty() && held.records.is_empty() {
        Exit::Incomplete
    } else {
        Exit::Done
    };
    if global.json {
        print_json(&json!(held));
        return Ok(exit);
    }
    if exit != Exit::Done {
        print_line("nothing is held of this person");
    }
    let mut text = String::new();
    for row in &held.rows {
        let place = if row.table.contains('.') {
            row.table.clone()
        } else {
            format!("{}.{}", row.schema, row.table)
        };
        text.extend([
            place.as_str(),
            "\n  ",
            &printable::json(&row.row.to_string()),
            "\n",
        ]);
    }
    for record in &held.records {
        text.extend([
            record.place().as_str(),
            "\n  ",
            &printable::json(record.text()),
            "\n",
        ]);
    }
    print(&text);
    if held.dropped {
        print_line("the erasure ledger names this person: their records and rows were removed");
    } else if held.erased {
        print_line("the erasure ledger names this person: personal values are null");
    }
    Ok(exit)
}
