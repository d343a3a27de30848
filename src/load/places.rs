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

    /// The file of each record, and its place in there. Those of one page should follow each other: it is looked up once.
    pub(super) fn of(
        &self,
        records: impl Iterator<Item = u64>,
    ) -> Result<Vec<(String, u64)>, StagingError> {
        let mut found: Vec<(String, u64)> = Vec::new();
        let mut last = None;
        for record in records {
            let after = self.firsts.partition_point(|first| *first <= record);
            // The first page begins with the first record.
            let at = after.saturating_sub(1);
            let file = match found.last() {
                Some((file, _)) if last == Some(at) => file.clone(),
                _ => file(&self.staged, at)?,
            };
            last = Some(at);
            found.push((file, record - self.firsts[at]));
        }
        Ok(found)
    }

    /// The number of the first record of each of these files, if all pages were read.
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
