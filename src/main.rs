//! The `cursus` command: parse, log, run, exit code.

use std::panic;
use std::process::ExitCode;

use clap::Parser;
use cursus::cli::Cli;
use cursus::commands;
use cursus::exit::Exit;

fn main() -> ExitCode {
    panic::set_hook(Box::new(|fault| commands::tell_fault(fault.location())));
    let exit = match Cli::try_parse() {
        Ok(cli) => panic::catch_unwind(|| commands::main(&cli)).unwrap_or_else(|_| {
            commands::tell_end_by_fault(&cli);
            Exit::Failed
        }),
        Err(error) => commands::refuse(error),
    };
    ExitCode::from(exit.code())
}
