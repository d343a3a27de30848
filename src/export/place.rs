//! Where a bundle is made: aside, in a directory of its own that only its owner can read, until it gets its name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::exit::{Exit, Failure};
use crate::failpoint::Point;

/// A directory beside the place of a bundle. It is removed with all that is in it, unless it is published.
pub(super) struct Aside {
    folder: TempDir,
    /// Locked as long as somebody writes there.
    _lock: File,
    target: PathBuf,
}

impl Aside {
    /// Makes it, and removes what exports of this name that were killed have left.
    pub(super) fn make(target: &Path) -> Result<Self, Failure> {
        refuse_taken(target)?;
        let (parent, name) = parts(target)?;
        let prefix = format!(".{name}.part-");
        let failed = |error| failure("make a directory in", parent, &error);
        remove_abandoned(parent, &prefix).map_err(failed)?;
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(failed)?;
        let lock = File::open(folder.path()).map_err(failed)?;
        lock.try_lock()
            .map_err(|error| failed(io::Error::from(error)))?;
        Ok(Self {
            folder,
            _lock: lock,
            target: target.to_owned(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the directory its name, once all that is in it is on the disk.
    pub(super) fn publish(self) -> Result<(), Failure> {
        refuse_taken(&self.target)?;
        let (parent, _) = parts(&self.target)?;
        let named = || -> io::Result<()> {
            sync(self.folder.path())?;
            Point::ExportRename.io()?;
            // Another bundle that got the name meanwhile is not empty, and stays.
            fs::rename(self.folder.path(), &self.target)?;
            sync(parent)
        };
        named().map_err(|error| failure("write", &self.target, &error))?;
        // It is not there any more under the name that would be removed.
        let _ = self.folder.keep();
        Point::ExportDone.reach();
        Ok(())
    }
}

/// Makes a file of the bundle that only its owner can read.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Waits until a file or directory is on the disk.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What failed, of a file of the bundle. Data that no other place would change says itself what to do.
pub(super) fn failure(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::InvalidData => "",
        _ => "; name a place that this user may write to, with enough room",
    };
    let path = path.display();
    Failure::new(
        Exit::Failed,
        format!("cannot {doing} {path}: {error}; no bundle was written{advice}"),
    )
}

/// Refuses a name that something has, be it an empty directory.
fn refuse_taken(target: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(target).is_err() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} is there already, and an export overwrites nothing; name another place, or remove it",
        target.display()
    )))
}

fn parts(target: &Path) -> Result<(&Path, String), Failure> {
    let Some(name) = target.file_name() else {
        return Err(Failure::usage(format!(
            "{} names no new directory; name one, such as ./bundle",
            target.display()
        )));
    };
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((parent, name.to_string_lossy().into_owned()))
}

/// Directories of dead processes: nobody holds their lock.
fn remove_abandoned(parent: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix);
        if is_ours && entry.file_type()?.is_dir() {
            let Ok(opened) = File::open(entry.path()) else {
                continue;
            };
            if opened.try_lock().is_ok() {
                fs::remove_dir_all(entry.path())?;
            }
        }
    }
    Ok(())
}
