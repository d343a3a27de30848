//! `cursus check`: the state of the mirror for a monitoring system, by the convention of monitoring plugins: one line, exit code
//! 0 to 3, performance data after `|`. It changes nothing and asks the API nothing.

use std::time::Duration;

use crate::cli::{CheckArgs, Global};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::status;
use crate::status::check::{self, Finding, Level, Report, some_of};

/// For what could not be found out, wrong usage among it.
pub(super) const UNKNOWN: Exit = Exit::Incomplete;

/// For the whole check: monitoring systems give up after a minute or less.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command; a failure of its own is UNKNOWN.
pub(super) async fn run(
    global: &Global,
    settings: Result<Settings, Failure>,
    arguments: &CheckArgs,
) -> Exit {
    let report = match settings {
        Ok(settings) => examine(&settings, arguments).await,
        Err(failure) => Err(failure),
    };
    match report {
        Ok(report) => print(global, &report),
        Err(failure) => unknown(global, &failure.sentence()),
    }
}

/// Prints that nothing is known, and why.
pub(super) fn unknown(global: &Global, sentence: &str) -> Exit {
    let mut report = Report::new();
    report.add(Level::Unknown, sentence);
    print(global, &report)
}

async fn examine(settings: &Settings, arguments: &CheckArgs) -> Result<Report, Failure> {
    // Names that are not there are refused before anything is read.
    check::refuse_unknown(settings, &arguments.select, &arguments.max_age)?;
    let Ok(status) = tokio::time::timeout(PATIENCE, status::read(settings)).await else {
        let mut report = Report::new();
        report.add(
            Level::Critical,
            "the database has not answered within 30 s; `cursus doctor` says more",
        );
        return Ok(report);
    };
    check::report(settings, &status?, &arguments.select, &arguments.max_age)
}

/// Prints the line: what is worst first. With `-q` nothing while all is well, so that cron mails only what is wrong.
fn print(global: &Global, report: &Report) -> Exit {
    if global.json {
        super::print_json(report);
        return report.state.exit();
    }
    if global.quiet && report.state == Level::Ok {
        return report.state.exit();
    }
    let mut findings: Vec<&Finding> = report.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let wrong = findings
        .iter()
        .filter(|finding| finding.level > Level::Ok)
        .count();
    findings.truncate(wrong.max(1));
    // The bar begins the performance data.
    let words: Vec<String> = (findings.iter())
        .map(|finding| {
            finding
                .text
                .lines()
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .map(|text| text.replace('|', "/"))
        .collect();
    let words = some_of(&words, "; ");
    let mut line = format!("CURSUS {}: {words}", report.state.name());
    if !report.performance.is_empty() {
        line.push_str(" | ");
        line.push_str(&report.performance.join(" "));
    }
    super::print_line(&line);
    report.state.exit()
}
