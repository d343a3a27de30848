//! What a command leaves that a signal has stopped, and how to go on.

use std::sync::{Mutex, PoisonError};

use crate::cli::{Cli, Command};
use crate::database::Commit;
use crate::exit::Exit;
use crate::settings::{Environment, Settings};
use crate::staging::{Run, StagingError};

/// What is being done. Whoever is stopped has no time to ask the database.
static DOING: Mutex<Doing> = Mutex::new(Doing::Nothing);

#[derive(Clone)]
enum Doing {
    /// Nothing that could be left half done.
    Nothing,
    /// The staging directory is ours, and with it its open run.
    Extracting,
    /// A run is being loaded, after `done` of `all`.
    Loading {
        done: usize,
        all: usize,
        run: String,
    },
    /// The mirror is being made what was replayed.
    Rebuilding,
}

fn note(doing: Doing) {
    // It has a commit of its own.
    Commit::begin_anew();
    *DOING.lock().unwrap_or_else(PoisonError::into_inner) = doing;
}

/// Notes that the lock of the staging directory is held, to extract.
pub(super) fn extracting() {
    note(Doing::Extracting);
}

/// Notes that a run is being loaded, after `done` of `all`.
pub(super) fn loading(run: &Run, done: usize, all: usize) {
    note(Doing::Loading {
        done,
        all,
        run: run.id().to_string(),
    });
}

/// Notes that the mirror is being made what was replayed.
pub(super) fn rebuilding() {
    note(Doing::Rebuilding);
}

/// Notes that what was being done is done.
pub(super) fn done() {
    note(Doing::Nothing);
}

/// What is left, as a sentence, and the run that is.
pub(super) fn left(cli: &Cli, exit: Exit) -> (String, Option<String>) {
    let signal = match exit {
        Exit::Interrupted => "SIGINT",
        Exit::HungUp => "SIGHUP",
        _ => "SIGTERM",
    };
    let doing = (DOING.lock().unwrap_or_else(PoisonError::into_inner)).clone();
    let (left, run) = match (&cli.command, doing) {
        #[cfg(feature = "simulator")]
        (Command::Demo(_), _) => ("it is of no use half done; run it again".to_owned(), None),
        #[cfg(feature = "simulator")]
        (Command::Simulate(_), _) => ("nothing is kept".to_owned(), None),
        (Command::Replay(arguments), doing) if arguments.rebuild => {
            let left = match doing {
                Doing::Rebuilding => rebuilt(Commit::now()),
                _ => "the mirror is as it was; the same command begins anew",
            };
            (left.to_owned(), None)
        }
        (_, Doing::Extracting) => staged(cli),
        (command, Doing::Loading { done, all, run }) => {
            let again = match command {
                Command::Run(_) | Command::Watch(_) => "`cursus load`",
                _ => "the same command",
            };
            (loaded(Commit::now(), done, all, &run, again), Some(run))
        }
        (Command::Extract(_) | Command::Run(_) | Command::Watch(_), _) => (
            "no run is left unfinished; run the same command again".to_owned(),
            None,
        ),
        _ => (
            "nothing half done is left; run the same command again".to_owned(),
            None,
        ),
    };
    (format!("stopped by {signal}: {left}"), run)
}

/// What a load leaves.
fn loaded(commit: Commit, done: usize, all: usize, run: &str, again: &str) -> String {
    let waiting = |done| format!("{done} of {all} waiting runs are loaded");
    match commit {
        Commit::NotYet => format!(
            "{}, the load of {run} is rolled back; {again} goes on with it",
            waiting(done)
        ),
        Commit::UnderWay => format!(
            "{}; {run} was being committed: that is done or it is not, and the books in the database tell; {again} goes on from \
             there and does nothing twice",
            waiting(done)
        ),
        Commit::Done if done + 1 < all => {
            format!("{}; {again} goes on with the others", waiting(done + 1))
        }
        Commit::Done => format!("{}; nothing half done is left", waiting(done + 1)),
    }
}

/// What a rebuild leaves.
fn rebuilt(commit: Commit) -> &'static str {
    match commit {
        Commit::NotYet => "the mirror is as it was; the same command begins anew",
        Commit::UnderWay => {
            "the rebuilt mirror was being committed: that is done, or the mirror is as it was; the same command begins anew"
        }
        Commit::Done => "the mirror is rebuilt; nothing half done is left",
    }
}

/// What an extraction leaves.
fn staged(cli: &Cli) -> (String, Option<String>) {
    let settings = Settings::resolve(&cli.global, cli.command.name(), Environment::of_process());
    let newest = settings.map(|settings| settings.staging.runs().map(|mut runs| runs.pop()));
    match newest {
        Ok(Ok(Some(run))) if run.is_open() => {
            let (whole, pages) = count(&run).unwrap_or_default();
            let id = run.id().to_string();
            let left = format!(
                "the run {id} keeps {whole} whole resources and {pages} pages of others, requests in flight are given up; the same \
                 command goes on with it within 24 hours and asks for nothing twice"
            );
            (left, Some(id))
        }
        _ => (
            "no run is left unfinished; run the same command again".to_owned(),
            None,
        ),
    }
}

/// Final resources, and pages of those that are not.
fn count(run: &Run) -> Result<(usize, u64), StagingError> {
    let (mut whole, mut pages) = (0, 0);
    for resource in run.resources()? {
        if run.manifest(&resource)?.is_some() {
            whole += 1;
        } else {
            pages += run.pages_so_far(&resource)?;
        }
    }
    Ok((whole, pages))
}
