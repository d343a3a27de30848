//! The answers of a resource, as they come.

use std::collections::BTreeMap;

use roaring::RoaringTreemap;

use super::facts::PageFacts;
use super::list::{Doubt, List, Slice, list_key};
use super::observation::PageObservation;
use super::windows;
use crate::staging::{PageEntry, Window};

/// The answers of a resource, as they come.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    cursor: Option<String>,
    slices: BTreeMap<Option<String>, Slice>,
}

impl Answers {
    /// None yet, of a resource whose windows are of the field `cursor`.
    pub(crate) fn new(cursor: Option<&str>) -> Self {
        Self {
            cursor: cursor.map(str::to_owned),
            slices: BTreeMap::new(),
        }
    }

    /// Adds an answer, in the order of arrival: its journal line, and the facts of its body.
    pub(crate) fn add(&mut self, page: &PageEntry, facts: &PageFacts) {
        let asked = &page.page_request;
        let window = (self.cursor.as_deref()).and_then(|cursor| asked.window_of(cursor));
        let mut seen = PageObservation::new(page, &facts.ids);
        let slice = self.slices.entry(page.slice.clone()).or_default();
        if window.is_some() && asked.page_number == 1 && slice.last < Some(seen.at) {
            (seen.known, seen.previous) = (slice.known(facts), slice.last);
        }
        slice.last = slice.last.max(Some(seen.at));
        if window.is_none() {
            let undated = facts.undated.iter().map(|id| (seen.at, *id));
            slice.undated.extend(undated);
        }
        let list = slice.list(list_key(asked));
        list.window = window;
        list.sorted = asked.sort.is_some();
        list.seen.push(seen);
        list.rows += page.rows;
        list.outside += facts.outside;
        list.without_id += facts.without_id;
        list.ids.extend(facts.identities());
    }

    pub(crate) fn ids(&self) -> RoaringTreemap {
        let lists = self.slices.values().flat_map(|slice| &slice.lists);
        lists.fold(RoaringTreemap::new(), |all, list| all | &list.ids)
    }

    /// Records whose id is missing or not an integer: no other resource can fan out over them.
    pub(crate) fn without_whole_id(&self) -> u64 {
        let lists = self.slices.values().flat_map(|slice| &slice.lists);
        lists
            .map(|list| list.without_id + list.ids.len() - list.ids.rank(u64::MAX >> 1))
            .sum()
    }

    /// Rows of a slice that its windows do not account for; `None` if unknown.
    pub(crate) fn unaccounted(&self, slice: Option<&str>) -> Option<u64> {
        let slice = self.slices.get(&slice.map(str::to_owned))?;
        windows::unaccounted(slice)
    }

    /// Whether the list of this page may have ids below [`LOWEST`](super::LOWEST): the first page announced more than was read.
    pub(crate) fn may_be_below(&self, page: &PageEntry) -> bool {
        let lists = self.slices.get(&page.slice);
        let request = list_key(&page.page_request);
        let list = lists.and_then(|slice| slice.lists.iter().find(|list| list.request == request));
        list.is_some_and(List::may_be_below)
    }

    /// Slices that answered.
    pub(crate) fn slices(&self) -> u64 {
        self.slices.len() as u64
    }

    /// Whether this is the first answer of its slice.
    pub(crate) fn is_new(&self, page: &PageEntry) -> bool {
        !self.slices.contains_key(&page.slice)
    }

    /// What is not proven; nothing, if no record is missing. `needed` is of interest where windows of time were
    /// asked for.
    pub(crate) fn doubts(&self, needed: Window) -> Vec<Doubt> {
        self.slices
            .iter()
            .filter_map(|(name, slice)| {
                let doubt = windows::doubt(slice, needed)?;
                let Some(slice) = name else {
                    return Some(doubt);
                };
                Some(match doubt {
                    Doubt::Hole(what) => Doubt::Hole(format!("{slice}: {what}")),
                    Doubt::Unsettled(what) => Doubt::Unsettled(format!("{slice}: {what}")),
                })
            })
            .collect()
    }
}
