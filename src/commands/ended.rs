//! What became of the last run and of the last load, kept for `status`: also of a command that failed before it read
//! anything.

use jiff::Timestamp;
use tracing::debug;

use crate::chain::chain;
use crate::cli::{Cli, Command};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::report::RunReport;
use crate::settings::{Environment, Settings};
use crate::staging::{CommandRecord, Work};

/// How a command ended, with what it said.
pub(super) struct Ended {
    pub(super) exit: Exit,
    /// The run that it wrote, or the last that it loaded.
    pub(super) run_id: Option<String>,
    pub(super) errors: Vec<String>,
}

impl Ended {
    /// Of an extraction, with or without a load.
    pub(super) fn of(report: &RunReport, exit: Exit) -> Self {
        Self {
            exit,
            run_id: report.run_id.clone(),
            errors: report.errors.clone(),
        }
    }

    /// With a sentence.
    pub(super) fn failed(failure: &Failure) -> Self {
        Self {
            exit: failure.exit,
            run_id: None,
            errors: vec![failure.sentence()],
        }
    }

    /// Remembers it. That it cannot be remembered is no failure of the command: `status` then goes by the newest run.
    pub(super) fn record(&self, settings: &Settings, work: Work, started_at: Timestamp) {
        let staging = &settings.staging;
        // Who was refused because somebody else is at work says nothing of that work.
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
            debug!("how the command ended was not kept: {}", chain(&error));
        }
    }
}

/// Runs a command to its end and remembers how it ended.
pub(super) async fn recorded(
    settings: &Settings,
    work: Work,
    command: impl Future<Output = Result<Ended, Failure>>,
) -> Result<Exit, Failure> {
    let started_at = clock::now();
    let ended = command.await;
    match &ended {
        Ok(ended) => ended.record(settings, work, started_at),
        Err(failure) => Ended::failed(failure).record(settings, work, started_at),
    }
    ended.map(|ended| ended.exit)
}

/// Remembers how a command ended that cannot say so itself, because of a signal or a fault, and the run that it leaves.
pub(super) fn recorded_apart(
    cli: &Cli,
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
    if let Ok(settings) = Settings::resolve(&cli.global, cli.command.name(), environment) {
        let ended = Ended {
            exit,
            run_id: run_id.map(str::to_owned),
            errors: vec![sentence.to_owned()],
        };
        ended.record(&settings, work, started_at);
    }
}
