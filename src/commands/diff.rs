//! `cursus diff`: compare two schemas or staged runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tracing::warn;

use crate::cli::{DiffArgs, Global};
use crate::database::{Database, DatabaseError, snapshot};
use crate::diff::{Choice, Diff, Kind, Sample, TableDiff, Values, compare, tables};
use crate::exit::{Exit, Failure};
use crate::key_arg::Key;
use crate::load::{Loaded, Options, Scratches, TableBacklog, check_tables, history};
use crate::name::{Name, did_you_mean};
use crate::pipeline::connect;
use crate::pipeline::load::{find, load_runs};
use crate::printable;
use crate::report::{Column, Table, grouped};
use crate::settings::Settings;

/// Longer values are cut.
const WIDEST: usize = 60;

struct Side {
    name: String,
    schema: String,
    /// Resources of the run that were not loaded: their previous state is compared.
    not_loaded: Vec<Name>,
    /// Why, and what else went wrong where the run was loaded.
    errors: Vec<String>,
    exit: Exit,
}

impl Side {
    fn new(name: String, schema: String) -> Self {
        Self {
            name,
            schema,
            not_loaded: Vec::new(),
            errors: Vec::new(),
            exit: Exit::Done,
        }
    }
}

#[derive(Serialize)]
struct Document<'d> {
    a: &'d str,
    b: &'d str,
    #[serde(flatten)]
    diff: &'d Diff,
    /// By run.
    not_loaded: BTreeMap<&'d str, &'d [Name]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<&'d String>,
}

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &DiffArgs,
) -> Result<Exit, Failure> {
    let key = arguments.key.as_deref().map(Key::parse).transpose();
    let choice = Choice {
        tables: arguments.table.clone(),
        key: key.map_err(|error| Failure::usage(format!("--key: {error}")))?,
        limit: arguments.limit,
        show_values: arguments.show_values,
    };
    connect::refuse_unmade(settings)?;
    // A run is loaded, which needs a session of its own; it is not known yet whether a schema has its name.
    let live = settings.config.database.schema.as_str();
    let mut database = if may_be_run(&arguments.a) || may_be_run(&arguments.b) {
        connect::connect_to_write(settings, live).await?
    } else {
        connect::connect(settings, live).await?
    };
    let mut scratches = Scratches::new(&settings.config.database.schema);
    let compared = both(settings, arguments, &mut database, &mut scratches, &choice).await;
    let cleared = scratches.drop_all(&mut database).await;
    let (a, b, diff) = compared?;
    cleared?;
    database.close().await?;
    let sides = [&a, &b];
    let lacking = sides.iter().filter(|side| !side.not_loaded.is_empty());
    let errors = sides.iter().flat_map(|side| &side.errors);
    if global.json {
        super::print_json(&Document {
            a: &a.name,
            b: &b.name,
            diff: &diff,
            not_loaded: lacking
                .map(|side| (side.name.as_str(), side.not_loaded.as_slice()))
                .collect(),
            errors: errors.clone().collect(),
        });
    } else {
        super::print(&text(sides, &diff, &choice));
    }
    for error in errors {
        super::output::error(error);
    }
    Ok(a.exit.max(b.exit))
}

async fn both(
    settings: &Settings,
    arguments: &DiffArgs,
    database: &mut Database,
    scratches: &mut Scratches,
    choice: &Choice,
) -> Result<(Side, Side, Diff), Failure> {
    let a = side(settings, &arguments.a, database, scratches).await?;
    let b = side(settings, &arguments.b, database, scratches).await?;
    let transaction = snapshot(&mut database.client).await;
    let transaction = transaction.map_err(DatabaseError::from)?;
    let mut known = tables(&transaction, &a.schema).await?;
    known.extend(tables(&transaction, &b.schema).await?);
    for name in &choice.tables {
        if !known.contains(name) {
            let advice = did_you_mean(name, known.iter().map(String::as_str))
                .map_or_else(String::new, |advice| format!("; {advice}"));
            return Err(Failure::usage(format!(
                "--table {name}: neither {} nor {} has it{advice}",
                a.name, b.name
            )));
        }
    }
    let keys: BTreeMap<String, Vec<String>> = (settings.config.tables.iter())
        .filter(|table| !table.key.is_empty())
        .map(|table| {
            let key = table.key.iter().map(ToString::to_string).collect();
            (table.name.to_string(), key)
        })
        .collect();
    let names: Vec<String> = known.into_iter().collect();
    check_tables(&transaction, &[&a.schema, &b.schema], &names).await?;
    let diff = compare(&transaction, (&a.schema, &b.schema), &keys, choice).await?;
    if choice.key.is_some() && diff.tables.is_empty() {
        return Err(Failure::usage(
            "--key: no table has a key of these columns".to_owned(),
        ));
    }
    Ok((a, b, diff))
}

/// The schema of what was typed: a schema of the database, `live`, or a run, which is loaded into a scratch schema first.
async fn side(
    settings: &Settings,
    typed: &str,
    database: &mut Database,
    scratches: &mut Scratches,
) -> Result<Side, Failure> {
    let exists = database
        .client
        .query_opt(
            "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1",
            &[&typed],
        )
        .await
        .map_err(DatabaseError::from)?
        .is_some();
    let schema = match typed {
        _ if exists => Some(typed.to_owned()),
        "live" => Some(settings.config.database.schema.to_string()),
        _ => None,
    };
    if let Some(schema) = schema {
        return Ok(Side::new(typed.to_owned(), schema));
    }
    if !may_be_run(typed) {
        return Err(Failure::usage(format!(
            "there is no schema `{typed}` in the database; write a schema, `live`, or a run: its id, its day, `latest` or \
             its path"
        )));
    }
    let mut runs = settings.staging.finished_runs()?;
    let run = find(settings, &runs, typed)?;
    runs.retain(|one| one.record().seq <= run.record().seq);
    let schema = scratches.make(database).await?;
    let options = Options::new(schema.clone());
    let mut loader = connect::open_loader(settings, &options).await?;
    // Each run in turn, as in a replay: which deletes the prune limit holds depends on the rows before.
    let pending = history(&settings.config, &runs, &Loaded::new())?;
    let all = BTreeSet::new();
    let loaded = load_runs(&mut loader, &settings.context, pending, &runs, &all).await?;
    let loaded = loaded.or_cut_short()?;
    for TableBacklog {
        table,
        held,
        quarantined,
    } in loader.backlog_by_table(schema.as_str()).await?
    {
        if held > 0 {
            warn!(%table, rows = held, "prune limit exceeded: {} holds deletes", run.id());
        }
        if quarantined > 0 {
            warn!(%table, rows = quarantined, "{} lacks quarantined rows", run.id());
        }
    }
    let left = history(&settings.config, &runs, &loader.loaded().await?)?;
    let left: BTreeSet<Name> = left.into_iter().flat_map(|left| left.resources).collect();
    loader.close().await?;
    Ok(Side {
        not_loaded: left.into_iter().collect(),
        errors: loaded.report.errors,
        exit: loaded.exit,
        ..Side::new(run.id().to_string(), schema.to_string())
    })
}

/// Names of runs begin with a digit, those of schemas do not.
fn may_be_run(typed: &str) -> bool {
    typed == "latest" || Name::parse(typed).is_err()
}

fn text(sides: [&Side; 2], diff: &Diff, choice: &Choice) -> String {
    let [a, b] = sides.map(|side| side.name.as_str());
    let mut lines = vec![format!("{a} → {b}")];
    let rows = diff.tables.iter().map(|table| {
        let counts = [table.added, table.removed, table.changed].map(grouped);
        [vec![table.table.clone()], counts.to_vec()].concat()
    });
    let columns = [
        Column::fixed("table"),
        Column::number("added"),
        Column::number("removed"),
        Column::number("changed"),
    ];
    lines.push(super::fitted(&Table::new(columns, rows)));
    for table in &diff.tables {
        details(&mut lines, (a, b), table, choice);
    }
    for (names, side) in [(&diff.only_in_a, a), (&diff.only_in_b, b)] {
        if !names.is_empty() {
            lines.push(format!("only in {side}: {}", names.join(", ")));
        }
    }
    if !diff.not_compared.is_empty() {
        let why = match choice.key {
            Some(_) => "their key has other columns",
            None => "they have no key",
        };
        lines.push(format!(
            "not compared, because {why}: {}",
            diff.not_compared.join(", ")
        ));
    }
    for side in sides.iter().filter(|side| !side.not_loaded.is_empty()) {
        let names: Vec<&str> = side.not_loaded.iter().map(Name::as_str).collect();
        lines.push(format!(
            "not loaded of {}, so its previous state is compared: {}",
            side.name,
            names.join(", ")
        ));
    }
    if diff.tables.iter().all(|table| table.rows() == 0) {
        lines.push("no row differs".to_owned());
    } else if !choice.show_values {
        lines.push("--show-values prints values before and after".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}

fn details(lines: &mut Vec<String>, (a, b): (&str, &str), table: &TableDiff, choice: &Choice) {
    for (names, side) in [(&table.columns_only_in_a, a), (&table.columns_only_in_b, b)] {
        if !names.is_empty() {
            let names = names.join(", ");
            lines.push(format!("{}: only in {side}: {names}", table.table));
        }
    }
    if table.rows() == 0 {
        return;
    }
    let columns: Vec<String> = (table.columns.iter())
        .map(|(name, count)| format!("{name} {}", grouped(*count)))
        .collect();
    if columns.is_empty() {
        lines.push(format!("{}:", table.table));
    } else {
        lines.push(format!(
            "{}: changed in {}",
            table.table,
            columns.join(", ")
        ));
    }
    for (kind, count) in [
        (Kind::Added, table.added),
        (Kind::Removed, table.removed),
        (Kind::Changed, table.changed),
    ] {
        let samples = table.samples.iter().filter(|sample| sample.kind == kind);
        let mut shown = 0;
        for sample in samples {
            lines.push(line(sample));
            shown += 1;
        }
        if count > shown && choice.limit > 0 {
            lines.push(format!(
                "  {} and {} more",
                sign(kind),
                grouped(count - shown)
            ));
        }
    }
}

fn sign(kind: Kind) -> char {
    match kind {
        Kind::Added => '+',
        Kind::Removed => '-',
        Kind::Changed => '~',
    }
}

fn line(sample: &Sample) -> String {
    let value = |values: &Values, name: &String| {
        let value = values.get(name);
        value.map_or_else(String::new, |value| shown(value.get()))
    };
    let parts = |values: &Values| -> Vec<String> {
        let names = values.keys();
        names
            .map(|name| format!("{name} {}", value(values, name)))
            .collect()
    };
    let mut line = format!("  {} {}", sign(sample.kind), parts(&sample.key).join(", "));
    let more: Vec<String> = match (&sample.before, &sample.after) {
        (Some(before), Some(after)) => (sample.columns.iter())
            .map(|name| format!("{name} {} → {}", value(before, name), value(after, name)))
            .collect(),
        (Some(row), None) | (None, Some(row)) => parts(row),
        (None, None) => sample.columns.clone(),
    };
    if !more.is_empty() {
        line.push_str(": ");
        line.push_str(&more.join(", "));
    }
    line
}

/// A JSON value, cut where it is long, without control characters.
pub(super) fn shown(value: &str) -> String {
    let text = printable::json(value);
    match text.char_indices().nth(WIDEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
