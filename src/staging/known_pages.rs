//! Pages that an earlier process staged in a run that is resumed, found by their request.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::error::StagingError;
use super::journal::{PageEntry, PageNumbers, Pages};
use super::page_request::PageRequest;

/// Undamaged pages that were not asked for again yet. Of each, only its place in the journal is in memory.
#[derive(Debug)]
pub struct KnownPages {
    pages: Arc<Pages>,
    /// Fingerprints of slice and request, each with the page's place, sorted.
    keys: Arc<[(u64, u32)]>,
    /// Places of those that are left.
    left: RoaringBitmap,
    pub(crate) numbers: PageNumbers,
}

impl KnownPages {
    /// All `pages`, whose keys are given in their order.
    pub(super) fn new(pages: Pages, keys: Vec<u64>, numbers: PageNumbers) -> Self {
        let mut keys: Vec<(u64, u32)> = keys.into_iter().zip(0..).collect();
        let left = keys.iter().map(|(_, at)| *at).collect();
        keys.sort_unstable();
        Self {
            pages: Arc::new(pages),
            keys: keys.into(),
            left,
            numbers,
        }
    }

    /// Moves those that `are_wanted` into a set of their own.
    pub(crate) fn split_off(
        &mut self,
        are_wanted: impl Fn(&PageEntry) -> bool,
    ) -> Result<Self, StagingError> {
        let (mut left, mut numbers) = (RoaringBitmap::new(), PageNumbers::default());
        for at in &self.left {
            let page = self.page(at)?;
            if are_wanted(&page) {
                left.insert(at);
                numbers.insert(page.slice.as_deref(), page.page);
            }
        }
        self.left -= &left;
        Ok(Self {
            pages: Arc::clone(&self.pages),
            keys: Arc::clone(&self.keys),
            left,
            numbers,
        })
    }

    pub(super) fn key(slice: Option<&str>, request: &PageRequest) -> u64 {
        let mut hasher = DefaultHasher::new();
        (slice, request).hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Those that are left, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<PageEntry, StagingError>> {
        self.left.iter().map(|at| self.page(at))
    }

    /// Removes and returns a page that answers `request`. Of several, the first.
    pub(crate) fn take(
        &mut self,
        slice: Option<&str>,
        request: &PageRequest,
    ) -> Result<Option<PageEntry>, StagingError> {
        let key = Self::key(slice, request);
        let from = self.keys.partition_point(|(other, _)| *other < key);
        let of_key = self.keys[from..]
            .iter()
            .take_while(|(other, _)| *other == key);
        for (_, at) in of_key {
            if !self.left.contains(*at) {
                continue;
            }
            let page = self.page(*at)?;
            if page.slice.as_deref() == slice && page.page_request == *request {
                self.left.remove(*at);
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    pub(crate) fn take_next(&mut self) -> Option<Result<PageEntry, StagingError>> {
        let at = self.left.min()?;
        self.left.remove(at);
        Some(self.page(at))
    }

    fn page(&self, at: u32) -> Result<PageEntry, StagingError> {
        self.pages.page(at as usize)
    }
}
