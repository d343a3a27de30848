//! What is to be loaded: every run that is not loaded yet, or what was asked for.

use super::selection::LoadSelection;
use crate::config::Config;
use crate::exit::Failure;
use crate::load::{self, LoadError, Loaded, LoadedResource, Pending, SchemaLoader};
use crate::name::Name;
use crate::staging::Run;

#[derive(Default)]
pub(super) struct PendingRuns {
    /// Oldest run first.
    pub(super) pending: Vec<Pending>,
    /// What of it is refused because it is older than what is loaded.
    pub(super) refused: Vec<LoadError>,
    /// The run itself, if nothing of it is left to load.
    pub(super) skipped: Option<String>,
}

/// What of these runs is to be loaded, up to the wanted one. `loaded` is what counts as loaded.
pub(super) async fn pending_runs(
    config: &Config,
    runs: &[Run],
    loader: &SchemaLoader<'_>,
    loaded: &Loaded,
    selection: &LoadSelection,
    wanted: Option<&Run>,
) -> Result<PendingRuns, Failure> {
    // Runs after the wanted one do not exist for this load.
    let until = wanted.map_or(u64::MAX, |wanted| wanted.record().seq);
    let past = &runs[..runs.partition_point(|run| run.record().seq <= until)];
    let mut pending = load::pending(config, past, loaded)?;
    if selection.again {
        let mut again = again(config, runs, loaded, selection, wanted)?;
        // What is pending of the same run is loaded with it.
        for more in pending.extract_if(.., |pending| pending.run.id() == again.run.id()) {
            for resource in more.resources {
                if !again.resources.contains(&resource) {
                    again.resources.push(resource);
                }
            }
        }
        pending.push(again);
        pending.sort_by_key(|pending| pending.run.record().seq);
        return Ok(PendingRuns {
            pending,
            ..PendingRuns::default()
        });
    }
    let Some(wanted) = wanted else {
        return Ok(PendingRuns {
            pending,
            ..PendingRuns::default()
        });
    };
    let is_pending = |resource: &Name| {
        let of_run = pending.iter().find(|it| it.run.id() == wanted.id());
        of_run.is_some_and(|pending| pending.resources.contains(resource))
    };
    let mut refused = Vec::new();
    let resources = resources_of(config, wanted, selection);
    let was_loaded = loader.loaded_from(wanted).await?;
    for resource in resources.iter().filter(|resource| !is_pending(resource)) {
        if let Some(known) = loaded.get(resource)
            && known.seq > wanted.record().seq
            && !was_loaded.contains(resource.as_str())
        {
            refused.push(older(wanted, resource, known));
        }
    }
    let is_skipped = refused.is_empty() && !resources.iter().any(is_pending);
    Ok(PendingRuns {
        skipped: is_skipped.then(|| wanted.id().to_string()),
        refused,
        pending,
    })
}

/// The chosen resources that a run has and that feed a table. One whose manifest cannot be read counts: it fails by
/// itself when it is loaded.
fn resources_of(config: &Config, run: &Run, selection: &LoadSelection) -> Vec<Name> {
    let names = config.resources.iter().map(|resource| &resource.name);
    names
        .filter(|name| selection.resources.is_empty() || selection.resources.contains(name))
        .filter(|name| config.tables_of(name).next().is_some())
        .filter(|name| !matches!(run.manifest(name), Ok(None)))
        .cloned()
        .collect()
}

/// The run that is loaded once more: the wanted one, or the newest that is loaded of what is chosen. Nothing newer may
/// be loaded of any of its resources.
fn again(
    config: &Config,
    runs: &[Run],
    loaded: &Loaded,
    selection: &LoadSelection,
    wanted: Option<&Run>,
) -> Result<Pending, Failure> {
    let newest = loaded
        .iter()
        .filter(|(name, _)| selection.resources.is_empty() || selection.resources.contains(name))
        .max_by_key(|(_, known)| known.seq);
    let again = match (wanted, newest) {
        (Some(wanted), _) => wanted,
        (None, Some((_, newest))) => (runs.iter())
            .find(|run| run.record().seq == newest.seq)
            .ok_or_else(|| {
                Failure::usage(format!(
                    "the newest loaded run, {}, is not staged any more; `cursus run --full` repairs what it held",
                    newest.run_id
                ))
            })?,
        (None, None) => return Err(Failure::usage("there is no loaded run to load again")),
    };
    let resources = resources_of(config, again, selection);
    for resource in &resources {
        if let Some(known) = loaded.get(resource)
            && known.seq > again.record().seq
        {
            return Err(older(again, resource, known).into());
        }
    }
    Ok(Pending {
        run: again.clone(),
        resources,
    })
}

fn older(run: &Run, resource: &Name, newest: &LoadedResource) -> LoadError {
    LoadError::Older {
        run: run.id().to_string(),
        resource: resource.to_string(),
        newest: newest.run_id.clone(),
    }
}
