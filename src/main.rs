//! The `cursus` command: parse, log, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use cursus::cli::Cli;
use cursus::commands;

fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => commands::main(&cli),
        Err(error) => commands::refuse(&error),
    };
    ExitCode::from(exit.code())
}
