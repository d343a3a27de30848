//! The ids of another resource that a fan-out runs over, from staging.

use std::collections::BTreeMap;
use std::sync::Mutex;

use roaring::RoaringTreemap;

use crate::config::Resource;
use crate::name::Name;
use crate::plan::History;
use crate::staging::{Run, StagingError};

use super::inspect::Inspector;

/// Ids staged in this run, by resource.
#[derive(Debug, Default)]
pub(super) struct StagedIds(Mutex<BTreeMap<Name, RoaringTreemap>>);

impl StagedIds {
    pub(super) fn keep(&self, resource: &Name, ids: RoaringTreemap) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(resource.clone(), ids);
    }

    pub(super) fn of(&self, resource: &Name) -> Option<RoaringTreemap> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(resource)
            .cloned()
    }
}

/// Ids that `resource` showed in one run, if it is final there. Blocks.
pub(super) fn of_run(run: &Run, resource: &Resource) -> Result<RoaringTreemap, StagingError> {
    let inspector = Inspector::new(resource, None, None);
    let mut ids = RoaringTreemap::new();
    let mut body = Vec::new();
    if let Some(staged) = run.staged(&resource.name)? {
        for page in staged.pages() {
            staged.read(page, &mut body)?;
            let facts = inspector
                .inspect(&body)
                .map_err(|problem| staged.unreadable(page, &problem))?;
            ids.extend(
                facts
                    .ids
                    .into_iter()
                    .filter_map(|id| u64::try_from(id).ok()),
            );
        }
    }
    Ok(ids)
}

/// Ids that `resource` showed in final reads of runs numbered from `from_seq` on. Blocks.
pub(crate) fn since(
    runs: &[Run],
    resource: &Resource,
    history: &History,
    from_seq: u64,
) -> Result<RoaringTreemap, StagingError> {
    let mut ids = RoaringTreemap::new();
    // Runs are in the order of their numbers.
    let from = runs.partition_point(|run| run.record().seq < from_seq);
    for run in runs[from..].iter().filter(|run| history.covers(run)) {
        match run.manifest(&resource.name) {
            Ok(None) => {}
            Ok(Some(_)) => ids |= of_run(run, resource)?,
            // As for all decisions, no read that succeeded.
            Err(error @ StagingError::Broken { .. }) => tracing::warn!("{error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(ids)
}
