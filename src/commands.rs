//! The commands: each resolves what it needs, runs, and says how it ended. Only here is stdout written.

mod completions;
mod demo;
mod diff;
mod doctor;
mod explain;
mod extract;
mod init;
mod load;
mod migrate;
mod plan;
mod prune;
mod quarantine;
mod replay;
mod run;
mod simulate;
mod sql;
mod stage;
mod status;
mod token;
mod watch;

use std::io::{IsTerminal, Write};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, Global, LogFormat};
use crate::exit::{Exit, Failure};
use crate::progress::LogWriter;
use crate::report::{LoadReport, RunReport, chain};
use crate::settings::{Environment, Settings};

/// Runs a command line to its end.
pub fn main(cli: &Cli) -> Exit {
    start_logging(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say_error(cli, &Failure::from(error));
            return Exit::Failed;
        }
    };
    let exit = runtime.block_on(async {
        tokio::select! {
            done = Box::pin(run(cli)) => match done {
                Ok(exit) => exit,
                Err(failure) => {
                    say_error(cli, &failure);
                    failure.exit
                }
            },
            exit = signal(cli) => {
                let said = "stopped by a signal; staged pages and committed rows are kept, run the command again to go on";
                let failure = Failure::new(exit, said);
                say_error(cli, &failure);
                exit
            }
        }
    });
    // Blocking work that is under way (a page being written) ends first; nothing new begins.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    exit
}

async fn run(cli: &Cli) -> Result<Exit, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Completions { shell } => return Ok(completions::run(*shell)),
        Command::Simulate(arguments) => return simulate::run(global, arguments).await,
        Command::Demo(arguments) => return Box::pin(demo::run(global, arguments)).await,
        Command::Init(arguments) => return init::run(global, arguments),
        _ => {}
    }
    let settings = Settings::resolve(global, Environment::of_process())?;
    match &cli.command {
        Command::Extract(arguments) => Box::pin(extract::run(global, &settings, arguments)).await,
        Command::Load(arguments) => Box::pin(load::run(global, &settings, arguments)).await,
        Command::Replay(arguments) => Box::pin(replay::run(global, &settings, arguments)).await,
        Command::Run(arguments) => Box::pin(run::run(global, &settings, arguments)).await,
        Command::Plan(arguments) => Box::pin(plan::run(global, &settings, arguments)).await,
        Command::Status => Box::pin(status::run(global, &settings)).await,
        Command::Explain(arguments) => Box::pin(explain::run(global, &settings, arguments)).await,
        Command::Diff(arguments) => Box::pin(diff::run(global, &settings, arguments)).await,
        Command::Sql(arguments) => Box::pin(sql::run(global, &settings, arguments)).await,
        Command::Watch(arguments) => Box::pin(watch::run(global, settings, arguments)).await,
        Command::Stage(command) => Box::pin(stage::run(global, &settings, command)).await,
        Command::Prune(command) => Box::pin(prune::run(global, &settings, command)).await,
        Command::Quarantine(command) => Box::pin(quarantine::run(global, &settings, command)).await,
        Command::Doctor => Box::pin(doctor::run(global, &settings)).await,
        Command::Migrate(arguments) => Box::pin(migrate::run(global, &settings, arguments)).await,
        Command::Token(command) => Box::pin(token::run(global, &settings, *command)).await,
        Command::Completions { .. }
        | Command::Simulate(_)
        | Command::Demo(_)
        | Command::Init(_) => Ok(Exit::Done),
    }
}

/// SIGINT and SIGTERM. In psql Ctrl-C belongs to psql.
async fn signal(cli: &Cli) -> Exit {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = interrupt(cli) => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    }
}

async fn interrupt(cli: &Cli) {
    let in_psql = matches!(&cli.command, Command::Sql(arguments) if arguments.query.is_none());
    loop {
        let received = tokio::signal::ctrl_c().await;
        if !in_psql || received.is_err() {
            return;
        }
    }
}

fn start_logging(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn,cursus=info",
        (false, 1) => "warn,cursus=debug",
        (false, _) => "info,cursus=trace",
    };
    let filter = std::env::var("CURSUS_LOG")
        .ok()
        .filter(|filter| !filter.is_empty())
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        .unwrap_or_else(|| EnvFilter::new(level));
    let colours = !global.no_color
        && std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LogWriter::default)
        .with_target(false)
        .with_ansi(colours);
    // A second start in one process (tests) keeps the first.
    let _ = match global.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// Text on stdout. A reader that has gone away is no failure.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line on stdout.
fn print_line(text: &str) {
    print(&format!("{text}\n"));
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
        Ok(text) => print_line(&text),
        Err(error) => eprint_line(&format!("error: the result is not JSON: {error}")),
    }
}

fn eprint_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says why a command line was not understood, or prints the help that it asks for.
pub fn refuse(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Done;
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        // What comes after the first empty line is the usage.
        let lines: Vec<&str> = text
            .lines()
            .take_while(|line| !line.is_empty())
            .map(str::trim)
            .collect();
        print_failure(Exit::Usage, lines.join(" ").trim_start_matches("error: "));
    }
    let _ = error.print();
    Exit::Usage
}

fn state_of(exit: Exit) -> &'static str {
    if exit >= Exit::Interrupted {
        "stopped"
    } else {
        "failed"
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
fn say_error(cli: &Cli, failure: &Failure) {
    let sentence = chain(failure.error.as_ref());
    if cli.global.json {
        match &cli.command {
            Command::Extract(_) | Command::Run(_) | Command::Watch(_) => print_json(&RunReport {
                state: state_of(failure.exit).to_owned(),
                errors: vec![sentence.clone()],
                ..RunReport::default()
            }),
            Command::Load(_) => print_json(&LoadReport {
                errors: vec![sentence.clone()],
                ..LoadReport::default()
            }),
            _ => print_failure(failure.exit, &sentence),
        }
    }
    eprint_line(&format!("error: {sentence}"));
}
