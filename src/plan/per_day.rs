//! What a resource costs a day. Pure: from the configuration, and from what earlier reads gave.

use std::time::Duration;

use super::earlier_reads::EarlierReads;
use crate::config::{Config, FullEvery, Resource};
use crate::staging::Mode;

/// How often runs are made, for this figure.
const SYNC_EVERY: Duration = Duration::from_mins(15);
const DAY: Duration = Duration::from_hours(24);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RequestsADay {
    pub(crate) requests: f64,
    /// The size of a read is not known: it was never read. One page is counted for it.
    pub(crate) is_at_least: bool,
}

impl RequestsADay {
    fn add(&mut self, pages: Option<u64>, every: Duration) {
        let times = DAY.as_secs_f64() / every.max(SYNC_EVERY).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "pages are far below 2^52")]
        let pages_read = pages.unwrap_or(1).max(1) as f64;
        self.requests += pages_read * times;
        self.is_at_least |= pages.is_none();
    }
}

/// What these resources cost a day, with a run every [`SYNC_EVERY`].
pub(crate) fn requests_a_day<'r>(
    config: &Config,
    resources: impl IntoIterator<Item = &'r Resource>,
    earlier_reads: &EarlierReads,
) -> RequestsADay {
    let mut sum = RequestsADay::default();
    for read in resources.into_iter().flat_map(Resource::all_reads) {
        let pages = || pages(config, read, earlier_reads);
        let every = (read.read.as_ref()).map_or(read.min_age, |named| named.every);
        if read.for_each.is_some() {
            // It depends on what the other resource showed.
            sum.add(None, every);
        } else if read.cursor.is_some() {
            sum.add(Some(1), every);
            match read.full_every {
                Some(FullEvery::Fixed(every)) => sum.add(pages(), every),
                Some(FullEvery::Auto) => sum.add(pages(), DAY),
                None => {}
            }
        } else {
            sum.add(pages(), every);
        }
    }
    sum
}

/// Of the newest full read; none if there was none.
fn pages(config: &Config, read: &Resource, earlier_reads: &EarlierReads) -> Option<u64> {
    let full = earlier_reads
        .of(read)
        .iter()
        .find(|read| read.manifest.mode == Mode::Full)?;
    let rows = full.manifest.x_total.unwrap_or(full.manifest.rows);
    let size = read.page_size.unwrap_or(config.api.page_size);
    Some(rows.div_ceil(u64::from(size.max(1))))
}
