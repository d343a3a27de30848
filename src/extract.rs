//! The API → staged pages. Knows nothing of PostgreSQL.
//!
//! Resources are read at the same time: the client's limiter decides who is next. One that fans out over
//! another's ids waits for it.

mod answered;
mod clock;
mod fan_out;
pub(crate) mod ids;
pub(crate) mod inspect;
mod page;
mod probe;
mod question;
mod read;
mod scan;
mod seal;
mod slices;
mod verify;
pub(crate) mod windows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use roaring::RoaringTreemap;
use tracing::{error, info, warn};

use crate::api::{self, ApiError};
use crate::chain::chain;
use crate::config::{Config, Resource};
use crate::name::Name;
use crate::plan::{self, Decision, History, Present, Step};
use crate::progress::Progress;
use crate::staging::{
    Asked, KnownPages, Manifest, Mode, Outcome, PageEntry, ReadManifest, ResourceSummary,
    ResourceWriter, Run, Staging, StagingError, StagingLock,
};

pub use probe::{Probe, probe};
pub use verify::{Verified, verify};

use clock::ServerClock;
use ids::StagedIds;
use question::Question;
use read::{ReadError, Reader};

/// What a run is to read.
pub struct Extraction<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The API.
    pub client: api::Client,
    /// The resources, in dependency order.
    pub resources: Vec<&'a Resource>,
    /// What the command line asks for.
    pub request: plan::Request,
    /// What is staged already, in order.
    pub runs: Vec<Run>,
    /// The new run's number is above this.
    pub floor: u64,
    /// Go on with the newest run, if it ended before its time.
    pub resume: bool,
    /// Where progress is shown.
    pub progress: &'a Progress,
}

/// What became of a run.
#[derive(Debug)]
pub struct Extracted {
    /// The run, closed.
    pub run: Run,
    /// Why it ended early.
    pub stopped: Option<ExtractError>,
    /// What was known when it began.
    pub history: History,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The API, for good.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// A panic in a thread of ours.
    #[error("{0}")]
    Internal(String),
}

impl From<ReadError> for ExtractError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Api(error) => Self::Api(error),
            ReadError::Staging(error) | ReadError::Ids(error) => Self::Staging(error),
            error @ (ReadError::Thread | ReadError::FilterIgnored { .. }) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

/// Reads all resources into a new run and closes it. Dropping the future leaves the run open.
pub async fn extract(
    staging: &Staging,
    lock: &StagingLock,
    mut extraction: Extraction<'_>,
    asked: &Asked,
) -> Result<Extracted, StagingError> {
    let now = crate::clock::now();
    let resumed = if extraction.resume {
        staging.resume(lock, now, asked)?
    } else {
        None
    };
    let doing = if resumed.is_some() {
        "going on in"
    } else {
        "staging into"
    };
    let mut run = match resumed {
        Some(run) => run,
        None => staging.create_run(lock, now, extraction.floor, asked)?,
    };
    let clock = ServerClock::of(extraction.config, &run)?;
    extraction.runs.retain(|other| other.id() != run.id());
    info!(run = %run.id(), "{doing} {}", run.directory().display());
    let history = History::read(extraction.config, &extraction.runs)?;
    let mut reading = Reading {
        extraction: &extraction,
        history: &history,
        run: &run,
        lock,
        ids: StagedIds::default(),
        clock,
    };
    let (mut summaries, stopped) = reading.all().await;
    // Pages of reads that were given up may still be being written: the run is not closed before their last one.
    lock.wait_for_shares().await;
    extraction.progress.clear();
    summaries.sort_by_key(|summary| {
        extraction
            .resources
            .iter()
            .position(|resource| resource.name == summary.name)
    });
    let outcome = match &stopped {
        Some(ExtractError::Api(error)) if error.is_used_up() => Outcome::Stopped,
        Some(_) => Outcome::Failed,
        None if summaries.iter().any(ResourceSummary::is_incomplete) => Outcome::Partial,
        None => Outcome::Complete,
    };
    let statistics = extraction.client.statistics();
    let error = stopped.as_ref().map(|error| chain(error));
    run.update(|record| {
        record.state = crate::staging::RunState::Closed;
        record.outcome = Some(outcome);
        record.error = error;
        record.finished_at = Some(crate::clock::now());
        record.mode = mode_of(&summaries);
        record.hits += statistics.hits;
        record.resources = summaries;
        record.rate = rate(&statistics);
    })?;
    Ok(Extracted {
        run,
        stopped,
        history,
    })
}

fn skipped(resource: &Name, reasons: &[String]) -> ResourceSummary {
    ResourceSummary::without_pages(resource.clone(), "skipped", reasons.join("; "))
}

/// Full if all that was read was read in full and nothing else was to be read; none if nothing was read.
fn mode_of(summaries: &[ResourceSummary]) -> Option<Mode> {
    let is_read = |summary: &ResourceSummary| summary.mode.is_some() || !summary.reads.is_empty();
    if !summaries.iter().any(is_read) {
        return None;
    }
    let mut due = summaries
        .iter()
        .filter(|summary| summary.state != "skipped");
    let is_full = due.all(|summary| summary.mode == Some(Mode::Full));
    Some(if is_full { Mode::Full } else { Mode::Delta })
}

/// Rate-limit figures for `run.json` and the summary.
fn rate(statistics: &api::Statistics) -> serde_json::Map<String, serde_json::Value> {
    let seen = statistics.rate;
    let figures = [
        ("token_requests", Some(statistics.token_requests)),
        ("rejected_429", Some(statistics.rejected_429)),
        ("retries", Some(statistics.retries)),
        (
            "waited_ms",
            u64::try_from(statistics.waited.as_millis()).ok(),
        ),
        ("limit_per_second", seen.second_limit),
        ("limit_per_hour", seen.hour_limit),
        ("remaining_this_hour", seen.hour_remaining),
    ];
    figures
        .into_iter()
        .map(|(name, figure)| (name.to_owned(), figure.into()))
        .collect()
}

struct Reading<'a> {
    extraction: &'a Extraction<'a>,
    history: &'a History,
    run: &'a Run,
    lock: &'a StagingLock,
    ids: StagedIds,
    clock: ServerClock,
}

impl Reading<'_> {
    /// All resources, those that fan out after those whose ids they need.
    async fn all(&mut self) -> (Vec<ResourceSummary>, Option<ExtractError>) {
        let mut summaries = Vec::new();
        let mut waiting: Vec<&Resource> = self.extraction.resources.clone();
        let mut is_first = true;
        while !waiting.is_empty() {
            let (ready, later): (Vec<_>, Vec<_>) = waiting.iter().partition(|resource| {
                resource
                    .for_each
                    .as_ref()
                    .is_none_or(|each| !waiting.iter().any(|other| other.name == each.ids_of))
            });
            // The first answer tells the server's time, by which all others are decided.
            let is_unknown = is_first && self.clock.known_now().is_none();
            let pilot = if is_unknown { self.pilot(&ready) } else { None };
            if pilot.is_none() {
                self.clock.give_up();
            }
            is_first = false;
            let mut reads: FuturesUnordered<_> = ready
                .iter()
                .map(|resource| self.resource(resource, pilot == Some(&resource.name)))
                .collect();
            let mut stopped = None;
            while let Some(read) = reads.next().await {
                match read {
                    Ok(summary) => summaries.push(summary),
                    // What is under way is staged; it cannot ask for more.
                    Err(ExtractError::Api(error)) if error.is_used_up() => {
                        stopped.get_or_insert(ExtractError::Api(error));
                    }
                    Err(error) => {
                        stopped = Some(error);
                        break;
                    }
                }
            }
            drop(reads);
            if let Some(stopped) = stopped {
                for resource in &self.extraction.resources {
                    if !summaries
                        .iter()
                        .any(|summary| summary.name == resource.name)
                    {
                        summaries.push(ResourceSummary::without_pages(
                            resource.name.clone(),
                            "stopped",
                            "the run ended before it was read whole".to_owned(),
                        ));
                    }
                }
                return (summaries, Some(stopped));
            }
            waiting = later;
        }
        (summaries, None)
    }

    /// A resource that is read whatever the time is.
    fn pilot<'r>(&self, ready: &[&'r Resource]) -> Option<&'r crate::name::Name> {
        let now = crate::clock::now();
        // By our clock alone, what has a min_age might be read too early.
        ready
            .iter()
            .filter(|resource| {
                let decisions = self.decide(resource, Present::of_ours(now));
                decisions
                    .iter()
                    .any(|(_, decision)| decision.step != Step::Skip)
            })
            // One without an order would be asked for a page more.
            .min_by_key(|resource| (!resource.min_age.is_zero(), resource.sort.is_none()))
            .map(|resource| &resource.name)
    }

    fn decide<'r>(
        &self,
        resource: &'r Resource,
        present: Present,
    ) -> Vec<(&'r Resource, Decision)> {
        let request = &self.extraction.request;
        plan::decide(
            self.extraction.config,
            resource,
            self.history,
            request,
            present,
        )
    }

    /// What to read, if the answers have shown that a delta began too late.
    fn earlier(&self, resource: &Resource, asked: &Decision) -> Option<Decision> {
        let start_of = |decision: &Decision| match decision.step {
            Step::Delta { start, end: None } => Some(start),
            _ => None,
        };
        let present = Present {
            now: self.clock.known_now()?,
            ahead: self.clock.ahead(),
        };
        let asked = start_of(asked)?;
        let whole = self.extraction.config.resource(resource.name.as_str())?;
        let mut decisions = self.decide(whole, present).into_iter();
        let (_, decision) = decisions.find(|(read, _)| read.read_name() == resource.read_name())?;
        (start_of(&decision)? < asked).then_some(decision)
    }

    async fn resource(
        &self,
        resource: &Resource,
        is_pilot: bool,
    ) -> Result<ResourceSummary, ExtractError> {
        let done = self.all_reads(resource, is_pilot).await;
        if is_pilot {
            self.clock.give_up();
        }
        let name = &resource.name;
        match done {
            Ok(summary) => Ok(summary),
            // Others can be read all the same.
            Err(error) if !error.is_fatal_for_run() => {
                error!(resource = %name, "not read: {}", chain(&error));
                Ok(ResourceSummary::without_pages(
                    name.clone(),
                    "failed",
                    chain(&error),
                ))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn all_reads(
        &self,
        resource: &Resource,
        is_pilot: bool,
    ) -> Result<ResourceSummary, ReadError> {
        let name = &resource.name;
        if let Some(manifest) = self.run.manifest(name)? {
            return Ok(ResourceSummary::from(&manifest));
        }
        let present = if is_pilot {
            Present::of_ours(crate::clock::now())
        } else {
            Present {
                now: self.clock.now().await,
                ahead: self.clock.ahead(),
            }
        };
        let (due, unread): (Vec<_>, Vec<_>) = { self.decide(resource, present) }
            .into_iter()
            .partition(|(_, decision)| decision.step != Step::Skip);
        for (read, decision) in &unread {
            info!(resource = read.label(), "skipped: {}", decision.reason);
        }
        if due.is_empty() {
            let reasons = unread.into_iter().map(|(_, decision)| decision.reason);
            return Ok(skipped(name, &reasons.collect::<Vec<_>>()));
        }
        let (mut writer, known) = self.writer(resource, |_| true).await?;
        let mut known = ByRead(known);
        let (mut own, mut named, mut reasons) = (None, BTreeMap::new(), Vec::new());
        let mut due = VecDeque::from(due);
        while let Some((read, decision)) = due.pop_front() {
            let pages = known.take(read)?;
            let started_at = crate::clock::now();
            let asked = match self.to_read(read, decision, own.as_ref()).await {
                Err(error) if read.read.is_some() && !error.is_fatal_for_run() => {
                    error!(resource = read.label(), "not read: {}", chain(&error));
                    self.forget(read, &mut writer).await?;
                    if let Some(name) = read.read_name() {
                        named.insert(
                            name.clone(),
                            self.failed_read(read, chain(&error), started_at),
                        );
                    }
                    continue;
                }
                asked => asked?,
            };
            if asked.decision.step == Step::Skip {
                info!(
                    resource = read.label(),
                    "skipped: {}", asked.decision.reason
                );
                reasons.push((read.read_name().cloned(), asked.decision.reason));
                continue;
            }
            let manifest = match (
                self.read(read, &asked, &mut writer, pages).await,
                read.read_name(),
            ) {
                (Err(error), Some(_)) if !error.is_fatal_for_run() => {
                    error!(resource = read.label(), "not read: {}", chain(&error));
                    // What it staged may be what was not asked for.
                    self.forget(read, &mut writer).await?;
                    self.failed_read(read, chain(&error), started_at)
                }
                (manifest, _) => manifest?,
            };
            reasons.push((read.read_name().cloned(), asked.decision.reason));
            match read.read_name() {
                Some(read) => drop(named.insert(read.clone(), manifest)),
                None => {
                    own = Some(manifest);
                    // The first answer has told by what time the others are due.
                    if let Some(now) = self.clock.known_now().filter(|_| is_pilot) {
                        let ahead = self.clock.ahead();
                        let decisions = plan::named(
                            self.extraction.config,
                            resource,
                            self.history,
                            &self.extraction.request,
                            Present { now, ahead },
                            own.as_ref()
                                .is_some_and(|own: &ReadManifest| own.mode == Mode::Full),
                        );
                        let decisions = decisions.into_iter();
                        due = decisions
                            .filter(|(_, decision)| decision.step != Step::Skip)
                            .collect();
                    }
                }
            }
        }
        if !known.0.is_empty() {
            // Pages that an earlier process staged of reads that are not due any more.
            let others = known.reads()?;
            let kept = move |page: &PageEntry| {
                let read = slices::read_of(page.slice.as_deref()).map(str::to_owned);
                !others.contains(&read)
            };
            (writer, _) = self.writer(resource, kept).await?;
        }
        let journal = writer.journal_sha256()?;
        let Some(manifest) = Manifest::of(name.clone(), own, named, journal) else {
            let reasons = reasons.into_iter().map(|(_, reason)| reason);
            return Ok(skipped(name, &reasons.collect::<Vec<_>>()));
        };
        writer.remove_strangers()?;
        self.run.seal(&manifest)?;
        let mut summary = ResourceSummary::from(&manifest);
        for (read, reason) in reasons {
            match read {
                None => summary.notes.insert(0, reason),
                Some(name) => {
                    let read = summary.reads.iter_mut().find(|read| read.name == name);
                    if let Some(read) = read {
                        read.notes.insert(0, reason);
                    }
                }
            }
        }
        Ok(summary)
    }

    async fn read(
        &self,
        resource: &Resource,
        asked: &ToRead,
        writer: &mut Arc<ResourceWriter>,
        known: KnownPages,
    ) -> Result<ReadManifest, ReadError> {
        let config = self.extraction.config;
        let started_at = crate::clock::now();
        let ToRead {
            decision,
            ids,
            mode,
            doubt,
        } = asked;
        let label = resource.label();
        let task = (self.extraction.progress).task(&label, &format!("{mode}: {}", decision.reason));
        let now = self.clock.known_now();
        let (query, window) = question::of_step(resource, &decision.step);
        let question = Question {
            resource,
            slices: slices::slices(config, resource, query, ids),
            window,
            pages: plan::page_size(config, resource, self.history, now.unwrap_or(started_at)),
            now,
        };
        let clock = |date, received_at| self.clock.told(date, received_at);
        let reader = |writer: &Arc<ResourceWriter>, known| {
            Reader::new(
                &self.extraction.client,
                &question,
                Arc::clone(writer),
                known,
                &task,
                config.api.max_in_flight,
                &clock,
            )
        };
        let mut reading = reader(writer, known);
        if !reading.knows_its_question() {
            drop(reading);
            let known = self.forget(resource, writer).await?;
            reading = reader(writer, known);
        }
        let answered = reading.read().await?;
        // What was decided before any answer told the time.
        if let Some(decision) = self.earlier(resource, decision) {
            let (anew, known) = self.writer(resource, |_| true).await?;
            *writer = anew;
            let asked = ToRead {
                decision,
                ids: ids.clone(),
                mode: *mode,
                doubt: doubt.clone(),
            };
            let known = ByRead(known).take(resource)?;
            return Box::pin(self.read(resource, &asked, writer, known)).await;
        }
        let manifest = self.manifest(&question, *mode, doubt.clone(), answered, started_at);
        for note in &manifest.evidence.notes {
            warn!(resource = label, "{note}");
        }
        task.finish(&format!(
            "{}: {} rows in {} pages",
            manifest.state, manifest.rows, manifest.pages
        ));
        Ok(manifest)
    }

    /// Opens a resource for writing with those pages that an earlier process staged which are `kept`. They are all looked
    /// at, which takes a while.
    async fn writer(
        &self,
        resource: &Resource,
        kept: impl Fn(&PageEntry) -> bool + Send + 'static,
    ) -> Result<(Arc<ResourceWriter>, KnownPages), ReadError> {
        let (run, name, share) = (self.run.clone(), resource.name.clone(), self.lock.share());
        let opened = tokio::task::spawn_blocking(move || run.writer_keeping(share, &name, kept));
        let (writer, known) = opened.await.map_err(|_| ReadError::Thread)??;
        Ok((Arc::new(writer), known))
    }

    /// Takes back what an earlier process staged of a read: none of its pages is known then.
    async fn forget(
        &self,
        resource: &Resource,
        writer: &mut Arc<ResourceWriter>,
    ) -> Result<KnownPages, ReadError> {
        let read = resource.read_name().cloned();
        let of_others = move |page: &PageEntry| {
            slices::read_of(page.slice.as_deref()) != read.as_ref().map(Name::as_str)
        };
        let (anew, known) = self.writer(resource, of_others).await?;
        *writer = anew;
        Ok(ByRead(known).take(resource)?)
    }
}

/// What to read, over which ids of another resource, and what that makes of it.
struct ToRead {
    decision: Decision,
    ids: RoaringTreemap,
    mode: Mode,
    /// Why it cannot be complete.
    doubt: Option<String>,
}

/// Pages that an earlier process staged, by the read that they are of.
struct ByRead(KnownPages);

impl ByRead {
    fn take(&mut self, read: &Resource) -> Result<KnownPages, StagingError> {
        let name = read.read_name().map(Name::as_str);
        (self.0).split_off(|page| slices::read_of(page.slice.as_deref()) == name)
    }

    /// The reads of those that are left.
    fn reads(&self) -> Result<BTreeSet<Option<String>>, StagingError> {
        let read = |page: PageEntry| slices::read_of(page.slice.as_deref()).map(str::to_owned);
        self.0.iter().map(|page| page.map(read)).collect()
    }
}
