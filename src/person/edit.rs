//! Changes of JSON text in place: what is not named stays byte for byte.

use std::ops::Range;

/// A part of a text, and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) by: Replacement,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Replacement {
    /// Nothing: the element of an array is removed, with a comma beside it.
    Removed,
    Text(String),
    Null,
}

impl Edit {
    pub(crate) fn null(range: Range<usize>) -> Self {
        Self {
            range,
            by: Replacement::Null,
        }
    }
}

/// The changed text; none if there is nothing to change. Of two edits one of which is inside of the other the outer one counts.
pub(crate) fn apply(text: &str, mut edits: Vec<Edit>) -> Option<Vec<u8>> {
    edits.sort_by(|a, b| {
        let of = |edit: &Edit| (edit.range.start, std::cmp::Reverse(edit.range.end));
        of(a).cmp(&of(b)).then_with(|| a.by.cmp(&b.by))
    });
    let mut end = 0;
    edits.retain(|edit| {
        let is_outer = edit.range.start >= end;
        end = end.max(edit.range.end);
        is_outer
    });
    if edits.is_empty() {
        return None;
    }
    let (mut changed, mut at) = (Vec::with_capacity(text.len()), 0);
    let mut edits = edits.into_iter().peekable();
    while let Some(Edit { range, by }) = edits.next() {
        let (mut start, mut end) = (range.start, range.end);
        if by == Replacement::Removed {
            // With those beside it that are removed as well, and one comma less than elements.
            let is_last = loop {
                let Some(next) = text[end..].trim_ascii_start().strip_prefix(',') else {
                    break true;
                };
                let next = text.len() - next.trim_ascii_start().len();
                let follows = edits
                    .next_if(|edit| edit.by == Replacement::Removed && edit.range.start == next);
                match follows {
                    Some(edit) => end = edit.range.end,
                    None => {
                        end = next;
                        break false;
                    }
                }
            };
            if let Some(before) = text[at..start].trim_ascii_end().strip_suffix(',')
                && is_last
            {
                start = at + before.len();
            }
        }
        changed.extend_from_slice(&text.as_bytes()[at..start]);
        changed.extend_from_slice(match &by {
            Replacement::Removed => b"",
            Replacement::Text(text) => text.as_bytes(),
            Replacement::Null => b"null",
        });
        at = end;
    }
    changed.extend_from_slice(&text.as_bytes()[at..]);
    Some(changed)
}
