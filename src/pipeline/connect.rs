//! Connections to the mirror, each with the rights that its use needs.

use tracing::warn;

use super::settle::settle;
use crate::database::Database;
use crate::database::trust::Access;
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::load::{Options, SchemaLoader, check_schema};
use crate::settings::Settings;

/// Attempts to connect, if the connection is lost before anything was loaded.
const TRIES: u32 = 3;

/// Refuses where nothing was ever loaded: a command that only reads creates no private PostgreSQL.
pub(crate) fn refuse_unmade(settings: &Settings) -> Result<(), Failure> {
    let Some(dir) = settings.unmade_cluster() else {
        return Ok(());
    };
    let project = match settings.config.path {
        Some(_) => "",
        None => {
            "; or go to your project, which no directory from here on upwards is (`cursus init` begins one, `--config FILE` names one)"
        }
    };
    Err(Failure::new(
        Exit::Failed,
        format!(
            "nothing has been loaded here: there is no private PostgreSQL in {} yet; `cursus run` makes and fills it{project}",
            dir.display()
        ),
    ))
}

/// Connects to the mirror in this schema, in the name of the subcommand, to read it and the load ledger.
pub(crate) async fn connect(settings: &Settings, schema: &str) -> Result<Database, Failure> {
    refuse_unmade(settings)?;
    connect_or_make(settings, schema).await
}

/// As [`connect`]; none where nothing was ever loaded.
pub(crate) async fn connect_if_made(
    settings: &Settings,
    schema: &str,
) -> Result<Option<Database>, Failure> {
    match settings.unmade_cluster() {
        Some(_) => Ok(None),
        None => Ok(Some(connect_or_make(settings, schema).await?)),
    }
}

/// Connects to the mirror as [`connect`] does, also where the private PostgreSQL has to be made first.
pub(crate) async fn connect_or_make(
    settings: &Settings,
    schema: &str,
) -> Result<Database, Failure> {
    let database = Database::connect(&settings.database, &session(settings)).await?;
    check_schema(&database.client, Access::Read, &settings.config, schema).await?;
    Ok(patient(database, settings))
}

/// As [`connect`], for questions that others have written: to the private one as a role that may only read.
pub(crate) async fn connect_to_ask(settings: &Settings, schema: &str) -> Result<Database, Failure> {
    refuse_unmade(settings)?;
    let database = Database::connect_to_ask(&settings.database, &session(settings)).await?;
    check_schema(&database.client, Access::Read, &settings.config, schema).await?;
    Ok(patient(database, settings))
}

/// As [`connect_to_ask`], but a server that is away is not waited for.
pub(crate) async fn connect_to_ask_once(
    settings: &Settings,
    schema: &str,
) -> Result<Database, Failure> {
    refuse_unmade(settings)?;
    let database = Database::connect_to_ask_once(&settings.database, &session(settings)).await?;
    check_schema(&database.client, Access::Read, &settings.config, schema).await?;
    Ok(patient(database, settings))
}

pub(crate) async fn connect_to_write(
    settings: &Settings,
    schema: &str,
) -> Result<Database, Failure> {
    let database = connect_unchecked(settings).await?;
    check_schema(&database.client, Access::Write, &settings.config, schema).await?;
    Ok(database)
}

/// Connects to write. The caller checks the schema.
pub(crate) async fn connect_unchecked(settings: &Settings) -> Result<Database, Failure> {
    let database = Database::connect_to_write(&settings.database, &session(settings)).await?;
    Ok(patient(database, settings))
}

/// What others read of this process when they wait for its locks.
fn session(settings: &Settings) -> String {
    format!("cursus {} pid={}", settings.command, std::process::id())
}

fn patient(mut database: Database, settings: &Settings) -> Database {
    database.lock_wait = settings.wait_lock;
    database
}

/// Connects to the mirror and prepares it for a load. This can be repeated after a lost connection: nothing of a run is written,
/// and a migration is one transaction.
///
/// People who were erased are erased again from a half that a backup has brought back.
pub(crate) async fn open_loader<'c>(
    settings: &'c Settings,
    options: &Options,
) -> Result<SchemaLoader<'c>, Failure> {
    let mut loader = open_unsettled(settings, options).await?;
    if !options.dry_run {
        settle(settings, &mut loader).await?;
    }
    Ok(loader)
}

/// As [`open_loader`], with the erasure ledgers as they are.
pub(crate) async fn open_unsettled<'c>(
    settings: &'c Settings,
    options: &Options,
) -> Result<SchemaLoader<'c>, Failure> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let database = connect_unchecked(settings).await?;
        match SchemaLoader::open(&settings.config, database, options.clone()).await {
            Err(error) if tries > 0 && error.is_connection_lost() => {
                warn!("{}; connecting again", chain(&error));
            }
            opened => return Ok(opened?),
        }
    }
}
