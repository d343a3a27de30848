//! Closed runs into a store: oldest first, each page before the manifest that seals it, and `run.json` last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use serde::Serialize;
use tracing::info;

use super::listing::{StoredRun, StoredRuns};
use super::rewritten;
use super::{Put, Remote, RemoteError, blocking, each_at_once};
use crate::failpoint::Point;
use crate::name::Name;
use crate::staging::exchange::{self, Note, StagedFile};
use crate::staging::{Run, RunId, StagedResource, Staging};

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
    let runs = blocking(move || here.runs()).await?;
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
    let stored = StoredRuns::list(remote, |_, _| Ok(())).await?;
    refuse_other_runs(remote, &runs, &stored)?;
    let ledger_there = remote.get(exchange::ERASURES).await?.unwrap_or_default();
    let ledgers = (&ledger[..], &ledger_there[..]);
    pushed.rewritten_pages = rewritten::replace(remote, staging, ledgers, &stored).await?;
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
            _ => push_run(remote, run, &ledger_there, &mut pushed).await?,
        }
    }
    rewritten::write_ledger(remote, staging, &ledger).await?;
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
    refuse_same_numbers(remote, runs, stored)?;
    for run in runs {
        let Some(Some(theirs)) = stored.0.get(run.id()) else {
            continue;
        };
        refuse_other(remote, run, theirs)?;
    }
    Ok(())
}

/// Refuses a store in which a run has the number of another run here.
pub(super) fn refuse_same_numbers(
    remote: &Remote,
    runs: &[Run],
    stored: &StoredRuns,
) -> Result<(), RemoteError> {
    let by_number: BTreeMap<u64, &RunId> = (runs.iter())
        .map(|run| (run.record().seq, run.id()))
        .collect();
    for (id, StoredRun { seq, .. }) in stored.published() {
        if let Some(other) = by_number.get(seq).filter(|other| **other != id) {
            return Err(RemoteError::SameNumber {
                url: remote.shown().to_owned(),
                run: id.to_string(),
                other: other.to_string(),
                seq: *seq,
            });
        }
    }
    Ok(())
}

/// Refuses a run that has another record in the store than here.
pub(super) fn refuse_other(
    remote: &Remote,
    run: &Run,
    theirs: &StoredRun,
) -> Result<(), RemoteError> {
    let ours = run.record_file()?;
    let sha256 = exchange::sha256(&ours.bytes);
    if sha256 == theirs.sha256 {
        return Ok(());
    }
    Err(RemoteError::Conflict {
        path: format!("{}/{}", remote.shown(), ours.path),
        ours: sha256,
        theirs: theirs.sha256.clone(),
    })
}

async fn push_run(
    remote: &Remote,
    run: &Run,
    ledger_there: &Bytes,
    pushed: &mut Pushed,
) -> Result<(), RemoteError> {
    let record = run.record_file()?;
    let mut paths = BTreeSet::new();
    for resource in run.resources()? {
        paths.extend(push_resource(remote, run, &resource, pushed).await?);
    }
    push_notes(remote, run, pushed).await?;
    refuse_disturbed(remote, run.id(), paths, ledger_there).await?;
    Point::RemotePublish
        .io()
        .map_err(|error| remote.stopped(&record.path, error))?;
    put(remote, record, pushed).await?;
    Point::RemotePublished.reach();
    info!(run = %run.id(), "pushed to {}", remote.shown());
    pushed.runs.push(run.id().clone());
    Ok(())
}

/// Refuses to publish a run if another machine has changed the store during the push: publishing would undo a removal or an erasure.
/// The lock of the store keeps out the processes of this machine.
async fn refuse_disturbed(
    remote: &Remote,
    id: &RunId,
    paths: BTreeSet<String>,
    ledger_there: &Bytes,
) -> Result<(), RemoteError> {
    let disturbed = |what: String| RemoteError::Disturbed {
        url: remote.shown().to_owned(),
        run: id.to_string(),
        what,
    };
    let there = remote.objects(&exchange::place(id)).await?.into_iter();
    let there: BTreeSet<String> = there.map(|(path, _)| path).collect();
    let is_missing = |path: &&String| !there.contains(Path::from(path.as_str()).as_ref());
    if let Some(path) = paths.iter().find(is_missing) {
        return Err(disturbed(format!("{path} was removed")));
    }
    let ledger = remote.get(exchange::ERASURES).await?.unwrap_or_default();
    if ledger != *ledger_there {
        return Err(disturbed("people were erased there".to_owned()));
    }
    Ok(())
}

/// The paths of what is there of a resource.
async fn push_resource(
    remote: &Remote,
    run: &Run,
    resource: &Name,
    pushed: &mut Pushed,
) -> Result<Vec<String>, RemoteError> {
    let (from, name) = (run.clone(), resource.clone());
    // One that is not final is not loaded, and not copied.
    let staged = blocking(move || from.staged(&name)).await?;
    let Some(staged) = staged else {
        return Ok(Vec::new());
    };
    // The journal is taken first: a page that is rewritten after it is refused, because it is not as the journal says.
    let summary = staged.summary_files()?;
    let staged = Arc::new(staged);
    let copied = each_at_once(0..staged.len(), |at| {
        let staged = Arc::clone(&staged);
        async move { push_page(remote, staged, at).await }
    });
    let mut paths = Vec::new();
    for (path, put, length) in copied.await? {
        pushed.count(put, length);
        paths.push(path);
    }
    for file in summary {
        paths.push(file.path.clone());
        put(remote, file, pushed).await?;
    }
    Ok(paths)
}

async fn push_page(
    remote: &Remote,
    staged: Arc<StagedResource>,
    at: usize,
) -> Result<(String, Put, usize), RemoteError> {
    let page = staged.page(at)?;
    let _room = remote.room(page.bytes).await?;
    let file = blocking(move || staged.packed(&page)).await?;
    let put = remote.create(&file.path, &file.bytes).await?;
    Ok((file.path, put, file.bytes.len()))
}

async fn put(remote: &Remote, file: StagedFile, pushed: &mut Pushed) -> Result<(), RemoteError> {
    let put = remote.create(&file.path, &file.bytes).await?;
    pushed.count(put, file.bytes.len());
    Ok(())
}

/// Copies what people have added to a run. A longer list gets a name of its own, so that none is overwritten.
async fn push_notes(remote: &Remote, run: &Run, pushed: &mut Pushed) -> Result<(), RemoteError> {
    for note in run.notes()? {
        let bytes = note.bytes.clone();
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
