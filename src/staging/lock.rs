//! The lock of a staging directory: one process writes runs, others look.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::sync::watch;

use super::error::StagingError;
use super::private_files;
use crate::clock;
use crate::failpoint::Point;
use crate::printable;

/// A check whether a run is being written holds the lock for a moment: acquiring it is retried this many times, after this delay.
const ATTEMPTS: u32 = 10;
const RETRY_DELAY: Duration = Duration::from_millis(5);

/// Held while a run is written; released when this and every share of it are dropped, or when the process dies.
#[derive(Debug)]
pub struct StagingLock {
    locked: Arc<Locks>,
    shares: watch::Sender<()>,
}

/// A share of the lock, for work that can outlive its caller, such as a page write on a thread of its own.
#[derive(Debug)]
pub struct LockShare {
    _locked: Arc<Locks>,
    _share: watch::Receiver<()>,
}

impl StagingLock {
    /// One more share: the lock is held until it is dropped, too.
    pub fn share(&self) -> LockShare {
        LockShare {
            _locked: Arc::clone(&self.locked),
            _share: self.shares.subscribe(),
        }
    }

    pub(crate) async fn wait_for_shares(&self) {
        self.shares.closed().await;
    }
}

/// Held while the object store of a staging directory is written to; released when it is dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: File,
}

/// The directory itself, so that it cannot be removed under a run, and the file in it that names the holder.
#[derive(Debug)]
struct Locks {
    _directory: File,
    _file: File,
}

/// The lock holder, as the lock file names it. The name is written a moment after the lock is acquired: the name of a dead
/// process is read again.
fn lock_holder(path: &Path) -> String {
    let read = || {
        let bytes = private_files::read(path).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let is_of_dead_process = |text: &str| {
        let pid = text
            .strip_prefix("pid ")
            .and_then(|rest| rest.split_once(','));
        let pid = pid.and_then(|(pid, _)| pid.parse().ok());
        pid.is_none_or(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
    };
    let mut text = read();
    for _ in 0..ATTEMPTS {
        if !is_of_dead_process(&text) {
            break;
        }
        std::thread::sleep(RETRY_DELAY);
        text = read();
    }
    match text.trim() {
        "" => "its name is unknown".to_owned(),
        text => printable::line(text).into_owned(),
    }
}

/// Acquires the right to write runs, in the name of `holder` (a subcommand).
pub(super) fn lock(root: &Path, holder: &str) -> Result<StagingLock, StagingError> {
    private_files::create_dirs(root)?;
    let directory = open_root(root)?;
    let file = take(root, private_files::LOCK, Some(&directory), holder)?;
    Point::LockTaken.reach();
    Ok(StagingLock {
        locked: Arc::new(Locks {
            _directory: directory,
            _file: file,
        }),
        shares: watch::Sender::default(),
    })
}

/// Acquires the right to write to the object store of the directory, in the name of `holder`: not that to write runs, which others may
/// have meanwhile.
pub(super) fn lock_store(root: &Path, holder: &str) -> Result<StoreLock, StagingError> {
    let file = take(root, private_files::STORE_LOCK, None, holder)?;
    Ok(StoreLock { _file: file })
}

/// Locks a file in the directory, and the directory itself if it is given, and writes the name of the holder into the file.
fn take(
    root: &Path,
    name: &str,
    directory: Option<&File>,
    holder: &str,
) -> Result<File, StagingError> {
    let path = root.join(name);
    let mut file = private_files::open_private(&path)?;
    let try_lock = |file: &File| {
        // Where a directory cannot be locked (a network file system), the file is what keeps others out.
        match directory.map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => Err(TryLockError::WouldBlock),
            _ => file.try_lock(),
        }
    };
    let mut taken = try_lock(&file);
    for _ in 0..ATTEMPTS {
        if !matches!(taken, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(RETRY_DELAY);
        taken = try_lock(&file);
    }
    match taken {
        Ok(()) => {
            let (pid, since) = (std::process::id(), clock::now());
            let text = format!("pid {pid}, `cursus {holder}`, since {since:.0}\n");
            private_files::replace_content(&mut file, &path, &text)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(StagingError::Locked {
            holder: lock_holder(&path),
            path: root.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(StagingError::Io {
            doing: "lock",
            path,
            source,
        }),
    }
}

fn open_root(root: &Path) -> Result<File, StagingError> {
    let folder = File::options()
        .read(true)
        .custom_flags(OFlag::O_DIRECTORY.bits())
        .open(root);
    folder.map_err(private_files::io("open", root))
}

/// Keeps writers out while the result lives, which must be short: writers retry only for a moment. `None` if there is a
/// writer.
pub(super) fn keep_writers_out(root: &Path) -> Result<Option<Vec<File>>, StagingError> {
    if !root.exists() {
        return Ok(Some(Vec::new()));
    }
    let mut held = vec![open_root(root)?];
    held.extend(private_files::open(&root.join(private_files::LOCK))?);
    let is_held = |file: &File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    Ok(if held.iter().any(is_held) {
        None
    } else {
        Some(held)
    })
}
