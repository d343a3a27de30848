//! `cursus status`: what became of the last run, what is staged, what is loaded, how old it is. It asks the API nothing.

use jiff::{SignedDuration, Timestamp};

use crate::cli::{Global, StatusArgs};
use crate::commands::prometheus;
use crate::exit::{Exit, Failure};
use crate::report::{Column, Table, counted, span};
use crate::settings::Settings;
use crate::status::last::UNKNOWN;
use crate::status::{self, Status, secret};

/// Runs the command. Exit 0 if it could look at everything, whatever it saw.
pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &StatusArgs,
) -> Result<Exit, Failure> {
    let config = &settings.config;
    let status = status::read(settings).await?;
    if let Some(file) = &arguments.prometheus {
        prometheus::write(file, &status, arguments.project.as_deref())?;
    } else if global.json {
        super::print_json(&status);
    } else {
        let place = settings.whereabouts(&config.database.schema);
        let place =
            place.unwrap_or_else(|_| format!("{UNKNOWN} (from {})", settings.database_from));
        let is_unknown = status.database_failure.is_some();
        print(&status, &place, is_unknown, crate::clock::now());
    }
    for warning in &status.warnings {
        super::warning(warning);
    }
    match &status.database_failure {
        Some(failure) => {
            super::output::error(&failure.sentence());
            Ok(Exit::Failed)
        }
        None => Ok(Exit::Done),
    }
}

fn print(status: &Status, place: &str, is_unknown: bool, now: Timestamp) {
    let last = status.last_run.as_ref().map_or_else(
        || "none; `cursus run` makes the first".to_owned(),
        |last| last.sentence(now),
    );
    super::print_line(&format!("last run  {last}"));
    if let Some(load) = &status.last_load
        && (status.last_run.as_ref()).is_none_or(|run| run.finished_at() < load.finished_at())
    {
        super::print_line(&format!("last load {}", load.sentence(now)));
    }
    let runs = counted(status.runs as u64, "run");
    super::print_line(&format!("staging   {} ({runs})", status.staging));
    super::print_line(&format!("mirror    {place}"));
    super::print_line(&format!("database  {}", status.database));
    let secret = status.secret_valid_until.map_or_else(
        || format!("{UNKNOWN}: no response of the API has named its expiry"),
        |until| secret(until, now),
    );
    super::print_line(&format!("secret    {secret}"));
    let rows = status.resources.iter().map(|read| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            read.label(),
            text(&read.mode),
            text(&read.state),
            text(&read.known_up_to.map(|known| known.to_string())),
            // A server whose clock is ahead is known up to a time to come.
            text(
                &read
                    .age_s
                    .map(|age| span(SignedDuration::from_secs(age.max(0)))),
            ),
            text(&read.loaded_run),
        ]
    });
    let columns = [
        Column::fixed("resource"),
        Column::fixed("last read").rank(2),
        Column::fixed("state"),
        Column::fixed("known up to").rank(3),
        Column::fixed("age"),
        Column::fixed("loaded run").rank(1),
    ];
    super::print_table(&Table::new(columns, rows));
    if is_unknown {
        super::print_line(&format!(
            "{UNKNOWN} without the database: what is loaded, what is in quarantine, and which deletes are held"
        ));
    }
    let pending: Vec<&str> = (status.pending.iter().flatten())
        .map(|pending| pending.run.as_str())
        .collect();
    if !pending.is_empty() {
        super::print_line(&format!(
            "not loaded yet: {} (`cursus load`)",
            pending.join(", ")
        ));
    }
    let count = |rows: u64| counted(rows, "row");
    for (what, rows, place) in [
        ("quarantined", status.quarantined, "cursus quarantine ls"),
        ("held deletes", status.prune_candidates, "cursus prune ls"),
    ] {
        let rows = rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0);
        if rows > 0 {
            super::print_line(&format!("{what}: {} (`{place}`)", count(rows)));
        }
    }
    let kept: Vec<String> = (status.kept_rows.iter().flatten())
        .map(|(table, rows)| format!("{table} {}", count(*rows)))
        .collect();
    if !kept.is_empty() {
        super::print_line(&format!(
            "kept although the API no longer has them, because other rows refer to them: {} (`cursus prune ls`)",
            kept.join(", ")
        ));
    }
}
