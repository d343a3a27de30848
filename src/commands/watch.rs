//! `cursus watch`: `run` at an interval, as a service.
//!
//! Rounds never overlap: there is one process and one round at a time, and a round that finds the lock held by another process
//! is skipped. Nothing outlives a round but the configuration and the pace: the client (whose budget of retries is a
//! round's) and the database sessions are new in each round. So whatever a new configuration changes (staging directory, database,
//! credentials), the next round works with it; only flags and the process's own variables need a restart.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::logging::ANSWER;
use super::record::{CommandOutcome, Notification};
use super::reload::{self, Configuration};
use super::service::Manager;
use super::stage::gc;
use crate::cli::{Global, RunArgs, WatchArgs};
use crate::context::Activity;
use crate::convert::millis;
use crate::database::hold_server;
use crate::exit::{Exit, Failure};
use crate::pipeline::{self, RunOutcome};
use crate::printable;
use crate::report::{ReportState, RunReport, counted, took};
use crate::settings::Settings;

const LONGEST_BACK_OFF: Duration = Duration::from_hours(1);
/// Less than the hour that is often the shortest period of a monitoring service.
const PINGED_EVERY: Duration = Duration::from_mins(55);
const WIDEST_JITTER: Duration = Duration::from_mins(1);

/// One round, for programs: the document of `run`, and what a service adds.
#[derive(Serialize)]
struct Round {
    #[serde(rename = "round")]
    number: u64,
    #[serde(flatten)]
    report: RunReport,
    removed_runs: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<Timestamp>,
    #[serde(skip)]
    started_at: Timestamp,
    #[serde(skip)]
    exit: Exit,
}

/// Runs the command, until a signal or the last round ends it. `reloads`: notified when the configuration is to be read again.
pub(super) async fn run(
    global: &Global,
    settings: Settings,
    arguments: &WatchArgs,
    reloads: &Notify,
) -> Result<Exit, Failure> {
    if let Err(failure) = reload::check(&settings, arguments) {
        CommandOutcome::failed(&failure).record(&settings, crate::clock::now());
        return Err(failure);
    }
    let manager = Manager::of_environment();
    let service = Service {
        global,
        arguments,
        configuration: Configuration::new(settings, global, arguments),
        manager: &manager,
        reloads,
    };
    // In one task: when a round hangs, the liveness notifications end.
    tokio::select! {
        worst = Box::pin(service.rounds()) => Ok(worst),
        never = manager.stay_alive() => match never {},
    }
}

struct Service<'a> {
    global: &'a Global,
    arguments: &'a WatchArgs,
    configuration: Configuration<'a>,
    manager: &'a Manager,
    reloads: &'a Notify,
}

impl Service<'_> {
    /// Gives the worst exit of all rounds.
    async fn rounds(mut self) -> Exit {
        let mut pace = Pace::new(self.arguments);
        let mut worst = Exit::Done;
        let mut last = String::new();
        let mut number = 0;
        let mut pings = Pings::default();
        self.manager.ready().await;
        loop {
            number += 1;
            let mut notes = Vec::new();
            // A renewed secret takes effect.
            if number > 1
                && let Err(faults) = self.configuration.read_again()
            {
                notes.push(format!(
                    "the changed configuration is not used, the round keeps the previous one: {faults}"
                ));
            }
            let now = crate::clock::now();
            let status = format!("round {number}: running since {now:.0}{last}");
            self.manager.status(&status).await;
            let settings = Arc::clone(&self.configuration.settings);
            settings.context.begin(Activity::Idle);
            let notification = pings.begin(&settings);
            let work = Box::pin(round(&settings, self.arguments));
            let under_way = "; the current round keeps the previous one";
            let (mut report, exit, removed_runs, text) = self.beside_reloads(under_way, work).await;
            report.warnings.splice(0..0, notes);
            worst = worst.max(exit);
            let is_last = (self.arguments.rounds).is_some_and(|rounds| number >= rounds);
            let begins = (!is_last).then(|| pace.next(exit, Instant::now()));
            settings.context.begin(Activity::Idle);
            let round = Round {
                number,
                report,
                removed_runs,
                next_at: begins.and_then(wall_clock),
                started_at: now,
                exit,
            };
            print(self.global, &round);
            pings.end(notification, &settings, exit, &text).await;
            // Not before: a signal that ends it quietly would take the notification of a failed round with it.
            if begins.is_some() {
                settings.context.begin(Activity::Waiting);
            }
            let text = [&[summary(&round)], &round.report.errors[..]].concat();
            self.manager.status(&text.join("; ")).await;
            last = format!("; round {number}: {}", round.report.state);
            let Some(begins) = begins else {
                return worst;
            };
            let pause = tokio::time::sleep_until(begins);
            self.beside_reloads("", pause).await;
        }
    }

    /// Awaits `work`, and reloads the configuration meanwhile on request. `note` is appended to the answer.
    async fn beside_reloads<T>(&mut self, note: &str, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.reloads.notified() => self.reload(note).await,
            }
        }
    }

    async fn reload(&mut self, note: &str) {
        self.manager.reloading().await;
        let text = match self.configuration.read_again() {
            Ok(changes) => {
                let text = format!("configuration reloaded: {changes}{note}");
                info!(target: ANSWER, "{text}");
                text
            }
            Err(faults) => {
                let text =
                    format!("configuration not reloaded, the previous one stays in use: {faults}");
                error!("{text}");
                text
            }
        };
        self.manager.reloaded(&text).await;
    }
}

/// A round, with its exit, the number of runs that were removed, and its summary for a notification.
async fn round(settings: &Settings, arguments: &WatchArgs) -> (RunReport, Exit, usize, String) {
    let started_at = crate::clock::now();
    let done = async {
        // To the end of the round, so that a private PostgreSQL starts once.
        let _server = hold_server(&settings.database).await?;
        all(settings, arguments).await
    };
    let (report, exit, removed) = done.await.unwrap_or_else(|failure: Failure| {
        let state = if failure.exit == Exit::Locked {
            ReportState::Skipped
        } else {
            ReportState::Failed
        };
        let report = RunReport {
            state,
            errors: vec![failure.sentence()],
            ..RunReport::default()
        };
        (report, failure.exit, 0)
    });
    let summary = CommandOutcome::of(&report, exit).record(settings, started_at);
    (report, exit, removed, summary)
}

/// Which rounds are notified of: the first, one an hour, and each that ends in another way than the one before. A round every few
/// minutes that does what it did before is no news.
#[derive(Default)]
struct Pings {
    last: Option<(Instant, Exit)>,
}

impl Pings {
    /// Notifies of the start of a round whose end is notified in any case.
    fn begin(&self, settings: &Settings) -> Option<Notification> {
        let is_due = self.last.is_none_or(|(at, _)| at.elapsed() >= PINGED_EVERY);
        is_due.then(|| Notification::start(settings))
    }

    async fn end(
        &mut self,
        started: Option<Notification>,
        settings: &Settings,
        exit: Exit,
        summary: &str,
    ) {
        let is_news = self.last.is_some_and(|(_, last)| last != exit);
        let notification = match started {
            Some(started) => started,
            None if is_news => Notification::without_start(settings),
            None => return,
        };
        self.last = Some((Instant::now(), exit));
        notification.end(exit, summary).await;
    }
}

async fn all(
    settings: &Settings,
    arguments: &WatchArgs,
) -> Result<(RunReport, Exit, usize), Failure> {
    let mut run = RunArgs::default();
    run.extract.read.select.clone_from(&arguments.select);
    run.extract.read.exclude.clone_from(&arguments.exclude);
    let RunOutcome { mut report, exit } = Box::pin(pipeline::run(settings, &run)).await?;
    // A round that has failed may have loaded most of what it read.
    let has_loaded = !report.tables.is_empty();
    let is_done = matches!(exit, Exit::Done | Exit::Incomplete | Exit::Refused);
    let mut removed = 0;
    if has_loaded || is_done {
        let choice = gc::GcSelection {
            keep: settings.config.staging.keep,
            dry_run: false,
        };
        match gc::collect_unneeded(settings, choice).await {
            Ok(collected) => removed = collected.removed.len(),
            // Another process holds the lock; the next round collects.
            Err(failure) if failure.exit == Exit::Locked => {}
            Err(failure) => report
                .warnings
                .push(format!("old runs were not removed: {}", failure.sentence())),
        }
    }
    Ok((report, exit, removed))
}

fn print(global: &Global, round: &Round) {
    let Round { report, .. } = round;
    for warning in &report.warnings {
        warn!(round = round.number, "{warning}");
    }
    for sentence in &report.errors {
        if report.state == ReportState::Skipped {
            info!(round = round.number, "skipped: {sentence}");
        } else {
            error!(round = round.number, "{sentence}");
        }
    }
    if global.json {
        // Also on a terminal a line each.
        match serde_json::to_string(round) {
            Ok(line) => {
                let line = super::finished(&line, round.started_at, round.exit);
                super::print_raw(&format!("{}\n", printable::line(&line)));
            }
            Err(error) => super::output::error(&format!("the result is not JSON: {error}")),
        }
        return;
    }
    super::print_line(&summary(round));
}

fn summary(round: &Round) -> String {
    let Round { report, .. } = round;
    let changed: u64 = (report.tables.iter())
        .map(|table| table.inserted + table.updated + table.deleted)
        .sum();
    let run = report.run_id.as_deref().unwrap_or("no run");
    let took = took(Duration::from_millis(report.duration_ms));
    let next = (round.next_at).map_or_else(String::new, |at| format!("; next at {at:.0}"));
    format!(
        "round {}: {run}, {}, {}, {} changed, {} removed, {took}{next}",
        round.number,
        report.state,
        counted(report.hits, "request"),
        counted(changed, "row"),
        counted(round.removed_runs as u64, "old run")
    )
}

fn wall_clock(at: Instant) -> Option<Timestamp> {
    let left = SignedDuration::try_from(at.duration_since(Instant::now())).ok()?;
    crate::clock::now().checked_add(left).ok()
}

struct Pace {
    every: Duration,
    jitter: Duration,
    /// When the present round was to begin, without its jitter.
    due: Instant,
    failures: u32,
}

impl Pace {
    fn new(arguments: &WatchArgs) -> Self {
        let every = arguments.every;
        Self {
            every,
            jitter: arguments
                .jitter
                .map_or_else(|| WIDEST_JITTER.min(every / 10), |jitter| jitter.min(every)),
            due: Instant::now(),
            failures: 0,
        }
    }

    /// When the next round begins after one with this exit.
    fn next(&mut self, exit: Exit, now: Instant) -> Instant {
        match exit {
            Exit::Failed | Exit::Usage => self.failures = self.failures.saturating_add(1),
            // Another process held the lock, which is no failure of the API.
            Exit::Locked => {}
            _ => self.failures = 0,
        }
        self.due = if self.failures == 0 {
            // A round that took longer than its time is followed at once, missed rounds are not repeated.
            now.max(self.due + self.every)
        } else {
            now + self.back_off()
        };
        let jitter = millis(self.jitter);
        self.due + Duration::from_millis(fastrand::u64(0..=jitter))
    }

    /// A wait that doubles with every failure, up to four times the usual one or an hour.
    fn back_off(&self) -> Duration {
        let longest = self.every.max(LONGEST_BACK_OFF.min(self.every * 4));
        (self.every * (1 << self.failures.min(2))).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn pace(every: Duration, jitter: Duration) -> (Pace, Instant) {
        let due = Instant::now();
        let pace = Pace {
            every,
            jitter,
            due,
            failures: 0,
        };
        (pace, due)
    }

    #[tokio::test]
    async fn rounds_keep_their_grid_however_long_they_take() {
        let (mut pace, start) = pace(15 * MINUTE, Duration::ZERO);
        let next = pace.next(Exit::Done, start + 4 * MINUTE);
        assert_eq!(next, start + 15 * MINUTE);
        // One that takes longer is followed at once, and not by all that it missed.
        let next = pace.next(Exit::Done, start + 50 * MINUTE);
        assert_eq!(next, start + 50 * MINUTE);
        let next = pace.next(Exit::Done, start + 51 * MINUTE);
        assert_eq!(next, start + 65 * MINUTE);
    }

    #[tokio::test]
    async fn failures_double_the_wait_up_to_an_hour_and_a_success_ends_it() {
        let (mut pace, start) = pace(15 * MINUTE, Duration::ZERO);
        let mut delays = Vec::new();
        for exit in [
            Exit::Failed,
            Exit::Failed,
            Exit::Locked,
            Exit::Failed,
            Exit::Incomplete,
            Exit::Failed,
        ] {
            delays.push((pace.next(exit, start) - start).as_secs() / 60);
        }
        assert_eq!(delays, [30, 60, 60, 60, 75, 30]);
        let (mut rare, start) = self::pace(120 * MINUTE, Duration::ZERO);
        rare.next(Exit::Failed, start);
        assert_eq!(rare.next(Exit::Failed, start) - start, 120 * MINUTE);
    }

    #[tokio::test]
    async fn jitter_only_delays_and_does_not_add_up() {
        let (mut pace, start) = pace(MINUTE, MINUTE / 10);
        for round in 1..=500 {
            let due = start + MINUTE * round;
            let next = pace.next(Exit::Done, due - MINUTE);
            assert!((due..=due + MINUTE / 10).contains(&next));
        }
    }
}
