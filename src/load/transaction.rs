//! The transaction of a load: how it begins, what it sets, and its savepoints.

use tokio_postgres::Transaction;

use crate::config::Config;
use crate::database::Database;
use crate::database::trust::{self, Access};
use crate::load::check::trust::check_schema;
use crate::load::error::LoadError;
use crate::load::sql::statements::clear_staged;

pub(crate) async fn begin(database: &mut Database) -> Result<Transaction<'_>, LoadError> {
    let transaction = database.client.transaction().await;
    transaction.map_err(LoadError::at("begin a transaction"))
}

/// Private tables and sorts of a load; the statements in sql/ name mirror tables without a schema. Nobody can make meanwhile what
/// would run with our rights.
pub(crate) async fn set_up(
    transaction: &Transaction<'_>,
    config: &Config,
    schema: &str,
) -> Result<(), LoadError> {
    let open = check_schema(transaction, Access::Write, config, schema).await?;
    if !open.is_empty() {
        let lock = format!("LOCK TABLE {} IN ROW EXCLUSIVE MODE", open.join(", "));
        let lock = transaction.batch_execute(&lock).await;
        lock.map_err(LoadError::at(
            "lock tables that other roles may add triggers to",
        ))?;
        check_schema(transaction, Access::Write, config, schema).await?;
    }
    let set_up = format!(
        "SET LOCAL search_path TO {}; SET LOCAL work_mem = '64MB'; SET LOCAL client_min_messages = warning",
        trust::path_of_load(schema)
    );
    let doing = "set up the transaction";
    (transaction.batch_execute(&set_up).await).map_err(LoadError::at(doing))?;
    let row = transaction.query_typed_one(&clear_staged(), &[]).await;
    match row.map_err(LoadError::at(doing))?.get::<_, Option<&str>>(0) {
        Some(clear) => (transaction.batch_execute(clear).await).map_err(LoadError::at(doing)),
        None => Ok(()),
    }
}

pub(crate) async fn savepoint<'t>(
    transaction: &'t mut Transaction<'_>,
    name: &str,
) -> Result<Transaction<'t>, LoadError> {
    transaction
        .savepoint(name)
        .await
        .map_err(LoadError::at("set a savepoint"))
}

/// Keeps what was done since the savepoint, or takes it back. The outer error is that of a lost connection.
pub(crate) async fn settle<T>(
    savepoint: Transaction<'_>,
    done: Result<T, LoadError>,
) -> Result<Result<T, LoadError>, LoadError> {
    match done {
        Ok(done) => {
            savepoint
                .commit()
                .await
                .map_err(LoadError::at("release a savepoint"))?;
            Ok(Ok(done))
        }
        Err(error) if error.is_connection_lost() => Err(error),
        Err(error) => {
            savepoint
                .rollback()
                .await
                .map_err(LoadError::at("roll back to a savepoint"))?;
            Ok(Err(error))
        }
    }
}
