//! What a sweep of staged pages has found.

use crate::name::Name;
use crate::staging::error::StagingError;

/// A run, and a page's file, relative to its directory.
pub(crate) type FoundAt = (String, String);

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct FoundPage {
    pub(crate) run: String,
    pub(crate) resource: Name,
    /// Relative to the run's directory.
    pub(crate) file: String,
    /// Records that hold one of them.
    pub(crate) records: u64,
    /// Personal values in them.
    pub(crate) values: u64,
    /// Places of records that are theirs as a whole, and are removed.
    #[serde(skip)]
    pub(crate) own: Vec<u64>,
}

/// A record that was staged, and is removed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct RemovedRecord {
    run: String,
    /// Relative to the run's directory.
    file: String,
    /// Its place in the page, from 0.
    record: u64,
}

impl FoundPage {
    fn own_records(&self) -> impl Iterator<Item = RemovedRecord> {
        self.own.iter().map(|record| RemovedRecord {
            run: self.run.clone(),
            file: self.file.clone(),
            record: *record,
        })
    }
}

/// What a sweep found, and what it could not read.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) pages: Vec<FoundPage>,
    pub(crate) failed: Vec<StagingError>,
    /// Staged resources of which the configuration does not say where people are, with a run.
    pub(crate) undeclared: Vec<(Name, String)>,
}

impl Swept {
    /// Whether every page was looked at.
    pub(crate) fn is_whole(&self) -> bool {
        self.failed.is_empty() && self.undeclared.is_empty()
    }

    /// What to do about staged pages of which nobody knows where people are; none if there are none.
    pub(crate) fn undeclared_sentence(&self) -> Option<String> {
        let (name, run) = self.undeclared.first()?;
        Some(format!(
            "the run {run} holds pages of `{name}`, of which pipeline.toml does not say where people are; write a [[person.place]] for it, \
             name it in `nobody_in` of [person], or remove the run"
        ))
    }

    /// The records that are removed as a whole.
    pub(crate) fn removed_records(&self) -> Vec<RemovedRecord> {
        self.pages.iter().flat_map(FoundPage::own_records).collect()
    }

    /// Pages with values that are still there, or were.
    pub(crate) fn changed(&self) -> usize {
        self.pages.iter().filter(|page| page.values > 0).count()
    }
}
