//! Where a cluster's files lie and who may touch them. Knows nothing of the server's life.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink,
};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, User, geteuid, mkfifo};

use super::{EmbeddedError, doing};

/// The longest path of a unix socket that every system takes.
const LONGEST_SOCKET: usize = 100;

/// What somebody else must have done.
pub(super) const REPLACED: &str = "was replaced while we opened it; try again";

/// The private directory of one cluster, checked.
#[derive(Debug)]
pub(super) struct Home {
    /// The directory: absolute, ours, mode 0700.
    pub(super) path: PathBuf,
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

        if geteuid().is_root() {
            return Self::prepare_as_root(&dir, &parent);
        }
        make_private(&dir)?;
        let home = Self {
            path: dir.canonicalize().map_err(|e| doing("resolve", &dir, e))?,
            uid: geteuid(),
            gid: nix::unistd::getegid(),
        };
        home.check_mode()?;
        Ok(home)
    }

    fn prepare_as_root(dir: &Path, parent: &Path) -> Result<Self, EmbeddedError> {
        let existing = fs::symlink_metadata(dir).ok();
        if let Some(there) = existing.as_ref().filter(|there| there.is_dir()) {
            // Another user's cluster stays that user's.
            let owned = (there.uid() != 0).then(|| (there.uid().into(), there.gid().into()));
            let (uid, gid) = owned.map_or_else(server_user, Ok)?;
            if reachable(parent, uid, gid) {
                let path = dir.to_path_buf();
                let home = Self { path, uid, gid };
                home.own(dir)?;
                home.check_mode()?;
                return Ok(home);
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
            let path = dir.to_path_buf();
            let home = Self { path, uid, gid };
            home.own(dir)?;
            return Ok(home);
        }
        let away = away(dir);
        let linked = fs::read_link(dir).ok();
        let path = match linked.as_ref() {
            Some(target) if away.contains(target) => target.clone(),
            Some(_) => return Err(refused(dir, "is a link that cursus did not make")),
            None => away
                .into_iter()
                .find(|path| path.parent().is_some_and(Path::is_dir))
                .ok_or_else(|| refused(dir, "cannot be reached by the user of the server"))?,
        };
        let home = Self { path, uid, gid };
        home.make_shared(&home.path)?;
        if linked.is_none() {
            symlink(&home.path, dir).map_err(|e| doing("link", dir, e))?;
        }
        Ok(home)
    }

    /// A directory of the cluster for the socket: its own, or a short one in the temp directory.
    pub(super) fn socket_dir(&self) -> Result<PathBuf, EmbeddedError> {
        if self.path.join(".s.PGSQL.5432").as_os_str().len() < LONGEST_SOCKET {
            return Ok(self.path.clone());
        }
        let dir = std::env::temp_dir().join(format!("cursus-{}", digest(&self.path)));
        if dir.as_os_str().len() + "/.s.PGSQL.5432".len() >= LONGEST_SOCKET {
            return Err(refused(
                &dir,
                "is too long a path for a socket; set TMPDIR to a shorter one",
            ));
        }
        self.make_shared(&dir)?;
        Ok(dir)
    }

    /// Makes a directory among other people's, or takes it if it is surely ours.
    fn make_shared(&self, dir: &Path) -> Result<(), EmbeddedError> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => self.own(dir)?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(doing("create", dir, e)),
        }
        self.check_shared(dir)
    }

    /// Refuses a directory that someone else could have put there.
    pub(super) fn check_shared(&self, dir: &Path) -> Result<(), EmbeddedError> {
        let there = fs::symlink_metadata(dir).map_err(|e| doing("inspect", dir, e))?;
        if !there.is_dir() || there.uid() != self.uid.as_raw() || there.mode() & 0o777 != 0o700 {
            return Err(refused(
                dir,
                "is not a directory of ours with mode 0700; remove it if nobody uses it",
            ));
        }
        Ok(())
    }

    /// The cluster's own directory: ours, and made private if it is not.
    fn check_mode(&self) -> Result<(), EmbeddedError> {
        let there =
            fs::symlink_metadata(&self.path).map_err(|e| doing("inspect", &self.path, e))?;
        if !there.is_dir() || there.uid() != self.uid.as_raw() {
            return Err(refused(
                &self.path,
                "belongs to another user; run as that user, or remove it",
            ));
        }
        if there.mode() & 0o777 != 0o700 {
            fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700))
                .map_err(|e| doing("make private", &self.path, e))?;
        }
        Ok(())
    }

    /// Gives a directory to the user that the server runs as.
    fn own(&self, dir: &Path) -> Result<(), EmbeddedError> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
            .open(dir)
            .map_err(|e| doing("open", dir, e))?;
        self.give(&opened, dir)
    }

    /// Gives what was opened to the user that the server runs as: behind its path, that user can put something else.
    fn give(&self, opened: &File, path: &Path) -> Result<(), EmbeddedError> {
        let there = opened.metadata().map_err(|e| doing("inspect", path, e))?;
        if !geteuid().is_root() || there.uid() == self.uid.as_raw() {
            return Ok(());
        }
        if !there.is_dir() && there.nlink() != 1 {
            return Err(refused(
                path,
                "has another name elsewhere, and may be somebody else's; remove it",
            ));
        }
        fchown(opened, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .map_err(|e| doing("change the owner of", path, e))
    }

    /// A command that runs in the directory as the server's user. Of our environment it has what a program needs and nothing else:
    /// that user can read it, and so can whoever asks the database.
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
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .map_err(|e| doing("open", &path, e))?;
        self.give(&file, &path)?;
        Ok(file)
    }

    /// A new named pipe in place of an older one, which keeps its holders, and a reader of it.
    pub(super) fn make_pipe(&self, name: &str) -> Result<File, EmbeddedError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(doing("remove", &path, e));
            }
            _ => {}
        }
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| doing("create", &path, e.into()))?;
        let reader = self
            .open_pipe(name, false)?
            .ok_or_else(|| refused(&path, REPLACED))?;
        self.give(&reader, &path)?;
        Ok(reader)
    }

    /// Opens one end of a named pipe without waiting; `None` if there is no pipe or nobody reads it.
    pub(super) fn open_pipe(&self, name: &str, write: bool) -> Result<Option<File>, EmbeddedError> {
        let path = self.path.join(name);
        let opened = OpenOptions::new()
            .read(!write)
            .write(write)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits())
            .open(&path);
        match opened {
            Ok(pipe) => {
                let there = pipe.metadata().map_err(|e| doing("inspect", &path, e))?;
                if !there.file_type().is_fifo() {
                    return Err(refused(&path, "is not a named pipe; remove it"));
                }
                Ok(Some(pipe))
            }
            Err(e)
                if e.kind() == io::ErrorKind::NotFound
                    || e.raw_os_error() == Some(nix::libc::ENXIO) =>
            {
                Ok(None)
            }
            Err(e) => Err(doing("open", &path, e)),
        }
    }
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

/// Where a cluster lies that cannot lie in `dir`. Cleaners of temporary files leave `/var/lib` alone, so it comes first.
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
mod tests {
    use super::*;

    #[test]
    fn a_shared_directory_that_is_not_surely_ours_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let home = Home {
            path: root.path().to_path_buf(),
            uid: geteuid(),
            gid: nix::unistd::getegid(),
        };
        let open = root.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let link = root.path().join("link");
        symlink(root.path(), &link).unwrap();
        for dir in [&open, &link] {
            let error = home.make_shared(dir).unwrap_err();
            assert!(matches!(error, EmbeddedError::Refused { .. }), "{error}");
        }
        home.make_shared(&root.path().join("new")).unwrap();
    }

    /// Only root gives anything away.
    #[test]
    fn nothing_is_given_away_that_is_not_the_clusters() {
        if !geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let (uid, gid) = server_user().unwrap();
        let path = root.path().join("pg");
        make_private(&path).unwrap();
        let home = Home { path, uid, gid };
        home.own(&home.path).unwrap();
        let secret = root.path().join("secret");
        fs::write(&secret, "").unwrap();
        fs::hard_link(&secret, home.path.join("same")).unwrap();
        symlink(&secret, home.path.join("link")).unwrap();
        symlink(root.path(), home.path.join("folder")).unwrap();
        for name in ["same", "link"] {
            home.lock_file(name).unwrap_err();
        }
        home.own(&home.path.join("folder")).unwrap_err();
        for path in [secret.as_path(), root.path()] {
            assert_eq!(fs::metadata(path).unwrap().uid(), 0, "{}", path.display());
        }

        home.lock_file("lock").unwrap();
        home.make_pipe("held").unwrap();
        for name in [".", "lock", "held"] {
            let there = fs::symlink_metadata(home.path.join(name)).unwrap();
            assert_eq!(there.uid(), uid.as_raw(), "{name}");
        }
    }

    #[test]
    fn a_deep_directory_has_a_short_socket() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        let home = Home::prepare(&deep).unwrap();
        let dir = home.socket_dir().unwrap();
        assert!(dir.as_os_str().len() < 90, "{}", dir.display());
        assert_ne!(dir, home.path);
        fs::remove_dir(&dir).unwrap();
    }
}
