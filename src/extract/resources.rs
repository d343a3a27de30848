//! The resources of a run: each is decided on, read, and sealed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use roaring::RoaringTreemap;
use tracing::{debug, error, warn};

use crate::config::Resource;
use crate::convert::counted;
use crate::error_chain::chain;
use crate::name::Name;
use crate::plan::{self, Decider, Decision, EarlierReads, ServerNow, Step};
use crate::staging::{
    KnownPages, Manifest, Mode, PageEntry, ReadManifest, ResourceState, ResourceSummary,
    ResourceWriter, Run, StagingError, StagingLock,
};

use super::clock::ServerClock;
use super::error::{ExtractError, ReadError};
use super::extraction::Extraction;
use super::ids::StagedIds;
use super::page::PageSource;
use super::read::{Reader, reason_of};
use super::read_plan::{self, ReadPlan};
use super::slices;

fn skipped(resource: &Name, reasons: &[String]) -> ResourceSummary {
    ResourceSummary::without_pages(resource.clone(), ResourceState::Skipped, reasons.join("; "))
}

fn why_failed(resource: &Resource, error: &ReadError) -> String {
    match error {
        ReadError::Api(error) => reason_of(resource, error),
        error => chain(error),
    }
}

fn is_due((_, decision): &(&Resource, Decision)) -> bool {
    decision.step != Step::Skip
}

pub(super) struct RunReader<'a> {
    pub(super) extraction: &'a Extraction<'a>,
    pub(super) earlier_reads: &'a EarlierReads,
    pub(super) run: &'a Run,
    pub(super) lock: &'a StagingLock,
    pub(super) ids: StagedIds,
    pub(super) clock: ServerClock,
}

impl RunReader<'_> {
    /// Reads all resources, those that fan out after those whose ids they need.
    pub(super) async fn all(&mut self) -> (Vec<ResourceSummary>, Option<ExtractError>) {
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
            // The first answer shows the server's time, by which all others are decided.
            let is_unknown = is_first && self.clock.known_now().is_none();
            let pilot = if is_unknown { self.pilot(&ready) } else { None };
            if pilot.is_none() {
                self.clock.use_local();
            }
            is_first = false;
            let mut reads: FuturesUnordered<_> = ready
                .iter()
                .map(|resource| self.resource(resource, pilot == Some(&resource.name)))
                .collect();
            let mut failure = None;
            while let Some(read) = reads.next().await {
                match read {
                    Ok(summary) => summaries.push(summary),
                    // Requests in flight are staged; no other is allowed.
                    Err(ExtractError::Api(error)) if error.is_used_up() => {
                        failure.get_or_insert(ExtractError::Api(error));
                    }
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            drop(reads);
            if let Some(failure) = failure {
                for resource in &self.extraction.resources {
                    if !summaries
                        .iter()
                        .any(|summary| summary.name == resource.name)
                    {
                        summaries.push(ResourceSummary::without_pages(
                            resource.name.clone(),
                            ResourceState::Stopped,
                            "the run was stopped before its read was finished".to_owned(),
                        ));
                    }
                }
                return (summaries, Some(failure));
            }
            waiting = later;
        }
        (summaries, None)
    }

    /// A resource that is due whatever the server's time is.
    fn pilot<'r>(&self, ready: &[&'r Resource]) -> Option<&'r crate::name::Name> {
        let now = crate::clock::now();
        // By our clock, a resource with a min_age might be read too early.
        ready
            .iter()
            .filter(|resource| {
                let decisions = self.decider(ServerNow::local(now)).decide(resource);
                decisions.iter().any(is_due)
            })
            // One without an order would cost a request more.
            .min_by_key(|resource| (!resource.min_age.is_zero(), resource.sort.is_none()))
            .map(|resource| &resource.name)
    }

    fn decider(&self, server: ServerNow) -> Decider<'_> {
        Decider {
            config: self.extraction.config,
            earlier_reads: self.earlier_reads,
            request: &self.extraction.request,
            server,
        }
    }

    /// The server's time; `None` before the first answer.
    fn server_now(&self) -> Option<ServerNow> {
        Some(ServerNow {
            now: self.clock.known_now()?,
            clock_skew: self.clock.clock_skew(),
        })
    }

    /// A new decision, if the answers show that a delta began too late.
    fn earlier(&self, resource: &Resource, asked: &Decision) -> Option<Decision> {
        let start_of = |decision: &Decision| match decision.step {
            Step::Delta { start, end: None } => Some(start),
            _ => None,
        };
        let now = self.server_now()?;
        let asked = start_of(asked)?;
        let full = self.extraction.config.resource(resource.name.as_str())?;
        let mut decisions = self.decider(now).decide(full).into_iter();
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
            self.clock.use_local();
        }
        let name = &resource.name;
        match done {
            Ok(summary) => Ok(summary),
            // Others can still be read.
            Err(error) if !error.is_fatal_for_run() => {
                let why = why_failed(resource, &error);
                error!(resource = %name, "not read: {why}");
                Ok(ResourceSummary::without_pages(
                    name.clone(),
                    ResourceState::Failed,
                    why,
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
            ServerNow::local(crate::clock::now())
        } else {
            ServerNow {
                now: self.clock.now().await,
                clock_skew: self.clock.clock_skew(),
            }
        };
        let (due, unread): (Vec<_>, Vec<_>) = { self.decider(present).decide(resource) }
            .into_iter()
            .partition(is_due);
        for (read, decision) in &unread {
            debug!(resource = read.label(), "skipped: {}", decision.reason);
        }
        if due.is_empty() {
            let reasons = unread.into_iter().map(|(_, decision)| decision.reason);
            return Ok(skipped(name, &reasons.collect::<Vec<_>>()));
        }
        let (mut writer, known) = self.writer(resource, |_| true).await?;
        let mut known = PagesByRead(known);
        let (mut own, mut named, mut reasons) = (None, BTreeMap::new(), Vec::new());
        let mut due = VecDeque::from(due);
        while let Some((read, decision)) = due.pop_front() {
            let pages = known.take(read)?;
            let started_at = crate::clock::now();
            let reason = decision.reason.clone();
            let done = self.one_read(read, decision, own.as_ref(), &mut writer, pages);
            let (reason, manifest) = match done.await {
                Err(error) if read.read.is_some() && !error.is_fatal_for_run() => {
                    let why = why_failed(read, &error);
                    error!(resource = read.label(), "not read: {why}");
                    // What it staged may not be what was asked for.
                    self.forget(read, &mut writer).await?;
                    let failed = self.failed_read(read, why, started_at);
                    (reason, Some(failed))
                }
                done => done?,
            };
            reasons.push((read.read_name().cloned(), reason));
            let Some(manifest) = manifest else {
                continue;
            };
            match read.read_name() {
                Some(read) => drop(named.insert(read.clone(), manifest)),
                None => {
                    // By the time of the first answer it is known which others are due.
                    if let Some(now) = self.server_now().filter(|_| is_pilot) {
                        let is_full = manifest.mode == Mode::Full;
                        let decisions = self.decider(now).decide_named_reads(resource, is_full);
                        due = decisions.into_iter().filter(is_due).collect();
                    }
                    own = Some(manifest);
                }
            }
        }
        if !known.0.is_empty() {
            // Pages of reads that an earlier process staged and that are not due any more.
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
        writer.remove_stray_files()?;
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

    /// Reads what was decided; gives the reason, and no manifest if it is skipped after all.
    async fn one_read(
        &self,
        read: &Resource,
        decision: Decision,
        own: Option<&ReadManifest>,
        writer: &mut Arc<ResourceWriter>,
        known: KnownPages,
    ) -> Result<(String, Option<ReadManifest>), ReadError> {
        let task = self.to_read(read, decision, own).await?;
        let manifest = if task.decision.step == Step::Skip {
            debug!(resource = read.label(), "skipped: {}", task.decision.reason);
            None
        } else {
            Some(self.read(read, &task, writer, known).await?)
        };
        Ok((task.decision.reason, manifest))
    }

    async fn read(
        &self,
        resource: &Resource,
        asked: &ReadTask,
        writer: &mut Arc<ResourceWriter>,
        known: KnownPages,
    ) -> Result<ReadManifest, ReadError> {
        let config = self.extraction.config;
        let started_at = crate::clock::now();
        let ReadTask {
            decision,
            ids,
            mode,
            doubt,
        } = asked;
        let label = resource.label();
        let task = (self.extraction.progress).task(&label, &format!("{mode}: {}", decision.reason));
        let now = self.clock.known_now();
        let (query, window) = read_plan::of_step(resource, &decision.step);
        let read = ReadPlan {
            resource,
            slices: slices::slices(config, resource, query, ids),
            window,
            page_size: plan::page_size(
                config,
                resource,
                self.earlier_reads,
                now.unwrap_or(started_at),
            ),
            now,
        };
        let is_asked_for = known
            .iter()
            .all(|page| page.is_ok_and(|page| read.asks_for(&page)));
        let known = if is_asked_for {
            known
        } else {
            drop(known);
            self.forget(resource, writer).await?
        };
        let pages = PageSource::new(
            &self.extraction.client,
            &read,
            Arc::clone(writer),
            known,
            &task,
            &self.clock,
        );
        let reader = Reader::new(&read, pages, config.api.max_in_flight);
        let result = reader.read().await?;
        // The decision was made before any answer showed the server's time.
        if let Some(decision) = self.earlier(resource, decision) {
            let (fresh, known) = self.writer(resource, |_| true).await?;
            *writer = fresh;
            let asked = ReadTask {
                decision,
                ids: ids.clone(),
                mode: *mode,
                doubt: doubt.clone(),
            };
            let known = PagesByRead(known).take(resource)?;
            return Box::pin(self.read(resource, &asked, writer, known)).await;
        }
        let manifest = self.manifest(&read, *mode, doubt.clone(), result, started_at);
        for note in &manifest.evidence.notes {
            warn!(resource = label, "{note}");
        }
        task.finish(&format!(
            "{}: {} in {}",
            manifest.state,
            counted(manifest.rows, "row"),
            counted(manifest.pages, "page")
        ));
        Ok(manifest)
    }

    /// Opens a resource for writing, with the staged pages of an earlier process that are `kept`. Checks every page file.
    async fn writer(
        &self,
        resource: &Resource,
        kept: impl Fn(&PageEntry) -> bool + Send + 'static,
    ) -> Result<(Arc<ResourceWriter>, KnownPages), ReadError> {
        let (run, name, share) = (self.run.clone(), resource.name.clone(), self.lock.share());
        let opened = tokio::task::spawn_blocking(move || run.writer_with(share, &name, kept));
        let (writer, known) = opened.await.map_err(|_| ReadError::Thread)??;
        Ok((Arc::new(writer), known))
    }

    /// Discards what an earlier process staged of a read.
    async fn forget(
        &self,
        resource: &Resource,
        writer: &mut Arc<ResourceWriter>,
    ) -> Result<KnownPages, ReadError> {
        let read = resource.read_name().cloned();
        let of_others = move |page: &PageEntry| {
            slices::read_of(page.slice.as_deref()) != read.as_ref().map(Name::as_str)
        };
        let (fresh, known) = self.writer(resource, of_others).await?;
        *writer = fresh;
        Ok(PagesByRead(known).take(resource)?)
    }
}

/// A decision, with the ids of another resource that it fans out over.
pub(super) struct ReadTask {
    pub(super) decision: Decision,
    pub(super) ids: RoaringTreemap,
    pub(super) mode: Mode,
    /// Why it cannot be complete.
    pub(super) doubt: Option<String>,
}

/// Staged pages of an earlier process, by their read.
struct PagesByRead(KnownPages);

impl PagesByRead {
    fn take(&mut self, read: &Resource) -> Result<KnownPages, StagingError> {
        let name = read.read_name().map(Name::as_str);
        (self.0).split_off(|page| slices::read_of(page.slice.as_deref()) == name)
    }

    /// The reads whose pages are left.
    fn reads(&self) -> Result<BTreeSet<Option<String>>, StagingError> {
        let read = |page: PageEntry| slices::read_of(page.slice.as_deref()).map(str::to_owned);
        self.0.iter().map(|page| page.map(read)).collect()
    }
}
