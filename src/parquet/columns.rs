//! The columns of a resource: those that the tables take from its records, with the types of the database, then where a record comes
//! from, and the record itself.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;
use parquet::schema::types::{Type, TypePtr};

use crate::config::Source;
use crate::load::Mapping;
use crate::load::cell::CellType;
use crate::name::Name;
use crate::pointer::Pointer;
use crate::staging::exchange::sha256;

/// Microseconds from 1970 to 2000, where the times of PostgreSQL begin; and days.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// What every record has, beside its values.
pub(super) const RUN: &str = "_run";
pub(super) const FILE: &str = "_file";
pub(super) const NUMBER: &str = "_record_number";
pub(super) const RECEIVED: &str = "_received_at";
pub(crate) const RECORD: &str = "_record";

/// A column, and where its value is in a record.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) cell: CellType,
    pub(super) pointer: Pointer,
}

/// The columns of a resource that come from its records.
#[derive(Clone, Debug)]
pub(super) struct Columns(pub(super) Vec<Column>);

impl Columns {
    /// Those of all tables that have one row a record. A name that two tables use for different things gets that of the table before it.
    pub(super) fn of(resource: &Name, mappings: &[Mapping]) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        let is_of_it = |mapping: &&Mapping| {
            let table = &mapping.table;
            table.from == *resource && table.rows.is_none() && table.select.is_none()
        };
        for mapping in mappings.iter().filter(is_of_it) {
            for column in &mapping.columns {
                let Source::Record(pointer) = &column.source else {
                    continue;
                };
                let mut name = column.name.clone();
                if let Some(known) = columns.iter().find(|known| known.name == name) {
                    if (&known.pointer, known.cell) == (pointer, column.cell) {
                        continue;
                    }
                    name = format!("{}_{name}", mapping.table.name);
                }
                columns.push(Column {
                    name,
                    cell: column.cell,
                    pointer: pointer.clone(),
                });
            }
        }
        Self(columns)
    }

    /// Of their names, types and places.
    pub(super) fn sha256(&self) -> String {
        let text = |column: &Column| {
            let pointer: Vec<&str> = column.pointer.tokens().iter().map(String::as_str).collect();
            format!("{} {} {pointer:?}\n", column.name, column.cell.name())
        };
        sha256(self.0.iter().map(text).collect::<String>().as_bytes())
    }

    /// The schema of its files.
    pub(super) fn schema(&self) -> Result<TypePtr, ParquetError> {
        let own = self.0.iter();
        let own = own.map(|column| field(&column.name, column.cell, Repetition::OPTIONAL));
        let system = [
            (RUN, CellType::Text),
            (FILE, CellType::Text),
            (NUMBER, CellType::Int8),
            (RECEIVED, CellType::Timestamptz),
            (RECORD, CellType::Text),
        ];
        let system = system
            .into_iter()
            .map(|(name, cell)| field(name, cell, Repetition::REQUIRED));
        let fields = own.chain(system).collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("record").with_fields(fields);
        schema.build().map(Arc::new)
    }
}

/// A column of a file.
pub(crate) fn field(
    name: &str,
    cell: CellType,
    repetition: Repetition,
) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match cell {
        CellType::Bool => (Physical::BOOLEAN, None),
        CellType::Int2 => (Physical::INT32, Some(LogicalType::integer(16, true))),
        CellType::Int4 => (Physical::INT32, None),
        CellType::Int8 => (Physical::INT64, None),
        CellType::Float4 => (Physical::FLOAT, None),
        CellType::Float8 => (Physical::DOUBLE, None),
        CellType::Timestamptz => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
        ),
        CellType::Timestamp => (
            Physical::INT64,
            Some(LogicalType::timestamp(false, TimeUnit::MICROS)),
        ),
        CellType::Date => (Physical::INT32, Some(LogicalType::Date)),
        // Lists and documents as JSON text.
        CellType::Text
        | CellType::Jsonb
        | CellType::Json
        | CellType::TextArray
        | CellType::Int8Array => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .build()
        .map(Arc::new)
}

/// Values of one column that are not written yet.
#[derive(Debug)]
enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    /// One after the other, and where each ends.
    Text(Vec<u8>, Vec<usize>),
}

/// One value, as a column has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Single<'v> {
    Bool(bool),
    /// Of a date: days since 1970.
    Int32(i32),
    /// Of a time: microseconds since 1970.
    Int64(i64),
    Double(f64),
    Text(&'v str),
}

/// One column of a row group: its values, and which rows have one.
#[derive(Debug)]
pub(crate) struct Filled {
    values: Values,
    levels: Vec<i16>,
}

impl Filled {
    pub(crate) fn new(cell: CellType) -> Self {
        let values = match cell {
            CellType::Bool => Values::Bool(Vec::new()),
            CellType::Int2 | CellType::Int4 | CellType::Date => Values::Int32(Vec::new()),
            CellType::Int8 | CellType::Timestamptz | CellType::Timestamp => {
                Values::Int64(Vec::new())
            }
            CellType::Float4 => Values::Float(Vec::new()),
            CellType::Float8 => Values::Double(Vec::new()),
            _ => Values::Text(Vec::new(), Vec::new()),
        };
        Self {
            values,
            levels: Vec::new(),
        }
    }

    /// Adds the value of a record; what the database would reject is null, and in the record as it is.
    pub(super) fn push(&mut self, cell: CellType, raw: Option<&str>, scratch: &mut Vec<u8>) {
        let raw = raw.filter(|raw| *raw != "null");
        let is_there = raw.is_some_and(|raw| self.take(cell, raw, scratch).is_some());
        self.levels.push(i16::from(is_there));
    }

    fn take(&mut self, cell: CellType, raw: &str, scratch: &mut Vec<u8>) -> Option<()> {
        if let (
            Values::Text(text, ends),
            CellType::Jsonb | CellType::Json | CellType::TextArray | CellType::Int8Array,
        ) = (&mut self.values, cell)
        {
            text.extend_from_slice(raw.as_bytes());
            ends.push(text.len());
            return Some(());
        }
        scratch.clear();
        cell.encode(Some(raw), scratch).ok()?;
        // Behind its length.
        let value = &scratch[4..];
        match &mut self.values {
            Values::Bool(values) => values.push(value == [1]),
            Values::Int32(values) => {
                let number = match cell {
                    CellType::Int2 => i16::from_be_bytes(value.try_into().ok()?).into(),
                    _ => i32::from_be_bytes(value.try_into().ok()?),
                };
                let is_date = cell == CellType::Date;
                values.push(number.checked_add(if is_date { EPOCH_DAYS } else { 0 })?);
            }
            Values::Int64(values) => {
                let number = i64::from_be_bytes(value.try_into().ok()?);
                let is_number = cell == CellType::Int8;
                values.push(number.checked_add(if is_number { 0 } else { EPOCH_MICROS })?);
            }
            Values::Float(values) => values.push(f32::from_be_bytes(value.try_into().ok()?)),
            Values::Double(values) => values.push(f64::from_be_bytes(value.try_into().ok()?)),
            Values::Text(text, ends) => {
                text.extend_from_slice(value);
                ends.push(text.len());
            }
        }
        Some(())
    }

    /// Adds a value, or a null; `false`: it is of another type than the column, and nothing was added.
    pub(crate) fn push_single(&mut self, value: Option<Single<'_>>) -> bool {
        match (&mut self.values, value) {
            (_, None) => {}
            (Values::Bool(values), Some(Single::Bool(value))) => values.push(value),
            (Values::Int32(values), Some(Single::Int32(value))) => values.push(value),
            (Values::Int64(values), Some(Single::Int64(value))) => values.push(value),
            (Values::Double(values), Some(Single::Double(value))) => values.push(value),
            (Values::Text(text, ends), Some(Single::Text(value))) => {
                text.extend_from_slice(value.as_bytes());
                ends.push(text.len());
            }
            _ => return false,
        }
        self.levels.push(i16::from(value.is_some()));
        true
    }

    /// Adds a text that every record has.
    pub(super) fn push_text(&mut self, value: &str) {
        if let Values::Text(text, ends) = &mut self.values {
            text.extend_from_slice(value.as_bytes());
            ends.push(text.len());
        }
    }

    /// Adds a number that every record has.
    pub(super) fn push_number(&mut self, value: i64) {
        if let Values::Int64(values) = &mut self.values {
            values.push(value);
        }
    }

    /// Writes the column, and forgets its values.
    pub(crate) fn write(
        &mut self,
        mut column: SerializedColumnWriter<'_>,
    ) -> Result<(), ParquetError> {
        let levels = (!self.levels.is_empty()).then_some(self.levels.as_slice());
        macro_rules! write {
            ($type:ty, $values:expr) => {{
                column.typed::<$type>().write_batch($values, levels, None)?;
                $values.clear();
            }};
        }
        match &mut self.values {
            Values::Bool(values) => write!(BoolType, values),
            Values::Int32(values) => write!(Int32Type, values),
            Values::Int64(values) => write!(Int64Type, values),
            Values::Float(values) => write!(FloatType, values),
            Values::Double(values) => write!(DoubleType, values),
            Values::Text(text, ends) => {
                let text = Bytes::from(std::mem::take(text));
                let mut start = 0;
                let values: Vec<ByteArray> = ends
                    .drain(..)
                    .map(|end| text.slice(std::mem::replace(&mut start, end)..end).into())
                    .collect();
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&values, levels, None)?;
            }
        }
        self.levels.clear();
        column.close()
    }
}
