//! Resolves each setting: flag, environment, `.env`, file, default, in that order. What a process needs before it reads a
//! configuration (log level, clock, PostgreSQL's programs) cannot be set in `.env`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::Uid;
use secrecy::{ExposeSecret, SecretString};

use crate::api;
use crate::cli::Global;
use crate::config::Config;
use crate::context::Context;
use crate::database::embedded::Cluster;
use crate::database::{Place, Target, holds_password};
use crate::error_chain::chain;
use crate::exit::Failure;
use crate::load::Side;
use crate::name::Name;
use crate::printable::may_hold_credentials;
use crate::project::{DOTENV, Project, STATE};
use crate::staging::{Staging, StagingError, StagingLock};
use crate::trusted::{self, Folder, Untrusted};

/// How often a lock that another process holds is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a command other than a run waits while it is throttled.
const QUESTION_PATIENCE: Duration = Duration::from_mins(1);
/// The private PostgreSQL, in the place of a URL.
const EMBEDDED: &str = "embedded";
/// The variable that many programs read.
const GENERIC: &str = "DATABASE_URL";

/// Variables by name: the process's own, and below them those of `.env`.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, OsString>,
    of_dotenv: BTreeSet<String>,
}

impl Environment {
    /// The process's own variables.
    pub(crate) fn of_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect(),
            of_dotenv: BTreeSet::new(),
        }
    }

    /// Exactly these variables.
    pub(crate) fn only(variables: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            of_dotenv: BTreeSet::new(),
        }
    }

    /// Adds variables of `.env` that the process does not set.
    fn add(&mut self, variables: Vec<(String, String)>) {
        for (name, value) in variables {
            if !self.variables.contains_key(&name) {
                self.of_dotenv.insert(name.clone());
                self.variables.insert(name, value.into());
            }
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.path(name)?.into_os_string().into_string().ok()
    }

    /// A variable that is set and not empty, as a path, which need not be UTF-8.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.variables.get(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    }

    /// A path that messages repeat: refused if it may be a database URL.
    fn shown_path(&self, name: &str) -> Result<Option<PathBuf>, Failure> {
        let path = self.path(name);
        let text = path.as_deref().map(Path::to_string_lossy);
        if text.as_deref().is_some_and(may_hold_credentials) {
            return Err(Failure::usage(format!(
                "{name} looks like a database URL with a password, where a path belongs, and is not repeated; correct it"
            )));
        }
        Ok(path)
    }

    /// Refuses a variable of cursus that is not UTF-8, which would be ignored.
    fn check(&self) -> Result<(), Failure> {
        let is_text = |name: &str| {
            let is_path = ["CURSUS_CONFIG", "CURSUS_STAGING_DIR", "CURSUS_PG_BIN"].contains(&name);
            !is_path && (name.starts_with("CURSUS_") || name == GENERIC)
        };
        for (name, value) in &self.variables {
            if is_text(name) && value.to_str().is_none() {
                return Err(Failure::usage(format!(
                    "the variable {name} is not UTF-8; set it anew"
                )));
            }
        }
        Ok(())
    }
}

/// Where the address of the mirror was set, by precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseSource {
    /// `--database-url`.
    Flag,
    /// `CURSUS_DATABASE_URL`, or `DATABASE_URL` if the file has none; with the `.env` that sets it.
    Variable(&'static str, Option<PathBuf>),
    /// `[database] url`, and its line.
    File(PathBuf, usize),
    /// Not set.
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
pub(crate) struct Settings {
    pub config: Config,
    /// What relative paths are anchored at.
    pub base: PathBuf,
    pub staging: Staging,
    /// Where the mirror is.
    pub database: Target,
    pub database_from: DatabaseSource,
    /// `DATABASE_URL` is set, and something else says where the mirror is.
    pub ignores_database_url: bool,
    pub api_url: api::BaseUrl,
    /// The subcommand, which other processes see while this one holds a lock.
    pub command: &'static str,
    /// How long to wait for a lock that another process holds.
    pub wait_lock: Option<Duration>,
    /// What this invocation shares.
    pub(crate) context: Context,
    environment: Environment,
}

#[derive(Clone)]
pub(crate) struct Credentials {
    pub id: String,
    pub secret: SecretString,
}

impl Settings {
    /// Resolves everything but the credentials, which not every command needs. Refuses files that another user could have
    /// written.
    pub(crate) fn resolve(
        global: &Global,
        command: &'static str,
        mut environment: Environment,
        context: &Context,
    ) -> Result<Self, Failure> {
        let named = match &global.config {
            Some(path) => Some(path.clone()),
            None => environment.shown_path("CURSUS_CONFIG")?,
        };
        let project = Project::find(named)?;
        let (config, variables) = project.read()?;
        environment.add(variables);
        Self::of(global, command, environment, project.base, config, context)
    }

    /// The built-in pipeline in a directory of which nothing is read.
    pub(crate) fn built_in(
        global: &Global,
        command: &'static str,
        environment: Environment,
        base: PathBuf,
        context: &Context,
    ) -> Result<Self, Failure> {
        let config = Config::load(None)?;
        Self::of(global, command, environment, base, config, context)
    }

    fn of(
        global: &Global,
        command: &'static str,
        environment: Environment,
        base: PathBuf,
        mut config: Config,
        context: &Context,
    ) -> Result<Self, Failure> {
        environment.check()?;
        let of_environment = environment.shown_path("CURSUS_STAGING_DIR")?;
        let staging = global
            .staging
            .clone()
            .map(|dir| base_for_flag(&dir))
            .or_else(|| of_environment.map(|dir| base.join(dir)))
            .unwrap_or_else(|| base.join(&config.staging.dir));
        // Files of root in it would be unusable for its owner.
        if let Some(fault) = trusted::fault_of_owner(&staging) {
            return Err(trusted::list(&[fault]).into());
        }
        let of_environment = |name: &'static str| {
            let value = environment.get(name).map(SecretString::from)?;
            let dotenv = (environment.of_dotenv.contains(name)).then(|| base.join(DOTENV));
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
                dir: base.join(STATE).join("pg"),
            }
        } else {
            if database_from == DatabaseSource::Flag && holds_password(database.expose_secret()) {
                context.warn_once("password in --database-url", || {
                    format!(
                        "the password in `--database-url` is in the process list, where everybody on this machine can read it; \
                         put the URL into CURSUS_DATABASE_URL, best in {}",
                        base.join(DOTENV).display()
                    )
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
            context: context.clone(),
            environment,
        })
    }

    /// Where the mirror is: server, database and role.
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        Ok(self.database.place()?)
    }

    /// The same as a sentence, with the schema and where the address was set.
    pub(crate) fn whereabouts(&self, schema: &Name) -> Result<String, Failure> {
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

    /// Logs where the mirror is, as the first line of a command that writes to it.
    pub(crate) fn announce(&self, schema: &Name) -> Result<(), Failure> {
        tracing::info!("mirror: {}", self.whereabouts(schema)?);
        Ok(())
    }

    /// The schema of `--into`, else the configured one.
    pub(crate) fn schema(&self, into: Option<&str>) -> Result<Name, Failure> {
        let Some(into) = into else {
            return Ok(self.config.database.schema.clone());
        };
        Name::parse(into).map_err(|error| Failure::usage(format!("--into {into}: {error}")))
    }

    /// Refuses where nothing was ever staged.
    pub(crate) fn require_run(&self) -> Result<(), StagingError> {
        if self.staging.runs()?.is_empty() {
            self.staging.find("latest")?;
        }
        Ok(())
    }

    /// ` --into SCHEMA` for a command that a message tells to type, if it is not the configured schema.
    pub(crate) fn schema_flag(&self, schema: &Name) -> String {
        if *schema == self.config.database.schema {
            String::new()
        } else {
            format!(" --into {schema}")
        }
    }

    /// Locks staging for writing; waits as long as `--wait-lock` says.
    pub(crate) async fn lock_staging(&self) -> Result<StagingLock, StagingError> {
        lock(&self.staging, self.command, self.wait_lock).await
    }

    /// What a run would be read with.
    pub(crate) fn side(&self) -> Result<Side, StagingError> {
        Ok(Side {
            staging_id: self.staging.id()?,
            origin: Some(self.api_url.origin()),
            scope: Some(self.config.scope.clone()),
        })
    }

    /// The directory of the private cluster, if it was not created yet.
    pub(crate) fn unmade_cluster(&self) -> Option<&Path> {
        match &self.database {
            Target::Embedded { dir } if !Cluster::exists(dir) => Some(dir),
            _ => None,
        }
    }

    /// Client id and secret, or how to give them.
    pub(crate) fn credentials(&self) -> Result<Credentials, Failure> {
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
                    self.base.join(DOTENV).display()
                )))
            }
        }
    }

    /// Where the requests of a key are counted: in the user's own state directory, together with those of the user's other
    /// projects; in the project where there is no such directory.
    fn ledger_dir(&self) -> PathBuf {
        let dir = state_dir(&self.environment).map(|dir| dir.join("hits"));
        let why = match dir.as_deref().map(Folder::make_private) {
            Some(Err(fault @ (Untrusted::Io { .. } | Untrusted::Owned { .. }))) => chain(&fault),
            // Any other fault is reported where the directory is opened.
            Some(_) => return dir.unwrap_or_default(),
            None => "there is no home directory".to_owned(),
        };
        let own = self.base.join(STATE);
        self.context.warn_once("requests counted apart", || {
            format!(
                "{why}; requests are counted in {}, apart from those of other projects that use the key (XDG_STATE_HOME names \
                 another directory)",
                own.display()
            )
        });
        own
    }

    /// A client of the API with these limits of one run.
    pub(crate) fn client(
        &self,
        max_hits: Option<u64>,
        wait_for_next_hour: bool,
    ) -> Result<api::Client, Failure> {
        self.patient_client(max_hits, wait_for_next_hour, self.config.api.patience)
    }

    /// A client for an interactive command with few requests.
    pub(crate) fn question_client(&self, wait_for_next_hour: bool) -> Result<api::Client, Failure> {
        let patience = self.config.api.patience.min(QUESTION_PATIENCE);
        self.patient_client(None, wait_for_next_hour, patience)
    }

    fn patient_client(
        &self,
        max_hits: Option<u64>,
        wait_for_next_hour: bool,
        patience: Duration,
    ) -> Result<api::Client, Failure> {
        self.credentials()?;
        self.client_of(Some(self.ledger_dir()), |options| {
            options.limits.max_hits = max_hits;
            options.limits.wait_for_next_hour = wait_for_next_hour;
            options.limits.patience = patience;
        })
    }

    /// A client that makes no request, for what it has stored.
    pub(crate) fn offline_client(&self) -> Result<api::Client, Failure> {
        self.client_of(None, |_| {})
    }

    fn client_of(
        &self,
        ledger_dir: Option<PathBuf>,
        adjust: impl FnOnce(&mut api::Options),
    ) -> Result<api::Client, Failure> {
        let credentials = self.credentials()?;
        let api = &self.config.api;
        let mut options = api::Options::new(
            self.api_url.clone(),
            credentials.id,
            credentials.secret,
            self.base.join(STATE),
        );
        options.timeout = api.timeout;
        options.max_in_flight = api.max_in_flight;
        options.limits.reserve_per_hour = api.reserve_per_hour;
        options.limits.requests_per_second = api.requests_per_second;
        options.limits.requests_per_hour = api.requests_per_hour;
        options.ledger_dir = ledger_dir;
        adjust(&mut options);
        Ok(api::Client::new(options)?)
    }
}

/// Locks a staging directory in the name of a subcommand; waits for another holder as long as `wait` says.
pub(crate) async fn lock(
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

/// Flags are relative to where the command was typed, not to the file.
fn base_for_flag(dir: &Path) -> PathBuf {
    std::env::current_dir().map_or_else(|_| dir.to_owned(), |current| current.join(dir))
}

/// The user's state directory of cursus: `$XDG_STATE_HOME/cursus`, else below the home directory. None without a home, or if root
/// is in the home of another user.
pub(crate) fn state_dir(environment: &Environment) -> Option<PathBuf> {
    let state = environment.path("XDG_STATE_HOME");
    let of_home = || {
        let home = environment.path("HOME").or_else(|| {
            let user = nix::unistd::User::from_uid(Uid::effective()).ok().flatten();
            user.map(|user| user.dir)
        })?;
        let is_root_elsewhere =
            Uid::effective().is_root() && trusted::fault_of_owner(&home).is_some();
        // `/nonexistent` means that there is no home.
        let is_home = home.is_absolute() && home.parent().is_some() && home.is_dir();
        (is_home && !is_root_elsewhere).then(|| home.join(".local/state"))
    };
    state
        .filter(|path| path.is_absolute())
        .or_else(of_home)
        .map(|state| state.join("cursus"))
}
