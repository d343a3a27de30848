//! The sessions of this process: how to break off what they still run, and who else holds a lock.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::sync::Notify;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, Row, Socket};

use crate::mutex::locked;
use crate::printable;

use super::quote::utc;

/// Asks the server, on a connection of its own, to break off what a session runs.
type Cancel = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

tokio::task_local! {
    static CURRENT: Sessions;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It was not asked for, or was refused: the transaction is rolled back.
    #[default]
    NotYet,
    /// It was asked for, and the answer is awaited.
    UnderWay,
    Done,
}

/// The open database sessions of one invocation, dropped ones included while the server still works for them.
#[derive(Clone, Default)]
pub(crate) struct Sessions(Arc<Shared>);

#[derive(Default)]
struct Shared {
    cancels: Mutex<BTreeMap<u64, Cancel>>,
    next: AtomicU64,
    closed: Notify,
    commit: Mutex<Commit>,
}

impl Sessions {
    /// Lists here the sessions that this work opens, and notes the state of its commit.
    pub(crate) async fn scope<T>(&self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), work).await
    }

    /// The sessions of the surrounding [`Self::scope`].
    pub(super) fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    pub(crate) fn commit(&self) -> Commit {
        *locked(&self.0.commit)
    }

    pub(crate) fn begin_commit(&self) {
        self.set_commit(Commit::NotYet);
    }

    pub(super) fn set_commit(&self, commit: Commit) {
        *locked(&self.0.commit) = commit;
    }

    pub(super) fn list<T>(&self, token: CancelToken, tls: T) -> Listed
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let cancel = move || -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let (token, tls) = (token.clone(), tls.clone());
            Box::pin(async move {
                // A server that cannot be reached ends the session by itself.
                let _ = token.cancel_query(tls).await;
            })
        };
        locked(&self.0.cancels).insert(number, Arc::new(cancel));
        Listed {
            sessions: self.clone(),
            number,
        }
    }

    /// Cancels the statements of all sessions, and waits at most `patience` until the sessions are closed.
    pub(crate) async fn cancel_all(&self, patience: Duration) {
        let cancelling = async {
            let cancels: Vec<Cancel> = locked(&self.0.cancels).values().cloned().collect();
            join_all(cancels.iter().map(|cancel| cancel())).await;
            loop {
                let closed = self.0.closed.notified();
                if locked(&self.0.cancels).is_empty() {
                    return;
                }
                closed.await;
            }
        };
        let _ = tokio::time::timeout(patience, cancelling).await;
    }
}

pub(super) struct Listed {
    sessions: Sessions,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let Sessions(shared) = &self.sessions;
        locked(&shared.cancels).remove(&self.number);
        shared.closed.notify_waiters();
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum LockKey {
    Number(i64),
    /// Two of half the size, as SQL in which `$1` is a text.
    Pair(&'static str, &'static str),
}

impl LockKey {
    /// The statement that takes it for the session.
    pub(crate) fn take(self) -> String {
        match self {
            Self::Number(number) => format!("SELECT pg_advisory_lock({number}::bigint)"),
            Self::Pair(first, second) => format!("SELECT pg_advisory_lock({first}, {second})"),
        }
    }

    /// The statement that takes it for the session if it is free, and says whether it was.
    pub(crate) fn try_to_take(self) -> String {
        self.take()
            .replace("pg_advisory_lock", "pg_try_advisory_lock")
    }

    /// Its halves as the server lists them.
    fn halves(self) -> String {
        match self {
            Self::Number(number) => {
                format!("({number}::bigint >> 32) & 4294967295, {number}::bigint & 4294967295")
            }
            Self::Pair(first, second) => format!("{first}::oid::bigint, {second}::oid::bigint"),
        }
    }
}

/// The session that holds a lock of this database: its pid, its name, its beginning, and whether it comes from where we do.
async fn session_with(client: &Client, key: LockKey, object: &str) -> Option<Row> {
    let statement = format!(
        "SELECT a.pid, a.application_name, {}, \
         a.client_addr IS NOT DISTINCT FROM inet_client_addr() \
         FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a USING (pid) \
         WHERE l.locktype = 'advisory' AND l.granted AND a.pid <> pg_backend_pid() \
         AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
         AND (l.classid::bigint, l.objid::bigint) = ({}) AND $1::text IS NOT NULL LIMIT 1",
        utc("a.backend_start"),
        key.halves()
    );
    client
        .query_opt(&statement, &[&object])
        .await
        .ok()
        .flatten()
}

/// Whether the lock holder is a dead process of this machine: the server releases the lock when it notices.
pub(crate) async fn holder_is_dead(client: &Client, key: LockKey, object: &str) -> bool {
    let Some(row) = session_with(client, key, object).await else {
        return false;
    };
    let name: Option<String> = row.get(1);
    let pid = name.as_deref().and_then(cursus_session).map(|(_, pid)| pid);
    // Behind a pooler it may be a process of another machine; then the only harm is a wait.
    row.get(3) && pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

/// The lock holder in words: its process, its subcommand, and since when it is connected. Empty if unknown.
pub(crate) async fn holder(client: &Client, key: LockKey, object: &str) -> String {
    let row = session_with(client, key, object).await;
    row.map_or_else(String::new, |row| {
        let name: Option<String> = row.get(1);
        // The server hides the times of other users' sessions.
        let since = row
            .get::<_, Option<String>>(2)
            .map_or_else(String::new, |since| format!(", since {since}"));
        let who = describe_session(name.as_deref().unwrap_or_default(), row.get(0));
        format!(" ({who}{since})")
    })
}

/// The subcommand and the process of a cursus session.
fn cursus_session(application: &str) -> Option<(&str, i32)> {
    let (name, pid) = application.rsplit_once(" pid=")?;
    let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
    name.starts_with("cursus ").then_some((name, pid))
}

fn describe_session(application: &str, backend: i32) -> String {
    match cursus_session(application) {
        Some((name, pid)) => format!("pid {pid}, `{}`", printable::line(name)),
        None => format!(
            "`{}`, server process {backend}",
            printable::line(application)
        ),
    }
}
