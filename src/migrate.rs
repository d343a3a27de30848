//! Brings a database to the shape that this program expects. Knows migrations and their histories, not what a table means.
//!
//! `migrations/books` makes the schema `pipeline`, once a database. `migrations/mirror` is unqualified and runs with `search_path` =
//! the target schema, if no other role can create in it, with a history there; so a scratch schema is one call:
//! `migrate(client, "scratch", extra)`. Migrations of a user (V1000 and up) have a history of their own, so that a later release
//! can still add V3 to a schema that has V1000.

mod effects;
mod error;
mod files;
mod names;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use include_dir::{Dir, include_dir};
use refinery::error::Kind;
use refinery::{Migration, Runner};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, GenericClient};
use tracing::{debug, warn};

use crate::database::trust::{self, Access, Uses};
use crate::database::{DatabaseError, LockKey, Quoted, describe, holder, lock_timeout_of};
use crate::failpoint::Point;
use crate::pack_files::{Extra, PackFiles, View};
use crate::printable;
pub(crate) use effects::Effects;
pub(crate) use error::MigrateError;
use files::{local, of_pack, shipped};
use names::pack_of_history;
pub(crate) use names::{HISTORY, LEDGER_SCHEMA, is_history};
use names::{LOCAL_HISTORY, pack_history};
pub(crate) use views::without_mark;

static SHIPPED_LEDGER: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/migrations/books");
static SHIPPED_MIRROR: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/migrations/mirror");

/// The SQLSTATE with which a migration of ours refuses a schema, in a sentence for people.
const REFUSED: &str = "CU001";
/// Held while a database is migrated: the letters of `cursus` as a number.
const LOCK: i64 = 0x6375_7273_7573;
const LOCK_KEY: LockKey = LockKey::Number(LOCK);
/// How long to wait for another process that migrates, if nothing else is asked for.
const LOCK_WAIT: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Migrated {
    /// Each migration applied by this call, as `schema/V1__name`, in order.
    pub(crate) applied: Vec<String>,
    /// Views that were made or renewed.
    pub(crate) views: Vec<String>,
}

/// Migrations that share a schema and a history.
struct Set {
    schema: String,
    history: String,
    /// The pack that they are of.
    pack: Option<Arc<PackFiles>>,
    migrations: Vec<Migration>,
}

impl Set {
    /// One of its migrations, for people: `public/V1__cursus`, `public/teams/V1__teams`.
    fn label(&self, migration: &Migration) -> String {
        let Self { schema, pack, .. } = self;
        match pack {
            Some(pack) => format!("{schema}/{}/{migration}", pack.name),
            None => format!("{schema}/{migration}"),
        }
    }

    /// Where its files are, for people.
    fn place(&self) -> String {
        match &self.pack {
            Some(pack) => pack.place("migrations"),
            None => "migrations/mirror beside the pipeline.toml in use".to_owned(),
        }
    }
}

/// The tables in which the migrations of a mirror are recorded, that of this program first.
pub(crate) fn histories(extra: &Extra) -> Vec<String> {
    let own = [HISTORY, LOCAL_HISTORY].map(str::to_owned);
    let packs = extra.packs.iter().map(|pack| pack_history(&pack.name));
    own.into_iter().chain(packs).collect()
}

struct Applied {
    version: i32,
    name: String,
    checksum: String,
}

impl Applied {
    fn label(&self) -> String {
        format!("V{}__{}", self.version, self.name)
    }
}

/// Applies pending migrations: of the load ledger, of the mirror in `schema` (both are created if absent), of packs, then the user's
/// own. Two round trips if none is pending. Waits `lock_wait` for another process that migrates. Restores the session's settings.
pub(crate) async fn migrate(
    client: &mut Client,
    schema: &str,
    extra: &Extra,
    lock_wait: Option<Duration>,
) -> Result<Migrated, MigrateError> {
    let sets = sets(schema, extra)?;
    let mut migrated = Migrated {
        applied: Vec::new(),
        views: Vec::new(),
    };
    if missing(client, &sets).await?.is_empty() {
        let outdated = views::outdated(client, schema, &extra.views).await?;
        if outdated.is_empty() {
            for sentence in views::taken(schema, &outdated) {
                warn!("{sentence}");
            }
            return Ok(migrated);
        }
    }
    let settings = "SELECT current_setting('search_path'), current_setting('lock_timeout')";
    let before = client.query_one(settings, &[]).await?;
    let (search_path, lock_timeout): (String, String) = (before.get(0), before.get(1));

    let waited = lock_wait.unwrap_or(LOCK_WAIT);
    set(client, "lock_timeout", &lock_timeout_of(waited)).await?;
    let locked = client.query_one(&LOCK_KEY.take(), &[]).await;
    set(client, "lock_timeout", &lock_timeout).await?;
    match locked {
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            let holder = holder(client, LOCK_KEY, schema).await;
            return Err(MigrateError::Busy { waited, holder });
        }
        other => other?,
    };
    let result = apply(client, &sets, &extra.views, &mut migrated.applied).await;
    // Also after a migration that failed, for which views were put aside.
    let renewed = match &result {
        Err(
            MigrateError::Newer { .. }
            | MigrateError::Divergent { .. }
            | MigrateError::Missing { .. },
        ) => Ok(Vec::new()),
        _ => views::bring_up_to_date(client, schema, &extra.views).await,
    };
    Point::MigrateDone.reach();
    set(client, "search_path", &search_path).await?;
    client
        .query_one("SELECT pg_advisory_unlock($1)", &[&LOCK])
        .await?;
    result?;
    migrated.views = renewed?;
    for migration in &migrated.applied {
        debug!("applied migration {migration}");
    }
    Ok(migrated)
}

/// Refuses files that are no migrations where migrations are kept; asks no database.
pub(crate) fn check_files(extra: &Extra) -> Result<(), MigrateError> {
    check_names(&sets("", extra)?)
}

/// What [`migrate`] would apply, as `schema/V1__name`, and the same errors; changes nothing.
pub(crate) async fn pending(
    client: &impl GenericClient,
    schema: &str,
    extra: &Extra,
) -> Result<Vec<String>, MigrateError> {
    missing(client, &sets(schema, extra)?).await
}

/// What the migrations of a schema that wait would make and change there.
#[derive(Debug)]
pub(crate) struct Outlook {
    pub(crate) schema: String,
    pub(crate) effects: Effects,
}

/// The same of every schema in which some wait, with the same errors; changes nothing.
pub(crate) async fn outlook(
    client: &impl GenericClient,
    schema: &str,
    extra: &Extra,
) -> Result<Vec<Outlook>, MigrateError> {
    let sets = sets(schema, extra)?;
    let pending = missing(client, &sets).await?;
    let of_set = |set: &Set| {
        let is_pending = |file: &&Migration| pending.contains(&set.label(file));
        let texts = set.migrations.iter().filter(is_pending);
        let texts: Vec<&str> = texts.filter_map(Migration::sql).collect();
        (!texts.is_empty()).then(|| Outlook {
            schema: set.schema.clone(),
            effects: Effects::of(texts),
        })
    };
    Ok(sets.iter().filter_map(of_set).collect())
}

/// The packs whose migrations were applied to a schema.
pub(crate) async fn packs_of(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let tables = crate::database::catalogue::table_names(client, schema).await?;
    let packs = tables.iter().filter_map(|table| pack_of_history(table));
    Ok(packs.collect())
}

/// The names of what the migrations of the load ledger make, tables among them.
pub(crate) fn ledger_names() -> &'static [String] {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let texts = (SHIPPED_LEDGER.files()).filter_map(include_dir::File::contents_utf8);
        Effects::of(texts).makes.into_iter().collect()
    });
    &NAMES
}

async fn apply(
    client: &mut Client,
    sets: &[Set],
    views: &[View],
    applied: &mut Vec<String>,
) -> Result<(), MigrateError> {
    // Another process may have been faster, or have another version.
    missing(client, sets).await?;
    for set_of in sets.iter().filter(|set| !set.migrations.is_empty()) {
        let exists = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1";
        if client.query_opt(exists, &[&set_of.schema]).await?.is_none() {
            let create = format!("CREATE SCHEMA {}", Quoted(&set_of.schema));
            client.batch_execute(&create).await?;
            Point::MigrateSchema.reach();
        }
        // Another process may have created it.
        let schema = set_of.schema.as_str();
        let uses = Uses {
            schemas: &[LEDGER_SCHEMA],
            path: &[schema],
            names: &names(set_of, sets),
        };
        client.batch_execute(trust::SET_PATH).await?;
        trust::check(client, Access::Write, uses).await?;
        set(client, "search_path", &trust::path_of(&[schema])).await?;
        let mut runner = Runner::new(&set_of.migrations);
        runner.set_migration_table_name(&set_of.history);
        let mut report = runner.run_async(client).await;
        if let Err(error) = &report
            && cause_of(error).is_some_and(views::is_in_the_way)
            && views::put_aside(client, schema, views).await?
        {
            report = runner.run_async(client).await;
        }
        let report = report.map_err(|error| failed(&set_of.schema, &error))?;
        Point::MigrateSet.reach();
        applied.extend(
            report
                .applied_migrations()
                .iter()
                .map(|migration| set_of.label(migration)),
        );
    }
    Ok(())
}

/// What the migrations of a set may name: those that are shipped name only what they have made.
fn names(set: &Set, sets: &[Set]) -> Vec<String> {
    let is_foreign = |_: &&Migration| set.history != HISTORY;
    let texts = (set.migrations.iter().filter(is_foreign)).filter_map(Migration::sql);
    let words: BTreeSet<String> = texts.flat_map(trust::words).collect();
    let histories = sets.iter().map(|set| set.history.clone());
    histories.chain(words).collect()
}

async fn set(client: &Client, name: &str, value: &str) -> Result<(), MigrateError> {
    client
        .query_one("SELECT set_config($1, $2, false)", &[&name, &value])
        .await?;
    Ok(())
}

/// The server's error behind that of a runner.
fn cause_of(error: &refinery::Error) -> Option<&tokio_postgres::Error> {
    match error.kind() {
        Kind::Connection(_, cause) => cause.downcast_ref(),
        _ => None,
    }
}

fn failed(schema: &str, error: &refinery::Error) -> MigrateError {
    let Kind::Connection(step, cause) = error.kind() else {
        // The histories were compared under the lock, so this is a change by hand in between.
        return MigrateError::Failed {
            schema: schema.to_owned(),
            step: "comparing with the history".to_owned(),
            what: error.to_string(),
        };
    };
    let what = match cause.downcast_ref::<tokio_postgres::Error>() {
        Some(cause) if cause.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            return MigrateError::Database(DatabaseError::Rights);
        }
        // The sentence is one of our migrations; its values are names of tables and views.
        Some(cause) if cause.code().is_some_and(|code| code.code() == REFUSED) => {
            let why = cause.as_db_error().map_or("", DbError::message);
            return MigrateError::Refused {
                schema: schema.to_owned(),
                why: printable::line(why).into_owned(),
            };
        }
        Some(cause) => describe(cause),
        None => "no reason given".to_owned(),
    };
    MigrateError::Failed {
        schema: schema.to_owned(),
        step: step.clone(),
        what,
    }
}

/// Compares the histories with the files.
async fn missing(client: &impl GenericClient, sets: &[Set]) -> Result<Vec<String>, MigrateError> {
    let schemas: Vec<&str> = sets.iter().map(|set| set.schema.as_str()).collect();
    let histories: Vec<&str> = sets.iter().map(|set| set.history.as_str()).collect();
    let there = "
        SELECT w.place FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (nspname, relname, place)
        JOIN pg_catalog.pg_namespace n ON n.nspname = w.nspname
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname ORDER BY 1";
    let parts: Vec<String> = client
        .query_typed(
            there,
            &[
                (&schemas, tokio_postgres::types::Type::TEXT_ARRAY),
                (&histories, tokio_postgres::types::Type::TEXT_ARRAY),
            ],
        )
        .await?
        .iter()
        .filter_map(|row| {
            let place = row.get::<_, i64>(0);
            let set = sets.get(usize::try_from(place - 1).ok()?)?;
            Some(format!(
                "SELECT {place}::bigint AS place, version, name::text, checksum::text FROM {}.{}",
                Quoted(&set.schema),
                set.history
            ))
        })
        .collect();
    let mut applied: Vec<Vec<Applied>> = sets.iter().map(|_| Vec::new()).collect();
    if !parts.is_empty() {
        let query = format!("{} ORDER BY place, version", parts.join(" UNION ALL "));
        for row in client.query_typed(&query, &[]).await? {
            let place = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or_default();
            if let Some(list) = applied.get_mut(place) {
                list.push(Applied {
                    version: row.get(1),
                    name: row.get(2),
                    checksum: row.get(3),
                });
            }
        }
    }
    let mut missing = Vec::new();
    for (set, applied) in sets.iter().zip(&applied) {
        missing.extend(compare(set, applied)?);
    }
    if !missing.is_empty() {
        check_names(sets)?;
    }
    Ok(missing)
}

fn compare(set: &Set, applied: &[Applied]) -> Result<Vec<String>, MigrateError> {
    let schema = || set.schema.clone();
    let is_ours = |entry: &Applied| {
        let mut files = set.migrations.iter();
        files.any(|file| file.version() == entry.version && file.name() == entry.name)
    };
    if set.history == HISTORY
        && let Some(first) = applied.first()
        && !applied.iter().any(is_ours)
    {
        return Err(MigrateError::OtherProgram {
            schema: schema(),
            applied: first.label(),
        });
    }
    for entry in applied {
        let same = set.migrations.iter().find(|m| m.version() == entry.version);
        match same {
            Some(file)
                if file.name() == entry.name && file.checksum().to_string() == entry.checksum => {}
            Some(file) => {
                return Err(MigrateError::Divergent {
                    schema: schema(),
                    applied: entry.label(),
                    file: file.to_string(),
                });
            }
            None if set.history == HISTORY => {
                return Err(MigrateError::Newer {
                    schema: schema(),
                    applied: entry.label(),
                });
            }
            None => {
                return Err(MigrateError::Missing {
                    schema: schema(),
                    applied: entry.label(),
                    place: set.place(),
                });
            }
        }
    }
    let last = applied.last().map(|entry| entry.version);
    let unapplied = set
        .migrations
        .iter()
        .filter(|m| applied.iter().all(|entry| entry.version != m.version()));
    unapplied
        .map(|file| {
            if last.is_some_and(|last| file.version() < last) {
                return Err(MigrateError::Late {
                    schema: schema(),
                    file: file.to_string(),
                });
            }
            Ok(set.label(file))
        })
        .collect()
}

fn sets(schema: &str, extra: &Extra) -> Result<Vec<Set>, MigrateError> {
    if schema == LEDGER_SCHEMA {
        return Err(MigrateError::Reserved);
    }
    let mirror = shipped(&SHIPPED_MIRROR)?;
    let local = match &extra.folder {
        Some(folder) => local(folder, &mirror)?,
        None => Vec::new(),
    };
    let set = |schema: &str, history: &str, migrations| Set {
        schema: schema.to_owned(),
        history: history.to_owned(),
        pack: None,
        migrations,
    };
    let mut sets = vec![
        set(LEDGER_SCHEMA, HISTORY, shipped(&SHIPPED_LEDGER)?),
        set(schema, HISTORY, mirror),
    ];
    for pack in &extra.packs {
        let history = pack_history(&pack.name);
        sets.push(Set {
            pack: Some(Arc::clone(pack)),
            ..set(schema, &history, of_pack(pack)?)
        });
    }
    sets.push(set(schema, LOCAL_HISTORY, local));
    Ok(sets)
}

/// Refuses migrations of a pack that make or change what others have made: only views and queries may refer to it.
fn check_names(sets: &[Set]) -> Result<(), MigrateError> {
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    let is_looked_at = |set: &&Set| set.schema != LEDGER_SCHEMA && set.history != LOCAL_HISTORY;
    for set in sets.iter().filter(is_looked_at) {
        let owner = set.pack.as_ref().map_or_else(
            || "cursus".to_owned(),
            |pack| format!("the pack {}", pack.name),
        );
        let makes = |migration: &Migration| Effects::of(migration.sql()).makes;
        for migration in &set.migrations {
            for name in makes(migration) {
                if let (Some(pack), Some(other)) = (&set.pack, made.get(&name))
                    && *other != owner
                {
                    let file = pack.place(&format!("migrations/{migration}.sql"));
                    let other = other.clone();
                    return Err(MigrateError::Taken { file, name, other });
                }
                made.insert(name, owner.clone());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
