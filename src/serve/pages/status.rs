//! `/`: what became of the last run, and how old everything is. No value of a record is on it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::{outcome_tone, run_cell, run_link, time};
use crate::convert::{counted, grouped, span, span_of};
use crate::serve::charts::{self, Bar, Chart, Column, Figure, Line, Square, TableCell, Tone};
use crate::serve::documents::Overview;
use crate::staging::{CommandRecord, Work};
use crate::status::check::{Finding, Level};
use crate::status::last::LastRun;
use crate::status::{ReadStatus, Status};

/// Days of squares.
const DAYS: i64 = 14;
/// A secret that lives as long warns; `check` says so by itself.
const GIBIBYTE: u64 = 1 << 30;

/// The main part of the page.
pub(crate) fn main(overview: &Overview, now: Timestamp) -> Markup {
    let status = &overview.status;
    html! {
        h1 { "Status" }
        (headline(status, now))
        (findings(overview))
        div class="panels" {
            div class="panel full" { (days(&overview.commands, now)) }
            div class="panel full" { (figures(overview, now)) }
            @if !status.resources.is_empty() {
                div class="panel" { (ages(overview)) }
            }
            div class="panel" { (hours(overview)) }
            @if !status.resources.is_empty() {
                div class="panel full" { (reads(&status.resources)) }
            }
        }
        (places(status))
    }
}

/// The last run in a sentence.
fn headline(status: &Status, now: Timestamp) -> Markup {
    let Some(last) = &status.last_run else {
        return html! {
            p class="lead" {
                "Nothing was read here yet. "
                @if status.is_no_project {
                    code { "cursus init" } " writes the configuration of a project, "
                }
                code { "cursus run" } " makes the first run."
            }
        };
    };
    html! {
        (sentence("run", last, now))
        @if let Some(load) = &status.last_load
            && load.finished_at > last.finished_at
        {
            (sentence("load", load, now))
        }
    }
}

fn sentence(what: &str, last: &LastRun, now: Timestamp) -> Markup {
    let tone = outcome_tone(&last.outcome);
    html! {
        p class={ "lead " (tone_class(tone)) } {
            "The last " (what) " "
            @match last.outcome.as_str() {
                "running" => { strong { "is running" } },
                "complete" => { "was " strong { "complete" } },
                outcome => { "ended as " strong { bdi { (charts::shown(outcome)) } } },
            }
            ", "
            @match last.finished_at {
                Some(at) => { (span(now.duration_since(at))) " ago" },
                None => { "begun " (span(now.duration_since(last.started_at))) " ago" },
            }
            @if let Some(id) = &last.run_id {
                ": " (run_link(id))
            }
        }
        @if let Some(error) = &last.error {
            p class="why" { bdi { (super::text(error)) } }
        }
    }
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Ok => "is-ok",
        Tone::Warning => "is-warning",
        Tone::Failed => "is-failed",
        Tone::Plain | Tone::None => "is-plain",
    }
}

/// What monitoring would say, where that is more than the last run.
fn findings(overview: &Overview) -> Markup {
    let state = overview.check.state;
    let mut wrong: Vec<&Finding> = (overview.check.findings.iter())
        .filter(|finding| finding.level > Level::Ok && !finding.text.starts_with("last run "))
        .collect();
    wrong.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    html! {
        @if !wrong.is_empty() {
            section class={ "notice " @if state == Level::Critical { "bad" } } aria-label="What needs attention" {
                ul {
                    @for finding in wrong {
                        li { strong { (finding.level.name()) } " " bdi { (super::text(&finding.text)) } }
                    }
                }
            }
        }
    }
}

/// Two weeks of runs, a square a day.
fn days(commands: &[CommandRecord], now: Timestamp) -> Markup {
    let chart = Chart {
        caption: "A day has the colour of its worst run.",
        ..Chart::new("days", "Runs of 14 days")
    };
    let number = |at: Timestamp| at.as_second().div_euclid(24 * 3600);
    let squares = (0..DAYS).rev().map(|back| {
        let at = now - SignedDuration::from_hours(24 * back);
        let day = at.strftime("%Y-%m-%d");
        let of_day = commands.iter().filter(|command| {
            number(command.started_at) == number(at) && command.work() == Work::Run
        });
        let tones: Vec<Tone> = of_day
            .map(|command| outcome_tone(&command.outcome))
            .collect();
        let count = |tone: Tone| tones.iter().filter(|found| **found == tone).count();
        let (failed, warned) = (count(Tone::Failed), count(Tone::Warning));
        let name = at.strftime("%-d %B").to_string();
        let mut text = match tones.len() as u64 {
            0 => format!("{name}: no run"),
            runs => format!("{name}: {}", counted(runs, "run")),
        };
        if failed > 0 {
            text = format!("{text}, {failed} failed");
        }
        if warned > 0 {
            text = format!("{text}, {warned} with a warning");
        }
        Square {
            label: if at.strftime("%-d").to_string() == "1" {
                at.strftime("%-d %b").to_string()
            } else {
                at.strftime("%-d").to_string()
            },
            text: if back == 0 {
                format!("{text} so far")
            } else {
                text
            },
            tone: if failed > 0 {
                Tone::Failed
            } else if warned > 0 {
                Tone::Warning
            } else if tones.is_empty() {
                Tone::None
            } else {
                Tone::Ok
            },
            count: tones.len() as u64,
            link: (!tones.is_empty()).then(|| format!("/runs?day={day}")),
        }
    });
    charts::squares(&chart, &squares.collect::<Vec<_>>())
}

#[expect(clippy::cast_precision_loss, reason = "shown as text")]
fn figures(overview: &Overview, now: Timestamp) -> Markup {
    let status = &overview.status;
    let figure = |label: &str, value: Option<f64>, text: Option<String>| Figure {
        label: label.to_owned(),
        value: value.unwrap_or(f64::NAN),
        text,
        ..Figure::default()
    };
    let mut all = Vec::new();
    let requests = &status.requests;
    all.push(Figure {
        note: requests
            .per_hour
            .map(|limit| format!("of {} this hour", grouped(limit))),
        ..figure(
            "Requests left",
            requests.remaining.map(|left| left as f64),
            None,
        )
    });
    let days = status
        .secret_valid_until
        .map(|until| until.duration_since(now).as_secs().div_euclid(86_400));
    all.push(Figure {
        note: Some("of the client secret".to_owned()),
        tone: match days {
            Some(..=1) => Tone::Failed,
            Some(..=6) => Tone::Warning,
            _ => Tone::Plain,
        },
        ..figure("Days left", days.map(|days| days as f64), None)
    });
    if let Some(disk) = &status.disk {
        let text = |bytes: u64| {
            charts::figure_text(((bytes as f64) / (GIBIBYTE as f64) * 10.0).round() / 10.0)
        };
        all.push(Figure {
            note: Some(format!("of {} GiB", text(disk.size_bytes))),
            tone: match disk.free_bytes {
                free if free < GIBIBYTE / 2 => Tone::Failed,
                free if free < 2 * GIBIBYTE => Tone::Warning,
                _ => Tone::Plain,
            },
            ..figure(
                "GiB free",
                Some(disk.free_bytes as f64),
                Some(text(disk.free_bytes)),
            )
        });
    }
    let backlog = overview.backlog;
    let age = |at: Timestamp| {
        let is_now = status.quarantined.is_some();
        (!is_now).then(|| format!("{} ago", span(now.duration_since(at))))
    };
    for (label, rows) in [
        ("Held deletes", backlog.map(|known| known.held)),
        ("Quarantined rows", backlog.map(|known| known.quarantined)),
    ] {
        all.push(Figure {
            note: backlog.and_then(|known| age(known.at)),
            tone: match rows {
                Some(1..) => Tone::Warning,
                _ => Tone::Plain,
            },
            link: Some("/decisions".to_owned()),
            ..figure(label, rows.map(|rows| rows as f64), None)
        });
    }
    let pending = status.pending.as_ref().map(Vec::len);
    all.push(Figure {
        note: (pending > Some(0)).then(|| "cursus load".to_owned()),
        ..figure("Runs not loaded", pending.map(|runs| runs as f64), None)
    });
    charts::figures(&Chart::new("figures", "At a glance"), &all)
}

#[expect(clippy::cast_precision_loss, reason = "a picture")]
fn hours(overview: &Overview) -> Markup {
    let columns = overview.hours.iter().map(|hour| Column {
        label: hour.starts_at.strftime("%H:%M").to_string(),
        value: hour.requests.round(),
        ..Column::default()
    });
    let requests = &overview.status.requests;
    let mut lines = Vec::new();
    if let Some(limit) = overview.advertised {
        lines.push(Line {
            label: "limit of the API".to_owned(),
            value: limit as f64,
        });
    }
    if let Some(limit) = requests
        .per_hour
        .filter(|limit| Some(*limit) != overview.advertised)
    {
        lines.push(Line {
            label: "without the reserve".to_owned(),
            value: limit as f64,
        });
    }
    let chart = Chart {
        unit: "requests",
        caption: "Of commands that have ended, each spread over the time that it took. Hours are UTC.",
        ..Chart::new("requests", "Requests by hour")
    };
    charts::columns(&chart, &columns.collect::<Vec<_>>(), &lines)
}

/// A bar a read: how old it is.
#[expect(clippy::cast_precision_loss, reason = "a picture")]
fn ages(overview: &Overview) -> Markup {
    let reads = overview.status.resources.iter().zip(&overview.limits);
    let bars = reads.map(|(read, limit)| {
        let age = read.age_s.map(|age| u64::try_from(age).unwrap_or(0));
        let long = |seconds| span_of(Duration::from_secs(seconds));
        Bar {
            label: read.label(),
            value: age.unwrap_or(0) as f64 / 3600.0,
            text: Some(age.map_or_else(|| "never".to_owned(), long)),
            tone: match age {
                None => Tone::None,
                Some(age) if age > limit.as_secs().saturating_mul(2) => Tone::Failed,
                Some(age) if age > limit.as_secs() => Tone::Warning,
                Some(_) => Tone::Ok,
            },
            ..Bar::default()
        }
    });
    let chart = Chart {
        caption: "Since it was known completely. Its colour changes when cursus check would warn.",
        ..Chart::new("ages", "Age of each read")
    };
    charts::bars(&chart, &bars.collect::<Vec<_>>())
}

fn reads(reads: &[ReadStatus]) -> Markup {
    let rows = reads.iter().map(|read| {
        let tone = match read.state.as_deref() {
            Some("complete") => Tone::Ok,
            _ => Tone::Warning,
        };
        let known_up_to = read.known_up_to.map(super::time_text);
        vec![
            TableCell::text(read.label()),
            TableCell::of(read.state.clone(), |state| TableCell::State(state, tone)),
            TableCell::of(read.mode.as_deref(), TableCell::text),
            TableCell::of(known_up_to, TableCell::text),
            TableCell::of(read.rows, TableCell::count),
            TableCell::of(read.loaded_run.as_deref(), |run| match run {
                "unknown" => TableCell::text(run),
                run => run_cell(run),
            }),
        ]
    });
    let names = [
        "Resource",
        "State",
        "Last read",
        "Known up to (UTC)",
        "Rows",
        "Loaded run",
    ];
    let chart = Chart::new("reads", "Reads");
    charts::table(&chart, &names.map(str::to_owned), &rows.collect::<Vec<_>>())
}

fn places(status: &Status) -> Markup {
    html! {
        section aria-labelledby="places" {
            h2 id="places" { "Where" }
            dl class="facts" {
                dt { "Staging" }
                dd { bdi { (super::text(&status.staging)) } " (" (counted(status.runs as u64, "run")) ")" }
                dt { "Mirror" }
                dd {
                    @match &status.mirror.place {
                        Some(place) => {
                            bdi { (super::text(&format!("{}, database {}, schema {}, role {}", place.server, place.database, status.mirror.schema, place.role))) }
                        }
                        None => "unknown",
                    }
                }
                dt { "Database" }
                dd { bdi { (super::text(&status.database)) } }
                @if let Some(until) = status.secret_valid_until {
                    dt { "Client secret" }
                    dd { "until " (time(until)) }
                }
            }
        }
    }
}
