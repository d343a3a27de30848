//! `cursus plan`: what a run would read and why, what it would cost, and how long it would take. Stages nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::api::{self, Allowance, ApiError};
use crate::cli::{Global, PlanArgs};
use crate::config::{Config, Resource};
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::extract::{Probe, probe};
use crate::forecast::{self, ForecastInput, PlannedRead, Totals};
use crate::name::Name;
use crate::pipeline;
use crate::plan::{self, Decider, Decision, EarlierReads, ServerNow, Step};
use crate::report::{Column, Table, counted, grouped, took};
use crate::settings::Settings;
use crate::staging::Run;

/// The limits of the API before a run has met them.
const DEFAULT_LIMITS: (f64, u64) = (2.0, 1_200);

#[derive(Serialize)]
struct PlanReport {
    host: String,
    offline: bool,
    resources: Vec<Line>,
    /// All of them, more if `at_least`; `None` if unknown, as are then `seconds` and `done_at`.
    hits: Option<u64>,
    at_least: bool,
    probing_hits: u64,
    seconds: Option<u64>,
    /// Server time; without an answer our own.
    done_at: Option<Timestamp>,
    hour: Hour,
    /// What each pack costs of it, if packs were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packs: Vec<PackCost>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct PackCost {
    name: String,
    resources: Vec<Name>,
    hits: Option<u64>,
    at_least: bool,
}

#[derive(Serialize)]
struct Line {
    name: Name,
    mode: String,
    reason: String,
    rows: Option<u64>,
    hits: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reads: Vec<Line>,
}

#[derive(Serialize)]
struct Hour {
    limit: u64,
    remaining: u64,
}

struct ProbeResult<'a> {
    /// Of each read of a resource, its own first.
    decisions: BTreeMap<Name, Vec<(&'a Resource, Decision)>>,
    totals: Totals,
    /// How far the server's clock is ahead of ours, if a response has shown it.
    clock_skew: Option<SignedDuration>,
    warnings: Vec<String>,
}

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &PlanArgs,
) -> Result<Exit, Failure> {
    let config = &settings.config;
    let read = &arguments.read;
    let resources = plan::select(config, &read.select, &read.exclude)?;
    let request = pipeline::extract::read_options(read, BTreeMap::new());
    let mut runs = settings.staging.runs()?;
    let spec = pipeline::extract::run_spec(settings, read, &resources);
    let unfinished = match request.window {
        Some(_) => None,
        None => settings.staging.unfinished(crate::clock::now(), &spec)?,
    };
    runs.retain(|run| (unfinished.as_ref()).is_none_or(|unfinished| run.id() != unfinished.id()));
    let earlier_reads = EarlierReads::read(config, &runs)?;
    let past = ForecastInput {
        config,
        runs: &runs,
        earlier_reads: &earlier_reads,
        request: &request,
        unfinished: unfinished.as_ref(),
    };
    let planner = Planner {
        past: &past,
        resources: &resources,
    };
    let (found, allowance, probing_hits) = if arguments.offline {
        (
            planner.undisturbed(),
            offline_allowance(settings, &runs).await?,
            0,
        )
    } else {
        let client = settings.question_client(false)?;
        let found = planner.probe(&client).await?;
        let hits = client.statistics().requests;
        (found, client.allowance().await?, hits)
    };
    let now = found.now();
    let mut decisions = found.decisions;
    let decided = (resources.iter())
        .filter_map(|resource| decisions.remove(&resource.name))
        .flatten()
        .collect();
    let planned = past.forecast(decided, now, &found.totals, &Totals::new());
    let mut report = report(&planned, &allowance, now);
    settings.api_url.host().clone_into(&mut report.host);
    report.offline = arguments.offline;
    report.probing_hits = probing_hits;
    report.packs = (arguments.pack.iter())
        .map(|pack| cost_of(pack, config, &planned))
        .collect();
    report.warnings.splice(0..0, found.warnings);
    print(global, settings, &report, &allowance);
    Ok(Exit::Done)
}

struct Planner<'a> {
    past: &'a ForecastInput<'a>,
    resources: &'a [&'a Resource],
}

impl<'a> Planner<'a> {
    fn decide(&self, resource: &'a Resource, present: ServerNow) -> Vec<(&'a Resource, Decision)> {
        let decider = Decider {
            config: self.past.config,
            earlier_reads: self.past.earlier_reads,
            request: self.past.request,
            server: present,
        };
        decider.decide(resource)
    }

    /// Decisions by our own clock.
    fn undisturbed(&self) -> ProbeResult<'a> {
        let present = ServerNow::local(crate::clock::now());
        let decide =
            |resource: &&'a Resource| (resource.name.clone(), self.decide(resource, present));
        ProbeResult {
            decisions: self.resources.iter().map(decide).collect(),
            totals: Totals::new(),
            clock_skew: None,
            warnings: Vec::new(),
        }
    }

    /// One request for each resource that is read, except fan-outs, whose parents' ids are enough.
    async fn probe(&self, client: &api::Client) -> Result<ProbeResult<'a>, ApiError> {
        let mut found = self.undisturbed();
        // As in a run, the first answer has the server's time, by which all other reads are decided.
        let Some(pilot) = found.questions(self).first().copied() else {
            return Ok(found);
        };
        let answer = self.ask(client, &found, pilot).await;
        found.record_probe(pilot, answer)?;
        let present = ServerNow {
            now: found.now(),
            clock_skew: found.clock_skew,
        };
        for resource in self.resources {
            let mut decisions = self.decide(resource, present);
            if let Some(decided) = found.decisions.get_mut(&resource.name) {
                // What the pilot does was decided without the server's time.
                let is_pilot = |(read, _): &&(&Resource, Decision)| read.label() == pilot.label();
                let (was, now) = (
                    decided.iter().find(is_pilot),
                    decisions.iter().position(|it| is_pilot(&it)),
                );
                if let (Some(was), Some(now)) = (was, now) {
                    decisions[now] = was.clone();
                }
                *decided = decisions;
            }
        }
        let questions = found.questions(self);
        let mut probes: FuturesUnordered<_> = questions
            .into_iter()
            .filter(|read| read.label() != pilot.label())
            .map(async |resource| (resource, self.ask(client, &found, resource).await))
            .collect();
        let mut answers = Vec::new();
        while let Some(answer) = probes.next().await {
            answers.push(answer);
        }
        drop(probes);
        for (resource, answer) in answers {
            found.record_probe(resource, answer)?;
        }
        Ok(found)
    }

    async fn ask(
        &self,
        client: &api::Client,
        found: &ProbeResult<'_>,
        resource: &Resource,
    ) -> Result<Probe, ApiError> {
        let step = found.step(resource).unwrap_or(&Step::Full);
        probe(client, self.past.config, resource, step).await
    }
}

impl<'a> ProbeResult<'a> {
    fn step(&self, read: &Resource) -> Option<&Step> {
        let reads = self.decisions.get(&read.name)?;
        let is_it = |(other, _): &&(&Resource, Decision)| other.read_name() == read.read_name();
        reads.iter().find(is_it).map(|(_, decision)| &decision.step)
    }

    /// Reads whose size a request shows: the resources' own, and named ones that were never read.
    fn questions(&self, planner: &Planner<'a>) -> Vec<&'a Resource> {
        let past = planner.past;
        let resources = planner.resources.iter();
        let reads = resources.filter_map(|resource| self.decisions.get(&resource.name));
        reads
            .flatten()
            .filter(|(read, decision)| read.for_each.is_none() && decision.step != Step::Skip)
            .map(|(read, _)| *read)
            .filter(|read| read.read.is_none() || past.earlier_reads.of(read).is_empty())
            .filter(|read| past.is_final(&read.name).is_none())
            .collect()
    }

    fn now(&self) -> Timestamp {
        crate::clock::now()
            .saturating_add(self.clock_skew.unwrap_or_default())
            .unwrap_or(Timestamp::MAX)
    }

    fn record_probe(
        &mut self,
        resource: &Resource,
        answer: Result<Probe, ApiError>,
    ) -> Result<(), ApiError> {
        match answer {
            Ok(probe) => {
                if let Some(date) = probe.date {
                    self.clock_skew = Some(date.duration_since(crate::clock::now()));
                }
                if let Some(total) = probe.total {
                    let key = (resource.name.clone(), resource.read_name().cloned());
                    self.totals.insert(key, total);
                }
                Ok(())
            }
            Err(error) if !error.is_fatal_for_run() => {
                let sentence = format!("{} cannot be read: {}", resource.label(), chain(&error));
                self.warnings.push(sentence);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Limits as the newest run met them; what is left of the hour, as the ledger has it.
async fn offline_allowance(settings: &Settings, runs: &[Run]) -> Result<Allowance, Failure> {
    let api = &settings.config.api;
    let figure =
        |name: &str| (runs.iter().rev()).find_map(|run| run.record().rate.get(name)?.as_u64());
    let (per_second, per_hour) = DEFAULT_LIMITS;
    #[expect(clippy::cast_precision_loss, reason = "a rate is far below 2^52")]
    let per_second = figure("limit_per_second").map_or(per_second, |rate| rate as f64);
    let per_hour = figure("limit_per_hour")
        .unwrap_or(per_hour)
        .saturating_sub(u64::from(api.reserve_per_hour));
    let mut allowance = Allowance {
        per_second: api
            .requests_per_second
            .map_or(per_second, |cap| cap.min(per_second)),
        per_hour: api
            .requests_per_hour
            .map_or(per_hour, |cap| per_hour.min(u64::from(cap))),
        left: 0,
        hour: Duration::from_hours(1),
        used: Vec::new(),
    };
    // Without credentials there is no ledger to look at.
    if settings.credentials().is_ok() {
        allowance.used = settings.question_client(false)?.allowance().await?.used;
    }
    let used: u64 = allowance.used.iter().map(|(_, count)| count).sum();
    allowance.left = allowance.per_hour.saturating_sub(used);
    Ok(allowance)
}

fn report(planned: &[PlannedRead], allowance: &Allowance, now: Timestamp) -> PlanReport {
    let (hits, at_least) = forecast::hits(planned);
    let time = hits.map(|hits| allowance.time_for(hits));
    let mut warnings = Vec::new();
    if let Some(hits) = hits.filter(|hits| *hits > allowance.left) {
        warnings.push(format!(
            "{} needed, but only {} are left of this hour's {}: the run waits for the next hour, or with --no-wait \
             stops there and can be resumed",
            if hits == 1 { "1 hit is".to_owned() } else { format!("{} hits are", grouped(hits)) },
            grouped(allowance.left),
            grouped(allowance.per_hour),
        ));
    }
    PlanReport {
        host: String::new(),
        offline: false,
        resources: lines(planned),
        hits,
        at_least,
        probing_hits: 0,
        seconds: time.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)),
        done_at: time
            .and_then(|time| SignedDuration::try_from(time).ok())
            .and_then(|time| now.checked_add(time).ok())
            .and_then(|done| Timestamp::from_second(done.as_second()).ok()),
        hour: Hour {
            limit: allowance.per_hour,
            remaining: allowance.left,
        },
        packs: Vec::new(),
        warnings,
    }
}

fn cost_of(pack: &str, config: &Config, planned: &[PlannedRead]) -> PackCost {
    let resources = config
        .resources
        .iter()
        .filter(|one| one.pack.as_deref() == Some(pack));
    let resources: Vec<Name> = resources.map(|one| one.name.clone()).collect();
    let its = planned
        .iter()
        .filter(|read| resources.contains(&read.name))
        .cloned();
    let (hits, at_least) = forecast::hits(&its.collect::<Vec<_>>());
    PackCost {
        name: pack.to_owned(),
        resources,
        hits,
        at_least,
    }
}

/// Why a forecast is missing, and what to do.
fn unknown(report: &PlanReport) -> &'static str {
    if report.offline {
        "no earlier run shows it; `cursus plan` without --offline asks the API with one request a resource"
    } else {
        "the API does not show it; see the warnings"
    }
}

/// A line a resource, with its named reads in it.
fn lines(planned: &[PlannedRead]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for one in planned {
        let line = Line {
            name: one.read.as_ref().unwrap_or(&one.name).clone(),
            mode: (one.mode).map_or_else(|| "skip".to_owned(), |mode| mode.to_string()),
            reason: one.reason.clone(),
            rows: one.expected.rows,
            hits: one.expected.hits,
            reads: Vec::new(),
        };
        if one.read.is_none() {
            lines.push(line);
            continue;
        }
        if lines.last().is_none_or(|last| last.name != one.name) {
            // It consists of named reads alone.
            lines.push(Line {
                name: one.name.clone(),
                mode: "reads".to_owned(),
                reason: "by its named reads".to_owned(),
                rows: Some(0),
                hits: Some(0),
                reads: Vec::new(),
            });
        }
        if let Some(last) = lines.last_mut() {
            last.hits = last.hits.zip(line.hits).map(|(sum, more)| sum + more);
            last.reads.push(line);
        }
    }
    lines
}

fn print(global: &Global, settings: &Settings, report: &PlanReport, allowance: &Allowance) {
    if global.json {
        super::print_json(report);
    } else {
        let figure = |figure: Option<u64>| figure.map_or_else(|| "unknown".to_owned(), grouped);
        let with_reads = report.resources.iter().flat_map(|line| {
            let reads = line.reads.iter();
            let reads = reads.map(|read| (format!("{} ({})", line.name, read.name), read));
            std::iter::once((line.name.to_string(), line)).chain(reads)
        });
        let rows = with_reads.map(|(name, line)| {
            vec![
                name,
                line.mode.clone(),
                line.reason.clone(),
                figure(line.rows),
                figure(line.hits),
            ]
        });
        let columns = [
            Column::fixed("resource"),
            Column::fixed("mode"),
            Column::text("why").rank(2),
            Column::number("rows").rank(1),
            Column::number("hits"),
        ];
        super::print_table(&Table::new(columns, rows));
        let at_least = if report.at_least { "at least " } else { "" };
        let clock = if report.offline {
            "this machine's"
        } else {
            "the server's"
        };
        let done = report.done_at.map_or_else(String::new, |done| {
            format!("; done at {done} by {clock} clock")
        });
        super::print_line(&match report.hits.zip(report.seconds) {
            Some((hits, seconds)) => format!(
                "{at_least}{}, {:.1} a second: {at_least}{}{done}",
                counted(hits, "hit"),
                allowance.per_second,
                took(Duration::from_secs(seconds)),
            ),
            None => format!(
                "how many hits and how long is not known: {}",
                unknown(report)
            ),
        });
        for pack in &report.packs {
            let hits = pack.hits.map_or_else(
                || "an unknown number of hits".to_owned(),
                |hits| counted(hits, "hit"),
            );
            let at_least = if pack.at_least && pack.hits.is_some() {
                "at least "
            } else {
                ""
            };
            super::print_line(&format!(
                "of these for the pack {}: {at_least}{hits}",
                pack.name
            ));
        }
        super::print_line(&format!(
            "this hour: {} of {} hits are left; {} more are reserved for others",
            grouped(report.hour.remaining),
            grouped(report.hour.limit),
            settings.config.api.reserve_per_hour,
        ));
        let host = &report.host;
        super::print_line(&if report.offline {
            format!("from staged runs, without a request to {host}")
        } else {
            format!(
                "probed {host} with {}",
                counted(report.probing_hits, "request")
            )
        });
    }
    super::sentences(&report.warnings, &[]);
}
