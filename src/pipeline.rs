//! The story of a mirror: check → extract → load → report. Commands call into it and print what it returns; nothing here
//! writes to stdout.

pub(crate) mod check;
pub(crate) mod connect;
pub(crate) mod export;
pub(crate) mod extract;
pub(crate) mod forget;
pub(crate) mod load;
mod pending;
mod selection;
pub(crate) mod settle;

use std::time::{Duration, Instant};

use crate::cli::{ExtractArgs, RunArgs};
use crate::convert::millis;
use crate::exit::{Exit, Failure};
use crate::report::RunReport;
use crate::settings::Settings;
use check::DatabaseState;
use load::LoadOutcome;
pub(crate) use selection::LoadSelection;

/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

pub(crate) struct RunOutcome {
    pub(crate) report: RunReport,
    pub(crate) exit: Exit,
}

/// Mirrors the API: reads what is new, loads what is not loaded yet.
pub(crate) async fn run(settings: &Settings, arguments: &RunArgs) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let database = check::check(settings, arguments.adopt).await?;
    let extracted = extract::extract(settings, &arguments.extract, database).await?;
    let loaded = load::load(settings, &LoadSelection::all(settings, arguments.adopt)).await;
    Ok(report(started, extracted, Some(loaded)))
}

/// Reads the API into staging, without a database.
pub(crate) async fn extract(
    settings: &Settings,
    arguments: &ExtractArgs,
) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let extracted = extract::extract(settings, arguments, DatabaseState::default()).await?;
    Ok(report(started, extracted, None))
}

/// Loads staged runs, without a network.
pub(crate) async fn load(
    settings: &Settings,
    selection: &LoadSelection,
) -> Result<LoadOutcome, Failure> {
    settings.announce(&selection.options.schema)?;
    settings.require_run()?;
    load::load(settings, selection).await
}

/// What both halves say, in one report. A load that failed does not hide what was extracted.
fn report(
    started: Instant,
    extracted: RunOutcome,
    loaded: Option<Result<LoadOutcome, Failure>>,
) -> RunOutcome {
    let RunOutcome {
        mut report,
        mut exit,
    } = extracted;
    match loaded {
        Some(Ok(loaded)) => {
            report.add_load(loaded.report);
            exit = exit.max(loaded.exit);
        }
        Some(Err(failure)) => {
            report.errors.push(failure.sentence());
            exit = exit.max(failure.exit);
        }
        None => {}
    }
    report.duration_ms = millis(started.elapsed());
    RunOutcome { report, exit }
}
