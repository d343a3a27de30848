//! `cursus runs`: the history of commands, and one run in detail, printed.

use jiff::SignedDuration;

use crate::cli::{Global, RunsArgs};
use crate::exit::{Exit, Failure};
use crate::pipeline::connect;
use crate::printable;
use crate::report::{Column, Table, counted, grouped, resources_table, span};
use crate::settings::Settings;
use crate::status::{
    self,
    runs::{Detail, Entry, KnownRuns, Ledger},
};

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &RunsArgs,
) -> Result<Exit, Failure> {
    let schema = settings.config.database.schema.as_str();
    let database = connect::connect_if_made(settings, schema).await;
    let known = KnownRuns::of(settings, status::client(&database)).await?;
    if let Ok(Some(database)) = database {
        database.close().await?;
    }
    if let Some(run) = &arguments.run {
        let detail = known.detail(settings, run)?;
        if global.json {
            super::print_json(&detail);
        } else {
            print_detail(&detail);
        }
    } else {
        let history = known.history(arguments.limit);
        if global.json {
            super::print_json(&history);
        } else if history.runs.is_empty() {
            super::print_line("nothing was done here yet; `cursus run` makes the first run");
        } else {
            print_entries(&history.runs);
        }
    }
    warn(global, &known.ledger);
    Ok(Exit::Done)
}

fn warn(global: &Global, ledger: &Ledger) {
    if let Some(sentence) = ledger.failure()
        && !global.quiet
    {
        super::warning(&format!(
            "what was loaded of runs without a recorded command is not known: {}",
            printable::without_credentials(&sentence)
        ));
    }
}

fn print_entries(entries: &[Entry]) {
    let dash = || "-".to_owned();
    let rows = entries.iter().map(|entry| {
        let took = entry
            .finished_at
            .map(|end| span(end.duration_since(entry.started_at)));
        vec![
            format!("{:.0}", entry.started_at),
            entry.command.clone().unwrap_or_else(dash),
            entry.run_id.clone().unwrap_or_else(dash),
            entry.outcome.clone(),
            entry.exit_code.map_or_else(dash, |code| code.to_string()),
            took.unwrap_or_else(dash),
            grouped(entry.requests),
            grouped(entry.rows_staged),
            entry.rows_changed.map_or_else(dash, grouped),
            entry.error.clone().unwrap_or_default(),
        ]
    });
    let columns = [
        Column::fixed("started"),
        Column::fixed("command"),
        Column::fixed("run").rank(1),
        Column::fixed("outcome"),
        Column::number("exit").rank(2),
        Column::fixed("took").rank(5),
        Column::number("requests").rank(3),
        Column::number("staged").rank(6),
        Column::number("changed").rank(4),
        Column::sentence("error"),
    ];
    super::print_table(&Table::new(columns, rows));
}

fn print_detail(detail: &Detail) {
    super::print_line(&format!("run {}", detail.run_id));
    for entry in &detail.commands {
        let command = entry.command.as_deref().unwrap_or("not recorded");
        let code = entry
            .exit_code
            .map_or_else(String::new, |code| format!(", exit code {code}"));
        let end = match entry.finished_at {
            Some(end) => format!(
                " to {end:.0} ({})",
                span(end.duration_since(entry.started_at))
            ),
            None => String::new(),
        };
        super::print_line(&format!(
            "{command}: {}{code}; {:.0}{end}; {}, {} staged, {} changed",
            entry.outcome,
            entry.started_at,
            counted(entry.requests, "request"),
            counted(entry.rows_staged, "row"),
            entry
                .rows_changed
                .map_or_else(|| "unknown".to_owned(), |rows| counted(rows, "row")),
        ));
        if let Some(error) = &entry.error {
            super::print_line(&format!("  {error}"));
        }
    }
    if !detail.resources.is_empty() {
        super::print_table(&resources_table(&detail.resources));
    }
    match detail.tables.as_deref() {
        None => super::print_line("loaded: unknown without the database"),
        Some([]) => super::print_line("loaded: nothing"),
        Some(loads) => {
            let rows = loads.iter().map(|load| {
                vec![
                    load.table.clone(),
                    load.resource.clone(),
                    format!("{:.0}", load.loaded_at),
                    grouped(load.staged),
                    grouped(load.inserted),
                    grouped(load.updated),
                    grouped(load.deleted),
                    grouped(load.quarantined),
                    span(SignedDuration::from_millis(
                        i64::try_from(load.duration_ms).unwrap_or(0),
                    )),
                ]
            });
            let columns = [
                Column::fixed("table"),
                Column::fixed("resource").rank(3),
                Column::fixed("loaded").rank(4),
                Column::number("staged").rank(2),
                Column::number("inserted"),
                Column::number("updated"),
                Column::number("deleted"),
                Column::number("quarantined"),
                Column::fixed("took").rank(5),
            ];
            super::print_table(&Table::new(columns, rows));
        }
    }
}
