//! Which ids no answer covers.

use std::fmt;

use super::observation::PageObservation;

/// The lowest id that is asked for. Whether a list has lower ones is checked by its size.
pub(crate) const LOWEST: i64 = 0;

/// Ids below [`LOWEST`], as far as a column of 32 bits has them.
pub(crate) const BELOW_LOWEST: (i64, i64) = (i32::MIN as i64, LOWEST - 1);

/// Ids from `low` to `high` that no answer covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ids {} to {}", self.low, self.high)
    }
}

impl PageObservation {
    /// The ids between which this answer shows every record that there was, both inclusive.
    ///
    /// Only an answer in descending order can say so: a page holds the records that follow one another, and the
    /// first of a range holds its highest ones.
    pub(crate) fn covers(&self) -> Option<(i64, i64)> {
        if !self.descending || self.strays() {
            return None;
        }
        let (before, (low, high)) = match self.asked {
            Some(asked) => (0, asked),
            None if self.number == 1 => (0, (LOWEST, i64::MAX)),
            // What stood on the pages before it is not known.
            None => (
                self.number.saturating_sub(1).saturating_mul(self.size),
                (LOWEST, self.first?),
            ),
        };
        let is_end = match (self.rows, self.total) {
            // An empty list must be announced as empty; a range is below rows that were shown.
            (0, None) => self.asked.is_some(),
            (0, total) => total == Some(0),
            // A server that gives smaller pages than asked for, and does not announce it, has not shown that many before.
            (rows, total) => {
                (before == 0 || self.has_per_page) && total == Some(before.saturating_add(rows))
            }
        };
        if is_end {
            return Some((low, high));
        }
        Some((self.last?, high))
    }
}

/// What the answers leave out below the highest id of the first page; `None` where that page is missing, so that
/// it is unknown which ids there are.
pub(super) fn gaps(seen: &[PageObservation]) -> Option<Vec<Gap>> {
    let heads = seen
        .iter()
        .filter(|seen| seen.is_numbered() && seen.number == 1);
    let top = heads.map(|head| head.first.unwrap_or(LOWEST)).min()?;
    let mut covered: Vec<(i64, i64)> = seen.iter().filter_map(PageObservation::covers).collect();
    covered.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = LOWEST;
    for (low, high) in covered {
        if next > top {
            break;
        }
        if low > next {
            gaps.push(Gap {
                low: next,
                high: top.min(low - 1),
            });
        }
        next = next.max(high.saturating_add(1));
    }
    if next <= top {
        gaps.push(Gap {
            low: next,
            high: top,
        });
    }
    Some(gaps)
}
