//! Pages that are read where they are: a few are brought before they are asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::Remote;
use crate::error_chain::chain;
use crate::mutex::locked;
use crate::staging::exchange::PageSource;

/// Pages that are kept before they are asked for; a reader that gives up leaves some.
const KEPT: usize = 32;

/// A page, or why it cannot be had; `None` while it is on its way.
type Arrived = Option<Result<Bytes, String>>;

#[derive(Debug, Default)]
struct Pages {
    pages: Mutex<BTreeMap<String, Arrived>>,
    arrived: Condvar,
}

/// Gets pages on the runtime that it was made in; readers wait on threads of their own.
#[derive(Debug)]
pub(super) struct Fetcher {
    remote: Remote,
    runtime: Handle,
    pages: Arc<Pages>,
}

impl Fetcher {
    /// Within a runtime.
    pub(super) fn new(remote: Remote) -> Self {
        Self {
            remote,
            runtime: Handle::current(),
            pages: Arc::default(),
        }
    }
}

impl PageSource for Fetcher {
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
