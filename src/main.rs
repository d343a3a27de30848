//! The `cursus` command: parse, log, run, exit code.

use std::panic;
use std::process::ExitCode;

use cursus::cli::Cli;
use cursus::commands;

fn main() -> ExitCode {
    panic::set_hook(Box::new(|fault| commands::report_panic(fault.location())));
    let exit = match Cli::of_process(cursus_version::version!()) {
        Ok(cli) => panic::catch_unwind(|| commands::main(&cli))
            .unwrap_or_else(|_| commands::record_panic(&cli)),
        Err(error) => commands::refuse(error),
    };
    ExitCode::from(exit.code())
}
