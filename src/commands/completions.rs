//! `cursus completions`.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::Exit;

pub(super) fn run(shell: clap_complete::Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cursus", &mut text);
    super::print(&String::from_utf8_lossy(&text));
    Exit::Done
}
