//! Where the records of a read are: what is kept of a page is the number of its first record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::convert::signed;
use crate::staging::{PageEntry, StagedResource, StagingError};

/// The pages that records came from, by the numbers of the records.
#[derive(Debug)]
pub(crate) struct RecordLocator {
    staged: Arc<StagedResource>,
    /// Of each page.
    firsts: Vec<u64>,
}

impl RecordLocator {
    pub(crate) fn new(staged: Arc<StagedResource>) -> Self {
        Self {
            staged,
            firsts: Vec::new(),
        }
    }

    /// Records the number of the first record of a page. Pages before it that were passed over have no records.
    pub(crate) fn note(&mut self, page: usize, first: u64) {
        self.firsts.resize(page + 1, first);
    }

    pub(crate) fn staged(&self) -> &StagedResource {
        &self.staged
    }

    /// The page of a record, and its place in there.
    pub(crate) fn page_of(&self, record: u64) -> Result<(PageEntry, u64), StagingError> {
        let at = self.place_of(record);
        Ok((self.staged.page(at)?, record - self.firsts[at]))
    }

    /// The first page begins with the first record.
    fn place_of(&self, record: u64) -> usize {
        let after = self.firsts.partition_point(|first| *first <= record);
        after.saturating_sub(1)
    }

    /// The file of each record, and its place in there. Those of one page should follow each other: it is looked up once.
    pub(crate) fn of(
        &self,
        records: impl Iterator<Item = u64>,
    ) -> Result<Vec<(String, u64)>, StagingError> {
        let mut found: Vec<(String, u64)> = Vec::new();
        let mut last = None;
        for record in records {
            let at = self.place_of(record);
            let file = match found.last() {
                Some((file, _)) if last == Some(at) => file.clone(),
                _ => file(&self.staged, at)?,
            };
            last = Some(at);
            found.push((file, record - self.firsts[at]));
        }
        Ok(found)
    }

    /// For each page: the number of its first record, and that of the first record of another read that was received after
    /// it. Both reads have their pages in the order in which they were received.
    pub(crate) fn beside(&self, other: &Self) -> (Vec<i64>, Vec<i64>) {
        let received = |places: &Self| -> Vec<i64> {
            let pages = 0..places.firsts.len();
            pages.map(|at| places.staged.received(at)).collect()
        };
        let theirs = received(other);
        let later = received(self).into_iter().map(|at| {
            let place = theirs.partition_point(|other| *other <= at);
            (other.firsts.get(place)).map_or(i64::MAX, |first| signed(*first))
        });
        (self.firsts(), later.collect())
    }

    /// The number of the first record of each page.
    pub(crate) fn firsts(&self) -> Vec<i64> {
        self.firsts.iter().map(|first| signed(*first)).collect()
    }

    /// The file of a page, by its place.
    pub(crate) fn file(&self, at: usize) -> Result<String, StagingError> {
        file(&self.staged, at)
    }

    /// The number of the first record of each of these files, if all pages were read.
    pub(crate) fn firsts_of(
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
