//! SIGINT, SIGTERM and SIGHUP, on a thread of their own: whatever the rest of the program is busy with, it ends in time. That
//! thread writes nothing, because who reads stderr may have stopped reading.

use std::io::{self, IsTerminal};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};

use crate::exit::Exit;

/// How long what is under way may take to come to a safe point.
const PATIENCE: Duration = Duration::from_secs(2);

/// After this time the wait is announced.
const ANNOUNCED_AFTER: Duration = Duration::from_millis(500);

/// Time to print the last line.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Prints on a thread of its own; the receiver gets a message when that is done.
fn print_from_thread(sentence: String) -> mpsc::Receiver<()> {
    let (done, is_done) = mpsc::channel();
    let print = move || {
        super::note(&sentence);
        let _ = done.send(());
    };
    // Without a thread it is not printed, and the process still exits.
    let _ = thread::Builder::new().spawn(print);
    is_done
}

async fn patience_ends() {
    tokio::time::sleep(ANNOUNCED_AFTER).await;
    print_from_thread(
        "stopping at the next safe point; a second signal stops it at once".to_owned(),
    );
    tokio::time::sleep(PATIENCE.saturating_sub(ANNOUNCED_AFTER)).await;
}

pub(super) struct Signals {
    pub(super) end: oneshot::Receiver<Exit>,
    /// Notified of each SIGHUP that asks for a reload of the configuration.
    pub(super) reloads: Arc<Notify>,
}

/// Who listens to signals, besides the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// A command without use for signals.
    Plain,
    /// psql, to which Ctrl-C belongs.
    Psql,
    /// A service: SIGHUP reloads its configuration, unless its terminal was closed.
    Service,
}

/// Watches for signals; the first one ends the command at a safe point. A second one, or the end of [`PATIENCE`], ends the process
/// at once, as a kill would, which loses nothing durable. SIGHUP is neither the second one nor what makes another one the
/// second: a terminal that closes sends it twice, and a service manager may send it along with SIGTERM.
pub(super) fn watch(listener: Listener) -> io::Result<Signals> {
    let (first_exit, end) = oneshot::channel();
    let (ready, is_ready) = mpsc::channel();
    let reloads = Arc::new(Notify::new());
    let asks = Arc::clone(&reloads);
    // Under `nohup` it stays as it is: catching it would undo what was asked for.
    let hears_hangup = !is_ignored_at_start(SignalKind::hangup());
    let began_on_terminal = is_on_terminal();
    let watching = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        runtime.block_on(async {
            let hangup = hears_hangup.then(|| signal(SignalKind::hangup()));
            let signals = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
                hangup.transpose(),
            );
            let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = signals else {
                let _ = ready.send(Err(io::Error::other("signals cannot be watched")));
                return;
            };
            let _ = ready.send(Ok(()));
            let mut stop = async || {
                tokio::select! {
                    _ = interrupt.recv(), if listener != Listener::Psql => Exit::Interrupted,
                    _ = terminate.recv() => Exit::Terminated,
                }
            };
            let hung_up = async {
                let Some(hangup) = &mut hangup else {
                    return std::future::pending().await;
                };
                loop {
                    hangup.recv().await;
                    // A closed terminal is no terminal any more.
                    let is_closed = began_on_terminal && !is_on_terminal();
                    if listener != Listener::Service || is_closed {
                        return Exit::HungUp;
                    }
                    asks.notify_one();
                }
            };
            let first = tokio::select! {
                biased;
                exit = stop() => exit,
                exit = hung_up => exit,
            };
            let _ = first_exit.send(first);
            let impatience = async {
                // It may have come before the signal that it was sent along with.
                if first == Exit::HungUp {
                    stop().await;
                }
                stop().await
            };
            let why = tokio::select! {
                _ = impatience => "a second signal was received",
                () = patience_ends() => "no safe point was reached within 2 s",
            };
            let printed = print_from_thread(format!(
                "error: stopped at once, because {why}; what is staged and committed is kept"
            ));
            let _ = printed.recv_timeout(LAST_WORDS);
            #[expect(clippy::exit, reason = "the point of it: nothing else is waited for")]
            std::process::exit(first.code().into());
        });
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watching)?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok(Signals { end, reloads })
}

/// Whether the process was started with the signal ignored. Without `/proc` it counts as not ignored.
fn is_ignored_at_start(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    ignored & (1 << (kind.as_raw_value() - 1)) != 0
}

fn is_on_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}
