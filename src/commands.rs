//! The commands: arguments → call → print. Only here is stdout written.

mod changes;
mod check;
mod completions;
#[cfg(feature = "simulator")]
mod demo;
mod diff;
mod doctor;
mod explain;
mod export;
mod extract;
mod forget;
mod history;
mod init;
mod interruption;
mod load;
mod logging;
mod migrate;
mod output;
mod pack;
mod plan;
mod prometheus;
mod prune;
mod quarantine;
mod record;
mod reload;
mod replay;
mod run;
mod runs;
mod schema;
mod serve;
mod service;
mod signals;
#[cfg(feature = "simulator")]
mod simulate;
mod sql;
mod stage;
mod status;
mod token;
mod watch;

use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser as _;
use tokio::sync::Notify;

use crate::cli::{Cli, Command, Global, PruneCommand, QuarantineCommand};
use crate::clock;
use crate::context::{Activity, Context};
use crate::exit::{Exit, Failure};
use crate::printable;
use crate::progress::{Screen, Shown};
use crate::report::{LoadReport, ReportState, RunReport};
use crate::settings::{Environment, Settings};
use output::{
    finished, fitted, note, print, print_json, print_line, print_raw, print_table, sentences,
    warning,
};
use signals::{Listener, Signals};

/// Whether the command has ended: from then on the runtime shuts down, and panics inside tokio are not reported.
static ENDING: AtomicBool = AtomicBool::new(false);
/// After a signal: time for the database to cancel its statements, and for a page to be written.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(900);
/// To notify of a panic.
const PANIC_TIMEOUT: Duration = Duration::from_secs(10);
/// Printed where nothing of the command line may be repeated.
const NOT_UNDERSTOOD: &str = "the command line is not understood; see `cursus help`";

/// Runs a command line to its end.
pub fn main(cli: &Cli) -> Exit {
    let listener = match &cli.command {
        Command::Sql(arguments) if arguments.query.is_none() => Listener::Psql,
        Command::Watch(_) => Listener::Service,
        _ => Listener::Plain,
    };
    let Global { quiet, json, .. } = cli.global;
    // The rounds of a service are for a log.
    let screen = Screen::new(match listener {
        _ if quiet || json => Shown::Nothing,
        Listener::Service => Shown::Logged,
        Listener::Plain | Listener::Psql => Shown::Drawn,
    });
    output::start(cli, &screen);
    let begun = logging::start(&cli.global, &screen).and_then(|()| {
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
            return refuse_command(cli, &failure);
        }
    };
    let context = Context::new(screen);
    let sessions = context.sessions();
    let started_at = clock::now();
    let exit = runtime.block_on(async {
        let result = tokio::select! {
            done = Box::pin(sessions.scope(run(cli, &context, &reloads))) => Ok(done),
            Ok(exit) = end => Err(exit),
        };
        match result {
            Ok(Ok(exit)) => {
                output::finish(exit);
                exit
            }
            Ok(Err(failure)) => refuse_command(cli, &failure),
            Err(Exit::Interrupted | Exit::Terminated)
                if matches!(context.activity(), Activity::Waiting) =>
            {
                output::finish(Exit::Done);
                sessions.cancel_all(SHUTDOWN_TIMEOUT).await;
                Exit::Done
            }
            Err(exit) => {
                let (left, run) = interruption::describe(cli, &context, exit);
                let run_id = run.as_deref();
                let abort = record::record_abort(cli, &context, started_at, exit, &left, run_id);
                print_failure(cli, &Failure::new(exit, left), run);
                // Statements that still run would hold their locks.
                let canceled = sessions.cancel_all(SHUTDOWN_TIMEOUT);
                let notified = async {
                    if let Some(abort) = abort {
                        abort.notify(SHUTDOWN_TIMEOUT).await;
                    }
                };
                tokio::join!(canceled, notified);
                exit_of(cli, exit)
            }
        }
    });
    ENDING.store(true, Ordering::Relaxed);
    // Blocking work in progress (a page being written) ends first; nothing new begins.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    if output::report_lost() {
        exit_of(cli, exit.max(Exit::Failed))
    } else {
        exit
    }
}

/// Reports a panic by its place only: its message can hold values of a record.
pub fn report_panic(location: Option<&Location<'_>>) {
    // A timer of a task that is left panics in tokio when the runtime shuts down; the command has ended by then.
    let is_of_runtime = location.is_some_and(|place| place.file().contains("/tokio-"));
    if is_of_runtime && ENDING.load(Ordering::Relaxed) {
        return;
    }
    let place = location.map_or_else(String::new, |place| {
        format!(" at {}:{}:{}", place.file(), place.line(), place.column())
    });
    output::error(&format!(
        "a fault in cursus{place}; what is staged and committed is kept; please report this line"
    ));
}

/// Records and prints the outcome of a command that has panicked.
pub fn record_panic(cli: &Cli) -> Exit {
    let sentence = "a fault in cursus, reported on stderr; what is staged and committed is kept";
    let context = Context::new(Screen::new(Shown::Nothing));
    let abort = record::record_abort(cli, &context, clock::now(), Exit::Failed, sentence, None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    if let (Some(abort), Ok(runtime)) = (abort, runtime) {
        runtime.block_on(abort.notify(PANIC_TIMEOUT));
    }
    print_error(cli, Exit::Failed, sentence, None);
    exit_of(cli, Exit::Failed)
}

/// The exit of a failure: `check` has a code for what it could not find out.
fn exit_of(cli: &Cli, exit: Exit) -> Exit {
    match cli.command {
        Command::Check(_) if exit < Exit::Interrupted => check::UNKNOWN,
        _ => exit,
    }
}

/// Prints why a command failed before it printed anything.
fn refuse_command(cli: &Cli, failure: &Failure) -> Exit {
    if matches!(cli.command, Command::Check(_)) {
        return check::unknown(&cli.global, &failure.sentence());
    }
    print_failure(cli, failure, None);
    failure.exit
}

async fn run(cli: &Cli, context: &Context, reloads: &Notify) -> Result<Exit, Failure> {
    refuse_credentials(cli)?;
    let global = &cli.global;
    let settings = || {
        let environment = Environment::of_process();
        Settings::resolve(global, cli.command.name(), environment, context)
    };
    // A command that extracts or loads.
    macro_rules! recorded {
        ($run:path, $arguments:expr) => {{
            let settings = settings()?;
            let command = Box::pin($run(global, &settings, $arguments));
            record::run_recorded(&settings, command).await
        }};
    }
    // Any other command; `$changes`: it changes the mirror.
    macro_rules! other {
        ($changes:expr, $run:path $(, $arguments:expr)?) => {{
            let settings = settings()?;
            let command = Box::pin($run(global, &settings $(, $arguments)?));
            record::run_other(&settings, $changes, command).await
        }};
    }
    match &cli.command {
        Command::Completions { shell } => Ok(completions::run(*shell)),
        // The parser has printed it.
        Command::Version => Ok(Exit::Done),
        #[cfg(feature = "simulator")]
        Command::Simulate(arguments) => simulate::run(global, context, arguments).await,
        #[cfg(feature = "simulator")]
        Command::Demo(arguments) => Box::pin(demo::run(global, context, arguments)).await,
        Command::Init(arguments) => Box::pin(init::run(global, context, arguments)).await,
        Command::Extract(arguments) => recorded!(extract::run, arguments),
        Command::Load(arguments) => recorded!(load::run, arguments),
        Command::Run(arguments) => recorded!(run::run, arguments),
        Command::Replay(arguments) => other!(true, replay::run, arguments),
        Command::Plan(arguments) => {
            let settings = settings()?.with_packs(&arguments.pack)?;
            let command = Box::pin(plan::run(global, &settings, arguments));
            record::run_other(&settings, false, command).await
        }
        Command::Status(arguments) => other!(false, status::run, arguments),
        Command::Check(arguments) => Ok(Box::pin(check::run(global, settings(), arguments)).await),
        Command::Runs(arguments) => other!(false, runs::run, arguments),
        Command::Serve(arguments) => {
            Box::pin(serve::run(global, context, settings()?, arguments)).await
        }
        Command::Explain(arguments) => other!(false, explain::run, arguments),
        Command::Changes(arguments) => other!(false, changes::run, arguments),
        Command::Schema(arguments) => other!(false, schema::run, arguments),
        Command::Export(arguments) => other!(false, export::run, arguments),
        Command::Diff(arguments) => other!(false, diff::run, arguments),
        Command::Sql(arguments) => other!(false, sql::run, arguments),
        Command::Watch(arguments) => {
            Box::pin(watch::run(global, settings()?, arguments, reloads)).await
        }
        Command::Stage(command) => other!(false, stage::run, command),
        Command::Prune(command) => {
            let changes = matches!(command, PruneCommand::Approve { .. });
            other!(changes, prune::run, command)
        }
        Command::Quarantine(command) => {
            let changes = !matches!(command, QuarantineCommand::Ls { .. });
            other!(changes, quarantine::run, command)
        }
        Command::History(command) => other!(true, history::run, command),
        Command::Forget(arguments) => other!(!arguments.dry_run, forget::run, arguments),
        Command::Subject(arguments) => other!(false, forget::print_subject, arguments),
        Command::Pack(command) => pack::run(global, &settings()?, command),
        Command::Doctor => other!(false, doctor::run),
        Command::Migrate(arguments) => other!(true, migrate::run, arguments),
        Command::Token(command) => other!(false, token::run, *command),
    }
}

/// Prints why a command line was not understood, or the help that it asks for.
pub fn refuse(error: clap::Error) -> Exit {
    if !error.use_stderr() {
        output::note_written(error.print());
        return if output::report_lost() {
            Exit::Failed
        } else {
            Exit::Done
        };
    }
    let exit = if is_check() {
        check::UNKNOWN
    } else {
        Exit::Usage
    };
    let text = without_credentials(error)
        .map_or_else(|| NOT_UNDERSTOOD.to_owned(), |error| error.to_string());
    let text = text.trim_start_matches("error: ");
    let is_json = typed().iter().any(|argument| argument == "--json");
    if is_json {
        // What comes after the first empty line is the usage.
        let lines: Vec<&str> = text
            .lines()
            .take_while(|line| !line.is_empty())
            .map(str::trim)
            .collect();
        note_failure(exit, &lines.join(" "));
        output::finish(exit);
    }
    output::error(text.trim_end());
    if exit == check::UNKNOWN && !is_json {
        print_line("CURSUS UNKNOWN: the command line is not understood; see `cursus check --help`");
    }
    exit
}

/// Whether `check` was typed, whose exit codes are its own.
fn is_check() -> bool {
    let lenient = <Cli as clap::CommandFactory>::command().ignore_errors(true);
    let typed = lenient.try_get_matches_from(std::env::args_os());
    typed.is_ok_and(|typed| typed.subcommand_name() == Some("check"))
}

/// The same error for a command line without control characters and without what may be a password; none if that line has no
/// error.
fn without_credentials(error: clap::Error) -> Option<clap::Error> {
    let typed = typed();
    let shown: Vec<String> = typed
        .iter()
        .map(|argument| hide_credentials(argument))
        .collect();
    if shown == typed {
        return Some(error);
    }
    Cli::try_parse_from(shown)
        .err()
        .filter(clap::Error::use_stderr)
}

fn typed() -> Vec<String> {
    std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect()
}

fn hide_credentials(argument: &str) -> String {
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

/// Refuses a database URL in the place of another argument, because messages, file names and lock names would repeat it.
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

fn note_failure(exit: Exit, sentence: &str) {
    output::note_failure(&serde_json::json!({ "state": state_of(exit), "errors": [sentence] }));
}

/// Prints the failure of a command, with `--json` also as its only document.
fn print_failure(cli: &Cli, failure: &Failure, run_id: Option<String>) {
    let sentence = failure.sentence();
    print_error(cli, failure.exit, &sentence, run_id);
    output::error(&sentence);
}

/// Prints the JSON document of a failed command, with --json, in the form of the command's document.
fn print_error(cli: &Cli, exit: Exit, sentence: &str, run_id: Option<String>) {
    if !cli.global.json {
        return;
    }
    let errors = vec![sentence.to_owned()];
    match &cli.command {
        Command::Extract(_) | Command::Run(_) | Command::Watch(_) => {
            output::note_failure(&RunReport {
                run_id,
                state: state_of(exit),
                errors,
                ..RunReport::default()
            });
        }
        Command::Load(_) => output::note_failure(&LoadReport {
            errors,
            ..LoadReport::default()
        }),
        _ => note_failure(exit, sentence),
    }
    output::finish(exit);
}
