//! Whether the answers of a read prove that no record is missing. Pure: the extractor reads until it holds,
//! `stage verify` checks it afterwards from what is staged.
//!
//! Lists move while they are read, so a count proves nothing: a row that left and one that slipped past a page
//! border leave it right. Two arguments hold under any change, and one of them must for every list:
//!
//! - `ids`: every answer shows all records between two ids as they were at one moment. When the answers together
//!   leave no id out, a record that was there all the time was shown by one of them.
//! - `ranks`: in a list that only shrinks, a record only moves up. The ranks where one could stand unread are
//!   followed from answer to answer; when none is left, no record is.
//!
//! A list without an order is read in windows of time (`windows`): what did not change since a moment can only
//! shrink, and what changed after it is asked for by itself. No window shows a record without a time, so a full read
//! is complete only if the windows account for every row of the list as it is without a range.
//!
//! What these arguments assume of the data is checked here: that ids are whole numbers, that none is below
//! [`LOWEST`], that every record has a time, and that the server keeps to order, range and page size.

mod ids;
mod ranks;
#[cfg(test)]
mod tests;
mod windows;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use reqwest::Url;
use roaring::RoaringTreemap;
use sha2::{Digest, Sha256};

use crate::staging::{PageEntry, Window};

pub use ids::{BELOW_LOWEST, Gap, LOWEST};
pub use ranks::{Unranked, Wanted, wanted};
pub(crate) use windows::{future, just_after};

/// What the body of a page says of its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageFacts {
    /// Records.
    pub rows: u64,
    /// Ids that are whole numbers, in the order of their records.
    pub ids: Vec<i64>,
    /// Fingerprints of all other ids, such as texts.
    pub other_ids: Vec<u64>,
    /// Records without an id.
    pub without_id: u64,
    /// Records that changed before the window: the server ignores the range.
    pub outside: u64,
    /// Times of the records, where lists are read in windows of time.
    pub times: Vec<Timestamp>,
    /// Identities of records whose cursor is no time, so that no window of time shows them.
    pub undated: Vec<u64>,
    /// Records of ids that were not asked for: the server ignores the filter.
    pub strangers: u64,
}

impl PageFacts {
    /// Notes the id of the next record; gives its identity.
    pub(crate) fn note_id(&mut self, raw: Option<&str>) -> Option<u64> {
        let Some(raw) = raw.filter(|raw| *raw != "null") else {
            self.without_id += 1;
            return None;
        };
        if let Ok(id) = raw.parse::<i64>() {
            self.ids.push(id);
            return Some(identity(id));
        }
        let other = fingerprint(raw.as_bytes());
        self.other_ids.push(other);
        Some(other)
    }

    /// Identities of the records that have one.
    fn identities(&self) -> impl Iterator<Item = u64> {
        let ids = self.ids.iter().map(|id| identity(*id));
        ids.chain(self.other_ids.iter().copied())
    }
}

/// What tells a record apart in a set: its id, or a fingerprint above all ids where it is negative.
fn identity(id: i64) -> u64 {
    u64::try_from(id).unwrap_or_else(|_| fingerprint(&id.to_be_bytes()))
}

fn fingerprint(id: &[u8]) -> u64 {
    let hash = Sha256::digest(id);
    let bytes = hash.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(bytes) | 1 << 63
}

/// The whole-number ids of a set of identities.
pub(crate) fn only_ids(mut identities: RoaringTreemap) -> RoaringTreemap {
    identities.remove_range(1 << 63..);
    identities
}

/// The earliest time that is asked for: 0001-01-01T00:00:00Z.
pub const EARLIEST: Timestamp = Timestamp::constant(-62_135_596_800, 0);
/// The latest time that is asked for: 9999-01-01T00:00:00Z.
pub const LATEST: Timestamp = Timestamp::constant(253_370_764_800, 0);

/// What one answer shows of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `page[number]`.
    pub number: u64,
    /// Rows of a full page, as the server said or else as it was asked.
    pub size: u64,
    /// Whether the server said so.
    pub size_is_told: bool,
    /// `range[id]`, both ends inclusive.
    pub asked: Option<(i64, i64)>,
    /// Records.
    pub rows: u64,
    /// The first id.
    pub first: Option<i64>,
    /// The last id.
    pub last: Option<i64>,
    /// Falling ids were asked for, and every record has an id lower than the one before.
    pub descending: bool,
    /// `X-Total`: rows of what was asked for, at that moment.
    pub total: Option<u64>,
    /// When the answer came, by our clock.
    pub at: Timestamp,
    /// The server's time at the answer, to the second.
    pub date: Option<Timestamp>,
    /// What changed up to then is counted in `total`: the server may tell its time when the answer ends, and counts before.
    pub settled: Option<Timestamp>,
    /// Distinct records of the first page of a window that the answers of the slice had shown which came before it;
    /// 0, if they were not added in their order.
    pub known: u64,
    /// When the answer before it came.
    pub previous: Option<Timestamp>,
}

impl Seen {
    /// Reads a journal line and the ids of its page.
    pub fn new(page: &PageEntry, ids: &[i64]) -> Self {
        let asked = Asked::parse(&page.request, None);
        Self::of(page, ids, &asked)
    }

    fn of(page: &PageEntry, ids: &[i64], asked: &Asked) -> Self {
        Self {
            at: page.fetched_at,
            date: page.server_date,
            settled: page
                .server_date
                .and_then(|date| settled(date, page.duration_ms)),
            known: 0,
            previous: None,
            number: asked.number,
            size: page.per_page.filter(|size| *size > 0).unwrap_or(asked.size),
            size_is_told: page.per_page.is_some_and(|size| size > 0),
            asked: asked.ids,
            rows: page.rows,
            first: ids.first().copied(),
            last: ids.last().copied(),
            descending: asked.falling
                && ids.len() as u64 == page.rows
                && ids.is_sorted_by(|a, b| a > b),
            total: page.x_total,
        }
    }

    /// Whether it is a page of the whole list, not of a range of ids.
    pub fn is_numbered(&self) -> bool {
        self.asked.is_none()
    }

    /// Whether it shows all there is of what was asked for.
    pub fn is_whole(&self) -> bool {
        self.number == 1 && self.total == Some(self.rows)
    }

    /// Whether records came that were not asked for: the server ignores `range[id]`.
    pub fn strays(&self) -> bool {
        self.asked.is_some_and(|(low, high)| {
            [self.first, self.last]
                .into_iter()
                .flatten()
                .any(|id| id < low || id > high)
        })
    }
}

/// A time that was past when the server began with an answer of this date, which took so many milliseconds.
fn settled(date: Timestamp, duration_ms: u64) -> Option<Timestamp> {
    let took = i64::try_from(duration_ms.saturating_add(1_000)).ok()?;
    date.checked_sub(jiff::SignedDuration::from_millis(took))
        .ok()
}

/// What a request asked for, read off its target.
struct Asked {
    /// The request without its page and its range of ids.
    list: String,
    number: u64,
    size: u64,
    ids: Option<(i64, i64)>,
    window: Option<Window>,
    /// An order was asked for.
    sorted: bool,
    /// `sort=-id`.
    falling: bool,
}

impl Asked {
    fn parse(target: &str, cursor: Option<&str>) -> Self {
        let mut asked = Self {
            list: String::new(),
            number: 1,
            size: 0,
            ids: None,
            window: None,
            sorted: false,
            falling: false,
        };
        let Some(url) = Url::parse("http://localhost")
            .ok()
            .and_then(|base| base.join(target).ok())
        else {
            target.clone_into(&mut asked.list);
            return asked;
        };
        url.path().clone_into(&mut asked.list);
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "page[number]" => asked.number = value.parse().unwrap_or(1),
                "page[size]" => asked.size = value.parse().unwrap_or(0),
                "range[id]" => asked.ids = bounds(&value),
                _ => {
                    asked.sorted |= name == "sort";
                    asked.falling |= name == "sort" && value == "-id";
                    if cursor.is_some_and(|field| name == format!("range[{field}]")) {
                        asked.window = bounds(&value).map(|(start, end)| Window { start, end });
                    }
                    let _ = write!(asked.list, "&{name}={value}");
                }
            }
        }
        asked
    }
}

fn bounds<T: std::str::FromStr>(value: &str) -> Option<(T, T)> {
    let (low, high) = value.split_once(',')?;
    Some((low.parse().ok()?, high.parse().ok()?))
}

/// The window of the field `cursor` that a page was asked for in.
pub fn window_of(page: &PageEntry, cursor: &str) -> Option<Window> {
    Asked::parse(&page.request, Some(cursor)).window
}

/// `page[size]` of a request.
pub(crate) fn asked_size(page: &PageEntry) -> u64 {
    Asked::parse(&page.request, None).size
}

/// Why it is not proven that all was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
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

/// The answers of a resource, as they come.
#[derive(Debug, Default)]
pub struct Answers {
    cursor: Option<String>,
    slices: BTreeMap<Option<String>, Slice>,
}

/// The lists of a slice: one, or one a window of time.
#[derive(Debug, Default)]
struct Slice {
    /// Few, of thousands of slices: a map would take more memory than they do.
    lists: Vec<List>,
    /// Records whose cursor is no time, in answers without a range, by when these came.
    undated: Vec<(Timestamp, u64)>,
    /// When its last answer came.
    last: Option<Timestamp>,
}

/// Answers to one question, whatever page or range of ids they are for.
#[derive(Debug, Default)]
struct List {
    /// A fingerprint of the request without its page and its range of ids.
    request: u64,
    window: Option<Window>,
    sorted: bool,
    seen: Vec<Seen>,
    /// Identities of its records.
    ids: RoaringTreemap,
    without_id: u64,
    /// Records, and those of them from before the window.
    rows: u64,
    outside: u64,
}

/// Whether so many records from before a window, of so many, mean that the API ignores it. A few are strays.
pub fn is_rangeless(outside: u64, rows: u64) -> bool {
    outside.saturating_mul(2) > rows
}

impl Answers {
    /// None yet, of a resource whose windows are of the field `cursor`.
    pub fn new(cursor: Option<&str>) -> Self {
        Self {
            cursor: cursor.map(str::to_owned),
            slices: BTreeMap::new(),
        }
    }

    /// One more, in the order in which they came: its journal line, and what its body says.
    pub fn add(&mut self, page: &PageEntry, facts: &PageFacts) {
        let asked = Asked::parse(&page.request, self.cursor.as_deref());
        let mut seen = Seen::of(page, &facts.ids, &asked);
        let slice = self.slices.entry(page.slice.clone()).or_default();
        if asked.window.is_some() && asked.number == 1 && slice.last < Some(seen.at) {
            (seen.known, seen.previous) = (slice.known(facts), slice.last);
        }
        slice.last = slice.last.max(Some(seen.at));
        if asked.window.is_none() {
            let undated = facts.undated.iter().map(|id| (seen.at, *id));
            slice.undated.extend(undated);
        }
        let list = slice.list(fingerprint(asked.list.as_bytes()));
        list.window = asked.window;
        list.sorted = asked.sorted;
        list.seen.push(seen);
        list.rows += page.rows;
        list.outside += facts.outside;
        list.without_id += facts.without_id;
        list.ids.extend(facts.identities());
    }

    /// Identities of all records.
    pub fn ids(&self) -> RoaringTreemap {
        let lists = self.slices.values().flat_map(|slice| &slice.lists);
        lists.fold(RoaringTreemap::new(), |all, list| all | &list.ids)
    }

    /// Records whose id is missing or no whole number: no other resource can fan out over them.
    pub fn without_whole_id(&self) -> u64 {
        let lists = self.slices.values().flat_map(|slice| &slice.lists);
        lists
            .map(|list| list.without_id + list.ids.len() - list.ids.rank(u64::MAX >> 1))
            .sum()
    }

    /// Rows of a slice that its windows do not account for; none, where no answer tells.
    pub(crate) fn unaccounted(&self, slice: Option<&str>) -> Option<u64> {
        let slice = self.slices.get(&slice.map(str::to_owned))?;
        windows::unaccounted(slice)
    }

    /// Whether the list of this page may have ids below [`LOWEST`]: the first page announced more than was read.
    pub(crate) fn may_be_below(&self, page: &PageEntry) -> bool {
        let asked = Asked::parse(&page.request, self.cursor.as_deref());
        let lists = self.slices.get(&page.slice);
        let request = fingerprint(asked.list.as_bytes());
        let list = lists.and_then(|slice| slice.lists.iter().find(|list| list.request == request));
        list.is_some_and(List::may_be_below)
    }

    /// Slices that answered.
    pub fn slices(&self) -> u64 {
        self.slices.len() as u64
    }

    /// Whether this is the first answer of its slice.
    pub fn is_new(&self, page: &PageEntry) -> bool {
        !self.slices.contains_key(&page.slice)
    }

    /// What is not proven; nothing, if no record is missing. `needed` is of interest where windows of time were
    /// asked for.
    pub fn doubts(&self, needed: Window) -> Vec<Doubt> {
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

impl Slice {
    /// The list of these requests.
    fn list(&mut self, request: u64) -> &mut List {
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
    fn known(&self, facts: &PageFacts) -> u64 {
        let is_known = |id: &u64| self.lists.iter().any(|list| list.ids.contains(*id));
        facts
            .identities()
            .filter(is_known)
            .collect::<RoaringTreemap>()
            .len()
    }
}

impl List {
    /// Its first answer of page 1.
    fn head(&self) -> Option<&Seen> {
        let mut heads = self.seen.iter();
        heads.find(|seen| seen.is_numbered() && seen.number == 1)
    }

    /// Whether the first page announced more records than were read down to [`LOWEST`], and no answer says that there
    /// are none below: some left meanwhile, or have lower ids.
    fn may_be_below(&self) -> bool {
        let is_asked = |seen: &Seen| seen.asked == Some(BELOW_LOWEST) && seen.is_whole();
        let Some(head) = self.head() else {
            return false;
        };
        let top = head.first.and_then(|first| u64::try_from(first).ok());
        let read = top.map_or(0, |top| self.ids.rank(top));
        head.total > Some(read) && !self.seen.iter().any(is_asked)
    }

    fn doubt(&self) -> Option<Doubt> {
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
        if let Some(Seen {
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
