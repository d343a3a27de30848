//! Rows of the mirror as files for people who may not have it: columns by an allow-list, people by keyed hashes. Reads the database
//! in one transaction and writes nothing to it; what is handed out is said by profiles, in `sql/export/`.

mod csv;
mod duckdb;
mod manifest;
#[cfg(feature = "parquet")]
mod parquet;
mod place;
mod plan;
mod profile;
mod pseudonym;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write as _};
use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt as _;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Transaction};

use crate::config::{Config, Treatment};
use crate::database::{DatabaseError, Quoted};
use crate::exit::{Exit, Failure};
use crate::failpoint::Point;
use crate::hash::hex;
use crate::load::{LoadError, Mapping, column_roles, erased, mappings, record_export};
use crate::person::{ColumnRole, Erased, Extent, PersonHash};
use crate::printable::Messages;
use crate::random;
pub(crate) use manifest::{Bundle, BundleTable, NOTICE};
use place::{Aside, create, failure};
use plan::{PlannedTable, plan};
pub(crate) use profile::Profile;
use pseudonym::Pseudonyms;

/// Values look the same whatever the settings of server and role, and no policy hides rows without a word.
const SET_UP: &str = "SELECT pg_catalog.set_config(name, value, true) FROM (VALUES ('DateStyle', 'ISO, YMD'), ('TimeZone', 'UTC'), \
    ('IntervalStyle', 'postgres'), ('extra_float_digits', '1'), ('bytea_output', 'hex'), ('row_security', 'off')) AS settings (name, value)";

/// The text of a value; none is a null.
type Value<'r> = Option<Cow<'r, str>>;

/// Writes the tables of a bundle in one format, one after the other.
trait Writer {
    fn begin(&mut self, table: &PlannedTable) -> io::Result<()>;
    fn row(&mut self, values: &[Value<'_>]) -> io::Result<()>;
    /// The table is complete; its file is on the disk.
    fn end(&mut self, table: &PlannedTable) -> io::Result<()>;
    /// The file of a table, in the bundle.
    fn file(&self, table: &PlannedTable) -> String;
    /// All tables are complete.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a bundle is made of.
pub(crate) struct Request<'a> {
    pub(crate) config: &'a Config,
    pub(crate) profile: &'a Profile,
    pub(crate) format: Format,
    /// A directory that is not there yet.
    pub(crate) target: &'a Path,
    /// Who was erased, as staging knows it.
    pub(crate) erased: Vec<PersonHash>,
    /// A second session, in which the bundle is recorded: the one that reads writes nothing.
    pub(crate) recorder: &'a Client,
}

/// The files of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A file of comma-separated values for each table
    Csv,
    /// One SQLite file
    #[cfg(feature = "sqlite")]
    Sqlite,
    /// One DuckDB file, made by the program `duckdb`
    Duckdb,
    /// A Parquet file for each table
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "sqlite",
            Self::Duckdb => "duckdb",
            #[cfg(feature = "parquet")]
            Self::Parquet => "parquet",
        }
    }

    #[cfg_attr(
        not(feature = "sqlite"),
        expect(clippy::unnecessary_wraps, reason = "SQLite opens a file")
    )]
    fn writer(self, folder: &Path) -> io::Result<Box<dyn Writer + Send>> {
        Ok(match self {
            Self::Csv => Box::new(csv::CsvWriter::new(folder)),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => Box::new(sqlite::SqliteWriter::new(folder)?),
            Self::Duckdb => Box::new(duckdb::DuckdbWriter::new(folder)),
            #[cfg(feature = "parquet")]
            Self::Parquet => Box::new(parquet::ParquetWriter::new(folder)),
        })
    }
}

/// Writes a bundle of the mirror.
///
/// # Errors
///
/// The profile has faults, the directory is there, or the database or the disk failed: then there is no bundle.
pub(crate) async fn write(
    request: &Request<'_>,
    transaction: &Transaction<'_>,
) -> Result<Bundle, Failure> {
    let Request {
        config,
        profile,
        format,
        target,
        ..
    } = *request;
    let schema = config.database.schema.as_str();
    let mappings = mappings(config, transaction.client(), schema).await?;
    let tables = plan(profile, config, &mappings).map_err(|faults| Messages::of(&faults))?;
    let people = LeftOut::read(request, transaction, &mappings).await?;
    let set = transaction.query_typed(SET_UP, &[]).await;
    set.map_err(DatabaseError::from)?;
    let freshness = manifest::freshness(transaction, schema).await?;
    if format == Format::Duckdb {
        duckdb::require_program()?;
    }
    let without_random = || Failure::new(Exit::Failed, "the system gave no random bytes");
    let serial = random::bytes::<16>().ok_or_else(without_random)?;
    let pseudonyms = Pseudonyms::new().ok_or_else(without_random)?;
    let aside = Aside::make(target)?;
    let mut bundle = Bundle::new(hex(&serial), profile, format.name());
    bundle.export = record(request, &bundle, &tables).await?;
    let unwritten = |error: io::Error| failure("write", target, &error);
    let mut writer = format.writer(aside.path()).map_err(unwritten)?;
    for table in tables {
        let rows = Rows {
            table: &table,
            pseudonyms: &pseudonyms,
            people: &people,
        };
        let counted = rows.write(transaction, writer.as_mut(), target).await?;
        let fresh = freshness.get(&table.resource).cloned();
        bundle.add(&table, writer.file(&table), counted, fresh);
        Point::ExportTable.io().map_err(unwritten)?;
    }
    writer.finish().map_err(unwritten)?;
    drop(writer);
    write_manifest(aside.path(), &bundle).map_err(unwritten)?;
    aside.publish()?;
    Ok(bundle)
}

/// Records the bundle in the load ledger, before its first row is read: `forget` names it to those who handed it out.
async fn record(
    request: &Request<'_>,
    bundle: &Bundle,
    tables: &[PlannedTable],
) -> Result<u64, LoadError> {
    let columns: Vec<String> = tables
        .iter()
        .flat_map(|table| {
            let columns = table.columns.iter();
            columns.map(|column| format!("{}.{}", table.name, column.name))
        })
        .collect();
    let what = format!(
        "bundle {}: {} as {}, in {}",
        bundle.serial,
        bundle.profile,
        bundle.format,
        request.target.display()
    );
    let schema = request.config.database.schema.as_str();
    record_export(request.recorder, schema, &what, &columns).await
}

fn write_manifest(folder: &Path, bundle: &Bundle) -> io::Result<()> {
    let mut file = create(&folder.join(manifest::FILE))?;
    serde_json::to_writer_pretty(&mut file, bundle)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// People who were erased, or whom the API has anonymised.
struct LeftOut {
    erased: Erased,
    anonymised: HashSet<String>,
}

impl LeftOut {
    async fn read(
        request: &Request<'_>,
        transaction: &Transaction<'_>,
        mappings: &[Mapping],
    ) -> Result<Self, Failure> {
        let known = request.erased.iter().cloned();
        let held = erased(transaction).await?.into_iter();
        Ok(Self {
            erased: known
                .chain(held.map(|(person, _)| person))
                .map(|person| (person, Extent::Values))
                .collect(),
            anonymised: anonymised(request.config, transaction, mappings).await?,
        })
    }

    fn has(&self, id: &str) -> bool {
        self.anonymised.contains(id) || (!self.erased.is_empty() && self.erased.contains(id))
    }
}

/// The ids of people whom the API has anonymised, as far as the mirror has them.
async fn anonymised(
    config: &Config,
    transaction: &Transaction<'_>,
    mappings: &[Mapping],
) -> Result<HashSet<String>, Failure> {
    let people = &config.people;
    let Some(anonymised) = &people.anonymised else {
        return Ok(HashSet::new());
    };
    let mut mappings = mappings.iter();
    let mapping = mappings.find(|mapping| mapping.table.name == anonymised.table);
    let id = mapping.and_then(|mapping| {
        let mut roles = column_roles(mapping, people).into_iter();
        let (column, _) = roles.find(|(_, role)| *role == ColumnRole::Id)?;
        Some(column.to_owned())
    });
    let Some(id) = id else {
        return Err(Failure::usage(format!(
            "[person], anonymised: {} has no column with a person's id; name a table that has one",
            anonymised.table
        )));
    };
    let statement = format!(
        "SELECT t.{}::text FROM {}.{} AS t WHERE starts_with(t.{}::text, $1)",
        Quoted(&id),
        Quoted(config.database.schema.as_str()),
        Quoted(anonymised.table.as_str()),
        Quoted(&anonymised.column)
    );
    let prefix: [(&(dyn ToSql + Sync), Type); 1] = [(&anonymised.prefix, Type::TEXT)];
    let rows = transaction.query_typed(&statement, &prefix).await;
    let rows = rows.map_err(DatabaseError::from)?;
    Ok(rows.iter().filter_map(|row| row.get(0)).collect())
}

/// The rows of a table on their way out.
struct Rows<'a> {
    table: &'a PlannedTable,
    pseudonyms: &'a Pseudonyms,
    people: &'a LeftOut,
}

impl Rows<'_> {
    /// Writes them, as they come; how many, and how many were left out.
    async fn write(
        &self,
        transaction: &Transaction<'_>,
        writer: &mut (dyn Writer + Send),
        target: &Path,
    ) -> Result<(u64, u64), Failure> {
        let lost = |error: Error| Failure::from(DatabaseError::from(error));
        let unwritten = |error: io::Error| failure("write", target, &error);
        let columns = &self.table.columns;
        let copy = format!("COPY ({}) TO STDOUT (FORMAT binary)", self.table.query);
        let stream = transaction.copy_out(&copy).await.map_err(lost)?;
        let types = vec![Type::TEXT; columns.len()];
        let mut stream = pin!(BinaryCopyOutStream::new(stream, &types));
        writer.begin(self.table).map_err(unwritten)?;
        let (mut rows, mut left_out) = (0, 0);
        while let Some(row) = stream.next().await {
            let row = row.map_err(lost)?;
            let mut values: Vec<Value<'_>> = Vec::with_capacity(columns.len());
            for at in 0..columns.len() {
                let text: Option<&str> = row.try_get(at).map_err(lost)?;
                values.push(text.map(Cow::Borrowed));
            }
            if self.pseudonymise(&mut values) {
                writer.row(&values).map_err(unwritten)?;
                rows += 1;
            } else {
                left_out += 1;
            }
        }
        writer.end(self.table).map_err(unwritten)?;
        Ok((rows, left_out))
    }

    /// Puts hashes in the place of ids. Whether the row is handed out: not if it is of somebody who is left out. A column that can be
    /// null is null then.
    fn pseudonymise(&self, values: &mut [Value<'_>]) -> bool {
        for (column, value) in self.table.columns.iter().zip(values) {
            let Treatment::Hash(kind) = &column.treatment else {
                continue;
            };
            let Some(id) = value else {
                continue;
            };
            let is_left_out = column.treatment.is_person() && self.people.has(id);
            if is_left_out && column.not_null {
                return false;
            }
            *value = (!is_left_out).then(|| Cow::Owned(self.pseudonyms.of(kind, id)));
        }
        true
    }
}
