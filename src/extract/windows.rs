//! The order in which a list without an order is read: in windows of time.
//!
//! Pages of such a list prove nothing while rows are added or change places. The rows that have not changed since a moment
//! can only become fewer; those that changed after it are asked for separately. [`crate::proof`] explains why this misses nothing.

#[cfg(test)]
mod tests;

use jiff::Timestamp;

use crate::proof::{EARLIEST, LATEST, PageObservation, future, just_after};
use crate::staging::{PageEntry, Window};

/// How often the list is read again from the time of the last answer. A longer loop would need more changed rows than a page
/// between two answers.
const WINDOWS: usize = 6;
/// How often a full read is checked for rows that its windows do not account for.
const ACCOUNTS: usize = 10;
/// Equal counts in a row before all pages are searched for the missing rows.
const SAME_ACCOUNTS: usize = 3;

pub(super) struct FirstPage {
    pub(super) entry: PageEntry,
    pub(super) seen: PageObservation,
    pub(super) is_rangeless: bool,
    /// A time since which about as many rows have changed as fit a page.
    pub(super) split: Option<Timestamp>,
}

/// Rows for the window that closes a delta: most of a page, since more may come.
fn closing_rows(size: u64) -> u64 {
    size - size / 10
}

/// Pages of a delta's window before the one that closes it.
fn pages_before(total: u64, size: u64) -> u64 {
    total.saturating_sub(closing_rows(size)).div_ceil(size)
}

/// Requests of a full read of `rows`, more than a page, while nothing changes.
pub(crate) fn full_requests(total: u64, size: u64) -> u64 {
    total.div_ceil(size.max(1)) + 2
}

/// Requests of a delta of `rows`, more than a page, while nothing changes.
pub(crate) fn delta_requests(total: u64, size: u64) -> u64 {
    pages_before(total, size.max(1)) + 2
}

/// A time since which about as many rows of a list have changed as its last page can take, such that the rows before it
/// need one page less. `times` are those of its first page: the newest ones, or any.
pub(super) fn split(seen: &PageObservation, times: &[Timestamp]) -> Option<Timestamp> {
    let (total, size) = (seen.total?, seen.size.max(1));
    let before = pages_before(total, size);
    let wanted = total
        .saturating_sub(before * size)
        .midpoint(closing_rows(size));
    let are_newest = times.is_sorted_by(|one, next| one >= next);
    let mut sorted = times.to_vec();
    sorted.sort_unstable_by_key(|time| std::cmp::Reverse(*time));
    let shown = sorted.len() as u64;
    let at = if are_newest {
        wanted
    } else {
        wanted * shown / total.max(1)
    };
    let split = sorted.get(usize::try_from(at).ok()?)?;
    split.round(jiff::Unit::Millisecond).ok()
}

impl FirstPage {
    pub(super) fn pages(&self) -> u64 {
        let pages = |total: u64| total.div_ceil(self.seen.size.max(1));
        self.seen.total.map_or(1, pages)
    }
}

/// The lists of a slice: all of it, or a window of time.
pub(super) trait Lists {
    type Error;

    /// Reads page 1; `None` if it failed, which is recorded.
    async fn first(&self, window: Option<Window>) -> Result<Option<FirstPage>, Self::Error>;

    async fn rest(&self, window: Option<Window>, head: FirstPage) -> Result<(), Self::Error>;

    /// Rows that the windows so far do not account for; `None` if unknown.
    fn unaccounted(&self) -> Option<u64>;

    /// Whether the answers so far show that the API ignores windows.
    fn is_rangeless(&self) -> bool;
}

/// Reads the window `asked`, or all. For all, the windows must account for every row of the list.
pub(super) async fn read<L: Lists>(lists: &L, asked: Option<Window>) -> Result<(), L::Error> {
    let all = Window::from((EARLIEST, LATEST));
    let Window {
        mut start,
        end: last,
    } = asked.unwrap_or(all);
    let Some(head) = lists.first(asked).await? else {
        return Ok(());
    };
    if head.seen.shows_all() {
        return Ok(());
    }
    // The window is in the past already, or the server sends no time.
    let date = head.seen.date.filter(|date| *date > start && *date < last);
    let Some(mut end) = date.filter(|_| !head.is_rangeless) else {
        return lists.rest(asked, head).await;
    };
    // The count of a full read compares all rows with those up to the time that the first answer counts.
    let split = if asked.is_some() {
        head.split
    } else {
        head.seen.settled
    };
    end = split
        .filter(|split| *split > start && *split < end)
        .unwrap_or(end);
    // Rows dated in the future can fill pages, but no row moves there.
    let (mut present, future) = (last, future(end).min(last));
    for _ in 0..WINDOWS {
        read_window(lists, start, end).await?;
        if lists.is_rangeless() {
            return Ok(());
        }
        match first(lists, end, present).await? {
            None => return Ok(()),
            Some(since) if since.seen.shows_all() => break,
            // Every window gives all rows: one is enough.
            Some(since) if since.is_rangeless => return Ok(()),
            Some(since) => match since.seen.date {
                Some(date) if date > end && date < future => {
                    (start, end) = (end, date);
                    if present > future {
                        present = future;
                        read_window(lists, future, last).await?;
                    }
                }
                _ => {
                    let window = Some(Window::from((end, present)));
                    lists.rest(window, since).await?;
                    break;
                }
            },
        }
    }
    match asked {
        None => account(lists, present < last).await,
        Some(_) => Ok(()),
    }
}

async fn first<L: Lists>(
    lists: &L,
    start: Timestamp,
    end: Timestamp,
) -> Result<Option<FirstPage>, L::Error> {
    lists.first(Some(Window { start, end })).await
}

async fn read_window<L: Lists>(
    lists: &L,
    start: Timestamp,
    end: Timestamp,
) -> Result<(), L::Error> {
    match first(lists, start, end).await? {
        Some(head) => lists.rest(Some(Window { start, end }), head).await,
        None => Ok(()),
    }
}

/// Asks until the windows account for every row of the list. While as many are missing again and again, such as those
/// without a time, the list is read without a range.
async fn account<L: Lists>(lists: &L, has_future: bool) -> Result<(), L::Error> {
    let (mut missing, mut same) = (lists.unaccounted(), 0);
    for _ in 0..ACCOUNTS {
        if missing == Some(0) {
            return Ok(());
        }
        let Some(head) = lists.first(None).await? else {
            return Ok(());
        };
        // Without a time or a total nothing can be counted.
        let Some(date) = head.seen.settled.filter(|_| head.seen.total.is_some()) else {
            return Ok(());
        };
        let since = just_after(date);
        if has_future {
            first(lists, since, future(date)).await?;
            first(lists, future(date), LATEST).await?;
        } else {
            first(lists, since, LATEST).await?;
        }
        first(lists, EARLIEST, date).await?;
        let now = lists.unaccounted();
        same = if now == missing { same + 1 } else { 0 };
        missing = now;
        if same == SAME_ACCOUNTS && missing != Some(0) {
            lists.rest(None, head).await?;
        }
    }
    Ok(())
}
