//! Checks that only its owner can have written a file or directory. Checks what was opened, not its name, which can lead elsewhere
//! a moment later. Does not look at contents.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use crate::trusted::untrusted::WRITABLE;
pub use crate::trusted::{
    shell::shell,
    untrusted::{Owner, Untrusted, list},
};

mod shell;
mod untrusted;

/// The largest file that is read; ours are far smaller.
const LARGEST: u64 = 64 << 20;
/// Only the owner of a file may remove it: a shared directory such as `/tmp`.
const STICKY: u32 = 0o1000;

/// What another user could have written of a directory, and of these files and directories in it.
pub fn faults(base: &Path, files: &[&OsStr], folders: &[&str]) -> Vec<Untrusted> {
    let (folder, fault) = match Folder::look(base, Owner::caller_or_root()) {
        Ok(looked) => looked,
        Err(fault) => return vec![fault],
    };
    if fault.as_ref().is_some_and(|fault| !fault.is_writable()) {
        return fault.into_iter().collect();
    }
    let mut faults: Vec<Untrusted> = fault.into_iter().collect();
    faults.extend(files.iter().filter_map(|name| folder.fault_of_file(name)));
    for name in folders {
        faults.extend(folder.faults_below(OsStr::new(name)));
    }
    faults
}

/// Whether a directory is one for everybody, as `/tmp` is.
pub fn is_shared(path: &Path) -> bool {
    let there = std::fs::metadata(path);
    there.is_ok_and(|there| is_for_everybody(&there))
}

fn is_for_everybody(there: &Metadata) -> bool {
    there.is_dir() && there.mode() & STICKY != 0 && there.mode() & WRITABLE != 0
}

/// What is wrong with a directory that the caller writes, if it is there.
pub fn fault_of_own(path: &Path) -> Option<Untrusted> {
    let there = std::fs::symlink_metadata(path).ok()?;
    fault_of(&there, path, Owner::caller(), Kind::Folder)
}

/// Whether what is at a path, links followed, belongs to another user than the caller.
pub fn fault_of_owner(path: &Path) -> Option<Untrusted> {
    let owner = std::fs::metadata(path).ok()?.uid();
    let wanted = Owner::caller();
    (!wanted.is(owner)).then(|| Untrusted::Owned {
        path: path.to_owned(),
        owner,
        wanted,
    })
}

/// Refuses what was opened there, if it belongs to another user than the caller or root.
pub fn check_owner(there: &Metadata, path: &Path) -> Result<(), Untrusted> {
    let wanted = Owner::caller_or_root();
    if wanted.is(there.uid()) {
        return Ok(());
    }
    Err(Untrusted::Owned {
        path: path.to_owned(),
        owner: there.uid(),
        wanted,
    })
}

/// A directory that was opened and checked. Its content is opened through it, wherever its name leads by then.
#[derive(Debug)]
pub struct Folder {
    opened: File,
    path: PathBuf,
    owner: Owner,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

impl Folder {
    /// Opens a directory that this owner has; links on the way to it are followed. Nothing in it need be trusted yet.
    pub fn open(path: &Path, owner: Owner) -> Result<Self, Untrusted> {
        let (folder, fault) = Self::look(path, owner)?;
        fault.map_or(Ok(folder), Err)
    }

    fn look(path: &Path, owner: Owner) -> Result<(Self, Option<Untrusted>), Untrusted> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NONBLOCK).bits())
            .open(path)
            .map_err(|error| {
                unopened(
                    path,
                    std::fs::metadata(path).ok(),
                    error,
                    owner,
                    Kind::Folder,
                )
            })?;
        let fault = judge(&opened, path, owner, Kind::Folder)?;
        let path = path.to_owned();
        Ok((
            Self {
                opened,
                path,
                owner,
            },
            fault,
        ))
    }

    /// Opens a directory of the caller's alone, made with its parents if it is not there.
    pub fn make_private(path: &Path) -> Result<Self, Untrusted> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(Untrusted::io(path))?;
        Self::open(path, Owner::caller())
    }

    /// Its path, as it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    pub fn as_file(&self) -> &File {
        &self.opened
    }

    /// Opens a directory in it; `None` if it is not there.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> Result<Option<Self>, Untrusted> {
        match self.find(name.as_ref(), OFlag::empty(), Kind::Folder)? {
            Some((_, Some(fault))) => Err(fault),
            Some((opened, None)) => Ok(Some(self.child(name.as_ref(), opened))),
            None => Ok(None),
        }
    }

    /// Opens a file in it for reading, or one below it, each directory on the way checked; `None` if it does not exist.
    pub fn file(&self, relative: impl AsRef<Path>) -> Result<Option<File>, Untrusted> {
        let relative = relative.as_ref();
        if let (Some(parent), Some(name)) = (relative.parent(), relative.file_name())
            && !parent.as_os_str().is_empty()
        {
            let Some(Component::Normal(first)) = relative.components().next() else {
                return Ok(None);
            };
            let Some(folder) = self.folder(first)? else {
                return Ok(None);
            };
            let rest = parent
                .strip_prefix(first)
                .unwrap_or(Path::new(""))
                .join(name);
            return folder.file(rest);
        }
        self.open_file(relative.as_os_str(), OFlag::empty())
    }

    /// Opens a file in it with further flags. One that these make is for its owner alone.
    pub fn open_file(&self, name: &OsStr, flags: OFlag) -> Result<Option<File>, Untrusted> {
        match self.find(name, flags, Kind::File)? {
            Some((_, Some(fault))) => Err(fault),
            Some((opened, None)) => Ok(Some(opened)),
            None => Ok(None),
        }
    }

    /// Reads a file in it, or one below it; `None` if it does not exist.
    pub fn read(&self, relative: impl AsRef<Path>) -> Result<Option<Vec<u8>>, Untrusted> {
        let path = self.path.join(&relative);
        let Some(file) = self.file(relative)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(Untrusted::io(&path))?;
        Ok(Some(bytes))
    }

    /// The same as text.
    pub fn read_text(&self, relative: impl AsRef<Path>) -> Result<Option<String>, Untrusted> {
        let path = self.path.join(&relative);
        let text = self.read(relative)?.map(String::from_utf8).transpose();
        text.map_err(|_| {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
            Untrusted::Io { path, source }
        })
    }

    /// Names in it, sorted, without hidden ones.
    pub fn names(&self) -> Result<Vec<OsString>, Untrusted> {
        let entries = std::fs::read_dir(&self.path).map_err(Untrusted::io(&self.path))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(Untrusted::io(&self.path))?.file_name();
            if !name.as_bytes().starts_with(b".") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// All that is wrong with a directory in it and with what is below that.
    pub fn faults_below(&self, name: &OsStr) -> Vec<Untrusted> {
        let mut faults = Vec::new();
        let found = match self.find(name, OFlag::empty(), Kind::Folder) {
            Ok(Some((opened, fault))) => {
                let is_alien = fault.as_ref().is_some_and(|fault| !fault.is_writable());
                faults.extend(fault);
                (!is_alien).then(|| self.child(name, opened))
            }
            Ok(None) => None,
            Err(fault) => {
                faults.push(fault);
                None
            }
        };
        let Some(folder) = found else {
            return faults;
        };
        match folder.names() {
            Ok(names) => {
                for name in names {
                    faults.extend(folder.faults_of_entry(&name));
                }
            }
            Err(fault) => faults.push(fault),
        }
        faults
    }

    fn faults_of_entry(&self, name: &OsStr) -> Vec<Untrusted> {
        let there = fstatat(&self.opened, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let is_folder = |mode| SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        if there.is_ok_and(|there| is_folder(there.st_mode)) {
            self.faults_below(name)
        } else {
            self.fault_of_file(name).into_iter().collect()
        }
    }

    /// What is wrong with a file in it, if it is there.
    pub fn fault_of_file(&self, name: impl AsRef<OsStr>) -> Option<Untrusted> {
        self.open_file(name.as_ref(), OFlag::empty()).err()
    }

    fn child(&self, name: &OsStr, opened: File) -> Self {
        Self {
            opened,
            path: self.path.join(name),
            owner: self.owner,
        }
    }

    fn find(
        &self,
        name: &OsStr,
        flags: OFlag,
        kind: Kind,
    ) -> Result<Option<(File, Option<Untrusted>)>, Untrusted> {
        let path = self.path.join(name);
        let always = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let directory = match kind {
            Kind::File => OFlag::empty(),
            Kind::Folder => OFlag::O_DIRECTORY,
        };
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        match openat(&self.opened, name, flags | always | directory, private) {
            Ok(opened) => {
                let opened = File::from(opened);
                let fault = judge(&opened, &path, self.owner, kind)?;
                Ok(Some((opened, fault)))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => {
                let there = std::fs::symlink_metadata(&path).ok();
                Err(unopened(&path, there, error.into(), self.owner, kind))
            }
        }
    }
}

/// Checks what was opened. What is only writable by others is still searched, to find all faults.
fn judge(
    opened: &File,
    path: &Path,
    owner: Owner,
    kind: Kind,
) -> Result<Option<Untrusted>, Untrusted> {
    let there = opened.metadata().map_err(Untrusted::io(path))?;
    Ok(fault_of(&there, path, owner, kind))
}

fn fault_of(there: &Metadata, path: &Path, owner: Owner, kind: Kind) -> Option<Untrusted> {
    let path = || path.to_owned();
    if there.file_type().is_symlink() {
        return Some(Untrusted::Link { path: path() });
    }
    let is_wanted = match kind {
        Kind::File => there.is_file(),
        Kind::Folder => there.is_dir(),
    };
    if !is_wanted {
        return Some(Untrusted::Kind {
            path: path(),
            is: name_of_kind(there),
            wanted: match kind {
                Kind::File => "a plain file",
                Kind::Folder => "a directory",
            },
        });
    }
    let mode = there.mode();
    if is_for_everybody(there) {
        return Some(Untrusted::Shared { path: path() });
    }
    if !owner.is(there.uid()) {
        return Some(Untrusted::Owned {
            path: path(),
            owner: there.uid(),
            wanted: owner,
        });
    }
    (mode & WRITABLE != 0).then(|| Untrusted::Writable { path: path(), mode })
}

/// Why something was not opened: what it is says more than what the system says.
fn unopened(
    path: &Path,
    there: Option<Metadata>,
    error: io::Error,
    owner: Owner,
    kind: Kind,
) -> Untrusted {
    there
        .and_then(|there| fault_of(&there, path, owner, kind))
        .unwrap_or_else(|| Untrusted::io(path)(error))
}

fn name_of_kind(there: &Metadata) -> &'static str {
    let kind = there.file_type();
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "a file",
    }
}

/// A directory for a test, whose files are its user's alone, whatever that user's habits are.
#[cfg(any(test, feature = "failpoints"))]
#[expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "for tests only"
)]
pub fn test_directory() -> tempfile::TempDir {
    nix::sys::stat::umask(Mode::S_IWGRP | Mode::S_IWOTH);
    tempfile::tempdir().unwrap()
}
