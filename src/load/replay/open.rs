//! A schema for a replay: made, marked as such, and never one that holds something else.

use tokio_postgres::Client;

use crate::config::Config;
use crate::database::Database;
use crate::load::error::LoadError;
use crate::load::ledger::backlog;
use crate::load::ledger::backlog::TableBacklog;
use crate::load::ledger::loads;
use crate::load::options::Options;
use crate::load::replay::error::ReplayError;
use crate::load::replay::scope::ReplayScope;
use crate::load::replay::scratch::{SchemaContents, inspect_schema, make, remake};
use crate::load::schema_loader::{SchemaLoader, reserve};
use crate::migrate;
use crate::name::Name;

/// Begin of the comment of a schema that `replay --into` has made; the history's fingerprint follows.
const MADE: &str = "Made by `cursus replay --into`. History: ";

impl<'c> SchemaLoader<'c> {
    /// Opens a schema for a replay: one that is empty or absent, or that the same replay has made.
    pub(crate) async fn open_replay(
        config: &'c Config,
        mut database: Database,
        options: Options,
        scope: &ReplayScope,
    ) -> Result<Self, ReplayError> {
        let schema = options.schema.as_str();
        if options.schema == config.database.schema {
            return Err(ReplayError::Live(schema.to_owned()));
        }
        reserve(&mut database, config, &options).await?;
        let mark = format!("{MADE}{}", scope.fingerprint(config, options.allow_prune));
        match inspect_schema(&database.client, schema).await? {
            SchemaContents::Empty => make(&mut database.client, schema, &mark, false).await?,
            SchemaContents::NotEmpty(Some(comment)) if comment.starts_with(MADE) => {
                if comment != mark || lacks_migrations(&database.client, config, schema).await? {
                    return Err(ReplayError::Other(schema.to_owned()));
                }
            }
            SchemaContents::NotEmpty(_) => return Err(ReplayError::Foreign(schema.to_owned())),
        }
        Ok(Self::open(config, database, options).await?)
    }

    /// Turns from the mirror to a new scratch schema with this comment, with the mirror locked meanwhile.
    pub(crate) async fn into_scratch(self, schema: Name, mark: &str) -> Result<Self, ReplayError> {
        let Self {
            config,
            options,
            mut database,
            ..
        } = self;
        let options = Options { schema, ..options };
        reserve(&mut database, config, &options).await?;
        // One that is there is of a rebuild that was killed or refused.
        remake(&mut database.client, options.schema.as_str(), mark).await?;
        Ok(Self::open(config, database, options).await?)
    }
}

impl SchemaLoader<'_> {
    /// What is quarantined and held in a schema, by table.
    pub(crate) async fn backlog_by_table(
        &self,
        schema: &str,
    ) -> Result<Vec<TableBacklog>, LoadError> {
        backlog::backlog_by_table(&self.database.client, schema).await
    }
}

/// Whether a schema that holds rows has still to be migrated: they would lack what the migration adds.
pub(super) async fn lacks_migrations(
    client: &Client,
    config: &Config,
    schema: &str,
) -> Result<bool, ReplayError> {
    let folder = config.migrations();
    let missing = migrate::pending(client, schema, &folder)
        .await
        .map_err(LoadError::from)?;
    let of_schema = format!("{schema}/");
    if !missing.iter().any(|label| label.starts_with(&of_schema)) {
        return Ok(false);
    }
    let loaded = loads::loaded(client, schema, config).await?;
    Ok(!loaded.is_empty())
}
