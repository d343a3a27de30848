//! `cursus status`: what became of the last run, what is staged, what is loaded, how old it is. It asks the API nothing.

mod last;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::Global;
use crate::config::Resource;
use crate::database::{DatabaseError, Place};
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::load::{self, Backlog, HeldDeletes, Loaded};
use crate::migrate;
use crate::name::Name;
use crate::pipeline::connect;
use crate::pipeline::extract::{RENEW_SECRET, SECRET_WARNED};
use crate::plan::{self, History, Read};
use crate::report::{Column, Table, counted, span};
use crate::settings::Settings;
use crate::staging::Run;

use last::{LastRun, UNKNOWN};

/// Of a directory in which nothing was ever done.
const NO_PROJECT: &str = "no pipeline.toml is here or in a directory above, so this is not your project's directory, or the project has \
                          none; `cursus init` writes one";

#[derive(Serialize)]
struct Status {
    last_run: Option<LastRun>,
    /// The last `load`; that of a run is part of it.
    last_load: Option<LastRun>,
    staging: String,
    runs: usize,
    resources: Vec<ReadStatus>,
    /// None: not known.
    pending: Option<Vec<PendingRun>>,
    quarantined: Option<i64>,
    prune_candidates: Option<i64>,
    /// Rows that were deleted at the API and are kept, because others refer to them, by table.
    kept_rows: Option<BTreeMap<String, u64>>,
    database: String,
    mirror: Whereabouts,
    secret_valid_until: Option<Timestamp>,
    /// Full days; negative: it has expired.
    secret_days_left: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Where the mirror is, and the setting that names it.
#[derive(Serialize)]
struct Whereabouts {
    /// None: the URL cannot be read.
    #[serde(flatten)]
    place: Option<Place>,
    schema: Name,
    from: String,
}

/// A read of a resource, with an age of its own.
#[derive(Serialize)]
struct ReadStatus {
    name: Name,
    /// Its name, if the resource has several; none: the read of all that the resource asks for.
    read: Option<Name>,
    state: Option<String>,
    mode: Option<String>,
    known_up_to: Option<Timestamp>,
    age_s: Option<i64>,
    staged_run: Option<String>,
    loaded_run: Option<String>,
}

#[derive(Serialize)]
struct PendingRun {
    run: String,
    resources: Vec<Name>,
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

/// Runs the command. Exit 0 if it could look at everything, whatever it saw.
pub(super) async fn run(global: &Global, settings: &Settings) -> Result<Exit, Failure> {
    let config = &settings.config;
    let (runs, last_run) = last::runs(&settings.staging)?;
    let history = History::read(config, &runs)?;
    let mirror = match read_mirror(settings).await {
        Ok(mirror) => mirror,
        Err(failure) => Mirror::Unknown(failure),
    };
    let reads = |resource| reads(resource, &history, &mirror);
    let mut status = Status {
        last_run,
        last_load: last::load(&settings.staging),
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
        secret_valid_until: secret_valid_until(settings).await,
        secret_days_left: None,
        warnings: Vec::new(),
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
    if config.path.is_none() && runs.is_empty() && settings.unmade_cluster().is_some() {
        (status.warnings).push(NO_PROJECT.to_owned());
    }
    if global.json {
        super::print_json(&status);
    } else {
        let place = settings.whereabouts(&config.database.schema);
        let place =
            place.unwrap_or_else(|_| format!("{UNKNOWN} (from {})", settings.database_from));
        print(&status, &place, matches!(mirror, Mirror::Unknown(_)), now);
    }
    for warning in &status.warnings {
        super::warning(warning);
    }
    match mirror {
        Mirror::Unknown(failure) => {
            super::output::error(&failure.sentence());
            Ok(Exit::Failed)
        }
        Mirror::Known { .. } | Mirror::Empty => Ok(Exit::Done),
    }
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

async fn read_mirror(settings: &Settings) -> Result<Mirror, Failure> {
    if settings.unmade_cluster().is_some() {
        return Ok(Mirror::Empty);
    }
    let schema = settings.config.database.schema.as_str();
    let database = connect::connect(settings, schema).await?;
    let client = &database.client;
    if !load::has_ledger(client)
        .await
        .map_err(DatabaseError::from)?
    {
        database.close().await?;
        return Ok(Mirror::Empty);
    }
    let read = async {
        Ok::<_, Failure>(Mirror::Known {
            loaded: load::loaded(client, schema, &settings.config).await?,
            backlog: load::backlog(client, schema).await?,
            kept: load::kept_rows(client, schema).await?,
        })
    };
    let mirror = match read.await {
        Ok(mirror) => mirror,
        Err(failure) => {
            // An earlier version has made the schema `pipeline`.
            let folder = settings.config.migrations();
            let pending = migrate::pending(client, schema, folder.as_deref()).await;
            return Err(match pending.unwrap_or_default() {
                pending if pending.is_empty() => failure,
                pending => Failure::new(
                    Exit::Failed,
                    format!(
                        "the database is of an earlier version of cursus: it lacks the migrations {}; apply them with `cursus migrate`",
                        pending.join(", ")
                    ),
                ),
            });
        }
    };
    database.close().await?;
    Ok(mirror)
}

/// The reads of a resource, its own and the named ones, each with its age.
fn reads(resource: &Resource, history: &History, mirror: &Mirror) -> Vec<ReadStatus> {
    let status = |read: &Resource| {
        let reads = history.of(read);
        let mut newest = reads.first();
        let mut known_up_to = reads.iter().find_map(|read| read.manifest.cursor);
        // A full read of the resource shows what a named one asks for.
        let shown = plan::last_covering_read(read, resource, history);
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
fn secret(until: Timestamp, now: Timestamp) -> String {
    let left = until.duration_since(now);
    if left > SignedDuration::ZERO {
        format!("expires in {} ({until:.0})", span(left))
    } else {
        format!("expired {} ago ({until:.0})", span(left))
    }
}

fn print(status: &Status, place: &str, is_unknown: bool, now: Timestamp) {
    let last = status.last_run.as_ref().map_or_else(
        || "none; `cursus run` makes the first".to_owned(),
        |last| last.sentence(now),
    );
    super::print_line(&format!("last run  {last}"));
    if let Some(load) = &status.last_load
        && (status.last_run.as_ref()).is_none_or(|run| run.finished_at() < load.finished_at())
    {
        super::print_line(&format!("last load {}", load.sentence(now)));
    }
    let runs = counted(status.runs as u64, "run");
    super::print_line(&format!("staging   {} ({runs})", status.staging));
    super::print_line(&format!("mirror    {place}"));
    super::print_line(&format!("database  {}", status.database));
    let secret = status.secret_valid_until.map_or_else(
        || format!("{UNKNOWN}: no response of the API has named its expiry"),
        |until| secret(until, now),
    );
    super::print_line(&format!("secret    {secret}"));
    let rows = status.resources.iter().map(|read| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            match &read.read {
                Some(of_it) => format!("{} ({of_it})", read.name),
                None => read.name.to_string(),
            },
            text(&read.mode),
            text(&read.state),
            text(&read.known_up_to.map(|known| known.to_string())),
            text(&read.age_s.map(|age| span(SignedDuration::from_secs(age)))),
            text(&read.loaded_run),
        ]
    });
    let columns = [
        Column::fixed("resource"),
        Column::fixed("last read").rank(2),
        Column::fixed("state"),
        Column::fixed("known up to").rank(3),
        Column::fixed("age"),
        Column::fixed("loaded run").rank(1),
    ];
    super::print_table(&Table::new(columns, rows));
    if is_unknown {
        super::print_line(&format!(
            "{UNKNOWN} without the database: what is loaded, what is in quarantine, and which deletes are held"
        ));
    }
    let pending: Vec<&str> = (status.pending.iter().flatten())
        .map(|pending| pending.run.as_str())
        .collect();
    if !pending.is_empty() {
        super::print_line(&format!(
            "not loaded yet: {} (`cursus load`)",
            pending.join(", ")
        ));
    }
    let count = |rows: u64| counted(rows, "row");
    for (what, rows, place) in [
        ("quarantined", status.quarantined, "cursus quarantine ls"),
        ("held deletes", status.prune_candidates, "cursus prune ls"),
    ] {
        let rows = rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0);
        if rows > 0 {
            super::print_line(&format!("{what}: {} (`{place}`)", count(rows)));
        }
    }
    let kept: Vec<String> = (status.kept_rows.iter().flatten())
        .map(|(table, rows)| format!("{table} {}", count(*rows)))
        .collect();
    if !kept.is_empty() {
        super::print_line(&format!(
            "kept although the API no longer has them, because other rows refer to them: {} (`cursus prune ls`)",
            kept.join(", ")
        ));
    }
}
