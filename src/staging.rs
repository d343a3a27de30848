//! The staging directory: the log of what was extracted.
//!
//! The only module that knows file names. Knows nothing of HTTP or PostgreSQL. A page is kept byte for
//! byte as it was received (gzip around it); a journal line follows when the page is durable; a manifest,
//! written last and by rename, says that a resource is final.

mod approval;
mod files;
mod gc;
mod journal;
mod manifest;
mod page;
mod run;

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use approval::Approval;
pub use gc::{Claims, Keep, Verdict, judge};
pub use journal::PageEntry;
pub use manifest::{Evidence, Manifest, Mode, State, Window};
pub(crate) use page::hex;
pub use page::{ResourceWriter, StagedResource};
pub use run::{Outcome, ResourceSummary, Run, RunId, RunRecord, RunState, Selection};

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
    /// No run fits what was asked for.
    #[error("{0}")]
    NoRun(String),
    /// Another process is writing.
    #[error("another cursus is writing to {}: {holder}; wait for it to end", path.display())]
    Locked {
        /// The staging directory.
        path: PathBuf,
        /// Its process, subcommand and start.
        holder: String,
    },
}

/// Held while a run is written; let go when dropped, or when the process dies.
#[derive(Debug)]
pub struct StagingLock {
    _file: File,
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
        let path = self.root.join(".lock");
        let mut file = files::open_private(&path)?;
        match file.try_lock() {
            Ok(()) => {
                files::replace_content(
                    &mut file,
                    &path,
                    &format!(
                        "pid {}, `cursus {holder}`, since {}\n",
                        std::process::id(),
                        Timestamp::now()
                    ),
                )?;
                Ok(StagingLock { _file: file })
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(StagingError::Locked {
                holder: std::fs::read_to_string(&path)
                    .ok()
                    .map(|text| text.trim().to_owned())
                    .filter(|text| !text.is_empty())
                    .unwrap_or_else(|| "its name is not known".to_owned()),
                path: self.root.clone(),
            }),
            Err(std::fs::TryLockError::Error(source)) => Err(StagingError::Io {
                doing: "lock",
                path,
                source,
            }),
        }
    }

    /// Makes a new run, numbered after all others and after `floor`: what a database has loaded may come from a
    /// staging directory that was lost. Needs the lock.
    pub fn create_run(
        &self,
        _lock: &StagingLock,
        now: Timestamp,
        floor: u64,
        selection: Selection,
    ) -> Result<Run, StagingError> {
        let seq = 1 + self
            .runs()?
            .iter()
            .map(|run| run.record().seq)
            .max()
            .unwrap_or(0)
            .max(floor);
        Run::create(&self.root, now, seq, selection)
    }

    /// The newest run, if it ended before its time and was asked for in the same way.
    pub fn unfinished(
        &self,
        now: Timestamp,
        selection: &Selection,
    ) -> Result<Option<Run>, StagingError> {
        let newest = self.runs()?.pop();
        Ok(newest.filter(|run| run.is_resumable(selection, now)))
    }

    /// The unfinished run, open again. Needs the lock.
    pub fn resume(
        &self,
        _lock: &StagingLock,
        now: Timestamp,
        selection: &Selection,
    ) -> Result<Option<Run>, StagingError> {
        let Some(mut run) = self.unfinished(now, selection)? else {
            return Ok(None);
        };
        run.update(|record| {
            record.state = RunState::Open;
            record.outcome = None;
            record.finished_at = None;
        })?;
        Ok(Some(run))
    }

    /// Whether a process is writing a run now.
    pub fn is_being_written(&self) -> bool {
        File::open(self.root.join(".lock")).is_ok_and(|file| {
            matches!(
                file.try_lock_shared(),
                Err(std::fs::TryLockError::WouldBlock)
            )
        })
    }

    /// All runs by number. A directory without a readable `run.json` is named in the error.
    pub fn runs(&self) -> Result<Vec<Run>, StagingError> {
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
        let mut runs = Vec::new();
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
            if entry.file_type().is_dir()
                && let Some(id) = RunId::of_directory(entry.path())
                && let Some(run) = Run::open(entry.path(), &id)?
            {
                runs.push(run);
            }
        }
        runs.sort_by_key(|run| run.record().seq);
        Ok(runs)
    }

    /// The run that `text` names: an id, a day (its newest run), `latest`, or a path.
    pub fn find(&self, text: &str) -> Result<Run, StagingError> {
        if text.contains('/') {
            let path = Path::new(text);
            let id = path
                .canonicalize()
                .ok()
                .and_then(|path| RunId::of_directory(&path));
            let run = match id {
                Some(id) => Run::open(path, &id)?,
                None => None,
            };
            return run.ok_or_else(|| {
                StagingError::NoRun(format!(
                    "{text} is no run; a run is a directory such as 2026-11-23/T020000Z with a run.json"
                ))
            });
        }
        let mut runs = self.runs()?;
        let found = if text == "latest" {
            runs.pop()
        } else {
            runs.iter()
                .rposition(|run| run.id().as_str() == text || run.id().day() == text)
                .map(|at| runs.swap_remove(at))
        };
        found.ok_or_else(|| {
            StagingError::NoRun(if text == "latest" {
                format!(
                    "there is no run in {}; `cursus extract` makes one",
                    self.root.display()
                )
            } else {
                format!(
                    "there is no run `{text}` in {}; `cursus stage ls` lists them, and a run is named by its id, its day or `latest`",
                    self.root.display()
                )
            })
        })
    }
}
