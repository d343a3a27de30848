//! The staging directory: the log of what was extracted.
//!
//! The only module that knows file names. Knows nothing of HTTP or PostgreSQL. A page is kept byte for
//! byte as it was received (gzip around it); a journal line follows when the page is durable; a manifest,
//! written last and by rename, says that a resource is final.

mod approval;
mod files;
mod gc;
pub(crate) mod journal;
mod manifest;
mod page;
mod resume;
mod run;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock;
use crate::failpoint::Point;
use crate::printable;

pub use approval::Approval;
pub use gc::{Claims, Keep, Verdict, judge};
pub use journal::PageEntry;
pub use manifest::{Evidence, Manifest, Mode, State, Window};
pub use page::{ResourceWriter, StagedResource};
pub use resume::Asked;
pub use run::{Outcome, ResourceSummary, Run, RunId, RunRecord, RunState, Selection};

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
        let path = self.root.join(files::LOCK);
        let mut file = files::open_private(&path)?;
        let mut taken = file.try_lock();
        for _ in 0..LOOKS {
            if !matches!(taken, Err(std::fs::TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(LOOK);
            taken = file.try_lock();
        }
        match taken {
            Ok(()) => {
                files::replace_content(
                    &mut file,
                    &path,
                    &format!(
                        "pid {}, `cursus {holder}`, since {:.0}\n",
                        std::process::id(),
                        clock::now()
                    ),
                )?;
                Point::LockTaken.reach();
                Ok(StagingLock { _file: file })
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(StagingError::Locked {
                holder: std::fs::read_to_string(&path)
                    .ok()
                    .map(|text| printable::line(text.trim()).into_owned())
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
    /// staging directory that was lost. Its name comes after theirs too, also if the clock was set back: a younger run
    /// with a lower number means that the directory was replaced. Needs the lock.
    pub fn create_run(
        &self,
        _lock: &StagingLock,
        now: Timestamp,
        floor: u64,
        asked: &Asked,
    ) -> Result<Run, StagingError> {
        let runs = self.runs()?;
        self.forget_unmade()?;
        let last = runs.iter().map(|run| run.record().seq).max();
        let seq = 1 + last.unwrap_or(0).max(floor);
        let newest = runs.iter().map(Run::id).max();
        Run::create(&self.root, now, newest, seq, asked)
    }

    /// Whether a process is writing a run now.
    pub fn is_being_written(&self) -> Result<bool, StagingError> {
        let lock = files::open(&self.root.join(files::LOCK))?;
        Ok(lock.is_some_and(|file| {
            matches!(
                file.try_lock_shared(),
                Err(std::fs::TryLockError::WouldBlock)
            )
        }))
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
        in_order(runs)
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

/// Runs by their numbers, of which each has its own: two with the same would be taken for one.
fn in_order(mut runs: Vec<Run>) -> Result<Vec<Run>, StagingError> {
    runs.sort_by(|a, b| (a.record().seq, a.id()).cmp(&(b.record().seq, b.id())));
    match runs
        .windows(2)
        .find(|pair| pair[0].record().seq == pair[1].record().seq)
    {
        Some(pair) => Err(StagingError::Broken {
            path: pair[1].directory().to_owned(),
            problem: format!(
                "it has the number of the run {} ({})",
                pair[0].id(),
                pair[0].record().seq
            ),
            advice: "one of them comes from another staging directory: move it out of this one",
        }),
        None => Ok(runs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn page(number: u32, fetched_at: Timestamp) -> PageEntry {
        PageEntry {
            page: number,
            slice: None,
            request: String::new(),
            status: 200,
            rows: 0,
            bytes: 0,
            sha256: String::new(),
            x_total: None,
            per_page: None,
            first_id: None,
            last_id: None,
            fetched_at,
            server_date: None,
            duration_ms: 1,
            attempts: 1,
            replaces: None,
        }
    }

    #[test]
    fn pages_and_runs_come_later_than_those_before_also_when_the_clock_was_set_back() {
        let directory = tempfile::tempdir().unwrap();
        let staging = Staging::new(directory.path());
        let lock = staging.lock("test").unwrap();
        let now = clock::now();
        let day = jiff::SignedDuration::from_hours(24);
        let run = staging
            .create_run(&lock, now + day, 0, &Asked::default())
            .unwrap();
        let name = Name::parse("users").unwrap();
        let (writer, _) = run.writer(&name).unwrap();
        let first = writer.write(b"[]", page(1, now + day)).unwrap();
        drop(writer);
        let (writer, known) = run.writer(&name).unwrap();
        assert_eq!(known, std::slice::from_ref(&first));
        let second = writer.write(b"[]", page(2, clock::steady())).unwrap();
        let third = writer.write(b"[]", page(3, clock::steady())).unwrap();
        assert!(first.fetched_at < second.fetched_at && second.fetched_at < third.fetched_at);
        let next = staging
            .create_run(&lock, now, 0, &Asked::default())
            .unwrap();
        assert!(next.id() > run.id());
        assert_eq!(next.record().started_at, now);
    }

    #[test]
    fn a_page_that_the_system_does_not_let_us_read_is_not_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let staging = Staging::new(directory.path());
        let lock = staging.lock("test").unwrap();
        let now = clock::now();
        let run = staging
            .create_run(&lock, now, 0, &Asked::default())
            .unwrap();
        let name = Name::parse("users").unwrap();
        let (writer, _) = run.writer(&name).unwrap();
        let entry = PageEntry {
            slice: Some("id=1".to_owned()),
            ..page(1, now)
        };
        writer.write(b"[]", entry).unwrap();
        drop(writer);
        let (slice, aside) = (
            run.directory().join("users/id=1"),
            directory.path().join("aside"),
        );
        std::fs::rename(&slice, &aside).unwrap();
        std::fs::write(&slice, "").unwrap();
        assert!(matches!(run.writer(&name), Err(StagingError::Io { .. })));
        std::fs::remove_file(&slice).unwrap();
        std::fs::rename(&aside, &slice).unwrap();
        let (_, known) = run.writer(&name).unwrap();
        assert_eq!(known.len(), 1);
    }

    #[test]
    fn a_file_of_another_format_is_not_read_as_if_it_were_of_this_one() {
        let directory = tempfile::tempdir().unwrap();
        let staging = Staging::new(directory.path());
        let lock = staging.lock("test").unwrap();
        let run = staging
            .create_run(&lock, clock::now(), 0, &Asked::default())
            .unwrap();
        let users = Name::parse("users").unwrap();
        let (writer, _) = run.writer(&users).unwrap();
        drop(writer);
        let refused = |file: &str, text: &str| {
            let path = run.directory().join(file);
            std::fs::write(&path, text).unwrap();
            let error = match file {
                "run.json" => staging.runs().unwrap_err(),
                "approvals.json" => run.approvals().unwrap_err(),
                _ => run.manifest(&users).unwrap_err(),
            };
            let told = error.to_string();
            assert!(told.starts_with(&path.display().to_string()), "{told}");
            assert!(told.contains("its format is 2"), "{told}");
        };
        refused("approvals.json", r#"{"format": 2, "approvals": []}"#);
        // Also if it has nothing else that is known.
        refused("users/manifest.json", r#"{"format": 2}"#);
        let record = std::fs::read_to_string(run.directory().join("run.json")).unwrap();
        let record = record.replace("\"format\": 1", "\"format\": 2");
        refused("run.json", &record);
    }

    #[test]
    fn to_look_whether_a_run_is_being_written_keeps_nobody_from_writing_one() {
        let directory = tempfile::tempdir().unwrap();
        let staging = Staging::new(directory.path());
        drop(staging.lock("test").unwrap());
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    staging.is_being_written().unwrap();
                }
            });
            let locked = (0..300).all(|_| staging.lock("test").is_ok());
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(locked);
        });
    }

    #[test]
    fn a_run_that_was_never_made_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let staging = Staging::new(directory.path());
        let lock = staging.lock("test").unwrap();
        let died = directory.path().join("2026-11-23/T020000Z");
        files::create_dirs(&died).unwrap();
        std::fs::write(died.join(".run.json.tmp"), "{").unwrap();
        staging
            .create_run(&lock, clock::now(), 0, &Asked::default())
            .unwrap();
        assert!(!died.exists());
    }

    #[test]
    fn a_list_of_runs_leaves_out_what_only_matters_of_one_and_a_resumed_run_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let staging = Staging::new(directory.path());
        let lock = staging.lock("test").unwrap();
        let (now, asked) = (Timestamp::now(), Asked::default());
        for limit in [1_200, 2_400] {
            let mut run = staging.create_run(&lock, now, 0, &asked).unwrap();
            run.update(|record| {
                let name = Name::parse("users").unwrap();
                let summary = ResourceSummary::without_pages(name, "failed", "a note".to_owned());
                record.resources.push(summary);
                record
                    .rate
                    .insert("limit_per_hour".to_owned(), limit.into());
                record.outcome = Some(Outcome::Stopped);
            })
            .unwrap();
        }
        let runs = staging.runs().unwrap();
        assert!(runs.iter().all(|run| run.record().resources.is_empty()));
        let limits: Vec<_> = (runs.iter())
            .map(|run| run.record().rate.get("limit_per_hour")?.as_u64())
            .collect();
        assert_eq!(limits, [None, Some(2_400)]);
        let resumed = staging.resume(&lock, now, &asked).unwrap().unwrap();
        assert_eq!(resumed.record().resources.len(), 1);
        let whole = staging.runs_in_full().unwrap();
        assert_eq!(whole[1].record(), resumed.record());
        assert_eq!(whole[0].record().rate["limit_per_hour"], 1_200);
    }
}
