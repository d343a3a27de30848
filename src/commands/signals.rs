//! SIGINT and SIGTERM, on a thread of their own: whatever the rest of the program is busy with, it ends in time. That thread
//! writes nothing, because who reads stderr may have stopped reading.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::Exit;

/// How long what is under way may take to come to a safe point.
const PATIENCE: Duration = Duration::from_secs(2);

/// What takes longer is told.
const MOMENT: Duration = Duration::from_millis(500);

/// For the last words, if somebody reads them.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Says it on a thread of its own; the receiver knows when that is done.
fn say(sentence: String) -> mpsc::Receiver<()> {
    let (done, is_done) = mpsc::channel();
    let saying = move || {
        super::eprint_line(&sentence);
        let _ = done.send(());
    };
    // Without a thread it stays unsaid; the end comes all the same.
    let _ = thread::Builder::new().spawn(saying);
    is_done
}

async fn out_of_patience() {
    tokio::time::sleep(MOMENT).await;
    say("stopping at the next safe point; a second signal ends it at once".to_owned());
    tokio::time::sleep(PATIENCE.saturating_sub(MOMENT)).await;
}

/// Watches for signals; the first one is told. A second one, or patience that comes to its end, ends the process at
/// once: as a kill would, which loses nothing durable. In psql Ctrl-C belongs to psql.
pub(super) fn watch(in_psql: bool) -> io::Result<oneshot::Receiver<Exit>> {
    let (tell, told) = oneshot::channel();
    let (ready, is_ready) = mpsc::channel();
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
            let signals = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            );
            let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
                let _ = ready.send(Err(io::Error::other("signals cannot be watched")));
                return;
            };
            let _ = ready.send(Ok(()));
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv(), if !in_psql => Exit::Interrupted,
                    _ = terminate.recv() => Exit::Terminated,
                }
            };
            let first = next().await;
            let _ = tell.send(first);
            let why = tokio::select! {
                _ = next() => "a second signal came",
                () = out_of_patience() => "what was under way did not come to a safe point in 2 s",
            };
            let said = say(format!(
                "error: ended at once, because {why}; what is staged and committed is kept"
            ));
            let _ = said.recv_timeout(LAST_WORDS);
            #[expect(clippy::exit, reason = "the point of it: nothing else is waited for")]
            std::process::exit(first.code().into());
        });
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watching)?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok(told)
}
