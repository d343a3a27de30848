//! A bundle of the mirror: connect, read in one transaction, write.

use std::path::Path;

use super::connect::connect;
use crate::database::{Database, DatabaseError, snapshot};
use crate::exit::{Exit, Failure};
use crate::export::{self, Bundle, Format, Profile, Request};
use crate::settings::Settings;

/// Writes a bundle of the mirror to a directory that is not there yet.
///
/// # Errors
///
/// As of [`export::write`].
pub(crate) async fn export(
    settings: &Settings,
    profile: &str,
    format: Format,
    target: &Path,
) -> Result<Bundle, Failure> {
    let config = &settings.config;
    let profile = Profile::find(profile, config)?;
    let schema = config.database.schema.as_str();
    let mut database = connect(settings, schema).await?;
    let recorder = connect(settings, schema).await?;
    refuse_unmade_tables(&recorder, &settings.schema_flag(&config.database.schema)).await?;
    let request = Request {
        config,
        profile: &profile,
        format,
        target,
        erased: settings.staging.erasures()?.people.into_keys().collect(),
        recorder: &recorder.client,
    };
    let transaction = snapshot(&mut database.client).await;
    let transaction = transaction.map_err(DatabaseError::from)?;
    let bundle = Box::pin(export::write(&request, &transaction)).await?;
    transaction.rollback().await.map_err(DatabaseError::from)?;
    recorder.close().await?;
    database.close().await?;
    Ok(bundle)
}

/// Refuses a database without the load ledger of this version, and so perhaps without tables.
pub(crate) async fn refuse_unmade_tables(database: &Database, flag: &str) -> Result<(), Failure> {
    let ask = "SELECT pg_catalog.to_regclass('pipeline.export') IS NOT NULL";
    let found = database.client.query_typed_one(ask, &[]).await;
    if found.map_err(DatabaseError::from)?.get(0) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Failed,
        format!(
            "nothing has been loaded into this database by this version of cursus; `cursus migrate{flag}` makes what is missing, `cursus \
             run` fills it"
        ),
    ))
}
