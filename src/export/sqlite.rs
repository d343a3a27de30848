//! One SQLite file with all tables, and an index on each hashed id.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params_from_iter};

use super::place::{create, sync};
use super::plan::{PlannedTable, ValueKind};
use super::{Value, Writer};
use crate::config::Treatment;
use crate::database::Quoted;

const FILE: &str = "bundle.sqlite";
/// The file is a new one: whatever ends this process takes it along.
const FAST: &str = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF";

pub(super) struct SqliteWriter {
    path: PathBuf,
    connection: Connection,
    insert: String,
    kinds: Vec<ValueKind>,
}

impl SqliteWriter {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        create(&path)?;
        let connection = Connection::open(&path).map_err(io::Error::other)?;
        connection.execute_batch(FAST).map_err(io::Error::other)?;
        Ok(Self {
            path,
            connection,
            insert: String::new(),
            kinds: Vec::new(),
        })
    }

    fn execute(&self, statement: &str) -> io::Result<()> {
        self.connection
            .execute_batch(statement)
            .map_err(io::Error::other)
    }
}

/// The type by which SQLite compares values.
fn affinity(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Boolean | ValueKind::Integer => "INTEGER",
        ValueKind::Real => "REAL",
        ValueKind::Decimal => "NUMERIC",
        _ => "TEXT",
    }
}

/// A value as SQLite keeps it: yes and no are 1 and 0, times are texts of ISO 8601.
fn cell(kind: ValueKind, value: Option<&str>) -> Cell {
    let Some(text) = value else {
        return Cell::Null;
    };
    let number = match kind {
        ValueKind::Boolean => Some(Cell::Integer(i64::from(text == "true"))),
        ValueKind::Integer => text.parse().ok().map(Cell::Integer),
        // SQLite has no NaN.
        ValueKind::Real => text
            .parse()
            .ok()
            .filter(|real: &f64| !real.is_nan())
            .map(Cell::Real),
        _ => None,
    };
    number.unwrap_or_else(|| Cell::Text(text.to_owned()))
}

impl Writer for SqliteWriter {
    fn begin(&mut self, table: &PlannedTable) -> io::Result<()> {
        let name = Quoted(&table.name);
        let columns = table.columns.iter();
        let columns =
            columns.map(|column| format!("{} {}", Quoted(&column.name), affinity(column.kind)));
        let columns: Vec<String> = columns.collect();
        self.execute(&format!(
            "CREATE TABLE {name} ({}); BEGIN",
            columns.join(", ")
        ))?;
        let places = vec!["?"; columns.len()].join(", ");
        self.insert = format!("INSERT INTO {name} VALUES ({places})");
        self.kinds = table.columns.iter().map(|column| column.kind).collect();
        Ok(())
    }

    fn row(&mut self, values: &[Value<'_>]) -> io::Result<()> {
        let cells = self.kinds.iter().zip(values);
        let cells = cells.map(|(kind, value)| cell(*kind, value.as_deref()));
        let mut insert = self
            .connection
            .prepare_cached(&self.insert)
            .map_err(io::Error::other)?;
        insert
            .execute(params_from_iter(cells))
            .map_err(io::Error::other)?;
        Ok(())
    }

    fn end(&mut self, table: &PlannedTable) -> io::Result<()> {
        self.execute("COMMIT")?;
        let hashed = table.columns.iter();
        for column in hashed.filter(|column| matches!(column.treatment, Treatment::Hash(_))) {
            let index = format!("{}_{}_index", table.name, column.name);
            self.execute(&format!(
                "CREATE INDEX {} ON {} ({})",
                Quoted(&index),
                Quoted(&table.name),
                Quoted(&column.name)
            ))?;
        }
        sync(&self.path)
    }

    fn file(&self, _table: &PlannedTable) -> String {
        FILE.to_owned()
    }
}
