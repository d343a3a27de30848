//! Tables that fit the terminal: sentences go under their row, text is cut, then columns are left out by rank, then rows are stacked.
//! Sentences, numbers, times and names are never cut. Knows nothing of what a table shows.

use std::fmt;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::convert::counted;
use crate::printable;

/// Between two columns.
const GAP: usize = 2;
/// Text is not cut to less than this.
const NARROWEST_TEXT: usize = 20;
/// A narrower terminal gets each row as lines `name: value` instead of a table that lacks columns.
const NARROWEST_TABLE: usize = 60;
/// Behind the first line of a value that is continued on the next.
const INDENT: &str = "  ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fixed,
    Text,
    Sentence,
    Number,
}

/// A column of a [`Table`].
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    kind: Kind,
    rank: u8,
}

impl Column {
    fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: printable::line(name).into_owned(),
            kind,
            rank: 0,
        }
    }

    /// Short words, times and names, which are never cut.
    pub fn fixed(name: &str) -> Self {
        Self::new(name, Kind::Fixed)
    }

    /// Text that may be cut, such as a path.
    pub fn text(name: &str) -> Self {
        Self::new(name, Kind::Text)
    }

    /// A sentence, such as a reason, which is never cut: where the table is too wide it stands under its row.
    pub fn sentence(name: &str) -> Self {
        Self::new(name, Kind::Sentence)
    }

    /// Numbers, to the right and never cut.
    pub fn number(name: &str) -> Self {
        Self::new(name, Kind::Number)
    }

    /// The column is left out where the table is too wide, the highest rank first. Without a rank it is always shown.
    #[must_use]
    pub fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }
}

/// A table for people. Its `Display` has every column in full.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns; each row has a cell for each.
    pub fn new(
        columns: impl IntoIterator<Item = Column>,
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        let escape = |cell: &String| printable::line(cell).into_owned();
        Self {
            columns: columns.into_iter().collect(),
            // Whatever a cell holds, it stays in it.
            rows: (rows.into_iter())
                .map(|row| row.iter().map(escape).collect())
                .collect(),
        }
    }

    /// The result of a query: no value is cut and no column left out, so a table that is too wide is stacked.
    pub fn of_values(names: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        Self::new(names.iter().map(|name| Column::fixed(name)), rows)
    }

    /// The table in a terminal of `width` columns; `None`: as wide as it is.
    pub fn fit(&self, width: Option<usize>) -> String {
        let mut widths = self.widths();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let Some(width) = width else {
            return self.lines(&shown, &widths, None);
        };
        let is_too_wide = total(&shown, &widths) > width;
        if is_too_wide {
            shown.retain(|&at| self.columns[at].kind != Kind::Sentence);
        }
        let beside = shown.len();
        let is_stacked = loop {
            self.shrink(&shown, &mut widths, width);
            if total(&shown, &widths) <= width {
                break false;
            }
            let droppable = shown.iter().filter(|&&at| self.columns[at].rank > 0);
            match droppable.max_by_key(|&&at| self.columns[at].rank).copied() {
                Some(at) if width >= NARROWEST_TABLE => shown.retain(|&one| one != at),
                _ => break true,
            }
            widths = self.widths();
        };
        if is_stacked {
            return self.stacked(width);
        }
        let text = self.lines(&shown, &widths, is_too_wide.then_some(width));
        match (beside - shown.len()) as u64 {
            0 => text,
            hidden => format!(
                "{text}\n{} hidden; --wide shows all",
                counted(hidden, "column")
            ),
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = (self.columns.iter())
            .map(|column| column.name.width())
            .collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        widths
    }

    /// Takes from the widest texts what is too much, as far as they may be cut.
    fn shrink(&self, shown: &[usize], widths: &mut [usize], width: usize) {
        while total(shown, widths) > width {
            let texts = shown
                .iter()
                .filter(|&&at| self.columns[at].kind == Kind::Text && widths[at] > NARROWEST_TEXT);
            match texts.max_by_key(|&&at| widths[at]) {
                Some(&at) => widths[at] -= 1,
                None => return,
            }
        }
    }

    /// The columns that are shown; with `under`, the sentences of a row under it, as wide as that.
    fn lines(&self, shown: &[usize], widths: &[usize], under: Option<usize>) -> String {
        let width = total(shown, widths);
        let header: Vec<&str> = (self.columns.iter())
            .map(|column| column.name.as_str())
            .collect();
        let line = |cells: &dyn Fn(usize) -> String| {
            let cells: Vec<String> = shown.iter().map(|&at| cells(at)).collect();
            cells.join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        let padded = |at: usize, cell: &str| {
            let cell = cut(cell, widths[at]);
            let padding = " ".repeat(widths[at].saturating_sub(cell.width()));
            match self.columns[at].kind {
                Kind::Number => padding + &cell,
                Kind::Fixed | Kind::Text | Kind::Sentence => cell + &padding,
            }
        };
        let mut lines = vec!["─".repeat(width)];
        lines.push(line(&|at| padded(at, header[at])));
        lines.push("═".repeat(width));
        for row in &self.rows {
            lines.push(line(&|at| {
                padded(at, row.get(at).map_or("", String::as_str))
            }));
            let Some(room) = under.map(|width| width.saturating_sub(INDENT.len())) else {
                continue;
            };
            let sentences = (self.columns.iter().zip(row))
                .filter(|(column, cell)| column.kind == Kind::Sentence && !cell.is_empty());
            for (_, sentence) in sentences {
                let indented = wrapped(sentence, room).into_iter();
                lines.extend(indented.map(|line| format!("{INDENT}{line}")));
            }
        }
        lines.push("─".repeat(width));
        lines.join("\n")
    }

    fn stacked(&self, width: usize) -> String {
        let rows = self.rows.iter().map(|row| {
            let cells = self.columns.iter().zip(row);
            let lines = cells.flat_map(|(column, cell)| {
                let line = format!("{}: {cell}", column.name);
                wrapped(line.trim_end(), width)
            });
            lines.collect::<Vec<_>>().join("\n")
        });
        rows.map(|row| row + "\n").collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fit(None))
    }
}

fn total(shown: &[usize], widths: &[usize]) -> usize {
    let widths = shown.iter().map(|&at| widths[at]).sum::<usize>();
    widths + GAP * shown.len().saturating_sub(1)
}

/// How much of a text is at most so wide, in bytes.
fn prefix(text: &str, width: usize) -> usize {
    let mut sum = 0;
    for (at, c) in text.char_indices() {
        sum += c.width().unwrap_or_default();
        if sum > width {
            return at;
        }
    }
    text.len()
}

/// A text of at most `width` columns, with `…` where it was cut.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    format!("{}…", &text[..prefix(text, width.saturating_sub(1))])
}

/// The lines of a text that is continued under itself, at a space where there is one.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    let mut indent = "";
    loop {
        let room = width.saturating_sub(indent.len()).max(2);
        let end = prefix(rest, room);
        if end == rest.len() {
            lines.push(format!("{indent}{rest}"));
            return lines;
        }
        // The space may be the first character that has no room.
        let within = &rest[..end];
        let space = if rest[end..].starts_with(' ') {
            Some(end)
        } else {
            within.rfind(' ')
        };
        let end = space.filter(|&at| at > 0).unwrap_or(end);
        lines.push(format!("{indent}{}", rest[..end].trim_end()));
        rest = rest[end..].trim_start();
        indent = INDENT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Table {
        let columns = [
            Column::text("file"),
            Column::text("request").rank(1),
            Column::number("rows"),
            Column::number("ms").rank(2),
        ];
        let row = |name: &str| {
            vec![
                format!("staging/2026-11-23/T020000Z/{name}/page-00001.json.gz"),
                format!("/v2/{name}?page%5Bnumber%5D=1&page%5Bsize%5D=100&sort=id"),
                "1,234,567".to_owned(),
                "12".to_owned(),
            ]
        };
        Table::new(columns, [row("users"), row("人々🎓")])
    }

    fn widest(text: &str) -> usize {
        text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
    }

    #[test]
    fn no_table_is_wider_than_its_terminal() {
        for width in 24..200 {
            let text = pages().fit(Some(width));
            assert!(widest(&text) <= width, "{width}\n{text}");
            assert!(text.contains("1,234,567"), "{width}\n{text}");
        }
    }

    #[test]
    fn text_is_cut_before_a_column_is_left_out() {
        let text = pages().fit(Some(80));
        assert!(text.contains('…') && text.contains("ms"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }

    #[test]
    fn a_sentence_without_room_stands_under_its_row_in_full() {
        let why = "the API answered 500 to every try; ask again later";
        let columns = [Column::fixed("run"), Column::sentence("error")];
        let rows = [why, ""].map(|why| vec!["T020000Z".to_owned(), why.to_owned()]);
        let table = Table::new(columns, rows);
        let text = table.fit(Some(40));
        assert_eq!(
            text.lines().skip(3).take(4).collect::<Vec<_>>(),
            [
                "T020000Z",
                "  the API answered 500 to every try; ask",
                "    again later",
                "T020000Z"
            ],
            "{text}"
        );
        assert!(!text.contains("hidden"), "{text}");
        assert!(table.fit(Some(80)).contains(&format!("T020000Z  {why}")));
    }

    #[test]
    fn the_highest_rank_is_left_out_first() {
        let columns = (0..9).map(|at| Column::fixed(&format!("column {at}")).rank(at));
        let row = (0..9).map(|at| format!("value {at}")).collect();
        let text = Table::new(columns, [row]).fit(Some(60));
        assert!(
            text.ends_with("\n3 columns hidden; --wide shows all"),
            "{text}"
        );
        assert!(
            text.contains("value 5") && !text.contains("value 6"),
            "{text}"
        );
    }

    #[test]
    fn a_narrow_terminal_gets_rows_as_lines_with_all_values() {
        let text = pages().fit(Some(40));
        let joined: String = text.lines().map(str::trim).collect();
        assert!(
            joined.contains("T020000Z/users/page-00001.json.gz"),
            "{text}"
        );
        assert!(
            text.contains("\nrows: 1,234,567\nms: 12\n\nfile:\n"),
            "{text}"
        );
    }

    #[test]
    fn values_of_a_query_are_never_cut() {
        let value = "x".repeat(100);
        let table = Table::of_values(&["id", "text"], [vec!["1".to_owned(), value.clone()]]);
        let text = table.fit(Some(80));
        assert!(text.starts_with("id: 1\ntext:\n  xxx"), "{text}");
        assert_eq!(text.matches('x').count(), 101, "{text}");
        assert!(table.to_string().contains(&value));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(cut("人々人々", 5), "人々…");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        assert_eq!(widest(&pages().fit(None)), {
            let lines = pages().fit(None);
            lines.lines().next().unwrap().width()
        });
    }
}
