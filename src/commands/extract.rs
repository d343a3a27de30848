//! `cursus extract`, and the first half of `cursus run`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tracing::warn;

use super::ended::Ended;
use super::run::Before;
use crate::api::{self, Waiting, WaitingFor};
use crate::chain::chain;
use crate::cli::{ExtractArgs, Global, ReadArgs};
use crate::config::Resource;
use crate::exit::{Exit, Failure, extract_exit};
use crate::extract::{Extracted, Extraction, extract};
use crate::forecast::{self, ForecastInput};
use crate::name::Name;
use crate::number::millis;
use crate::plan;
use crate::progress::{Progress, Show};
use crate::report::{RunReport, grouped, resources_table, span};
use crate::settings::Settings;
use crate::staging::{ResourceSummary, RunSpec, Selection};

/// So long before its end the client secret is warned of.
pub(super) const SECRET_WARNED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// What to do then.
pub(super) const RENEW_SECRET: &str =
    "make a new one on the intranet and put it into CURSUS_CLIENT_SECRET";

/// Runs the command.
pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &ExtractArgs,
) -> Result<Ended, Failure> {
    let started = Instant::now();
    let mut report = RunReport::default();
    let exit = stage(global, settings, arguments, Before::default(), &mut report).await?;
    report.duration_ms = millis(started.elapsed());
    finish(global, &report);
    Ok(Ended::of(&report, exit))
}

/// Extracts into a new run and fills the report.
pub(super) async fn stage(
    global: &Global,
    settings: &Settings,
    arguments: &ExtractArgs,
    before: Before,
    report: &mut RunReport,
) -> Result<Exit, Failure> {
    let config = &settings.config;
    let read = &arguments.read;
    let resources = plan::select(config, &read.select, &read.exclude)?;
    let client = settings.client(arguments.max_hits, !arguments.no_wait)?;
    let lock = settings.lock_staging().await?;
    // A damaged one is told before the first request.
    settings.staging.identify(&lock)?;
    super::stopped::extracting();
    let runs = settings.staging.runs()?;
    let progress = Progress::new(if global.quiet || global.json {
        Show::Lines
    } else {
        Show::Auto
    });
    let asked = asked(settings, read, &resources);
    let request = request(read, before.must_be_full);
    let extraction = Extraction {
        config,
        client: client.clone(),
        resources,
        resume: !arguments.no_resume && request.window.is_none(),
        request: request.clone(),
        runs: runs.clone(),
        floor: before.floor,
        progress: &progress,
    };
    let countdown = countdown(&client, &progress);
    let extracted = tokio::select! {
        extracted = extract(&settings.staging, &lock, extraction, &asked) => extracted?,
        never = countdown => match never {},
    };
    let Extracted {
        run,
        stopped,
        history,
    } = extracted;
    warn_of_secret(&client, report).await;
    report.add_run(run.record(), client.statistics().rejected_429);
    if stopped.is_none() {
        let past = ForecastInput {
            config,
            runs: &runs,
            history: &history,
            request: &request,
            unfinished: None,
        };
        report.forecast = Some(forecast::outcome(&past, &run)?);
    }
    if let Some(error) = stopped {
        // The reason comes before what else it left incomplete.
        report.errors.insert(0, chain(&error));
        return Ok(extract_exit(&error));
    }
    Ok(
        if report.resources.iter().any(ResourceSummary::is_incomplete) {
            Exit::Incomplete
        } else {
            Exit::Done
        },
    )
}

/// What a run remembers to have been asked for.
pub(super) fn asked(settings: &Settings, read: &ReadArgs, resources: &[&Resource]) -> RunSpec {
    let hash = |resource: &&Resource| {
        let hash = plan::request_hash(&settings.config, resource);
        (resource.name.clone(), hash)
    };
    RunSpec {
        selection: selection(read),
        server: settings.api_url.origin(),
        scope: settings.config.scope.clone(),
        request_hashes: resources.iter().map(hash).collect(),
    }
}

fn selection(read: &ReadArgs) -> Selection {
    let names = |names: &[String]| {
        names
            .iter()
            .filter_map(|name| Name::parse(name).ok())
            .collect()
    };
    Selection {
        select: names(&read.select),
        exclude: names(&read.exclude),
        full: read.full,
    }
}

/// What the flags ask for.
pub(super) fn request(read: &ReadArgs, must_be_full: BTreeMap<Name, String>) -> plan::ReadOptions {
    plan::ReadOptions {
        full: read.full,
        force: read.force,
        window: match (read.since, read.window) {
            (Some(since), _) => Some((since, None)),
            (None, Some((start, end))) => Some((start, Some(end))),
            (None, None) => None,
        },
        must_be_full,
    }
}

/// So long a wait that goes on is not logged again.
const LOGGED_AGAIN: Duration = Duration::from_mins(1);

/// Shows a wait for the next hour, or for the end of a throttling, while it lasts.
async fn countdown(client: &api::Client, progress: &Progress) -> std::convert::Infallible {
    let mut waiting = client.waiting();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut logged: Option<(WaitingFor, Instant)> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            changed = waiting.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
                if let Some(wait) = waiting.borrow().as_ref() {
                    let is_news = logged.is_none_or(|(reason, at)| {
                        reason != wait.reason || at.elapsed() >= LOGGED_AGAIN
                    });
                    if is_news {
                        logged = Some((wait.reason, Instant::now()));
                        tracing::info!("{}", announcement(wait));
                    }
                }
            }
        }
        let wait = waiting.borrow().as_ref().map(shown);
        progress.waiting(wait);
    }
}

/// A wait as a log line.
fn announcement(wait: &Waiting) -> String {
    match wait.reason {
        WaitingFor::NextHour => format!("{}, until {}", reason(wait), wait.until),
        WaitingFor::Throttled => shown(wait),
    }
}

/// A wait as a line that counts down.
fn shown(wait: &Waiting) -> String {
    let left = span(
        wait.until
            .duration_since(crate::clock::now())
            .max(SignedDuration::ZERO),
    );
    match wait.reason {
        WaitingFor::NextHour => format!("{}; going on in {left}", reason(wait)),
        WaitingFor::Throttled => format!("{}, next probe in {left}", reason(wait)),
    }
}

fn reason(wait: &Waiting) -> String {
    match (wait.reason, wait.quiet_since) {
        (WaitingFor::NextHour, _) => "the hits of this hour are used up".to_owned(),
        (WaitingFor::Throttled, None) => "throttled by the API (429)".to_owned(),
        (WaitingFor::Throttled, Some(since)) => {
            let quiet = crate::clock::now().duration_since(since);
            let quiet = span(quiet.max(SignedDuration::ZERO));
            format!("throttled by the API (429) for {quiet}")
        }
    }
}

/// The client secret of the API ends without notice: say so a week ahead.
async fn warn_of_secret(client: &crate::api::Client, report: &mut RunReport) {
    let token = client.known_token().await;
    let Some(until) = token.and_then(|token| token.secret_valid_until) else {
        return;
    };
    if until.duration_since(crate::clock::now()) < SECRET_WARNED {
        let sentence = format!("the client secret ends at {until}; {RENEW_SECRET}");
        warn!("{sentence}");
        report.warnings.push(sentence);
    }
}

/// Prints the report.
pub(super) fn finish(global: &Global, report: &RunReport) {
    if global.json {
        super::print_json(report);
    } else if let Some(run) = &report.run_id {
        super::print_table(&resources_table(&report.resources));
        let duration = Duration::from_millis(report.duration_ms);
        let forecast = report.forecast.map_or_else(String::new, |forecast| {
            format!(
                " (forecast {}, {:.1} % off)",
                grouped(forecast.hits),
                forecast.error_percent.abs()
            )
        });
        super::print_line(&format!(
            "run {run}: {}, {} hits{forecast}, {} rejected by the API, {}",
            report.state,
            report.hits,
            report.rejected_429,
            humantime::format_duration(duration)
        ));
    }
    for warning in &report.warnings {
        super::eprint_line(&format!("warning: {warning}"));
    }
    for error in &report.errors {
        super::eprint_error(error);
    }
}
