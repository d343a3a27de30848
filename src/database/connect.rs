//! The way to an open session: tried again while nothing is lost by it, and the session's settings.

use std::io;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::warn;

use super::embedded::{self, Cluster, EmbeddedError, Options};
use super::error::{not_connected, place};
use super::{Database, DatabaseError, Target, auth, pooler, sessions, tls};
use crate::chain::chain;

/// The oldest server that we use, as `server_version_num`.
const OLDEST_SERVER: i32 = 140_000;
/// How long to try a server that does not answer, where the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for a server that says that it starts: recovery after a crash takes its time.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// The first and the longest wait between two tries.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What the driver takes for "not said": the system's two hours.
const SYSTEM_KEEPALIVE: Duration = Duration::from_hours(2);
/// A peer that is cut off is noticed after a minute, by either side.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);

/// Times in UTC, 5 s of patience for locks, and the server's half of the keepalive.
const SET_UP: &str = "SELECT current_setting('server_version_num'), current_setting('server_version'), \
    set_config('TimeZone', 'UTC', false), set_config('lock_timeout', '5s', false), \
    set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false), \
    set_config('tcp_keepalives_count', '3', false)";
/// Not every system can watch its connections; the server then refuses the setting. As often as [`super::WATCHED_EVERY`] says.
const WATCH: &str = "SET client_connection_check_interval = '10s'";

/// A session that writes takes the time that it needs, whatever the role, the database or the server gives to others; what the URL
/// asks for by its `options` stays.
const UNHURRIED: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE source <> 'client' AND setting <> '0' \
    AND name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')";

/// How a session is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    /// For the questions of others.
    Ask,
    Write,
}

/// Connects, and tries again where that may help.
pub(super) async fn connect(
    target: &Target,
    name: &str,
    purpose: Use,
) -> Result<Database, DatabaseError> {
    let way = Way::to(target, name)?;
    let mut patience = Patience::new(way.limit());
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
pub(super) async fn open_cluster(dir: &std::path::Path) -> Result<Cluster, EmbeddedError> {
    Cluster::open(dir, &Options { fsync: true }).await
}

/// Where to, and how.
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

    /// `connect_timeout` of the URL.
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
                open(&config, NoTls, purpose, Some(cluster)).await
            }
            Self::Url { config, connector } if purpose != Use::Write => {
                open(config, connector.clone(), purpose, None).await
            }
            // Both at once, so that the second costs no time of its own.
            Self::Url { config, connector } => {
                let (database, other) = tokio::join!(
                    open(config, connector.clone(), purpose, None),
                    pooler::Other::open(config, connector.clone())
                );
                let database = database?;
                let (first, connector) = (&database.client, connector.clone());
                if other.tells_of_lending(first, config, connector).await {
                    return Err(DatabaseError::Pooler {
                        place: place(config),
                    });
                }
                Ok(database)
            }
        }
    }
}

/// Connects once, checks the server's version, and sets up the session. A server that takes the connection and says nothing is
/// left after the time that is given to connecting.
async fn open<T>(
    config: &Config,
    tls: T,
    purpose: Use,
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
    let silent = || DatabaseError::Unreachable {
        place: place(&config),
        source: Some(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", limit.as_secs()),
        )),
    };
    // The limit is one host's.
    let hosts = u32::try_from(config.get_hosts().len().max(1)).unwrap_or(u32::MAX);
    let (client, connection) = timeout(limit.saturating_mul(hosts), config.connect(tls.clone()))
        .await
        .map_err(|_| silent())?
        .map_err(|error| not_connected(&config, &error))?;
    let listed = sessions::list(client.cancel_token(), tls);
    let connection = tokio::spawn(async move {
        let _listed = listed;
        connection.await
    });
    let mut database = Database {
        client,
        lock_wait: None,
        connection: Some(connection),
        version: String::new(),
        cluster,
    };
    let set_up = timeout(limit, set_up(&database.client, purpose));
    match set_up.await.map_err(|_| silent())? {
        Ok((number, _)) if number < OLDEST_SERVER => Err(DatabaseError::TooOld {
            major: number / 10_000,
        }),
        Ok((_, version)) => {
            database.version = version;
            Ok(database)
        }
        Err(error) => Err(database.explain(error).await),
    }
}

/// One round trip; gives the server's version as a number and as people write it.
async fn set_up(client: &Client, purpose: Use) -> Result<(i32, String), tokio_postgres::Error> {
    let unhurried = async {
        match purpose {
            Use::Write => client.batch_execute(UNHURRIED).await,
            Use::Read | Use::Ask => Ok(()),
        }
    };
    let (row, watched, unhurried) = tokio::join!(
        client.query_typed(SET_UP, &[]),
        client.batch_execute(WATCH),
        unhurried
    );
    let rows = row?;
    unhurried?;
    if let Err(error) = watched
        && error.as_db_error().is_none()
    {
        return Err(error);
    }
    let (number, version): (&str, &str) = match rows.first() {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => ("", ""),
    };
    // Packagers add their own number in brackets.
    let version = version.split_whitespace().next().unwrap_or_default();
    Ok((number.parse().unwrap_or_default(), version.to_owned()))
}

/// How long a server that is away is waited for.
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
            // A unix socket goes and comes with its server.
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
