//! At which ranks of a list a record may stand that no answer showed.

use super::Seen;

/// Why ranks tell nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unranked {
    /// No answer, or one without `X-Total`.
    #[error(
        "the API does not say how many rows there are (no X-Total), so nothing proves that these are all"
    )]
    NoTotal,
    /// The list grew: rows that came may have pushed others past a page border.
    #[error("rows came in while they were read: {before} at first, {after} later")]
    Grew {
        /// Rows at the first answer.
        before: u64,
        /// Rows at a later one.
        after: u64,
    },
}

/// Ranks from 1, inclusive, at which a record may stand unread after all answers; empty if there is none.
///
/// In a list that only shrinks the totals are a clock: answers of the same total saw the same list. Between two
/// answers whose totals differ by `d`, a record moves up by at most `d`.
pub(super) fn unread(seen: &[Seen]) -> Result<Vec<(u64, u64)>, Unranked> {
    let pages: Vec<&Seen> = seen.iter().filter(|seen| seen.is_numbered()).collect();
    let before = pages.first().and_then(|first| first.total);
    let before = before.ok_or(Unranked::NoTotal)?;
    let mut reads = Vec::new();
    let size = size(&pages);
    for page in &pages {
        // Without a total it is not known when it was read.
        let Some(total) = page.total else { continue };
        if total > before {
            return Err(Unranked::Grew {
                before,
                after: total,
            });
        }
        let first =
            (page.number - 1).saturating_mul(if page.size_is_told { page.size } else { size });
        reads.push((total, first + 1, first + page.rows));
    }
    reads.sort_by_key(|(total, ..)| std::cmp::Reverse(*total));
    let mut unread = if before == 0 {
        vec![]
    } else {
        vec![(1, before)]
    };
    let mut now = before;
    for (total, first, last) in reads {
        moved_up(&mut unread, now - total, total);
        now = total;
        unread = unread
            .into_iter()
            .flat_map(|(low, high)| [(low, high.min(first - 1)), (low.max(last + 1), high)])
            .filter(|(low, high)| low <= high)
            .collect();
    }
    Ok(unread)
}

/// Pages that are still to be asked for, in rising order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// They were not asked for yet.
    New(Vec<u64>),
    /// Rows may have slipped out of them; empty if all is settled, or nothing can settle it.
    Again(Vec<u64>),
}

/// What is still to be asked for of a list whose page 1 and others were `seen`.
pub fn wanted(seen: &[Seen]) -> Wanted {
    let pages: Vec<&Seen> = seen.iter().filter(|seen| seen.is_numbered()).collect();
    let size = size(&pages).max(1);
    let asked = |number: &u64| pages.iter().any(|page| page.number == *number);
    match unread(seen) {
        Ok(unread) => {
            let last = last_total(seen).div_ceil(size);
            let mut numbers: Vec<u64> = unread
                .into_iter()
                .flat_map(|(low, high)| (low - 1) / size + 1..=((high - 1) / size + 1).min(last))
                .collect();
            numbers.dedup();
            let (again, new): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(asked);
            if new.is_empty() {
                Wanted::Again(again)
            } else {
                Wanted::New(new)
            }
        }
        Err(Unranked::Grew { .. }) => {
            let most = pages.iter().filter_map(|page| page.total).max();
            let last = most.unwrap_or(0).div_ceil(size);
            Wanted::New((1..=last).filter(|number| !asked(number)).collect())
        }
        // The end is the first empty page.
        Err(Unranked::NoTotal) => {
            let end = pages.iter().max_by_key(|page| page.number);
            let next = end.filter(|end| end.rows > 0).map(|end| end.number + 1);
            Wanted::New(next.into_iter().collect())
        }
    }
}

/// Rows at the last answer.
pub(super) fn last_total(seen: &[Seen]) -> u64 {
    let pages = seen.iter().filter(|seen| seen.is_numbered());
    pages.filter_map(|page| page.total).min().unwrap_or(0)
}

/// A server that gives smaller pages than asked for need not say so.
fn size(pages: &[&Seen]) -> u64 {
    let head = pages.iter().find(|page| page.number == 1);
    head.map_or(0, |head| {
        let is_cut = head.rows > 0 && head.total.is_some_and(|total| total > head.rows);
        if is_cut { head.rows } else { head.size }
    })
}

/// After `gone` rows have left, and `total` are there.
fn moved_up(unread: &mut Vec<(u64, u64)>, gone: u64, total: u64) {
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(unread.len());
    for (low, high) in unread.drain(..) {
        let (low, high) = (low.saturating_sub(gone).max(1), high.min(total));
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
