//! Notifies a service manager over `NOTIFY_SOCKET` (systemd's protocol: a datagram of `NAME=value` lines). Knows nothing of what
//! the service does.
//!
//! The crates for it send to no abstract socket, or call the C library of systemd.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::error_chain::chain;
use crate::mutex::locked;
use crate::printable;

/// How long to wait for a manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest status, in characters: one line for a person.
const LONGEST_STATUS: usize = 400;

/// The manager of this service, if there is one. It is notified of the end when this is dropped.
pub(super) struct Manager {
    socket: Option<OsString>,
    /// The longest time between two liveness notifications.
    watchdog: Option<Duration>,
    status: Mutex<String>,
}

impl Manager {
    pub(super) fn of_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        // Another process of the service may be the one that is watched.
        let is_watched = variable("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        Self {
            socket: variable("NOTIFY_SOCKET"),
            watchdog: number("WATCHDOG_USEC")
                .filter(|usec| is_watched && *usec > 0)
                .map(Duration::from_micros),
            status: Mutex::default(),
        }
    }

    pub(super) async fn ready(&self) {
        self.notify("READY=1").await;
    }

    pub(super) async fn status(&self, status: &str) {
        status.clone_into(&mut locked(&self.status));
        self.notify(&status_line(status)).await;
    }

    /// The configuration is about to be read again.
    pub(super) async fn reloading(&self) {
        // Managers compare it with the time of their request.
        let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
            return;
        };
        let usec = Duration::from(now).as_micros();
        self.notify(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"))
            .await;
    }

    /// It was read again, with this result; the service does what it did before.
    pub(super) async fn reloaded(&self, result: &str) {
        let status = {
            let before = locked(&self.status);
            status_line(&format!("{before}; {result}"))
        };
        self.notify(&format!("READY=1\n{status}")).await;
    }

    /// Sends liveness notifications for as long as the task that awaits this is polled and tasks beside it get their turn, twice as often as
    /// the manager wants them.
    pub(super) async fn stay_alive(&self) -> Infallible {
        let Some(watchdog) = self.watchdog.filter(|_| self.socket.is_some()) else {
            return std::future::pending().await;
        };
        let mut ticks = interval((watchdog / 2).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let _ = tokio::spawn(std::future::ready(())).await;
            self.notify("WATCHDOG=1").await;
        }
    }

    /// A manager that was stopped, or does not read, is no failure of the service.
    async fn notify(&self, message: &str) {
        let Some(name) = &self.socket else { return };
        let sent = tokio::time::timeout(PATIENCE, async {
            let socket = connect(name)?;
            match socket.send(message.as_bytes()) {
                // Its queue is full.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let socket = tokio::net::UnixDatagram::from_std(socket)?;
                    socket.send(message.as_bytes()).await
                }
                sent => sent,
            }
        });
        let sent = sent
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if let Err(error) = sent {
            debug!("the service manager was not notified: {}", chain(&error));
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(name) = &self.socket {
            let _ = connect(name).and_then(|socket| socket.send(b"STOPPING=1"));
        }
    }
}

/// A new socket for each message: a manager that was restarted has another socket of the same name.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address(name)?)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A path, or `@name` for a name without a file.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "NOTIFY_SOCKET is neither a path nor an abstract name",
        )),
    }
}

fn status_line(status: &str) -> String {
    let line = printable::line(status);
    let line: String = line.chars().take(LONGEST_STATUS).collect();
    format!("STATUS={line}")
}
