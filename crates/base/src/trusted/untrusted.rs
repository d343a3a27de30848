//! What another user could have written, and who may own what is used: the sentences of both. Looks at no file.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};

use crate::printable::Messages;
use crate::trusted::shell::shell;

/// Write access of the group and of others.
pub(super) const WRITABLE: u32 = 0o022;

/// Who may own what is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    uid: Uid,
    or_root: bool,
}

impl Owner {
    /// The caller or root: for what is only read.
    pub fn caller_or_root() -> Self {
        Self {
            uid: geteuid(),
            or_root: true,
        }
    }

    /// The caller alone: for what is written.
    pub fn caller() -> Self {
        Self::only(geteuid())
    }

    /// One user.
    pub fn only(uid: Uid) -> Self {
        Self {
            uid,
            or_root: false,
        }
    }

    pub(super) fn is(self, uid: u32) -> bool {
        uid == self.uid.as_raw() || (self.or_root && uid == 0)
    }
}

/// What another user could have written, or what cannot be checked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Untrusted {
    #[error("{} belongs to {}{}", path.display(), name_of(*owner), owned_by_another(path, *owner, *wanted))]
    Owned {
        path: PathBuf,
        owner: u32,
        wanted: Owner,
    },
    #[error("{} is writable by {}, who could change what cursus does; `chmod go-w {}`", path.display(), writers(*mode), shell(path))]
    Writable { path: PathBuf, mode: u32 },
    #[error(
        "{} is a directory for everybody, who could put files of their own there; work in one of yours: `mkdir -m 700 mirror && cd mirror`",
        path.display()
    )]
    Shared { path: PathBuf },
    #[error("{} is a symbolic link, which can lead elsewhere at any time; put what it leads to in its place", path.display())]
    Link { path: PathBuf },
    #[error("{} is {is}, and should be {wanted}; remove it, or move it elsewhere", path.display())]
    Kind {
        path: PathBuf,
        is: &'static str,
        wanted: &'static str,
    },
    #[error("cannot open {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Untrusted {
    /// Where a directory or file cannot be opened or made.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(super) fn is_writable(&self) -> bool {
        matches!(self, Self::Writable { .. })
    }
}

/// All faults as one list. Where `chmod` repairs several, the last sentence repairs them at once.
pub fn list(faults: &[Untrusted]) -> Messages {
    let mut sentences: Vec<String> = faults
        .iter()
        .map(|fault| crate::error_chain::chain(fault))
        .collect();
    let writable: Vec<String> = faults
        .iter()
        .filter_map(|fault| match fault {
            Untrusted::Writable { path, .. } => Some(shell(path)),
            _ => None,
        })
        .collect();
    if writable.len() > 1 {
        sentences.push(format!("all at once: `chmod go-w {}`", writable.join(" ")));
    }
    Messages::of(&sentences)
}

/// A user as people and `sudo -u` know it.
fn name_of(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("#{uid}"), |user| user.name)
}

/// Why that is wrong, and what to do.
fn owned_by_another(path: &Path, owner: u32, wanted: Owner) -> String {
    let name = |uid| shell(Path::new(&name_of(uid)));
    // Of a server's files: nobody works as their owner.
    if wanted.uid != geteuid() {
        let wanted = name_of(wanted.uid.as_raw());
        return format!(", not to {wanted}, who runs the private PostgreSQL; move it elsewhere");
    }
    let (alien, ours) = (name_of(owner), name_of(wanted.uid.as_raw()));
    let take = format!("chown -R {} {}", name(wanted.uid.as_raw()), shell(path));
    let run = format!("run it as {alien}: `sudo -u {} cursus …`", name(owner));
    if wanted.uid.is_root() {
        return format!(
            ": what root writes there {alien} could not use, and what {alien} writes there would command root; {run}, or, if all of \
             it is root's work, `{take}`"
        );
    }
    if owner == 0 {
        return format!(": {ours} could not write there; make it yours: `sudo {take}`");
    }
    format!(
        ": {alien} could change what cursus does; {run}, or, if all of it is your work, `sudo {take}`"
    )
}

fn writers(mode: u32) -> &'static str {
    match mode & WRITABLE {
        0o020 => "its group",
        0o002 => "others",
        _ => "its group and others",
    }
}
