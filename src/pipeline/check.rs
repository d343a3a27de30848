//! Checks the database before the first request: with a missing or wrong database, all requests would be wasted.

use std::collections::BTreeMap;

use super::connect::open_loader;
use crate::exit::Failure;
use crate::load::{self, Look, Options, Renumbered};
use crate::name::Name;
use crate::plan::{self, EarlierReads};
use crate::settings::Settings;

#[derive(Default)]
pub(crate) struct DatabaseState {
    /// Resources whose past the database does not have and staging cannot give any more, with the reason to read them in full.
    pub(crate) must_be_full: BTreeMap<Name, String>,
    /// The highest run number that was loaded.
    pub(crate) floor: u64,
    /// Where the mirror is and what migrations have made, to be logged when the API lets the run in: else only its refusal matters.
    pub(crate) news: Vec<String>,
}

/// Checks credentials and database. `adopt`: the schema may be rebound to another project.
pub(crate) async fn check(settings: &Settings, adopt: bool) -> Result<DatabaseState, Failure> {
    let mirror = settings.announcement(&settings.config.database.schema)?;
    settings.credentials()?;
    match look_at(settings, adopt).await {
        Ok(mut state) => {
            state.news.insert(0, mirror);
            Ok(state)
        }
        Err(failure) => {
            tracing::info!("{mirror}");
            Err(failure)
        }
    }
}

async fn look_at(settings: &Settings, adopt: bool) -> Result<DatabaseState, Failure> {
    let config = &settings.config;
    let mut options = Options::new(config.database.schema.clone());
    options.look = Look::ToRun;
    let loader = open_loader(settings, &options).await?;
    let loaded = loader.loaded().await?;
    let runs = settings.staging.runs()?;
    let judge = loader.judge(&runs).await?;
    let replaced = judge.prospect(&settings.side()?, adopt)?;
    let starts_over = adopt && judge.starts_over(&runs);
    let news = loader.prepared.clone().into_iter().collect();
    loader.close().await?;
    let earlier_reads = EarlierReads::read(config, &runs)?;
    let floor = loaded.values().map(|loaded| loaded.seq).max().unwrap_or(0);
    // What another project has loaded is not ours.
    let known = |resource: &Name| loaded.get(resource).filter(|_| !starts_over);
    let mut must_be_full = plan::must_be_full(config, &earlier_reads, |resource| {
        let known = known(resource)?;
        Some(plan::LoadedReads {
            run_id: &known.run_id,
            seq: known.seq,
            full_seq: known.full_seq,
            gap_seq: known.gap_seq,
        })
    });
    if !starts_over {
        // What was extracted before the numbers continued is not loaded any more.
        for Renumbered { resource, .. } in load::renumbered(config, &runs, &loaded) {
            let reason = "the database has later runs than the staging directory".to_owned();
            must_be_full.insert(resource, reason);
        }
    }
    for resource in &config.resources {
        let name = &resource.name;
        let full = earlier_reads.last_complete_full(resource);
        // A complete full read that is still to be loaded takes the place of those rows.
        let is_staged =
            full.is_some_and(|full| known(name).is_none_or(|known| full.seq > known.seq));
        if replaced.contains(name) && !starts_over && !is_staged {
            let reason = "the mirror was filled from another staging directory".to_owned();
            must_be_full.insert(name.clone(), reason);
        }
    }
    Ok(DatabaseState {
        must_be_full,
        floor,
        news,
    })
}
