//! One file after the other, each a part of a resource in a run. What is in memory has a limit: a group of rows, and a file.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};

use super::ExportError;
use super::columns::{Columns, Filled, RECORD};
use crate::load::cell::CellType;
use crate::person::is_dropped;
use crate::pointer::Pointer;
use crate::staging::PageEntry;
use crate::walk::Walker;

/// Bytes of records after which a group of rows is written.
const GROUP: usize = 8 << 20;
/// Bytes of a file after which the next one begins.
const FILE: usize = 32 << 20;

/// A file.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: u64,
}

/// Why a page gave no more rows.
pub(super) enum PageError {
    Json(serde_json::Error),
    Parquet(ExportError),
}

/// What every record has beside its values, in the order of the schema.
struct System {
    run: Filled,
    file: Filled,
    number: Filled,
    received: Filled,
    record: Filled,
}

pub(super) struct PartWriter {
    run: String,
    columns: Columns,
    schema: TypePtr,
    properties: WriterPropertiesPtr,
    walker: Walker,
    /// Of each column.
    slots: Vec<usize>,
    /// Of the record.
    record: usize,
    filled: Vec<Filled>,
    system: System,
    /// Records that are not written yet, and their bytes.
    pending: (u64, usize),
    file: Option<SerializedFileWriter<Vec<u8>>>,
    rows: u64,
    scratch: Vec<u8>,
}

impl PartWriter {
    pub(super) fn new(run: &str, columns: Columns) -> Result<Self, ExportError> {
        let failed = |source| ExportError::Parquet {
            place: run.to_owned(),
            source,
        };
        let schema = columns.schema().map_err(failed)?;
        let record = ColumnPath::from(RECORD);
        let properties = WriterProperties::builder()
            .set_created_by(concat!("cursus ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(failed)?))
            // Hardly any record is there twice.
            .set_column_dictionary_enabled(record.clone(), false)
            .set_column_statistics_enabled(record, EnabledStatistics::None)
            .build();
        let mut walker = Walker::default();
        let record = walker.add(&Pointer::to_record());
        let slots = columns
            .0
            .iter()
            .map(|column| walker.add(&column.pointer))
            .collect();
        let filled = columns
            .0
            .iter()
            .map(|column| Filled::new(column.cell))
            .collect();
        Ok(Self {
            run: run.to_owned(),
            schema,
            properties: Arc::new(properties),
            walker,
            slots,
            record,
            filled,
            system: System {
                run: Filled::new(CellType::Text),
                file: Filled::new(CellType::Text),
                number: Filled::new(CellType::Int8),
                received: Filled::new(CellType::Int8),
                record: Filled::new(CellType::Text),
            },
            columns,
            pending: (0, 0),
            file: None,
            rows: 0,
            scratch: Vec::new(),
        })
    }

    /// Adds the records of a page.
    pub(super) fn page(
        &mut self,
        text: &str,
        file: &str,
        page: &PageEntry,
    ) -> Result<(), PageError> {
        let received = page.fetched_at.as_microsecond();
        let Self {
            run,
            columns,
            walker,
            slots: own,
            record: whole,
            filled,
            system,
            pending: (rows, bytes),
            scratch,
            ..
        } = self;
        walker
            .page(text, |number, slots| {
                let record = slots[*whole].unwrap_or("null");
                if is_dropped(record) {
                    return;
                }
                for ((column, slot), filled) in columns.0.iter().zip(own.iter()).zip(&mut *filled) {
                    filled.push(column.cell, slots[*slot], scratch);
                }
                system.run.push_text(run);
                system.file.push_text(file);
                system
                    .number
                    .push_number(i64::try_from(number).unwrap_or(i64::MAX));
                system.received.push_number(received);
                system.record.push_text(record);
                *rows += 1;
                *bytes += record.len();
            })
            .map_err(PageError::Json)?;
        if self.pending.1 >= GROUP {
            self.write_group().map_err(PageError::Parquet)?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ExportError> {
        let place = format!("{}, after {} rows", self.run, self.rows);
        self.try_write_group()
            .map_err(|source| ExportError::Parquet { place, source })
    }

    fn try_write_group(&mut self) -> Result<(), ParquetError> {
        let (rows, _) = std::mem::take(&mut self.pending);
        if rows == 0 {
            return Ok(());
        }
        if self.file.is_none() {
            let schema = Arc::clone(&self.schema);
            let properties = Arc::clone(&self.properties);
            self.file = Some(SerializedFileWriter::new(Vec::new(), schema, properties)?);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let System {
            run,
            file: of_file,
            number,
            received,
            record,
        } = &mut self.system;
        let mut group = file.next_row_group()?;
        let system = [run, of_file, number, received, record];
        for filled in self.filled.iter_mut().chain(system) {
            if let Some(column) = group.next_column()? {
                filled.write(column)?;
            }
        }
        group.close()?;
        self.rows += rows;
        Ok(())
    }

    /// The file, if it is long enough.
    pub(super) fn full_part(&mut self) -> Result<Option<Part>, ExportError> {
        match &self.file {
            Some(file) if file.bytes_written() >= FILE => self.take_part(),
            _ => Ok(None),
        }
    }

    /// The last file; none if there are no rows for it.
    pub(super) fn finish(mut self) -> Result<Option<Part>, ExportError> {
        self.write_group()?;
        self.take_part()
    }

    fn take_part(&mut self) -> Result<Option<Part>, ExportError> {
        let Some(file) = self.file.take() else {
            return Ok(None);
        };
        let bytes = file.into_inner().map_err(|source| ExportError::Parquet {
            place: self.run.clone(),
            source,
        })?;
        Ok(Some(Part {
            bytes,
            rows: std::mem::take(&mut self.rows),
        }))
    }
}
