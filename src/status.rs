//! The state of a mirror in one document: the last commands, how old each read is, what the database holds back, secret, requests
//! and disk. It sends no request, changes nothing and prints nothing; `status`, `check` and the metrics are made of it.

pub(crate) mod check;
pub(crate) mod decisions;
pub(crate) mod last;
pub(crate) mod metrics;
pub(crate) mod requests;
pub(crate) mod runs;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio_postgres::Client;

use crate::api::HourLeft;
use crate::config::Resource;
use crate::database::{Database, DatabaseError, Place};
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::load::{self, Backlog, HeldDeletes, Loaded};
use crate::migrate;
use crate::name::Name;
use crate::pipeline::connect;
use crate::pipeline::extract::{RENEW_SECRET, SECRET_WARNED};
use crate::plan::{self, EarlierReads, Read};
use crate::report::span;
use crate::settings::Settings;
use crate::staging::Run;

use last::{LastRun, UNKNOWN};

/// Of a directory in which nothing was ever done.
pub(crate) const NO_PROJECT: &str = "no pipeline.toml is here or in a directory above, so this is not your project's directory, or the project has \
                          none; `cursus init` writes one";

/// The document of `status --json`.
#[derive(Serialize)]
pub(crate) struct Status {
    pub(crate) last_run: Option<LastRun>,
    /// The last `load`; that of a run is part of it.
    pub(crate) last_load: Option<LastRun>,
    pub(crate) staging: String,
    pub(crate) runs: usize,
    pub(crate) resources: Vec<ReadStatus>,
    /// None: not known.
    pub(crate) pending: Option<Vec<PendingRun>>,
    pub(crate) quarantined: Option<i64>,
    pub(crate) prune_candidates: Option<i64>,
    /// Rows that were deleted at the API and are kept, because others refer to them, by table.
    pub(crate) kept_rows: Option<BTreeMap<String, u64>>,
    pub(crate) database: String,
    pub(crate) mirror: Whereabouts,
    /// What kept it from being read.
    #[serde(skip)]
    pub(crate) database_failure: Option<Failure>,
    /// Nothing was ever loaded there.
    #[serde(skip)]
    pub(crate) is_empty: bool,
    /// Nothing was ever done here, and there is no configuration.
    #[serde(skip)]
    pub(crate) is_no_project: bool,
    /// Something was loaded once, by the command log.
    #[serde(skip)]
    pub(crate) has_loaded: bool,
    /// When the last run of each outcome ended.
    #[serde(skip)]
    pub(crate) outcomes: BTreeMap<String, Timestamp>,
    pub(crate) secret_valid_until: Option<Timestamp>,
    /// Full days; negative: it has expired.
    pub(crate) secret_days_left: Option<i64>,
    pub(crate) requests: Requests,
    /// None: it cannot be asked for.
    pub(crate) disk: Option<Disk>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

/// Where the mirror is, and the setting that names it.
#[derive(Serialize)]
pub(crate) struct Whereabouts {
    /// None: the URL cannot be read.
    #[serde(flatten)]
    pub(crate) place: Option<Place>,
    pub(crate) schema: Name,
    pub(crate) from: String,
}

/// Requests of the key.
#[derive(Default, Serialize)]
pub(crate) struct Requests {
    /// What is left of this hour, without the reserve, as the key's ledger knows it; none: no request was ever sent.
    pub(crate) remaining: Option<u64>,
    /// In an hour, without the reserve.
    pub(crate) per_hour: Option<u64>,
    /// Of all commands of this staging directory, by the HTTP status of the answer; `none`: not answered.
    pub(crate) total: BTreeMap<String, u64>,
}

/// The file system of the staging directory.
#[derive(Serialize)]
pub(crate) struct Disk {
    pub(crate) free_bytes: u64,
    pub(crate) size_bytes: u64,
}

/// A read of a resource, with an age of its own.
#[derive(Serialize)]
pub(crate) struct ReadStatus {
    pub(crate) name: Name,
    /// Its name, if the resource has several; none: the read of all that the resource asks for.
    pub(crate) read: Option<Name>,
    pub(crate) state: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) known_up_to: Option<Timestamp>,
    pub(crate) age_s: Option<i64>,
    /// Rows of the newest read.
    pub(crate) rows: Option<u64>,
    pub(crate) staged_run: Option<String>,
    pub(crate) loaded_run: Option<String>,
}

impl ReadStatus {
    /// For people: `cursus_users`, `cursus_users (ongoing)`.
    pub(crate) fn label(&self) -> String {
        match &self.read {
            Some(of_it) => format!("{} ({of_it})", self.name),
            None => self.name.to_string(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct PendingRun {
    pub(crate) run: String,
    pub(crate) resources: Vec<Name>,
}

/// The state of the mirror, by the database.
enum Mirror {
    Known {
        loaded: Loaded,
        backlog: Backlog,
        kept: Vec<HeldDeletes>,
    },
    Empty,
    Unknown(Failure),
}

/// Reads it all. What cannot be known without the database is left out, and its failure is in the document.
pub(crate) async fn read(settings: &Settings) -> Result<Status, Failure> {
    let schema = settings.config.database.schema.as_str();
    let database = connect::connect_if_made(settings, schema).await;
    let status = of(settings, client(&database)).await?;
    close(database).await?;
    Ok(status)
}

/// The client of a connection; its failure as a sentence.
pub(crate) fn client(
    database: &Result<Option<Database>, Failure>,
) -> Result<Option<&Client>, Failure> {
    match database {
        Ok(database) => Ok(database.as_ref().map(|database| &database.client)),
        Err(failure) => Err(Failure::new(failure.exit, failure.sentence())),
    }
}

async fn close(database: Result<Option<Database>, Failure>) -> Result<(), Failure> {
    if let Ok(Some(database)) = database {
        database.close().await?;
    }
    Ok(())
}

/// As [`read`], with a connection to the mirror; none where nothing was ever loaded.
pub(crate) async fn of(
    settings: &Settings,
    client: Result<Option<&Client>, Failure>,
) -> Result<Status, Failure> {
    let config = &settings.config;
    let commands = settings.staging.commands().unwrap_or_else(|error| {
        tracing::warn!("{}", chain(&error));
        Vec::new()
    });
    let (runs, last_run) = last::runs(&settings.staging, &commands)?;
    let earlier_reads = EarlierReads::read(config, &runs)?;
    let client = client.map_err(Some);
    let (client, failure) = match client {
        Ok(client) => (client, None),
        Err(failure) => (None, failure),
    };
    let mirror = match (client, failure) {
        (_, Some(failure)) => Err(failure),
        (Some(client), None) => read_mirror(settings, client).await,
        (None, None) => Ok(Mirror::Empty),
    };
    let mirror = mirror.unwrap_or_else(Mirror::Unknown);
    let packs_off = match (client, &mirror) {
        (Some(client), Mirror::Known { .. }) => packs_off(settings, client).await?,
        _ => Vec::new(),
    };
    let reads = |resource| reads(resource, &earlier_reads, &mirror);
    let hour = settings.hour_left();
    let mut status = Status {
        has_loaded: last::has_loaded(&commands),
        outcomes: last::outcomes(&commands, last_run.as_ref()),
        last_run,
        last_load: last::load(&commands),
        staging: settings.staging.root().display().to_string(),
        runs: runs.len(),
        resources: config.resources.iter().flat_map(reads).collect(),
        pending: pending(settings, &runs, &mirror)?,
        quarantined: mirror.backlog().map(|backlog| backlog.quarantined),
        prune_candidates: mirror.backlog().map(|backlog| backlog.held),
        kept_rows: mirror.kept_rows(),
        database: mirror.sentence(),
        mirror: Whereabouts {
            place: settings.place().ok(),
            schema: config.database.schema.clone(),
            from: settings.database_from.to_string(),
        },
        is_empty: matches!(mirror, Mirror::Empty),
        is_no_project: config.path.is_none()
            && runs.is_empty()
            && settings.unmade_cluster().is_some(),
        database_failure: match mirror {
            Mirror::Unknown(failure) => Some(failure),
            Mirror::Known { .. } | Mirror::Empty => None,
        },
        secret_valid_until: secret_valid_until(settings).await,
        secret_days_left: None,
        requests: Requests {
            remaining: hour.map(|hour: HourLeft| hour.left),
            per_hour: hour.map(|hour| hour.limit),
            total: (commands.last()).map_or_else(BTreeMap::new, |last| last.requests_total.clone()),
        },
        disk: disk(settings.staging.root()),
        warnings: packs_off,
    };
    let now = crate::clock::now();
    if let Some(until) = status.secret_valid_until {
        let left = until.duration_since(now);
        status.secret_days_left = Some(left.as_secs().div_euclid(24 * 60 * 60));
        if left < SECRET_WARNED {
            let end = secret(until, now);
            (status.warnings).push(format!("the client secret {end}; {RENEW_SECRET}"));
        }
    }
    if status.is_no_project {
        (status.warnings).push(NO_PROJECT.to_owned());
    }
    Ok(status)
}

/// Of the directory, or of the nearest one above it that is there.
fn disk(directory: &Path) -> Option<Disk> {
    let there = directory.ancestors().find(|path| path.is_dir())?;
    let found = nix::sys::statvfs::statvfs(there).ok()?;
    let bytes = |blocks: u64| blocks.checked_mul(found.fragment_size());
    Some(Disk {
        free_bytes: bytes(found.blocks_available())?,
        size_bytes: bytes(found.blocks())?,
    })
}

impl Mirror {
    fn backlog(&self) -> Option<&Backlog> {
        match self {
            Self::Known { backlog, .. } => Some(backlog),
            Self::Empty | Self::Unknown(_) => None,
        }
    }

    fn kept_rows(&self) -> Option<BTreeMap<String, u64>> {
        let Self::Known { kept, .. } = self else {
            return None;
        };
        let mut tables = BTreeMap::new();
        for kept in kept {
            *tables.entry(kept.table.clone()).or_default() += kept.rows;
        }
        Some(tables)
    }

    fn sentence(&self) -> String {
        match self {
            Self::Known { .. } => "reachable".to_owned(),
            Self::Empty => "nothing was ever loaded there".to_owned(),
            Self::Unknown(failure) => failure.sentence(),
        }
    }

    /// The newest loaded run that has the read: its resource may have been loaded from a newer one without it.
    fn loaded_run(&self, resource: &Resource, reads: &[Read]) -> Option<String> {
        let known = match self {
            Self::Known { loaded, .. } => loaded.get(&resource.name)?,
            Self::Empty => return None,
            Self::Unknown(_) => return Some(UNKNOWN.to_owned()),
        };
        let mut reads = reads.iter().filter(|_| !resource.reads.is_empty());
        let run = reads.find(|read| read.seq <= known.seq);
        Some(run.map_or_else(|| known.run_id.clone(), |read| read.run_id.to_string()))
    }
}

async fn read_mirror(settings: &Settings, client: &Client) -> Result<Mirror, Failure> {
    let schema = settings.config.database.schema.as_str();
    let has_ledger = load::has_ledger(client).await;
    if !has_ledger.map_err(DatabaseError::from)? {
        return Ok(Mirror::Empty);
    }
    let read = async {
        Ok::<_, Failure>(Mirror::Known {
            loaded: load::loaded(client, schema, &settings.config).await?,
            backlog: load::backlog(client, schema).await?,
            kept: load::kept_rows(client, schema).await?,
        })
    };
    match read.await {
        Ok(mirror) => Ok(mirror),
        Err(failure) => Err(explain(settings, client, failure).await),
    }
}

/// A sentence on each pack that is off and has tables in the mirror: they are as old as its last load.
pub(crate) async fn packs_off(
    settings: &Settings,
    client: &Client,
) -> Result<Vec<String>, DatabaseError> {
    let schema = settings.config.database.schema.as_str();
    let packs = migrate::packs_of(client, schema).await?;
    let is_off = |name: &String| {
        let mut on = settings.config.packs.iter().filter(|pack| pack.is_on());
        on.all(|pack| pack.name != *name)
    };
    let sentence = |name: String| {
        format!(
            "the pack {name} is off: its tables are no longer kept up (`packs` in pipeline.toml turns it on again)"
        )
    };
    Ok(packs.into_iter().filter(is_off).map(sentence).collect())
}

/// An earlier version may have made the schema `pipeline`.
pub(crate) async fn explain(settings: &Settings, client: &Client, failure: Failure) -> Failure {
    // A transaction that has failed answers nothing more.
    let _ = client.batch_execute("ROLLBACK").await;
    let folder = settings.config.migrations();
    let schema = settings.config.database.schema.as_str();
    let pending = migrate::pending(client, schema, &folder).await;
    match pending.unwrap_or_default() {
        pending if pending.is_empty() => failure,
        pending => Failure::new(
            Exit::Failed,
            format!(
                "the database is of an earlier version of cursus: it lacks the migrations {}; apply them with `cursus migrate`",
                pending.join(", ")
            ),
        ),
    }
}

/// The reads of a resource, its own and the named ones, each with its age.
fn reads(resource: &Resource, earlier_reads: &EarlierReads, mirror: &Mirror) -> Vec<ReadStatus> {
    let status = |read: &Resource| {
        let reads = earlier_reads.of(read);
        let mut newest = reads.first();
        let mut known_up_to = reads.iter().find_map(|read| read.manifest.cursor);
        // A full read of the resource shows what a named one asks for.
        let shown = plan::last_covering_read(read, resource, earlier_reads);
        if let Some(shown) = shown.filter(|_| read.read.is_some()) {
            known_up_to = known_up_to.max(shown.manifest.cursor);
            newest = newest
                .filter(|newest| newest.seq > shown.seq)
                .or(Some(shown));
        }
        ReadStatus {
            name: resource.name.clone(),
            read: read.read_name().cloned(),
            state: newest.map(|read| read.manifest.state.to_string()),
            mode: newest.map(|read| read.manifest.mode.to_string()),
            known_up_to,
            rows: newest.map(|read| read.manifest.rows),
            age_s: known_up_to.map(|known| crate::clock::now().duration_since(known).as_secs()),
            staged_run: newest.map(|read| read.run_id.to_string()),
            loaded_run: mirror.loaded_run(resource, reads),
        }
    };
    resource.all_reads().map(status).collect()
}

fn pending(
    settings: &Settings,
    runs: &[Run],
    mirror: &Mirror,
) -> Result<Option<Vec<PendingRun>>, Failure> {
    let nothing = Loaded::new();
    let loaded = match mirror {
        Mirror::Known { loaded, .. } => loaded,
        Mirror::Empty => &nothing,
        Mirror::Unknown(_) => return Ok(None),
    };
    let pending = load::pending(&settings.config, runs, loaded)?;
    let pending = pending.into_iter().map(|pending| PendingRun {
        run: pending.run.id().to_string(),
        resources: pending.resources,
    });
    Ok(Some(pending.collect()))
}

/// The expiry that the API sent with the stored token, without a request.
async fn secret_valid_until(settings: &Settings) -> Option<Timestamp> {
    match settings.offline_client() {
        Ok(client) => client.known_token().await?.secret_valid_until,
        Err(failure) => {
            tracing::debug!("{}", chain(failure.error.as_ref()));
            None
        }
    }
}

/// When it expires or has expired.
pub(crate) fn secret(until: Timestamp, now: Timestamp) -> String {
    let left = until.duration_since(now);
    if left > SignedDuration::ZERO {
        format!("expires in {} ({until:.0})", span(left))
    } else {
        format!("expired {} ago ({until:.0})", span(left))
    }
}
