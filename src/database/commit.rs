//! The end of a transaction, in one place: whoever is stopped meanwhile must be able to tell what became of it.

use std::sync::{Mutex, PoisonError};

use tokio_postgres::{Error, Transaction};

use crate::failpoint::Point;

/// How far the commit is of what is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It was not asked for, or was refused: the transaction is rolled back.
    NotYet,
    /// It was asked for, and the answer is awaited.
    UnderWay,
    /// It was confirmed.
    Done,
}

static COMMIT: Mutex<Commit> = Mutex::new(Commit::NotYet);

impl Commit {
    /// How far it is.
    pub fn now() -> Self {
        *COMMIT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done from here on has a commit of its own.
    pub fn begin_anew() {
        Self::NotYet.set();
    }

    fn set(self) {
        *COMMIT.lock().unwrap_or_else(PoisonError::into_inner) = self;
    }
}

/// Commits, between these two places.
pub async fn commit(
    transaction: Transaction<'_>,
    before: Point,
    after: Point,
) -> Result<(), Error> {
    before.reach();
    Commit::UnderWay.set();
    let done = transaction.commit().await;
    match &done {
        Ok(()) => Commit::Done.set(),
        // Without the server's word it is in doubt.
        Err(error) if error.as_db_error().is_some() => Commit::NotYet.set(),
        Err(_) => {}
    }
    if done.is_ok() {
        after.reach();
    }
    done
}
