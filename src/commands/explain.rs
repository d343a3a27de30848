//! `cursus explain`: show where a row of the mirror comes from.

use serde_json::value::RawValue;

use super::diff::shown;
use super::quarantine::place;
use crate::cli::{ExplainArgs, Global};
use crate::exit::{Exit, Failure};
use crate::key_arg::Key;
use crate::load::{Entry, ExplainError, Explained, Origin, explain};
use crate::name::advice;
use crate::pipeline::connect;
use crate::printable::{self, line};
use crate::report::{Column, Table};
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &ExplainArgs,
) -> Result<Exit, Failure> {
    let config = &settings.config;
    let key = Key::parse(&arguments.key).map_err(Failure::usage)?;
    let names = config.tables.iter().map(|table| table.name.as_str());
    if !names.clone().any(|name| name == arguments.table) {
        return Err(Failure::usage(format!(
            "pipeline.toml has no table `{}`; {}",
            arguments.table,
            advice(&arguments.table, names, "it has")
        )));
    }
    let runs = settings.staging.runs()?;
    let schema = settings.schema(arguments.into.as_deref())?;
    let mut database = connect::connect(settings, schema.as_str()).await?;
    let explained = explain(
        config,
        &mut database.client,
        schema.as_str(),
        &runs,
        &arguments.table,
        &key,
    )
    .await
    .map_err(|error| match error {
        ExplainError::Key(sentence) => Failure::usage(sentence),
        ExplainError::Unmigrated(_) => Failure::usage(error.to_string()),
        ExplainError::Load(error) => error.into(),
    })?;
    database.close().await?;
    let is_known =
        explained.row.is_some() || explained.origin.is_some() || !explained.quarantine.is_empty();
    if !is_known {
        let mut notes = explained.notes.iter().map(|note| format!("; {note}"));
        let notes: String = notes.by_ref().collect();
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{} {}: there is no such row in {schema}, no record in the staged runs that were loaded, and nothing in \
                 quarantine{notes}",
                arguments.table, arguments.key
            ),
        ));
    }
    if global.json {
        super::print_json(&explained);
    } else {
        super::print(&text(&explained, schema.as_str()));
    }
    Ok(Exit::Done)
}

fn text(explained: &Explained, schema: &str) -> String {
    let key = explained.key.as_object().into_iter().flatten();
    let key: Vec<String> = key
        .map(|(name, value)| format!("{name} {}", shown(&value.to_string())))
        .collect();
    let is_there = match (&explained.row, &explained.origin) {
        (Some(_), _) => format!("in {schema}"),
        (
            None,
            Some(Origin {
                out_of_scope: Some(condition),
                ..
            }),
        ) => {
            format!(
                "not in {schema}: by `where`, a record whose {condition} is like this has no row"
            )
        }
        (None, _) => format!("not in {schema}"),
    };
    let mut lines = vec![format!(
        "{} {}: {is_there}",
        explained.table,
        key.join(", ")
    )];
    if let Some(origin) = &explained.origin {
        let element = (origin.element).map_or_else(String::new, |at| format!(", element {at}"));
        lines.extend([
            format!("run       {}", origin.run_id),
            format!(
                "request   GET {}, {}",
                line(&origin.request),
                origin.fetched_at
            ),
            format!("file      {} [{}]{element}", origin.file, origin.index),
        ]);
    }
    lines.extend(
        explained
            .notes
            .iter()
            .map(|note| format!("note      {}", line(note))),
    );
    lines.extend(explained.quarantine.iter().map(quarantine_line));
    for held in &explained.held_deletes {
        let (run, reason) = (&held.run_id, line(&held.reason));
        lines.push(match &held.referred_by {
            None => format!("held      its delete by the run {run} needs approval: {reason}"),
            Some(table) => format!(
                "kept      missing from the API in the run {run} ({reason}), but rows of {} refer to it",
                line(table)
            ),
        });
    }
    let cell = |value: &Option<Box<RawValue>>| {
        let value = value.as_ref();
        value.map_or_else(String::new, |value| shown(value.get()))
    };
    let columns = explained.columns.iter().map(|column| {
        vec![
            column.name.clone(),
            column.from.clone(),
            cell(&column.in_record),
            cell(&column.in_mirror),
        ]
    });
    let header = [
        Column::fixed("column"),
        Column::text("from").rank(1),
        Column::text("record"),
        Column::text("mirror"),
    ];
    lines.push(super::fitted(&Table::new(header, columns)));
    if let Some(origin) = &explained.origin {
        lines.push(printable::json(origin.record.get()));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn quarantine_line(entry: &Entry) -> String {
    let column = entry.column.as_ref();
    let column = column.map_or_else(String::new, |column| format!("{column}: "));
    // Rows of a SELECT have no record to show.
    let show = if entry.file.is_empty() {
        String::new()
    } else {
        format!("; cursus quarantine show {}", entry.id)
    };
    format!(
        "rejected  {} of the run {}: {column}{}{show}",
        line(&place(entry)),
        entry.run_id,
        line(&entry.reason)
    )
}
