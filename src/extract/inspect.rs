//! What a body must be to count as a page, and what is noted of it.

use jiff::Timestamp;

use crate::config::Resource;
use crate::pointer::Pointer;
use crate::walk::Walker;

use super::slices::Filter;

/// What is known of a page from its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageFacts {
    /// Records.
    pub(super) rows: u64,
    /// Ids of the records that have one, in their order.
    pub(super) ids: Vec<i64>,
    /// Records that changed before the window: the server ignores the range.
    pub(super) outside: u64,
    /// Records of ids that were not asked for: the server ignores the filter.
    pub(super) strangers: u64,
}

/// Reads page facts from bodies of one resource.
#[derive(Clone, Debug)]
pub(crate) struct Inspector {
    walker: Walker,
    id: usize,
    window: Option<(usize, Timestamp)>,
    filter: Option<(usize, Filter)>,
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
        let id = walker.add(&resource.id);
        let window = window_start
            .zip(resource.cursor.as_ref())
            .map(|(start, cursor)| (walker.add(&Pointer::key(&cursor.field)), start));
        let filter =
            filter.map(|filter| (walker.add(&Pointer::key(&filter.field)), filter.clone()));
        Self {
            walker,
            id,
            window,
            filter,
        }
    }

    /// The facts of a body, or why it is no page; never quotes the body.
    pub(crate) fn inspect(&self, body: &[u8]) -> Result<PageFacts, String> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err("the body is empty".to_owned());
        }
        let text =
            std::str::from_utf8(body).map_err(|_| "the body is not UTF-8 text".to_owned())?;
        let mut facts = PageFacts::default();
        let mut objects = true;
        self.walker
            .page(text, |index, slots| {
                facts.rows = index + 1;
                if let Some(id) = slots[self.id].and_then(|raw| raw.parse().ok()) {
                    facts.ids.push(id);
                }
                if let Some((slot, start)) = self.window
                    && let Some(time) = slots[slot].and_then(timestamp)
                    && time < start
                {
                    facts.outside += 1;
                }
                if let Some((slot, filter)) = &self.filter
                    && let Some(id) = slots[*slot].and_then(|raw| raw.parse().ok())
                    && filter.ids.binary_search(&id).is_err()
                {
                    facts.strangers += 1;
                }
                objects &= slots.iter().any(Option::is_some);
            })
            .map_err(|error| {
                if text.trim_start().starts_with('[') {
                    format!(
                        "the body is broken JSON (line {}, column {})",
                        error.line(),
                        error.column()
                    )
                } else if text.trim_start().starts_with('<') {
                    "the body is HTML, not JSON".to_owned()
                } else {
                    "the body is not a JSON array".to_owned()
                }
            })?;
        if objects {
            Ok(facts)
        } else {
            Err("a record has no id".to_owned())
        }
    }
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
    fn only_an_array_of_records_with_ids_is_a_page() {
        let inspector = inspector(None);
        let said: Vec<String> = [
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
        .collect();
        insta::assert_snapshot!(said.join("\n"), @r#"
    the body is empty
    the body is empty
    the body is HTML, not JSON
    the body is not a JSON array
    the body is broken JSON (line 1, column 9)
    a record has no id
    the body is broken JSON (line 1, column 12)
    the body is not a JSON array
    "#);
        assert!(inspector.inspect(b"\xff\xfe").is_err());
        assert_eq!(inspector.inspect(b"[]").unwrap(), PageFacts::default());
        let facts = inspector
            .inspect(br#"[{"id":7,"x":[1]},{"id":3}]"#)
            .unwrap();
        assert_eq!((facts.rows, facts.ids), (2, vec![7, 3]));
    }

    #[test]
    fn records_older_than_the_window_are_counted() {
        let inspector = inspector(Some("2026-01-02T00:00:00Z"));
        let body = br#"[{"id":2,"updated_at":"2026-01-02T00:00:00.000Z"},{"id":1,"updated_at":"2026-01-01T00:00:00.000Z"}]"#;
        assert_eq!(inspector.inspect(body).unwrap().outside, 1);
    }
}
