//! Published runs from a store: each is received completely, checked against its hashes, and then gets its place by one rename.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tracing::info;

use super::listing::StoredRuns;
use super::pages::Fetcher;
use super::push::{id_in, refuse_other, refuse_same_numbers};
use super::rewritten::{Ledgers, compare, fetch_resource, other_ledger};
use super::{Listed, Remote, RemoteError, blocking, each_at_once};
use crate::name::Name;
use crate::person::People;
use crate::staging::exchange::{self, StagedFile};
use crate::staging::{PageEntry, Run, RunId, StagedResource, Staging, StagingError, StagingLock};

const RESTORE: &str = "push from the directory that knows more, or restore erasures.jsonl";

/// What a pull has done.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Pulled {
    pub(crate) url: String,
    /// The runs that are here now and were not before, oldest first.
    pub(crate) runs: Vec<RunId>,
    /// Runs that were here, and are the same.
    pub(crate) here: usize,
    /// Runs that are not published there: their push was interrupted.
    pub(crate) unpublished: Vec<RunId>,
    /// Pages that were replaced here, because people in them were erased.
    pub(crate) rewritten_pages: u64,
}

/// Copies every published run that is not here. A run that is here must be the same.
pub(crate) async fn pull(
    remote: &Remote,
    staging: &Staging,
    lock: &StagingLock,
) -> Result<Pulled, RemoteError> {
    let arriving = staging.arriving(lock);
    // What is here has its record; of what arrives it is the first file.
    let take = |id: &RunId, record: &Bytes| match staging.run(id)? {
        Some(_) => Ok(()),
        None => receive_record(remote, &arriving, id, record).map(drop),
    };
    let theirs = remote.get(exchange::IDENTITY).await?;
    let ours = staging.file(exchange::IDENTITY)?;
    if let (Some(ours), Some(theirs)) = (&ours, &theirs)
        && *ours != *theirs
    {
        return Err(RemoteError::OtherStaging {
            url: remote.shown().to_owned(),
            ours: id_in(ours),
            theirs: id_in(theirs),
        });
    }
    let stored = StoredRuns::list(remote, take).await?;
    if stored.published().next().is_none() {
        return Err(RemoteError::Empty {
            url: remote.shown().to_owned(),
        });
    }
    let runs = staging.runs()?;
    let mut pulled = Pulled {
        url: remote.shown().to_owned(),
        ..Pulled::default()
    };
    refuse_same_numbers(remote, &runs, &stored)?;
    let mut wanted = Vec::new();
    for (id, record) in &stored.0 {
        match (record, staging.run(id)?) {
            (None, None) => pulled.unpublished.push(id.clone()),
            (None, Some(_)) => {}
            (Some(record), Some(run)) => {
                refuse_other(remote, &run, record)?;
                pulled.here += 1;
            }
            (Some(_), None) => wanted.push(id.clone()),
        }
    }
    let ledger = take_ledger(remote, staging, &arriving).await?;
    if let (None, Some(theirs)) = (ours, theirs) {
        staging.receive(&StagedFile {
            path: exchange::IDENTITY.to_owned(),
            bytes: theirs,
        })?;
    }
    pulled.rewritten_pages = fetch_rewritten(remote, staging, &ledger).await?;
    for id in wanted {
        receive_run(remote, &arriving, &id).await?;
        staging.take_over(lock, &arriving, &id)?;
        info!(run = %id, "pulled from {}", remote.shown());
        pulled.runs.push(id);
    }
    staging.forget_arrivals(lock)?;
    Ok(pulled)
}

/// A store that is read as a staging directory.
#[derive(Debug)]
pub(crate) struct OpenedStore {
    pub(crate) staging: Staging,
    pub(crate) stored: StoredRuns,
}

/// The runs of a store as a staging directory. Their records are brought; manifests, journals and pages come when they are asked for, those
/// that are likely next ahead of that.
pub(crate) async fn open_staging(
    remote: &Remote,
    people: &Arc<People>,
) -> Result<OpenedStore, RemoteError> {
    let failed = |source| {
        RemoteError::Staging(StagingError::Io {
            doing: "make a directory in",
            path: std::env::temp_dir(),
            source,
        })
    };
    let dir = tempfile::Builder::new()
        .prefix("cursus-")
        .tempdir()
        .map_err(failed)?;
    let staging = Staging::temporary(dir.path());
    let take = |id: &RunId, record: &Bytes| receive_record(remote, &staging, id, record).map(drop);
    let stored = StoredRuns::list(remote, take).await?;
    if stored.published().next().is_none() {
        return Err(RemoteError::Empty {
            url: remote.shown().to_owned(),
        });
    }
    for path in [exchange::IDENTITY, exchange::ERASURES] {
        if let Some(bytes) = remote.get(path).await? {
            staging.receive(&StagedFile {
                path: path.to_owned(),
                bytes,
            })?;
        }
    }
    let ids = stored.published().map(|(id, _)| id.clone()).collect();
    let source = Arc::new(Fetcher::new(remote.clone(), staging.clone(), dir, ids));
    let staging = staging.with_people(Arc::clone(people));
    Ok(OpenedStore {
        staging: staging.with_source(source),
        stored,
    })
}

/// Receives the record of a run, which is checked when it is opened.
fn receive_record(
    remote: &Remote,
    staging: &Staging,
    id: &RunId,
    record: &Bytes,
) -> Result<Run, RemoteError> {
    let path = exchange::record_path(id);
    if staging.file(&path)?.as_deref() != Some(record.as_ref()) {
        staging.receive(&StagedFile {
            path: path.clone(),
            bytes: record.clone(),
        })?;
    }
    let run = staging.run(id)?;
    run.ok_or_else(|| RemoteError::Damaged {
        path: format!("{}/{path}", remote.shown()),
        problem: "it is no record of a run".to_owned(),
    })
}

/// Takes over the erasure ledger of the store, before a run of it is here; returns the one that counts.
async fn take_ledger(
    remote: &Remote,
    staging: &Staging,
    arriving: &Staging,
) -> Result<Vec<u8>, RemoteError> {
    let theirs = remote.get(exchange::ERASURES).await?.unwrap_or_default();
    let ours = staging.file(exchange::ERASURES)?.unwrap_or_default();
    let path = exchange::ERASURES.to_owned();
    let both = (ours.as_slice(), theirs.as_ref());
    match compare(&ours, &theirs) {
        Ledgers::Different => return Err(other_ledger(remote, staging, both, RESTORE)),
        Ledgers::SecondKnowsMore => staging.receive(&StagedFile {
            path: path.clone(),
            bytes: theirs.clone(),
        })?,
        Ledgers::Same | Ledgers::FirstKnowsMore => {}
    }
    let bytes = theirs.clone();
    if !bytes.is_empty() {
        arriving.receive(&StagedFile { path, bytes })?;
    }
    Ok(theirs.into())
}

/// Brings to the runs that are here what the store's ledger says was rewritten.
async fn fetch_rewritten(
    remote: &Remote,
    staging: &Staging,
    ledger: &[u8],
) -> Result<u64, RemoteError> {
    let mut pages = 0;
    let ours = staging.file(exchange::ERASURES)?.unwrap_or_default();
    if ours != ledger {
        // What was erased here is replaced there by the next push.
        return Ok(0);
    }
    let here = staging.runs()?;
    for (run, resource) in exchange::rewritten_in(ledger) {
        if let Some(run) = here.iter().find(|one| one.id().as_str() == run) {
            pages += fetch_resource(remote, staging, run.id(), &resource).await?;
        }
    }
    Ok(pages)
}

/// Receives what belongs to a run whose record was received.
async fn receive_run(remote: &Remote, staging: &Staging, id: &RunId) -> Result<(), RemoteError> {
    for resource in receive_manifests(remote, staging, id).await? {
        receive_journal(remote, staging, id, &resource).await?;
        let Some(run) = staging.run(id)? else {
            continue;
        };
        let Some(staged) = blocking(move || run.staged(&resource)).await? else {
            continue;
        };
        let staged = Arc::new(staged);
        let each = |at| receive_page(remote, staging, Arc::clone(&staged), at);
        each_at_once(0..staged.len(), each).await?;
    }
    Ok(())
}

/// Receives the manifests and the notes of a run whose record was received; returns the resources.
pub(super) async fn receive_manifests(
    remote: &Remote,
    staging: &Staging,
    id: &RunId,
) -> Result<BTreeSet<Name>, RemoteError> {
    let Some(run) = staging.run(id)? else {
        return Ok(BTreeSet::new());
    };
    let place = exchange::place(id);
    let Listed { folders, objects } = remote.list(&place).await?;
    let there = folders.iter().filter_map(|name| Name::parse(name).ok());
    let resources: BTreeSet<Name> = run.resources()?.into_iter().chain(there).collect();
    let received = each_at_once(resources.clone(), |resource| async move {
        let [path, _] = exchange::resource_paths(id, &resource);
        // What is not final is not pushed.
        let bytes = remote
            .get(&path)
            .await?
            .ok_or_else(|| RemoteError::Damaged {
                path: format!("{}/{path}", remote.shown()),
                problem: "it is not there, but the run has this resource".to_owned(),
            })?;
        Ok(staging.receive(&StagedFile { path, bytes })?)
    });
    received.await?;
    receive_notes(remote, staging, &place, &objects).await?;
    Ok(resources)
}

pub(super) async fn receive_journal(
    remote: &Remote,
    staging: &Staging,
    id: &RunId,
    resource: &Name,
) -> Result<(), RemoteError> {
    let [_, path] = exchange::resource_paths(id, resource);
    // None is there for a resource without pages.
    if let Some(bytes) = remote.get(&path).await? {
        staging.receive(&StagedFile { path, bytes })?;
    }
    Ok(())
}

async fn receive_page(
    remote: &Remote,
    staging: &Staging,
    staged: Arc<StagedResource>,
    at: usize,
) -> Result<(), RemoteError> {
    let page: PageEntry = staged.page(at)?;
    let path = staged.page_path(&page);
    let (known, entry) = (Arc::clone(&staged), page.clone());
    if blocking(move || Ok(known.has(&entry))).await? {
        return Ok(());
    }
    let lacks = || RemoteError::Damaged {
        path: format!("{}/{path}", remote.shown()),
        problem: "the journal lists this page, but it is not there".to_owned(),
    };
    let _room = remote.room(page.bytes).await?;
    let bytes = remote.get(&path).await?.ok_or_else(lacks)?;
    let staging = staging.clone();
    let shown = format!("{}/{path}", remote.shown());
    let received = blocking(move || {
        if staged.check_packed(&page, &bytes).is_err() {
            return Ok(false);
        }
        staging.receive(&StagedFile { path, bytes })?;
        Ok(true)
    });
    if received.await? {
        return Ok(());
    }
    Err(RemoteError::Damaged {
        path: shown,
        problem: "the content is not what was pushed (its checksum differs)".to_owned(),
    })
}

/// Receives the longest of each list that people have added to the run.
async fn receive_notes(
    remote: &Remote,
    staging: &Staging,
    place: &str,
    names: &BTreeSet<String>,
) -> Result<(), RemoteError> {
    for note in exchange::NOTES {
        let numbered = format!("{note}-");
        let first = format!("{note}.json");
        // Numbers have leading zeros: the last name is that of the longest list.
        let longest = names.iter().rev().find(|name| name.starts_with(&numbered));
        let name = longest.or_else(|| names.get(&first));
        let Some(name) = name else { continue };
        if let Some(bytes) = remote.get(&format!("{place}/{name}")).await? {
            staging.receive(&StagedFile {
                path: format!("{place}/{first}"),
                bytes,
            })?;
        }
    }
    Ok(())
}
