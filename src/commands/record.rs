//! Records the outcome of the last run and the last load for `status`, even if the command failed before it read anything.

use jiff::Timestamp;
use tracing::debug;

use crate::cli::{Cli, Command};
use crate::clock;
use crate::context::Context;
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::pipeline::RunOutcome;
use crate::pipeline::load::LoadOutcome;
use crate::report::RunReport;
use crate::settings::{Environment, Settings};
use crate::staging::{CommandRecord, Work};

/// The outcome of a command, with its errors.
pub(super) struct CommandOutcome {
    pub(super) exit: Exit,
    /// The run that it wrote, or the last that it loaded.
    pub(super) run_id: Option<String>,
    pub(super) errors: Vec<String>,
}

impl CommandOutcome {
    pub(super) fn of(report: &RunReport, exit: Exit) -> Self {
        Self {
            exit,
            run_id: report.run_id.clone(),
            errors: report.errors.clone(),
        }
    }

    pub(super) fn failed(failure: &Failure) -> Self {
        Self {
            exit: failure.exit,
            run_id: None,
            errors: vec![failure.sentence()],
        }
    }

    /// Records it. If that fails, the command does not: `status` then shows the newest run.
    pub(super) fn record(&self, settings: &Settings, work: Work, started_at: Timestamp) {
        let staging = &settings.staging;
        // A command that found the lock held has nothing to record about the lock holder's run.
        if self.exit == Exit::Locked && staging.is_being_written().unwrap_or(true) {
            return;
        }
        let record = CommandRecord {
            run_id: self.run_id.clone(),
            outcome: self.exit.outcome().to_owned(),
            exit_code: self.exit.code(),
            error: (!self.errors.is_empty()).then(|| self.errors.join("; ")),
            ..CommandRecord::ending_now(settings.command, started_at)
        };
        if let Err(error) = staging.record_command(work, &record) {
            debug!(
                "the outcome of the command was not recorded: {}",
                chain(&error)
            );
        }
    }
}

impl From<RunOutcome> for CommandOutcome {
    fn from(outcome: RunOutcome) -> Self {
        Self {
            exit: outcome.exit,
            run_id: outcome.report.run_id,
            errors: outcome.report.errors,
        }
    }
}

impl From<LoadOutcome> for CommandOutcome {
    fn from(outcome: LoadOutcome) -> Self {
        Self {
            exit: outcome.exit,
            run_id: outcome.report.runs.last().cloned(),
            errors: outcome.report.errors,
        }
    }
}

/// Runs a command and records its outcome.
pub(super) async fn run_recorded(
    settings: &Settings,
    work: Work,
    command: impl Future<Output = Result<CommandOutcome, Failure>>,
) -> Result<Exit, Failure> {
    let started_at = clock::now();
    let result = command.await;
    match &result {
        Ok(outcome) => outcome.record(settings, work, started_at),
        Err(failure) => CommandOutcome::failed(failure).record(settings, work, started_at),
    }
    result.map(|outcome| outcome.exit)
}

/// Records the outcome of a command that was cut short by a signal or a panic, with its open run.
pub(super) fn record_abort(
    cli: &Cli,
    context: &Context,
    started_at: Timestamp,
    exit: Exit,
    sentence: &str,
    run_id: Option<&str>,
) {
    let work = match &cli.command {
        Command::Extract(_) | Command::Run(_) => Work::Run,
        // Between two rounds there is nothing that a signal could interrupt.
        Command::Watch(_) if run_id.is_some() || exit < Exit::Interrupted => Work::Run,
        Command::Load(_) => Work::Load,
        _ => return,
    };
    let environment = Environment::of_process();
    let settings = Settings::resolve(&cli.global, cli.command.name(), environment, context);
    if let Ok(settings) = settings {
        let outcome = CommandOutcome {
            exit,
            run_id: run_id.map(str::to_owned),
            errors: vec![sentence.to_owned()],
        };
        outcome.record(&settings, work, started_at);
    }
}
