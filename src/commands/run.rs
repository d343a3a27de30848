//! `cursus run`: extract, then load.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::cli::{ExtractArgs, Global};
use crate::exit::{Exit, Failure};
use crate::name::Name;
use crate::number::millis;
use crate::plan::{self, History};
use crate::report::{RunReport, tables_table};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &ExtractArgs,
) -> Result<Exit, Failure> {
    let (report, exit) = extract_and_load(global, settings, arguments).await?;
    if !global.json && !report.tables.is_empty() {
        super::print_table(&tables_table(&report.tables));
    }
    super::extract::finish(global, &report);
    Ok(exit)
}

/// Extracts, then loads all that waits.
pub(super) async fn extract_and_load(
    global: &Global,
    settings: &Settings,
    arguments: &ExtractArgs,
) -> Result<(RunReport, Exit), Failure> {
    let started = Instant::now();
    let mut report = RunReport::default();
    settings.credentials()?;
    // Before the first hit: a database that is not there, or does not fit, would make them all for nothing.
    let before = look_before(settings).await?;
    let extracted = super::extract::stage(global, settings, arguments, before, &mut report).await?;
    let mut sums = Vec::new();
    let loaded =
        super::load::pending_runs(settings, &super::load::Choice::all(settings), &mut sums).await;
    report.add_tables(&sums);
    let loaded = match loaded {
        Ok(outcome) => {
            report.errors.extend(outcome.errors);
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

async fn look_before(settings: &Settings) -> Result<Before, Failure> {
    let config = &settings.config;
    let options = super::load::Choice::all(settings).options;
    let loader = super::load::open(settings, &options).await?;
    let loaded = loader.loaded().await?;
    loader.close().await?;
    let runs = settings.staging.runs()?;
    let history = History::read(config, &runs)?;
    let floor = loaded.values().map(|loaded| loaded.seq).max().unwrap_or(0);
    let must_be_full = plan::must_be_full(config, &history, |resource| {
        let known = loaded.get(resource)?;
        Some(plan::Loaded {
            run_id: &known.run_id,
            seq: known.seq,
            full_seq: known.full_seq,
            gap_seq: known.gap_seq,
        })
    });
    Ok(Before {
        must_be_full,
        floor,
    })
}
