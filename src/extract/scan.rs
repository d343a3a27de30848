//! The order in which the pages of a list are asked for, so that no row can slip between two of them.
//!
//! Both ways cost one request a page while nothing moves, and few more when something does. [`crate::proof`] explains
//! why they miss nothing.

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use crate::proof::{self, LOWEST, PageObservation, PagesToRead};

/// Which page of a list to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageSelector {
    /// Its place in the list, from 1.
    pub(super) number: u64,
    /// The first page of the records with these ids (both inclusive), instead of the page of this number.
    pub(super) ids: Option<(i64, i64)>,
}

impl PageSelector {
    pub(super) fn number(number: u64) -> Self {
        Self { number, ids: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanOutcome {
    /// All pages were asked for; a failed one is a hole.
    Done,
    /// The server ignores the range or the order: read by number instead.
    NotByIds,
}

/// Pages that a section has at least: a shorter one may cost a request more than it has pages.
const PAGES_A_SECTION: u64 = 4;
/// Pages asked for by number at the same time, while nothing moves. Then one after the other: those that overtake one
/// another would have to be read again.
const AT_ONCE: usize = 8;
/// Retries of an empty answer that announces rows.
const EMPTY_AGAIN: u32 = 2;
/// Most requests for pages that rows slipped out of, besides one for each 20 pages of the list.
const SETTLING: usize = 4;

/// Reads a list in the order of falling ids, each page from the last id of the one before: rows that come and go
/// move nothing. Sections of the list are read at the same time; where one begins is asked for by page number, and
/// the one above it ends there.
///
/// `first` is page 1. `ask` gives `None` for a page that failed, and records it.
pub(super) async fn by_ids<E>(
    first: PageObservation,
    in_flight: usize,
    ask: impl AsyncFn(PageSelector) -> Result<Option<PageObservation>, E>,
) -> Result<ScanOutcome, E> {
    if !first.descending {
        return Ok(ScanOutcome::NotByIds);
    }
    let pages = first
        .total
        .map_or(1, |total| total.div_ceil(first.size.max(1)));
    let in_flight = u64::try_from(in_flight).unwrap_or(u64::MAX);
    let count = (pages / PAGES_A_SECTION).clamp(1, in_flight.max(1));
    let sections: Vec<Section> = (0..count)
        .map(|index| Section {
            page: 1 + index * pages / count,
            start: watch::Sender::new(if index == 0 {
                Start::At(first)
            } else {
                Start::Unknown
            }),
        })
        .collect();
    let mut reads: FuturesUnordered<_> = (0..sections.len())
        .map(|index| section(&sections, index, &ask))
        .collect();
    let mut all = ScanOutcome::Done;
    while let Some(read) = reads.next().await {
        if read? == ScanOutcome::NotByIds {
            all = ScanOutcome::NotByIds;
            break;
        }
    }
    Ok(all)
}

/// A part of the list that is read from its first page down.
struct Section {
    page: u64,
    start: watch::Sender<Start>,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Unknown,
    At(PageObservation),
    /// The list ends before it, or the page failed: the section above continues here.
    Nowhere,
}

async fn section<E>(
    sections: &[Section],
    index: usize,
    ask: &impl AsyncFn(PageSelector) -> Result<Option<PageObservation>, E>,
) -> Result<ScanOutcome, E> {
    let own = &sections[index];
    let known = *own.start.borrow();
    let mut seen = match known {
        Start::At(seen) => seen,
        _ => {
            let answer = ask(PageSelector::number(own.page)).await;
            let start = match &answer {
                Ok(Some(seen)) if seen.first.is_some() => Start::At(*seen),
                _ => Start::Nowhere,
            };
            own.start.send_replace(start);
            match (answer?, start) {
                (_, Start::At(seen)) => seen,
                _ => return Ok(ScanOutcome::Done),
            }
        }
    };
    let mut number = own.page;
    let mut empty = 0;
    loop {
        if !seen.descending || seen.strays() {
            return Ok(ScanOutcome::NotByIds);
        }
        let Some((low, _)) = seen.covers() else {
            // Rows were announced, but none came.
            let again = seen.asked.filter(|_| empty < EMPTY_AGAIN);
            let Some(ids) = again else {
                return Ok(ScanOutcome::Done);
            };
            empty += 1;
            match ask(PageSelector {
                number,
                ids: Some(ids),
            })
            .await?
            {
                Some(answer) => seen = answer,
                None => return Ok(ScanOutcome::Done),
            }
            continue;
        };
        let bottom = bottom(sections, index).await;
        if low <= bottom {
            return Ok(ScanOutcome::Done);
        }
        number += 1;
        let wanted = PageSelector {
            number,
            ids: Some((bottom, low - 1)),
        };
        seen = match ask(wanted).await? {
            Some(answer) => answer,
            // A page that failed must not cost those below it.
            None => match anchor(sections, index, &mut number, bottom, ask).await? {
                Some(answer) => answer,
                None => return Ok(ScanOutcome::Done),
            },
        };
    }
}

/// The lowest id of a section: above the first one of the next section that has a start.
async fn bottom(sections: &[Section], index: usize) -> i64 {
    for below in &sections[index + 1..] {
        let mut start = below.start.subscribe();
        let known = start
            .wait_for(|start| !matches!(start, Start::Unknown))
            .await
            .map_or(Start::Nowhere, |start| *start);
        if let Start::At(PageObservation {
            first: Some(first), ..
        }) = known
        {
            return first.saturating_add(1);
        }
    }
    LOWEST
}

/// A page of the section by its number, below one that failed.
async fn anchor<E>(
    sections: &[Section],
    index: usize,
    number: &mut u64,
    bottom: i64,
    ask: &impl AsyncFn(PageSelector) -> Result<Option<PageObservation>, E>,
) -> Result<Option<PageObservation>, E> {
    let end = sections.get(index + 1).map(|below| below.page);
    *number += 1;
    if end.is_some_and(|end| *number >= end) {
        return Ok(None);
    }
    let found = ask(PageSelector::number(*number)).await?;
    Ok(found.filter(|seen| seen.first.is_some_and(|first| first >= bottom)))
}

/// Reads the pages of a list by their numbers, the last ones first, and again those that rows may have slipped out of,
/// until none is left or it is enough.
///
/// `seen` holds what is known of the list, page 1 at least.
pub(super) async fn by_numbers<E>(
    seen: Vec<PageObservation>,
    in_flight: usize,
    ask: impl AsyncFn(PageSelector) -> Result<Option<PageObservation>, E>,
) -> Result<(), E> {
    let ask = &ask;
    let seen = RefCell::new(seen);
    let mut left = None;
    loop {
        let numbers = match proof::pages_to_read(&seen.borrow()) {
            PagesToRead::Unread(numbers) => numbers,
            PagesToRead::Again(mut numbers) => {
                let pages = seen.borrow().len();
                let left = left.get_or_insert(SETTLING + pages / 20);
                numbers.truncate(*left);
                *left -= numbers.len();
                numbers.into_iter().map(|number| number..=number).collect()
            }
        };
        if numbers.is_empty() {
            return Ok(());
        }
        let mut failed = false;
        // Deleted rows move others up, onto pages that are still to be read.
        let mut numbers = numbers.into_iter().flatten().rev();
        let mut asked = FuturesUnordered::new();
        loop {
            let at_once = if is_moving(&seen.borrow()) {
                1
            } else {
                in_flight.clamp(1, AT_ONCE)
            };
            let free = at_once.saturating_sub(asked.len());
            asked.extend(
                numbers
                    .by_ref()
                    .take(free)
                    .map(|number| ask(PageSelector::number(number))),
            );
            let Some(answer) = asked.next().await else {
                break;
            };
            match answer? {
                Some(answer) => seen.borrow_mut().push(answer),
                None => failed = true,
            }
        }
        // A failed page has used up its retries.
        if failed {
            return Ok(());
        }
    }
}

/// Whether rows came or went since the first answer.
fn is_moving(seen: &[PageObservation]) -> bool {
    let mut totals = seen.iter().filter_map(|seen| seen.total);
    let first = totals.next();
    totals.any(|total| Some(total) != first)
}
