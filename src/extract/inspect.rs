//! What a body must be to count as a page, and what is noted of it.

use std::io::Read;

use jiff::Timestamp;

use crate::api::InspectError;
use crate::config::Resource;
use crate::person::DROPPED;
use crate::pointer::Pointer;
use crate::proof::PageFacts;
use crate::staging::{PageEntry, StagedResource, StagingError};
use crate::walk::{LARGEST_RECORD, Place, StreamError, Walker};

use super::slices::Filter;

/// No page holds more records: what is noted of each is in memory until the page is staged.
const MOST_RECORDS: u64 = 50_000;

#[derive(Clone, Debug)]
pub(crate) struct Inspector {
    walker: Walker,
    id: Place,
    id_slot: usize,
    cursor: Option<usize>,
    window_start: Option<Timestamp>,
    /// Whether the resource is read in windows of time: then it is noted what time a record has, if any.
    is_in_windows: bool,
    filter: Option<(usize, Filter)>,
    /// What only a staged page may hold.
    dropped: usize,
}

impl Inspector {
    /// For pages of `resource`; in a window, records must not be older than its start, and with a filter of no other
    /// ids.
    pub(crate) fn new(
        resource: &Resource,
        window_start: Option<Timestamp>,
        filter: Option<&Filter>,
    ) -> Self {
        let mut walker = Walker::default();
        let id = walker.place(&resource.id);
        let id_slot = walker.add(&resource.id);
        let is_in_windows = resource.is_read_in_windows();
        let cursor = (resource.cursor.as_ref())
            .filter(|_| is_in_windows || window_start.is_some())
            .map(|cursor| walker.add(&Pointer::key(&cursor.field)));
        let filter =
            filter.map(|filter| (walker.add(&Pointer::key(&filter.field)), filter.clone()));
        let dropped = walker.add(&Pointer::key(DROPPED));
        Self {
            walker,
            id,
            id_slot,
            cursor,
            window_start,
            is_in_windows,
            filter,
            dropped,
        }
    }

    /// The facts of a body that was received, or why it is no page; never quotes the body.
    pub(crate) fn inspect(&self, body: impl Read) -> Result<PageFacts, InspectError> {
        match self.inspect_any(body)? {
            (facts, 0) => Ok(facts),
            // It would be passed over as one that was removed.
            _ => Err(InspectError::NoPage(format!(
                "holds a record with the key `{DROPPED}`, which says that a record was removed"
            ))),
        }
    }

    /// The same of a body that was staged: records of it may have been removed.
    pub(crate) fn inspect_read_back(&self, body: impl Read) -> Result<PageFacts, InspectError> {
        Ok(self.inspect_any(body)?.0)
    }

    /// The facts of a body, and how many records of it were removed.
    fn inspect_any(&self, body: impl Read) -> Result<(PageFacts, u64), InspectError> {
        let mut dropped = 0;
        let mut facts = PageFacts::default();
        let mut objects = true;
        self.walker
            .stream(body, |index, slots| {
                facts.rows = index + 1;
                if facts.rows > MOST_RECORDS {
                    return;
                }
                dropped += u64::from(slots[self.dropped].is_some());
                let key = facts.note_id(slots[self.id_slot]);
                if let Some(slot) = self.cursor {
                    let time = slots[slot].and_then(timestamp);
                    let is_before = time.is_some_and(|time| Some(time) < self.window_start);
                    facts.outside += u64::from(is_before);
                    match time {
                        Some(time) if self.is_in_windows => facts.times.push(time),
                        None if self.is_in_windows => facts.undated.extend(key),
                        _ => {}
                    }
                }
                if let Some((slot, filter)) = &self.filter
                    && let Some(id) = slots[*slot].and_then(|raw| raw.parse().ok())
                    && filter.ids.binary_search(&id).is_err()
                {
                    facts.unrequested_ids += 1;
                }
                objects &= self.id.is_in_record(slots);
            })
            .map_err(of_stream)?;
        if facts.rows > MOST_RECORDS {
            let problem = format!("holds more than {MOST_RECORDS} records");
            Err(InspectError::TooLarge(problem))
        } else if objects {
            Ok((facts, dropped))
        } else {
            let problem = "holds an element that is not a JSON object";
            Err(InspectError::NoPage(problem.to_owned()))
        }
    }
}

impl Inspector {
    /// The facts of a page that is staged. Blocks.
    pub(crate) fn inspect_staged(
        &self,
        staged: &StagedResource,
        page: &PageEntry,
    ) -> Result<PageFacts, StagingError> {
        staged
            .read_in_pieces(page, |body| self.inspect_read_back(body))?
            .map_err(|problem| staged.unreadable(page, &format!("it {problem}")))
    }
}

fn of_stream(error: StreamError) -> InspectError {
    let problem = match error {
        StreamError::Read(error) => return InspectError::Read(error),
        StreamError::LargeRecord => {
            let most = LARGEST_RECORD >> 20;
            return InspectError::TooLarge(format!("holds a record of more than {most} MiB"));
        }
        StreamError::Text => "is not UTF-8 text".to_owned(),
        StreamError::Json {
            first,
            line,
            column,
        } => match first {
            None => "is empty".to_owned(),
            Some(b'[') => format!("is broken JSON (line {line}, column {column})"),
            Some(b'<') => "is HTML, not JSON".to_owned(),
            Some(_) => "is not a JSON array".to_owned(),
        },
    };
    InspectError::NoPage(problem)
}

fn timestamp(raw: &str) -> Option<Timestamp> {
    raw.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn inspector(start: Option<&str>) -> Inspector {
        let config = Config::load(None).unwrap();
        let resource = config.resource("users").unwrap();
        Inspector::new(resource, start.map(|start| start.parse().unwrap()), None)
    }

    #[test]
    fn only_an_array_of_objects_is_a_page() {
        let inspector = inspector(None);
        let lines: Vec<String> = [
            "",
            " \n",
            "<html>",
            "{}",
            "[{\"id\":1}",
            "[1]",
            "[{\"id\":1}] x",
            "null",
        ]
        .iter()
        .map(|body| inspector.inspect(body.as_bytes()).unwrap_err())
        .map(|error| format!("the body {error}"))
        .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
    the body is empty
    the body is empty
    the body is HTML, not JSON
    the body is not a JSON array
    the body is broken JSON (line 1, column 9)
    the body holds an element that is not a JSON object
    the body is broken JSON (line 1, column 12)
    the body is not a JSON array
    "#);
        assert!(inspector.inspect(&b"\xff\xfe"[..]).is_err());
        assert_eq!(inspector.inspect(&b"[]"[..]).unwrap(), PageFacts::default());
        let facts = inspector
            .inspect(&br#"[{"id":7,"x":[1]},{"id":3}]"#[..])
            .unwrap();
        assert_eq!((facts.rows, facts.ids), (2, vec![7, 3]));
    }

    #[test]
    fn what_says_that_it_was_removed_is_never_received() {
        let inspector = inspector(None);
        let page = &br#"[{"id":7},{"cursus:dropped":true,"id":3}]"#[..];
        let error = inspector.inspect(page).unwrap_err().to_string();
        assert!(error.contains("`cursus:dropped`"), "{error}");
        let facts = inspector.inspect_read_back(page).unwrap();
        assert_eq!((facts.rows, facts.ids), (2, vec![7, 3]));
    }

    #[test]
    fn records_older_than_the_window_are_counted() {
        let inspector = inspector(Some("2026-01-02T00:00:00Z"));
        let body = &br#"[{"id":2,"updated_at":"2026-01-02T00:00:00.000Z"},{"id":1,"updated_at":"2026-01-01T00:00:00.000Z"}]"#[..];
        assert_eq!(inspector.inspect(body).unwrap().outside, 1);
    }
}
