//! Whether windows of time, each proven by itself, hold all that was asked for.

use super::{Doubt, List};
use crate::staging::Window;

/// What of the time `needed` no proven list answers for.
pub(super) fn doubt<'a>(lists: impl Iterator<Item = &'a List>, needed: Window) -> Option<Doubt> {
    let mut proven: Vec<Option<Window>> = Vec::new();
    let mut doubts = Vec::new();
    let mut is_rangeless = false;
    for list in lists {
        is_rangeless |= super::is_rangeless(list.outside, list.rows);
        match list.doubt() {
            None => proven.push(list.window),
            Some(doubt) => doubts.push(doubt),
        }
    }
    if proven.contains(&None) {
        return None;
    }
    let mut windows: Vec<Window> = proven.into_iter().flatten().collect();
    windows.sort_by_key(|window| window.start);
    let mut reached = needed.start;
    for window in &windows {
        if window.start <= reached {
            reached = reached.max(window.end);
        }
    }
    if reached >= needed.end {
        return None;
    }
    // Every window is all of the list, and the best of them counts. When it was read, no window tells.
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
        doubts
            .into_iter()
            .next()
            .unwrap_or_else(|| Doubt::Hole(format!("what changed from {reached} on was not read"))),
    )
}
