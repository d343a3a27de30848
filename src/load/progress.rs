//! How far a load is, for those who show it: the resource that is being loaded and how many of its rows were read. Counts pages, not
//! rows, and prints nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::mutex::locked;
use crate::name::Name;
use crate::progress::LoadSnapshot;
use crate::staging::StagedResource;

tokio::task_local! {
    static CURRENT: LoadProgress;
}

/// The progress of the loads of one command; a clone is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadProgress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Rows of the resources before.
    rows_before: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    resource: Name,
    rows: u64,
    rows_read: Arc<AtomicU64>,
}

impl LoadProgress {
    /// Notes here what this work loads.
    pub(crate) async fn scope<T>(&self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), work).await
    }

    /// How far it is; none before the first resource.
    pub(crate) fn snapshot(&self) -> Option<LoadSnapshot> {
        let state = self.state();
        let current = state.current.as_ref()?;
        let rows_read = current.rows_read.load(Ordering::Relaxed);
        Some(LoadSnapshot {
            resource: current.resource.clone(),
            rows: current.rows,
            rows_read,
            rows_read_in_all: state.rows_before + rows_read,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.0)
    }
}

/// Notes that this resource is loaded from here on, in the surrounding [`LoadProgress::scope`].
pub(super) fn begin(staged: &StagedResource) {
    let manifest = staged.manifest();
    let current = Current {
        resource: manifest.resource.clone(),
        rows: manifest.rows,
        rows_read: staged.rows_read(),
    };
    // Nobody shows the progress of other work.
    let _ = CURRENT.try_with(|progress| {
        let mut state = progress.state();
        let before = state.current.replace(current);
        state.rows_before += before.map_or(0, |before| before.rows_read.load(Ordering::Relaxed));
    });
}
