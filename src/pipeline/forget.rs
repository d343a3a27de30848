//! Erasing people from staging and from the database, and what is held of one.

use std::sync::Arc;

use serde::Serialize;

use super::connect::{open_loader, open_unsettled};
use super::settle::{Entry, blocking, finish, refuse_undeclared, sweep};
use crate::clock;
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::load::{Export, FoundRows, HeldRow, Options, SchemaLoader};
use crate::person::{Erased, Extent, PersonHash};
use crate::report::counted;
use crate::settings::Settings;
use crate::staging::{ErasedAt, FoundPage, HeldRecord, Sought, Swept};

/// What `forget` did, or would do.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Forgotten {
    pub(crate) dry_run: bool,
    /// Records and rows are removed.
    pub(crate) drop: bool,
    /// Of how many people they were removed before.
    pub(crate) dropped_before: usize,
    /// How many people it was about.
    pub(crate) people: usize,
    /// The erasure as the ledger names it; none of a dry run.
    pub(crate) erasure: Option<String>,
    pub(crate) pages: Vec<FoundPage>,
    pub(crate) rows: Vec<FoundRows>,
    /// Copies that were given out and that may hold them: no erasure reaches those.
    pub(crate) exports: Vec<Export>,
    pub(crate) errors: Vec<String>,
    #[serde(skip)]
    pub(crate) exit: Exit,
}

/// Who is to be forgotten.
#[derive(Debug)]
pub(crate) enum Whom {
    /// These ids.
    Ids(Vec<String>),
    /// Those whom the API has anonymised.
    Anonymised,
    /// Those who were, wherever they came back or were left.
    Erased,
}

/// Erases people, as far as `extent` says, or says where they are. `whom` are their ids.
pub(crate) async fn forget(
    settings: &Settings,
    whom: Whom,
    extent: Extent,
    is_dry: bool,
) -> Result<Forgotten, Failure> {
    refuse_undeclared(settings)?;
    let people = &settings.config.people;
    if extent == Extent::Records && !people.has_own_records() {
        return Err(Failure::usage(
            "pipeline.toml does not say which records are a person's own, so none can be removed; write `own = \"record\"` in their \
             [[person.place]]",
        ));
    }
    let staging = &settings.staging;
    // In the order in which a load takes its locks.
    let mut loader = open_if_made(settings).await?;
    if let Some(loader) = loader.as_ref().filter(|_| extent == Extent::Records) {
        loader.refuse_removal().await?;
    }
    let mut lock = settings.lock_staging().await?;
    // A damaged id is an error before anything is written.
    let key = staging.identify(&lock)?;
    // What was begun comes first: its pages are recognised by its people alone.
    if is_dry {
        refuse_open(settings)?;
    } else {
        let swept;
        (lock, swept) = finish(settings, lock).await?;
        if let Some(sentence) = swept.undeclared_sentence() {
            return Err(Failure::usage(sentence));
        }
        if let Some(error) = swept.failed.into_iter().next() {
            return Err(error.into());
        }
    }
    let ids = match &whom {
        Whom::Ids(ids) => ids.clone(),
        Whom::Erased => Vec::new(),
        Whom::Anonymised => {
            let Some(anonymised) = &people.anonymised else {
                return Err(Failure::usage(
                    "pipeline.toml does not say how to recognise people whom the API has anonymised; write `anonymised` in [person]",
                ));
            };
            let Some(loader) = &loader else {
                return Err(Failure::new(
                    Exit::Failed,
                    "the mirror shows who was anonymised, and nothing has been loaded yet; `cursus run` fills it",
                ));
            };
            loader.anonymised(anonymised).await?
        }
    };
    let known = staging.erasures()?;
    let held = match &loader {
        Some(loader) => loader.erased().await?,
        None => Vec::new(),
    };
    let ledgers: Vec<(PersonHash, Extent)> = (known.people.iter())
        .chain(held.iter().map(|(person, erased)| (person, erased)))
        .map(|(person, erased)| (person.clone(), erased.extent))
        .collect();
    let erased: Erased = ledgers.iter().cloned().collect();
    let new: Vec<String> = (ids.iter())
        .filter(|id| erased.extent(id) < Some(extent))
        .cloned()
        .collect();
    let dropped_before = ids
        .iter()
        .filter(|id| erased.extent(id) == Some(Extent::Records));
    let dropped_before = dropped_before.count();
    let lacking: Vec<Entry> = held
        .into_iter()
        .filter(|(person, erased)| !known.has(person, erased.extent))
        .collect();
    // Only pages with these people are to be rewritten, unless others may have come back.
    let are_others = matches!(whom, Whom::Erased) || new.len() < ids.len() || !lacking.is_empty();
    let sought = if matches!(whom, Whom::Erased) {
        Sought::Erased(ledgers.into_iter().collect())
    } else {
        Sought::Ids(ids.iter().cloned().collect(), extent)
    };
    let found = find(settings, sought).await?;
    refuse_unread(&found)?;
    let mut forgotten = Forgotten {
        dry_run: is_dry,
        drop: extent == Extent::Records,
        dropped_before,
        people: ids.len(),
        ..Forgotten::default()
    };
    let rows = match &mut loader {
        Some(loader) => {
            forgotten.exports = loader.exports().await?;
            loader.find_people(&ids, extent).await?
        }
        None => Vec::new(),
    };
    if let Whom::Ids(ids) = &whom {
        // One typing error must not look like an erasure.
        let is_known = |id: &&String| !erased.contains(id);
        let unknown = !ids.is_empty() && found.pages.is_empty() && rows.is_empty();
        if unknown && ids.iter().any(|id| is_known(&id)) {
            return Err(Failure::usage(format!(
                "nothing is held of {}: neither in {} nor in the database; nothing was recorded",
                if ids.len() == 1 {
                    "this person"
                } else {
                    "these people"
                },
                staging.root().display()
            )));
        }
    }
    let removed = found.removed_records();
    let found_at = found.pages.iter();
    let found_at = found_at.map(|page| (page.run.clone(), page.file.clone()));
    let found_at = found_at.collect();
    forgotten.pages = found.pages;
    forgotten.rows = rows;
    if let Some(loader) = loader.as_mut().filter(|_| extent == Extent::Records) {
        loader.try_removal(&ids).await?;
    }
    if is_dry {
        close(loader).await?;
        return Ok(forgotten);
    }
    let erasure = staging.new_erasure()?;
    let at = clock::now();
    let mut entries: Vec<Entry> = (new.iter())
        .map(|id| {
            let erased = ErasedAt {
                erasure: erasure.clone(),
                at,
                extent,
            };
            (PersonHash::of(&key, id), erased)
        })
        .collect();
    entries.extend(lacking);
    staging.begin_erasure(&lock, &entries, &erasure)?;
    let ledger = staging.erasures()?;
    let all = ledger.erased();
    if let Some(loader) = &mut loader {
        let everybody: Vec<Entry> = ledger
            .people
            .iter()
            .map(|(person, erased)| (person.clone(), erased.clone()))
            .collect();
        let rows = loader
            .erase_rows(&everybody, &all, &erasure, &removed)
            .await?;
        if matches!(whom, Whom::Erased) {
            forgotten.rows = rows;
        }
    }
    let sought = if are_others {
        Sought::Erased(all)
    } else {
        Sought::Found(ids.into_iter().collect(), extent, found_at)
    };
    let (_lock, swept) = sweep(settings, lock, ledger, sought, true).await?;
    for error in &swept.failed {
        forgotten.exit = Exit::Failed;
        forgotten.errors.push(chain(error));
    }
    forgotten.erasure = Some(erasure);
    close(loader).await?;
    Ok(forgotten)
}

async fn open_if_made(settings: &Settings) -> Result<Option<SchemaLoader<'_>>, Failure> {
    if settings.unmade_cluster().is_some() {
        return Ok(None);
    }
    let options = Options::new(settings.config.database.schema.clone());
    Ok(Some(open_unsettled(settings, &options).await?))
}

/// Refuses to look where an erasure is not finished: pages and journals may not agree.
fn refuse_open(settings: &Settings) -> Result<(), Failure> {
    if settings.staging.erasures()?.open.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "an erasure was interrupted; `cursus forget --finish` finishes it",
    ))
}

pub(super) async fn find(settings: &Settings, sought: Sought) -> Result<Swept, Failure> {
    let (staging, people) = (
        settings.staging.clone(),
        Arc::clone(&settings.config.people),
    );
    blocking(move || staging.find_people(&people, &sought)).await
}

async fn close(loader: Option<SchemaLoader<'_>>) -> Result<(), Failure> {
    if let Some(loader) = loader {
        loader.close().await?;
    }
    Ok(())
}

/// Refuses to erase where pages cannot be read: who is in them is unknown.
fn refuse_unread(found: &Swept) -> Result<(), Failure> {
    if let [error, ..] = found.failed.as_slice() {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "nothing was erased, because {} cannot be read: {}",
                counted(found.failed.len() as u64, "staged resource"),
                chain(error)
            ),
        ));
    }
    match found.undeclared_sentence() {
        Some(sentence) => Err(Failure::usage(sentence)),
        None => Ok(()),
    }
}

/// What is held of a person.
#[derive(Debug, Serialize)]
pub(crate) struct Subject {
    pub(crate) rows: Vec<HeldRow>,
    pub(crate) records: Vec<HeldRecord>,
    /// The erasure ledger names the person.
    pub(crate) erased: bool,
    /// What was the person's own was removed.
    pub(crate) dropped: bool,
}

/// Collects what is held of a person. Nothing is changed.
pub(crate) async fn subject(settings: &Settings, id: &str) -> Result<Subject, Failure> {
    refuse_undeclared(settings)?;
    let mut rows = Vec::new();
    if settings.unmade_cluster().is_none() {
        let options = Options::new(settings.config.database.schema.clone());
        let mut loader = open_loader(settings, &options).await?;
        let erased = settings.staging.erasures()?.erased();
        let is_removed = erased.extent(id) == Some(Extent::Records);
        rows = loader.rows_of(id, is_removed).await?;
        loader.close().await?;
    }
    refuse_open(settings)?;
    let (staging, people) = (&settings.staging, &settings.config.people);
    let sought = Sought::Ids([id.to_owned()].into(), Extent::Values);
    let found = find(settings, sought).await?;
    refuse_unread(&found)?;
    let mut records = Vec::new();
    for run in staging.runs()? {
        let pages = found.pages.iter();
        for page in pages.filter(|page| page.run == run.id().as_str()) {
            records.extend(run.records_of(people, page, id)?);
        }
    }
    let extent = staging.erasures()?.erased().extent(id);
    Ok(Subject {
        rows,
        records,
        erased: extent.is_some(),
        dropped: extent == Some(Extent::Records),
    })
}
