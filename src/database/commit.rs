//! The end of a transaction, in one place: an interruption meanwhile must be able to say what became of it.

use tokio_postgres::{Error, Transaction};

use super::Sessions;
use crate::failpoint::Point;

/// How far the commit is of what is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// It was not asked for, or was refused: the transaction is rolled back.
    #[default]
    NotYet,
    /// It was asked for, and the answer is awaited.
    UnderWay,
    /// It was confirmed.
    Done,
}

/// Commits, between these two places.
pub async fn commit(
    transaction: Transaction<'_>,
    before: Point,
    after: Point,
) -> Result<(), Error> {
    before.reach();
    let sessions = Sessions::current();
    sessions.set_commit(Commit::UnderWay);
    let done = transaction.commit().await;
    match &done {
        Ok(()) => sessions.set_commit(Commit::Done),
        // Without the server's word it is in doubt.
        Err(error) if error.as_db_error().is_some() => sessions.set_commit(Commit::NotYet),
        Err(_) => {}
    }
    if done.is_ok() {
        after.reach();
    }
    done
}
