//! `cursus explain`: show where a row of the mirror comes from.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::diff::shown;
use super::quarantine::place;
use crate::cli::{ExplainArgs, Global};
use crate::exit::{Exit, Failure};
use crate::key_arg::Key;
use crate::load::{Entry, ExplainError, Explained, Origin, RowAt, explain, explain_at};
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
    let schema = settings.schema(arguments.into.as_deref())?;
    let mut database = connect::connect(settings, schema.as_str()).await?;
    if let Some(at) = arguments.at {
        let of = (arguments.table.as_str(), &key);
        let row = explain_at(config, &mut database.client, schema.as_str(), of, at).await?;
        database.close().await?;
        return print_at(global, arguments, schema.as_str(), &row);
    }
    let runs = settings.staging.runs()?;
    let explained = explain(
        config,
        &mut database.client,
        schema.as_str(),
        &runs,
        &arguments.table,
        &key,
    )
    .await?;
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

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Load(error) => error.into(),
            ExplainError::UnknownThen { .. } => Self::new(Exit::Refused, error.to_string()),
            _ => Self::usage(error.to_string()),
        }
    }
}

fn print_at(
    global: &Global,
    arguments: &ExplainArgs,
    schema: &str,
    row: &RowAt,
) -> Result<Exit, Failure> {
    let Some(version) = &row.version else {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{} {}: there was no such row in {schema} at {}",
                arguments.table, arguments.key, row.at
            ),
        ));
    };
    if global.json {
        super::print_json(row);
        return Ok(Exit::Done);
    }
    let until = match (&version.valid_to, &version.to_run) {
        (Some(to), Some(run)) => format!("{to}, run {run}"),
        _ => "now".to_owned(),
    };
    let values = version
        .row
        .as_ref()
        .map(|row| row.get())
        .unwrap_or_default();
    let values: BTreeMap<String, Box<RawValue>> = serde_json::from_str(values).unwrap_or_default();
    let rows = values
        .iter()
        .map(|(column, value)| vec![column.clone(), shown(value.get())]);
    let header = [Column::fixed("column"), Column::text("then")];
    super::print(&format!(
        "{} {}: in {schema} at {}\nfrom      {}, run {}\nto        {until}\n{}\n",
        row.table,
        key_text(&row.key),
        row.at,
        version.valid_from,
        version.from_run,
        super::fitted(&Table::new(header, rows))
    ));
    Ok(Exit::Done)
}

/// `id 12, part 3`.
fn key_text(key: &Value) -> String {
    let key = key.as_object().into_iter().flatten();
    let key: Vec<String> = key
        .map(|(name, value)| format!("{name} {}", shown(&value.to_string())))
        .collect();
    key.join(", ")
}

fn text(explained: &Explained, schema: &str) -> String {
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
        key_text(&explained.key)
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
