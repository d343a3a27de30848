//! Files that hold people's data: private from their creation on, and durable before they are named. Those of a temporary staging
//! directory are not made durable.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Take, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

use super::error::StagingError;
use super::manifest::FORMAT;
use crate::failpoint::FilePoints;
use crate::hash::hex;
use crate::trusted;

pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StagingError {
    let path = path.to_owned();
    move |source| StagingError::Io {
        doing,
        path,
        source,
    }
}

const RESTORE: &str =
    "put the file back, or move this run's directory out of the staging directory";
/// Bytes of the largest file that is read into memory, and of a page before gzip.
pub(super) const LARGEST: u64 = 256 << 20;

/// Held by the process that writes runs.
pub(super) const LOCK: &str = ".lock";
/// Held by the process that writes to the object store.
pub(super) const STORE_LOCK: &str = ".store.lock";
/// The first bytes of the lock file.
pub(super) const LOCK_START: &[u8; 4] = b"pid ";

/// A link points out of the tree, to files that were not checked.
const IS_LINK: &str = "it is a symbolic link, and staged files are none";
const NO_LINKS: &str = "replace it by its target; only the staging directory itself may be a link";

fn link(path: &Path) -> StagingError {
    StagingError::broken(path, IS_LINK, NO_LINKS)
}

/// Refuses a link, also a dangling one. A missing file is no link.
pub(super) fn refuse_link(path: &Path) -> Result<(), StagingError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_symlink() => Err(link(path)),
        _ => Ok(()),
    }
}

/// The error of an open that refuses links and files of other users.
fn opened(doing: &'static str, path: &Path, error: std::io::Error) -> StagingError {
    if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) {
        return link(path);
    }
    let of_another = (error.kind() == std::io::ErrorKind::PermissionDenied)
        .then(|| trusted::fault_of_owner(path))
        .flatten();
    of_another.map_or_else(|| io(doing, path)(error), StagingError::from)
}

/// Opens a file for reading; `None` if it is not there. Only a file is read: a pipe could make us wait for ever.
pub(super) fn open(path: &Path) -> Result<Option<File>, StagingError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(opened("read", path, error)),
    };
    only_file(file, path).map(Some)
}

/// Refuses a pipe, a device or a directory in the place of a file, and a file that another user has made.
fn only_file(file: File, path: &Path) -> Result<File, StagingError> {
    let there = file.metadata().map_err(io("read", path))?;
    if there.is_file() {
        trusted::check_owner(&there, path)?;
        return Ok(file);
    }
    let is_lock = path.file_name().is_some_and(|name| name == LOCK);
    Err(StagingError::broken(
        path,
        "it is no file",
        if is_lock {
            "remove it; cursus makes a new one"
        } else {
            RESTORE
        },
    ))
}

/// Makes a directory and its parents, durably, for the owner only.
pub(super) fn create_dirs(path: &Path) -> Result<(), StagingError> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io("create", path))?;
    for made in missing {
        match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent)?,
            _ => sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}

/// Makes one directory that must not exist; `false` if it does.
pub(super) fn create_dir_exclusive(path: &Path) -> Result<bool, StagingError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io("create", path)(error)),
    }
}

/// Opens a private file for reading and writing, making it if needed.
pub(super) fn open_private(path: &Path) -> Result<File, StagingError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
        .map_err(|error| opened("open", path, error))
        .and_then(|file| only_file(file, path))
        .and_then(|file| no_other_files_name(file, path))
}

/// Refuses a file that has other names, unless it holds what a lock file does: what is written to it would stand under
/// those too. A backup of hard links gives the lock file another name.
fn no_other_files_name(file: File, path: &Path) -> Result<File, StagingError> {
    let metadata = file.metadata().map_err(io("read", path))?;
    let mut start = [0; LOCK_START.len()];
    if metadata.nlink() > 1 && metadata.len() > 0 {
        file.read_at(&mut start, 0).map_err(io("read", path))?;
    }
    if metadata.nlink() <= 1 || metadata.len() == 0 || start == *LOCK_START {
        return Ok(file);
    }
    Err(StagingError::broken(
        path,
        "it is a hard link to a file that has another name, too",
        "remove it; cursus makes a new one",
    ))
}

pub(super) fn open_append(path: &Path) -> Result<File, StagingError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
        .map_err(|error| opened("open", path, error))
        .and_then(|file| only_file(file, path))
}

pub(super) fn replace_content(
    file: &mut File,
    path: &Path,
    content: &str,
) -> Result<(), StagingError> {
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(content.as_bytes()))
        .map_err(io("write", path))
}

/// Where a file of a folder is written before it has its name.
pub(super) fn aside(folder: &Path, name: impl AsRef<std::ffi::OsStr>) -> PathBuf {
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(".tmp");
    folder.join(aside)
}

/// Writes `path` completely or not at all, also across a power cut.
pub(super) fn write_atomic(
    path: &Path,
    points: &FilePoints,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), StagingError> {
    let write = |file: &mut File| {
        (points.write.io())
            .and_then(|()| write(file))
            .and_then(|()| points.sync.io())
            .and_then(|()| file.sync_all())
    };
    write_renamed(path, write, || points.rename.io())?;
    let folder = path.parent().unwrap_or(Path::new("."));
    points.named.io().map_err(io("sync", folder))?;
    sync_dir(folder)?;
    points.done.reach();
    Ok(())
}

/// Makes the folders of `path` and writes it completely or not at all, without a sync: a power cut may lose it.
pub(super) fn write_without_sync(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), StagingError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    (DirBuilder::new().recursive(true).mode(0o700).create(folder)).map_err(io("create", folder))?;
    write_renamed(path, write, || Ok(()))
}

/// Writes a file beside `path`, then renames it to `path`.
fn write_renamed(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
    before_rename: impl FnOnce() -> std::io::Result<()>,
) -> Result<(), StagingError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io("write", path)(std::io::ErrorKind::InvalidInput.into()));
    };
    let temporary = aside(folder, name);
    // Left by a process that died, or planted: only a file that this process created is written to.
    let _ = std::fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io("write", &temporary))?;
    // A partial file would take space on a full disk.
    let cleaned_up = |doing, path: &Path, error| {
        let _ = std::fs::remove_file(&temporary);
        io(doing, path)(error)
    };
    write(&mut file).map_err(|error| cleaned_up("write", &temporary, error))?;
    before_rename()
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|error| cleaned_up("rename to", path, error))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), StagingError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(io("sync", path))
}

/// Opens a file that is read into memory; `None` if it is not there. A file larger than any that cursus writes is refused
/// before memory is allocated for it.
pub(super) fn open_bounded(path: &Path) -> Result<Option<Take<File>>, StagingError> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    if file.metadata().map_err(io("read", path))?.len() > LARGEST {
        return Err(StagingError::broken(
            path,
            "it is larger than anything that cursus writes there",
            RESTORE,
        ));
    }
    // It may grow meanwhile.
    Ok(Some(file.take(LARGEST)))
}

/// Reads a small file; `None` if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StagingError> {
    let Some(mut file) = open_bounded(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io("read", path))?;
    Ok(Some(bytes))
}

/// The members that every JSON file has.
#[derive(serde::Deserialize)]
struct Header {
    format: u32,
    /// SHA-256 of what stands before this last member, in hex; absent in files of earlier versions.
    sha256: Option<String>,
}

/// The end of a JSON file, by which a flipped bit in it is found.
fn seal(text: &[u8]) -> String {
    format!(",\n  \"sha256\": \"{}\"\n}}\n", hex(&Sha256::digest(text)))
}

/// Whether a file ends in the digest of what stands before.
fn is_sealed(bytes: &[u8]) -> bool {
    let length = seal(&[]).len();
    (bytes.len().checked_sub(length))
        .is_some_and(|at| seal(&bytes[..at]).as_bytes() == &bytes[at..])
}

/// Reads a JSON file; `None` if it is not there.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    advice: &'static str,
) -> Result<Option<T>, StagingError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    if let Ok(Header { format, sha256 }) = serde_json::from_slice(&bytes) {
        if format != FORMAT {
            return Err(StagingError::broken(
                path,
                format!("its format is {format}, and this cursus knows only {FORMAT}"),
                "use the version that wrote it, or a newer one",
            ));
        }
        if sha256.is_some() && !is_sealed(&bytes) {
            return Err(StagingError::broken(
                path,
                "it was changed after it was written (its checksum differs)",
                advice,
            ));
        }
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| StagingError::Broken {
            path: path.to_owned(),
            // Line and column only: the message of a JSON error can quote what it met.
            problem: format!(
                "not what cursus writes there (line {}, column {})",
                error.line(),
                error.column()
            ),
            advice,
        })
}

/// Writes a JSON file atomically, readable for people, with its digest at its end.
pub(super) fn write_json(
    path: &Path,
    points: &FilePoints,
    value: &impl serde::Serialize,
) -> Result<(), StagingError> {
    write_atomic(path, points, |file| {
        let mut text = serde_json::to_vec_pretty(value)?;
        // An object that is not empty: its last member has no comma yet.
        text.truncate(text.trim_ascii_end().len().saturating_sub("\n}".len()));
        let seal = seal(&text);
        text.extend(seal.into_bytes());
        file.write_all(&text)
    })
}

pub(super) fn io_error(doing: &'static str, path: &Path, source: std::io::Error) -> StagingError {
    io(doing, path)(source)
}
