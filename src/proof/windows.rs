//! Whether windows of time, each proven by itself, hold all that was asked for.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::list::{Doubt, List, Slice, ignores_range};
use super::observation::PageObservation;
use crate::convert::counted;
use crate::staging::Window;

/// The earliest time that is asked for: 0001-01-01T00:00:00Z.
pub(crate) const EARLIEST: Timestamp = Timestamp::constant(-62_135_596_800, 0);
/// The latest time that is asked for: 9999-01-01T00:00:00Z.
pub(crate) const LATEST: Timestamp = Timestamp::constant(253_370_764_800, 0);

/// What of the time `needed` no proven list answers for.
pub(super) fn doubt(slice: &Slice, needed: Window) -> Option<Doubt> {
    let mut proven: Vec<Option<Window>> = Vec::new();
    let mut doubts = Vec::new();
    let mut is_rangeless = false;
    for list in &slice.lists {
        is_rangeless |= ignores_range(list.outside, list.rows);
        match list.doubt() {
            None if may_have_moved(list, slice) => doubts.push(Doubt::Unsettled(
                "rows changed while a list without an order was read".to_owned(),
            )),
            None => proven.push(list.window),
            Some(doubt) => doubts.push(doubt),
        }
    }
    if proven.contains(&None) {
        return None;
    }
    let mut windows: Vec<Window> = proven.into_iter().flatten().collect();
    windows.sort_by_key(|window| window.start);
    let mut covered_to = needed.start;
    for window in &windows {
        if window.start <= covered_to {
            covered_to = covered_to.max(window.end);
        }
    }
    if covered_to >= needed.end {
        if needed.start > EARLIEST {
            return None;
        }
        return match unaccounted(slice) {
            Some(0) => None,
            left => Some(Doubt::Unsettled(rows_in_no_window(left))),
        };
    }
    // Every window is all of the list, and the best of them counts. No window shows when it was read.
    let is_read = !windows.is_empty()
        || doubts
            .iter()
            .any(|doubt| matches!(doubt, Doubt::Unsettled(_)));
    if is_rangeless && is_read {
        return Some(Doubt::Unsettled(
            "the API ignores the range of time, so nothing proves that no row moved past a page border; \
             without `cursor` in pipeline.toml the list is read as one".to_owned(),
        ));
    }
    // A hole is worse than a question.
    doubts.sort_by_key(|doubt| matches!(doubt, Doubt::Unsettled(_)));
    Some(
        doubts.into_iter().next().unwrap_or_else(|| {
            Doubt::Hole(format!("what changed from {covered_to} on was not read"))
        }),
    )
}

fn rows_in_no_window(left: Option<u64>) -> String {
    let rows = match left {
        Some(1) => "1 row is".to_owned(),
        Some(left) => format!("{} are", counted(left, "row")),
        None => "the API does not say whether rows are".to_owned(),
    };
    format!(
        "{rows} outside every time window: their date is null or invalid, or they were deleted during the read"
    )
}

/// Whether rows may have changed places while the pages of a list without an order were read. Not if one answer shows
/// it completely, or if its window was in the past or in the future all the time.
fn may_have_moved(list: &List, slice: &Slice) -> bool {
    if list.sorted || list.seen.iter().any(PageObservation::shows_all) {
        return false;
    }
    let Some(window) = list.window else {
        // Where windows can be asked for, they were.
        return slice.lists.len() > 1;
    };
    let dates = || list.seen.iter().filter_map(|seen| seen.date);
    // Without the server's time it is unknown whether a window is open.
    let (Some(first), Some(last)) = (dates().min(), dates().max()) else {
        return false;
    };
    window.start <= last && window.end > first
}

/// Answers for the first pages of some windows.
fn of_windows(
    slice: &Slice,
    is_wanted: impl Fn(&Window) -> bool,
) -> impl Iterator<Item = (Window, &PageObservation)> {
    let lists = slice.lists.iter();
    let windows = lists.filter_map(|list| Some((list.window?, &list.seen)));
    windows
        .filter(move |(window, _)| is_wanted(window))
        .flat_map(|(window, seen)| seen.iter().map(move |seen| (window, seen)))
        .filter(|(_, seen)| seen.number == 1)
}

/// Rows of the list without a range that the windows do not account for; `None` if unknown.
///
/// Rows without a time are in no window, and may be read in pages without a range. Then they must be as many as are
/// missing by the count before these pages, and by the one after them.
pub(super) fn unaccounted(slice: &Slice) -> Option<u64> {
    let unranged = slice.lists.iter().filter(|list| list.window.is_none());
    let heads = unranged
        .flat_map(|list| &list.seen)
        .filter(|seen| seen.is_numbered() && seen.number == 1);
    let counts: Vec<(Timestamp, u64)> = heads
        .filter_map(|head| Some((head.at, missing(slice, head)?)))
        .collect();
    let least = counts.iter().map(|(_, missing)| *missing).min()?;
    let is_read = |from: &(Timestamp, u64), to: &(Timestamp, u64)| {
        let between = (slice.undated.iter()).filter(|(at, _)| (from.0..to.0).contains(at));
        let undated: BTreeSet<u64> = between.map(|(_, id)| *id).collect();
        from.1 == to.1 && undated.len() as u64 == from.1
    };
    let mut pairs = counts.iter().zip(counts.iter().skip(1));
    Some(if pairs.any(|(from, to)| is_read(from, to)) {
        0
    } else {
        least
    })
}

/// How many rows of the list are in no window, by the total of one answer without a range at a moment `t`.
///
/// A row that has a time has one up to `t`, and is in the window up to `t` for as long as it does not change. So the
/// rows without a time are at most as many as that window, asked for after `t`, lacks: what comes after `t` is not in
/// it. Of the rows that it lacks, those that changed since `t` are taken off: the answer after it shows them, and they
/// had been seen before. So are those of the future, which no row gets into.
fn missing(slice: &Slice, head: &PageObservation) -> Option<u64> {
    let (total, date) = (head.total?, head.settled?);
    if head.shows_all() {
        return Some(0);
    }
    let up_to = of_windows(slice, |window| *window == (EARLIEST, date).into());
    let missing = up_to
        .filter(|(_, up_to)| up_to.at > head.at)
        .filter_map(|(_, up_to)| {
            let since = of_windows(slice, |window| window.start == just_after(date));
            let is_between =
                |seen: &PageObservation| seen.previous == Some(head.at) && seen.at < up_to.at;
            let since = since.filter(|(_, seen)| is_between(seen) && seen.shows_all());
            let known = since.map(|(window, seen)| {
                let future = of_windows(slice, |future| *future == (window.end, LATEST).into());
                let future =
                    future.filter(|(_, seen)| seen.at > head.at && seen.date < Some(window.end));
                let future = future.filter_map(|(_, seen)| seen.total).min();
                seen.known.saturating_add(future.unwrap_or(0))
            });
            let known = known.max().unwrap_or(0);
            Some(total.saturating_sub(up_to.total?.saturating_add(known)))
        });
    missing.min()
}

/// The first time after `date`, in the resolution of a request: what changed then is not in the window up to `date`.
pub(crate) fn just_after(date: Timestamp) -> Timestamp {
    date.saturating_add(SignedDuration::from_millis(1))
        .unwrap_or(date)
}

/// A server time after the end of a read of a list that began at `date`.
pub(crate) fn future(date: Timestamp) -> Timestamp {
    date.saturating_add(SignedDuration::from_hours(48))
        .unwrap_or(date)
}
