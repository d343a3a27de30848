//! What an erasure has rewritten, in the other place as well: pages, the journals that name them, and at last the erasure ledger,
//! whose lines say that all of it is done there.

use bytes::Bytes;

use super::listing::StoredRuns;
use super::{Remote, RemoteError, blocking, each_at_once};
use crate::name::Name;
use crate::staging::exchange::{self, StagedFile};
use crate::staging::{RunId, Staging};

const PULL_FIRST: &str =
    "get its erasures with `cursus stage pull`, or restore erasures.jsonl here";

/// How two ledgers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ledgers {
    Same,
    /// The first one has more lines than the other.
    FirstKnowsMore,
    SecondKnowsMore,
    Different,
}

pub(super) fn compare(first: &[u8], second: &[u8]) -> Ledgers {
    if first == second {
        Ledgers::Same
    } else if first.starts_with(second) {
        Ledgers::FirstKnowsMore
    } else if second.starts_with(first) {
        Ledgers::SecondKnowsMore
    } else {
        Ledgers::Different
    }
}

pub(super) fn other_ledger(
    remote: &Remote,
    here: &Staging,
    (ours, theirs): (&[u8], &[u8]),
    advice: &'static str,
) -> RemoteError {
    RemoteError::OtherLedger {
        url: remote.shown().to_owned(),
        here: here.root().display().to_string(),
        ours: exchange::sha256(ours),
        theirs: exchange::sha256(theirs),
        advice,
    }
}

/// Replaces in the store what was rewritten here; returns how many pages. A ledger there that knows more is refused.
pub(super) async fn replace(
    remote: &Remote,
    staging: &Staging,
    (ours, theirs): (&[u8], &[u8]),
    stored: &StoredRuns,
) -> Result<u64, RemoteError> {
    match compare(ours, theirs) {
        Ledgers::Same => return Ok(0),
        Ledgers::FirstKnowsMore => {}
        Ledgers::SecondKnowsMore | Ledgers::Different => {
            return Err(other_ledger(remote, staging, (ours, theirs), PULL_FIRST));
        }
    }
    let mut replaced = 0;
    for (run, resource) in exchange::rewritten_in(&ours[theirs.len()..]) {
        match stored.0.iter().find(|(id, _)| id.as_str() == run) {
            Some((id, Some(_))) => {
                replaced += replace_resource(remote, staging, id, &resource).await?;
            }
            // Its push was interrupted before the erasure: what it left is of nobody's run, and the push begins with it again.
            Some((id, None)) => {
                let place = format!("{}/{resource}", exchange::place(id));
                for (path, _) in remote.objects(&place).await? {
                    remote.remove(&path).await?;
                }
            }
            None => {}
        }
    }
    Ok(replaced)
}

async fn replace_resource(
    remote: &Remote,
    staging: &Staging,
    id: &RunId,
    resource: &Name,
) -> Result<u64, RemoteError> {
    let Some(run) = staging.run(id)? else {
        return Ok(0);
    };
    let (from, name) = (run.clone(), resource.clone());
    let staged = blocking(move || from.staged(&name)).await?;
    let [_, journal_path] = exchange::resource_paths(id, resource);
    let Some((staged, there)) = staged.zip(remote.get(&journal_path).await?) else {
        return Ok(0);
    };
    let journal = run.journal(resource)?;
    if journal == there {
        return Ok(0);
    }
    let pages = staged.differing(&there)?;
    let staged = std::sync::Arc::new(staged);
    let count = pages.len() as u64;
    let written = each_at_once(pages, |page| {
        let staged = std::sync::Arc::clone(&staged);
        async move {
            let _room = remote.room(page.bytes).await?;
            let file = blocking(move || staged.packed(&page)).await?;
            remote.replace(&file.path, &file.bytes).await
        }
    });
    written.await?;
    remote.replace(&journal_path, &Bytes::from(journal)).await?;
    Ok(count)
}

/// Writes the ledger, which says that the store has what it names. One that another machine has written meanwhile is not overwritten.
pub(super) async fn write_ledger(
    remote: &Remote,
    staging: &Staging,
    ours: &[u8],
) -> Result<(), RemoteError> {
    let theirs = remote.get(exchange::ERASURES).await?.unwrap_or_default();
    match compare(ours, &theirs) {
        Ledgers::Same | Ledgers::SecondKnowsMore => Ok(()),
        Ledgers::FirstKnowsMore => {
            let ours = Bytes::copy_from_slice(ours);
            remote.replace(exchange::ERASURES, &ours).await
        }
        Ledgers::Different => Err(other_ledger(remote, staging, (ours, &theirs), PULL_FIRST)),
    }
}

/// Brings to a run here what an erasure has rewritten in the store; returns how many pages.
pub(super) async fn fetch_resource(
    remote: &Remote,
    staging: &Staging,
    id: &RunId,
    resource: &Name,
) -> Result<u64, RemoteError> {
    let Some(run) = staging.run(id)? else {
        return Ok(0);
    };
    let (from, name) = (run.clone(), resource.clone());
    let staged = blocking(move || from.staged(&name)).await?;
    let [_, journal_path] = exchange::resource_paths(id, resource);
    let Some((staged, there)) = staged.zip(remote.get(&journal_path).await?) else {
        return Ok(0);
    };
    let journal = run.journal(resource)?;
    if journal == there {
        return Ok(0);
    }
    let pages = staged.differing_there(&there)?;
    for page in &pages {
        let path = staged.page_path(page);
        let bytes = remote
            .get(&path)
            .await?
            .ok_or_else(|| RemoteError::Damaged {
                path: format!("{}/{path}", remote.shown()),
                problem: "the journal there lists this page, but it is not there".to_owned(),
            })?;
        staged.check_packed(page, &bytes)?;
        staging.receive(&StagedFile { path, bytes })?;
    }
    staging.receive(&StagedFile {
        path: journal_path,
        bytes: there,
    })?;
    Ok(pages.len() as u64)
}
