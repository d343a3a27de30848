//! `cursus replay`: staged runs into another schema, or into the mirror to rebuild it.

mod groups;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::cli::{Global, ReplayArgs};
use crate::context::Activity;
use crate::convert::unsigned;
use crate::exit::{Exit, Failure};
use crate::load::{
    Kept, Loaded, Options, REBUILD, Rebuilt, ReplayError, ReplayScope, SchemaLoader, Scratch,
    TableBacklog, TableCounts, history, runs_to_read,
};
use crate::name::Name;
use crate::pipeline::connect::connect_to_write;
use crate::pipeline::load::{held_deletes, load_runs, quarantined_rows};
use crate::pipeline::settle::settle;
use crate::plan;
use crate::printable::Messages;
use crate::report::{counted, tables_table};
use crate::settings::Settings;
use crate::staging::Run;

#[derive(Debug, Serialize)]
struct ReplayReport {
    schema: String,
    runs: Vec<String>,
    /// Counts of all runs together, or what the rebuild changed; one a table.
    tables: Vec<TableCounts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &ReplayArgs,
) -> Result<Exit, Failure> {
    let url = arguments
        .from
        .as_deref()
        .filter(|from| from.contains("://"));
    let Some(url) = url else {
        return replay(global, settings, arguments).await;
    };
    #[cfg(not(feature = "remote"))]
    return Err(Failure::usage(format!(
        "this cursus was built without object stores: --from names a run, not {}",
        crate::printable::without_credentials(url)
    )));
    #[cfg(feature = "remote")]
    {
        let settings = settings.reading_from(url).await?;
        let arguments = ReplayArgs {
            from: None,
            ..arguments.clone()
        };
        Box::pin(replay(global, &settings, &arguments)).await
    }
}

async fn replay(
    global: &Global,
    settings: &Settings,
    arguments: &ReplayArgs,
) -> Result<Exit, Failure> {
    if arguments.plan {
        return groups::plan(global, settings, arguments).await;
    }
    if let Some(number) = arguments.group {
        return groups::replay(global, settings, arguments, number).await;
    }
    if arguments.finish {
        return groups::finish(global, settings, arguments).await;
    }
    let config = &settings.config;
    let live = &config.database.schema;
    let (schema, mut loader, scope, runs, before) = if let Some(into) = &arguments.into {
        let schema = named(into)?;
        let runs = range(settings, arguments)?;
        let scope = scope(settings, arguments, &runs)?;
        let database = connect_to_write(settings, schema.as_str()).await?;
        let options = options(&schema, arguments);
        let mut loader = SchemaLoader::open_replay(config, database, options, &scope).await?;
        settle(settings, &mut loader).await?;
        // People who were erased meanwhile are blank in the runs that are listed now.
        let runs = range(settings, arguments)?;
        check_end(&loader, into, arguments, &runs).await?;
        (schema, loader, scope, runs, None)
    } else {
        let Mirror {
            loader,
            scope,
            runs,
            before,
        } = Mirror::open(settings, arguments).await?;
        let scratch = named(&format!("{live}_rebuild"))?;
        let loader = loader.into_scratch(scratch, REBUILD).await?;
        (live.clone(), loader, scope, runs, Some(before))
    };
    let loaded = loader.loaded().await?;
    (settings.staging)
        .bring(runs_to_read(config, &runs, &loaded))
        .await;
    let mut pending = history(config, &runs, &loaded)?;
    for run in &mut pending {
        (run.resources).retain(|name| scope.resources.contains(name));
    }
    let context = &settings.context;
    let all = BTreeSet::new();
    let outcome = load_runs(&mut loader, context, pending, &runs, &all).await?;
    let outcome = outcome.or_cut_short()?;
    let loaded = outcome.report;
    let mut rebuilt = Rebuilt {
        tables: loaded.tables,
        ..Rebuilt::default()
    };
    if let Some(before) = &before {
        if !outcome.failed.is_empty() {
            let what =
                "the mirror was not rebuilt, because not all runs could be loaded:".to_owned();
            return Err(Failure {
                exit: outcome.exit.max(Exit::Failed),
                error: Messages::of([&what].into_iter().chain(&loaded.errors)).into(),
            });
        }
        let may_go_back = arguments.to.is_some();
        context.begin(Activity::Rebuilding);
        let scratch = Scratch {
            schema: named(&format!("{live}_rebuild"))?,
            resources: scope.resources,
        };
        let scratches = [scratch];
        let rebuild = loader.rebuild(live, &scratches, before, may_go_back, &runs, None);
        rebuilt = rebuild.await?;
    }
    let report = ReplayReport {
        schema: schema.to_string(),
        runs: loaded.runs,
        tables: std::mem::take(&mut rebuilt.tables),
        errors: loaded.errors,
    };
    let exit = outcome.exit;
    let (report, exit) = conclude(settings, loader, report, rebuilt, exit).await?;
    print(global, arguments, &report);
    super::sentences(&loaded.warnings, &report.errors);
    Ok(exit)
}

/// The mirror, open and locked for a rebuild.
struct Mirror<'c> {
    loader: SchemaLoader<'c>,
    scope: ReplayScope,
    runs: Vec<Run>,
    before: Loaded,
}

impl<'c> Mirror<'c> {
    async fn open(settings: &'c Settings, arguments: &ReplayArgs) -> Result<Self, Failure> {
        let config = &settings.config;
        let live = &config.database.schema;
        let runs = range(settings, arguments)?;
        let scope = scope(settings, arguments, &runs)?;
        let database = connect_to_write(settings, live.as_str()).await?;
        let mut loader = SchemaLoader::open(config, database, options(live, arguments)).await?;
        settle(settings, &mut loader).await?;
        // People who were erased meanwhile are blank in the runs that are listed now.
        let runs = range(settings, arguments)?;
        let before = loader.loaded().await?;
        let newest = runs.last().map_or(&[][..], std::slice::from_ref);
        loader.judge(&runs).await?.refuse(newest)?;
        Ok(Self {
            loader,
            scope,
            runs,
            before,
        })
    }
}

fn options(schema: &Name, arguments: &ReplayArgs) -> Options {
    let mut options = Options::new(schema.clone());
    options.allow_prune = arguments.allow_prune;
    options
}

/// What these arguments replay; `runs` are those that they name.
fn scope(
    settings: &Settings,
    arguments: &ReplayArgs,
    runs: &[Run],
) -> Result<ReplayScope, Failure> {
    let config = &settings.config;
    let chosen = plan::select(config, &arguments.select, &[])?;
    let chosen = chosen.into_iter().map(|resource| resource.name.clone());
    let from = arguments.from.as_ref().and(runs.first());
    let from = from.map(|run| run.id().to_string());
    Ok(match arguments.into {
        Some(_) => ReplayScope::new(config, from, chosen),
        None => ReplayScope::of_mirror(config, from, chosen),
    })
}

/// Adds to a report what waits in its schema, and what a rebuild has kept or left. Deletes that a run held and a later run settled do not count:
/// only the end does.
async fn conclude(
    settings: &Settings,
    loader: SchemaLoader<'_>,
    mut report: ReplayReport,
    rebuilt: Rebuilt,
    mut exit: Exit,
) -> Result<(ReplayReport, Exit), Failure> {
    let into = settings.schema_flag(&named(&report.schema)?);
    let waits = loader.backlog_by_table(&report.schema).await?;
    loader.close().await?;
    for TableBacklog {
        table,
        held,
        quarantined,
    } in waits
    {
        if held > 0 {
            exit = exit.max(Exit::Refused);
            report.errors.push(format!(
                "{table}: {}",
                held_deletes(unsigned(held), "RUN", &into)
            ));
        }
        if quarantined > 0 {
            exit = exit.max(Exit::Incomplete);
            report.errors.push(format!(
                "{table}: {}",
                quarantined_rows(unsigned(quarantined), &table, &into)
            ));
        }
    }
    for sentence in rebuilt.not_dropped {
        exit = exit.max(Exit::Failed);
        report.errors.push(sentence);
    }
    for Kept { table, rows, keys } in rebuilt.kept {
        exit = exit.max(Exit::Refused);
        report.errors.push(format!(
            "{table}: {} missing from the staged runs kept, because other rows refer to them: {}{}; \
             to delete them, delete those other rows first and rebuild again",
            counted(rows, "row"),
            keys.join(", "),
            if rows > keys.len() as u64 { ", …" } else { "" }
        ));
    }
    Ok((report, exit))
}

fn named(schema: &str) -> Result<Name, Failure> {
    Name::parse(schema).map_err(|error| Failure::usage(format!("the schema {schema}: {error}")))
}

/// The staged runs from `--from` to `--to`.
fn range(settings: &Settings, arguments: &ReplayArgs) -> Result<Vec<Run>, Failure> {
    let staging = &settings.staging;
    settings.require_run()?;
    let mut runs = staging.finished_runs()?;
    let find = |named: &Option<String>| {
        let named = named.as_deref();
        named.map(|run| staging.find_among(&runs, run)).transpose()
    };
    let first = find(&arguments.from)?.map_or(0, |run| run.record().seq);
    let last = find(&arguments.to)?.map_or(u64::MAX, |run| run.record().seq);
    runs.retain(|run| (first..=last).contains(&run.record().seq));
    if runs.is_empty() {
        return Err(Failure::usage(
            "there is no finished run from --from to --to; `cursus stage ls` lists the runs",
        ));
    }
    Ok(runs)
}

/// Refuses a schema that is already past `--to`.
async fn check_end(
    loader: &SchemaLoader<'_>,
    schema: &str,
    arguments: &ReplayArgs,
    runs: &[Run],
) -> Result<(), Failure> {
    let last = runs.last().map_or(0, |run| run.record().seq);
    let loaded = loader.loaded().await?;
    let newest = loaded.values().max_by_key(|known| known.seq);
    match newest.filter(|known| arguments.to.is_some() && known.seq > last) {
        Some(known) => Err(ReplayError::Further {
            schema: schema.to_owned(),
            run: known.run_id.clone(),
        }
        .into()),
        None => Ok(()),
    }
}

fn print(global: &Global, arguments: &ReplayArgs, report: &ReplayReport) {
    if global.json {
        super::print_json(report);
    } else if report.runs.is_empty() && !report.errors.is_empty() {
        // The errors say why.
    } else if report.runs.is_empty() {
        super::print_line(&format!(
            "nothing to replay: every staged run is loaded into {}",
            report.schema
        ));
    } else {
        super::print_table(&tables_table(&report.tables));
        let done = if arguments.rebuild || arguments.finish {
            "rebuilt"
        } else {
            "replayed into"
        };
        super::print_line(&format!(
            "{done} {} from {}, {} to {}",
            report.schema,
            counted(report.runs.len() as u64, "run"),
            report.runs.first().map_or("", String::as_str),
            report.runs.last().map_or("", String::as_str),
        ));
    }
}
