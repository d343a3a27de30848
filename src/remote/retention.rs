//! Runs that are removed from a store.

use super::listing::StoredRuns;
use super::{Remote, RemoteError};
use crate::failpoint::Point;
use crate::staging::RunId;
use crate::staging::exchange;

/// Removes a run: its record first, so that a kill leaves nothing that looks complete; returns the bytes of its objects.
pub(crate) async fn unpublish(remote: &Remote, id: &RunId) -> Result<u64, RemoteError> {
    let objects = remote.objects(&exchange::place(id)).await?;
    remote.remove(&exchange::record_path(id)).await?;
    Point::RemoteUnpublished.reach();
    for (path, _) in &objects {
        remote.remove(path).await?;
    }
    Ok(objects.iter().map(|(_, bytes)| bytes).sum())
}

/// The runs that began before that time and are there in part, although younger ones are complete: what is left of a removal.
pub(crate) async fn leftovers(
    remote: &Remote,
    before: jiff::Timestamp,
) -> Result<Vec<RunId>, RemoteError> {
    let stored = StoredRuns::list(remote).await?;
    let newest = stored.published().next_back().map(|(id, _)| id);
    let is_left = |id: &&RunId| exchange::began_before(id, before) && Some(*id) < newest;
    let in_part = stored.0.iter().filter(|(_, record)| record.is_none());
    Ok(in_part.map(|(id, _)| id).filter(is_left).cloned().collect())
}

/// Bytes of the objects of a run.
pub(crate) async fn size(remote: &Remote, id: &RunId) -> Result<u64, RemoteError> {
    let objects = remote.objects(&exchange::place(id)).await?;
    Ok(objects.iter().map(|(_, bytes)| bytes).sum())
}
