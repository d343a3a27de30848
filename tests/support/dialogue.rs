//! A command at a pseudo-terminal, typed to by a test. Knows no promise.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use tokio::process::Child;

use super::running::until;
use super::terminal::record;
use super::workdir::PATIENCE;
use super::{Ran, Workdir};

/// A process of the binary, whose stdin, stdout and stderr are one terminal.
pub(crate) struct Dialogue {
    command: String,
    child: Child,
    master: File,
    shown: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    /// How much of it was waited for.
    seen: usize,
}

impl Dialogue {
    /// Starts it as the leader of a session with this terminal.
    pub(crate) fn start(workdir: &Workdir, arguments: &[&str]) -> Self {
        let terminal = openpty(None, None).unwrap();
        for end in [&terminal.master, &terminal.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let end = || Stdio::from(terminal.slave.try_clone().unwrap());
        let mut command = workdir.command_by("setsid", &[&["--ctty"], arguments].concat());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let master = File::from(terminal.master);
        let (shown, reader) = record(master.try_clone().unwrap());
        Self {
            command: arguments.join(" "),
            child,
            master,
            shown,
            reader,
            seen: 0,
        }
    }

    /// Everything that it has shown.
    pub(crate) fn shown(&self) -> String {
        self.shown.lock().unwrap().replace('\r', "")
    }

    /// Waits until it shows this, after what was waited for before.
    pub(crate) async fn until_it_shows(&mut self, text: &str) {
        let what = format!("`{}` shows {text:?}", self.command);
        let (shown, seen) = (Arc::clone(&self.shown), self.seen);
        let find = || shown.lock().unwrap().replace('\r', "")[seen..].find(text);
        let looking = tokio::time::timeout(PATIENCE / 6, until(&what, async || find().is_some()));
        assert!(looking.await.is_ok(), "never: {what}: {}", self.shown());
        self.seen = seen + find().unwrap() + text.len();
    }

    /// Types something, as a person would after the prompt.
    pub(crate) async fn answer(&mut self, prompt: &str, text: &str) {
        self.until_it_shows(prompt).await;
        self.master.write_all(text.as_bytes()).unwrap();
        self.master.write_all(b"\n").unwrap();
    }

    /// Types bytes at once.
    pub(crate) fn press(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }

    /// Whether the terminal shows what is typed.
    pub(crate) fn echoes(&self) -> bool {
        Self::echoes_at(&self.master)
    }

    /// The same of a terminal whose process may have ended.
    pub(crate) fn echoes_at(master: &File) -> bool {
        let flags = tcgetattr(master).unwrap().local_flags;
        flags.contains(LocalFlags::ECHO)
    }

    /// The test's side of the terminal, for what comes after the end.
    pub(crate) fn copy_of_master(&self) -> File {
        self.master.try_clone().unwrap()
    }

    /// Waits for its end; stdout is all that was shown.
    pub(crate) async fn end(mut self) -> Ran {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("`{}` hangs: {}", self.command, self.shown()));
        let code = ended.unwrap().code();
        self.reader.join().unwrap();
        let stdout = self.shown.lock().unwrap().replace('\r', "");
        Ran {
            command: self.command,
            code,
            stdout,
            stderr: String::new(),
        }
    }
}
