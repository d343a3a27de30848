//! `cursus doctor`: check configuration, files, disk, API, scope and database. Changes nothing; requests a token, and what the ids of the
//! scope stand for.

mod disk;
mod packs;
#[cfg(feature = "remote")]
mod remote;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use crate::api::Client;
use crate::cli::Global;
use crate::database::embedded::Cluster;
use crate::database::trust::Access;
use crate::database::{DatabaseError, catalogue};
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::load::{self, LoadError, Look, Mapping};
use crate::migrate;
use crate::pipeline::connect;
use crate::report::counted;
use crate::scope_lookup;
use crate::settings::Settings;
use crate::staging::StagingError;

/// The check of what the scope's ids stand for.
const SCOPE: &str = "scope";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum CheckState {
    Ok,
    /// It works, and something should be done.
    Warning,
    Failed,
}

impl CheckState {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    state: CheckState,
    notes: Vec<String>,
}

#[derive(Default, Serialize)]
struct Requests {
    pages: u64,
    tokens: u64,
}

/// Runs the command. A configuration with errors has already been refused.
pub(super) async fn run(global: &Global, settings: &Settings) -> Result<Exit, Failure> {
    let mut checks = vec![
        configuration(settings),
        files(settings),
        disk::check(settings),
    ];
    let (of_api, client) = api(settings).await;
    let works = client.as_ref().filter(|_| of_api.ok);
    checks.push(of_api);
    checks.push(scope(settings, works).await);
    checks.extend(packs::check(&settings.config, works).await);
    checks.push(database(settings).await);
    #[cfg(feature = "remote")]
    checks.extend(remote::check(settings).await);
    let requests = client.map_or_else(Requests::default, |client| {
        let sent = client.statistics();
        Requests {
            pages: sent.requests,
            tokens: sent.token_requests,
        }
    });
    let exit = (checks.iter().filter(|check| !check.ok))
        // An id that does not exist is a fault of the configuration.
        .map(|check| {
            if check.name == SCOPE {
                Exit::Usage
            } else {
                Exit::Failed
            }
        })
        .max()
        .unwrap_or(Exit::Done);
    if global.json {
        super::print_json(&serde_json::json!({
            "ok": exit == Exit::Done, "checks": checks, "requests": requests,
        }));
        return Ok(exit);
    }
    for check in &checks {
        let (first, rest) = check
            .notes
            .split_first()
            .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        super::print_line(&format!(
            "{:<7}  {:<14} {first}",
            check.state.word(),
            check.name
        ));
        for note in rest {
            super::print_line(&format!("{:24}{note}", ""));
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    super::print_line(&format!(
        "{} ok, {}, {} failed; {}: {} for a token, {} to look ids up",
        count(CheckState::Ok),
        counted(count(CheckState::Warning) as u64, "warning"),
        count(CheckState::Failed),
        counted(requests.pages + requests.tokens, "request"),
        requests.tokens,
        requests.pages,
    ));
    Ok(exit)
}

fn check(name: &'static str, result: Result<Vec<String>, Vec<String>>) -> Check {
    let (state, notes) = match result {
        Ok(notes) => (CheckState::Ok, notes),
        Err(notes) => (CheckState::Failed, notes),
    };
    Check::new(name, state, notes)
}

impl Check {
    fn new(name: &'static str, state: CheckState, notes: Vec<String>) -> Self {
        Self {
            name,
            ok: state != CheckState::Failed,
            state,
            notes,
        }
    }
}

fn configuration(settings: &Settings) -> Check {
    let config = &settings.config;
    let source = config.path.as_ref().map_or_else(
        || "built in (`cursus init` writes it out)".to_owned(),
        |path| path.display().to_string(),
    );
    let note = format!(
        "{source}: {}, {}",
        counted(config.resources.len() as u64, "resource"),
        counted(config.tables.len() as u64, "table")
    );
    check("configuration", Ok(vec![note]))
}

fn files(settings: &Settings) -> Check {
    let mut wrong = Vec::new();
    let dotenv = settings.base.join(".env");
    if let Ok(metadata) = std::fs::metadata(&dotenv)
        && metadata.permissions().mode() & 0o077 != 0
    {
        wrong.push(format!(
            "{0} can be read by others; chmod 600 {0}",
            dotenv.display()
        ));
    }
    if let Some(path) = &settings.config.path
        && holds_secret(path)
    {
        wrong.push(format!(
            "{} seems to hold a password or a secret; put it into .env, which is not shared",
            path.display()
        ));
    }
    let root = settings.staging.root();
    let state = settings.base.join(".cursus");
    // As root, the user of a private PostgreSQL has to pass through the second.
    for (directory, mask, mend) in [(root, 0o077, "700"), (&state, 0o066, "go-rw")] {
        if let Ok(metadata) = std::fs::metadata(directory)
            && metadata.permissions().mode() & mask != 0
        {
            wrong.push(format!(
                "{0} is open to others; chmod {mend} {0}",
                directory.display()
            ));
        }
    }
    match settings.staging.runs() {
        Ok(runs) if wrong.is_empty() => {
            return check(
                "files",
                Ok(vec![format!(
                    "{}: {}",
                    root.display(),
                    counted(runs.len() as u64, "run")
                )]),
            );
        }
        Ok(_) => {}
        Err(error) => wrong.push(chain(&error)),
    }
    check("files", Err(wrong))
}

/// Comments count: they are as readable.
fn holds_secret(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| {
        text.lines().any(|line| {
            line.contains("s-s4t2")
                || assigns_secret(line)
                || line
                    .split_once("://")
                    .is_some_and(|(_, rest)| names_password(rest))
        })
    })
}

/// Whether a line gives a value to something whose name ends with `password` or `secret`, as `CURSUS_CLIENT_SECRET` and
/// `PGPASSWORD` do.
fn assigns_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    let is_secret = |name: &str| {
        let name = name.trim_end_matches([' ', '\t', '"', '\'']);
        ["password", "secret"].iter().any(|end| name.ends_with(end))
    };
    line.match_indices('=').any(|(at, _)| {
        let (name, value) = (&line[..at], &line[at + 1..]);
        let mut value = value.trim_start().chars();
        let is_there = match value.next() {
            Some(quote @ ('"' | '\'')) => value.next().is_some_and(|first| first != quote),
            first => first.is_some_and(|first| first != '#'),
        };
        is_secret(name) && is_there
    })
}

/// Whether a URL, without its scheme, starts with `user:password@`. A password may hold `/` and `@`.
fn names_password(url: &str) -> bool {
    let url = url.split(['"', '\'', ' ']).next().unwrap_or(url);
    let user = url
        .rsplit_once('@')
        .and_then(|(who, _)| who.split_once(':'));
    user.is_some_and(|(user, _)| !user.contains('/'))
}

/// The check, and the client, whose credentials work if the check does not fail.
async fn api(settings: &Settings) -> (Check, Option<Client>) {
    const NAME: &str = "API";
    let host = settings.api_url.host();
    let client = match settings.question_client(false) {
        Ok(client) => client,
        Err(failure) => return (check(NAME, Err(vec![failure.sentence()])), None),
    };
    // A new one: the stored token may be older than the secret.
    match client.refresh_token().await {
        Ok(token) => {
            let secret = token.secret_valid_until.map_or_else(String::new, |until| {
                format!("; the client secret expires at {until}")
            });
            let note = format!("{host} accepts the credentials{secret}");
            (check(NAME, Ok(vec![note])), Some(client))
        }
        Err(error) => (check(NAME, Err(vec![chain(&error)])), Some(client)),
    }
}

/// Looks the ids of the scope up, with at most one request a variable.
async fn scope(settings: &Settings, client: Option<&Client>) -> Check {
    let config = &settings.config;
    let mut notes: Vec<(CheckState, String)> = Vec::new();
    for (variable, ids) in &config.scope {
        let is = ids.join(", ");
        let lookup = config.scope_lookups.get(variable);
        let note = match (lookup, client) {
            _ if ids.is_empty() => (CheckState::Ok, format!("{variable} is empty: all")),
            (None, _) => (
                CheckState::Ok,
                format!("{variable} = {is} (no [scope.lookup] says where the API shows it)"),
            ),
            (Some(_), None) => (
                CheckState::Warning,
                format!(
                    "{variable} = {is} was not looked up: first correct what the check of the API says"
                ),
            ),
            (Some(lookup), Some(client)) => match scope_lookup::list(client, lookup).await {
                Ok(listing) => {
                    let ids: BTreeSet<&String> = ids.iter().collect();
                    notes.extend(ids.into_iter().map(|id| match listing.find(id) {
                        Some(entry) => (CheckState::Ok, entry.sentence(lookup)),
                        None if listing.denies(id) => (
                            CheckState::Failed,
                            format!(
                                "{}; correct {variable} in [scope] of {}",
                                listing.refusal(id, lookup),
                                file(settings)
                            ),
                        ),
                        None => (CheckState::Warning, listing.refusal(id, lookup)),
                    }));
                    continue;
                }
                Err(error) => (
                    CheckState::Warning,
                    format!("{variable} = {is} was not looked up: {}", chain(&error)),
                ),
            },
        };
        notes.push(note);
    }
    let state = notes.iter().map(|(state, _)| *state).max();
    // What is wrong comes first.
    notes.sort_by_key(|(state, _)| std::cmp::Reverse(*state));
    let notes = notes.into_iter().map(|(_, note)| note).collect();
    Check::new(SCOPE, state.unwrap_or(CheckState::Ok), notes)
}

fn file(settings: &Settings) -> String {
    let path = settings.config.path.as_ref();
    path.map_or_else(
        || "pipeline.toml (`cursus init` writes it)".to_owned(),
        |path| path.display().to_string(),
    )
}

async fn database(settings: &Settings) -> Check {
    let mut result = look_at_database(settings).await;
    let (Ok(notes) | Err(notes)) = &mut result;
    if let Ok(place) = settings.whereabouts(&settings.config.database.schema) {
        notes.push(format!("mirror: {place}"));
    }
    if settings.ignores_database_url {
        notes.push(format!(
            "DATABASE_URL is set and not used: {} names the database",
            settings.database_from
        ));
    }
    check("database", result)
}

async fn look_at_database(settings: &Settings) -> Result<Vec<String>, Vec<String>> {
    let sentences = |failure: Failure| vec![failure.sentence()];
    let schema = settings.config.database.schema.as_str();
    if let Some(dir) = settings.unmade_cluster() {
        let programs = Cluster::programs().map_err(|error| vec![chain(&error)])?;
        return Ok(vec![
            format!(
                "a private PostgreSQL in {}: created by the first load, with the programs in {}",
                dir.display(),
                programs.display()
            ),
            "tables are compared with pipeline.toml once they exist".to_owned(),
        ]);
    }
    let mut database = connect::connect_unchecked(settings)
        .await
        .map_err(sentences)?;
    match load::check_schema(&database.client, Access::Write, &settings.config, schema).await {
        Ok(_) => {}
        Err(DatabaseError::Untrusted(problems)) => return Err(problems),
        Err(error) => return Err(vec![chain(&error)]),
    }
    let lacking = load::lacking(&mut database.client, &settings.config, schema, Look::ToRun)
        .await
        .map_err(|error| vec![chain(&error)])?;
    if !lacking.is_empty() {
        return Err(lacking);
    }
    let folder = settings.config.migrations();
    let pending = migrate::pending(&database.client, schema, &folder)
        .await
        .map_err(|error| vec![chain(&error)])?;
    let server = format!("PostgreSQL {}", database.version());
    let limits = load::limits(&database.client)
        .await
        .map_err(|error| vec![chain(&error)])?;
    if !pending.is_empty() {
        let mut notes = vec![
            format!(
                "{server}; {} pending (`load` and `run` apply them, or `cursus migrate`)",
                counted(pending.len() as u64, "migration")
            ),
            "tables are compared with pipeline.toml once they exist".to_owned(),
        ];
        notes.extend(limits);
        return Ok(notes);
    }
    let mappings = match load::mappings(&settings.config, &database.client, schema).await {
        Ok(mappings) => mappings,
        Err(LoadError::Mismatch(problems)) => return Err(problems),
        Err(error) => return Err(vec![chain(&error)]),
    };
    look_at_source(settings, &database.client).await?;
    let mut notes = vec![format!(
        "{server}; every table of pipeline.toml matches the schema {schema}"
    )];
    // A table that several resources feed has several mappings.
    notes.extend((mappings.iter().filter_map(Mapping::intercepted)).collect::<BTreeSet<_>>());
    let names = catalogue::table_names(&database.client, schema)
        .await
        .map_err(|error| vec![chain(&crate::database::DatabaseError::from(error))])?;
    let derived = migrate::Effects::of(settings.config.pack_migrations()).makes;
    let unfed: Vec<String> = names
        .into_iter()
        .filter(|name| {
            !migrate::is_history(name)
                && !derived.contains(name)
                && !settings
                    .config
                    .tables
                    .iter()
                    .any(|table| table.name.as_str() == name)
        })
        .collect();
    notes.extend(limits);
    let off = crate::status::packs_off(settings, &database.client).await;
    notes.extend(off.map_err(|error| vec![chain(&error)])?);
    if !unfed.is_empty() {
        notes.push(format!(
            "no [[table]] fills: {} (fine if they are yours)",
            unfed.join(", ")
        ));
    }
    Ok(notes)
}

/// Whether a run would be refused because the schema is filled from another source.
async fn look_at_source(
    settings: &Settings,
    client: &tokio_postgres::Client,
) -> Result<(), Vec<String>> {
    let staged = |error: StagingError| vec![chain(&error)];
    let runs = settings.staging.runs().map_err(staged)?;
    let side = settings.side().map_err(staged)?;
    let config = &settings.config;
    let schema = config.database.schema.as_str();
    load::look_ahead(client, schema, config, &runs, &side)
        .await
        .map_err(|error| vec![chain(&error)])
}
