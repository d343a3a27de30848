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
            let page = page?;
            staged.read(&page, &mut body)?;
            let facts = inspector
                .inspect(&body)
                .map_err(|problem| staged.unreadable(&page, &problem))?;
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

/// Ids that `resource` showed in final reads of runs numbered from `from_seq` on. A damaged one is an error, unless a
/// complete full read after it, of today's question (`request_hash`), shows the ids once more. Blocks.
pub(crate) fn since(
    runs: &[Run],
    resource: &Resource,
    history: &History,
    request_hash: &str,
    from_seq: u64,
) -> Result<RoaringTreemap, StagingError> {
    let mut ids = RoaringTreemap::new();
    let whole = history.newest_full(&resource.name, request_hash);
    // Runs are in the order of their numbers.
    let from = runs.partition_point(|run| run.record().seq < from_seq);
    for run in runs[from..].iter().filter(|run| history.covers(run)) {
        match of_run(run, resource) {
            Ok(shown) => ids |= shown,
            Err(error @ StagingError::Broken { .. })
                if whole.is_some_and(|whole| whole.seq > run.record().seq) =>
            {
                tracing::warn!("{error}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ids)
}
