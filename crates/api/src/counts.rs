//! How many requests were answered with which status. It judges nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cursus_base::mutex::locked;

/// Stands for the status of a request that was sent and not answered.
pub(crate) const UNANSWERED: u16 = 0;

/// Counts of answers by HTTP status, for pages and tokens; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct AnswerCounts(Arc<Mutex<BTreeMap<u16, u64>>>);

impl AnswerCounts {
    pub(crate) fn count(&self, status: u16) {
        let mut counts = locked(&self.0);
        *counts.entry(status).or_default() += 1;
    }

    /// Whether anything was counted since the last [`Self::take`].
    pub fn has_any(&self) -> bool {
        !locked(&self.0).is_empty()
    }

    /// Takes what was counted since the last call: requests by status, `none` for those without an answer.
    pub fn take(&self) -> BTreeMap<String, u64> {
        let counts = std::mem::take(&mut *locked(&self.0));
        let name = |status: u16| match status {
            UNANSWERED => "none".to_owned(),
            status => status.to_string(),
        };
        let named = counts
            .into_iter()
            .map(|(status, count)| (name(status), count));
        named.collect()
    }
}
