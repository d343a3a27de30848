//! `cursus run`: extract, then load.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::cli::{ExtractArgs, Global};
use crate::exit::{Exit, Failure};
use crate::load::{self, Loader};
use crate::name::Name;
use crate::plan::{self, History};
use crate::report::{RunReport, tables_table};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(global: &Global, settings: &Settings, arguments: &ExtractArgs) -> Result<Exit, Failure> {
    let (report, exit) = extract_and_load(global, settings, arguments).await?;
    if !global.json && !report.tables.is_empty() {
        super::print_line(&tables_table(&report.tables).to_string());
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
    // Before the first hit: a database that is not there, or does not fit, would make them all for nothing.
    let must_be_full = lacking(settings).await?;
    let extracted = super::extract::stage(global, settings, arguments, "run", must_be_full, &mut report).await?;
    let mut sums = Vec::new();
    let loaded = super::load::pending_runs(settings, &super::load::Choice::all(settings), &mut sums).await;
    report.add_tables(&sums);
    let loaded = match loaded {
        Ok(outcome) => {
            report.errors.extend(outcome.errors);
            outcome.exit
        }
        Err(failure) => {
            report.errors.push(crate::report::chain(failure.error.as_ref()));
            failure.exit
        }
    };
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok((report, extracted.max(loaded)))
}

/// Resources whose past the database does not have and staging cannot give any more: they are read in full.
async fn lacking(settings: &Settings) -> Result<BTreeMap<Name, String>, Failure> {
    let config = &settings.config;
    let loader = Loader::open(config, super::load::connect(settings, "cursus run").await?, super::load::Choice::all(settings).options).await?;
    let loaded = loader.loaded().await?;
    loader.into_database().close().await?;
    let runs = settings.staging.runs()?;
    let history = History::read(config, &runs)?;
    let pending = load::pending(config, &runs, &loaded)?;
    let mut lacking = BTreeMap::new();
    for resource in &config.resources {
        let hash = plan::request_hash(config, resource);
        let Some(full) = history.newest_full(&resource.name, &hash) else { continue };
        let known = loaded.get(&resource.name);
        let is_loaded = known.is_some_and(|known| known.full_seq.is_some_and(|seq| seq >= full.seq));
        let will_be = pending
            .iter()
            .any(|pending| pending.run.record().seq == full.seq && pending.resources.contains(&resource.name));
        if config.tables_of(&resource.name).next().is_some() && !is_loaded && !will_be {
            lacking.insert(
                resource.name.clone(),
                "the database lacks the last full read".to_owned(),
            );
        }
    }
    Ok(lacking)
}
