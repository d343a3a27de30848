//! A command on a pseudo-terminal. Knows no promise.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, ttyname};
use tokio::process::Child;

use super::Workdir;
use super::running::until;
use super::workdir::PATIENCE;

/// A process of the binary, and all that it has written to its terminal.
pub(crate) struct Terminal {
    child: Child,
    path: PathBuf,
    shown: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts it on a terminal of `columns` columns.
    pub(crate) fn start(workdir: &Workdir, columns: u16, arguments: &[&str]) -> Self {
        let size = Winsize {
            ws_row: 40,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).unwrap();
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let path = ttyname(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = workdir.command(arguments);
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        drop(command);
        drop(pty.slave);
        let (shown, reader) = record(File::from(pty.master));
        Self {
            child,
            path,
            shown,
            reader,
        }
    }

    /// Everything so far.
    pub(crate) fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until it shows this behind the first `from` bytes.
    pub(crate) async fn until_it_shows(&self, from: usize, text: &str) {
        let look = async || self.shown()[from..].contains(text);
        until(&format!("{text:?} on the terminal"), look).await;
    }

    /// Gives the terminal another width.
    pub(crate) fn resize(&self, columns: u16) {
        let ran = Command::new("stty")
            .arg("-F")
            .arg(&self.path)
            .args(["cols", &columns.to_string()])
            .status();
        assert!(ran.unwrap().success());
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    }

    /// Waits for its end: its exit code, and everything that it has shown.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let code = ended.expect("it hangs").unwrap().code();
        self.reader.join().unwrap();
        let shown = self.shown.lock().unwrap().clone();
        (code, shown)
    }
}

/// Reads what a terminal shows, in a thread that ends when no process has the terminal open any more.
pub(super) fn record(mut master: File) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let shown = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&shown);
    let reader = std::thread::spawn(move || {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        // It fails when nobody has the other end any more.
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
            *all.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
        }
    });
    (shown, reader)
}

/// What is left on a terminal at the end: without what was erased. The lines were narrow enough for it.
pub(crate) fn left(shown: &str) -> String {
    let mut lines = vec![String::new()];
    let mut rest = shown;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => lines.push(String::new()),
            '\r' => {}
            '\x1b' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match &rest[..=end] {
                    "[J" => drop(lines.pop()),
                    up if up.ends_with('A') => {
                        let up: usize = up[1..end].parse().unwrap();
                        lines.truncate(lines.len() - up);
                        lines.last_mut().unwrap().clear();
                    }
                    _ => {}
                }
                if rest.starts_with("[J") {
                    lines.push(String::new());
                }
                rest = &rest[end + 1..];
            }
            c => lines.last_mut().unwrap().push(c),
        }
    }
    lines.join("\n")
}
