//! `cursus load`.

use super::record::CommandOutcome;
use crate::cli::{Global, LoadArgs};
use crate::exit::Failure;
use crate::pipeline;
use crate::pipeline::LoadSelection;
use crate::report::{LoadReport, sample_lines, tables_table};
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &LoadArgs,
) -> Result<CommandOutcome, Failure> {
    #[cfg(feature = "remote")]
    let there = match &arguments.from {
        Some(url) => Some(settings.reading_from(url).await?),
        None => None,
    };
    #[cfg(feature = "remote")]
    let settings = there.as_ref().unwrap_or(settings);
    let selection = LoadSelection::of(settings, arguments)?;
    let outcome = pipeline::load(settings, &selection).await?;
    print(global, &outcome.report);
    Ok(outcome.into())
}

fn print(global: &Global, report: &LoadReport) {
    if global.json {
        super::print_json(report);
    } else if report.runs.is_empty() && report.errors.is_empty() {
        let reason = match report.skipped.first() {
            Some(run) => is_loaded(run),
            None => "every staged run is loaded".to_owned(),
        };
        super::print_line(&format!("nothing to load: {reason}"));
    } else if !report.runs.is_empty() {
        super::print_table(&tables_table(&report.tables));
        for line in sample_lines(&report.tables) {
            super::print_line(&line);
        }
        let rolled_back = if report.dry_run {
            " (dry run: rolled back)"
        } else {
            ""
        };
        super::print_line(&format!("loaded {}{rolled_back}", report.runs.join(", ")));
        for run in &report.skipped {
            super::print_line(&is_loaded(run));
        }
    }
    for drift in &report.drift {
        super::warning(&format!("drift: {drift}"));
    }
    super::sentences(&report.warnings, &report.errors);
}

fn is_loaded(run: &str) -> String {
    format!("the run {run} is loaded already; --again loads the newest run once more")
}
