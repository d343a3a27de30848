//! The lock of a load: one at a time into a schema.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tracing::info;

use crate::database::{
    Database, LOCK_WAIT, LockKey, WATCHED_EVERY, holder, holder_is_dead, lock_timeout_of,
};
use crate::load::error::LoadError;

/// The lock of a load into the schema `$1`.
const LOAD_LOCK: LockKey = LockKey::Pair("hashtext('cursus load')", "hashtext($1)");

/// Takes the lock of a schema if nobody else has it; whether it did.
pub(super) async fn try_lock(database: &Database, schema: &str) -> Result<bool, LoadError> {
    let take = LOAD_LOCK.try_to_take();
    let taken = database.client.query_one(&take, &[&schema]).await;
    Ok(taken.map_err(LoadError::at("take the load lock"))?.get(0))
}

/// One load at a time into a schema; the lock goes with the session. It is waited for as long as any other lock, if nothing
/// else is asked for: a session that has just ended releases it a little later than its client, and that of a client which was
/// killed when the server looks after it.
pub(crate) async fn lock(database: &Database, schema: &str) -> Result<(), LoadError> {
    let client = &database.client;
    let wait = async |wait: Duration| {
        let set = format!("SET lock_timeout = {}", lock_timeout_of(wait));
        let set = client.batch_execute(&set).await;
        set.map_err(LoadError::at("set the patience for locks"))
    };
    if let Some(asked) = database.lock_wait {
        wait(asked).await?;
    }
    let take = LOAD_LOCK.take();
    let is_held = |taken: &Result<u64, tokio_postgres::Error>| {
        let error = taken.as_ref().err();
        error.and_then(tokio_postgres::Error::code) == Some(&SqlState::LOCK_NOT_AVAILABLE)
    };
    let mut taken = client.execute(&take, &[&schema]).await;
    let is_default = database.lock_wait.is_none();
    if is_held(&taken) && is_default && holder_is_dead(client, LOAD_LOCK, schema).await {
        info!(
            schema,
            "waiting for the server to notice that another cursus{} has died",
            holder(client, LOAD_LOCK, schema).await
        );
        wait(WATCHED_EVERY + LOCK_WAIT).await?;
        taken = client.execute(&take, &[&schema]).await;
    }
    match taken {
        Ok(_) => wait(LOCK_WAIT).await,
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            Err(LoadError::Locked {
                schema: schema.to_owned(),
                holder: holder(client, LOAD_LOCK, schema).await,
            })
        }
        Err(error) => Err(LoadError::at("take the load lock")(error)),
    }
}
