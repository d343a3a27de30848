//! Flags, environment, `.env`, file, default: which value holds, in that order. What a process needs before
//! any configuration is read (its log, its clock, PostgreSQL's programs) is in no `.env`: others read that from the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::unistd::Uid;
use secrecy::{ExposeSecret, SecretString};

use crate::api;
use crate::cli::Global;
use crate::config::Config;
use crate::database::{Place, Target, holds_password};
use crate::exit::Failure;
use crate::load::Side;
use crate::name::Name;
use crate::printable::may_hold_credentials;
use crate::staging::{Staging, StagingError, StagingLock};

/// How often a lock of files is looked at that another process holds.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a command that is no run lets the API throttle it.
const QUESTION_PATIENCE: Duration = Duration::from_mins(1);
/// The private PostgreSQL, where a URL would stand.
const EMBEDDED: &str = "embedded";
/// The variable that many programs read.
const GENERIC: &str = "DATABASE_URL";
/// What is said of a password in the process list is said once.
static WARNED: Once = Once::new();

/// Variables by name: the process's own, and below them those of `.env`.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// Nothing is added to them, not by `.env` either.
    is_closed: bool,
}

impl Environment {
    /// The process's own variables.
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            is_closed: false,
        }
    }

    /// These and no others, whatever a `.env` says.
    pub fn only(variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            is_closed: true,
        }
    }

    /// Adds what `.env` in `folder` sets and nobody else does.
    fn with_dotenv(mut self, folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(".env");
        if self.is_closed || !path.exists() {
            return Ok(self);
        }
        // The parser's messages quote the line at fault, which may be a secret.
        let broken = || {
            Failure::usage(format!(
                "{} has a line that is not NAME=value; correct it (nothing of it is shown, it may be a secret)",
                path.display()
            ))
        };
        for variable in dotenvy::from_path_iter(&path).map_err(|_| broken())? {
            let (name, value) = variable.map_err(|_| broken())?;
            self.variables.entry(name).or_insert(value);
        }
        Ok(self)
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<String> {
        self.variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }
}

/// What says where the mirror is, first to last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseSource {
    /// `--database-url`.
    Flag,
    /// `CURSUS_DATABASE_URL`, or where the file says nothing `DATABASE_URL`; with the `.env` that sets it.
    Variable(&'static str, Option<PathBuf>),
    /// `[database] url`, and its line.
    File(PathBuf, usize),
    /// Nothing does.
    Default,
}

impl fmt::Display for DatabaseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("--database-url"),
            Self::Variable(name, None) => f.write_str(name),
            Self::Variable(name, Some(path)) => write!(f, "{name} in {}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// The configuration with everything that overrides it.
pub struct Settings {
    /// The file's content.
    pub config: Config,
    /// What relative paths are anchored at.
    pub base: PathBuf,
    /// Where runs are staged.
    pub staging: Staging,
    /// Where the mirror is.
    pub database: Target,
    /// What says so.
    pub database_from: DatabaseSource,
    /// `DATABASE_URL` is set, and something else says where the mirror is.
    pub ignores_database_url: bool,
    /// The API's base URL.
    pub api_url: api::BaseUrl,
    /// The subcommand, which others see while we hold a lock.
    pub command: &'static str,
    /// How long to wait for a lock that another process holds.
    pub wait_lock: Option<Duration>,
    environment: Environment,
}

/// Client id and secret.
#[derive(Clone)]
pub struct Credentials {
    /// `CURSUS_CLIENT_ID`.
    pub id: String,
    /// `CURSUS_CLIENT_SECRET`.
    pub secret: SecretString,
}

impl Settings {
    /// Resolves everything but the credentials, which not every command needs.
    pub fn resolve(
        global: &Global,
        command: &'static str,
        environment: Environment,
    ) -> Result<Self, Failure> {
        let current = std::env::current_dir()?;
        let named = global.config.clone().map_or_else(
            || path_in(&environment, "CURSUS_CONFIG"),
            |path| Ok(Some(path)),
        )?;
        let here = current.join("pipeline.toml");
        let path = named
            .map(|path| current.join(path))
            .or_else(|| here.exists().then_some(here));
        let base = path
            .as_deref()
            .and_then(Path::parent)
            .map_or(current, Path::to_owned);
        let of_process = environment;
        let environment = of_process.clone().with_dotenv(&base)?;
        let mut config = Config::load(path.as_deref())?;
        let of_environment = path_in(&environment, "CURSUS_STAGING_DIR")?;
        let staging = global
            .staging
            .clone()
            .map(|dir| base_for_flag(&dir))
            .or_else(|| of_environment.map(|dir| base.join(dir)))
            .unwrap_or_else(|| base.join(&config.staging.dir));
        let of_environment = |name: &'static str| {
            let value = environment.get(name).map(SecretString::from)?;
            let dotenv = of_process.get(name).is_none().then(|| base.join(".env"));
            Some((value, DatabaseSource::Variable(name, dotenv)))
        };
        let of_file = || {
            // What is built in is a default.
            let (written, path) = (config.database.url.as_ref()?, config.path.clone()?);
            Some((
                written.value.clone(),
                DatabaseSource::File(path, written.line),
            ))
        };
        let of_flag = global.database_url.clone();
        let (database, database_from) = of_flag
            .map(|url| (url, DatabaseSource::Flag))
            .or_else(|| of_environment("CURSUS_DATABASE_URL"))
            .or_else(of_file)
            .or_else(|| of_environment(GENERIC))
            .unwrap_or_else(|| (SecretString::from(EMBEDDED), DatabaseSource::Default));
        let is_generic = matches!(database_from, DatabaseSource::Variable(GENERIC, _));
        let ignores_database_url = !is_generic && environment.get(GENERIC).is_some();
        let database = if database.expose_secret() == EMBEDDED {
            Target::Embedded {
                dir: base.join(".cursus/pg"),
            }
        } else {
            if database_from == DatabaseSource::Flag && holds_password(database.expose_secret()) {
                WARNED.call_once(|| {
                    tracing::warn!(
                        "the password in `--database-url` is in the process list, where everybody on this machine can read it; \
                         put the URL into CURSUS_DATABASE_URL, best in {}",
                        base.join(".env").display()
                    );
                });
            }
            Target::Url(database)
        };
        let url = environment
            .get("CURSUS_API_URL")
            .unwrap_or_else(|| config.api.url.clone());
        let api_url = api::BaseUrl::parse(&url)
            .map_err(|error| Failure::usage(format!("CURSUS_API_URL: {error}")))?;
        config.api.url = url;
        Ok(Self {
            config,
            staging: Staging::new(staging),
            base,
            database,
            database_from,
            ignores_database_url,
            api_url,
            command,
            wait_lock: global.wait_lock,
            environment,
        })
    }

    /// Where the mirror is: server, database and role.
    pub fn place(&self) -> Result<Place, Failure> {
        Ok(self.database.place()?)
    }

    /// The same in a sentence, with a schema of it and what says so.
    pub fn whereabouts(&self, schema: &Name) -> Result<String, Failure> {
        let Place {
            server,
            database,
            role,
        } = self.place()?;
        Ok(format!(
            "{server}, database {database}, schema {schema}, role {role} (from {})",
            self.database_from
        ))
    }

    /// The right to write runs, waited for as long as was asked for.
    pub async fn lock_staging(&self) -> Result<StagingLock, StagingError> {
        lock(&self.staging, self.command, self.wait_lock).await
    }

    /// What a run would be read with.
    pub fn side(&self) -> Result<Side, StagingError> {
        Ok(Side {
            staging_id: self.staging.id()?,
            origin: Some(self.api_url.origin()),
            scope: Some(self.config.scope.clone()),
        })
    }

    /// Client id and secret, or how to give them.
    pub fn credentials(&self) -> Result<Credentials, Failure> {
        let id = self.environment.get("CURSUS_CLIENT_ID");
        let secret = self.environment.get("CURSUS_CLIENT_SECRET");
        match (id, secret) {
            (Some(id), Some(secret)) => Ok(Credentials {
                id,
                secret: SecretString::from(secret),
            }),
            (id, _) => {
                let missing = if id.is_none() {
                    "CURSUS_CLIENT_ID"
                } else {
                    "CURSUS_CLIENT_SECRET"
                };
                Err(Failure::usage(format!(
                    "there are no credentials: {missing} is not set; make an application on the intranet \
                     (Settings, API) and put CURSUS_CLIENT_ID and CURSUS_CLIENT_SECRET into {}",
                    self.base.join(".env").display()
                )))
            }
        }
    }

    /// A client of the API with these limits of one run.
    pub fn client(
        &self,
        max_hits: Option<u64>,
        wait_for_next_hour: bool,
    ) -> Result<api::Client, Failure> {
        self.patient_client(max_hits, wait_for_next_hour, self.config.api.patience)
    }

    /// A client for a command that asks little while somebody waits for it.
    pub fn question_client(&self, wait_for_next_hour: bool) -> Result<api::Client, Failure> {
        let patience = self.config.api.patience.min(QUESTION_PATIENCE);
        self.patient_client(None, wait_for_next_hour, patience)
    }

    fn patient_client(
        &self,
        max_hits: Option<u64>,
        wait_for_next_hour: bool,
        patience: Duration,
    ) -> Result<api::Client, Failure> {
        let credentials = self.credentials()?;
        let api = &self.config.api;
        let options = api::Options {
            timeout: api.timeout,
            max_in_flight: api.max_in_flight,
            reserve_per_hour: api.reserve_per_hour,
            requests_per_second: api.requests_per_second,
            requests_per_hour: api.requests_per_hour,
            max_hits,
            wait_for_next_hour,
            patience,
            ledger_dir: state_dir(&self.environment).map(|dir| dir.join("hits")),
            ..api::Options::new(
                self.api_url.clone(),
                credentials.id,
                credentials.secret,
                self.base.join(".cursus"),
            )
        };
        Ok(api::Client::new(options)?)
    }
}

/// The right to write to a directory, in the name of a subcommand, waited for as long as was asked for.
pub async fn lock(
    staging: &Staging,
    command: &str,
    wait: Option<Duration>,
) -> Result<StagingLock, StagingError> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match staging.lock(command) {
            Err(StagingError::Locked { holder, .. })
                if wait.is_some_and(|wait| began.elapsed() < wait) =>
            {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::info!("waiting for {holder}");
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            taken => return taken,
        }
    }
}

/// A path that a variable holds; it is shown, and what may be a database URL is not.
fn path_in(environment: &Environment, name: &str) -> Result<Option<PathBuf>, Failure> {
    let value = environment.get(name);
    if value.as_deref().is_some_and(may_hold_credentials) {
        return Err(Failure::usage(format!(
            "{name} looks like a database URL with a password, where a path belongs, and is not repeated; correct it"
        )));
    }
    Ok(value.map(PathBuf::from))
}

/// Flags are relative to where the command was typed, not to the file.
fn base_for_flag(dir: &Path) -> PathBuf {
    std::env::current_dir().map_or_else(|_| dir.to_owned(), |current| current.join(dir))
}

/// Where programs of a user keep what outlives a project: `$XDG_STATE_HOME/cursus`.
pub fn state_dir(environment: &Environment) -> Option<PathBuf> {
    environment
        .get("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| {
            let home = environment.get("HOME").map(PathBuf::from).or_else(|| {
                nix::unistd::User::from_uid(Uid::current())
                    .ok()
                    .flatten()
                    .map(|user| user.dir)
            })?;
            Some(home.join(".local/state"))
        })
        .map(|state| state.join("cursus"))
}
