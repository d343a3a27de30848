//! The first half of a run: the API into staging.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::check::DatabaseState;
use super::settle::refuse_undeclared;
use super::{RunOutcome, SHOWN_EVERY};
use crate::api::{self, Allowance, Waiting, WaitingFor};
use crate::cli::{ExtractArgs, ReadArgs};
use crate::config::Resource;
use crate::context::Activity;
use crate::error_chain::chain;
use crate::exit::{Exit, Failure, extract_exit};
use crate::extract::{self, Extracted, Extraction};
use crate::forecast::{self, ForecastInput};
use crate::name::Name;
use crate::plan;
use crate::progress::Progress;
use crate::report::{RunReport, span};
use crate::settings::Settings;
use crate::staging::{ResourceSummary, RunSpec, Selection};

/// How long before the client secret expires a warning is given.
pub(crate) const SECRET_WARNED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// What to do then.
pub(crate) const RENEW_SECRET: &str =
    "create a new one on the intranet and set CURSUS_CLIENT_SECRET";

/// Extracts into a new run, or resumes an interrupted one.
pub(super) async fn extract(
    settings: &Settings,
    arguments: &ExtractArgs,
    database: DatabaseState,
) -> Result<RunOutcome, Failure> {
    let config = &settings.config;
    let read = &arguments.read;
    let resources = plan::select(config, &read.select, &read.exclude)?;
    let client = settings.client(arguments.max_hits, !arguments.no_wait)?;
    let lock = settings.lock_staging().await?;
    // A damaged id is an error before the first request.
    settings.staging.identify(&lock)?;
    if !settings.staging.erasures()?.is_empty() {
        // What the API still sends of those who were erased is blank before it is staged, in the places that are known.
        refuse_undeclared(settings)?;
    }
    settings.context.begin(Activity::Extracting);
    let runs = settings.staging.runs()?;
    let progress = settings.context.progress();
    let spec = run_spec(settings, read, &resources);
    let options = read_options(read, database.must_be_full);
    let extraction = Extraction {
        config,
        client: client.clone(),
        resources,
        resume: !arguments.no_resume && options.window.is_none(),
        request: options.clone(),
        runs: runs.clone(),
        floor: database.floor,
        progress: &progress,
    };
    let mut news = database.news;
    let extracted = tokio::select! {
        extracted = extract::extract(&settings.staging, &lock, extraction, &spec) => extracted?,
        never = show(&client, &progress, &mut news) => match never {},
    };
    let Extracted {
        run,
        failure,
        earlier_reads,
    } = extracted;
    if failure.is_none() || client.statistics().requests > 0 {
        log_news(&mut news);
    }
    let mut report = RunReport::default();
    report.warnings.extend(secret_warning(&client).await);
    report.add_run(run.record(), client.statistics().rejected_429);
    if let Some(error) = failure {
        // The reason comes before what else it left incomplete.
        report.errors.insert(0, chain(&error));
        let exit = extract_exit(&error);
        return Ok(RunOutcome { report, exit });
    }
    let past = ForecastInput {
        config,
        runs: &runs,
        earlier_reads: &earlier_reads,
        request: &options,
        unfinished: None,
    };
    report.forecast = Some(forecast::outcome(&past, &run)?);
    let exit = if report.resources.iter().any(ResourceSummary::is_incomplete) {
        Exit::Incomplete
    } else {
        Exit::Done
    };
    Ok(RunOutcome { report, exit })
}

/// What a run records of what it was asked for.
pub(crate) fn run_spec(settings: &Settings, read: &ReadArgs, resources: &[&Resource]) -> RunSpec {
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
pub(crate) fn read_options(
    read: &ReadArgs,
    must_be_full: BTreeMap<Name, String>,
) -> plan::ReadOptions {
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

/// After this time a wait that continues is logged again.
const LOGGED_AGAIN: Duration = Duration::from_mins(1);

/// How often it is asked what the key may still send: other processes may use it too.
const ALLOWANCE_EVERY: Duration = Duration::from_secs(2);

/// Shows how far the reads are while they last, and a wait for the next hour or for the end of a throttling.
async fn show(
    client: &api::Client,
    progress: &Progress,
    news: &mut Vec<String>,
) -> std::convert::Infallible {
    let waiting = client.waiting();
    let mut tick = tokio::time::interval(SHOWN_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut logged: Option<(WaitingFor, Instant)> = None;
    let mut allowance: Option<(Instant, Option<Allowance>)> = None;
    loop {
        tick.tick().await;
        if client.statistics().requests > 0 {
            log_news(news);
        }
        let wait = *waiting.borrow();
        if let Some(wait) = &wait {
            let is_news = logged
                .is_none_or(|(reason, at)| reason != wait.reason || at.elapsed() >= LOGGED_AGAIN);
            if is_news {
                logged = Some((wait.reason, Instant::now()));
                tracing::info!("{}", announcement(wait));
            }
        }
        if (allowance.as_ref()).is_none_or(|(at, _)| at.elapsed() >= ALLOWANCE_EVERY) {
            allowance = Some((Instant::now(), client.allowance().await.ok()));
        }
        let allowance = allowance
            .as_ref()
            .and_then(|(_, allowance)| allowance.as_ref());
        progress.tick(wait.as_ref().map(shown).as_deref(), allowance);
    }
}

/// Logs what was done before the API let the run in.
fn log_news(news: &mut Vec<String>) {
    for sentence in news.drain(..) {
        tracing::info!("{sentence}");
    }
}

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
        WaitingFor::NextHour => format!("{}; resuming in {left}", reason(wait)),
        WaitingFor::Throttled => format!("{}, next probe in {left}", reason(wait)),
    }
}

fn reason(wait: &Waiting) -> String {
    match (wait.reason, wait.quiet_since) {
        (WaitingFor::NextHour, _) => "this hour's requests are used up".to_owned(),
        (WaitingFor::Throttled, None) => "throttled by the API (429)".to_owned(),
        (WaitingFor::Throttled, Some(since)) => {
            let quiet = crate::clock::now().duration_since(since);
            let quiet = span(quiet.max(SignedDuration::ZERO));
            format!("throttled by the API (429) for {quiet}")
        }
    }
}

/// The client secret expires without notice: the warning comes a week ahead.
async fn secret_warning(client: &api::Client) -> Option<String> {
    let until = client.known_token().await?.secret_valid_until?;
    if until.duration_since(crate::clock::now()) >= SECRET_WARNED {
        return None;
    }
    Some(format!(
        "the client secret expires at {until}; {RENEW_SECRET}"
    ))
}
