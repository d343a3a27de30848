//! What a command leaves that a signal has stopped, and how to go on.

use std::sync::{Mutex, PoisonError};

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::settings::{Environment, Settings};
use crate::staging::{Run, StagingError};

/// How far a load is. Whoever is stopped has no time to ask the database.
static LOADING: Mutex<Option<Loading>> = Mutex::new(None);

/// A load on its way through runs.
#[derive(Clone)]
struct Loading {
    done: usize,
    all: usize,
    run: String,
}

/// Notes that a run is being loaded, after `done` of `all`.
pub(super) fn loading(run: &Run, done: usize, all: usize) {
    *LOADING.lock().unwrap_or_else(PoisonError::into_inner) = Some(Loading {
        done,
        all,
        run: run.id().to_string(),
    });
}

/// Notes that all of them are loaded.
pub(super) fn loaded() {
    *LOADING.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// What is left, as a sentence, and the run that is.
pub(super) fn left(cli: &Cli, exit: Exit) -> (String, Option<String>) {
    let signal = match exit {
        Exit::Interrupted => "SIGINT",
        _ => "SIGTERM",
    };
    let load = LOADING
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let (left, run) = match (&cli.command, load) {
        (Command::Extract(_) | Command::Run(_) | Command::Watch(_), None) => staged(cli),
        (Command::Replay(arguments), _) if arguments.rebuild => {
            let left = "the mirror is as it was; the same command begins anew".to_owned();
            (left, None)
        }
        (Command::Demo(_), _) => ("it is of no use half done; run it again".to_owned(), None),
        (Command::Simulate(_), _) => ("nothing is kept".to_owned(), None),
        (command, Some(Loading { done, all, run })) => {
            let on = match command {
                Command::Run(_) | Command::Watch(_) => "`cursus load`",
                _ => "the same command",
            };
            let left = format!(
                "{done} of {all} waiting runs are loaded, the load of {run} is rolled back; {on} goes on with it"
            );
            (left, Some(run))
        }
        _ => (
            "nothing half done is left; run the same command again".to_owned(),
            None,
        ),
    };
    (format!("stopped by {signal}: {left}"), run)
}

/// What an extraction leaves.
fn staged(cli: &Cli) -> (String, Option<String>) {
    let settings = Settings::resolve(&cli.global, cli.command.name(), Environment::of_process());
    let staging = settings.map(|settings| settings.staging);
    match staging.map(|staging| staging.find("latest")) {
        Ok(Ok(run)) if run.is_open() => {
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
