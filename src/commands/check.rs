//! `cursus check`: the state of the mirror for a monitoring system, by the convention of monitoring plugins: one line, exit code
//! 0 to 3, performance data after `|`. It changes nothing and asks the API nothing.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

use crate::cli::{CheckArgs, Global, MaxAge};
use crate::config::Resource;
use crate::convert::span;
use crate::exit::{Exit, Failure};
use crate::name::Name;
use crate::pipeline::extract::SECRET_WARNED;
use crate::plan;
use crate::printable;
use crate::report::counted;
use crate::settings::Settings;
use crate::staging::Outcome;
use crate::status::{self, NO_PROJECT, ReadStatus, Status, secret};

/// For what could not be found out, wrong usage among it.
pub(super) const UNKNOWN: Exit = Exit::Incomplete;

/// Every read may be as old: a night, and two hours for the run. Beyond it comes the time for which a read is not due.
const NIGHT: Duration = Duration::from_hours(26);
/// Time that the secret has left when a warning is given, as `status` does, and when it is critical. The intranet's secrets live four
/// weeks: a month would always warn.
const SECRET: [SignedDuration; 2] = [SECRET_WARNED, SignedDuration::from_hours(24)];
/// Free bytes, likewise.
const DISK: [u64; 2] = [2 << 30, 512 << 20];
/// Rows whose parent is missing wait in quarantine and leave it by themselves; as many mean nothing.
const QUARANTINED: i64 = 20;
/// Findings in the line.
const SHOWN: usize = 5;
/// For the whole check: monitoring systems give up after a minute or less.
const PATIENCE: Duration = Duration::from_secs(30);

/// Worst last: what is known to be wrong counts more than what is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Level {
    Ok,
    Unknown,
    Warning,
    Critical,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }

    /// The exit with the code of the convention: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    fn exit(self) -> Exit {
        match self {
            Self::Ok => Exit::Done,
            Self::Warning => Exit::Failed,
            Self::Critical => Exit::Usage,
            Self::Unknown => UNKNOWN,
        }
    }
}

/// What was looked at.
#[derive(Serialize)]
struct Finding {
    level: Level,
    text: String,
}

#[derive(Serialize)]
struct Report {
    state: Level,
    exit_code: u8,
    findings: Vec<Finding>,
    /// In the format of plugins.
    performance: Vec<String>,
}

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
    let resources = plan::select(&settings.config, &arguments.select, &[])?;
    let limits = Limits::new(settings, &arguments.max_age)?;
    let mut report = Report::new();
    let Ok(status) = tokio::time::timeout(PATIENCE, status::read(settings)).await else {
        report.add(
            Level::Critical,
            "the database has not answered within 30 s; `cursus doctor` says more",
        );
        return Ok(report);
    };
    let status = status?;
    if status.is_no_project {
        report.add(Level::Unknown, NO_PROJECT);
        return Ok(report);
    }
    look_at_run(&mut report, &status);
    look_at_database(&mut report, &status);
    let mut never = Vec::new();
    for read in resources.iter().flat_map(|resource| resource.all_reads()) {
        let is_it =
            |one: &&ReadStatus| one.name == read.name && one.read.as_ref() == read.read_name();
        match status.resources.iter().find(is_it) {
            Some(found) if found.age_s.is_some() => {
                look_at_age(&mut report, found, limits.of(read));
            }
            _ => never.push(read.label()),
        }
    }
    if !never.is_empty() && status.last_run.is_some() {
        let text = format!("never read completely: {}", some_of(&never, ", "));
        report.add(Level::Warning, text);
    }
    look_at_secret(&mut report, &status);
    look_at_backlog(&mut report, &status);
    look_at_disk(&mut report, &status);
    if let (Some(left), Some(limit)) = (status.requests.remaining, status.requests.per_hour) {
        report.measure(format!("requests_left={left};;;0;{limit}"));
    }
    Ok(report)
}

impl Report {
    fn new() -> Self {
        Self {
            state: Level::Ok,
            exit_code: 0,
            findings: Vec::new(),
            performance: Vec::new(),
        }
    }

    fn add(&mut self, level: Level, text: impl Into<String>) {
        let text = printable::without_credentials(&text.into()).into_owned();
        self.state = self.state.max(level);
        self.exit_code = self.state.exit().code();
        self.findings.push(Finding { level, text });
    }

    fn measure(&mut self, figure: String) {
        self.performance.push(figure);
    }
}

fn look_at_run(report: &mut Report, status: &Status) {
    let now = crate::clock::now();
    let Some(last) = &status.last_run else {
        return report.add(
            Level::Unknown,
            "nothing was ever read here; `cursus run` makes the first run",
        );
    };
    let level = match last.outcome.as_str() {
        "complete" | "running" => Level::Ok,
        "failed" => Level::Critical,
        _ => Level::Warning,
    };
    report.add(level, format!("last run {}", last.sentence(now)));
    if let Some(finished) = last.finished_at() {
        let age = now.duration_since(finished).as_secs().max(0);
        report.measure(format!("last_run_age={age}s;;;0"));
    }
    let later = status.last_load.as_ref();
    if let Some(load) = later.filter(|load| load.finished_at() > last.finished_at())
        && load.outcome != Outcome::Complete.to_string()
    {
        let level = match load.outcome.as_str() {
            "failed" => Level::Critical,
            _ => Level::Warning,
        };
        report.add(level, format!("last load {}", load.sentence(now)));
    }
}

/// A mirror that does not answer is of no use to anybody; what only a change of the configuration mends is not known.
fn look_at_database(report: &mut Report, status: &Status) {
    if let Some(failure) = &status.database_failure {
        let level = match failure.exit {
            Exit::Usage => Level::Unknown,
            _ => Level::Critical,
        };
        return report.add(level, format!("database: {}", failure.sentence()));
    }
    if status.is_empty && status.has_loaded {
        report.add(
            Level::Critical,
            "database: nothing is loaded there, though runs were; `cursus status` shows where it is",
        );
    }
}

fn look_at_age(report: &mut Report, read: &ReadStatus, limit: Duration) {
    let (name, label) = match &read.read {
        Some(of_it) => (
            format!("{} ({of_it})", read.name),
            format!("age_{}:{of_it}", read.name),
        ),
        None => (read.name.to_string(), format!("age_{}", read.name)),
    };
    let age = u64::try_from(read.age_s.unwrap_or(0)).unwrap_or(0);
    let (warning, critical) = (limit.as_secs(), limit.as_secs().saturating_mul(2));
    report.measure(format!("{label}={age}s;{warning};{critical};0"));
    let level = match age {
        age if age > critical => Level::Critical,
        age if age > warning => Level::Warning,
        _ => return,
    };
    let long = |seconds| {
        span(SignedDuration::from_secs(
            i64::try_from(seconds).unwrap_or(i64::MAX),
        ))
    };
    let limit = if level == Level::Critical {
        critical
    } else {
        warning
    };
    report.add(
        level,
        format!("{name} is {} old (limit {})", long(age), long(limit)),
    );
}

fn look_at_secret(report: &mut Report, status: &Status) {
    let Some(until) = status.secret_valid_until else {
        return;
    };
    let now = crate::clock::now();
    let left = until.duration_since(now);
    let [warning, critical] = SECRET;
    report.measure(format!(
        "secret_left={}s;{}:;{}:",
        left.as_secs(),
        warning.as_secs(),
        critical.as_secs()
    ));
    let level = match left {
        left if left < critical => Level::Critical,
        left if left < warning => Level::Warning,
        _ => return,
    };
    report.add(level, format!("the client secret {}", secret(until, now)));
}

fn look_at_backlog(report: &mut Report, status: &Status) {
    for (label, what, command, rows, limit) in [
        (
            "held_deletes",
            "delete",
            "held; `cursus prune ls`",
            status.prune_candidates,
            0,
        ),
        (
            "quarantined",
            "row",
            "quarantined; `cursus quarantine ls`",
            status.quarantined,
            QUARANTINED,
        ),
    ] {
        let Some(rows) = rows else {
            continue;
        };
        report.measure(format!("{label}={rows};{limit};;0"));
        if rows > limit {
            let count = counted(u64::try_from(rows).unwrap_or(0), what);
            report.add(Level::Warning, format!("{count} {command}"));
        }
    }
}

fn look_at_disk(report: &mut Report, status: &Status) {
    let Some(disk) = &status.disk else {
        return;
    };
    let [warning, critical] = DISK;
    let (free, size) = (disk.free_bytes, disk.size_bytes);
    report.measure(format!("disk_free={free}B;{warning}:;{critical}:;0;{size}"));
    let level = match free {
        free if free < critical => Level::Critical,
        free if free < warning => Level::Warning,
        _ => return,
    };
    let free = free >> 20;
    report.add(
        level,
        format!("the disk of {} has {free} MiB left", status.staging),
    );
}

/// How old reads may be before a warning is given; twice as old is critical.
struct Limits<'a> {
    given: &'a [MaxAge],
}

impl<'a> Limits<'a> {
    /// Refuses names that the configuration does not have.
    fn new(settings: &Settings, given: &'a [MaxAge]) -> Result<Self, Failure> {
        for limit in given {
            let Some(name) = &limit.resource else {
                continue;
            };
            let selected = plan::select(&settings.config, std::slice::from_ref(name), &[])?;
            let Some(read) = &limit.read else {
                continue;
            };
            let reads: Vec<&Name> = (selected.iter())
                .flat_map(|resource| resource.all_reads().filter_map(Resource::read_name))
                .collect();
            if !reads.iter().any(|known| known.as_str() == read) {
                let known: Vec<String> = reads.iter().map(ToString::to_string).collect();
                return Err(Failure::usage(format!(
                    "--max-age: {name} has no read `{read}`; {}",
                    if known.is_empty() {
                        format!("write `{name}=AGE`")
                    } else {
                        format!("it has {}", known.join(", "))
                    }
                )));
            }
        }
        Ok(Self { given })
    }

    /// The most exact one that is given, the last of several; else what the configuration lets a read become before it is due, and
    /// a night.
    fn of(&self, read: &Resource) -> Duration {
        let fits = |limit: &&MaxAge| {
            let of_resource = limit.resource.as_deref();
            let of_read = limit.read.as_deref();
            of_resource.is_none_or(|name| name == read.name.as_str())
                && of_read.is_none_or(|name| read.read_name().is_some_and(|it| it.as_str() == name))
        };
        let exactness = |limit: &&MaxAge| (limit.resource.is_some(), limit.read.is_some());
        let given = self.given.iter().filter(fits).max_by_key(exactness);
        given.map_or_else(
            || {
                let due = read.read.as_ref().map_or(read.min_age, |named| named.every);
                NIGHT.saturating_add(due)
            },
            |limit| limit.age,
        )
    }
}

/// A line is read on a telephone: a few, and how many more there are.
fn some_of(texts: &[String], separator: &str) -> String {
    let mut shown = texts[..texts.len().min(SHOWN)].to_vec();
    if texts.len() > SHOWN {
        shown.push(format!("and {} more", texts.len() - SHOWN));
    }
    shown.join(separator)
}

/// Prints the line: what is worst first.
fn print(global: &Global, report: &Report) -> Exit {
    if global.json {
        super::print_json(report);
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
