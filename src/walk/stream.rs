//! A page of any size, walked in pieces as it is read: each piece is a page of its own that ends between two records.
//!
//! Only a record must fit into memory. It does not look into records: what a piece holds is judged by [`Walker::page`].

use std::io::{self, Read};
use std::sync::Mutex;

use crate::mutex::locked;

use super::walker::{Slots, Walker};

/// Bytes that are read before the page is cut; most pages are smaller.
const PIECE: usize = 128 * 1024;

/// No record is larger, in bytes.
pub(crate) const LARGEST_RECORD: usize = 8 * 1024 * 1024;

/// Held while a record larger than a piece is read: one at a time. Process-wide, because it bounds the memory of the process.
static LARGE_RECORD: Mutex<()> = Mutex::new(());

/// Idle buffers, emptied: allocating one per page fragments memory. Process-wide, because the heap is.
static IDLE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Where a page stops being an array of records.
#[derive(Debug)]
pub(crate) enum StreamError {
    Read(io::Error),
    Text,
    /// It is not JSON: what stands there first, and where it breaks off.
    Json {
        first: Option<u8>,
        line: usize,
        column: usize,
    },
    LargeRecord,
}

impl Walker {
    /// Walks a page as [`Walker::page`] does, while it is read.
    pub(crate) fn stream(
        &self,
        page: impl Read,
        each: impl FnMut(u64, &Slots<'_>),
    ) -> Result<(), StreamError> {
        self.pieces(PIECE, page, each)
    }

    fn pieces(
        &self,
        piece: usize,
        page: impl Read,
        each: impl FnMut(u64, &Slots<'_>),
    ) -> Result<(), StreamError> {
        let idle = || locked(&IDLE);
        let buffer = idle().pop();
        let mut text = buffer.unwrap_or_default();
        let walked = self.walk_pieces(piece, &mut text, page, each);
        text.clear();
        text.shrink_to(2 * PIECE);
        idle().push(text);
        walked
    }

    fn walk_pieces(
        &self,
        piece: usize,
        text: &mut Vec<u8>,
        mut page: impl Read,
        mut each: impl FnMut(u64, &Slots<'_>),
    ) -> Result<(), StreamError> {
        let mut scan = Scan::default();
        let mut place = PiecePosition::default();
        let mut records = 0;
        let mut large = None;
        let mut walk = |text: &[u8], records: &mut u64, place: &PiecePosition| {
            let before = *records;
            let walked = self.page(std::str::from_utf8(text).map_err(|_| StreamError::Text)?, {
                |index, slots| {
                    *records = before + index + 1;
                    each(before + index, slots);
                }
            });
            walked.map_err(|error| place.of(text, error.line(), error.column()))?;
            // Between two records there is a comma: a piece of none is beside one too many.
            if before == *records && !place.is_first {
                return Err(place.of(text, 1, 1));
            }
            Ok(())
        };
        loop {
            // A page that is small takes no more memory than it needs.
            if !text.is_empty() {
                text.reserve_exact(piece);
            }
            let read = (&mut page).take(piece as u64).read_to_end(text);
            if read.map_err(StreamError::Read)? < piece {
                return walk(text, &mut records, &place);
            }
            if let Some(cut) = scan.last_comma(text) {
                text[cut] = b']';
                walk(&text[..=cut], &mut records, &place)?;
                if records == 0 {
                    return Err(place.of(text, 1, 2));
                }
                place.pass(&text[..cut]);
                text[cut] = b'[';
                text.drain(..cut);
                scan.pass(cut);
                if large.is_some() {
                    text.shrink_to(2 * PIECE);
                    large = None;
                }
            } else if text.len() > LARGEST_RECORD {
                return Err(StreamError::LargeRecord);
            } else if large.is_none() {
                large = Some(locked(&LARGE_RECORD));
            }
        }
    }
}

/// Where a piece begins in its page.
struct PiecePosition {
    line: usize,
    column: usize,
    first: Option<u8>,
    is_first: bool,
}

impl Default for PiecePosition {
    fn default() -> Self {
        Self {
            line: 0,
            column: 0,
            first: None,
            is_first: true,
        }
    }
}

impl PiecePosition {
    fn pass(&mut self, text: &[u8]) {
        self.first = self.first.or_else(|| first(text));
        self.is_first = false;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.column += line.len();
            if line.ends_with(b"\n") {
                (self.line, self.column) = (self.line + 1, 0);
            }
        }
    }

    fn of(&self, text: &[u8], line: usize, column: usize) -> StreamError {
        StreamError::Json {
            first: self.first.or_else(|| first(text)),
            line: self.line + line,
            column: column + if line == 1 { self.column } else { 0 },
        }
    }
}

/// What stands first in a text that is not blank.
fn first(text: &[u8]) -> Option<u8> {
    text.trim_ascii_start().first().copied()
}

/// Finds the commas between the elements of an array, of text that is JSON.
#[derive(Default)]
struct Scan {
    at: usize,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    comma: Option<usize>,
}

impl Scan {
    /// The last one; what was looked at is not looked at again.
    fn last_comma(&mut self, text: &[u8]) -> Option<usize> {
        for (at, byte) in text.iter().enumerate().skip(self.at) {
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                b',' if self.depth == 1 => self.comma = Some(at),
                _ => {}
            }
        }
        self.at = text.len();
        self.comma
    }

    /// The text before `cut` was handed on.
    fn pass(&mut self, cut: usize) {
        self.at -= cut;
        self.comma = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pointer::Pointer;
    use proptest::prelude::*;

    /// The ids of a page, and where it breaks off.
    type Walked = (Vec<(u64, String)>, Option<(usize, usize)>);

    fn walker() -> (Walker, usize) {
        let mut walker = Walker::default();
        let slot = walker.add(&Pointer::key("id"));
        (walker, slot)
    }

    fn unpieced(text: &str) -> Walked {
        let (walker, slot) = walker();
        let mut ids = Vec::new();
        let walked = walker.page(text, |index, slots| {
            ids.push((index, slots[slot].unwrap_or_default().to_owned()));
        });
        (
            ids,
            walked.err().map(|error| (error.line(), error.column())),
        )
    }

    fn in_pieces(piece: usize, text: &str) -> Walked {
        let (walker, slot) = walker();
        let mut ids = Vec::new();
        let walked = walker.pieces(piece, text.as_bytes(), |index, slots| {
            ids.push((index, slots[slot].unwrap_or_default().to_owned()));
        });
        let place = walked.err().map(|error| match error {
            StreamError::Json { line, column, .. } => (line, column),
            other => panic!("{other:?}"),
        });
        (ids, place)
    }

    fn page() -> impl Strategy<Value = String> {
        let record = r#"\{"id":[1-9]{1,3}(,"a":("[\[\]{},a]{0,3}(\\\\|\\")?"|\[1,\[2,3\]\]|\{"b":[1-9]\}))?\}"#;
        let separator = "( |\n){0,2},( |\n){0,2}";
        let records = prop::collection::vec((record, separator), 0..8);
        (records, "( |\n){0,2}").prop_map(|(records, blank)| {
            let mut text = format!("{blank}[");
            for (at, (record, separator)) in records.iter().enumerate() {
                text += if at > 0 { separator } else { "" };
                text += record;
            }
            text + &blank + "]" + &blank
        })
    }

    proptest! {
        #[test]
        fn a_page_in_pieces_is_the_same_page(text in page(), piece in 1_usize..40) {
            let expected = unpieced(&text);
            prop_assert_eq!(&expected.1, &None);
            prop_assert_eq!(in_pieces(piece, &text), expected);
        }

        #[test]
        fn a_broken_page_is_broken_in_pieces_too(
            text in page(), piece in 1_usize..40, at: prop::sample::Index, new in r#"[\[\]{}",:1a ]{0,2}"#,
        ) {
            let mut text = text;
            let at = at.index(text.len());
            text.replace_range(at..=at, &new);
            let (ids, error) = unpieced(&text);
            let found = in_pieces(piece, &text);
            prop_assert_eq!(found.1.is_some(), error.is_some(), "{}", text);
            if error.is_none() {
                prop_assert_eq!(found.0, ids);
            }
        }
    }

    #[test]
    fn an_error_is_placed_in_the_whole_page() {
        let text = "[{\"id\":1},\n{\"id\":2}, {\"id\":3},\n {\"id\":x}]";
        assert_eq!(unpieced(text).1, Some((3, 8)));
        for piece in 1..text.len() {
            assert_eq!(in_pieces(piece, text).1, Some((3, 8)), "{piece}");
        }
    }

    #[test]
    fn a_record_that_is_larger_than_memory_is_refused() {
        let (walker, _) = walker();
        let record = std::io::repeat(b'x');
        let page = br#"[{"id":""#.chain(record);
        let refused = walker.stream(page, |_, _| {});
        assert!(matches!(refused, Err(StreamError::LargeRecord)));
    }
}
