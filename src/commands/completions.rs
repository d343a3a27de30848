//! `cursus completions`.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::{Exit, Failure};

/// Prints completions for a shell.
pub(super) fn run(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cursus", &mut text);
    super::print(&String::from_utf8_lossy(&text));
    Ok(Exit::Done)
}
