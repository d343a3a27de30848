//! A Parquet file for each table, compressed with zstd, with the types of the mirror. What is in memory is one group of rows.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::DateTime;
use parquet::basic::{Compression, Repetition, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::place::create;
use super::plan::{PlannedColumn, PlannedTable, ValueKind};
use super::{Value, Writer};
use crate::load::cell::CellType;
use crate::parquet::columns::{Filled, Single, field};

/// Bytes of values after which a group of rows is written.
const GROUP: usize = 8 << 20;
/// Bytes that a value takes beside its text, at least; a null too, so that also a table of nulls has groups.
const VALUE: usize = 8;
const DAY_MICROS: i64 = 86_400_000_000;
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

pub(super) struct ParquetWriter {
    folder: PathBuf,
    table: Option<TableFile>,
}

/// The file of the table that is being written.
struct TableFile {
    file: SerializedFileWriter<File>,
    columns: Vec<FileColumn>,
    /// Bytes of the rows that are not written yet.
    pending: usize,
}

struct FileColumn {
    /// For messages, such as `users.created_at`.
    place: String,
    kind: ValueKind,
    filled: Filled,
}

impl ParquetWriter {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            table: None,
        }
    }

    fn open(&self, table: &PlannedTable) -> Result<TableFile, ParquetError> {
        let fields = table.columns.iter();
        let fields =
            fields.map(|column| field(&column.name, cell(column.kind), Repetition::OPTIONAL));
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("row")
            .with_fields(fields)
            .build()?;
        let properties = WriterProperties::builder()
            .set_created_by(concat!("cursus ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .build();
        let file = create(&self.folder.join(file_of(&table.name)))?;
        let column = |column: &PlannedColumn| FileColumn {
            place: format!("{}.{}", table.name, column.name),
            kind: column.kind,
            filled: Filled::new(cell(column.kind)),
        };
        Ok(TableFile {
            file: SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?,
            columns: table.columns.iter().map(column).collect(),
            pending: 0,
        })
    }
}

impl TableFile {
    fn write_group(&mut self) -> Result<(), ParquetError> {
        if std::mem::take(&mut self.pending) == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for column in &mut self.columns {
            if let Some(writer) = group.next_column()? {
                column.filled.write(writer)?;
            }
        }
        group.close()?;
        Ok(())
    }
}

fn file_of(table: &str) -> String {
    format!("{table}.parquet")
}

/// What a file has a column as. A decimal number has no largest size here, so it is text.
fn cell(kind: ValueKind) -> CellType {
    match kind {
        ValueKind::Boolean => CellType::Bool,
        ValueKind::Integer => CellType::Int8,
        ValueKind::Real => CellType::Float8,
        ValueKind::Date => CellType::Date,
        ValueKind::Time => CellType::Timestamptz,
        ValueKind::LocalTime => CellType::Timestamp,
        ValueKind::Decimal | ValueKind::Json | ValueKind::Word | ValueKind::Text => CellType::Text,
    }
}

/// The value of a text; none: Parquet cannot hold it.
fn single(kind: ValueKind, text: &str) -> Option<Single<'_>> {
    Some(match kind {
        ValueKind::Boolean => Single::Bool(text.parse().ok()?),
        ValueKind::Integer => Single::Int64(text.parse().ok()?),
        ValueKind::Real => Single::Double(text.parse().ok()?),
        ValueKind::Date => Single::Int32(days(text)?),
        ValueKind::Time | ValueKind::LocalTime => Single::Int64(micros(text)?),
        ValueKind::Decimal | ValueKind::Json | ValueKind::Word | ValueKind::Text => {
            Single::Text(text)
        }
    })
}

/// Days since 1970. Parquet has no infinity: the ends of the type stand for it, which DuckDB reads so.
fn days(text: &str) -> Option<i32> {
    match text {
        "infinity" => Some(i32::MAX),
        "-infinity" => Some(-i32::MAX),
        _ => i32::try_from(micros(text)?.div_euclid(DAY_MICROS)).ok(),
    }
}

/// Microseconds since 1970, of a time as the query of a plan gives it: `2026-11-23T02:00:00Z`, `0044-03-15 BC`.
fn micros(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(-i64::MAX),
        _ => {}
    }
    let (text, is_before_christ) = text
        .strip_suffix(" BC")
        .map_or((text, false), |text| (text, true));
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (year, rest) = text.split_once('-')?;
    let year: i32 = year.parse().ok()?;
    let year = if is_before_christ { 1 - year } else { year };
    let sign = if year < 0 { "-" } else { "+" };
    let time = if rest.contains('T') { "" } else { "T00:00:00" };
    let time: DateTime = format!("{sign}{:06}-{rest}{time}", year.abs())
        .parse()
        .ok()?;
    // Not a timestamp of jiff, whose last one is a day before that of a civil time.
    i64::try_from(time.duration_since(EPOCH).as_micros()).ok()
}

impl Writer for ParquetWriter {
    fn begin(&mut self, table: &PlannedTable) -> io::Result<()> {
        self.table = Some(self.open(table).map_err(cause)?);
        Ok(())
    }

    fn row(&mut self, values: &[Value<'_>]) -> io::Result<()> {
        let Some(table) = &mut self.table else {
            return Err(io::ErrorKind::NotFound.into());
        };
        for (column, value) in table.columns.iter_mut().zip(values) {
            let value = match value.as_deref() {
                None => None,
                Some(text) => match single(column.kind, text) {
                    None => return Err(rejected(&column.place)),
                    value => value,
                },
            };
            if !column.filled.push_single(value) {
                return Err(rejected(&column.place));
            }
        }
        let texts = values.iter().flatten().map(|text| text.len());
        table.pending += VALUE * values.len() + texts.sum::<usize>();
        if table.pending >= GROUP {
            table.write_group().map_err(cause)?;
        }
        Ok(())
    }

    fn end(&mut self, _table: &PlannedTable) -> io::Result<()> {
        let Some(mut table) = self.table.take() else {
            return Ok(());
        };
        table.write_group().map_err(cause)?;
        table.file.into_inner().map_err(cause)?.sync_all()
    }

    fn file(&self, table: &PlannedTable) -> String {
        file_of(&table.name)
    }
}

/// What the disk said, if it was the disk.
fn cause(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(cause) => io::Error::other(cause),
        },
        error => io::Error::other(error),
    }
}

/// Without the value, which can be one of a person.
fn rejected(place: &str) -> io::Error {
    let sentence = format!(
        "{place} has a value that Parquet cannot hold, such as a time after the year 9999; export with `--format csv`, or take the \
         column out of the profile"
    );
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    use super::*;
    use crate::config::Treatment;

    fn table(kinds: &[(&str, ValueKind)]) -> PlannedTable {
        let columns = kinds.iter().map(|(name, kind)| PlannedColumn {
            name: (*name).to_owned(),
            comment: None,
            kind: *kind,
            treatment: Treatment::Copy,
            not_null: false,
        });
        PlannedTable {
            name: "t".to_owned(),
            comment: None,
            resource: "t".to_owned(),
            columns: columns.collect(),
            query: String::new(),
        }
    }

    /// What is in memory is a group, whatever the rows hold.
    #[test]
    fn rows_of_nulls_are_written_in_groups() {
        const COLUMNS: usize = 64;
        let folder = tempfile::tempdir().unwrap();
        let table = table(&[("n", ValueKind::Integer); COLUMNS]);
        let mut writer = ParquetWriter::new(folder.path());
        writer.begin(&table).unwrap();
        let rows_of_a_group = GROUP / (VALUE * COLUMNS);
        for _ in 0..3 * rows_of_a_group {
            writer.row(&[const { None }; COLUMNS]).unwrap();
        }
        writer.end(&table).unwrap();
        let file = File::open(folder.path().join("t.parquet")).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.num_row_groups(), 3);
    }

    #[test]
    fn rows_are_written_in_groups() {
        let folder = tempfile::tempdir().unwrap();
        let table = table(&[("n", ValueKind::Integer), ("text", ValueKind::Text)]);
        let mut writer = ParquetWriter::new(folder.path());
        writer.begin(&table).unwrap();
        let text = "x".repeat(GROUP / 10);
        for number in 0..25 {
            let text = (number % 2 == 0).then(|| text.as_str().into());
            let row = [Some(number.to_string().into()), text];
            writer.row(&row).unwrap();
        }
        let wrong = writer.row(&[Some("one".into()), None]).unwrap_err();
        assert!(wrong.to_string().starts_with("t.n has a value"), "{wrong}");
        writer.end(&table).unwrap();
        let file = File::open(folder.path().join("t.parquet")).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.num_row_groups(), 2);
        let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
        let numbers: Vec<i64> = rows.map(|row| row.get_long(0).unwrap()).collect();
        assert_eq!(numbers, (0..25).collect::<Vec<i64>>());
    }

    #[test]
    fn times_and_days_are_counted_from_1970() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59.999999Z", Some(-1)),
            ("2026-03-04T05:06:07.5Z", Some(1_772_600_767_500_000)),
            ("2026-03-04T05:06:07.5", Some(1_772_600_767_500_000)),
            // Year 0 of astronomers, which is a leap year.
            ("0001-02-29T00:00:00Z BC", Some(-62_162_121_600_000_000)),
            ("infinity", Some(i64::MAX)),
            ("-infinity", Some(-i64::MAX)),
            ("9999-12-31T23:59:59.999999Z", Some(253_402_300_799_999_999)),
            ("10000-01-01T00:00:00Z", None),
            ("today", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
        for (text, expected) in [
            ("1970-01-02", Some(1)),
            ("1969-12-31", Some(-1)),
            ("0044-03-15 BC", Some(-735_160)),
            ("infinity", Some(i32::MAX)),
        ] {
            assert_eq!(days(text), expected, "{text}");
        }
    }
}
