//! The ids of another resource that a fan-out runs over, from staging.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;
use roaring::RoaringTreemap;

use crate::config::Resource;
use crate::name::Name;
use crate::plan::EarlierReads;
use crate::staging::{PageEntry, Run, StagingError};

use super::inspect::Inspector;
use crate::mutex::locked;

/// Ids staged in this run, by resource.
#[derive(Debug, Default)]
pub(super) struct StagedIds(Mutex<BTreeMap<Name, RoaringTreemap>>);

impl StagedIds {
    pub(super) fn keep(&self, resource: &Name, ids: RoaringTreemap) {
        locked(&self.0)
            .entry(resource.clone())
            .and_modify(|known| *known |= &ids)
            .or_insert(ids);
    }

    pub(super) fn of(&self, resource: &Name) -> Option<RoaringTreemap> {
        locked(&self.0).get(resource).cloned()
    }
}

pub(super) fn of_run(run: &Run, resource: &Resource) -> Result<RoaringTreemap, StagingError> {
    let mut all = RoaringTreemap::new();
    each_page(run, resource, |_, ids| all |= ids)?;
    Ok(all)
}

/// Calls `each` with every page of `resource` in one run and the ids on it, if the resource is final there. No request can
/// ask for a negative id: the evidence of the read counts it.
fn each_page(
    run: &Run,
    resource: &Resource,
    mut each: impl FnMut(&PageEntry, RoaringTreemap),
) -> Result<(), StagingError> {
    let inspector = Inspector::new(resource, None, None);
    let Some(staged) = run.staged(&resource.name)? else {
        return Ok(());
    };
    for page in staged.pages() {
        let page = page?;
        let facts = inspector.inspect_staged(&staged, &page)?;
        let ids = facts.ids.into_iter();
        let ids = ids.filter_map(|id| u64::try_from(id).ok());
        each(&page, ids.collect());
    }
    Ok(())
}

#[derive(Clone, Copy)]
pub(crate) struct EarlierIds<'a> {
    /// All runs, in the order of their numbers.
    pub(crate) runs: &'a [Run],
    pub(crate) earlier_reads: &'a EarlierReads,
    pub(crate) resource: &'a Resource,
    /// The first run that counts.
    pub(crate) from_seq: u64,
}

impl EarlierIds<'_> {
    /// Ids in final reads. A damaged one is an error, unless a later complete full read of today's request has the ids, too.
    /// Blocks.
    pub(crate) fn all(self) -> Result<RoaringTreemap, StagingError> {
        let mut all = RoaringTreemap::new();
        self.each(|_, ids| all |= ids)?;
        Ok(all)
    }

    /// The same without those in answers after `since`, in server time. Blocks.
    pub(crate) fn not_since(self, since: Timestamp) -> Result<RoaringTreemap, StagingError> {
        let (mut all, mut recent) = (RoaringTreemap::new(), RoaringTreemap::new());
        self.each(|page, ids| {
            if page.server_date.unwrap_or(page.fetched_at) > since {
                recent |= &ids;
            }
            all |= ids;
        })?;
        Ok(all - recent)
    }

    fn each(self, mut each: impl FnMut(&PageEntry, RoaringTreemap)) -> Result<(), StagingError> {
        let last_full = self.earlier_reads.last_complete_full(self.resource);
        let from = (self.runs).partition_point(|run| run.record().seq < self.from_seq);
        let runs = self.runs[from..].iter();
        for run in runs.filter(|run| self.earlier_reads.covers(run)) {
            match each_page(run, self.resource, &mut each) {
                Ok(()) => {}
                Err(error @ StagingError::Broken { .. })
                    if last_full.is_some_and(|last_full| last_full.seq > run.record().seq) =>
                {
                    tracing::warn!("{error}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
