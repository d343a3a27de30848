//! The judgement of a status, for monitoring: what is wrong, and how bad that is. `check` and the readiness of `serve` are made of it.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

use super::{NO_PROJECT, ReadStatus, Status, secret};
use crate::cli::MaxAge;
use crate::config::Resource;
use crate::convert::span_of;
use crate::exit::{Exit, Failure};
use crate::name::Name;
use crate::pipeline::extract::SECRET_WARNED;
use crate::plan;
use crate::printable;
use crate::report::counted;
use crate::settings::Settings;
use crate::staging::Outcome;

/// Findings in a line.
const SHOWN: usize = 5;
/// Every read may be as old: a night, and two hours for the run. Beyond it comes the time for which a read is not due.
const NIGHT: Duration = Duration::from_hours(26);
/// Time that the secret has left when a warning is given, as `status` does, and when it is critical. The intranet's secrets live four
/// weeks: a month would always warn.
const SECRET: [SignedDuration; 2] = [SECRET_WARNED, SignedDuration::from_hours(24)];
/// Free bytes, likewise.
const DISK: [u64; 2] = [2 << 30, 512 << 20];
/// Rows whose parent is missing wait in quarantine and leave it by themselves; as many mean nothing.
const QUARANTINED: i64 = 20;

/// Worst last: what is known to be wrong counts more than what is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Level {
    Ok,
    Unknown,
    Warning,
    Critical,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }

    /// The exit with the code of the convention: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Ok => Exit::Done,
            Self::Warning => Exit::Failed,
            Self::Critical => Exit::Usage,
            Self::Unknown => Exit::Incomplete,
        }
    }
}

/// What was looked at.
#[derive(Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// The document of `check --json`.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) state: Level,
    exit_code: u8,
    pub(crate) findings: Vec<Finding>,
    /// In the format of plugins.
    pub(crate) performance: Vec<String>,
}

/// Judges a status. `select`: the resources whose ages count, all if empty.
pub(crate) fn report(
    settings: &Settings,
    status: &Status,
    select: &[String],
    max_age: &[MaxAge],
) -> Result<Report, Failure> {
    let resources = plan::select(&settings.config, select, &[])?;
    let limits = Limits::new(settings, max_age)?;
    let mut report = Report::new();
    if status.is_no_project {
        report.add(Level::Unknown, NO_PROJECT);
        return Ok(report);
    }
    look_at_run(&mut report, status);
    look_at_database(&mut report, status);
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
    look_at_secret(&mut report, status);
    look_at_backlog(&mut report, status);
    look_at_disk(&mut report, status);
    if let (Some(left), Some(limit)) = (status.requests.remaining, status.requests.per_hour) {
        report.measure(format!("requests_left={left};;;0;{limit}"));
    }
    Ok(report)
}

/// Refuses names that the configuration does not have.
pub(crate) fn refuse_unknown(
    settings: &Settings,
    select: &[String],
    max_age: &[MaxAge],
) -> Result<(), Failure> {
    plan::select(&settings.config, select, &[])?;
    Limits::new(settings, max_age)?;
    Ok(())
}

/// How old a read may be before a warning is given, without a flag; twice as old is critical.
pub(crate) fn usual_limit(read: &Resource) -> Duration {
    let due = read.read.as_ref().map_or(read.min_age, |named| named.every);
    NIGHT.saturating_add(due)
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            state: Level::Ok,
            exit_code: 0,
            findings: Vec::new(),
            performance: Vec::new(),
        }
    }

    /// Adds what was found, without a credential in it.
    pub(crate) fn add(&mut self, level: Level, text: impl Into<String>) {
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
    let of_it = (read.read.as_ref()).map_or_else(String::new, |of_it| format!(":{of_it}"));
    let age = u64::try_from(read.age_s.unwrap_or(0)).unwrap_or(0);
    let (warning, critical) = (limit.as_secs(), limit.as_secs().saturating_mul(2));
    let name = &read.name;
    report.measure(format!("age_{name}{of_it}={age}s;{warning};{critical};0"));
    let (level, limit) = match age {
        age if age > critical => (Level::Critical, critical),
        age if age > warning => (Level::Warning, warning),
        _ => return,
    };
    let [age, limit] = [age, limit].map(|seconds| span_of(Duration::from_secs(seconds)));
    let sentence = format!("{} is {age} old (limit {limit})", read.label());
    report.add(level, sentence);
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
        given.map_or_else(|| usual_limit(read), |limit| limit.age)
    }
}

/// A line is read on a telephone: a few, and how many more there are.
pub(crate) fn some_of(texts: &[String], separator: &str) -> String {
    let mut shown = texts[..texts.len().min(SHOWN)].to_vec();
    if texts.len() > SHOWN {
        shown.push(format!("and {} more", texts.len() - SHOWN));
    }
    shown.join(separator)
}
