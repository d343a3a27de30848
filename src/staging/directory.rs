//! All runs of a staging directory, in order.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::erasure::blanks::Blanks;
use super::erasure::ledger::ErasureLedger;
use super::error::StagingError;
use super::exchange::RunSource;
use super::lock::{StagingLock, StoreLock};
use super::run::{self, Run};
use super::run_id::RunId;
use super::run_spec::RunSpec;
use super::{lock, private_files};
use crate::failpoint::Point;
use crate::person::People;

/// Directories with this prefix are runs that are being removed.
pub(super) const REMOVED: &str = ".removed-";

/// The root of all runs.
#[derive(Clone, Debug)]
pub struct Staging {
    root: PathBuf,
    /// Where people are in records; without it nobody is blank.
    people: Option<Arc<People>>,
    /// Where pages are, if not in the directory.
    source: Option<Arc<dyn RunSource>>,
    /// Whether `temporary` made it.
    pub(super) is_temporary: bool,
}

impl Staging {
    /// The staging directory at `root`; it need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            people: None,
            source: None,
            is_temporary: false,
        }
    }

    /// A staging directory that is deleted when the command ends: what it receives is not made durable.
    #[cfg_attr(
        not(feature = "remote"),
        allow(dead_code, reason = "for object stores")
    )]
    pub(crate) fn temporary(root: impl Into<PathBuf>) -> Self {
        Self {
            is_temporary: true,
            ..Self::new(root)
        }
    }

    /// The same, whose pages come from there; nothing of them is rewritten.
    #[must_use]
    #[cfg_attr(
        not(feature = "remote"),
        allow(dead_code, reason = "for object stores")
    )]
    pub(crate) fn with_source(self, source: Arc<dyn RunSource>) -> Self {
        Self {
            source: Some(source),
            ..self
        }
    }

    /// Waits for the manifests and notes of these runs, where runs are in a store. To ask a run for them waits as well, but nothing else
    /// is heard meanwhile, such as a signal.
    pub(crate) async fn bring<'r>(&self, runs: impl IntoIterator<Item = &'r Run>) {
        if let Some(source) = &self.source {
            let ids: Vec<RunId> = runs.into_iter().map(|run| run.id().clone()).collect();
            source.bring_all(&ids).await;
        }
    }

    /// Whether its pages are somewhere else.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.source.is_some()
    }

    /// The same, in whose pages those are blank whom its erasure ledger names.
    #[must_use]
    pub(crate) fn with_people(self, people: Arc<People>) -> Self {
        Self {
            people: Some(people),
            ..self
        }
    }

    pub(crate) fn erasures(&self) -> Result<ErasureLedger, StagingError> {
        ErasureLedger::read(&self.root)
    }

    /// Who is blank in pages, as the ledger is now.
    fn blanks(&self) -> Result<Option<Arc<Blanks>>, StagingError> {
        let Some(people) = &self.people else {
            return Ok(None);
        };
        Ok(Blanks::new(Arc::clone(people), self.erasures()?))
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the right to write runs, in the name of `holder` (a subcommand).
    pub fn lock(&self, holder: &str) -> Result<StagingLock, StagingError> {
        lock::lock(&self.root, holder)
    }

    /// Takes the right to write to the object store of this directory, in the name of `holder` (a subcommand).
    #[cfg_attr(
        not(feature = "remote"),
        allow(dead_code, reason = "for object stores")
    )]
    pub(crate) fn lock_store(&self, holder: &str) -> Result<StoreLock, StagingError> {
        lock::lock_store(&self.root, holder)
    }

    /// Whether a process is writing a run now.
    pub(crate) fn is_being_written(&self) -> Result<bool, StagingError> {
        Ok(lock::keep_writers_out(&self.root)?.is_none())
    }

    /// Makes a new run, numbered after all others and after `floor`: what a database has loaded may come from a
    /// staging directory that was lost. Its name comes after theirs too, also if the clock was set back: a younger run
    /// with a lower number means that the directory was replaced. Needs the lock.
    pub fn create_run(
        &self,
        lock: &StagingLock,
        now: Timestamp,
        floor: u64,
        spec: &RunSpec,
    ) -> Result<Run, StagingError> {
        let staging_id = self.identify(lock)?;
        let runs = self.runs()?;
        self.forget_unmade()?;
        let last = runs.iter().map(|run| run.record().seq).max();
        let seq = last.unwrap_or(0).max(floor).saturating_add(1);
        if seq > run::LAST {
            return Err(StagingError::broken(
                self.root.clone(),
                format!("no run can come after number {}", seq - 1),
                "begin a new staging directory and a new database",
            ));
        }
        let newest = runs.iter().map(Run::id).max();
        let run = Run::create(&self.root, now, newest, seq, staging_id, spec)?;
        Ok(run.with_blanks(self.blanks()?.as_ref()))
    }

    /// The runs to which nothing is added while they are loaded, by number. A run that is being written is left out: a part
    /// of it would be loaded in the wrong order, references before their targets. Of an interrupted run only the resources
    /// that are final now are visible, also if another process resumes it meanwhile.
    pub(crate) fn finished_runs(&self) -> Result<Vec<Run>, StagingError> {
        let mut runs = self.runs()?;
        Point::RunsListed.reach();
        let no_writer = lock::keep_writers_out(&self.root)?;
        // Only the newest can be written, or written again.
        let Some(newest) = runs.pop_if(|run| run.may_grow()) else {
            return Ok(runs);
        };
        // In this order: what is final before the run is found closed was final when it was closed.
        let is_final = newest.final_resources()?;
        let blanks = self.blanks()?;
        let newest = Run::open(newest.directory(), newest.id())?;
        runs.extend(
            newest
                .map(|run| run.with_blanks(blanks.as_ref()))
                .map(|run| run.with_source(self.source.as_ref()))
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
        let blanks = self.blanks()?;
        // By name is nearly by number.
        for (directory, id) in directories.into_iter().rev() {
            let run = Run::open(&directory, &id)?;
            runs.extend(run.map(|run| {
                run.without_details(&mut common)
                    .with_blanks(blanks.as_ref())
                    .with_source(self.source.as_ref())
            }));
        }
        in_order(self.note_id(runs))
    }

    /// All runs by number, with all that their records hold.
    pub(crate) fn runs_in_full(&self) -> Result<Vec<Run>, StagingError> {
        let (mut runs, blanks) = (Vec::new(), self.blanks()?);
        for (directory, id) in self.run_directories()? {
            let run = Run::open(&directory, &id)?;
            runs.extend(run.map(|run| run.with_blanks(blanks.as_ref())));
        }
        in_order(runs)
    }

    /// Removes what is left of runs whose process died while creating them.
    fn forget_unmade(&self) -> Result<(), StagingError> {
        for (directory, id) in self.run_directories()? {
            if Run::open(&directory, &id)?.is_none() {
                Run::forget(&directory);
            }
        }
        Ok(())
    }

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
            .filter_entry(|entry| !is_removed(entry.file_name()));
        for entry in entries {
            let entry = match entry.map_err(std::io::Error::from) {
                Ok(entry) => entry,
                // Removed meanwhile.
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
            // To skip a link would lose a run silently, to follow it would trust other directories.
            if id.is_some() || RunId::of_directory(&entry.path().join("T000000Z")).is_some() {
                private_files::refuse_link(entry.path())?;
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
                    None => {
                        let run = Run::open(path, &id)?;
                        let blanks = self.blanks()?;
                        run.map(|run| run.with_blanks(blanks.as_ref()))
                    }
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
                "no run in {root} has staged anything; `cursus status` shows the outcome of the last one"
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

/// Runs by number. Refuses two with the same number, which would be taken for one, and names in another order: a run that is
/// numbered after a younger one would never be loaded.
fn in_order(mut runs: Vec<Run>) -> Result<Vec<Run>, StagingError> {
    runs.sort_by(|a, b| (a.record().seq, a.id()).cmp(&(b.record().seq, b.id())));
    for pair in runs.windows(2) {
        let (seq, next) = (pair[0].record().seq, pair[1].record().seq);
        let (id, path) = (pair[0].id(), pair[1].directory().to_owned());
        if seq == next {
            return Err(StagingError::broken(
                path,
                format!("it has the number of the run {id} ({seq})"),
                "one of them comes from another staging directory: move it out of this one",
            ));
        }
        if id > pair[1].id() {
            return Err(StagingError::broken(
                path,
                format!("its number ({next}) is above that of the younger run {id} ({seq})"),
                "the run.json of one of them was changed, or it comes from another staging directory: restore it, or \
                         move that run out of this one",
            ));
        }
    }
    Ok(runs)
}

/// Whether a name in the staging directory is that of a run that is being removed.
pub(super) fn is_removed(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(REMOVED))
}
