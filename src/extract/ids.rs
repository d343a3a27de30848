//! The ids of another resource that a fan-out runs over, from staging.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::SignedDuration;
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
            .entry(resource.clone())
            .and_modify(|known| *known |= &ids)
            .or_insert(ids);
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
    each_since(
        runs,
        resource,
        history,
        request_hash,
        from_seq,
        |_, shown| {
            ids |= shown;
        },
    )?;
    Ok(ids)
}

/// Ids that `resource` showed in runs numbered from `from_seq` on, but neither in this run (`now`) nor in one that began
/// less than `age` ago. Blocks.
pub(crate) fn not_shown_for(
    age: Duration,
    runs: &[Run],
    resource: &Resource,
    history: &History,
    request_hash: &str,
    from_seq: u64,
    now: &RoaringTreemap,
) -> Result<RoaringTreemap, StagingError> {
    let since = SignedDuration::try_from(age).ok();
    let since = since.and_then(|age| crate::clock::now().checked_sub(age).ok());
    let (mut known, mut recent) = (RoaringTreemap::new(), now.clone());
    each_since(
        runs,
        resource,
        history,
        request_hash,
        from_seq,
        |run, shown| {
            if Some(run.record().started_at) > since {
                recent |= shown;
            } else {
                known |= shown;
            }
        },
    )?;
    Ok(known - recent)
}

fn each_since(
    runs: &[Run],
    resource: &Resource,
    history: &History,
    request_hash: &str,
    from_seq: u64,
    mut each: impl FnMut(&Run, RoaringTreemap),
) -> Result<(), StagingError> {
    let whole = history.newest_full(resource, request_hash);
    // Runs are in the order of their numbers.
    let from = runs.partition_point(|run| run.record().seq < from_seq);
    for run in runs[from..].iter().filter(|run| history.covers(run)) {
        match of_run(run, resource) {
            Ok(shown) => each(run, shown),
            Err(error @ StagingError::Broken { .. })
                if whole.is_some_and(|whole| whole.seq > run.record().seq) =>
            {
                tracing::warn!("{error}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
