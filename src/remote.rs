//! Staged runs in an object store: `s3://`, `gs://`, `az://`, or a directory (`file://`). The only module that knows object stores.
//!
//! A run is there when its `run.json` is, which is written last and only if it is not there. Nothing is overwritten but what an
//! erasure has rewritten. It knows no database.

mod address;
mod error;
mod gc;
mod http;
mod listing;
mod pages;
mod pull;
mod push;
mod rewritten;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::failpoint::Point;
use address::Place;
pub(crate) use error::RemoteError;
pub(crate) use gc::{size, unpublish};
use http::Answers;
pub(crate) use pull::{Pulled, open_staging, pull};
pub(crate) use push::{Pushed, push};

/// Objects that are copied at the same time.
const AT_ONCE: usize = 8;
/// Kibibytes of pages, unpacked, that may be in memory at the same time. A larger page is there alone.
const ROOM: u32 = 32 << 10;
/// Attempts for what the store's client does not try again by itself, such as a connection that was cut.
const ATTEMPTS: u32 = 4;
/// Before the second attempt; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// The beginning of the names of objects that a probe makes and removes.
const PROBE: &str = ".cursus-probe-";

/// The variables of the stores' clients: a name, and its value.
pub(crate) type Variables = Vec<(String, String)>;

/// An object store, and where in it.
#[derive(Clone)]
pub(crate) struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// For messages: without credentials.
    shown: String,
    /// Of this machine.
    is_directory: bool,
    answers: Arc<Answers>,
    /// For pages, in kibibytes.
    room: Arc<Semaphore>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// What is in a folder, by name.
#[derive(Debug)]
pub(crate) struct Listed {
    folders: BTreeSet<String>,
    pub(crate) objects: BTreeSet<String>,
}

/// What became of an object that must not be overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    New,
    /// It was there, with these bytes.
    There,
}

impl Remote {
    /// The store of a URL. Sends no request.
    pub(crate) fn open(url: &str, variables: &Variables) -> Result<Self, RemoteError> {
        let answers = Arc::<Answers>::default();
        let Place {
            store,
            prefix,
            shown,
            is_directory,
        } = address::open(url, variables, &answers)?;
        Ok(Self {
            store,
            prefix,
            shown,
            is_directory,
            answers,
            room: Arc::new(Semaphore::new(ROOM as usize)),
        })
    }

    /// Waits until a page of this size, unpacked, has room in memory. The room is held until the result is dropped.
    async fn room(&self, bytes: u64) -> Result<SemaphorePermit<'_>, RemoteError> {
        let kibibytes = u32::try_from(bytes >> 10).unwrap_or(ROOM).clamp(1, ROOM);
        let permit = self.room.acquire_many(kibibytes).await;
        permit.map_err(|_| RemoteError::Thread)
    }

    /// From now on what this process writes into a directory is its user's alone.
    pub(crate) fn keep_private(&self) {
        if self.is_directory {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        }
    }

    /// Its URL, for messages.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    fn at(&self, path: &str) -> Path {
        self.prefix
            .parts()
            .chain(Path::from(path).parts())
            .collect()
    }

    fn failed(&self, doing: &'static str, path: &str, error: &Error) -> RemoteError {
        RemoteError::of_store(
            doing,
            format!("{}/{path}", self.shown),
            error,
            &self.answers,
        )
    }

    /// An object's bytes; `None` if there is none.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Bytes>, RemoteError> {
        let at = self.at(path);
        let got = patiently(|| async {
            let got = self.store.get(&at).await?;
            // Nothing that cursus writes is longer, and memory is taken for all of it.
            if got.meta.size > crate::staging::exchange::LARGEST {
                return Ok(None);
            }
            got.bytes().await.map(Some)
        });
        match got.await {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => Err(RemoteError::Damaged {
                path: format!("{}/{path}", self.shown),
                problem: "it is larger than anything that cursus writes there".to_owned(),
            }),
            Err(Error::NotFound { .. }) if !self.answers.lacks_bucket() => Ok(None),
            Err(error) => Err(self.failed("read", path, &error)),
        }
    }

    /// Makes an object that is not there; one that is there must have the same bytes.
    async fn create(&self, path: &str, bytes: &Bytes) -> Result<Put, RemoteError> {
        Point::RemotePut
            .io()
            .map_err(|error| self.stopped(path, error))?;
        if self.put(path, bytes, PutMode::Create).await? {
            return Ok(Put::New);
        }
        // Also where an earlier attempt arrived, and its answer did not.
        match self.get(path).await? {
            Some(there) if there == *bytes => Ok(Put::There),
            there => Err(RemoteError::Conflict {
                path: format!("{}/{path}", self.shown),
                ours: crate::staging::exchange::sha256(bytes),
                theirs: there.map_or_else(
                    || "none: it was removed meanwhile".to_owned(),
                    |there| crate::staging::exchange::sha256(&there),
                ),
            }),
        }
    }

    /// Writes an object, whatever was there.
    pub(crate) async fn replace(&self, path: &str, bytes: &Bytes) -> Result<(), RemoteError> {
        Point::RemoteReplace
            .io()
            .map_err(|error| self.stopped(path, error))?;
        self.put(path, bytes, PutMode::Overwrite).await.map(drop)
    }

    /// Whether it was written: false if it must not be there, and is.
    async fn put(&self, path: &str, bytes: &Bytes, mode: PutMode) -> Result<bool, RemoteError> {
        let at = self.at(path);
        let put = patiently(|| async {
            let options = PutOptions::from(mode.clone());
            let payload = PutPayload::from_bytes(bytes.clone());
            self.store.put_opts(&at, payload, options).await
        });
        match put.await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. })
                if mode == PutMode::Create =>
            {
                Ok(false)
            }
            Err(error) => Err(self.failed("write", path, &error)),
        }
    }

    pub(crate) async fn remove(&self, path: &str) -> Result<(), RemoteError> {
        Point::RemoteRemove
            .io()
            .map_err(|error| self.stopped(path, error))?;
        let at = self.at(path);
        match patiently(|| async { self.store.delete(&at).await }).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", path, &error)),
        }
    }

    /// The names of the folders and of the objects in a folder, not below it; the empty path is the store's own.
    pub(crate) async fn list(&self, path: &str) -> Result<Listed, RemoteError> {
        let at = self.at(path);
        let listed = patiently(|| self.store.list_with_delimiter(Some(&at))).await;
        let listed = listed.map_err(|error| self.failed("list", path, &error))?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        Ok(Listed {
            folders: listed.common_prefixes.iter().filter_map(name).collect(),
            objects: (listed.objects.iter())
                .filter_map(|object| name(&object.location))
                .collect(),
        })
    }

    /// The paths of all objects below a folder, relative to the store's own, with their sizes.
    async fn objects(&self, path: &str) -> Result<Vec<(String, u64)>, RemoteError> {
        let at = self.at(path);
        let depth = self.prefix.parts().count();
        let listed = patiently(|| async {
            let objects = self.store.list(Some(&at));
            objects.try_collect::<Vec<_>>().await
        });
        let listed = listed.await;
        let listed = listed.map_err(|error| self.failed("list", path, &error))?;
        Ok((listed.into_iter())
            .map(|object| {
                let below: Path = object.location.parts().skip(depth).collect();
                (below.to_string(), object.size)
            })
            .collect())
    }

    fn stopped(&self, path: &str, error: std::io::Error) -> RemoteError {
        RemoteError::Stopped {
            path: format!("{}/{path}", self.shown),
            source: error,
        }
    }

    /// Finds out whether the store refuses to overwrite an object. Makes one and removes it.
    pub(crate) async fn probe(&self) -> Result<(), RemoteError> {
        const FIRST: &[u8] = b"first\n";
        let random = fastrand::u64(..);
        let path = format!("{PROBE}{random:016x}");
        let put = async |text: &'static [u8]| {
            let bytes = Bytes::from_static(text);
            self.put(&path, &bytes, PutMode::Create).await
        };
        // Nobody else makes an object of this name: one that is there already is of an earlier attempt whose answer was lost.
        put(FIRST).await?;
        let second = put(b"second\n").await;
        let there = self.get(&path).await;
        let removed = self.remove(&path).await;
        let is_refused = !second?;
        if is_refused && there?.as_deref() == Some(FIRST) {
            return removed;
        }
        Err(RemoteError::Overwrites {
            url: self.shown.clone(),
        })
    }
}

/// Tries what a cut connection or a busy store has ended, a few times.
async fn patiently<T, F>(attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(Error::Generic { source, .. }) if http::is_worth_a_retry(source.as_ref()) => {}
            done => return done,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    attempt().await
}

/// Does something with each, a few at a time; the first error ends it.
pub(crate) async fn each_at_once<I, T, F>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> F,
) -> Result<Vec<T>, RemoteError>
where
    F: Future<Output = Result<T, RemoteError>>,
{
    futures_util::stream::iter(items.into_iter().map(work))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Reads or writes files on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::staging::StagingError> + Send + 'static,
) -> Result<T, RemoteError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| RemoteError::Thread)??)
}
