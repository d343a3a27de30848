//! A command that runs while a test does something else. Knows no promise.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use super::workdir::PATIENCE;
use super::{Ran, Workdir};

/// A process of the binary.
pub(crate) struct Running {
    command: String,
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(workdir: &Workdir, arguments: &[&str]) -> Self {
        let mut command = workdir.command(arguments);
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        Self {
            command: arguments.join(" "),
            child,
            stderr,
            said: String::new(),
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id().unwrap()).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Whether it has stopped, as by SIGSTOP.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // After the name, which may hold anything.
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    /// Waits until it says this on stderr.
    pub(crate) async fn until_it_says(&mut self, text: &str) {
        let said = async {
            while let Some(line) = self.stderr.next_line().await.unwrap() {
                self.said.extend([line.as_str(), "\n"]);
                if line.contains(text) {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, said).await;
        assert_eq!(found, Ok(true), "it never says {text:?}: {}", self.said);
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Ran {
        let mut stdout = String::new();
        let mut out = self.child.stdout.take().unwrap();
        let reads = async {
            let read = out.read_to_string(&mut stdout);
            let said = async {
                while let Some(line) = self.stderr.next_line().await.unwrap() {
                    self.said.extend([line.as_str(), "\n"]);
                }
            };
            let (read, ()) = tokio::join!(read, said);
            read.unwrap();
            self.child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(PATIENCE, reads).await;
        let status = status.unwrap_or_else(|_| panic!("cursus {} hangs", self.command));
        Ran {
            command: self.command,
            code: status.code(),
            stdout,
            stderr: self.said,
        }
    }
}

/// Looks again and again until this is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !is_so().await {
            tick.tick().await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, looking).await;
    assert!(seen.is_ok(), "never: {what}");
}

/// Waits until this process runs the statement that sleeps.
pub(crate) async fn until_asleep(workdir: &Workdir, running: &Running) {
    let asleep = sessions(running.pid(), "wait_event = 'PgSleep'");
    let look = async || workdir.number(&asleep).await == 1;
    until("the server sleeps for it", look).await;
}

/// A query for the number of sessions of a process.
pub(crate) fn sessions(pid: i32, condition: &str) -> String {
    format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name LIKE '% pid={pid}' AND {condition}"
    )
}

/// How many rows of a table and its partitions were ever read. Waits until every other session has ended and `condition` holds, over
/// the counts `read` and `written`: before PostgreSQL 15 counts arrive late.
pub(crate) async fn rows_read(workdir: &Workdir, table: &str, condition: &str) -> i64 {
    let counts = format!(
        "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint AS read, \
         coalesce(sum(n_tup_ins + n_tup_upd), 0)::bigint AS written FROM pg_stat_user_tables \
         WHERE relid IN (SELECT relid FROM pg_partition_tree('{table}') UNION SELECT '{table}'::regclass)"
    );
    let all = format!(
        "SELECT count(*) FROM ({counts}) AS counts WHERE {condition} AND NOT EXISTS \
         (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid())"
    );
    until("the server has counted", async || {
        workdir.number(&all).await == 1
    })
    .await;
    workdir
        .number(&format!("SELECT read FROM ({counts}) AS counts"))
        .await
}
