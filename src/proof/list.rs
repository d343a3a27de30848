//! The answers to one question, and what they do not prove.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use roaring::RoaringTreemap;

use super::facts::PageFacts;
use super::ids::{self, BELOW_LOWEST};
use super::observation::PageObservation;
use super::ranks;
use crate::staging::{PageRequest, Window};

/// Why it is not proven that all was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Part of it was not read.
    Hole(String),
    /// All was asked for, but rows moved in a way that proves nothing.
    Unsettled(String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hole(what) | Self::Unsettled(what) => f.write_str(what),
        }
    }
}

/// The lists of a slice: one, or one a window of time.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// Few, of thousands of slices: a map would take more memory than they do.
    pub(super) lists: Vec<List>,
    /// Records whose cursor is no time, in answers without a range, by when these came.
    pub(super) undated: Vec<(Timestamp, u64)>,
    pub(super) last: Option<Timestamp>,
}

/// Answers to one question, whatever page or range of ids they are for.
#[derive(Debug, Default)]
pub(super) struct List {
    /// A fingerprint of the request without its page and its range of ids.
    pub(super) request: u64,
    pub(super) window: Option<Window>,
    pub(super) sorted: bool,
    pub(super) seen: Vec<PageObservation>,
    pub(super) ids: RoaringTreemap,
    pub(super) without_id: u64,
    pub(super) rows: u64,
    pub(super) outside: u64,
}

/// Whether `outside` of `rows` records from before a window mean that the API ignores it. A few are stragglers.
pub(crate) fn ignores_range(outside: u64, rows: u64) -> bool {
    outside.saturating_mul(2) > rows
}

/// A fingerprint of what all pages of a list have in common.
pub(super) fn list_key(request: &PageRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&request.list, &request.sort, &request.window).hash(&mut hasher);
    hasher.finish()
}

impl Slice {
    /// The list of these requests.
    pub(super) fn list(&mut self, request: u64) -> &mut List {
        let known = self.lists.iter().position(|list| list.request == request);
        let at = known.unwrap_or_else(|| {
            self.lists.reserve_exact(1);
            self.lists.push(List {
                request,
                // Most have one answer.
                seen: Vec::with_capacity(1),
                ..List::default()
            });
            self.lists.len() - 1
        });
        &mut self.lists[at]
    }

    /// Distinct records of a page that earlier answers had shown.
    pub(super) fn known(&self, facts: &PageFacts) -> u64 {
        let is_known = |id: &u64| self.lists.iter().any(|list| list.ids.contains(*id));
        facts
            .identities()
            .filter(is_known)
            .collect::<RoaringTreemap>()
            .len()
    }
}

impl List {
    fn head(&self) -> Option<&PageObservation> {
        let mut heads = self.seen.iter();
        heads.find(|seen| seen.is_numbered() && seen.number == 1)
    }

    /// Whether the first page announced more records than were read down to [`LOWEST`](super::LOWEST), and no answer says that there
    /// are none below: some left meanwhile, or have lower ids.
    pub(super) fn may_be_below(&self) -> bool {
        let is_asked =
            |seen: &PageObservation| seen.asked == Some(BELOW_LOWEST) && seen.shows_all();
        let Some(head) = self.head() else {
            return false;
        };
        let top = head.first.and_then(|first| u64::try_from(first).ok());
        let read = top.map_or(0, |top| self.ids.rank(top));
        head.total > Some(read) && !self.seen.iter().any(is_asked)
    }

    pub(super) fn doubt(&self) -> Option<Doubt> {
        let gaps = ids::gaps(&self.seen);
        if gaps.as_ref().is_some_and(Vec::is_empty) {
            return self.may_be_below().then(|| {
                let announced = "the first page announced more records than were read, and nothing says that no id is below 0";
                Doubt::Unsettled(announced.to_owned())
            });
        }
        let by_ids = self
            .seen
            .iter()
            .any(|seen| !seen.is_numbered() && !seen.strays());
        if by_ids && let Some(gap) = gaps.as_ref().and_then(|gaps| gaps.first()) {
            return Some(Doubt::Hole(format!("{gap} were not read")));
        }
        if let Some(PageObservation {
            rows: 0,
            total: Some(total @ 1..),
            ..
        }) = self.head()
        {
            return Some(Doubt::Hole(format!(
                "{total} rows were announced, but the first page is empty"
            )));
        }
        match ranks::unread(&self.seen) {
            Err(unranked) => Some(Doubt::Unsettled(unranked.to_string())),
            Ok(unread) => match unread.first() {
                Some((first, last)) => Some(Doubt::Hole(format!(
                    "rows {first} to {last} of the list were not read"
                ))),
                None if self.ids.len() + self.without_id < ranks::last_total(&self.seen) => {
                    let fewer = "fewer distinct records were read than there are";
                    Some(Doubt::Hole(fewer.to_owned()))
                }
                None => None,
            },
        }
    }
}
