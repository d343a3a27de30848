//! A schema for a replay: made, marked as such, and never one that holds something else.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient};

use crate::config::{Config, Table};
use crate::database::Database;
use crate::hash::hex;
use crate::migrate;
use crate::name::Name;

use super::books::{self, Waits};
use super::error::LoadError;
use super::scratch::{Found, REBUILD, look, make, make_anew};
use super::{Loader, Options, lock, refuse_lacking};

/// Begin of the comment of a schema that `replay --into` has made; the history's fingerprint follows.
const MADE: &str = "Made by `cursus replay --into`. History: ";

/// Why a replay did not happen. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The mirror itself.
    #[error(
        "{0} is the schema of the mirror, and a replay does not load into it: name another schema, or let \
         `cursus replay --rebuild` bring the mirror to what the staged runs give"
    )]
    Live(String),
    /// A schema that holds something else.
    #[error(
        "the schema {0} is not empty, and no replay has made it; name another one, or drop it if nobody needs it"
    )]
    Foreign(String),
    /// A schema of which we need the name holds something else.
    #[error(
        "the schema {0} is not empty, and cursus has not made it, but needs its name; rename it, or drop it if nobody needs it"
    )]
    Taken(String),
    /// The schema of the mirror leaves no room.
    #[error("`{0}` is too long for the name of a schema: give the mirror a shorter one")]
    Long(String),
    /// A schema that another replay has made.
    #[error(
        "the schema {0} was made by a replay that differs in --from, --select, --allow-prune, pipeline.toml, a \
         migration or the version of cursus, and the two would mix; name another schema, or drop this one"
    )]
    Other(String),
    /// A schema that is further already.
    #[error(
        "the schema {schema} holds the run {run} already, which comes after the one named by --to; name another \
         schema, or drop this one"
    )]
    Further {
        /// The schema.
        schema: String,
        /// What it holds.
        run: String,
    },
    /// Nothing says what the mirror must hold.
    #[error(
        "the mirror was not rebuilt: no complete full read of {} is among the runs, so what they lack is not known to \
         be gone; read it in full (`cursus run --full --select …`), or leave it, and what it follows, out with --select", .0.join(", ")
    )]
    Unproven(Vec<String>),
    /// The mirror has what is not staged.
    #[error(
        "the mirror was not rebuilt: {resource} is loaded up to the run {run}, and the staged runs end before it; to go \
         back on purpose, name the last run with --to"
    )]
    Behind {
        /// The resource.
        resource: String,
        /// The newest run loaded.
        run: String,
    },
    /// The guard.
    #[error(
        "the mirror was not rebuilt: {} are not in what the staged runs give, more than the guard lets go at once. \
         The schema {scratch} has what they give; if the rows are to go: cursus replay --rebuild --allow-prune",
        tables.join(", ")
    )]
    TooMany {
        /// `250 of 500 rows of users`.
        tables: Vec<String>,
        /// Where the replay can be looked at.
        scratch: String,
    },
    /// The load itself failed.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// What a replay is of.
#[derive(Clone, Debug)]
pub struct ReplayScope {
    /// The run from which on; none: all.
    pub from: Option<String>,
    /// The resources that are replayed.
    pub resources: BTreeSet<Name>,
}

/// Those resources, all that their rows refer to, and all that feed their tables beside them.
pub fn with_parents(config: &Config, chosen: impl IntoIterator<Item = Name>) -> BTreeSet<Name> {
    let mut resources: BTreeSet<Name> = chosen.into_iter().collect();
    loop {
        let is_chosen = |table: &&Table| table.sources().any(|name| resources.contains(name));
        let tables = || config.tables.iter().filter(is_chosen);
        let beside = tables().flat_map(Table::sources).cloned();
        let parents = tables().flat_map(|table| {
            let within = table.within.iter().map(|within| &within.table);
            let owner = table.owner.iter().map(|owner| &owner.table);
            table.after.iter().chain(within).chain(owner)
        });
        let sources = parents.filter_map(|parent| {
            let table = config.tables.iter().find(|table| table.name == *parent)?;
            Some(table.from.clone())
        });
        let more: Vec<Name> = (sources.chain(beside))
            .filter(|name| !resources.contains(name))
            .collect();
        if more.is_empty() {
            return resources;
        }
        resources.extend(more);
    }
}

impl ReplayScope {
    /// Those resources and all that their rows refer to: a schema of its own has nothing else.
    pub fn new(
        config: &Config,
        from: Option<String>,
        chosen: impl IntoIterator<Item = Name>,
    ) -> Self {
        let resources = with_parents(config, chosen);
        Self { from, resources }
    }

    /// As [`Self::new`], and all whose rows follow theirs (`within`, `select`): in the mirror they would be left as they
    /// were before.
    pub fn of_mirror(
        config: &Config,
        from: Option<String>,
        chosen: impl IntoIterator<Item = Name>,
    ) -> Self {
        let mut resources = with_parents(config, chosen);
        loop {
            let is_chosen = |name: &Name| {
                let mut tables = config.tables.iter();
                tables.any(|table| table.name == *name && resources.contains(&table.from))
            };
            let follows = |table: &&Table| {
                let is_selected = table.select.is_some()
                    && (table.after.is_empty() || table.after.iter().any(is_chosen));
                is_selected || table.within.iter().any(|within| is_chosen(&within.table))
            };
            let more: Vec<Name> = (config.tables.iter())
                .filter(|table| !resources.contains(&table.from))
                .filter(follows)
                .map(|table| table.from.clone())
                .collect();
            if more.is_empty() {
                return Self { from, resources };
            }
            resources = with_parents(config, resources.into_iter().chain(more));
        }
    }

    /// Of all that decides what rows a run gives.
    fn fingerprint(&self, config: &Config, allow_prune: bool) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: String| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        add(env!("CARGO_PKG_VERSION").to_owned());
        add(format!(
            "{:?} {:?} {allow_prune}",
            self.from, self.resources
        ));
        add(format!("{:?} {:?}", config.scope, config.prune));
        for table in &config.tables {
            add(format!(
                "{:?} {:?} {:?}",
                table.name, table.from, table.rows
            ));
            add(format!("{:?} {:?}", table.select, table.conditions));
            add(format!("{:?}", table.also_from));
            add(format!(
                "{:?} {:?} {:?}",
                table.columns, table.key, table.after
            ));
            add(format!("{:?} {:?}", table.owner, table.within));
        }
        for resource in &config.resources {
            let cursor = resource.cursor.as_ref().map(|cursor| &cursor.field);
            add(format!("{:?} {cursor:?}", resource.name));
        }
        for derive in &config.derives {
            add(format!(
                "{:?} {:?} {:?}",
                derive.name, derive.sql, derive.after
            ));
        }
        hex(&hash.finalize())
    }
}

impl<'c> Loader<'c> {
    /// Opens a schema for a replay: one that is empty or absent, or that the same replay has made.
    pub async fn open_replay(
        config: &'c Config,
        mut database: Database,
        options: Options,
        scope: &ReplayScope,
    ) -> Result<Self, ReplayError> {
        let schema = options.schema.as_str();
        if options.schema == config.database.schema {
            return Err(ReplayError::Live(schema.to_owned()));
        }
        lock(&database, schema).await?;
        refuse_lacking(&mut database.client, config, &options).await?;
        let mark = format!("{MADE}{}", scope.fingerprint(config, options.allow_prune));
        match look(&database.client, schema).await? {
            Found::Nothing => make(&mut database.client, schema, &mark, false).await?,
            Found::Something(Some(comment)) if comment.starts_with(MADE) => {
                if comment != mark || lacks_migrations(&database.client, config, schema).await? {
                    return Err(ReplayError::Other(schema.to_owned()));
                }
            }
            Found::Something(_) => return Err(ReplayError::Foreign(schema.to_owned())),
        }
        Ok(Self::open(config, database, options).await?)
    }

    /// Turns from the mirror to a new scratch schema, with the mirror locked meanwhile.
    pub async fn into_scratch(self, schema: Name) -> Result<Self, ReplayError> {
        let Self {
            config,
            options,
            mut database,
            ..
        } = self;
        lock(&database, schema.as_str()).await?;
        let options = Options { schema, ..options };
        refuse_lacking(&mut database.client, config, &options).await?;
        // One that is there is of a rebuild that was killed or refused.
        make_anew(&mut database.client, options.schema.as_str(), REBUILD).await?;
        Ok(Self::open(config, database, options).await?)
    }
}

impl Loader<'_> {
    /// What waits in a schema, by table.
    pub async fn waits(&self, schema: &str) -> Result<Vec<Waits>, LoadError> {
        books::waits(&self.database.client, schema).await
    }
}

/// Whether a schema that holds rows has still to be migrated: they would lack what the migration adds.
async fn lacks_migrations(
    client: &Client,
    config: &Config,
    schema: &str,
) -> Result<bool, ReplayError> {
    let folder = config.migrations();
    let missing = migrate::pending(client, schema, folder.as_deref())
        .await
        .map_err(LoadError::from)?;
    let of_schema = format!("{schema}/");
    if !missing.iter().any(|label| label.starts_with(&of_schema)) {
        return Ok(false);
    }
    let loaded = books::loaded(client, schema, config).await?;
    Ok(!loaded.is_empty())
}

/// Forgets what the books say of a schema that was dropped since: a new one of the same name has none of it.
pub(super) async fn forget_dropped(client: &Client, schema: &str) -> Result<(), LoadError> {
    let [history, _] = migrate::HISTORIES;
    let is_made = client
        .query_typed_opt(
            "SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = $2",
            &[(&schema, Type::TEXT), (&history, Type::TEXT)],
        )
        .await
        .map_err(LoadError::at("look at the schema"))?;
    match is_made {
        Some(_) => Ok(()),
        None => forget(client, schema).await,
    }
}

/// Forgets what the books say of a schema.
pub(super) async fn forget(client: &impl GenericClient, schema: &str) -> Result<(), LoadError> {
    for table in books_of_schemas(client, &["schema_name"]).await? {
        client
            .execute(
                &format!("DELETE FROM {table} WHERE schema_name = $1"),
                &[&schema],
            )
            .await
            .map_err(LoadError::at("forget what was loaded into the schema"))?;
    }
    Ok(())
}

/// The tables of the books that have these columns, quoted.
pub(super) async fn books_of_schemas(
    client: &impl GenericClient,
    columns: &[&str],
) -> Result<Vec<String>, LoadError> {
    let rows = client
        .query(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c \
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind = 'r' AND $2 <@ ARRAY(SELECT a.attname::text \
             FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) ORDER BY 1",
            &[&migrate::BOOKS, &columns],
        )
        .await
        .map_err(LoadError::at("look at the books"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
