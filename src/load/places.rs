//! Where the records of a read are: what is kept of a page is the number of its first record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::staging::{StagedResource, StagingError};

/// The pages that records came from, by the numbers of the records.
#[derive(Debug)]
pub(super) struct Places {
    staged: Arc<StagedResource>,
    /// Of each page.
    firsts: Vec<u64>,
}

impl Places {
    pub(super) fn new(staged: Arc<StagedResource>) -> Self {
        Self {
            staged,
            firsts: Vec::new(),
        }
    }

    /// Notes the number of the first record of a page. Pages before it that were passed over have no records.
    pub(super) fn note(&mut self, page: usize, first: u64) {
        self.firsts.resize(page + 1, first);
    }

    /// The file of a record, and its place in there.
    pub(super) fn of(&self, record: u64) -> Result<(String, u64), StagingError> {
        let after = self.firsts.partition_point(|first| *first <= record);
        let at = after.saturating_sub(1);
        let first = self.firsts.get(at).copied().unwrap_or_default();
        Ok((file(&self.staged, at)?, record.saturating_sub(first)))
    }

    /// The number of the first record of each of these files.
    pub(super) fn firsts_of(
        &self,
        files: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, u64>, StagingError> {
        let mut firsts = BTreeMap::new();
        for (at, first) in self.firsts.iter().enumerate() {
            let file = file(&self.staged, at)?;
            if files.contains(file.as_str()) {
                firsts.insert(file, *first);
            }
        }
        Ok(firsts)
    }
}

fn file(staged: &StagedResource, at: usize) -> Result<String, StagingError> {
    let page = staged.page(at)?;
    Ok(staged.file(&page).display().to_string())
}
