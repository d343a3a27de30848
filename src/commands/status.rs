//! `cursus status`: what is staged, what is loaded, how old it is.

use serde::Serialize;

use crate::cli::Global;
use crate::database::DatabaseError;
use crate::exit::{Exit, Failure};
use crate::load::{self, Backlog, Loaded};
use crate::name::Name;
use crate::plan::History;
use crate::report::table;
use crate::settings::Settings;

#[derive(Serialize)]
struct Status {
    staging: String,
    runs: usize,
    last_run: Option<String>,
    resources: Vec<ResourceStatus>,
    pending: Vec<PendingRun>,
    quarantined: Option<i64>,
    prune_candidates: Option<i64>,
    database: String,
}

#[derive(Serialize)]
struct ResourceStatus {
    name: Name,
    state: Option<String>,
    mode: Option<String>,
    known_up_to: Option<String>,
    age_s: Option<i64>,
    staged_run: Option<String>,
    loaded_run: Option<String>,
}

#[derive(Serialize)]
struct PendingRun {
    run: String,
    resources: Vec<Name>,
}

/// What the books say, where they can be read.
struct Mirror {
    loaded: Loaded,
    backlog: Backlog,
}

/// Runs the command.
pub(super) async fn run(global: &Global, settings: &Settings) -> Result<Exit, Failure> {
    let config = &settings.config;
    let runs = settings.staging.runs()?;
    let history = History::read(config, &runs)?;
    let (mirror, database) = match read_mirror(settings).await {
        Ok(Some(mirror)) => (Some(mirror), "reachable".to_owned()),
        Ok(None) => (None, "nothing was ever loaded there".to_owned()),
        Err(failure) => (None, failure.sentence()),
    };
    let empty = Loaded::new();
    let loaded = mirror.as_ref().map_or(&empty, |mirror| &mirror.loaded);
    let status = Status {
        staging: settings.staging.root().display().to_string(),
        runs: runs.len(),
        last_run: runs.last().map(|run| run.id().to_string()),
        resources: config
            .resources
            .iter()
            .map(|resource| {
                let read = history.of(resource).first();
                let known = history
                    .of(resource)
                    .iter()
                    .find_map(|read| read.manifest.cursor);
                ResourceStatus {
                    name: resource.name.clone(),
                    state: read.map(|read| read.manifest.state.to_string()),
                    mode: read.map(|read| read.manifest.mode.to_string()),
                    known_up_to: known.map(|known| known.to_string()),
                    age_s: known.map(|known| crate::clock::now().duration_since(known).as_secs()),
                    staged_run: read.map(|read| read.run_id.to_string()),
                    loaded_run: loaded
                        .get(&resource.name)
                        .map(|loaded| loaded.run_id.clone()),
                }
            })
            .collect(),
        pending: load::pending(config, &runs, loaded)?
            .into_iter()
            .map(|pending| PendingRun {
                run: pending.run.id().to_string(),
                resources: pending.resources,
            })
            .collect(),
        quarantined: mirror.as_ref().map(|mirror| mirror.backlog.quarantined),
        prune_candidates: mirror.as_ref().map(|mirror| mirror.backlog.held),
        database,
    };
    if global.json {
        super::print_json(&status);
    } else {
        print(&status);
    }
    Ok(Exit::Done)
}

async fn read_mirror(settings: &Settings) -> Result<Option<Mirror>, Failure> {
    let database = super::load::connect(settings).await?;
    let client = &database.client;
    if !load::has_books(client).await.map_err(DatabaseError::from)? {
        return Ok(None);
    }
    let schema = settings.config.database.schema.as_str();
    let backlog = load::backlog(client, schema).await?;
    let mirror = Mirror {
        loaded: load::loaded(client, schema, &settings.config).await?,
        backlog,
    };
    database.close().await?;
    Ok(Some(mirror))
}

fn print(status: &Status) {
    let last = status
        .last_run
        .as_deref()
        .unwrap_or("none; `cursus run` makes the first");
    super::print_line(&format!(
        "staging   {} ({} runs, last: {last})",
        status.staging, status.runs
    ));
    super::print_line(&format!("database  {}", status.database));
    let rows = status.resources.iter().map(|resource| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            resource.name.to_string(),
            text(&resource.mode),
            text(&resource.state),
            text(&resource.known_up_to),
            resource.age_s.map_or_else(
                || "-".to_owned(),
                |age| {
                    let age = std::time::Duration::from_secs(u64::try_from(age).unwrap_or(0));
                    humantime::format_duration(age).to_string()
                },
            ),
            text(&resource.loaded_run),
        ]
    });
    super::print_table(&table(
        &[
            "resource",
            "last read",
            "state",
            "known up to",
            "age",
            "loaded run",
        ],
        rows,
        usize::MAX,
    ));
    if !status.pending.is_empty() {
        let runs: Vec<&str> = status
            .pending
            .iter()
            .map(|pending| pending.run.as_str())
            .collect();
        super::print_line(&format!(
            "waiting to be loaded: {} (`cursus load`)",
            runs.join(", ")
        ));
    }
    if let Some(count) = status.quarantined.filter(|count| *count > 0) {
        super::print_line(&format!(
            "in quarantine: {count} rows (pipeline.quarantine)"
        ));
    }
    if let Some(count) = status.prune_candidates.filter(|count| *count > 0) {
        super::print_line(&format!(
            "deletes held by the guard: {count} rows (pipeline.prune_candidate)"
        ));
    }
}
