//! Resolves each setting: flag, environment, `.env`, file, default, in that order. What a process needs before it reads a
//! configuration (log level, clock, PostgreSQL's programs) cannot be set in `.env`.

mod environment;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::notify::Notifier;
use crate::project::{DOTENV, Project, STATE};
#[cfg(feature = "remote")]
use crate::remote::{Remote, open_staging};
#[cfg(feature = "remote")]
use crate::staging::StoreLock;
use crate::staging::{Staging, StagingError, StagingLock};
use crate::trusted::{self, Folder, Untrusted};
use environment::GENERIC;
pub(crate) use environment::{Environment, state_dir};

/// How often a lock that another process holds is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a command other than a run waits while throttled.
const QUESTION_PATIENCE: Duration = Duration::from_mins(1);
/// The private PostgreSQL, in the place of a URL.
const EMBEDDED: &str = "embedded";

/// Where the address of the mirror was set, by precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseSource {
    Flag,
    /// `CURSUS_DATABASE_URL`, or `DATABASE_URL` if the file has none; with the `.env` that sets it.
    Variable(&'static str, Option<PathBuf>),
    /// `[database] url`, and its line.
    File(PathBuf, usize),
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
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// What relative paths are anchored at.
    pub(crate) base: PathBuf,
    pub(crate) staging: Staging,
    pub(crate) database: Target,
    pub(crate) database_from: DatabaseSource,
    /// `DATABASE_URL` is set, and another setting has precedence.
    pub(crate) ignores_database_url: bool,
    pub(crate) api_url: api::BaseUrl,
    /// The subcommand, which other processes see while this one holds a lock.
    pub(crate) command: &'static str,
    /// How long to wait for a lock that another process holds.
    pub(crate) wait_lock: Option<Duration>,
    pub(crate) context: Context,
    environment: Environment,
}

#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: SecretString,
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

    /// As [`Self::resolve`], with a configuration that was read, and anchored at another directory.
    pub(crate) fn of(
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
                        "the password in `--database-url` is in the process list, where all users of this machine can read it; \
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
            staging: Staging::new(staging).with_people(Arc::clone(&config.people)),
            config,
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
        tracing::info!("{}", self.announcement(schema)?);
        Ok(())
    }

    /// Where the mirror is, as a line of the log.
    pub(crate) fn announcement(&self, schema: &Name) -> Result<String, Failure> {
        Ok(format!("mirror: {}", self.whereabouts(schema)?))
    }

    /// The same with further packs, and those that they need.
    pub(crate) fn with_packs(mut self, packs: &[String]) -> Result<Self, Failure> {
        for name in packs {
            self.config.pack(name).map_err(Failure::usage)?;
        }
        if !packs.is_empty() {
            let names: Vec<&str> = packs.iter().map(String::as_str).collect();
            let url = std::mem::take(&mut self.config.api.url);
            self.config = Config::load_with(self.config.path.as_deref(), &names)?;
            self.config.api.url = url;
        }
        Ok(self)
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

    /// ` --into SCHEMA` for the command in a message, if it is not the configured schema.
    pub(crate) fn schema_flag(&self, schema: &Name) -> String {
        if *schema == self.config.database.schema {
            String::new()
        } else {
            format!(" --into {schema}")
        }
    }

    /// Locks staging for writing; waits for the lock up to `--wait-lock`.
    pub(crate) async fn lock_staging(&self) -> Result<StagingLock, StagingError> {
        lock(&self.staging, self.command, self.wait_lock).await
    }

    /// Locks the object store of this staging directory for writing; waits as for the directory.
    #[cfg(feature = "remote")]
    pub(crate) async fn lock_store(&self, remote: &Remote) -> Result<StoreLock, StagingError> {
        let (directory, holder) = (self.staging.clone(), self.command);
        let taken = take_lock(self.wait_lock, move || directory.lock_store(holder)).await;
        taken.map_err(|error| match error {
            StagingError::Locked { holder, .. } => StagingError::Locked {
                path: remote.shown().into(),
                holder,
            },
            error => error,
        })
    }

    /// The object store of a URL, else of `[staging] remote`.
    #[cfg(feature = "remote")]
    pub(crate) fn remote(&self, url: Option<&str>) -> Result<Remote, Failure> {
        let url = url.or(self.config.staging.remote.as_deref()).ok_or_else(|| {
            Failure::usage(
                "there is no object store: name one as s3://BUCKET/PATH, or set `remote` of [staging] in pipeline.toml",
            )
        })?;
        Ok(Remote::open(url, &self.environment.all())?)
    }

    /// The same settings with the runs of an object store in the place of those here.
    #[cfg(feature = "remote")]
    pub(crate) async fn reading_from(&self, url: &str) -> Result<Self, Failure> {
        let remote = self.remote(Some(url))?;
        let opened = open_staging(&remote, &self.config.people).await?;
        Ok(Self {
            staging: opened.staging,
            ..self.clone()
        })
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
        self.context.warn_once("requests counted separately", || {
            format!(
                "{why}; requests are counted in {}, separately from those of other projects that use the key (XDG_STATE_HOME names \
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

    /// What the key's ledger knows to be left of this hour's requests; makes no file, and sends nothing.
    pub(crate) fn hour_left(&self) -> Option<api::HourLeft> {
        let credentials = self.credentials().ok()?;
        let api = &self.config.api;
        let mut limits = api::Limits::default();
        limits.reserve_per_hour = api.reserve_per_hour;
        limits.requests_per_hour = api.requests_per_hour;
        let of_user = state_dir(&self.environment).map(|dir| dir.join("hits"));
        let dirs = of_user.into_iter().chain([self.base.join(STATE)]);
        let origin = self.api_url.origin();
        let mut known =
            dirs.filter_map(|dir| api::hour_left(&dir, &origin, &credentials.id, &limits));
        known.next()
    }

    /// Reports how this command ends; none if nobody asked for it.
    pub(crate) fn notifier(&self) -> Option<Notifier> {
        let of_environment = self.environment.get("CURSUS_NOTIFY_URL");
        let url = of_environment.map(SecretString::from);
        let notify = &self.config.notify;
        Notifier::new(url.as_ref().or(notify.url.as_ref())?, &notify.on)
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
        options.answers = self.context.answers().clone();
        adjust(&mut options);
        Ok(api::Client::new(options)?)
    }
}

/// Locks a staging directory in the name of a subcommand; waits up to `wait` for another lock holder.
pub(crate) async fn lock(
    staging: &Staging,
    command: &str,
    wait: Option<Duration>,
) -> Result<StagingLock, StagingError> {
    let (directory, holder) = (staging.clone(), command.to_owned());
    take_lock(wait, move || directory.lock(&holder)).await
}

/// Calls `take` until it has the lock; waits up to `wait` for another lock holder.
async fn take_lock<T: Send + 'static>(
    wait: Option<Duration>,
    take: impl Fn() -> Result<T, StagingError> + Send + Sync + 'static,
) -> Result<T, StagingError> {
    let (began, take) = (Instant::now(), Arc::new(take));
    let mut is_announced = false;
    loop {
        // Locking retries with short sleeps, which must not block a worker of the runtime.
        let take = Arc::clone(&take);
        let taken = tokio::task::spawn_blocking(move || take()).await;
        let taken = taken.unwrap_or_else(|error| {
            Err(StagingError::Io {
                doing: "lock",
                path: "a directory".into(),
                source: std::io::Error::other(error),
            })
        });
        match taken {
            Err(StagingError::Locked { holder, .. })
                if wait.is_some_and(|wait| began.elapsed() < wait) =>
            {
                if !std::mem::replace(&mut is_announced, true) {
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
