//! Who has logged in: random names in cookies, kept in memory by their hash. They end after a while, with the process, and with the
//! token that they were made for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::hash::{Hash, hex};
use crate::mutex::locked;

/// How long one lasts.
pub(super) const LIFE: Duration = Duration::from_hours(12);
/// Sessions at once; the one that ends first makes room.
const MOST: usize = 256;

/// The open sessions.
#[derive(Default)]
pub(super) struct LogIns(Mutex<HashMap<Hash, LogIn>>);

struct LogIn {
    until: Instant,
    /// The hash of the token that was given.
    token: Hash,
}

impl LogIns {
    /// Opens one; gives the value of its cookie.
    pub(super) fn begin(&self, token: Hash) -> Option<String> {
        let name = hex(&random()?);
        let mut open = self.open();
        if open.len() >= MOST {
            let first = open.iter().min_by_key(|(_, log_in)| log_in.until);
            if let Some(first) = first.map(|(name, _)| *name) {
                open.remove(&first);
            }
        }
        let until = Instant::now() + LIFE;
        open.insert(of(&name), LogIn { until, token });
        Some(name)
    }

    /// Whether a cookie's value is that of an open one.
    pub(super) fn knows(&self, name: &str, token: &Hash) -> bool {
        let open = self.open();
        open.get(&of(name))
            .is_some_and(|log_in| log_in.token == *token)
    }

    pub(super) fn end(&self, name: &str) {
        self.open().remove(&of(name));
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Hash, LogIn>> {
        let mut open = locked(&self.0);
        let now = Instant::now();
        open.retain(|_, log_in| log_in.until > now);
        open
    }
}

/// What is looked up is a hash: how long that takes tells nothing of a name.
fn of(name: &str) -> Hash {
    Sha256::digest(name).into()
}

/// 32 bytes that nobody can guess; none if the system has none.
pub(super) fn random() -> Option<Hash> {
    crate::random::bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sessions_end_with_their_time_and_their_token() {
        let (log_ins, token) = (LogIns::default(), [1; 32]);
        let name = log_ins.begin(token).unwrap();
        assert!(log_ins.knows(&name, &token));
        assert!(!log_ins.knows(&name, &[2; 32]), "another token");
        assert!(!log_ins.knows("", &token));
        tokio::time::advance(LIFE).await;
        assert!(!log_ins.knows(&name, &token));
        let name = log_ins.begin(token).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..MOST {
            assert!(log_ins.begin(token).is_some());
        }
        assert!(!log_ins.knows(&name, &token), "the first one makes room");
        assert_eq!(log_ins.open().len(), MOST);
    }
}
