//! The `cursus` command: parse, log, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use cursus::cli::Cli;
use cursus::commands;

fn main() -> ExitCode {
    ExitCode::from(commands::main(&Cli::parse()).code())
}
