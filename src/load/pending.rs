//! Which resources of which runs wait to be loaded. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::name::Name;
use crate::staging::{Manifest, Mode, Run, StagingError, State};

use super::books::Loaded;

/// A run with resources that wait.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The run.
    pub run: Run,
    /// Its resources that are final and not loaded, by name.
    pub resources: Vec<Name>,
}

/// What waits, oldest run first. A resource that is older than what is loaded of it waits no more: a newer read has superseded it.
/// So has a run that read in full whatever waits, for all that lies before it. A full read of one resource does not: the rows
/// that other resources staged before it may need its parents of that time.
pub fn pending(config: &Config, runs: &[Run], loaded: &Loaded) -> Result<Vec<Pending>, StagingError> {
    let mut waiting: BTreeMap<u64, Pending> = BTreeMap::new();
    let mut full: BTreeSet<(u64, &Name)> = BTreeSet::new();
    for resource in &config.resources {
        if !super::books::is_loadable(config, &resource.name) {
            continue;
        }
        let known = loaded.get(&resource.name);
        for run in runs {
            let seq = run.record().seq;
            if known.is_some_and(|known| seq < known.seq) {
                continue;
            }
            let Some(manifest) = run.manifest(&resource.name)? else { continue };
            if known.is_some_and(|known| seq == known.seq)
                && known.map(|known| known.manifest_hash.as_str())
                    == Some(run.manifest_hash(&resource.name)?.as_str())
            {
                continue;
            }
            if supersedes(&manifest) {
                full.insert((seq, &resource.name));
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

/// A complete full read holds all that reads before it held.
pub fn supersedes(manifest: &Manifest) -> bool {
    manifest.mode == Mode::Full && manifest.state == State::Complete
}
