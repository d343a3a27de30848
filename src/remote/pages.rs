//! Runs that are read where they are: what is likely next is brought before it is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryStreamExt as _};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::pull::{receive_journal, receive_manifests};
use super::{Remote, RemoteError};
use crate::error_chain::chain;
use crate::mutex::locked;
use crate::name::Name;
use crate::staging::exchange::{self, RunSource};
use crate::staging::{RunId, Staging};

/// Pages that are kept before they are asked for; a reader that gives up leaves some.
const KEPT: usize = 32;
/// Runs whose manifests are brought at the same time; also how many are brought ahead when runs are asked for one after the other.
const AHEAD: usize = 4;

/// A page, or why it cannot be had; `None` while it is on its way.
type Arrived = Option<Result<Bytes, String>>;

#[derive(Debug, Default)]
struct Pages {
    pages: Mutex<BTreeMap<String, Arrived>>,
    arrived: Condvar,
}

/// Files beside the pages: whether they have arrived, or why not. What has failed once fails again, so that nothing is judged by one
/// half of a run.
#[derive(Debug, Default)]
struct OtherFiles {
    files: Mutex<BTreeMap<FilesKey, Option<Result<(), String>>>>,
    arrived: Condvar,
}

/// The manifests and notes of the run at that place in the list, or the journal of one of its resources.
type FilesKey = (usize, Option<Name>);

/// Gets files on the runtime that it was made in; readers wait for them.
#[derive(Debug)]
pub(super) struct Fetcher {
    remote: Remote,
    /// Where the files beside the pages are brought to.
    staging: Staging,
    /// It is removed with the last of those who write there.
    dir: Arc<TempDir>,
    /// In order.
    runs: Arc<[RunId]>,
    runtime: Handle,
    pages: Arc<Pages>,
    other_files: Arc<OtherFiles>,
}

impl Fetcher {
    /// Within a runtime. `runs` are all that are published, in order; their records are in `staging`, which is in `dir`.
    pub(super) fn new(remote: Remote, staging: Staging, dir: TempDir, runs: Vec<RunId>) -> Self {
        Self {
            remote,
            staging,
            dir: Arc::new(dir),
            runs: runs.into(),
            runtime: Handle::current(),
            pages: Arc::default(),
            other_files: Arc::default(),
        }
    }

    /// Begins to bring files, unless somebody has.
    fn begin(&self, key: FilesKey) {
        let mut files = locked(&self.other_files.files);
        if files.contains_key(&key) {
            return;
        }
        files.insert(key.clone(), None);
        drop(files);
        let (remote, staging) = (self.remote.clone(), self.staging.clone());
        let (runs, other_files) = (Arc::clone(&self.runs), Arc::clone(&self.other_files));
        let dir = Arc::clone(&self.dir);
        self.runtime.spawn(async move {
            let _dir = dir;
            let run = &runs[key.0];
            let brought: Result<(), RemoteError> = match &key.1 {
                None => receive_manifests(&remote, &staging, run).await.map(drop),
                Some(resource) => receive_journal(&remote, &staging, run, resource).await,
            };
            let brought = brought.map_err(|error| chain(&error));
            locked(&other_files.files).insert(key, Some(brought));
            other_files.arrived.notify_all();
        });
    }

    /// Waits for files that were begun.
    fn wait_for(&self, key: &FilesKey) -> std::io::Result<()> {
        let mut files = locked(&self.other_files.files);
        loop {
            match files.get(key) {
                Some(Some(Ok(()))) if key.1.is_some() => {
                    // From now on its file says so: thousands of journals are kept in mind otherwise.
                    files.remove(key);
                    return Ok(());
                }
                Some(Some(Ok(()))) | None => return Ok(()),
                Some(Some(Err(problem))) => return Err(std::io::Error::other(problem.clone())),
                Some(None) => {
                    let waited = self.other_files.arrived.wait(files);
                    files = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl RunSource for Fetcher {
    fn bring(&self, run: &RunId, journal_of: Option<&Name>) -> std::io::Result<()> {
        let Ok(at) = self.runs.binary_search(run) else {
            let run = exchange::place(run);
            let problem = format!("{}/{run} was not there before", self.remote.shown());
            return Err(std::io::Error::other(problem));
        };
        let key = (at, journal_of.cloned());
        if let Some(resource) = journal_of {
            let [_, journal] = exchange::resource_paths(run, resource);
            if self.staging.root().join(journal).exists() {
                return Ok(());
            }
        } else if at > 0 {
            let is_in_order = locked(&self.other_files.files).contains_key(&(at - 1, None));
            let until = if is_in_order { at + AHEAD } else { at };
            for next in at..=until.min(self.runs.len() - 1) {
                self.begin((next, None));
            }
        }
        self.begin(key.clone());
        let is_there = matches!(
            locked(&self.other_files.files).get(&key),
            Some(Some(Ok(())))
        );
        if is_there {
            return Ok(());
        }
        // The runtime moves the other tasks of this thread to another one.
        tokio::task::block_in_place(|| self.wait_for(&key))
    }

    fn bring_all<'a>(&'a self, runs: &'a [RunId]) -> BoxFuture<'a, ()> {
        let places = runs
            .iter()
            .filter_map(|run| self.runs.binary_search(run).ok());
        let bring = async |at: usize| {
            let key = (at, None);
            if locked(&self.other_files.files).contains_key(&key) {
                return Ok(());
            }
            let brought = receive_manifests(&self.remote, &self.staging, &self.runs[at]).await;
            let brought = brought.map(drop).map_err(|error| chain(&error));
            locked(&self.other_files.files).insert(key, Some(brought.clone()));
            // One that cannot be had ends the command: a store that does not answer is not asked for thousands of others.
            brought.map_err(drop)
        };
        let places = futures_util::stream::iter(places.map(Ok));
        let all = places.try_for_each_concurrent(AHEAD, bring);
        all.map(drop).boxed()
    }

    fn page(&self, path: &str) -> std::io::Result<Vec<u8>> {
        let mut pages = locked(&self.pages.pages);
        loop {
            match pages.remove(path) {
                Some(Some(Ok(bytes))) => return Ok(bytes.into()),
                Some(Some(Err(problem))) => return Err(std::io::Error::other(problem)),
                Some(None) => {
                    pages.insert(path.to_owned(), None);
                    let waited = self.pages.arrived.wait(pages);
                    pages = waited.unwrap_or_else(PoisonError::into_inner);
                }
                // Not asked for yet; or it arrived, and made room for others or was taken by another reader before this one woke.
                None => {
                    drop(pages);
                    self.expect(path.to_owned());
                    pages = locked(&self.pages.pages);
                }
            }
        }
    }

    fn expect(&self, path: String) {
        let mut pages = locked(&self.pages.pages);
        if pages.contains_key(&path) {
            return;
        }
        if pages.len() >= KEPT {
            pages.retain(|_, page| page.is_none());
        }
        pages.insert(path.clone(), None);
        drop(pages);
        let (remote, pages) = (self.remote.clone(), Arc::clone(&self.pages));
        self.runtime.spawn(async move {
            let page = match remote.get(&path).await {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => Err(format!(
                    "{}/{path} is not there, but the journal lists it",
                    remote.shown()
                )),
                Err(error) => Err(chain(&error)),
            };
            locked(&pages.pages).insert(path, Some(page));
            pages.arrived.notify_all();
        });
    }
}
