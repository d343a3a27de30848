//! The staging directory: the log of what was extracted.
//!
//! The only module that knows file names. Knows nothing of HTTP or PostgreSQL. A page is kept byte for
//! byte as it was received (gzip around it); a journal line follows when the page is durable; a manifest,
//! written last and by rename, says that a resource is final.

mod adoption;
mod approval;
mod command;
mod files;
mod gc;
mod gzip;
mod identity;
pub(crate) mod journal;
mod known;
mod manifest;
mod page;
mod resume;
mod run;

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::sync::watch;

use crate::clock;
use crate::failpoint::Point;
use crate::printable;
use crate::trusted::Untrusted;

pub use adoption::Adoption;
pub use approval::Approval;
pub use command::{CommandRecord, Work};
pub use gc::{Claims, Keep, Verdict, judge};
pub use journal::PageEntry;
pub(crate) use journal::PageNumbers;
pub use known::KnownPages;
pub use manifest::{Evidence, Manifest, Mode, ReadManifest, SmallerPages, State, Window};
pub use page::{PageReader, ResourceWriter, StagedResource};
pub use resume::Asked;
pub use run::{Outcome, ReadSummary, ResourceSummary, Run, RunId, RunRecord, RunState, Selection};

/// Of the JSON files of a run.
pub const FORMAT: u32 = 1;
const EXTRACT_AGAIN: &str = "extract this resource again (`cursus extract --full --select …`)";
/// Whoever asks whether a run is being written holds the lock for a moment: it is tried so often, after so long.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(5);

/// The root of all runs.
#[derive(Clone, Debug)]
pub struct Staging {
    root: PathBuf,
}

/// What can be wrong with staged files.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried, such as `write`.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}; {advice}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        advice: &'static str,
    },
    /// Somebody else could have written it.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// No run fits what was asked for.
    #[error("{0}")]
    NoRun(String),
    /// Another process is writing.
    #[error(
        "another cursus is writing to {}: {holder}; wait for it to end, or let this one wait: --wait-lock 10m",
        path.display()
    )]
    Locked {
        /// The staging directory.
        path: PathBuf,
        /// Its process, subcommand and start.
        holder: String,
    },
}

/// Held while a run is written; released when this and every share of it are dropped, or when the process dies.
#[derive(Debug)]
pub struct StagingLock {
    locked: Arc<Locks>,
    shares: watch::Sender<()>,
}

/// A share of the lock, for work that can outlive whoever started it, such as a page write on a thread of its own.
#[derive(Debug)]
pub struct LockShare {
    _locked: Arc<Locks>,
    _share: watch::Receiver<()>,
}

impl StagingLock {
    /// One more share: the lock is held until it is dropped.
    pub fn share(&self) -> LockShare {
        LockShare {
            _locked: Arc::clone(&self.locked),
            _share: self.shares.subscribe(),
        }
    }

    /// Waits until every share is dropped: nothing is written any more.
    pub async fn wait_for_shares(&self) {
        self.shares.closed().await;
    }
}

/// The directory itself, which nobody takes away under a run, and the file in it that names the holder.
#[derive(Debug)]
struct Locks {
    directory: File,
    file: File,
}

impl Locks {
    fn try_lock(&self) -> Result<(), TryLockError> {
        // Where a directory cannot be locked (a network file system), the file is what keeps others out.
        if let Err(TryLockError::WouldBlock) = self.directory.try_lock() {
            return Err(TryLockError::WouldBlock);
        }
        self.file.try_lock()
    }
}

/// Who holds the lock, as its file says. The name is written a moment after the lock is taken: what names a process that is
/// gone is read again.
fn told_holder(path: &Path) -> String {
    let read = || {
        let bytes = files::read(path).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let is_of_the_dead = |text: &str| {
        let pid = text
            .strip_prefix("pid ")
            .and_then(|rest| rest.split_once(','));
        let pid = pid.and_then(|(pid, _)| pid.parse().ok());
        pid.is_none_or(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
    };
    let mut text = read();
    for _ in 0..LOOKS {
        if !is_of_the_dead(&text) {
            break;
        }
        std::thread::sleep(LOOK);
        text = read();
    }
    match text.trim() {
        "" => "its name is not known".to_owned(),
        text => printable::line(text).into_owned(),
    }
}

impl Staging {
    /// The staging directory at `root`; it need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the right to write runs, in the name of `holder` (a subcommand).
    pub fn lock(&self, holder: &str) -> Result<StagingLock, StagingError> {
        files::create_dirs(&self.root)?;
        let path = self.root.join(files::LOCK);
        let mut locks = Locks {
            directory: self.open_root()?,
            file: files::open_private(&path)?,
        };
        let mut taken = locks.try_lock();
        for _ in 0..LOOKS {
            if !matches!(taken, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(LOOK);
            taken = locks.try_lock();
        }
        match taken {
            Ok(()) => {
                files::replace_content(
                    &mut locks.file,
                    &path,
                    &format!(
                        "pid {}, `cursus {holder}`, since {:.0}\n",
                        std::process::id(),
                        clock::now()
                    ),
                )?;
                Point::LockTaken.reach();
                Ok(StagingLock {
                    locked: Arc::new(locks),
                    shares: watch::Sender::default(),
                })
            }
            Err(TryLockError::WouldBlock) => Err(StagingError::Locked {
                holder: told_holder(&path),
                path: self.root.clone(),
            }),
            Err(TryLockError::Error(source)) => Err(StagingError::Io {
                doing: "lock",
                path,
                source,
            }),
        }
    }

    /// Makes a new run, numbered after all others and after `floor`: what a database has loaded may come from a
    /// staging directory that was lost. Its name comes after theirs too, also if the clock was set back: a younger run
    /// with a lower number means that the directory was replaced. Needs the lock.
    pub fn create_run(
        &self,
        lock: &StagingLock,
        now: Timestamp,
        floor: u64,
        asked: &Asked,
    ) -> Result<Run, StagingError> {
        let staging_id = self.identify(lock)?;
        let runs = self.runs()?;
        self.forget_unmade()?;
        let last = runs.iter().map(|run| run.record().seq).max();
        let seq = last.unwrap_or(0).max(floor).saturating_add(1);
        if seq > run::LAST {
            return Err(StagingError::Broken {
                path: self.root.clone(),
                problem: format!("no run can come after number {}", seq - 1),
                advice: "begin a staging directory and a database anew",
            });
        }
        let newest = runs.iter().map(Run::id).max();
        let run = Run::create(&self.root, now, newest, seq, staging_id, asked)?;
        self.forget_last_run(lock);
        Ok(run)
    }

    fn open_root(&self) -> Result<File, StagingError> {
        let folder = File::options()
            .read(true)
            .custom_flags(OFlag::O_DIRECTORY.bits())
            .open(&self.root);
        folder.map_err(|error| files::io_error("open", &self.root, error))
    }

    /// Whether a process is writing a run now.
    pub fn is_being_written(&self) -> Result<bool, StagingError> {
        Ok(self.keep_writers_out()?.is_none())
    }

    /// Keeps writers out while the result lives, which should be for a moment: they are tried again only for so long. None:
    /// there is one.
    fn keep_writers_out(&self) -> Result<Option<Vec<File>>, StagingError> {
        if !self.root.exists() {
            return Ok(Some(Vec::new()));
        }
        let mut held = vec![self.open_root()?];
        held.extend(files::open(&self.root.join(files::LOCK))?);
        let is_held = |file: &File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        Ok(if held.iter().any(is_held) {
            None
        } else {
            Some(held)
        })
    }

    /// The runs to which nothing is added while they are loaded, by number. A run that is being written is left out: half
    /// of it would be loaded in the wrong order, what refers to rows before the rows themselves. Of a run that ended before
    /// its time, what is final now is all that it shows, also if somebody resumes it meanwhile.
    pub fn finished_runs(&self) -> Result<Vec<Run>, StagingError> {
        let mut runs = self.runs()?;
        Point::RunsListed.reach();
        let no_writer = self.keep_writers_out()?;
        // Only the newest can be written, or written again.
        let Some(newest) = runs.pop_if(|run| run.may_grow()) else {
            return Ok(runs);
        };
        // In this order: what is final before the run is found closed was final when it was closed.
        let is_final = newest.final_resources()?;
        let newest = Run::open(newest.directory(), newest.id())?;
        runs.extend(
            newest
                .filter(|run| no_writer.is_some() || !run.is_open())
                .map(|run| run.showing_only(is_final)),
        );
        Ok(self.note_id(runs))
    }

    /// All runs by number, their records without the resources, and each rate figure only in the newest run that has
    /// it. A directory without a readable `run.json` is named in the error.
    pub fn runs(&self) -> Result<Vec<Run>, StagingError> {
        let directories = self.run_directories()?;
        let mut common = run::Common::default();
        let mut runs = Vec::with_capacity(directories.len());
        // By name is nearly by number.
        for (directory, id) in directories.into_iter().rev() {
            let run = Run::open(&directory, &id)?;
            runs.extend(run.map(|run| run.without_details(&mut common)));
        }
        in_order(self.note_id(runs))
    }

    /// All runs by number, with all that their records hold.
    pub fn runs_in_full(&self) -> Result<Vec<Run>, StagingError> {
        let mut runs = Vec::new();
        for (directory, id) in self.run_directories()? {
            runs.extend(Run::open(&directory, &id)?);
        }
        in_order(runs)
    }

    /// Takes away what is left of runs whose process died while making them.
    fn forget_unmade(&self) -> Result<(), StagingError> {
        for (directory, id) in self.run_directories()? {
            if Run::open(&directory, &id)?.is_none() {
                Run::forget(&directory);
            }
        }
        Ok(())
    }

    /// Where runs are, by name.
    fn run_directories(&self) -> Result<Vec<(PathBuf, RunId)>, StagingError> {
        if !self.root.exists() {
            return Ok(Vec::new());
        }
        if !self.root.is_dir() {
            return Err(StagingError::Io {
                doing: "list",
                path: self.root.clone(),
                source: std::io::ErrorKind::NotADirectory.into(),
            });
        }
        let mut directories = Vec::new();
        let entries = walkdir::WalkDir::new(&self.root)
            .min_depth(1)
            .max_depth(2)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| !gc::is_removed(entry.file_name()));
        for entry in entries {
            let entry = match entry.map_err(std::io::Error::from) {
                Ok(entry) => entry,
                // Removed while we look.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => {
                    return Err(StagingError::Io {
                        doing: "list",
                        path: self.root.clone(),
                        source,
                    });
                }
            };
            let id = RunId::of_directory(entry.path());
            // To pass over a link would lose a run without a word, to follow it would trust what lies elsewhere.
            if id.is_some() || RunId::of_directory(&entry.path().join("T000000Z")).is_some() {
                files::refuse_link(entry.path())?;
            }
            if entry.file_type().is_dir()
                && let Some(id) = id
            {
                directories.push((entry.into_path(), id));
            }
        }
        Ok(directories)
    }

    /// The run that `text` names: an id, a day or `latest` (the newest run of it that staged something), or a path.
    pub fn find(&self, text: &str) -> Result<Run, StagingError> {
        self.find_among(&self.runs()?, text)
    }

    /// The same among `runs`; a path may lead to another one.
    pub fn find_among(&self, runs: &[Run], text: &str) -> Result<Run, StagingError> {
        if text.contains('/') {
            let path = Path::new(text);
            let directory = path.canonicalize().ok();
            let id = directory.as_deref().and_then(RunId::of_directory);
            let is_it = |run: &&Run| run.directory().canonicalize().ok() == directory;
            let run = match id {
                Some(id) => match runs.iter().find(is_it) {
                    Some(run) => Some(run.clone()),
                    None => Run::open(path, &id)?,
                },
                None => None,
            };
            return run.ok_or_else(|| {
                StagingError::NoRun(format!(
                    "{text} is no run; a run is a directory such as 2026-11-23/T020000Z with a run.json"
                ))
            });
        }
        if let Some(run) = runs.iter().find(|run| run.id().as_str() == text) {
            return Ok(run.clone());
        }
        let is_latest = text == "latest";
        let mut has_any = false;
        for run in runs.iter().rev() {
            if !is_latest && run.id().day() != text {
                continue;
            }
            if run.has_staged()? {
                return Ok(run.clone());
            }
            has_any = true;
        }
        let root = self.root.display();
        Err(StagingError::NoRun(match (is_latest, has_any) {
            (true, false) => format!("there is no run in {root}; `cursus extract` makes one"),
            (true, true) => format!(
                "no run in {root} has staged anything; `cursus status` says what became of the last one"
            ),
            (false, true) => format!(
                "no run of {text} has staged anything; `cursus stage ls` lists them, and a run is named by its id, too"
            ),
            (false, false) => format!(
                "there is no run `{text}` in {root}; `cursus stage ls` lists them, and a run is named by its id, its day or \
                 `latest`"
            ),
        }))
    }
}

/// Runs by their numbers, of which each has its own: two with the same would be taken for one. Their names are in the same
/// order: what is numbered after a younger run would never be loaded.
fn in_order(mut runs: Vec<Run>) -> Result<Vec<Run>, StagingError> {
    runs.sort_by(|a, b| (a.record().seq, a.id()).cmp(&(b.record().seq, b.id())));
    for pair in runs.windows(2) {
        let (seq, next) = (pair[0].record().seq, pair[1].record().seq);
        let (id, path) = (pair[0].id(), pair[1].directory().to_owned());
        if seq == next {
            return Err(StagingError::Broken {
                path,
                problem: format!("it has the number of the run {id} ({seq})"),
                advice: "one of them comes from another staging directory: move it out of this one",
            });
        }
        if id > pair[1].id() {
            return Err(StagingError::Broken {
                path,
                problem: format!(
                    "its number ({next}) is above that of the younger run {id} ({seq})"
                ),
                advice: "the run.json of one of them was changed, or it comes from another staging directory: restore it, or \
                         move that run out of this one",
            });
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests;
