//! Which resources of which runs are not loaded yet. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::load::error::LoadError;
use crate::load::ledger::loads::{Loaded, LoadedResource};
use crate::name::Name;
use crate::staging::{Run, StagingError};

#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) run: Run,
    /// Its resources that are final and not loaded, by name.
    pub(crate) resources: Vec<Name>,
}

/// What is not loaded, oldest run first. A resource that is older than what is loaded of it is left out: a newer read
/// has superseded it. So has a run that read in full all that is not loaded, for all that lies before it. A full read of one
/// resource does not: the rows that other resources staged before it may need its parents of that time.
pub(crate) fn pending(
    config: &Config,
    runs: &[Run],
    loaded: &Loaded,
) -> Result<Vec<Pending>, LoadError> {
    let (mut waiting, full) = not_loaded(config, runs, loaded)?;
    let mut so_far: BTreeSet<&Name> = BTreeSet::new();
    let mut first = 0;
    for (seq, pending) in &waiting {
        so_far.extend(&pending.resources);
        if so_far.iter().all(|name| full.contains(&(*seq, *name))) {
            first = *seq;
        }
    }
    Ok(waiting.split_off(&first).into_values().collect())
}

/// What a replay loads, oldest run first: every run in turn, also those that a later full read replaces. The mirror
/// went through them, and what the prune limit held on the way depends on them.
pub(crate) fn history(
    config: &Config,
    runs: &[Run],
    loaded: &Loaded,
) -> Result<Vec<Pending>, LoadError> {
    let (waiting, _) = not_loaded(config, runs, loaded)?;
    Ok(waiting.into_values().collect())
}

/// The runs whose manifests [`pending`] and [`history`] read: a store brings them first.
pub(crate) fn runs_to_read<'r>(
    config: &'r Config,
    runs: &'r [Run],
    loaded: &'r Loaded,
) -> impl Iterator<Item = &'r Run> {
    let is_read = |run: &Run, name: &Name| {
        let is_old = |known: &LoadedResource| run.record().seq < known.seq;
        config.tables_of(name).next().is_some()
            && !loaded.get(name).is_some_and(is_old)
            && run.may_have(name)
    };
    let names = || config.resources.iter().map(|resource| &resource.name);
    runs.iter()
        .filter(move |run| names().any(|name| is_read(run, name)))
}

/// Runs with what is not loaded of them, by number, and which of it are complete full reads.
type Waiting<'c> = (BTreeMap<u64, Pending>, BTreeSet<(u64, &'c Name)>);

fn not_loaded<'c>(
    config: &'c Config,
    runs: &[Run],
    loaded: &Loaded,
) -> Result<Waiting<'c>, LoadError> {
    check_numbers(config, runs, loaded)?;
    let mut waiting: BTreeMap<u64, Pending> = BTreeMap::new();
    let mut full: BTreeSet<(u64, &Name)> = BTreeSet::new();
    for resource in &config.resources {
        if config.tables_of(&resource.name).next().is_none() {
            continue;
        }
        let known = loaded.get(&resource.name);
        for run in runs {
            let seq = run.record().seq;
            if known.is_some_and(|known| seq < known.seq) {
                continue;
            }
            // Of two staging directories runs may have the same number, and this one is older.
            if let Some(known) = known
                && seq == known.seq
                && (run.id().as_str() != known.run_id
                    || run.manifest_hash(&resource.name)? == known.manifest_hash)
            {
                continue;
            }
            match run.manifest(&resource.name) {
                Ok(None) => continue,
                Ok(Some(manifest)) if manifest.is_complete_full() => {
                    full.insert((seq, &resource.name));
                }
                // One that cannot be read is listed too, and fails by itself when it is loaded.
                Ok(Some(_)) | Err(StagingError::Broken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            waiting
                .entry(seq)
                .or_insert_with(|| Pending {
                    run: run.clone(),
                    resources: Vec::new(),
                })
                .resources
                .push(resource.name.clone());
        }
    }
    Ok((waiting, full))
}

/// A resource of which a staged run has a lower number than the loaded one, but is younger.
#[derive(Clone, Debug)]
pub(crate) struct Renumbered {
    pub(crate) resource: Name,
    pub(crate) run: String,
    pub(crate) newest: String,
}

/// Numbers of runs must continue where the loaded ones ended, or new runs would be taken for old ones. They do not after an extraction into
/// an older copy of the staging directory. A later complete full read replaces what they hold.
pub(crate) fn renumbered(config: &Config, runs: &[Run], loaded: &Loaded) -> Vec<Renumbered> {
    let find = |(name, known): (&Name, &LoadedResource)| {
        // A staging directory that has the loaded run is the one that it was loaded from.
        let is_loaded =
            |run: &Run| run.id().as_str() == known.run_id && run.record().seq == known.seq;
        let is_younger = |run: &&Run| {
            run.record().seq <= known.seq && run.id().as_str() >= known.run_id.as_str()
        };
        let makes_up = |run: &Run| {
            run.record().seq > known.seq
                && matches!(run.manifest(name), Ok(Some(manifest)) if manifest.is_complete_full())
        };
        let run = runs.iter().find(is_younger)?;
        let is_open = !runs.iter().any(is_loaded) && !runs.iter().any(makes_up);
        is_open.then(|| Renumbered {
            resource: name.clone(),
            run: run.id().to_string(),
            newest: known.run_id.clone(),
        })
    };
    let is_read = |name: &Name| {
        config
            .resources
            .iter()
            .any(|resource| resource.name == *name)
    };
    let loaded = loaded.iter().filter(|(name, _)| is_read(name));
    loaded.filter_map(find).collect()
}

/// Refuses runs with such numbers.
fn check_numbers(config: &Config, runs: &[Run], loaded: &Loaded) -> Result<(), LoadError> {
    match renumbered(config, runs, loaded).pop() {
        None => Ok(()),
        Some(Renumbered { run, newest, .. }) => Err(LoadError::Renumbered { run, newest }),
    }
}
