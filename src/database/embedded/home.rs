//! Where a cluster's files lie and who may touch them. Knows nothing of the server's life.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink,
};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, User, geteuid, mkfifoat, unlinkat};

use super::error::{EmbeddedError, doing, last_line};
use crate::trusted::{Folder, Owner};

/// The longest path of a unix socket that every system takes.
const LONGEST_SOCKET: usize = 100;

/// The directory was swapped by another process.
pub(super) const REPLACED: &str = "was replaced while it was being opened; try again";

/// More than any file of the server's that is read has at its end; its log may be larger.
const LARGEST: u64 = 64 << 10;
/// The longest path of a directory that PostgreSQL can name the files in (`MAXPGPATH`).
const LONGEST_PATH: usize = 900;

/// The private directory of one cluster, checked. As root, whatever is in it can be the work of the server's user: it is opened
/// through the directory, without following a link or waiting for a pipe, and has to be a plain file of that user.
#[derive(Debug)]
pub(super) struct Home {
    /// The directory: absolute, ours, mode 0700.
    pub(super) path: PathBuf,
    folder: Folder,
    uid: Uid,
    gid: Gid,
}

impl Home {
    /// Makes and checks the directory for the cluster `dir`. As root it belongs to a user that `PostgreSQL` accepts, and lies
    /// under `/var` with a link at `dir` if that user cannot reach `dir`.
    pub(super) fn prepare(dir: &Path) -> Result<Self, EmbeddedError> {
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = dir
            .file_name()
            .ok_or_else(|| refused(dir, "is no name for a directory"))?;
        // It holds more than the cluster. As root, the server's user has to pass through it.
        let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(parent)
            .map_err(|e| doing("create", parent, e))?;
        let parent = parent
            .canonicalize()
            .map_err(|e| doing("resolve", parent, e))?;
        let dir = parent.join(name);
        if dir.as_os_str().len() > LONGEST_PATH {
            return Err(refused(
                &dir,
                "is too long a path for PostgreSQL; move the project to a shorter one",
            ));
        }

        if geteuid().is_root() {
            return Self::prepare_as_root(&dir, &parent);
        }
        make_private(&dir)?;
        let dir = dir.canonicalize().map_err(|e| doing("resolve", &dir, e))?;
        Self::of(dir, geteuid(), nix::unistd::getegid())
    }

    fn prepare_as_root(dir: &Path, parent: &Path) -> Result<Self, EmbeddedError> {
        let existing = fs::symlink_metadata(dir).ok();
        if let Some(there) = existing.as_ref().filter(|there| there.is_dir()) {
            // Another user's cluster stays that user's.
            let owned = (there.uid() != 0).then(|| (there.uid().into(), there.gid().into()));
            let (uid, gid) = owned.map_or_else(server_user, Ok)?;
            if reachable(parent, uid, gid) {
                own(dir, uid, gid)?;
                return Self::of(dir.to_path_buf(), uid, gid);
            }
            // Only an empty directory gives way to the link.
            fs::remove_dir(dir).map_err(|_| {
                refused(
                    dir,
                    "lies where the user of the server cannot reach it; move it, or run as its owner",
                )
            })?;
        } else if existing
            .as_ref()
            .is_some_and(|there| !there.file_type().is_symlink())
        {
            return Err(refused(dir, "is no directory"));
        }

        let (uid, gid) = server_user()?;
        if existing.is_none() && reachable(parent, uid, gid) {
            make_private(dir)?;
            own(dir, uid, gid)?;
            return Self::of(dir.to_path_buf(), uid, gid);
        }
        let away = away(dir);
        let linked = fs::read_link(dir).ok();
        let path = match linked.as_ref() {
            Some(target) if away.contains(target) => target.clone(),
            Some(_) => return Err(refused(dir, "is a link that cursus did not make")),
            None => away
                .into_iter()
                .find(|path| path.parent().is_some_and(Path::is_dir))
                .ok_or_else(|| refused(dir, "is not accessible to the user of the server"))?,
        };
        make_shared(&path, uid, gid)?;
        if linked.is_none() {
            symlink(&path, dir).map_err(|e| doing("link", dir, e))?;
        }
        Self::of(path, uid, gid)
    }

    /// The cluster's own directory: of the server's user, and made private if it is not.
    fn of(path: PathBuf, uid: Uid, gid: Gid) -> Result<Self, EmbeddedError> {
        let opened = open_folder(&path)?;
        let there = opened.metadata().map_err(|e| doing("inspect", &path, e))?;
        if there.uid() != uid.as_raw() {
            return Err(refused(
                &path,
                "belongs to another user; run as that user, or remove it",
            ));
        }
        if there.mode() & 0o777 != 0o700 {
            opened
                .set_permissions(fs::Permissions::from_mode(0o700))
                .map_err(|e| doing("make private", &path, e))?;
        }
        let folder = Folder::open(&path, Owner::only(uid))?;
        Ok(Self {
            path,
            folder,
            uid,
            gid,
        })
    }

    /// A directory of the cluster for the socket: its own, or a short one in a directory for temporary files where its own has a
    /// path that is too long, or that `PostgreSQL` takes for several or writes on several lines.
    pub(super) fn socket_dir(&self) -> Result<PathBuf, EmbeddedError> {
        if is_fit_for_socket(&self.path) {
            return Ok(self.path.clone());
        }
        let name = format!("cursus-{}", digest(&self.path));
        let temporary = std::env::temp_dir();
        let dir = [temporary.as_path(), Path::new("/tmp")]
            .into_iter()
            .filter(|root| root.is_absolute() && reachable(root, self.uid, self.gid))
            .map(|root| root.join(&name))
            .find(|dir| is_fit_for_socket(dir));
        let Some(dir) = dir else {
            return Err(refused(
                &temporary,
                "cannot hold the socket of the private PostgreSQL; set TMPDIR to a directory with a short, plain name that its user \
                 can reach",
            ));
        };
        make_shared(&dir, self.uid, self.gid)?;
        Ok(dir)
    }

    /// Refuses a directory that someone else could have put there.
    pub(super) fn check_shared(&self, dir: &Path) -> Result<(), EmbeddedError> {
        check_shared(dir, self.uid)
    }

    /// A command that runs in the directory as the server's user. Its environment holds only what a program needs, because
    /// that user can read it, and so can users of the database.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(program);
        command
            .current_dir(&self.path)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_handed_on(name)))
            .env("LC_ALL", "C");
        if geteuid().is_root() {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        command
    }

    /// A file of the directory for locking, made if absent.
    pub(super) fn lock_file(&self, name: &str) -> Result<File, EmbeddedError> {
        let path = self.path.join(name);
        let flags = OFlag::O_RDWR
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC;
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(self.folder.as_file(), name, flags, private)
            .map_err(|e| doing("open", &path, e.into()))?;
        let file = File::from(file);
        let there = file.metadata().map_err(|e| doing("inspect", &path, e))?;
        if !there.is_file() {
            return Err(refused(&path, "is not a plain file; remove it"));
        }
        if there.uid() != self.uid.as_raw() && (there.nlink() != 1 || there.len() != 0) {
            return Err(refused(
                &path,
                "has another hard link, or is not empty, and may belong to another user; remove it",
            ));
        }
        self.give(&file, &there, &path)?;
        Ok(file)
    }

    /// A new named pipe in place of an older one, which keeps its holders, and a reader of it.
    pub(super) fn make_pipe(&self, name: &str) -> Result<File, EmbeddedError> {
        let path = self.path.join(name);
        remove(&self.folder, name)?;
        mkfifoat(self.folder.as_file(), name, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| doing("create", &path, e.into()))?;
        let (reader, there) = self
            .open_end(name, false)?
            .ok_or_else(|| refused(&path, REPLACED))?;
        self.give(&reader, &there, &path)?;
        Ok(reader)
    }

    /// Opens one end of a named pipe without waiting; `None` if there is no pipe or it has no reader.
    pub(super) fn open_pipe(&self, name: &str, write: bool) -> Result<Option<File>, EmbeddedError> {
        Ok(self.open_end(name, write)?.map(|(pipe, _)| pipe))
    }

    fn open_end(&self, name: &str, write: bool) -> Result<Option<(File, Metadata)>, EmbeddedError> {
        let path = self.path.join(name);
        let way = if write {
            OFlag::O_WRONLY
        } else {
            OFlag::O_RDONLY
        };
        let flags = way | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let pipe = match openat(self.folder.as_file(), name, flags, Mode::empty()) {
            Ok(pipe) => File::from(pipe),
            Err(Errno::ENOENT | Errno::ENXIO) => return Ok(None),
            Err(e) => return Err(doing("open", &path, e.into())),
        };
        let there = pipe.metadata().map_err(|e| doing("inspect", &path, e))?;
        if !there.file_type().is_fifo() {
            return Err(refused(&path, "is not a named pipe; remove it"));
        }
        if ![0, self.uid.as_raw()].contains(&there.uid()) {
            return Err(refused(&path, "belongs to another user; remove it"));
        }
        Ok(Some((pipe, there)))
    }

    /// Gives to the user that the server runs as what root has just made there.
    fn give(&self, opened: &File, there: &Metadata, path: &Path) -> Result<(), EmbeddedError> {
        if there.uid() == self.uid.as_raw() {
            return Ok(());
        }
        if there.uid() != geteuid().as_raw() {
            return Err(refused(path, "belongs to another user; remove it"));
        }
        fchown(opened, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .map_err(|e| doing("change the owner of", path, e))
    }

    /// Makes a file of the directory that is not there yet.
    pub(super) fn create(&self, name: &str) -> Result<(), EmbeddedError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        openat(self.folder.as_file(), name, flags, private)
            .map(drop)
            .map_err(|e| doing("create", &self.path.join(name), e.into()))
    }

    pub(super) fn holds(&self, name: &str) -> bool {
        fstatat(self.folder.as_file(), name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Takes away a file of the directory; whether it was there.
    pub(super) fn take_away(&self, name: &str) -> Result<bool, EmbeddedError> {
        remove(&self.folder, name)
    }

    /// Names of files in the directory that begin like this.
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// The end of a file of the server's, which is a plain file of its user; `None` if it is not there.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>, EmbeddedError> {
        let path = path.as_ref();
        let Some(mut file) = self.folder.file(path)? else {
            return Ok(None);
        };
        let mut read = || -> io::Result<Vec<u8>> {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LARGEST)))?;
            let mut bytes = Vec::new();
            (&mut file).take(LARGEST).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|e| doing("read", &self.path.join(path), e))?;
        Ok(Some(bytes))
    }

    pub(super) fn remove_data(&self, name: &str) -> Result<(), EmbeddedError> {
        let Some(data) = self.folder.folder("data")? else {
            return Ok(());
        };
        remove(&data, name).map(drop)
    }

    /// Gives what was made aside its name, durably if asked for.
    pub(super) fn rename(&self, aside: &str, name: &str, sync: bool) -> Result<(), EmbeddedError> {
        let folder = self.folder.as_file();
        renameat(folder, aside, folder, name)
            .map_err(|e| doing("name", &self.path.join(name), e.into()))?;
        if sync {
            folder
                .sync_all()
                .map_err(|e| doing("write", &self.path, e))?;
        }
        Ok(())
    }

    /// Takes away a directory with all that is in it, as the user whose it is.
    pub(super) fn remove_all(&self, name: &str) -> Result<(), EmbeddedError> {
        if !self.holds(name) {
            return Ok(());
        }
        let path = self.path.join(name);
        let mut command = self.command("rm");
        let done = command.args(["-rf", "--", name]).output();
        let done = done.map_err(|e| doing("remove", &path, e))?;
        if done.status.success() {
            return Ok(());
        }
        Err(EmbeddedError::Failed {
            program: "rm",
            path,
            reason: last_line(&done.stderr),
        })
    }
}

/// Takes away a file of a directory; whether it was there.
fn remove(folder: &Folder, name: &str) -> Result<bool, EmbeddedError> {
    match unlinkat(folder.as_file(), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(e) => Err(doing("remove", &folder.path().join(name), e.into())),
    }
}

/// Opens a directory, which is no link.
fn open_folder(dir: &Path) -> Result<File, EmbeddedError> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
        .open(dir)
        .map_err(|e| doing("open", dir, e))
}

/// Gives a directory of root's to the user that the server runs as.
fn own(dir: &Path, uid: Uid, gid: Gid) -> Result<(), EmbeddedError> {
    let opened = open_folder(dir)?;
    let there = opened.metadata().map_err(|e| doing("inspect", dir, e))?;
    if there.uid() == uid.as_raw() || there.uid() != geteuid().as_raw() {
        return Ok(());
    }
    fchown(&opened, Some(uid.as_raw()), Some(gid.as_raw()))
        .map_err(|e| doing("change the owner of", dir, e))
}

/// Makes a directory among other people's, or takes it if it is surely ours.
fn make_shared(dir: &Path, uid: Uid, gid: Gid) -> Result<(), EmbeddedError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => own(dir, uid, gid)?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(doing("create", dir, e)),
    }
    check_shared(dir, uid)
}

fn check_shared(dir: &Path, uid: Uid) -> Result<(), EmbeddedError> {
    let there = fs::symlink_metadata(dir).map_err(|e| doing("inspect", dir, e))?;
    if !there.is_dir() || there.uid() != uid.as_raw() || there.mode() & 0o777 != 0o700 {
        return Err(refused(
            dir,
            "is not a directory of yours with mode 0700; remove it if it is not used",
        ));
    }
    Ok(())
}

/// Whether a socket there has a path that is short enough, and that the server writes on one line and takes for one.
pub(super) fn is_fit_for_socket(dir: &Path) -> bool {
    let is_plain =
        |text: &str| !text.contains([',', '"', '\'']) && !text.contains(char::is_control);
    dir.to_str().is_some_and(is_plain)
        && dir.as_os_str().len() + "/.s.PGSQL.5432".len() < LONGEST_SOCKET
}

/// Variables of our environment that programs of the server have, too. Libraries of some `PostgreSQL`s lie beside them.
fn is_handed_on(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let needed = ["PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH"];
    needed.contains(&&*name) || name.starts_with("LC_")
}

/// The user that runs the server where we are root.
fn server_user() -> Result<(Uid, Gid), EmbeddedError> {
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| (user.uid, user.gid))
        .filter(|(uid, _)| !uid.is_root())
        .ok_or(EmbeddedError::NoUser)
}

/// Whether a user can pass through every directory of `path`.
fn reachable(path: &Path, uid: Uid, gid: Gid) -> bool {
    path.ancestors().all(|dir| {
        fs::metadata(dir).is_ok_and(|there| {
            let bit = if there.uid() == uid.as_raw() {
                0o100
            } else if there.gid() == gid.as_raw() {
                0o010
            } else {
                0o001
            };
            there.mode() & bit != 0
        })
    })
}

/// Places for a cluster that cannot be in `dir`. Cleaners of temporary files skip `/var/lib`, so it comes first.
fn away(dir: &Path) -> Vec<PathBuf> {
    let name = format!("cursus-pg-{}", digest(dir));
    ["/var/lib", "/var/tmp"]
        .iter()
        .map(|root| Path::new(root).join(&name))
        .collect()
}

fn make_private(dir: &Path) -> Result<(), EmbeddedError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(doing("create", dir, e)),
        _ => Ok(()),
    }
}

/// What stands for a path in a name.
fn digest(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    crate::hash::short(path.as_os_str().as_bytes())
}

fn refused(path: &Path, why: &'static str) -> EmbeddedError {
    EmbeddedError::Refused {
        path: path.to_path_buf(),
        why,
    }
}

#[cfg(test)]
mod tests;
