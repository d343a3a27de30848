//! The sentence of a command that a signal has interrupted: what is kept, and how to continue.

use crate::cli::{Cli, Command};
use crate::context::{Activity, Context};
use crate::database::Commit;
use crate::exit::Exit;
use crate::report::counted;
use crate::settings::{Environment, Settings};
use crate::staging::{Run, StagingError};

/// What is kept, as a sentence, and the run that it is about.
pub(super) fn describe(cli: &Cli, context: &Context, exit: Exit) -> (String, Option<String>) {
    let signal = match exit {
        Exit::Interrupted => "SIGINT",
        Exit::HungUp => "SIGHUP",
        _ => "SIGTERM",
    };
    let (left, run) = match (&cli.command, context.activity()) {
        #[cfg(feature = "simulator")]
        (Command::Demo(_), _) => (
            "a half-finished demo is of no use; run it again".to_owned(),
            None,
        ),
        (Command::Replay(arguments), activity) if arguments.rebuild => {
            let left = match activity {
                Activity::Rebuilding => of_rebuild(context.sessions().commit()),
                _ => "the mirror is as it was; the same command starts again",
            };
            (left.to_owned(), None)
        }
        (_, Activity::Extracting) => of_extraction(cli, context),
        (command, Activity::Loading { done, all, run }) => {
            let again = match command {
                Command::Run(_) | Command::Watch(_) => "`cursus load`",
                _ => "the same command",
            };
            (
                of_load(context.sessions().commit(), done, all, &run, again),
                Some(run),
            )
        }
        (Command::Extract(_) | Command::Run(_) | Command::Watch(_), _) => (
            "no run is left open; run the same command again".to_owned(),
            None,
        ),
        _ => (
            "nothing half done is left; run the same command again".to_owned(),
            None,
        ),
    };
    (format!("interrupted by {signal}: {left}"), run)
}

fn of_load(commit: Commit, done: usize, all: usize, run: &str, again: &str) -> String {
    let pending = |done: usize| format!("{done} of {} loaded", counted(all as u64, "pending run"));
    match commit {
        Commit::NotYet => format!(
            "{}, the load of {run} is rolled back; {again} starts with it",
            pending(done)
        ),
        Commit::UnderWay => format!(
            "{}; {run} was being committed: the load ledger says whether it was, and {again} continues from \
             there and loads nothing twice",
            pending(done)
        ),
        Commit::Done if done + 1 < all => {
            format!("{}; {again} loads the others", pending(done + 1))
        }
        Commit::Done => format!("{}; nothing half done is left", pending(done + 1)),
    }
}

fn of_rebuild(commit: Commit) -> &'static str {
    match commit {
        Commit::NotYet => "the mirror is as it was; the same command starts again",
        Commit::UnderWay => {
            "the rebuilt mirror was being committed: that is done, or the mirror is as it was; the same command starts again"
        }
        Commit::Done => {
            "the mirror is rebuilt; a schema that the rebuild made may be left, which the next one drops"
        }
    }
}

fn of_extraction(cli: &Cli, context: &Context) -> (String, Option<String>) {
    let settings = Settings::resolve(
        &cli.global,
        cli.command.name(),
        Environment::of_process(),
        context,
    );
    let newest = settings.map(|settings| settings.staging.runs().map(|mut runs| runs.pop()));
    match newest {
        Ok(Ok(Some(run))) if run.is_open() => {
            let (finished, pages) = count(&run).unwrap_or_default();
            let id = run.id().to_string();
            let left = format!(
                "the run {id} keeps {} and {} of others, requests in flight are dropped; the same command resumes it \
                 within 24 hours and repeats no request",
                counted(finished, "finished resource"),
                counted(pages, "page")
            );
            (left, Some(id))
        }
        _ => (
            "no run is left open; run the same command again".to_owned(),
            None,
        ),
    }
}

/// Final resources, and pages of those that are not.
fn count(run: &Run) -> Result<(u64, u64), StagingError> {
    let (mut finished, mut pages) = (0, 0);
    for resource in run.resources()? {
        if run.manifest(&resource)?.is_some() {
            finished += 1;
        } else {
            pages += run.pages_so_far(&resource)?;
        }
    }
    Ok((finished, pages))
}
