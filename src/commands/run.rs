//! `cursus run`.

use super::record::CommandOutcome;
use crate::cli::{Global, RunArgs};
use crate::exit::Failure;
use crate::pipeline;
use crate::report::tables_table;
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &RunArgs,
) -> Result<CommandOutcome, Failure> {
    let outcome = pipeline::run(settings, arguments).await?;
    if !global.json && !outcome.report.tables.is_empty() {
        super::print_table(&tables_table(&outcome.report.tables));
    }
    super::extract::print(global, &outcome.report);
    Ok(outcome.into())
}
