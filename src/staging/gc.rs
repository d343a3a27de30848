//! Old runs: which of them are not needed any more, and their removal.
//!
//! A run is needed by the resources in it: each resource's newest complete full read stays, and all that was read after
//! it, because together they are what a database can be built from. Of a resource that consists of named reads alone the same
//! holds for each of them. The caller passes what else needs a run.
//! A run is removed by one rename first, so that a kill leaves it complete or removed; the next removal deletes the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use tracing::warn;

use super::directory::{REMOVED, Staging, is_removed};
use super::error::StagingError;
use super::lock::StagingLock;
use super::manifest::{Mode, State};
use super::private_files;
use super::run::Run;
use crate::failpoint::Point;
use crate::name::Name;

/// Why the caller needs runs, a sentence each, by run id.
pub(crate) type Claims = BTreeMap<String, Vec<String>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It is not old enough.
    Young,
    /// The newest run gives the next one its number, and may be resumed.
    Newest,
    /// It holds the newest complete full read of these, or what was read after it.
    Needed(Vec<Name>),
    /// What it holds of these is unreadable.
    Unreadable(Vec<Name>),
    /// The caller needs it.
    Claimed(String),
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[Name]| {
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            names.join(", ")
        };
        match self {
            Self::Young => f.write_str("it is not old enough"),
            Self::Newest => f.write_str("it is the newest run"),
            Self::Needed(names) => write!(
                f,
                "no newer run has a complete full read of {}",
                list(names)
            ),
            Self::Unreadable(names) => write!(f, "unreadable: the manifest of {}", list(names)),
            Self::Claimed(why) => f.write_str(why),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct GcDecision {
    pub(crate) run: Run,
    pub(crate) keep: Vec<Keep>,
}

#[derive(Default)]
struct Holds {
    final_reads: Vec<(Name, Option<Name>, Worth)>,
    unreadable: Vec<Name>,
}

/// How much of a resource a read covers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Useful only after an earlier read.
    Part,
    /// A beginning where there is no complete full read.
    UnprovenFull,
    CompleteFull,
}

/// Decides which runs may be removed, of all runs by number: those that began before `before`, unless they are needed.
pub(crate) fn judge(
    runs: &[Run],
    before: Timestamp,
    claims: &Claims,
) -> Result<Vec<GcDecision>, StagingError> {
    let is_young = |run: &Run| run.record().started_at >= before;
    // Nothing to read of thousands of manifests then.
    if runs.iter().all(is_young) {
        return Ok(runs.iter().map(|run| stays(run, Keep::Young)).collect());
    }
    let holds = runs.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    let reads = || holds.iter().flat_map(|holds| &holds.final_reads);
    let have_own: BTreeSet<&Name> = reads()
        .filter(|(_, read, _)| read.is_none())
        .map(|(name, ..)| name)
        .collect();
    // Beside a read of the resource's own, named ones only add to it.
    let part_of = |(name, read, worth): &'_ (Name, Option<Name>, Worth)| match read {
        Some(_) if have_own.contains(name) => ((name.clone(), None), Worth::Part),
        read => ((name.clone(), read.clone()), *worth),
    };
    // From which run on the reads are needed: their newest and best beginning.
    let mut needed_from: BTreeMap<(Name, Option<Name>), (Worth, u64)> = BTreeMap::new();
    for (run, holds) in runs.iter().zip(&holds) {
        for (read, worth) in holds.final_reads.iter().map(part_of) {
            let best = needed_from.entry(read).or_insert((Worth::Part, 0));
            if worth > Worth::Part && worth >= best.0 {
                *best = (worth, run.record().seq);
            }
        }
    }
    let newest = runs.last().map(Run::id);
    let verdicts = runs.iter().zip(&holds).map(|(run, holds)| {
        if is_young(run) {
            return stays(run, Keep::Young);
        }
        let mut keep = Vec::new();
        if Some(run.id()) == newest {
            keep.push(Keep::Newest);
        }
        let needed: BTreeSet<Name> = (holds.final_reads.iter().map(part_of))
            .filter(|(read, _)| run.record().seq >= needed_from.get(read).map_or(0, |best| best.1))
            .map(|((name, _), _)| name)
            .collect();
        if !needed.is_empty() {
            keep.push(Keep::Needed(needed.into_iter().collect()));
        }
        if !holds.unreadable.is_empty() {
            keep.push(Keep::Unreadable(holds.unreadable.clone()));
        }
        let claims = claims.get(run.id().as_str()).into_iter().flatten();
        keep.extend(claims.map(|why| Keep::Claimed(why.clone())));
        GcDecision {
            run: run.clone(),
            keep,
        }
    });
    Ok(verdicts.collect())
}

fn stays(run: &Run, why: Keep) -> GcDecision {
    GcDecision {
        run: run.clone(),
        keep: vec![why],
    }
}

fn worth(mode: Mode, state: State) -> Worth {
    match (mode, state) {
        (Mode::Full, State::Complete) => Worth::CompleteFull,
        (Mode::Full, state) if state.moves_cursor() => Worth::UnprovenFull,
        _ => Worth::Part,
    }
}

fn look(run: &Run) -> Result<Holds, StagingError> {
    let mut holds = Holds::default();
    for name in run.resources()? {
        match run.manifest(&name) {
            Ok(None) => {}
            // A fan-out over no ids holds nothing.
            Ok(Some(manifest)) if manifest.pages == 0 => {}
            Ok(Some(manifest)) => {
                let own = manifest
                    .own_read
                    .then(|| (name.clone(), None, worth(manifest.mode, manifest.state)));
                holds.final_reads.extend(own);
                let named = manifest.reads.iter().map(|(read, manifest)| {
                    let worth = worth(manifest.mode, manifest.state);
                    (name.clone(), Some(read.clone()), worth)
                });
                holds.final_reads.extend(named);
            }
            Err(StagingError::Broken { .. }) => holds.unreadable.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(holds)
}

impl Staging {
    /// Removes a run. Needs the lock: who holds it is the only one to write runs.
    pub(crate) fn remove(&self, _lock: &StagingLock, run: &Run) -> Result<(), StagingError> {
        let directory = run.directory();
        let away = self.root().join(format!("{REMOVED}{}", run.id()));
        (Point::GcRename.io())
            .and_then(|()| std::fs::rename(directory, &away))
            .map_err(private_files::io("remove", directory))?;
        Point::GcRenamed.reach();
        if let Some(day) = directory.parent() {
            private_files::sync_dir(day)?;
            // Other runs of the day keep it.
            let _ = std::fs::remove_dir(day);
        }
        private_files::sync_dir(self.root())?;
        remove_all(&away)?;
        Point::GcRemoved.reach();
        Ok(())
    }

    /// Finishes interrupted removals. A file with such a name is reported, and stays.
    pub(crate) fn finish_removals(&self, _lock: &StagingLock) -> Result<(), StagingError> {
        let failed = |error| private_files::io_error("list", self.root(), error);
        for entry in std::fs::read_dir(self.root()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !is_removed(&entry.file_name()) {
                continue;
            }
            if entry.file_type().map_err(failed)?.is_dir() {
                remove_all(&entry.path())?;
            } else {
                warn!(
                    "{} is named like a run that is being removed, but is no directory: it is not of cursus; move it away",
                    entry.path().display()
                );
            }
        }
        Ok(())
    }
}

fn remove_all(directory: &Path) -> Result<(), StagingError> {
    std::fs::remove_dir_all(directory).map_err(private_files::io("remove", directory))
}

impl Run {
    /// Bytes of its files on disk.
    pub(crate) fn size(&self) -> u64 {
        walkdir::WalkDir::new(self.directory())
            .into_iter()
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .filter(std::fs::Metadata::is_file)
            .map(|file| file.len())
            .sum()
    }
}
