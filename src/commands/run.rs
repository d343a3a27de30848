//! `cursus run`: extract, then load.

use std::collections::BTreeMap;
use std::time::Instant;

use super::ended::Ended;
use crate::cli::{ExtractArgs, Global, RunArgs};
use crate::exit::{Exit, Failure};
use crate::load::Look;
use crate::name::Name;
use crate::number::millis;
use crate::plan::{self, History};
use crate::report::{RunReport, tables_table};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &RunArgs,
) -> Result<Ended, Failure> {
    let RunArgs { extract, adopt } = arguments;
    let (report, exit) = extract_and_load(global, settings, extract, *adopt).await?;
    if !global.json && !report.tables.is_empty() {
        super::print_table(&tables_table(&report.tables));
    }
    super::extract::finish(global, &report);
    Ok(Ended::of(&report, exit))
}

/// Extracts, then loads all that waits. `adopt`: the schema may be rebound.
pub(super) async fn extract_and_load(
    global: &Global,
    settings: &Settings,
    arguments: &ExtractArgs,
    adopt: bool,
) -> Result<(RunReport, Exit), Failure> {
    let started = Instant::now();
    let mut report = RunReport::default();
    super::say_where(settings, &settings.config.database.schema)?;
    settings.credentials()?;
    // Before the first hit: a database that is not there, or does not fit, would make them all for nothing.
    let before = look_before(settings, adopt).await?;
    let extracted = super::extract::stage(global, settings, arguments, before, &mut report).await?;
    let mut sums = Vec::new();
    let mut choice = super::load::Choice::all(settings);
    choice.options.adopt = adopt;
    let loaded = super::load::pending_runs(settings, &choice, &mut sums).await;
    report.add_tables(&sums);
    let loaded = match loaded {
        Ok(outcome) => {
            report.errors.extend(outcome.errors);
            report.warnings.extend(outcome.warnings);
            let told = outcome.drift.iter().map(|drift| format!("drift: {drift}"));
            report.warnings.extend(told);
            report.drift = outcome.drift;
            outcome.exit
        }
        Err(failure) => {
            report.errors.push(failure.sentence());
            failure.exit
        }
    };
    report.duration_ms = millis(started.elapsed());
    Ok((report, extracted.max(loaded)))
}

/// What the database says before the first hit.
#[derive(Default)]
pub(super) struct Before {
    /// Resources whose past the database does not have and staging cannot give any more: they are read in full.
    pub(super) must_be_full: BTreeMap<Name, String>,
    /// The highest run number that was loaded.
    pub(super) floor: u64,
}

async fn look_before(settings: &Settings, adopt: bool) -> Result<Before, Failure> {
    let config = &settings.config;
    let mut options = super::load::Choice::all(settings).options;
    options.look = Look::ToRun;
    let loader = super::load::open(settings, &options).await?;
    let loaded = loader.loaded().await?;
    let runs = settings.staging.runs()?;
    let judge = loader.judge(&runs).await?;
    let replaced = judge.prospect(&settings.side()?, adopt)?;
    let begins_anew = adopt && judge.begins_anew(&runs);
    loader.close().await?;
    let history = History::read(config, &runs)?;
    let floor = loaded.values().map(|loaded| loaded.seq).max().unwrap_or(0);
    // What another project has loaded is not ours.
    let known = |resource: &Name| loaded.get(resource).filter(|_| !begins_anew);
    let mut must_be_full = plan::must_be_full(config, &history, |resource| {
        let known = known(resource)?;
        Some(plan::LoadedReads {
            run_id: &known.run_id,
            seq: known.seq,
            full_seq: known.full_seq,
            gap_seq: known.gap_seq,
        })
    });
    for resource in &config.resources {
        let name = &resource.name;
        let full = history.last_complete_full(resource);
        // A complete full read that is still to be loaded takes the place of those rows.
        let is_staged =
            full.is_some_and(|full| known(name).is_none_or(|known| full.seq > known.seq));
        if replaced.contains(name) && !begins_anew && !is_staged {
            let reason = "the mirror was filled from another staging directory".to_owned();
            must_be_full.insert(name.clone(), reason);
        }
    }
    Ok(Before {
        must_be_full,
        floor,
    })
}
