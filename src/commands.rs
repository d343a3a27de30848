//! The commands: each resolves what it needs, runs, and says how it ended. Only here is stdout written.

mod completions;
#[cfg(feature = "simulator")]
mod demo;
mod diff;
mod doctor;
mod ended;
mod explain;
mod extract;
mod init;
mod load;
mod logging;
mod migrate;
mod plan;
mod prune;
mod quarantine;
mod reload;
mod replay;
mod run;
mod service;
mod signals;
#[cfg(feature = "simulator")]
mod simulate;
mod sql;
mod stage;
mod status;
mod stopped;
mod token;
mod watch;

use std::io::{IsTerminal, Write};
use std::panic::Location;
use std::time::Duration;

use clap::Parser as _;
use serde::Serialize;
use tokio::sync::Notify;

use crate::cli::{Cli, Command};
use crate::clock;
use crate::database;
use crate::exit::{Exit, Failure};
use crate::name::Name;
use crate::printable;
use crate::report::{LoadReport, ReportState, RunReport};
use crate::settings::{Environment, Settings};
use crate::staging::Work;
use signals::{Listener, Signals};

/// After a signal, so long may the database take to let go, and a page to be written.
const LETTING_GO: Duration = Duration::from_millis(900);
/// Of a command line of which nothing may be said.
const NOT_UNDERSTOOD: &str = "the command line is not understood; see `cursus help`";

/// Runs a command line to its end.
pub fn main(cli: &Cli) -> Exit {
    let listener = match &cli.command {
        Command::Sql(arguments) if arguments.query.is_none() => Listener::Psql,
        Command::Watch(_) => Listener::Service,
        _ => Listener::Plain,
    };
    let begun = logging::start(&cli.global).and_then(|()| {
        let signals = signals::watch(listener)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            // A name is looked up for each connection: not on hundreds of threads.
            .max_blocking_threads(32)
            .enable_all()
            .build()?;
        Ok((signals, runtime))
    });
    let (Signals { end, reloads }, runtime) = match begun {
        Ok(begun) => begun,
        Err(failure) => {
            say_error(cli, &failure, None);
            return failure.exit;
        }
    };
    let started_at = clock::now();
    let exit = runtime.block_on(async {
        let ended = tokio::select! {
            done = Box::pin(run(cli, &reloads)) => Ok(done),
            Ok(exit) = end => Err(exit),
        };
        match ended {
            Ok(Ok(exit)) => exit,
            Ok(Err(failure)) => {
                say_error(cli, &failure, None);
                failure.exit
            }
            Err(exit) => {
                let (left, run) = stopped::left(cli, exit);
                ended::recorded_apart(cli, started_at, exit, &left, run.as_deref());
                say_error(cli, &Failure::new(exit, left), run);
                // Nobody waits any more for the statements that still run.
                database::cancel_all(LETTING_GO).await;
                exit
            }
        }
    });
    // Blocking work that is under way (a page being written) ends first; nothing new begins.
    runtime.shutdown_timeout(LETTING_GO);
    exit
}

/// Tells of a fault in the program itself: where, and nothing else. What a panic says can hold what a record says.
pub fn tell_fault(location: Option<&Location<'_>>) {
    let place = location.map_or_else(String::new, |place| {
        format!(" at {}:{}:{}", place.file(), place.line(), place.column())
    });
    eprint_line(&format!(
        "error: a fault in cursus{place}; what is staged and committed is kept; please report this line"
    ));
}

/// The document of a command that a fault has ended; the fault itself is told.
pub fn tell_end_by_fault(cli: &Cli) {
    let sentence = "a fault in cursus, told on stderr; what is staged and committed is kept";
    ended::recorded_apart(cli, clock::now(), Exit::Failed, sentence, None);
    print_error(cli, Exit::Failed, sentence, None);
}

async fn run(cli: &Cli, reloads: &Notify) -> Result<Exit, Failure> {
    refuse_credentials(cli)?;
    let global = &cli.global;
    let settings = || Settings::resolve(global, cli.command.name(), Environment::of_process());
    match &cli.command {
        Command::Completions { shell } => Ok(completions::run(*shell)),
        #[cfg(feature = "simulator")]
        Command::Simulate(arguments) => simulate::run(global, arguments).await,
        #[cfg(feature = "simulator")]
        Command::Demo(arguments) => Box::pin(demo::run(global, arguments)).await,
        Command::Init(arguments) => init::run(global, arguments),
        Command::Extract(arguments) => {
            let settings = settings()?;
            let command = Box::pin(extract::run(global, &settings, arguments));
            ended::recorded(&settings, Work::Run, command).await
        }
        Command::Load(arguments) => {
            let settings = settings()?;
            let command = Box::pin(load::run(global, &settings, arguments));
            ended::recorded(&settings, Work::Load, command).await
        }
        Command::Replay(arguments) => Box::pin(replay::run(global, &settings()?, arguments)).await,
        Command::Run(arguments) => {
            let settings = settings()?;
            let command = Box::pin(run::run(global, &settings, arguments));
            ended::recorded(&settings, Work::Run, command).await
        }
        Command::Plan(arguments) => Box::pin(plan::run(global, &settings()?, arguments)).await,
        Command::Status => Box::pin(status::run(global, &settings()?)).await,
        Command::Explain(arguments) => {
            Box::pin(explain::run(global, &settings()?, arguments)).await
        }
        Command::Diff(arguments) => Box::pin(diff::run(global, &settings()?, arguments)).await,
        Command::Sql(arguments) => Box::pin(sql::run(global, &settings()?, arguments)).await,
        Command::Watch(arguments) => {
            Box::pin(watch::run(global, settings()?, arguments, reloads)).await
        }
        Command::Stage(command) => Box::pin(stage::run(global, &settings()?, command)).await,
        Command::Prune(command) => Box::pin(prune::run(global, &settings()?, command)).await,
        Command::Quarantine(command) => {
            Box::pin(quarantine::run(global, &settings()?, command)).await
        }
        Command::Doctor => Box::pin(doctor::run(global, &settings()?)).await,
        Command::Migrate(arguments) => {
            Box::pin(migrate::run(global, &settings()?, arguments)).await
        }
        Command::Token(command) => Box::pin(token::run(global, &settings()?, *command)).await,
    }
}

/// The schema that is meant: the mirror's, if no other is named.
fn schema(settings: &Settings, into: Option<&str>) -> Result<Name, Failure> {
    let Some(into) = into else {
        return Ok(settings.config.database.schema.clone());
    };
    Name::parse(into).map_err(|error| Failure::usage(format!("--into {into}: {error}")))
}

/// Says where the mirror is, as the first line of a command that writes to it.
fn say_where(settings: &Settings, schema: &Name) -> Result<(), Failure> {
    tracing::info!("mirror: {}", settings.whereabouts(schema)?);
    Ok(())
}

/// What follows a command that a person is told to type, so that it looks where this one did.
fn into_flag(settings: &Settings, schema: &Name) -> String {
    if *schema == settings.config.database.schema {
        String::new()
    } else {
        format!(" --into {schema}")
    }
}

/// Text on stdout, fit for a terminal. A reader that has gone away is no failure.
fn print(text: &str) {
    print_raw(&printable::lines(text));
}

/// The same for programs, byte for byte.
fn print_raw(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line on stdout, whatever is in it.
fn print_line(text: &str) {
    print_raw(&format!("{}\n", printable::line(text)));
}

/// A table on stdout; its cells have lost their line ends.
fn print_table(table: &comfy_table::Table) {
    print(&format!("{table}\n"));
}

/// A JSON document on stdout.
fn print_json(value: &impl Serialize) {
    // One line for a log of many runs, many lines for a person.
    let text = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    match text {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => eprint_line(&format!("error: the result is not JSON: {error}")),
    }
}

/// A line on stderr, whatever is in it.
fn eprint_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable::line(text));
}

/// An error on stderr: a sentence of a report or of a [`Failure`], in which only our own lists have further lines.
fn eprint_error(sentence: &str) {
    let sentence = printable::without_credentials(sentence);
    let _ = writeln!(std::io::stderr(), "error: {}", printable::lines(&sentence));
}

/// Says why a command line was not understood, or prints the help that it asks for.
pub fn refuse(error: clap::Error) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Done;
    }
    let error = told(error);
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error
            .as_ref()
            .map_or_else(|| NOT_UNDERSTOOD.to_owned(), ToString::to_string);
        // What comes after the first empty line is the usage.
        let lines: Vec<&str> = text
            .lines()
            .take_while(|line| !line.is_empty())
            .map(str::trim)
            .collect();
        print_failure(Exit::Usage, lines.join(" ").trim_start_matches("error: "));
    }
    match error {
        Some(error) => drop(error.print()),
        None => eprint_error(NOT_UNDERSTOOD),
    }
    Exit::Usage
}

/// What is said of the command line if what was typed is fit for a terminal and holds nothing that can be a password. None if that
/// says nothing wrong.
fn told(error: clap::Error) -> Option<clap::Error> {
    let typed = typed();
    let shown: Vec<String> = typed.iter().map(|argument| fit(argument)).collect();
    if shown == typed {
        return Some(error);
    }
    Cli::try_parse_from(shown)
        .err()
        .filter(clap::Error::use_stderr)
}

/// The command line, as text.
fn typed() -> Vec<String> {
    std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect()
}

fn fit(argument: &str) -> String {
    const URL: &str = "[a URL]";
    let is_hidden = |text: &str| text.contains("://") || printable::may_hold_credentials(text);
    let option = argument
        .split_once('=')
        .filter(|_| argument.starts_with('-'));
    match option {
        _ if !is_hidden(argument) => printable::line(argument).into_owned(),
        Some((name, _)) if !is_hidden(&format!("{name}=x")) => {
            format!("{}={URL}", printable::line(name))
        }
        _ => URL.to_owned(),
    }
}

/// Refuses what may be a database URL where none belongs: messages, names of files and of others' locks would repeat it. The
/// query of `sql` may hold anything but be one.
fn refuse_credentials(cli: &Cli) -> Result<(), Failure> {
    const FLAG: &str = "--database-url";
    let query = match &cli.command {
        Command::Sql(arguments) => arguments.query.as_deref(),
        _ => None,
    };
    // No statement begins like a URL or like `key=value` pairs.
    let is_query = |text: &str| {
        let is_of_word = |c: char| c.is_ascii_alphabetic() || c == '_';
        let behind = text.trim_start().trim_start_matches(is_of_word);
        !behind.starts_with("://") && !behind.trim_start().starts_with('=')
    };
    let mut is_value = false;
    for argument in typed().into_iter().skip(1) {
        let is_flag_value = std::mem::replace(&mut is_value, argument == FLAG);
        let is_query = query == Some(argument.as_str()) && is_query(&argument);
        let is_ours = argument
            .strip_prefix(FLAG)
            .is_some_and(|rest| rest.starts_with('='));
        if !(is_flag_value || is_ours || is_query) && printable::may_hold_credentials(&argument) {
            return Err(Failure::usage(
                "an argument looks like a database URL, where none belongs, and is not repeated; name the \
                 database in CURSUS_DATABASE_URL (in `.env`), a run by its id, a schema by its name",
            ));
        }
    }
    Ok(())
}

fn state_of(exit: Exit) -> ReportState {
    if exit >= Exit::Interrupted {
        ReportState::Stopped
    } else {
        ReportState::Failed
    }
}

fn print_failure(exit: Exit, sentence: &str) {
    print_json(&serde_json::json!({
        "state": state_of(exit),
        "exit_code": exit.code(),
        "errors": [sentence],
    }));
}

/// Whatever ends a command that has told nothing yet. Documents keep the form that their readers know.
fn say_error(cli: &Cli, failure: &Failure, run_id: Option<String>) {
    let sentence = failure.sentence();
    print_error(cli, failure.exit, &sentence, run_id);
    eprint_error(&sentence);
}

/// The document of a command that has failed, if documents are wanted.
fn print_error(cli: &Cli, exit: Exit, sentence: &str, run_id: Option<String>) {
    if !cli.global.json {
        return;
    }
    let errors = vec![sentence.to_owned()];
    match &cli.command {
        Command::Extract(_) | Command::Run(_) | Command::Watch(_) => print_json(&RunReport {
            run_id,
            state: state_of(exit),
            errors,
            ..RunReport::default()
        }),
        Command::Load(_) => print_json(&LoadReport {
            errors,
            ..LoadReport::default()
        }),
        _ => print_failure(exit, sentence),
    }
}
