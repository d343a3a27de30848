//! Commits a transaction so that an interruption can report its state.

use tokio_postgres::{Error, Transaction};

use super::sessions::{Commit, Sessions};
use crate::failpoint::Point;

/// Commits between two failpoints, and notes the state for an interruption.
pub(crate) async fn commit(
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
        // Without an answer of the server it stays in doubt.
        Err(error) if error.as_db_error().is_some() => sessions.set_commit(Commit::NotYet),
        Err(_) => {}
    }
    if done.is_ok() {
        after.reach();
    }
    done
}
