//! What one answer shows of its list.

use jiff::Timestamp;

use crate::staging::PageEntry;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageObservation {
    pub(crate) number: u64,
    /// Rows of a full page, as announced by the server, else as requested.
    pub(crate) size: u64,
    pub(crate) has_per_page: bool,
    /// `range[id]`, both ends inclusive.
    pub(crate) asked: Option<(i64, i64)>,
    pub(crate) rows: u64,
    pub(crate) first: Option<i64>,
    pub(crate) last: Option<i64>,
    /// Falling ids were asked for, and every record has an id lower than the one before.
    pub(crate) descending: bool,
    /// `X-Total`: rows of what was asked for, at that moment.
    pub(crate) total: Option<u64>,
    /// When the answer came, by our clock.
    pub(crate) at: Timestamp,
    pub(crate) date: Option<Timestamp>,
    /// What changed up to then is counted in `total`: the server may take the time at the end of the answer, and the count before.
    pub(crate) settled: Option<Timestamp>,
    /// Distinct records of the first page of a window that the answers of the slice had shown which came before it;
    /// 0, if they were not added in their order.
    pub(crate) known: u64,
    /// When the answer before it came.
    pub(crate) previous: Option<Timestamp>,
}

impl PageObservation {
    /// Reads a journal line and the ids of its page.
    pub(crate) fn new(page: &PageEntry, ids: &[i64]) -> Self {
        let asked = &page.page_request;
        Self {
            at: page.fetched_at,
            date: page.server_date,
            settled: page
                .server_date
                .and_then(|date| settled(date, page.duration_ms)),
            known: 0,
            previous: None,
            number: asked.page_number,
            size: page
                .per_page
                .filter(|size| *size > 0)
                .unwrap_or(asked.page_size),
            has_per_page: page.per_page.is_some_and(|size| size > 0),
            asked: asked.id_range,
            rows: page.rows,
            first: ids.first().copied(),
            last: ids.last().copied(),
            descending: asked.is_descending()
                && ids.len() as u64 == page.rows
                && ids.is_sorted_by(|a, b| a > b),
            total: page.x_total,
        }
    }

    /// Whether it is a page of the list, not of a range of ids.
    pub(crate) fn is_numbered(&self) -> bool {
        self.asked.is_none()
    }

    /// Whether it shows all there is of what was asked for.
    pub(crate) fn shows_all(&self) -> bool {
        self.number == 1 && self.total == Some(self.rows)
    }

    /// Whether records came that were not asked for: the server ignores `range[id]`.
    pub(crate) fn strays(&self) -> bool {
        self.asked.is_some_and(|(low, high)| {
            [self.first, self.last]
                .into_iter()
                .flatten()
                .any(|id| id < low || id > high)
        })
    }
}

/// A time that was past when the server began with an answer of this date that took `duration_ms`.
fn settled(date: Timestamp, duration_ms: u64) -> Option<Timestamp> {
    let took = i64::try_from(duration_ms.saturating_add(1_000)).ok()?;
    date.checked_sub(jiff::SignedDuration::from_millis(took))
        .ok()
}
