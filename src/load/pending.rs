//! Which resources of which runs wait to be loaded. Pure.

use std::collections::BTreeMap;

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

/// What waits, oldest run first. A resource that is older than what is loaded of it waits no more: a newer
/// read has superseded it. The same goes for what lies before a complete full read that waits too.
pub fn pending(config: &Config, runs: &[Run], loaded: &Loaded) -> Result<Vec<Pending>, StagingError> {
    let mut waiting: BTreeMap<u64, Pending> = BTreeMap::new();
    for resource in &config.resources {
        if !super::books::is_loadable(config, &resource.name) {
            continue;
        }
        let known = loaded.get(&resource.name);
        let mut chain: Vec<&Run> = Vec::new();
        for run in runs {
            let seq = run.record().seq;
            if known.is_some_and(|known| seq < known.seq) {
                continue;
            }
            let manifest = match run.manifest(&resource.name) {
                Ok(None) => continue,
                Ok(Some(manifest)) => Some(manifest),
                // It waits, and fails by itself when it is loaded: the other resources are not held up.
                Err(StagingError::Broken { .. }) => None,
                Err(error) => return Err(error),
            };
            if known.is_some_and(|known| seq == known.seq)
                && known.map(|known| known.manifest_hash.as_str())
                    == Some(run.manifest_hash(&resource.name)?.as_str())
            {
                continue;
            }
            if manifest.as_ref().is_some_and(supersedes) {
                chain.clear();
            }
            chain.push(run);
        }
        for run in chain {
            waiting
                .entry(run.record().seq)
                .or_insert_with(|| Pending {
                    run: run.clone(),
                    resources: Vec::new(),
                })
                .resources
                .push(resource.name.clone());
        }
    }
    Ok(waiting.into_values().collect())
}

/// A complete full read holds all that reads before it held.
pub(super) fn supersedes(manifest: &Manifest) -> bool {
    manifest.mode == Mode::Full && manifest.state == State::Complete
}
