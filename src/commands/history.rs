//! `cursus history`: rebuild the history of rows from the staged runs.

use std::collections::BTreeSet;

use serde::Serialize;

use super::output::note;
use crate::cli::{Global, HistoryCommand};
use crate::context::Activity;
use crate::exit::{Exit, Failure};
use crate::load::{
    HISTORY, KeptHistory, Options, RebuiltHistory, ReplayScope, SchemaLoader, history,
};
use crate::name::{Name, advice};
use crate::pipeline::connect::connect_to_write;
use crate::pipeline::load::load_runs;
use crate::printable::Messages;
use crate::report::counted;
use crate::settings::Settings;

#[derive(Debug, Serialize)]
struct HistoryReport {
    schema: String,
    tables: Vec<RebuiltHistory>,
}

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    command: &HistoryCommand,
) -> Result<Exit, Failure> {
    let HistoryCommand::Rebuild(arguments) = command;
    let config = &settings.config;
    let live = &config.database.schema;
    let tables = chosen(settings, &arguments.table)?;
    let mut report = HistoryReport {
        schema: live.to_string(),
        tables: Vec::new(),
    };
    if tables.is_empty() {
        if global.json {
            super::print_json(&report);
        } else {
            super::print_line(
                "no history is kept: name tables and columns in [history] of pipeline.toml",
            );
        }
        return Ok(Exit::Done);
    }
    settings.require_run()?;
    let scratch = Name::parse(&format!("{live}_history"))
        .map_err(|error| Failure::usage(format!("the schema {live}_history: {error}")))?;
    let mut options = Options::new(live.clone());
    options.allow_prune = arguments.allow_prune;
    let database = connect_to_write(settings, live.as_str()).await?;
    let mirror = SchemaLoader::open(config, database, options).await?;
    let runs = settings.staging.finished_runs()?;
    let before = mirror.loaded().await?;
    let newest = runs.last().map_or(&[][..], std::slice::from_ref);
    mirror.judge(&runs).await?.refuse(newest)?;
    let mut loader = mirror.into_scratch(scratch, HISTORY).await?;
    let all = config
        .resources
        .iter()
        .map(|resource| resource.name.clone());
    let scope = ReplayScope::of_mirror(config, None, all);
    let mut pending = history(config, &runs, &loader.loaded().await?)?;
    // What the mirror has not loaded yet is none of its history, be it one resource of a run.
    for run in &mut pending {
        let seq = run.run.record().seq;
        let is_loaded = |name: &Name| before.get(name).is_some_and(|loaded| seq <= loaded.seq);
        (run.resources).retain(|name| scope.resources.contains(name) && is_loaded(name));
    }
    pending.retain(|pending| !pending.resources.is_empty());
    let context = &settings.context;
    let outcome = load_runs(&mut loader, context, pending, &runs, &BTreeSet::new()).await?;
    let outcome = outcome.or_cut_short()?;
    if !outcome.failed.is_empty() {
        let what = "the history was not rebuilt, because not all runs could be loaded:".to_owned();
        return Err(Failure {
            exit: outcome.exit.max(Exit::Failed),
            error: Messages::of([&what].into_iter().chain(&outcome.report.errors)).into(),
        });
    }
    context.begin(Activity::Rebuilding);
    report.tables = loader
        .rebuild_history(live, &tables, &runs, &before)
        .await?;
    loader.close().await?;
    Ok(print(global, &report))
}

/// Those that are named, or all of `[history]`.
fn chosen(settings: &Settings, named: &[String]) -> Result<BTreeSet<Name>, Failure> {
    let kept = &settings.config.history;
    for table in named {
        if !kept.keys().any(|name| name.as_str() == table) {
            let names = kept.keys().map(Name::as_str);
            let advice = advice(table, names, "it has");
            return Err(Failure::usage(format!(
                "[history] of pipeline.toml has no table `{table}`; {advice}"
            )));
        }
    }
    let is_chosen = |name: &&Name| named.is_empty() || named.iter().any(|one| one == name.as_str());
    Ok(kept.keys().filter(is_chosen).cloned().collect())
}

fn print(global: &Global, report: &HistoryReport) -> Exit {
    let mut exit = Exit::Done;
    let mut lines = Vec::new();
    for table in &report.tables {
        let (name, versions) = (&table.table, counted(table.versions, "version"));
        let known = table.known_from.as_deref().unwrap_or("no time");
        match &table.kept {
            KeptHistory::Nothing => {
                lines.push(format!("{name}: {versions} of rows, known from {known} on"));
            }
            KeptHistory::Before(run) => {
                lines.push(format!("{name}: {versions} of rows, known from {known} on"));
                note(&format!(
                    "{name}: what is older than the run {run} was not rebuilt and is kept as it was, because runs before it are not \
                     staged any more"
                ));
            }
            KeptHistory::All => {
                exit = Exit::Refused;
                note(&format!(
                    "{name}: nothing was rebuilt and all is kept as it was, because earlier runs are not staged any more and the others \
                     have no complete full read of all that its rows refer to; read it in full with `cursus run --full`"
                ));
            }
        }
    }
    if global.json {
        super::print_json(report);
    } else {
        for line in lines {
            super::print_line(&line);
        }
    }
    exit
}
