//! Runs removed from an object store.

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

/// Bytes of the objects of a run.
pub(crate) async fn size(remote: &Remote, id: &RunId) -> Result<u64, RemoteError> {
    let objects = remote.objects(&exchange::place(id)).await?;
    Ok(objects.iter().map(|(_, bytes)| bytes).sum())
}
