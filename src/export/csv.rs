//! A file of comma-separated values for each table, by RFC 4180, with a header. A null is nothing between two commas; an empty text is
//! `""`.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::place::create;
use super::plan::PlannedTable;
use super::{Value, Writer};

pub(super) struct CsvWriter {
    folder: PathBuf,
    file: Option<BufWriter<File>>,
}

impl CsvWriter {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            file: None,
        }
    }

    fn line<'v>(&mut self, values: impl Iterator<Item = Option<&'v str>>) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        for (at, value) in values.enumerate() {
            if at > 0 {
                file.write_all(b",")?;
            }
            match value {
                None => {}
                Some(text) if is_plain(text) => file.write_all(text.as_bytes())?,
                Some(text) => write!(file, "\"{}\"", text.replace('"', "\"\""))?,
            }
        }
        file.write_all(b"\r\n")
    }
}

pub(super) fn file_of(table: &str) -> String {
    format!("{table}.csv")
}

/// Whether a text needs no quotes.
fn is_plain(text: &str) -> bool {
    let is_special = |byte: u8| matches!(byte, b',' | b'"' | b'\r' | b'\n');
    let has_edge = text.starts_with(' ') || text.ends_with(' ');
    !text.is_empty() && !has_edge && !text.bytes().any(is_special)
}

impl Writer for CsvWriter {
    fn begin(&mut self, table: &PlannedTable) -> io::Result<()> {
        let file = create(&self.folder.join(file_of(&table.name)))?;
        self.file = Some(BufWriter::with_capacity(1 << 16, file));
        self.line(
            table
                .columns
                .iter()
                .map(|column| Some(column.name.as_str())),
        )
    }

    fn row(&mut self, values: &[Value<'_>]) -> io::Result<()> {
        self.line(values.iter().map(Option::as_deref))
    }

    fn end(&mut self, _table: &PlannedTable) -> io::Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    }

    fn file(&self, table: &PlannedTable) -> String {
        file_of(&table.name)
    }
}
