//! Another user of the machine, as whom the binary can be run. Knows no promise.

use std::os::unix::fs::{PermissionsExt as _, chown, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use tempfile::TempDir;
use tokio::process::Command;

use super::{Ran, Workdir};

/// Without rights, and on every system.
const UID: u32 = 65_534;

/// A user who is neither root nor the one that runs the tests.
pub(crate) struct OtherUser {
    uid: u32,
    caller: u32,
    binary: PathBuf,
    _dir: TempDir,
}

impl OtherUser {
    /// None where only one user can be had: the test says how many checks it did not make.
    #[expect(clippy::print_stderr, reason = "for readers of the tests' output")]
    pub(crate) fn find(checks: usize) -> Option<Self> {
        if !Uid::effective().is_root() {
            eprintln!("skipped: {checks} checks need another user, whom only root can be");
            return None;
        }
        // Where that user can reach it.
        let dir = tempfile::Builder::new().prefix("bin-").tempdir().unwrap();
        open_to_all(dir.path());
        let binary = dir.path().join("cursus");
        std::fs::copy(env!("CARGO_BIN_EXE_cursus"), &binary).unwrap();
        open_to_all(&binary);
        Some(Self {
            uid: UID,
            caller: Uid::effective().as_raw(),
            binary,
            _dir: dir,
        })
    }

    /// The user's name, else the number.
    pub(crate) fn name(&self) -> String {
        let user = nix::unistd::User::from_uid(Uid::from_raw(self.uid)).unwrap();
        user.map_or_else(|| format!("#{}", self.uid), |user| user.name)
    }

    /// Gives the user a file or a directory.
    pub(crate) fn give(&self, path: &Path) {
        lchown(path, Some(self.uid), Some(self.uid)).unwrap();
    }

    /// Gives the user a directory with all that is in it.
    pub(crate) fn give_all(&self, path: &Path) {
        for entry in walkdir::WalkDir::new(path) {
            self.give(entry.unwrap().path());
        }
    }

    /// Takes a file or a directory back.
    pub(crate) fn take_back(&self, path: &Path) {
        chown(path, Some(self.caller), None).unwrap();
    }

    /// The binary in a directory, as that user, not started yet.
    pub(crate) fn command(&self, workdir: &Workdir, arguments: &[&str]) -> Command {
        let mut command = workdir.command_of(&self.binary, arguments);
        command.uid(self.uid).gid(self.uid);
        command
    }

    /// Runs the binary in a directory as that user, to its end.
    pub(crate) async fn cursus(&self, workdir: &Workdir, arguments: &[&str]) -> Ran {
        Ran::of(self.command(workdir, arguments), arguments).await
    }
}

/// Lets everybody read and pass.
pub(crate) fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
