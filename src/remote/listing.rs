//! Which runs are in a store.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Remote, RemoteError, each_at_once};
use crate::staging::exchange;
use crate::staging::{RunId, RunRecord};

/// A run that is complete in a store.
#[derive(Clone, Debug)]
pub(crate) struct StoredRun {
    /// Of its record.
    pub(crate) sha256: String,
    /// Its number; 0 if its record cannot be read, which is refused where the run is opened.
    pub(crate) seq: u64,
}

/// The runs in a store, by id; `None` is one that is there in part.
#[derive(Debug, Default)]
pub(crate) struct StoredRuns(pub(crate) BTreeMap<RunId, Option<StoredRun>>);

impl StoredRuns {
    /// Lists the days, the runs of each, and reads the record of each run, which `take` is given as it comes: they are not kept.
    pub(crate) async fn list(
        remote: &Remote,
        take: impl Fn(&RunId, &Bytes) -> Result<(), RemoteError>,
    ) -> Result<Self, RemoteError> {
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
        let take = &take;
        let records = each_at_once(ids, |id| async move {
            let Some(record) = remote.get(&exchange::record_path(&id)).await? else {
                return Ok((id, None));
            };
            take(&id, &record)?;
            let seq = serde_json::from_slice::<RunRecord>(&record).map_or(0, |record| record.seq);
            let sha256 = exchange::sha256(&record);
            Ok((id, Some(StoredRun { sha256, seq })))
        });
        Ok(Self(records.await?.into_iter().collect()))
    }

    /// The runs that are complete there, oldest first.
    pub(crate) fn published(&self) -> impl DoubleEndedIterator<Item = (&RunId, &StoredRun)> {
        self.0
            .iter()
            .filter_map(|(id, stored)| Some((id, stored.as_ref()?)))
    }

    /// The runs that are there in part although younger ones are complete, and began before that time: what is left of a removal.
    pub(crate) fn leftovers(&self, before: jiff::Timestamp) -> Vec<RunId> {
        let newest = self.published().next_back().map(|(id, _)| id);
        let is_left = |id: &&RunId| exchange::began_before(id, before) && Some(*id) < newest;
        let in_part = self.0.iter().filter(|(_, stored)| stored.is_none());
        in_part.map(|(id, _)| id).filter(is_left).cloned().collect()
    }
}
