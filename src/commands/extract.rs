//! `cursus extract`.

use std::time::Duration;

use super::record::CommandOutcome;
use crate::cli::{ExtractArgs, Global};
use crate::exit::Failure;
use crate::pipeline;
use crate::report::{ReportState, RunReport, counted, grouped, resources_table, took};
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &ExtractArgs,
) -> Result<CommandOutcome, Failure> {
    let outcome = pipeline::extract(settings, arguments).await?;
    print(global, &outcome.report);
    Ok(outcome.into())
}

pub(super) fn print(global: &Global, report: &RunReport) {
    if global.json {
        super::print_json(report);
    } else if let Some(run) = &report.run_id
        // Of a run that came to nothing its error says all.
        && (report.state != ReportState::Failed || report.hits > 0)
    {
        super::print_table(&resources_table(&report.resources));
        // Nothing to say of a run that had nothing to read.
        let forecast = report.forecast.filter(|it| it.hits + it.actual > 0);
        let forecast = forecast.map_or_else(String::new, |forecast| {
            format!(
                " (forecast {}, {:.1} % off)",
                grouped(forecast.hits),
                forecast.error_percent.abs()
            )
        });
        super::print_line(&format!(
            "run {run}: {}, {}{forecast}, {} throttled, {}",
            report.state,
            counted(report.hits, "request"),
            report.rejected_429,
            took(Duration::from_millis(report.duration_ms))
        ));
    }
    super::sentences(&report.warnings, &report.errors);
}
