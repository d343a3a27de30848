//! Files that hold people's data: private from their creation on, durable before they are named.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StagingError;
use crate::failpoint::FilePoints;

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StagingError {
    let path = path.to_owned();
    move |source| StagingError::Io {
        doing,
        path,
        source,
    }
}

/// Makes a directory and its parents, for the owner only.
pub(super) fn create_dirs(path: &Path) -> Result<(), StagingError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io("create", path))
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
        .open(path)
        .map_err(io("open", path))
}

/// Opens a private file for appending.
pub(super) fn open_append(path: &Path) -> Result<File, StagingError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(io("open", path))
}

/// Replaces what a file holds, in place.
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

/// Writes `path` so that it is there whole or not at all, also after a power cut.
pub(super) fn write_atomic(
    path: &Path,
    points: &FilePoints,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), StagingError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io("write", path)(std::io::ErrorKind::InvalidInput.into()));
    };
    let temporary = aside(folder, name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io("write", &temporary))?;
    // On a full disk the half that was written would be in the way.
    let given_up = |doing, path: &Path, error| {
        let _ = std::fs::remove_file(&temporary);
        io(doing, path)(error)
    };
    (points.write.io())
        .and_then(|()| write(&mut file))
        .and_then(|()| points.sync.io())
        .and_then(|()| file.sync_all())
        .map_err(|error| given_up("write", &temporary, error))?;
    (points.rename.io())
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|error| given_up("rename to", path, error))?;
    points.named.io().map_err(io("sync", folder))?;
    sync_dir(folder)?;
    points.done.reach();
    Ok(())
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), StagingError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(io("sync", path))
}

/// Reads a whole small file; `None` if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StagingError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("read", path)(error)),
    }
}

/// Reads a JSON file; `None` if it is not there.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    advice: &'static str,
) -> Result<Option<T>, StagingError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
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

/// Writes a JSON file atomically, readable for people.
pub(super) fn write_json(
    path: &Path,
    points: &FilePoints,
    value: &impl serde::Serialize,
) -> Result<(), StagingError> {
    write_atomic(path, points, |file| {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        file.write_all(&text)
    })
}

pub(super) fn io_error(doing: &'static str, path: &Path, source: std::io::Error) -> StagingError {
    io(doing, path)(source)
}
