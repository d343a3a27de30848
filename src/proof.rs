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
//! A question without an order is read in windows of time (`windows`): what did not change since a moment can only
//! shrink, and what changed after it is asked for by itself.

mod ids;
mod ranks;
#[cfg(test)]
mod tests;
mod windows;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use reqwest::Url;
use roaring::RoaringTreemap;

use crate::staging::{PageEntry, Window};

pub use ids::{Gap, LOWEST};
pub use ranks::{Unranked, Wanted, wanted};

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
}

impl Seen {
    /// Reads a journal line and the ids of its page.
    pub fn new(page: &PageEntry, ids: &[i64]) -> Self {
        let asked = Asked::parse(&page.request, None);
        Self::of(page, ids, &asked)
    }

    fn of(page: &PageEntry, ids: &[i64], asked: &Asked) -> Self {
        Self {
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

/// What a request asked for, read off its target.
struct Asked {
    /// The request without its page and its range of ids.
    list: String,
    number: u64,
    size: u64,
    ids: Option<(i64, i64)>,
    window: Option<Window>,
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
    slices: BTreeMap<Option<String>, BTreeMap<String, List>>,
}

/// Answers to one question, whatever page or range of ids they are for.
#[derive(Debug, Default)]
struct List {
    window: Option<Window>,
    seen: Vec<Seen>,
    ids: RoaringTreemap,
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

    /// One more: its journal line, the ids of its records, and how many of these are from before its window.
    pub fn add(&mut self, page: &PageEntry, ids: &[i64], outside: u64) {
        let asked = Asked::parse(&page.request, self.cursor.as_deref());
        let seen = Seen::of(page, ids, &asked);
        let lists = self.slices.entry(page.slice.clone()).or_default();
        let list = lists.entry(asked.list).or_default();
        list.window = asked.window;
        list.seen.push(seen);
        list.rows += page.rows;
        list.outside += outside;
        list.ids
            .extend(ids.iter().filter_map(|id| u64::try_from(*id).ok()));
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
            .filter_map(|(slice, lists)| {
                let doubt = windows::doubt(lists.values(), needed)?;
                let Some(slice) = slice else {
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

impl List {
    fn doubt(&self) -> Option<Doubt> {
        let gaps = ids::gaps(&self.seen);
        if gaps.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        let by_ids = self
            .seen
            .iter()
            .any(|seen| !seen.is_numbered() && !seen.strays());
        if by_ids && let Some(gap) = gaps.as_ref().and_then(|gaps| gaps.first()) {
            return Some(Doubt::Hole(format!("{gap} were not read")));
        }
        let head = self
            .seen
            .iter()
            .find(|seen| seen.is_numbered() && seen.number == 1);
        if let Some(Seen {
            rows: 0,
            total: Some(total @ 1..),
            ..
        }) = head
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
                None if self.ids.len() < ranks::last_total(&self.seen) => Some(Doubt::Hole(
                    "fewer distinct records were read than there are".to_owned(),
                )),
                None => None,
            },
        }
    }
}
