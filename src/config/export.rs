//! A profile of `cursus export`: which columns of which tables are handed out, and as what. Whether the tables have them is not
//! known here.

use toml::de::{DeTable, DeValue};

use super::reader::{At, Problem, Problems, Section, kind};
use crate::name::{Name, did_you_mean};

/// What one file of a profile says.
#[derive(Debug, Default)]
pub(crate) struct ProfileText {
    /// What can be read of it, in the order of the file.
    pub(crate) tables: Vec<ProfileTable>,
    /// What packs say of their tables counts as well.
    pub(crate) with_packs: bool,
}

/// What is said of the columns of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProfileTable {
    pub(crate) name: String,
    /// Where it stands in its file.
    pub(crate) line: usize,
    /// In the order of the file.
    pub(crate) columns: Vec<ProfileColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProfileColumn {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) treatment: Treatment,
}

/// What is handed out of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// The value as it is.
    Copy,
    /// The same of text and JSON: its author says that nobody is in it.
    Safe,
    /// A time cut to its `day`, `month` or `year`.
    Cut(&'static str),
    /// A keyed hash of an id, the same in all columns of this kind of id.
    Hash(String),
}

/// The kind of id that people have.
const PERSON: &str = "person";
const HASH: &str = "hash:";
const PERIODS: [&str; 3] = ["day", "month", "year"];
const HELP: &str =
    "it is one of \"copy\", \"safe\", \"day\", \"month\", \"year\", \"hash:person\", \"hash:NAME\"";

impl Treatment {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(id) = text.strip_prefix(HASH) {
            let id = Name::parse(id).map_err(|error| error.to_string())?;
            return Ok(Self::Hash(id.to_string()));
        }
        if let Some(period) = PERIODS.into_iter().find(|period| *period == text) {
            return Ok(Self::Cut(period));
        }
        match text {
            "copy" => Ok(Self::Copy),
            "safe" => Ok(Self::Safe),
            other => {
                let known = PERIODS.into_iter().chain(["copy", "safe", "hash:person"]);
                Err(did_you_mean(other, known).unwrap_or_else(|| HELP.to_owned()))
            }
        }
    }

    /// As a profile has it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Copy => "copy".to_owned(),
            Self::Safe => "safe".to_owned(),
            Self::Cut(period) => (*period).to_owned(),
            Self::Hash(id) => format!("{HASH}{id}"),
        }
    }

    pub(crate) fn is_person(&self) -> bool {
        matches!(self, Self::Hash(id) if id == PERSON)
    }
}

/// Reads the text of a profile, of a pack or of the project, and every fault.
pub(crate) fn read_profile(text: &str, is_of_pack: bool) -> (ProfileText, Vec<Problem>) {
    let problems = Problems::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let broken = errors
        .iter()
        .map(|error| (error.span().map_or(0, |span| span.start), error.message()))
        .min();
    let mut profile = ProfileText::default();
    match broken {
        Some((at, message)) => problems.add(at, "", format_args!("not TOML: {message}")),
        None => {
            let root = Section::new(&problems, root.get_ref(), 0, "");
            if !is_of_pack {
                profile.with_packs = root.flag("packs").unwrap_or(false);
            }
            if let Some(section) = root.section("tables") {
                profile.tables = read_tables(&section);
            }
            root.finish();
            if profile.tables.is_empty() && !profile.with_packs && problems.is_empty() {
                problems.add(
                    0,
                    "",
                    "it names no table; write one as [tables.NAME], with its columns below it",
                );
            }
        }
    }
    profile.tables.sort_by_key(|table| table.line);
    (profile, problems.sorted())
}

fn read_tables(section: &Section<'_>) -> Vec<ProfileTable> {
    let mut tables = Vec::new();
    for (key, value) in section.entries() {
        let Some(mut table) = section.entry(&key, &value) else {
            let problem = format_args!("`{}` is a table, not {}", key.value, kind(value.value));
            section.problem(key.at, problem);
            continue;
        };
        table.rename(format!("[tables.{}]", key.value));
        if table.entries().next().is_none() {
            table.problem(key.at, "it names no column; take the table out");
        }
        let mut columns = read_columns(&table);
        columns.sort_by_key(|column| column.at);
        tables.push(ProfileTable {
            name: key.value.to_owned(),
            line: section.line(key.at),
            columns: columns.into_iter().map(|column| column.value).collect(),
        });
    }
    tables
}

fn read_columns(table: &Section<'_>) -> Vec<At<ProfileColumn>> {
    let mut columns = Vec::new();
    for (key, value) in table.entries() {
        let DeValue::String(text) = value.value else {
            let problem = format_args!(
                "`{}` is a text that says what is handed out of it, not {}",
                key.value,
                kind(value.value)
            );
            table.problem(value.at, problem);
            continue;
        };
        match Treatment::parse(text) {
            Ok(treatment) => columns.push(At {
                value: ProfileColumn {
                    name: key.value.to_owned(),
                    line: table.line(key.at),
                    treatment,
                },
                at: key.at,
            }),
            Err(advice) => table.problem(
                value.at,
                format_args!("`{}` = \"{text}\": {advice}", key.value),
            ),
        }
    }
    columns
}
