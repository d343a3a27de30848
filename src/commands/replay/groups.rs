//! A rebuild in jobs: `--plan` lists groups, `--group` replays one of them, `--finish` rebuilds the mirror from all.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Mirror, ReplayReport, conclude, options, print, range, scope};
use crate::cli::{Global, ReplayArgs};
use crate::commands::{print_json, print_line, print_table, sentences};
use crate::context::Activity;
use crate::error_chain::chain;
use crate::exit::{Exit, Failure, load_exit};
use crate::load::{
    Group, GroupState, Rebuilt, ReplayError, SchemaLoader, Scratch, groups, history,
    mirror_mappings,
};
use crate::name::Name;
use crate::pipeline::connect::connect_to_write;
use crate::pipeline::load::load_runs;
use crate::pipeline::settle::settle;
use crate::report::counted;
use crate::settings::Settings;
use crate::staging::Run;
use crate::table::{Column, Table};

#[derive(Debug, Serialize)]
struct PlanReport {
    groups: Vec<PlannedGroup>,
}

#[derive(Debug, Serialize)]
struct PlannedGroup {
    group: usize,
    resources: Vec<Name>,
    schema: Name,
    runs: usize,
    records: u64,
    /// Of the records, unpacked.
    bytes: u64,
    state: &'static str,
}

/// Prepares the mirror, and lists the groups and how far each is.
pub(super) async fn plan(
    global: &Global,
    settings: &Settings,
    arguments: &ReplayArgs,
) -> Result<Exit, Failure> {
    let Mirror {
        loader,
        scope,
        runs,
        ..
    } = Mirror::open(settings, arguments).await?;
    settings.staging.bring(&runs).await;
    let groups = loader.groups(&scope, &runs)?;
    let states = loader.states(&groups).await?;
    loader.close().await?;
    let planned = |(group, state): (Group, GroupState)| PlannedGroup {
        group: group.number,
        resources: group.scratch.resources.into_iter().collect(),
        schema: group.scratch.schema,
        runs: group.runs.len(),
        records: group.records,
        bytes: group.bytes,
        state: match state {
            GroupState::Missing => "missing",
            GroupState::Outdated => "outdated",
            GroupState::Partial(_) => "partial",
            GroupState::Loaded => "loaded",
        },
    };
    let report = PlanReport {
        groups: groups.into_iter().zip(states).map(planned).collect(),
    };
    if global.json {
        print_json(&report);
    } else {
        print_table(&plan_table(&report.groups));
        print_line(&format!(
            "{} to replay with `cursus replay --group N`, side by side; then `cursus replay --finish`",
            counted(report.groups.len() as u64, "group")
        ));
    }
    Ok(Exit::Done)
}

fn plan_table(groups: &[PlannedGroup]) -> Table {
    let columns = [
        Column::number("group"),
        Column::text("resources"),
        Column::number("runs").rank(2),
        Column::number("records").rank(1),
        Column::number("MB").rank(3),
        Column::fixed("state"),
    ];
    let rows = groups.iter().map(|group| {
        let names: Vec<&str> = group.resources.iter().map(Name::as_str).collect();
        vec![
            group.group.to_string(),
            names.join(", "),
            group.runs.to_string(),
            group.records.to_string(),
            group.bytes.div_ceil(1_000_000).to_string(),
            group.state.to_owned(),
        ]
    });
    Table::new(columns, rows)
}

/// Replays what is not loaded of a group. What waits there is judged at the end of the rebuild.
pub(super) async fn replay(
    global: &Global,
    settings: &Settings,
    arguments: &ReplayArgs,
    number: usize,
) -> Result<Exit, Failure> {
    let config = &settings.config;
    let live = &config.database.schema;
    let runs = range(settings, arguments)?;
    let scope = scope(settings, arguments, &runs)?;
    let database = connect_to_write(settings, live.as_str()).await?;
    let mappings = mirror_mappings(&database.client, config).await?;
    settings.staging.bring(&runs).await;
    let groups = groups(config, &mappings, &scope, arguments.allow_prune, &runs)?;
    let Some(group) = groups.iter().find(|group| group.number == number) else {
        return Err(ReplayError::NoGroup {
            number,
            groups: counted(groups.len() as u64, "group"),
        }
        .into());
    };
    let schema = group.scratch.schema.clone();
    let options = options(&schema, arguments);
    let mut loader = SchemaLoader::open_group(config, database, options, group).await?;
    settle(settings, &mut loader).await?;
    // Listed again, since people who were erased meanwhile are blank then. Runs that came since belong to another plan.
    let list_known = |known: &[Run]| -> Result<Vec<Run>, Failure> {
        let mut listed = range(settings, arguments)?;
        listed.retain(|run| known.iter().any(|one| one.id() == run.id()));
        Ok(listed)
    };
    let (runs, of_group) = (list_known(&runs)?, list_known(&group.runs)?);
    let mut pending = history(config, &of_group, &loader.loaded().await?)?;
    for run in &mut pending {
        (run.resources).retain(|name| group.scratch.resources.contains(name));
    }
    pending.retain(|run| !run.resources.is_empty());
    let all = BTreeSet::new();
    let outcome = load_runs(&mut loader, &settings.context, pending, &runs, &all).await?;
    let outcome = outcome.or_cut_short()?;
    loader.close().await?;
    let report = ReplayReport {
        schema: schema.to_string(),
        runs: outcome.report.runs,
        tables: outcome.report.tables,
        errors: outcome.report.errors,
    };
    print(global, arguments, &report);
    sentences(&outcome.report.warnings, &report.errors);
    Ok(outcome.exit)
}

/// Rebuilds the mirror from the groups.
pub(super) async fn finish(
    global: &Global,
    settings: &Settings,
    arguments: &ReplayArgs,
) -> Result<Exit, Failure> {
    let live = &settings.config.database.schema;
    let Mirror {
        loader,
        scope,
        runs,
        before,
    } = Mirror::open(settings, arguments).await?;
    settings.staging.bring(&runs).await;
    let groups = loader.groups(&scope, &runs)?;
    let fingerprint = loader.fingerprint(&groups);
    if loader.is_rebuilt_from(&groups).await? {
        return conclude_finished(global, settings, loader, &groups, &runs).await;
    }
    let mut loader = loader.into_groups(&groups).await?;
    let (exit, errors) = passed_over(&loader, &groups, &runs, None).await?;
    let is_replayed = |id: &str| {
        let mut replayed = groups.iter().flat_map(|group| &group.runs);
        replayed.any(|run| run.id().as_str() == id)
    };
    let ids = runs.iter().map(|run| run.id().to_string());
    let replayed = ids.filter(|id| is_replayed(id)).collect();
    let scratches: Vec<Scratch> = groups.iter().map(|group| group.scratch.clone()).collect();
    settings.context.begin(Activity::Rebuilding);
    let may_go_back = arguments.to.is_some();
    let fingerprint = Some(fingerprint.as_str());
    let rebuilt = loader.rebuild(live, &scratches, &before, may_go_back, &runs, fingerprint);
    let mut rebuilt = rebuilt.await?;
    let report = ReplayReport {
        schema: live.to_string(),
        runs: replayed,
        tables: std::mem::take(&mut rebuilt.tables),
        errors,
    };
    let (report, exit) = conclude(settings, loader, report, rebuilt, exit).await?;
    print(global, arguments, &report);
    sentences(&[], &report.errors);
    Ok(exit)
}

/// Says that the mirror was rebuilt from these groups before, and what waits there; drops the schemas that a killed finish has left.
async fn conclude_finished(
    global: &Global,
    settings: &Settings,
    mut loader: SchemaLoader<'_>,
    groups: &[Group],
    runs: &[Run],
) -> Result<Exit, Failure> {
    let live = &settings.config.database.schema;
    let (exit, errors) = passed_over(&loader, groups, runs, Some(live)).await?;
    let report = ReplayReport {
        schema: live.to_string(),
        runs: Vec::new(),
        tables: Vec::new(),
        errors,
    };
    let rebuilt = Rebuilt {
        kept: loader.kept().await?,
        not_dropped: loader.drop_scratches(live, true).await,
        ..Rebuilt::default()
    };
    let (report, exit) = conclude(settings, loader, report, rebuilt, exit).await?;
    if global.json {
        print_json(&report);
    } else {
        print_line(&format!(
            "nothing to finish: {live} was rebuilt from these groups before; for a new rebuild run `cursus replay --group` for each"
        ));
    }
    sentences(&[], &report.errors);
    Ok(exit)
}

/// What the jobs of these groups have not loaded, with the exit code for it.
async fn passed_over(
    loader: &SchemaLoader<'_>,
    groups: &[Group],
    runs: &[Run],
    of: Option<&Name>,
) -> Result<(Exit, Vec<String>), Failure> {
    let (mut exit, mut errors) = (Exit::Done, Vec::new());
    for (what, refused) in loader.passed_over(groups, runs, of).await? {
        exit = exit.max(refused.as_ref().map_or(Exit::Failed, load_exit));
        errors.push(match refused {
            Some(error) => format!("{what}: {}", chain(&error)),
            None => format!("{what}: not loaded; the job of its group has said why"),
        });
    }
    Ok((exit, errors))
}
