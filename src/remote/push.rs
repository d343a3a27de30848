//! Closed runs into a store: oldest first, each page before the manifest that seals it, and `run.json` last.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tracing::info;

use super::listing::StoredRuns;
use super::rewritten;
use super::{Put, Remote, RemoteError, blocking, each_at_once};
use crate::failpoint::Point;
use crate::name::Name;
use crate::staging::exchange::{self, Note, StagedFile};
use crate::staging::{Run, RunId, RunRecord, StagedResource, Staging};

/// What a push has done.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Pushed {
    pub(crate) url: String,
    /// The runs that are there now and were not before, oldest first.
    pub(crate) runs: Vec<RunId>,
    /// Runs that were there, and are the same.
    pub(crate) there: usize,
    /// Runs that are there alone, while the erasure ledger names people: what was erased after they were removed here is in them.
    pub(crate) only_there: usize,
    /// Runs that retention has removed there.
    pub(crate) removed_there: usize,
    /// The newest run, if it is open or may be resumed.
    pub(crate) unfinished: Option<RunId>,
    /// Objects that were written, and their bytes.
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// Pages that were replaced, because people in them were erased.
    pub(crate) rewritten_pages: u64,
}

impl Pushed {
    fn count(&mut self, put: Put, bytes: usize) {
        if put == Put::New {
            self.objects += 1;
            self.bytes += bytes as u64;
        }
    }
}

/// Copies every closed run that the store lacks. A run that is there must be the same.
pub(crate) async fn push(remote: &Remote, staging: &Staging) -> Result<Pushed, RemoteError> {
    let mut pushed = Pushed {
        url: remote.shown().to_owned(),
        ..Pushed::default()
    };
    let here = staging.clone();
    let runs = blocking(move || here.runs_in_full()).await?;
    if runs.is_empty() {
        return Ok(pushed);
    }
    bind(remote, staging).await?;
    // As it is before anything is copied: what is erased meanwhile is replaced by the next push.
    let ledger = staging.file(exchange::ERASURES)?.unwrap_or_default();
    // The ledger names a journal before its pages are rewritten: in the store it would say that they are.
    if !staging.erasures()?.open.is_empty() {
        return Err(RemoteError::OpenErasure);
    }
    let stored = StoredRuns::list(remote).await?;
    refuse_other_runs(remote, &runs, &stored)?;
    pushed.rewritten_pages = rewritten::replace(remote, staging, &ledger, &stored).await?;
    if !ledger.is_empty() {
        let is_here = |id: &RunId| runs.iter().any(|run| run.id() == id);
        pushed.only_there = stored.published().filter(|(id, _)| !is_here(id)).count();
    }
    let newest_there = stored.published().next_back().map(|(id, _)| id.clone());
    let newest = runs.last().map(|run| run.id().clone());
    for run in &runs {
        let id = run.id();
        match stored.0.get(id) {
            Some(Some(_)) => {
                push_notes(remote, run, &mut pushed).await?;
                pushed.there += 1;
            }
            // Runs are pushed in order: one that lacks, or is there in part before a younger one, was there, and was or is being removed.
            None | Some(None) if newest_there.as_ref().is_some_and(|newest| id < newest) => {
                pushed.removed_there += 1;
            }
            _ if !run.is_settled(newest.as_ref() == Some(id)) => {
                pushed.unfinished = Some(id.clone());
            }
            _ => push_run(remote, run, &mut pushed).await?,
        }
    }
    rewritten::write_ledger(remote, &ledger).await?;
    Ok(pushed)
}

/// Makes sure that the store is that of this staging directory; at first that it can be trusted not to overwrite.
async fn bind(remote: &Remote, staging: &Staging) -> Result<(), RemoteError> {
    let ours = staging.file(exchange::IDENTITY)?;
    let theirs = remote.get(exchange::IDENTITY).await?;
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if *ours == theirs => Ok(()),
        (ours, Some(theirs)) => Err(RemoteError::OtherStaging {
            url: remote.shown().to_owned(),
            ours: id_in(ours.as_deref().unwrap_or_default()),
            theirs: id_in(&theirs),
        }),
        (ours, None) => {
            remote.probe().await?;
            // Runs of earlier versions may be in a directory without an id: then the store has none, too.
            if let Some(ours) = ours {
                remote.create(exchange::IDENTITY, &ours.into()).await?;
            }
            Ok(())
        }
    }
}

/// The id in a file that names a staging directory.
pub(super) fn id_in(file: &[u8]) -> String {
    let file: Option<serde_json::Value> = serde_json::from_slice(file).ok();
    let id = file.and_then(|file| Some(file.get("id")?.as_str()?.to_owned()));
    let id = id.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    id.unwrap_or_else(|| "unknown".to_owned())
}

/// Refuses a store in which a run has other content than here, before anything is copied.
fn refuse_other_runs(
    remote: &Remote,
    runs: &[Run],
    stored: &StoredRuns,
) -> Result<(), RemoteError> {
    for (id, record) in stored.published() {
        // One that is no record is refused where it is compared or pulled.
        let record = serde_json::from_slice::<RunRecord>(record);
        let seq = record.map_or(0, |record| record.seq);
        let same = |run: &&Run| run.record().seq == seq && run.id() != id;
        if let Some(other) = runs.iter().find(same) {
            return Err(RemoteError::SameNumber {
                url: remote.shown().to_owned(),
                run: id.to_string(),
                other: other.id().to_string(),
                seq,
            });
        }
    }
    for run in runs {
        let Some(Some(theirs)) = stored.0.get(run.id()) else {
            continue;
        };
        let ours = run.record_file()?;
        if ours.bytes != *theirs {
            return Err(RemoteError::Conflict {
                path: format!("{}/{}", remote.shown(), ours.path),
                ours: exchange::sha256(&ours.bytes),
                theirs: exchange::sha256(theirs),
            });
        }
    }
    Ok(())
}

async fn push_run(remote: &Remote, run: &Run, pushed: &mut Pushed) -> Result<(), RemoteError> {
    let record = run.record_file()?;
    for resource in run.resources()? {
        push_resource(remote, run, &resource, pushed).await?;
    }
    push_notes(remote, run, pushed).await?;
    Point::RemotePublish
        .io()
        .map_err(|error| remote.stopped(&record.path, error))?;
    put(remote, record, pushed).await?;
    Point::RemotePublished.reach();
    info!(run = %run.id(), "pushed to {}", remote.shown());
    pushed.runs.push(run.id().clone());
    Ok(())
}

async fn push_resource(
    remote: &Remote,
    run: &Run,
    resource: &Name,
    pushed: &mut Pushed,
) -> Result<(), RemoteError> {
    let (from, name) = (run.clone(), resource.clone());
    // One that is not final is not loaded, and not copied.
    let staged = blocking(move || from.staged(&name)).await?;
    let Some(staged) = staged else {
        return Ok(());
    };
    // The journal is taken first: a page that is rewritten after it is refused, because it is not as the journal says.
    let summary = staged.summary_files()?;
    let staged = Arc::new(staged);
    let copied = each_at_once(0..staged.len(), |at| {
        let staged = Arc::clone(&staged);
        async move { push_page(remote, staged, at).await }
    });
    for (put, length) in copied.await? {
        pushed.count(put, length);
    }
    for file in summary {
        put(remote, file, pushed).await?;
    }
    Ok(())
}

async fn push_page(
    remote: &Remote,
    staged: Arc<StagedResource>,
    at: usize,
) -> Result<(Put, usize), RemoteError> {
    let file = blocking(move || staged.packed(&staged.page(at)?)).await?;
    let bytes = Bytes::from(file.bytes);
    let put = remote.create(&file.path, &bytes).await?;
    Ok((put, bytes.len()))
}

async fn put(remote: &Remote, file: StagedFile, pushed: &mut Pushed) -> Result<(), RemoteError> {
    let bytes = Bytes::from(file.bytes);
    let put = remote.create(&file.path, &bytes).await?;
    pushed.count(put, bytes.len());
    Ok(())
}

/// Copies what people have added to a run. A longer list gets a name of its own, so that none is overwritten.
async fn push_notes(remote: &Remote, run: &Run, pushed: &mut Pushed) -> Result<(), RemoteError> {
    for note in run.notes()? {
        let bytes = Bytes::from(note.bytes.clone());
        let first = first_path(run.id(), note.name);
        match remote.get(&first).await? {
            Some(there) if there == bytes => {}
            None => {
                let put = remote.create(&first, &bytes).await?;
                pushed.count(put, bytes.len());
            }
            Some(_) => {
                let put = remote.create(&later_path(run.id(), &note), &bytes).await?;
                pushed.count(put, bytes.len());
            }
        }
    }
    Ok(())
}

fn first_path(id: &RunId, name: &str) -> String {
    format!("{}/{name}.json", exchange::place(id))
}

fn later_path(id: &RunId, note: &Note) -> String {
    format!(
        "{}/{}-{:05}.json",
        exchange::place(id),
        note.name,
        note.entries
    )
}
