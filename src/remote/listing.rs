//! Which runs are in a store.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Remote, RemoteError, each_at_once};
use crate::staging::RunId;
use crate::staging::exchange;

/// The runs in a store, by id: the bytes of the record of each that is published, `None` of one that is there in part.
#[derive(Debug, Default)]
pub(crate) struct StoredRuns(pub(crate) BTreeMap<RunId, Option<Bytes>>);

impl StoredRuns {
    /// Lists the days, the runs of each, and reads the record of each run.
    pub(crate) async fn list(remote: &Remote) -> Result<Self, RemoteError> {
        let days = remote.list("").await?.folders;
        let days = days.into_iter().filter(|day| exchange::is_day(day));
        let listed = each_at_once(days, |day| async move {
            let times = remote.list(&day).await?.folders;
            Ok(times
                .into_iter()
                .filter_map(|time| exchange::run_at(&day, &time))
                .collect::<Vec<RunId>>())
        });
        let ids = listed.await?.into_iter().flatten();
        let records = each_at_once(ids, |id| async move {
            let record = remote.get(&exchange::record_path(&id)).await?;
            Ok((id, record))
        });
        Ok(Self(records.await?.into_iter().collect()))
    }

    /// The runs that are complete there, oldest first.
    pub(crate) fn published(&self) -> impl DoubleEndedIterator<Item = (&RunId, &Bytes)> {
        self.0
            .iter()
            .filter_map(|(id, record)| Some((id, record.as_ref()?)))
    }
}
