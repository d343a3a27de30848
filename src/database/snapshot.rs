//! Many queries that see one moment of the database.

use tokio_postgres::{Client, Error, IsolationLevel, Transaction};

/// Begins a transaction that writes nothing and sees what was committed before it.
pub(crate) async fn snapshot(client: &mut Client) -> Result<Transaction<'_>, Error> {
    client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
}
