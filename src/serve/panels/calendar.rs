//! The rows of a calendar: what begins when, and where.

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::Rows;

/// Something that begins at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Names it for ever, among all that are shown.
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) begin: Time,
    /// Later than its begin.
    pub(crate) end: Option<Time>,
    pub(crate) place: Option<String>,
    /// What it is, such as `exam`.
    pub(crate) text: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) tone: Option<String>,
    pub(crate) link: Option<String>,
}

/// A time as the database has written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) at: Timestamp,
    /// By the clock of the page's time zone.
    pub(crate) local: DateTime,
}

impl Time {
    /// Such as `2026-12-01 10:00:00+01`; none: it is outside of the years 1 to 9999, or infinite.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let time = Self {
            at: text.parse().ok()?,
            local: text.parse().ok()?,
        };
        (1..=9999).contains(&time.local.year()).then_some(time)
    }
}

/// The entries of a panel, in the order of its rows; rows without a time are left out.
pub(crate) fn entries(rows: &Rows) -> Vec<Entry> {
    let place = |name: &str| rows.position(name);
    let entries = rows.rows.iter().filter_map(|row| {
        let text = |name: &str| {
            let text = row.get(place(name)?)?.clone();
            text.filter(|text| !text.trim().is_empty())
        };
        let begin = Time::parse(&text("begin_at")?)?;
        let end = text("end_at").and_then(|end| Time::parse(&end));
        Some(Entry {
            id: text("id").unwrap_or_default(),
            label: text("label").unwrap_or_default(),
            begin,
            end: end.filter(|end| end.at > begin.at),
            place: text("place"),
            text: text("text"),
            note: text("note"),
            tone: text("tone"),
            link: text("link"),
        })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_database_are_read_and_others_left_out() {
        for (text, at, local) in [
            (
                "2026-12-01 10:00:00+01",
                "2026-12-01T09:00:00Z",
                "2026-12-01T10:00:00",
            ),
            (
                "2026-12-01 10:00:00.25+00",
                "2026-12-01T10:00:00.25Z",
                "2026-12-01T10:00:00.25",
            ),
            (
                "2026-12-01 00:30:00+05:45",
                "2026-11-30T18:45:00Z",
                "2026-12-01T00:30:00",
            ),
            (
                "2026-12-01 10:00:00-11",
                "2026-12-01T21:00:00Z",
                "2026-12-01T10:00:00",
            ),
        ] {
            let time = Time::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(time.at, at.parse().unwrap(), "{text}");
            assert_eq!(time.local, local.parse().unwrap(), "{text}");
        }
        for text in [
            "infinity",
            "-infinity",
            "0044-03-15 00:00:00+00 BC",
            "20000-01-01 00:00:00+00",
            "",
            "soon",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }
}
