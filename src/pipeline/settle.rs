//! The two halves of the erasure ledger, brought to agree: who was erased stays erased when a backup of one half comes back.
//!
//! The ledger comes first: what is killed after it is finished by the next `forget` or load, and meanwhile those people are
//! blank in whatever is read.

use std::sync::Arc;

use tracing::{info, warn};

use super::forget::find;
use crate::error_chain::chain;
use crate::exit::Failure;
use crate::load::{LoadError, SchemaLoader};
use crate::name::Name;
use crate::person::{Erased, PersonHash};
use crate::report::counted;
use crate::settings::Settings;
use crate::staging::{ErasedAt, ErasureLedger, Sought, StagingError, StagingLock, Swept};

pub(super) type Entry = (PersonHash, ErasedAt);

/// Refuses where the configuration does not say of every resource where people are.
pub(super) fn refuse_undeclared(settings: &Settings) -> Result<(), Failure> {
    let config = &settings.config;
    let undeclared: Vec<&str> = config
        .resources
        .iter()
        .map(|resource| &resource.name)
        .filter(|name| !config.people.declares(name))
        .map(Name::as_str)
        .collect();
    if undeclared.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "pipeline.toml does not say where people are in the records of {}, so nobody can be erased from them; write a [[person.place]] for \
         each, or name it in `nobody_in` of [person]",
        undeclared.join(", ")
    )))
}

/// Takes over what the other half of the ledger knows, and finishes what was begun. With an empty ledger this is one file and one
/// query.
pub(crate) async fn settle(
    settings: &Settings,
    loader: &mut SchemaLoader<'_>,
) -> Result<(), Failure> {
    let staged = settings.staging.erasures()?;
    let held = loader.erased().await?;
    if staged.is_empty() && held.is_empty() {
        return Ok(());
    }
    refuse_undeclared(settings)?;
    let extents = held.iter();
    let known: Erased = extents
        .map(|(person, erased)| (person.clone(), erased.extent))
        .collect();
    let staged_only: Vec<Entry> = staged
        .people
        .iter()
        .filter(|(person, erased)| !known.has(person, erased.extent))
        .map(|(person, erased)| (person.clone(), erased.clone()))
        .collect();
    let held_only: Vec<Entry> = held
        .into_iter()
        .filter(|(person, erased)| !staged.has(person, erased.extent))
        .collect();
    if !staged_only.is_empty() {
        if !staged.open.iter().any(|open| {
            staged_only
                .iter()
                .any(|(_, erased)| erased.erasure == *open)
        }) {
            warn!(
                "the erasure ledgers differ: the database lacks {}, as one from a backup does; they are erased from it again",
                counted(staged_only.len() as u64, "person")
            );
        }
        let of = |entries: &[Entry]| -> Erased {
            let entries = entries.iter();
            entries
                .map(|(person, erased)| (person.clone(), erased.extent))
                .collect()
        };
        let erased = of(&staged_only);
        // Of what a killed `forget` has not rewritten yet nothing may wait in quarantine.
        let removed = if erased.removes() {
            let sought = Sought::Erased(of(&staged_only));
            find(settings, sought).await?.removed_records()
        } else {
            Vec::new()
        };
        let newest = staged_only.iter().max_by_key(|(_, erased)| erased.at);
        let erasure = newest.map_or("", |(_, erased)| erased.erasure.as_str());
        loader
            .erase_rows(&staged_only, &erased, erasure, &removed)
            .await?;
    }
    if held_only.is_empty() && staged.open.is_empty() {
        return Ok(());
    }
    let lock = match settings.lock_staging().await {
        Ok(lock) => lock,
        // Those are blank in what is read; who writes now, or comes next, finishes it.
        Err(StagingError::Locked { .. }) if held_only.is_empty() => {
            warn!(
                "an erasure is not finished, and another cursus is writing to staging; `cursus forget --finish` or the next load finishes it"
            );
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if !held_only.is_empty() {
        warn!(
            "the erasure ledgers differ: the staging directory lacks {}, as one from a backup does; they are erased from it again",
            counted(held_only.len() as u64, "person")
        );
    }
    let (_lock, swept) = take_over(settings, lock, held_only).await?;
    for error in &swept.failed {
        warn!("an erasure is not finished: {}", chain(error));
    }
    if let Some(sentence) = swept.undeclared_sentence() {
        warn!("an erasure is not finished: {sentence}");
    }
    info!(
        "erased again from {}",
        counted(swept.changed() as u64, "staged page")
    );
    Ok(())
}

/// Finishes what was begun, then records more people in the staging half, and sweeps for all.
async fn take_over(
    settings: &Settings,
    lock: StagingLock,
    more: Vec<Entry>,
) -> Result<(StagingLock, Swept), Failure> {
    let (lock, swept) = finish(settings, lock).await?;
    if more.is_empty() || !swept.is_whole() {
        return Ok((lock, swept));
    }
    let erasure = settings.staging.new_erasure()?;
    settings.staging.begin_erasure(&lock, &more, &erasure)?;
    finish(settings, lock).await
}

/// Rewrites the pages of the erasures that are open, in the name of the last one.
pub(super) async fn finish(
    settings: &Settings,
    lock: StagingLock,
) -> Result<(StagingLock, Swept), Failure> {
    let ledger = settings.staging.erasures()?;
    if ledger.open.is_empty() {
        return Ok((lock, Swept::default()));
    }
    // What was interrupted may have been about its own people alone: with others its journals would be other ones.
    let own = ledger.people.iter();
    let own = own.filter(|(_, erased)| ledger.open.contains(&erased.erasure));
    let own: Erased = own
        .map(|(person, erased)| (person.clone(), erased.extent))
        .collect();
    let mut lock = lock;
    if !own.is_empty() {
        (lock, _) = sweep(settings, lock, ledger.clone(), Sought::Erased(own), false).await?;
    }
    let sought = Sought::Erased(ledger.erased());
    sweep(settings, lock, ledger, sought, true).await
}

/// Rewrites pages on a thread of its own, so that a signal need not wait for the last of them.
pub(super) async fn sweep(
    settings: &Settings,
    lock: StagingLock,
    ledger: ErasureLedger,
    sought: Sought,
    is_last: bool,
) -> Result<(StagingLock, Swept), Failure> {
    let (staging, people) = (
        settings.staging.clone(),
        Arc::clone(&settings.config.people),
    );
    blocking(move || {
        let Some(erasure) = ledger.open.last() else {
            return Ok((lock, Swept::default()));
        };
        let swept = staging.erase(&lock, &people, &sought, erasure)?;
        if is_last && swept.is_whole() {
            staging.finish_erasures(&lock, &ledger.open)?;
        }
        Ok((lock, swept))
    })
    .await
}

/// Reads or writes staged pages on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StagingError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| Failure::from(LoadError::Thread))?;
    Ok(done?)
}
