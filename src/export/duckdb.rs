//! One DuckDB file with all tables, made by the program `duckdb` from files of comma-separated values. The library would have to be
//! compiled from C++ for half an hour; the program is what people who use the file have anyway.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::csv::{CsvWriter, file_of};
use super::place::sync;
use super::plan::{PlannedTable, ValueKind};
use super::{Value, Writer};
use crate::database::{Literal, Quoted};
use crate::exit::{Exit, Failure};

const PROGRAM: &str = "duckdb";
const FILE: &str = "bundle.duckdb";

pub(super) struct DuckdbWriter {
    folder: PathBuf,
    csv: CsvWriter,
    script: String,
    files: Vec<PathBuf>,
    kinds: Vec<ValueKind>,
    /// Rows of the table so far, and values of each column that are not null.
    counts: Vec<u64>,
}

impl DuckdbWriter {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            csv: CsvWriter::new(folder),
            script: String::new(),
            files: Vec::new(),
            kinds: Vec::new(),
            counts: Vec::new(),
        }
    }
}

/// Refuses to begin without the program.
pub(super) fn require_program() -> Result<(), Failure> {
    let answered = program().arg("--version").stdout(Stdio::null()).status();
    match answered {
        Ok(status) if status.success() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::new(
            Exit::Failed,
            "--format duckdb needs the program `duckdb`, which is not here; install it from https://duckdb.org/install, or export with \
             `--format csv`, which DuckDB reads as well",
        )),
        Ok(status) => Err(unusable(&status.to_string())),
        Err(error) => Err(unusable(&error.to_string())),
    }
}

fn unusable(why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        format!(
            "`duckdb --version` failed: {why}; install it again, or export with `--format csv`"
        ),
    )
}

/// The program, with nothing of our environment but where programs and temporary files are.
fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A time before the first year, as DuckDB writes it.
fn before_christ(text: &str) -> Option<String> {
    let text = text.strip_suffix(" BC")?;
    let (day, time) = text.split_once('T').unwrap_or((text, ""));
    Some(format!("{day} (BC) {time}").trim_end().to_owned())
}

impl Writer for DuckdbWriter {
    fn begin(&mut self, table: &PlannedTable) -> io::Result<()> {
        self.csv.begin(table)?;
        self.files.push(self.folder.join(file_of(&table.name)));
        let columns = table.columns.iter();
        let columns =
            columns.map(|column| format!("{} {}", Quoted(&column.name), column.kind.sql()));
        let columns: Vec<String> = columns.collect();
        let (name, file) = (Quoted(&table.name), file_of(&table.name));
        let _ = writeln!(
            self.script,
            "CREATE TABLE {name} ({}); COPY {name} FROM {} (FORMAT csv, HEADER true, AUTO_DETECT false, DELIMITER ',', QUOTE '\"', \
             ESCAPE '\"', NULLSTR '', ALLOW_QUOTED_NULLS false);",
            columns.join(", "),
            Literal(&file)
        );
        self.kinds = table.columns.iter().map(|column| column.kind).collect();
        self.counts = vec![0; 1 + table.columns.len()];
        Ok(())
    }

    fn row(&mut self, values: &[Value<'_>]) -> io::Result<()> {
        let is_there = values.iter().map(Option::is_some);
        for (count, is_there) in self
            .counts
            .iter_mut()
            .zip([true].into_iter().chain(is_there))
        {
            *count += u64::from(is_there);
        }
        let mut values: Vec<Value<'_>> = values.to_vec();
        for (kind, value) in self.kinds.iter().zip(&mut values) {
            if let Some(text) = value
                .as_deref()
                .filter(|_| kind.is_time())
                .and_then(before_christ)
            {
                *value = Some(text.into());
            }
        }
        self.csv.row(&values)
    }

    /// What DuckDB cannot read it may take for a null, without a word: the values are counted.
    fn end(&mut self, table: &PlannedTable) -> io::Result<()> {
        let columns = table
            .columns
            .iter()
            .map(|column| format!("count({})", Quoted(&column.name)));
        let counted = ["count(*)".to_owned()].into_iter().chain(columns);
        let counted: Vec<String> = (0..)
            .zip(counted)
            .map(|(at, count)| format!("{count} AS n{at}"))
            .collect();
        let expected: Vec<String> = (0..)
            .zip(&self.counts)
            .map(|(at, count)| format!("n{at} = {count}"))
            .collect();
        let _ = writeln!(
            self.script,
            "SELECT error('lost ' || n0) FROM (SELECT {} FROM {}) WHERE NOT ({});",
            counted.join(", "),
            Quoted(&table.name),
            expected.join(" AND ")
        );
        self.csv.end(table)
    }

    fn file(&self, _table: &PlannedTable) -> String {
        FILE.to_owned()
    }

    fn finish(&mut self) -> io::Result<()> {
        let made = program()
            .current_dir(&self.folder)
            .args([
                "-batch",
                "-bail",
                "-init",
                "/dev/null",
                FILE,
                "-c",
                &self.script,
            ])
            .output()?;
        if !made.status.success() {
            // Its message can hold a value of a row.
            let message = format!(
                "the program `duckdb` could not read the rows ({})",
                made.status
            );
            return Err(io::Error::other(message));
        }
        for file in self.files.drain(..) {
            fs::remove_file(file)?;
        }
        let path = self.folder.join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        sync(&path)
    }
}
