//! A run: opened or resumed, read, and closed.

use tracing::debug;

use crate::api;
use crate::error_chain::chain;
use crate::plan::EarlierReads;
use crate::staging::{
    Mode, Outcome, ResourceState, ResourceSummary, Run, RunSpec, RunState, Staging, StagingError,
    StagingLock,
};

use super::clock::ServerClock;
use super::error::ExtractError;
use super::extraction::Extraction;
use super::ids::StagedIds;
use super::resources::RunReader;

#[derive(Debug)]
pub(crate) struct Extracted {
    pub(crate) run: Run,
    pub(crate) failure: Option<ExtractError>,
    pub(crate) earlier_reads: EarlierReads,
}

/// Reads all resources into a new run and closes it. Dropping the future leaves the run open.
pub(crate) async fn extract(
    staging: &Staging,
    lock: &StagingLock,
    mut extraction: Extraction<'_>,
    spec: &RunSpec,
) -> Result<Extracted, StagingError> {
    let now = crate::clock::now();
    let resumed = if extraction.resume {
        staging.resume(lock, now, spec)?
    } else {
        None
    };
    let doing = if resumed.is_some() {
        "resuming"
    } else {
        "staging into"
    };
    let mut run = match resumed {
        Some(run) => run,
        None => staging.create_run(lock, now, extraction.floor, spec)?,
    };
    let clock = ServerClock::of(extraction.config, &run)?;
    extraction.runs.retain(|other| other.id() != run.id());
    debug!(run = %run.id(), "{doing} {}", run.directory().display());
    let earlier_reads = EarlierReads::read(extraction.config, &extraction.runs)?;
    let mut reader = RunReader {
        extraction: &extraction,
        earlier_reads: &earlier_reads,
        run: &run,
        lock,
        ids: StagedIds::default(),
        clock,
    };
    let (mut summaries, failure) = reader.all().await;
    // Threads may still write pages of abandoned reads: the run is closed after the last one.
    lock.wait_for_shares().await;
    extraction.progress.clear();
    summaries.sort_by_key(|summary| {
        extraction
            .resources
            .iter()
            .position(|resource| resource.name == summary.name)
    });
    let outcome = match &failure {
        Some(ExtractError::Api(error)) if error.is_used_up() => Outcome::Stopped,
        Some(_) => Outcome::Failed,
        None if summaries.iter().any(ResourceSummary::is_incomplete) => Outcome::Partial,
        None => Outcome::Complete,
    };
    let statistics = extraction.client.statistics();
    let error = failure.as_ref().map(|error| chain(error));
    run.update(|record| {
        record.state = RunState::Closed;
        record.outcome = Some(outcome);
        record.error = error;
        record.finished_at = Some(crate::clock::now());
        record.mode = mode_of(&summaries);
        record.hits += statistics.requests;
        record.resources = summaries;
        record.rate = rate(&statistics);
    })?;
    Ok(Extracted {
        run,
        failure,
        earlier_reads,
    })
}

/// Full if every resource that was due was read in full; `None` if nothing was read.
fn mode_of(summaries: &[ResourceSummary]) -> Option<Mode> {
    let is_read = |summary: &ResourceSummary| summary.mode.is_some() || !summary.reads.is_empty();
    if !summaries.iter().any(is_read) {
        return None;
    }
    let mut due = summaries
        .iter()
        .filter(|summary| summary.state != ResourceState::Skipped);
    let is_full = due.all(|summary| summary.mode == Some(Mode::Full));
    Some(if is_full { Mode::Full } else { Mode::Delta })
}

/// Rate-limit figures for `run.json` and the summary.
fn rate(statistics: &api::Statistics) -> serde_json::Map<String, serde_json::Value> {
    let rate = statistics.rate;
    let figures = [
        ("token_requests", Some(statistics.token_requests)),
        ("rejected_429", Some(statistics.rejected_429)),
        ("retries", Some(statistics.retries)),
        (
            "waited_ms",
            u64::try_from(statistics.waited.as_millis()).ok(),
        ),
        ("limit_per_second", rate.second_limit),
        ("limit_per_hour", rate.hour_limit),
        ("remaining_this_hour", rate.hour_remaining),
    ];
    figures
        .into_iter()
        .map(|(name, figure)| (name.to_owned(), figure.into()))
        .collect()
}
