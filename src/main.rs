//! The `cursus` command: parse, log, run, exit code.

use std::panic;
use std::process::ExitCode;

use clap::Parser;
use cursus::cli::Cli;
use cursus::commands;
use cursus::exit::Exit;

fn main() -> ExitCode {
    panic::set_hook(Box::new(|fault| commands::tell_fault(fault.location())));
    let exit = panic::catch_unwind(|| match Cli::try_parse() {
        Ok(cli) => commands::main(&cli),
        Err(error) => commands::refuse(&error),
    });
    ExitCode::from(exit.unwrap_or(Exit::Failed).code())
}
