//! The way to an open session: tried again while nothing is lost by it, and the session's settings.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{TryStreamExt, stream};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::warn;

use super::client::{Database, Target};
use super::embedded::{self, Cluster, EmbeddedError, Options};
use super::error::DatabaseError;
use super::error::{not_connected, place};
use super::sessions::Sessions;
use super::{auth, pooler, tls, trust};
use crate::error_chain::chain;

/// The oldest server that we use, as `server_version_num`.
const OLDEST_SERVER: i32 = 140_000;
/// How long to try a server that does not answer, where the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for a server that is starting: recovery after a crash takes its time.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// The first and the longest wait between two tries.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The driver's value for "unset": the system's two hours.
const SYSTEM_KEEPALIVE: Duration = Duration::from_hours(2);
/// A peer that is cut off is noticed after a minute, by either side.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);

/// Asked before the search path is set: no operator may stand here.
const VERSION: &str = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_version')";
/// Times in UTC, 5 s of patience for locks, the server's half of the keepalive, and nothing compiled: for the recursions of the
/// catalogue the planner expects millions of rows, and to compile for them takes longer than all else of a load without news.
const SETTINGS: &str = "SET TimeZone = 'UTC'; SET lock_timeout = '5s'; SET tcp_keepalives_idle = 30; \
    SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; SET jit = off";
/// Statements under a lock see what was committed before it.
const ISOLATION: &str = "SET default_transaction_isolation = 'read committed'";
/// Not every system can watch its connections; the server then refuses the setting. The same as [`super::client::WATCHED_EVERY`].
const WATCH: &str = "SET client_connection_check_interval = '10s'";
/// For sessions that read tables only: a checked table cannot become another role's view meanwhile. Older servers do
/// not know it (14.13, 15.8 and 16.4 are the first).
const ONLY_TABLES: &str = "SET restrict_nonsystem_relation_kind = 'view, foreign-table'";
const ANY_RELATION: &str = "SET restrict_nonsystem_relation_kind = ''";

/// A session that writes takes the time that it needs, whatever the role, the database or the server gives to others; what the URL
/// asks for by its `options` stays. `pg_settings` is slow to list: it is read only where one of these limits is set.
const UNHURRIED: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE source <> 'client' AND setting <> '0' \
    AND name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout') \
    AND EXISTS (SELECT FROM pg_catalog.unnest('{statement_timeout, idle_in_transaction_session_timeout, idle_session_timeout, \
    transaction_timeout}'::pg_catalog.text[]) AS of (name) WHERE pg_catalog.current_setting(of.name, true) <> '0')";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Read,
    /// For the questions of others.
    Ask,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    Own(Use),
    /// A pooler gives it to others between two transactions: it is read in, and no search path of ours is left in it,
    /// where they would not find their tables.
    Lent,
}

impl Database {
    /// Connects, checks the server's version, and sets up the session: a search path that holds nothing of others, times in UTC, 5 s of patience for locks, and a server that
    /// notices within [`super::client::WATCHED_EVERY`] that we have died, where it can. A server that is away, or starts, is tried again for a while.
    pub(crate) async fn connect(
        target: &Target,
        application_name: &str,
    ) -> Result<Self, DatabaseError> {
        connect(target, application_name, Use::Read, None).await
    }

    /// As [`Self::connect`], for commands that write: they need a session that is theirs from its beginning to its end.
    pub(crate) async fn connect_to_write(
        target: &Target,
        application_name: &str,
    ) -> Result<Self, DatabaseError> {
        connect(target, application_name, Use::Write, None).await
    }

    /// As [`Self::connect`], for questions that others have written: to the private cluster as a role that may only read, and
    /// that is no superuser.
    pub(crate) async fn connect_to_ask(
        target: &Target,
        application_name: &str,
    ) -> Result<Self, DatabaseError> {
        connect(target, application_name, Use::Ask, None).await
    }

    /// As [`Self::connect_to_ask`], but a server that is away is not waited for.
    pub(crate) async fn connect_to_ask_once(
        target: &Target,
        application_name: &str,
    ) -> Result<Self, DatabaseError> {
        connect(target, application_name, Use::Ask, Some(Duration::ZERO)).await
    }

    /// Lets a session read views as well. The caller knows that no view is of another role.
    pub(crate) async fn read_views(&self) -> Result<(), DatabaseError> {
        read_views(&self.client).await
    }
}

/// A hold on the private server, so that it starts once for sessions that come and go; none if the mirror is on another one.
pub(crate) async fn hold_server(target: &Target) -> Result<Option<Cluster>, DatabaseError> {
    Ok(match target {
        Target::Embedded { dir } => Some(open_cluster(dir).await?),
        Target::Url(_) => None,
    })
}

/// `limit`: how long a server that is away is tried; none: as the URL says, else as is usual.
async fn connect(
    target: &Target,
    name: &str,
    purpose: Use,
    limit: Option<Duration>,
) -> Result<Database, DatabaseError> {
    let way = Way::to(target, name)?;
    let mut patience = Patience::new(limit.or(way.limit()));
    loop {
        let error = match Box::pin(way.attempt(purpose)).await {
            Ok(database) => return Ok(database),
            Err(error) => error,
        };
        let Some(wait) = patience.after(&error) else {
            return Err(error);
        };
        warn!("{}; trying again in {} ms", chain(&error), wait.as_millis());
        sleep(wait).await;
    }
}

/// Attaches to the private server, which may have to be started.
async fn open_cluster(dir: &std::path::Path) -> Result<Cluster, EmbeddedError> {
    Cluster::open(dir, &Options { fsync: true }).await
}

enum Way {
    Embedded {
        dir: std::path::PathBuf,
        name: String,
    },
    Url {
        config: Box<Config>,
        connector: auth::Connector<MakeRustlsConnect>,
    },
}

impl Way {
    fn to(target: &Target, name: &str) -> Result<Self, DatabaseError> {
        Ok(match target {
            Target::Embedded { dir } => Self::Embedded {
                dir: dir.clone(),
                name: name.to_owned(),
            },
            Target::Url(url) => {
                let (config, connector) = tls::parse(url.expose_secret())?.way()?;
                let mut config = Box::new(config);
                config.application_name(name);
                if config.get_keepalives_idle() == SYSTEM_KEEPALIVE {
                    config
                        .keepalives_idle(KEEPALIVE_IDLE)
                        .keepalives_interval(KEEPALIVE_INTERVAL)
                        .keepalives_retries(KEEPALIVE_RETRIES);
                }
                if config.get_tcp_user_timeout().is_none() {
                    config.tcp_user_timeout(UNACKNOWLEDGED);
                }
                Self::Url { config, connector }
            }
        })
    }

    fn limit(&self) -> Option<Duration> {
        match self {
            Self::Embedded { .. } => None,
            Self::Url { config, .. } => config.get_connect_timeout().copied(),
        }
    }

    async fn attempt(&self, purpose: Use) -> Result<Database, DatabaseError> {
        match self {
            Self::Embedded { dir, name } => {
                let cluster = open_cluster(dir).await?;
                let mut config = cluster.config(embedded::DATABASE);
                config.application_name(name);
                if purpose == Use::Ask {
                    cluster.ensure_reader().await?;
                    config.user(embedded::READER);
                }
                let database = open(&config, NoTls, Some(cluster)).await?;
                set_up(database, Session::Own(purpose)).await
            }
            // Both at once, so that the second costs no time of its own.
            Self::Url { config, connector } => {
                let (database, other) = tokio::join!(
                    open(config, connector.clone(), None),
                    pooler::Other::open(config, connector.clone())
                );
                let database = database?;
                let (first, connector) = (&database.client, connector.clone());
                let is_lent = other.tells_of_lending(first, config, connector).await;
                if is_lent && purpose == Use::Write {
                    return Err(DatabaseError::Pooler {
                        place: place(config),
                    });
                }
                let session = if is_lent {
                    Session::Lent
                } else {
                    Session::Own(purpose)
                };
                set_up(database, session).await
            }
        }
    }
}

/// Connects once, and checks the server's version. A server that accepts the connection and does not answer is dropped after the
/// connect timeout.
async fn open<T>(
    config: &Config,
    tls: T,
    cluster: Option<Cluster>,
) -> Result<Database, DatabaseError>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let mut config = config.clone();
    let limit = *config.get_connect_timeout().unwrap_or(&CONNECT_TIMEOUT);
    config.connect_timeout(limit);
    // The limit is one host's.
    let hosts = u32::try_from(config.get_hosts().len().max(1)).unwrap_or(u32::MAX);
    let (client, mut connection) =
        timeout(limit.saturating_mul(hosts), config.connect(tls.clone()))
            .await
            .map_err(|_| silent(&config, limit))?
            .map_err(|error| not_connected(&config, &error))?;
    let listed = Sessions::current().list(client.cancel_token(), tls);
    let notified = Arc::new(Notify::new());
    let listener = Arc::clone(&notified);
    let connection = tokio::spawn(async move {
        let _listed = listed;
        let mut messages = stream::poll_fn(|context| connection.poll_message(context));
        while let Some(message) = messages.try_next().await? {
            if matches!(message, AsyncMessage::Notification(_)) {
                listener.notify_one();
            }
        }
        Ok(())
    });
    let mut database = Database {
        client,
        lock_wait: None,
        connection: Some(connection),
        notified,
        version: String::new(),
        place: place(&config),
        cluster,
    };
    let version = timeout(limit, version(&database.client));
    let version = version.await.map_err(|_| silent(&config, limit))?;
    match version {
        Ok((number, _)) if number < OLDEST_SERVER => Err(DatabaseError::TooOld {
            place: place(&config),
            major: number / 10_000,
        }),
        Ok((_, version)) => {
            database.version = version;
            Ok(database)
        }
        Err(error) => Err(database.explain(error).await),
    }
}

/// For a server that accepts the connection and does not answer.
fn silent(config: &Config, limit: Duration) -> DatabaseError {
    DatabaseError::Unreachable {
        place: place(config),
        source: Some(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", limit.as_secs()),
        )),
    }
}

/// The server's version as a number and as people write it.
async fn version(client: &Client) -> Result<(i32, String), tokio_postgres::Error> {
    let rows = client.query_typed(VERSION, &[]).await?;
    let (number, version): (&str, &str) = match rows.first() {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => ("", ""),
    };
    // Packagers add their own number in brackets.
    let version = version.split_whitespace().next().unwrap_or_default();
    Ok((number.parse().unwrap_or_default(), version.to_owned()))
}

/// Sets up the session, in one round trip.
async fn set_up(mut database: Database, session: Session) -> Result<Database, DatabaseError> {
    let settings = match session {
        Session::Own(_) => format!("{}; {ISOLATION}; {SETTINGS}", trust::SET_PATH),
        Session::Lent => SETTINGS.to_owned(),
    };
    let only_tables = match session {
        Session::Own(Use::Read | Use::Ask) => ONLY_TABLES,
        Session::Own(Use::Write) | Session::Lent => ANY_RELATION,
    };
    // After the search path: statements are answered in the order in which they are sent.
    let unhurried = async {
        match session {
            Session::Own(Use::Write) => database.client.batch_execute(UNHURRIED).await,
            Session::Own(Use::Read | Use::Ask) | Session::Lent => Ok(()),
        }
    };
    let (set, unhurried, watched, restricted) = tokio::join!(
        database.client.batch_execute(&settings),
        unhurried,
        optional(&database.client, WATCH),
        optional(&database.client, only_tables),
    );
    if let Err(error) = set.and(unhurried).and(watched).and(restricted) {
        return Err(database.explain(error).await);
    }
    if session == Session::Lent {
        trust::check_lent(&mut database.client).await?;
    }
    Ok(database)
}

/// Runs a statement that the server may not know.
async fn optional(client: &Client, statement: &str) -> Result<(), tokio_postgres::Error> {
    match client.batch_execute(statement).await {
        Err(error) if error.as_db_error().is_none() => Err(error),
        _ => Ok(()),
    }
}

/// Takes back [`ONLY_TABLES`], where the server knows it.
async fn read_views(client: &Client) -> Result<(), DatabaseError> {
    Ok(optional(client, ANY_RELATION).await?)
}

struct Patience {
    began: Instant,
    limit: Option<Duration>,
    wait: Duration,
}

impl Patience {
    fn new(limit: Option<Duration>) -> Self {
        Self {
            began: Instant::now(),
            limit,
            wait: FIRST_WAIT,
        }
    }

    /// How long to wait after a try that failed like this; none if another one is of no use.
    fn after(&mut self, error: &DatabaseError) -> Option<Duration> {
        let limit = match error {
            DatabaseError::NotReady { .. } => START_TIMEOUT,
            DatabaseError::Lost { .. } | DatabaseError::TooMany { .. } => CONNECT_TIMEOUT,
            DatabaseError::Unreachable { source, .. } if passes(source.as_ref()) => CONNECT_TIMEOUT,
            _ => return None,
        };
        // Many commands that wait for the same server come back one by one.
        let wait = self.wait.mul_f64(0.75 + fastrand::f64() / 2.0);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        (self.began.elapsed() + wait <= self.limit.unwrap_or(limit)).then_some(wait)
    }
}

/// Whether the network's answer is one of a server that is being restarted.
fn passes(source: Option<&io::Error>) -> bool {
    source.is_none_or(|source| {
        matches!(
            source.kind(),
            // A unix socket is removed and created with its server.
            io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        )
    })
}
