//! A private `PostgreSQL` cluster in a directory: found, created, started, shared, and stopped by its last user.
//! Knows nothing of what the database holds.
//!
//! Each user of a cluster holds a named pipe of it open for writing. Beside the server a small shell, the watcher, reads that
//! pipe: when the kernel has closed the last writer, however it died, the shell reads the end of the file and stops the server. A
//! new user verifies its hold by an errand (remove this file), which only a watcher that still reads can do. The server, each of
//! its children and the programs that create a cluster have a locked file open, so that the lock is free when the last of them
//! has exited.

mod binaries;
mod error;
mod home;
mod reader;

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use error::EmbeddedError;
use error::{PATIENCE, doing, last_line};
use home::Home;

pub(crate) const USER: &str = "cursus";
/// Who may only read, and is no superuser.
pub(crate) const READER: &str = "cursus_read";
/// The database made with every cluster.
pub const DATABASE: &str = "cursus";

/// Serialises the processes that attach or start.
const DOOR: &str = "lock";
/// Locked by the server and its children, and by what makes a cluster, for as long as one of them lives.
const RUNNING: &str = "running";
/// The pipe that every user holds.
const HELD: &str = "held";

/// How the files begin that a watcher is asked to remove.
const ERRAND: &str = "errand.";
const PID_FILE: &str = "data/postmaster.pid";
/// The major version of a cluster; there from its first moment on.
const VERSION_FILE: &str = "data/PG_VERSION";

/// How long a living server may take for its first byte.
const ANSWER: Duration = Duration::from_secs(30);

/// Length and code, as the protocol has them.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Runs in the cluster's directory, its standard output the pipe. `$$` is the shell, then the server. The watcher is orphaned on
/// purpose: the server expects no child that it did not make. It closes its own writing end of the pipe once it reads, so that it
/// never waits for a starter that has died, and signals only the server that it was started with, more than once, because a server
/// that has just begun can miss it.
const SERVER: &str = r#"
umask 077
echo $$ >server || exit 1
( {
    trap '' HUP
    exec <held >/dev/null
    while read -r errand; do rm -f -- "$errand"; done
    for try in 1 2 3 4 5 6 7 8 9 10; do
        read -r pid <server && [ "$pid" = $$ ] && kill -INT $$ || break
        sleep 1
    done
} & )
exec "$@" >postgres.log 2>&1
"#;

/// Runs a program that makes the cluster. It and all that it starts hold the locked file, handed over as standard output: a process
/// that follows a killed one waits for the programs that it left running, before their files are removed.
const MAKER: &str = r#"exec "$@" 3>&1 >/dev/null"#;

/// How a cluster is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether a commit is flushed to disk. `false` is for tests: a killed server keeps its data, a power cut may not.
    pub fsync: bool,
}

/// A hold on a running cluster. The server stops when the last hold of any process is dropped.
///
/// A connection should not outlive its hold. If the server was killed, open the cluster again.
#[derive(Debug)]
pub struct Cluster {
    socket_dir: PathBuf,
    bin_dir: PathBuf,
    _held: File,
}

impl Cluster {
    /// Attaches to the cluster of a directory, and makes and starts it first where needed.
    pub async fn open(dir: &Path, options: &Options) -> Result<Self, EmbeddedError> {
        let (dir, options) = (dir.to_path_buf(), *options);
        match tokio::task::spawn_blocking(move || open(&dir, options)).await {
            Ok(opened) => opened,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    pub(crate) fn exists(dir: &Path) -> bool {
        fs::symlink_metadata(dir.join(VERSION_FILE)).is_ok()
    }

    /// Whether the cluster of a directory has its socket there, not in a directory for temporary files.
    pub(crate) fn has_own_socket(dir: &Path) -> bool {
        home::is_fit_for_socket(dir)
    }

    /// The directory of the programs that would make a cluster.
    pub(crate) fn programs() -> Result<PathBuf, EmbeddedError> {
        binaries::find(None)
    }

    /// How to connect to one of its databases; the one made with it is [`DATABASE`].
    pub fn config(&self, database: &str) -> tokio_postgres::Config {
        self.config_as(USER, database)
    }

    pub(crate) fn config_as(&self, user: &str, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(&self.socket_dir)
            .port(5432)
            .user(user)
            .dbname(database);
        config
    }

    /// How a person connects while a command keeps the server running.
    pub(crate) fn describe(&self) -> String {
        format!(
            "psql 'host={} user={USER} dbname={DATABASE}'",
            self.socket_dir.display()
        )
    }

    /// The directory of the server's socket.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The directory of the server's programs, `psql` often among them.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }
}

fn open(dir: &Path, options: Options) -> Result<Cluster, EmbeddedError> {
    let home = Home::prepare(dir)?;
    let until = Instant::now() + PATIENCE;
    let door = home.lock_file(DOOR)?;
    lock(
        &home,
        &door,
        until,
        "another process that opens the cluster",
    )?;

    if let Some(held) = attach(&home, until)?
        && let Some(socket_dir) = listening(&home, None)?
    {
        home.check_shared(&socket_dir)?;
        return Ok(Cluster {
            socket_dir,
            bin_dir: binaries::find_any()?,
            _held: held,
        });
    }
    start(&home, options, until)
}

/// Opens a running server's pipe; `None` if no watcher reads it.
fn attach(home: &Home, until: Instant) -> Result<Option<File>, EmbeddedError> {
    let Some(held) = home.open_pipe(HELD, true)? else {
        return Ok(None);
    };
    Ok(is_watched(home, &held, until)?.then_some(held))
}

/// Whether the watcher knows of our hold: it read our errand after we held the pipe, so it cannot have seen the end.
fn is_watched(home: &Home, mut held: &File, until: Instant) -> Result<bool, EmbeddedError> {
    let errand = format!("{ERRAND}{:016x}", fastrand::u64(..));
    home.create(&errand)?;
    let sent = held.write_all(format!("{errand}\n").as_bytes());
    while sent.is_ok() && home.holds(&errand) {
        if home.open_pipe(HELD, true)?.is_none() {
            break;
        }
        pause(home, until, "the watcher of the server")?;
    }
    Ok(!home.take_away(&errand)?)
}

/// The socket's directory, once the server (that of `pid`, if given) takes connections.
fn listening(home: &Home, pid: Option<u32>) -> Result<Option<PathBuf>, EmbeddedError> {
    let bytes = home.read(PID_FILE)?.unwrap_or_default();
    // The server counts ends of lines when it writes one, also those in the name of its own directory.
    let lines: Vec<&[u8]> = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .collect();
    let line = |index: usize| lines.get(index).copied().unwrap_or_default();
    let is_of = |pid: u32| line(0) == pid.to_string().as_bytes();
    if line(7) != b"ready" || !pid.is_none_or(is_of) {
        return Ok(None);
    }
    let socket_dir = PathBuf::from(OsStr::from_bytes(line(4)));
    Ok(answers(&socket_dir.join(".s.PGSQL.5432"))
        .ok()
        .map(|()| socket_dir))
}

/// A killed server's files remain, and its socket accepts connections until the process is dead: only an answer proves it
/// alive. The shortest request is `SSLRequest`, which writes no line into the server's log.
fn answers(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(&SSL_REQUEST)?;
    stream.read_exact(&mut [0])
}

fn start(home: &Home, options: Options, until: Instant) -> Result<Cluster, EmbeddedError> {
    let running = home.lock_file(RUNNING)?;
    lock(home, &running, until, "the end of the last server")?;

    let bin_dir = if let Some(version) = home.read(VERSION_FILE)? {
        let version = String::from_utf8_lossy(&version);
        binaries::find(version.trim().parse().ok())?
    } else {
        let bin_dir = binaries::find(None)?;
        create(home, &bin_dir, &running, options)?;
        bin_dir
    };
    forget_reused_pid(home)?;
    for errand in home.names(ERRAND) {
        let _ = home.take_away(&errand);
    }

    // With a reader in this process the pipe can be opened before the watcher reads it.
    let reader = home.make_pipe(HELD)?;
    let Some(held) = home.open_pipe(HELD, true)? else {
        return Err(EmbeddedError::Refused {
            path: home.path.join(HELD),
            why: home::REPLACED,
        });
    };
    let mut server = spawn(home, &bin_dir, running, &held, options)?;
    let socket_dir = loop {
        if let Ok(Some(_)) = server.try_wait() {
            return Err(EmbeddedError::Failed {
                program: "postgres",
                path: home.path.clone(),
                reason: last_line(&home.read("postgres.log")?.unwrap_or_default()),
            });
        }
        if let Some(dir) = listening(home, Some(server.id()))? {
            break dir;
        }
        pause(home, until, "the server to start")?;
    };
    // Reaps it, so that no zombie stays if we outlive it.
    let _ = thread::Builder::new().spawn(move || server.wait());
    drop(reader);
    while home.open_pipe(HELD, true)?.is_none() {
        pause(home, until, "the watcher of the server")?;
    }
    Ok(Cluster {
        socket_dir,
        bin_dir,
        _held: held,
    })
}

/// Creates the cluster in a temporary directory and renames it, so that a kill leaves no partial cluster.
fn create(
    home: &Home,
    bin_dir: &Path,
    running: &File,
    options: Options,
) -> Result<(), EmbeddedError> {
    let maker = |program: &str| {
        let mut command = home.command("sh");
        command.args(["-c", MAKER, "cursus-postgres"]);
        command.arg(bin_dir.join(program));
        command
    };
    let aside = "data.new";
    let mut made = Err(EmbeddedError::NoUser);
    // Sorted by code point, letters known; systems without that locale get the plain one.
    for locale in ["C.UTF-8", "C"] {
        home.remove_all(aside)?;
        let mut command = maker("initdb");
        command.args(["-D", "data.new", "-U", USER, "-A", "trust", "-E", "UTF8"]);
        command.args(["--locale", locale, "--no-instructions"]);
        if !options.fsync {
            command.arg("--no-sync");
        }
        made = run(home, "initdb", command, running, "");
        if made.is_ok() {
            break;
        }
    }
    made?;
    let mut command = maker("postgres");
    command.args(["--single", "-D", "data.new", "postgres"]);
    run(
        home,
        "postgres",
        command,
        running,
        &format!("CREATE DATABASE {DATABASE};\n"),
    )?;
    home.rename(aside, "data", options.fsync)
}

fn run(
    home: &Home,
    program: &'static str,
    mut command: std::process::Command,
    running: &File,
    input: &str,
) -> Result<(), EmbeddedError> {
    let failed = |reason: String| EmbeddedError::Failed {
        program,
        path: home.path.clone(),
        reason,
    };
    let running = running
        .try_clone()
        .map_err(|e| doing("hold", &home.path, e))?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(running)
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that no longer reads reports why by its exit status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(last_line(&output.stderr)))
    }
}

fn spawn(
    home: &Home,
    bin_dir: &Path,
    running: File,
    held: &File,
    options: Options,
) -> Result<Child, EmbeddedError> {
    let mut command = home.command("sh");
    command.args(["-c", SERVER, "cursus-postgres"]);
    command.arg(bin_dir.join("postgres"));
    command.args(["-D", "data", "-p", "5432", "-k"]);
    command.arg(home.socket_dir()?);
    let private = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        // Statements and messages carry people's data; the log is for the server's own troubles.
        "log_min_messages=log",
        "log_min_error_statement=panic",
        "log_error_verbosity=terse",
    ];
    let fast = ["fsync=off", "full_page_writes=off"];
    let fast = if options.fsync { &[][..] } else { &fast[..] };
    for setting in private.iter().chain(fast) {
        command.args(["-c", setting]);
    }
    command
        .stdin(running)
        .stdout(held.try_clone().map_err(|e| doing("hold", &home.path, e))?)
        .stderr(Stdio::null())
        // A Ctrl-C is for us, not for a server that others use too.
        .process_group(0)
        .spawn()
        .map_err(|e| doing("start a server in", &home.path, e))
}

/// Removes the server's pid file if its pid now belongs to a program that is no server, which `PostgreSQL` would not dare to.
/// We hold the lock that every process of the old server held, so none of them lives.
fn forget_reused_pid(home: &Home) -> Result<(), EmbeddedError> {
    let text = home.read(PID_FILE)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse::<u32>().ok());
    match pid.map(|pid| fs::read_to_string(format!("/proc/{pid}/comm"))) {
        Some(Ok(program)) if program.trim() != "postgres" => home.remove_data("postmaster.pid"),
        _ => Ok(()),
    }
}

fn lock(home: &Home, file: &File, until: Instant, what: &'static str) -> Result<(), EmbeddedError> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => pause(home, until, what)?,
            Err(TryLockError::Error(e)) => return Err(doing("lock", &home.path, e)),
        }
    }
}

/// One look's distance in the loops that watch files of other processes.
fn pause(home: &Home, until: Instant, what: &'static str) -> Result<(), EmbeddedError> {
    if Instant::now() > until {
        return Err(EmbeddedError::Timeout {
            what,
            path: home.path.clone(),
        });
    }
    thread::sleep(Duration::from_millis(2));
    Ok(())
}

#[cfg(test)]
mod tests;
