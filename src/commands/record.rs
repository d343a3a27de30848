//! Records and notifies of the outcome of commands, even if a command failed before it read anything.

use std::time::Duration;

use jiff::Timestamp;
use tracing::debug;

use crate::cli::{Cli, Command};
use crate::clock;
use crate::context::Context;
use crate::convert::span;
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::load::TableCounts;
use crate::notify::{Notifier, Started};
use crate::pipeline::RunOutcome;
use crate::pipeline::load::LoadOutcome;
use crate::report::{RunReport, counted};
use crate::settings::{Environment, Settings};
use crate::staging::CommandRecord;

pub(super) struct CommandOutcome {
    pub(super) exit: Exit,
    /// The run that it wrote, or the last that it loaded.
    pub(super) run_id: Option<String>,
    pub(super) errors: Vec<String>,
    rows_staged: u64,
    rows_changed: u64,
}

impl CommandOutcome {
    pub(super) fn of(report: &RunReport, exit: Exit) -> Self {
        Self {
            exit,
            run_id: report.run_id.clone(),
            errors: report.errors.clone(),
            rows_staged: report.resources.iter().map(|resource| resource.rows).sum(),
            rows_changed: changed(&report.tables),
        }
    }

    pub(super) fn failed(failure: &Failure) -> Self {
        Self::ended(failure.exit, vec![failure.sentence()], None)
    }

    fn ended(exit: Exit, errors: Vec<String>, run_id: Option<String>) -> Self {
        Self {
            exit,
            run_id,
            errors,
            rows_staged: 0,
            rows_changed: 0,
        }
    }

    /// Records it, and gives its summary. If that fails, the command does not: `status` then shows the newest run.
    pub(super) fn record(&self, settings: &Settings, started_at: Timestamp) -> String {
        let staging = &settings.staging;
        let record = CommandRecord {
            run_id: self.run_id.clone(),
            outcome: self.exit.outcome().to_owned(),
            exit_code: self.exit.code(),
            error: (!self.errors.is_empty()).then(|| self.errors.join("; ")),
            requests: settings.context.answers().take(),
            rows_staged: self.rows_staged,
            rows_changed: self.rows_changed,
            ..CommandRecord::ending_now(settings.command, started_at)
        };
        let summary = self.summary(&record);
        // A command that found the lock held has nothing to record about the lock holder's run.
        if self.exit == Exit::Locked && staging.is_being_written().unwrap_or(true) {
            return summary;
        }
        if let Err(error) = staging.record_command(record) {
            debug!(
                "the outcome of the command was not recorded: {}",
                chain(&error)
            );
        }
        summary
    }

    /// For a notification: figures, and the errors, in which there is no personal value.
    fn summary(&self, record: &CommandRecord) -> String {
        let took = record.finished_at.duration_since(record.started_at);
        let mut lines = vec![
            format!(
                "cursus {}: {} (exit code {})",
                record.command, record.outcome, record.exit_code
            ),
            format!(
                "{}, {} staged, {} changed, {}",
                counted(record.requests.values().sum(), "request"),
                counted(record.rows_staged, "row"),
                counted(record.rows_changed, "row"),
                span(took)
            ),
        ];
        lines.extend(record.run_id.iter().map(|run| format!("run {run}")));
        lines.extend(self.errors.iter().map(|error| format!("error: {error}")));
        lines.join("\n") + "\n"
    }
}

fn changed(tables: &[TableCounts]) -> u64 {
    tables.iter().map(TableCounts::changed).sum()
}

impl From<RunOutcome> for CommandOutcome {
    fn from(outcome: RunOutcome) -> Self {
        Self::of(&outcome.report, outcome.exit)
    }
}

impl From<LoadOutcome> for CommandOutcome {
    fn from(outcome: LoadOutcome) -> Self {
        let LoadOutcome { exit, report, .. } = outcome;
        let kept = if report.dry_run {
            &[][..]
        } else {
            &report.tables
        };
        Self {
            rows_changed: changed(kept),
            ..Self::ended(exit, report.errors, report.runs.last().cloned())
        }
    }
}

/// Runs a command that extracts or loads, records its outcome and notifies of it.
pub(super) async fn run_recorded(
    settings: &Settings,
    command: impl Future<Output = Result<CommandOutcome, Failure>>,
) -> Result<Exit, Failure> {
    let started_at = clock::now();
    let notification = Notification::start(settings);
    let result = command.await;
    let (exit, summary) = match &result {
        Ok(outcome) => (outcome.exit, outcome.record(settings, started_at)),
        Err(failure) => {
            let outcome = CommandOutcome::failed(failure);
            (outcome.exit, outcome.record(settings, started_at))
        }
    };
    notification.end(exit, &summary).await;
    result.map(|outcome| outcome.exit)
}

/// Runs a command of another kind, and records its outcome: of one that changes the mirror in any case, else if it made
/// requests.
pub(super) async fn run_other(
    settings: &Settings,
    changes: bool,
    command: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let started_at = clock::now();
    let result = command.await;
    if changes || settings.context.answers().has_any() {
        let outcome = match &result {
            Ok(exit) => CommandOutcome::ended(*exit, Vec::new(), None),
            Err(failure) => CommandOutcome::failed(failure),
        };
        outcome.record(settings, started_at);
    }
    result
}

pub(super) struct Notification(Option<(Notifier, Started)>);

impl Notification {
    pub(super) fn start(settings: &Settings) -> Self {
        Self(settings.notifier().map(|notifier| {
            let started = notifier.start();
            (notifier, started)
        }))
    }

    /// Without a ping of the start.
    pub(super) fn without_start(settings: &Settings) -> Self {
        Self((settings.notifier()).map(|notifier| (notifier, Started::not())))
    }

    pub(super) async fn end(self, exit: Exit, summary: &str) {
        if let Some((notifier, started)) = self.0 {
            notifier.end(started, exit, summary).await;
        }
    }
}

/// A command that was cut short, to be notified of.
pub(super) struct Abort {
    notification: Notification,
    exit: Exit,
    summary: String,
}

impl Abort {
    /// Notifies of it, as far as the time goes.
    pub(super) async fn notify(self, patience: Duration) {
        let end = self.notification.end(self.exit, &self.summary);
        if tokio::time::timeout(patience, end).await.is_err() {
            debug!("not notified of the end: the time was too short");
        }
    }
}

/// Records the outcome of a command that was cut short by a signal or a panic, with its open run.
pub(super) fn record_abort(
    cli: &Cli,
    context: &Context,
    started_at: Timestamp,
    exit: Exit,
    sentence: &str,
    run_id: Option<&str>,
) -> Option<Abort> {
    match &cli.command {
        Command::Extract(_) | Command::Run(_) | Command::Load(_) => {}
        // Between two rounds there is nothing that a signal could interrupt.
        Command::Watch(_) if run_id.is_some() || exit < Exit::Interrupted => {}
        _ if context.answers().has_any() => {}
        _ => return None,
    }
    let is_notified = matches!(
        cli.command,
        Command::Extract(_) | Command::Run(_) | Command::Load(_) | Command::Watch(_)
    );
    let environment = Environment::of_process();
    let settings = Settings::resolve(&cli.global, cli.command.name(), environment, context).ok()?;
    let outcome = CommandOutcome::ended(exit, vec![sentence.to_owned()], run_id.map(str::to_owned));
    let summary = outcome.record(&settings, started_at);
    is_notified.then(|| Abort {
        notification: Notification::without_start(&settings),
        exit,
        summary,
    })
}
