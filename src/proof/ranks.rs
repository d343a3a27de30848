//! At which ranks of a list a record may stand that no answer showed.

use std::ops::RangeInclusive;

use super::observation::PageObservation;
use crate::list_limits::MOST_PAGES;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RankError {
    #[error(
        "the API does not say how many rows there are (no X-Total), so nothing proves that these are all"
    )]
    NoTotal,
    #[error("rows came in while they were read: {before} at first, {after} later")]
    Grew { before: u64, after: u64 },
}

/// Ranks from 1, inclusive, at which a record may stand unread after all answers; empty if there is none.
///
/// In a list that only shrinks the totals are a clock: answers of the same total saw the same list. Between two
/// answers whose totals differ by `d`, a record moves up by at most `d`.
pub(super) fn unread(seen: &[PageObservation]) -> Result<Vec<(u64, u64)>, RankError> {
    let pages: Vec<&PageObservation> = seen.iter().filter(|seen| seen.is_numbered()).collect();
    let before = pages.first().and_then(|first| first.total);
    let before = before.ok_or(RankError::NoTotal)?;
    let mut reads = Vec::new();
    let size = size(&pages);
    for page in &pages {
        // Without a total it is not known when it was read.
        let Some(total) = page.total else { continue };
        if total > before {
            return Err(RankError::Grew {
                before,
                after: total,
            });
        }
        let size = if page.has_per_page { page.size } else { size };
        let before = page.number.saturating_sub(1).saturating_mul(size);
        reads.push((total, before, before.saturating_add(page.rows)));
    }
    reads.sort_by_key(|(total, ..)| std::cmp::Reverse(*total));
    let mut unread = if before == 0 {
        vec![]
    } else {
        vec![(1, before)]
    };
    let mut now = before;
    // Ranks up to `above` stand before the page, those up to `last` before its end.
    for (total, above, last) in reads {
        moved_up(&mut unread, now - total, total);
        now = total;
        let below = last.saturating_add(1);
        unread = unread
            .into_iter()
            .flat_map(|(low, high)| [(low, high.min(above)), (low.max(below), high)])
            .filter(|(low, high)| low <= high)
            .collect();
    }
    Ok(unread)
}

/// Pages that are still to be asked for, in rising order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PagesToRead {
    /// They were not asked for yet. How many there are is the server's word: they are never held one by one.
    Unread(Vec<RangeInclusive<u64>>),
    /// Rows may have slipped out of them; empty if all is settled, or nothing can settle it.
    Again(Vec<u64>),
}

/// What is still to be asked for of a list whose page 1 and others were `seen`.
pub(crate) fn pages_to_read(seen: &[PageObservation]) -> PagesToRead {
    let pages: Vec<&PageObservation> = seen.iter().filter(|seen| seen.is_numbered()).collect();
    let size = size(&pages).max(1);
    let last_of = |total: u64| total.div_ceil(size).min(MOST_PAGES);
    let mut asked: Vec<u64> = pages.iter().map(|page| page.number).collect();
    asked.sort_unstable();
    match unread(seen) {
        Ok(unread) => {
            let last = last_of(last_total(seen));
            let (mut new, mut again) = (Vec::new(), Vec::new());
            let mut next = 1;
            for (low, high) in unread {
                // The page on which one stretch ends can be that on which the other begins.
                let first = next.max((low - 1) / size + 1);
                let end = last.min((high - 1) / size + 1);
                let within = within(&asked, first, end);
                new.extend(between(within, first, end));
                again.extend(within);
                next = next.max(end + 1);
            }
            again.dedup();
            if new.is_empty() {
                PagesToRead::Again(again)
            } else {
                PagesToRead::Unread(new)
            }
        }
        Err(RankError::Grew { .. }) => {
            let most = pages.iter().filter_map(|page| page.total).max();
            let last = last_of(most.unwrap_or(0));
            PagesToRead::Unread(between(within(&asked, 1, last), 1, last))
        }
        // The end is the first empty page.
        Err(RankError::NoTotal) => {
            let end = pages.iter().max_by_key(|page| page.number);
            let end = end.filter(|end| end.rows > 0 && end.number < MOST_PAGES);
            PagesToRead::Unread(
                end.map(|end| end.number + 1..=end.number + 1)
                    .into_iter()
                    .collect(),
            )
        }
    }
}

/// Those of the sorted `numbers` from `first` to `last`.
fn within(numbers: &[u64], first: u64, last: u64) -> &[u64] {
    let start = numbers.partition_point(|number| *number < first);
    let end = numbers.partition_point(|number| *number <= last);
    numbers.get(start..end).unwrap_or_default()
}

/// What is from `first` to `last` and none of the sorted `numbers`, which lie there.
fn between(numbers: &[u64], first: u64, last: u64) -> Vec<RangeInclusive<u64>> {
    let starts = std::iter::once(first).chain(numbers.iter().map(|number| number + 1));
    let ends = numbers.iter().map(|number| number - 1).chain([last]);
    starts
        .zip(ends)
        .filter(|(start, end)| start <= end)
        .map(|(start, end)| start..=end)
        .collect()
}

pub(super) fn last_total(seen: &[PageObservation]) -> u64 {
    let pages = seen.iter().filter(|seen| seen.is_numbered());
    pages.filter_map(|page| page.total).min().unwrap_or(0)
}

/// A server that gives smaller pages than asked for need not say so.
fn size(pages: &[&PageObservation]) -> u64 {
    let head = pages.iter().find(|page| page.number == 1);
    head.map_or(0, |head| {
        let is_cut = head.rows > 0 && head.total.is_some_and(|total| total > head.rows);
        if is_cut { head.rows } else { head.size }
    })
}

/// After `deleted` rows were deleted, and `total` are left.
fn moved_up(unread: &mut Vec<(u64, u64)>, deleted: u64, total: u64) {
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(unread.len());
    for (low, high) in unread.drain(..) {
        let (low, high) = (low.saturating_sub(deleted).max(1), high.min(total));
        if low > high {
            continue;
        }
        match merged.last_mut() {
            Some((_, end)) if low <= *end + 1 => *end = high.max(*end),
            _ => merged.push((low, high)),
        }
    }
    *unread = merged;
}
