//! `pipeline.toml` → [`Config`]: what to ask the API for, and where its records go.
//!
//! Every fault of the file is found in one go. Types of columns are not here: they are written once,
//! in `migrations/`, and known from the database's catalogue.

mod export;
mod files;
mod followed_tables;
mod named_read;
mod names;
mod notify;
mod order;
mod pack;
mod person;
mod quarantine_limit;
mod read_keys;
mod read_resource;
mod reader;
mod record;
mod resource;
mod scope;
mod table;
mod view;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use toml::de::DeTable;

pub(crate) use export::{ProfileColumn, ProfileTable, ProfileText, Treatment, read_profile};
use files::Files;
pub(crate) use followed_tables::{ChangesConfig, FollowedTables};
pub(crate) use notify::{Event, parse_url};
pub(crate) use pack::{Pack, PackCost, PackState, Requests};
pub(crate) use quarantine_limit::QuarantineLimit;
use quarantine_limit::read_limit;
pub(crate) use reader::Problem;
pub(crate) use record::{Source, Where};
pub use resource::Resource;
pub(crate) use resource::{ForEach, FullEvery, Paging, QueryParameter, READ, ScopeLists};
pub(crate) use scope::{ScopeLookup, ScopeLookups};
pub(crate) use table::{Derive, Feed, Reference, SqlFile, Table};

use crate::database::{DatabaseError, check_url};
use crate::error_chain::{chain, with_causes};
use crate::name::{Name, advice};
use crate::pack_files::{Extra, View};
use crate::person::People;
use crate::printable;
use crate::template::Values;
use crate::trusted::Untrusted;
use names::Names;
use reader::{ANY, At, Problems, Section};

/// A checked `pipeline.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach the API and how hard to use it.
    pub api: ApiConfig,
    pub(crate) scope: Values,
    /// Where the API shows what the ids of the scope mean.
    pub(crate) scope_lookups: ScopeLookups,
    pub(crate) staging: StagingConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) prune: PruneConfig,
    /// Whose changes are written down.
    pub(crate) changes: ChangesConfig,
    /// The tables whose rows are kept as they were.
    pub(crate) history: FollowedTables,
    /// Where the outcome of commands is reported.
    pub(crate) notify: NotifyConfig,
    /// The endpoints, each after those that it needs.
    pub resources: Vec<Resource>,
    /// The tables, each after those that it needs.
    pub tables: Vec<Table>,
    /// Statements at the end of a load, in order.
    pub(crate) derives: Vec<Derive>,
    /// Where people are in records.
    pub(crate) people: Arc<People>,
    /// The views of the mirror, each after those that it reads.
    pub(crate) views: Vec<View>,
    /// All packs, each after those that it needs.
    pub(crate) packs: Vec<Pack>,
    /// The file, or `None` for the built-in one.
    pub(crate) path: Option<PathBuf>,
}

/// `[api]`.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Base URL without `/v2`.
    pub url: String,
    /// Rows asked for a page.
    pub page_size: u32,
    /// For one request, from sending to the last byte.
    pub timeout: Duration,
    /// Requests under way at once.
    pub max_in_flight: usize,
    /// Requests left for other programs on the key.
    pub reserve_per_hour: u32,
    /// A cap; without one the limit is learnt from the answers.
    pub requests_per_second: Option<f64>,
    /// A cap; without one the limit is learnt from the answers.
    pub requests_per_hour: Option<u32>,
    /// Part of the hourly limit, 0 to 1, that reading unchanged rows again may take.
    pub refresh_share: f64,
    /// A run stops after being throttled (429) for this long without a success.
    pub patience: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct StagingConfig {
    /// The directory of the runs; relative to the base directory.
    pub(crate) dir: PathBuf,
    pub(crate) keep: Duration,
    /// URL of the object store to which runs are pushed, where the command line names none.
    #[cfg_attr(
        not(feature = "remote"),
        allow(dead_code, reason = "for object stores")
    )]
    pub(crate) remote: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct DatabaseConfig {
    pub(crate) url: Option<DatabaseUrl>,
    pub(crate) schema: Name,
}

#[derive(Clone, Debug)]
pub(crate) struct DatabaseUrl {
    pub(crate) value: SecretString,
    pub(crate) line: usize,
}

/// `[prune]`: a load deletes at most `max(min_rows, max_fraction × table)` rows of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PruneConfig {
    /// Part of the table's rows, 0 to 1.
    pub(crate) max_fraction: f64,
    /// This many may always be deleted.
    pub(crate) min_rows: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct NotifyConfig {
    /// Without one nobody is notified.
    pub(crate) url: Option<SecretString>,
    pub(crate) on: Vec<Event>,
}

/// All that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("cannot read the configuration {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}", Listed { file, problems })]
    Faults {
        file: String,
        problems: Vec<Problem>,
    },
    #[error(transparent)]
    Untrusted(Untrusted),
    #[error("{}", list(.0))]
    All(Vec<ConfigError>),
}

impl From<Untrusted> for ConfigError {
    fn from(fault: Untrusted) -> Self {
        match fault {
            Untrusted::Io { path, source } => Self::Read { path, source },
            fault => Self::Untrusted(fault),
        }
    }
}

impl ConfigError {
    /// Whether each of its lines was made here.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::Faults { .. } | Self::All(_))
    }
}

/// Those that are no lists of ours are one line each.
fn list(errors: &[ConfigError]) -> String {
    let sentence = |error: &ConfigError| {
        if error.is_list() {
            with_causes(error)
        } else {
            chain(error)
        }
    };
    errors.iter().map(sentence).collect::<Vec<_>>().join("\n")
}

struct Listed<'a> {
    file: &'a str,
    problems: &'a [Problem],
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "fault" } else { "faults" };
        let file = printable::line(self.file);
        write!(f, "{file} has {count} {noun}; nothing was done")?;
        for problem in self.problems {
            write!(f, "\n  {file}:{}: ", problem.line)?;
            if !problem.place.is_empty() {
                write!(f, "{}: ", printable::line(&problem.place))?;
            }
            f.write_str(&printable::line(&problem.message))?;
        }
        Ok(())
    }
}

impl Config {
    pub(crate) fn resource(&self, name: &str) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|resource| resource.name.as_str() == name)
    }

    /// The pack of this name, or a sentence that suggests another one.
    pub(crate) fn pack(&self, name: &str) -> Result<&Pack, String> {
        let found = self.packs.iter().find(|pack| pack.name == name);
        found.ok_or_else(|| {
            let mut names: Vec<&str> = self.packs.iter().map(|pack| pack.name.as_str()).collect();
            names.sort_unstable();
            let advice = advice(name, names.into_iter(), "there are");
            format!("there is no pack `{name}`; {advice}")
        })
    }

    /// What migrations of the mirror there are beside those of this program: the user's own, beside the file, and those of packs.
    pub(crate) fn migrations(&self) -> Extra {
        let folder = self.path.as_deref().and_then(Path::parent);
        let folder = folder.map(|folder| folder.join("migrations/mirror"));
        let on = self.packs.iter().filter(|pack| pack.is_on());
        Extra {
            // What is there and is no directory is refused when it is read.
            folder: folder.filter(|folder| std::fs::symlink_metadata(folder).is_ok()),
            packs: on.map(|pack| Arc::clone(&pack.files)).collect(),
            views: self.views.clone(),
        }
    }

    /// The tables that a resource feeds, alone or beside another, in order.
    pub(crate) fn tables_of<'a>(&'a self, resource: &'a Name) -> impl Iterator<Item = &'a Table> {
        self.tables
            .iter()
            .filter(move |table| table.sources().any(|source| source == resource))
    }
}

fn read(
    files: &Files<'_>,
    root: &DeTable<'_>,
    parsed: &[(&Problems<'_>, &DeTable<'_>)],
    packs: &[Pack],
    path: Option<&Path>,
) -> Option<Config> {
    let problems = files.main;
    // `pipeline.toml` first: where a pack defines a name of it, the fault is the pack's.
    let mut roots = vec![Section::new(problems, root, 0, "")];
    roots.extend(
        parsed
            .iter()
            .map(|(problems, root)| Section::new(problems, root, 0, "")),
    );
    let on = packs.iter().filter(|pack| pack.is_on());
    for (pack, root) in on.zip(&roots[1..]) {
        pack::check(pack, packs, root);
    }
    let root = &roots[0];
    root.texts("packs");
    root.integer("version", 1..=1);
    if !root.has("version") && !root.is_misspelt("version") {
        problems.add(0, "", "write `version = 1` at the top of the file");
    }
    let empty = DeTable::new();
    let section = |key: &'static str| {
        root.section(key)
            .unwrap_or_else(|| Section::new(problems, &empty, 0, format!("[{key}]")))
    };
    let api = read_api(section("api"));
    let (scope, scope_lookups) = scope::read(root);
    let staging = read_staging(section("staging"));
    let database = read_database(section("database"));
    let prune = read_prune(section("prune"));
    let notify = read_notify(section("notify"));
    let standard = QuarantineLimit {
        max_rows: 10_000,
        max_fraction: 0.1,
    };
    let quarantine = read_limit(section("quarantine"), standard);
    let blocks = |key: &'static str| {
        roots
            .iter()
            .flat_map(|root| root.blocks(key))
            .collect::<Vec<_>>()
    };
    let is_unsure = |key: &str| roots.iter().any(|root| root.has_like(key));
    let resources = blocks("resource");
    let resource_names = Names::of("resource", &resources, is_unsure("resource")).with_off(packs);
    if resources.is_empty() && !root.has("resource") && !root.is_misspelt("resource") {
        problems.add(
            0,
            "",
            "there is no [[resource]], so nothing to ask the API for",
        );
    }
    let tables = blocks("table");
    let table_names = Names::of("table", &tables, is_unsure("table")).with_off(packs);
    let mut people = person::read(&roots, &resource_names, &table_names);
    let resources = read_resource::read(resources, &resource_names, &scope);
    let tables = table::read(
        tables,
        &table_names,
        &resource_names,
        &resources,
        &scope,
        quarantine,
        path,
    );
    let changes = followed_tables::read(section("changes"), &table_names);
    let history = followed_tables::read_history(section("history"), &table_names);
    let derives = table::read_derives(blocks("derive"), &table_names, path);
    roots.into_iter().for_each(Section::finish);

    let on = packs.iter().filter(|pack| pack.is_on());
    let of_packs: Vec<_> = files.packs.iter().copied().zip(on).collect();
    let views = view::read(problems, &of_packs, &tables, path);
    let tables = order::tables(tables, files);
    let resources = order::resources(resources, tables.as_deref().unwrap_or_default(), files);
    let (tables, resources) = (tables?, resources?);
    people.proofs = resources.iter().map(Resource::proof).collect();
    Some(Config {
        api,
        scope: scope.values,
        scope_lookups,
        staging: staging?,
        database: database?,
        prune,
        changes,
        history,
        notify,
        resources,
        tables,
        derives,
        people: Arc::new(people),
        views,
        packs: packs.to_vec(),
        path: path.map(Path::to_owned),
    })
}

fn read_api(section: Section<'_>) -> ApiConfig {
    // No message repeats an address, which may hold a password.
    let url = section.text("url").map(|url| {
        if let Err(error) = crate::api::BaseUrl::parse(url.value) {
            section.problem(url.at, format_args!("`url`: {error}"));
        }
        url.value.to_owned()
    });
    let api = ApiConfig {
        url: url.unwrap_or_else(|| "https://api.intra.42.fr".to_owned()),
        page_size: small(section.integer("page_size", 1..=100), 100),
        timeout: section.timeout("timeout").unwrap_or(Duration::from_mins(2)),
        max_in_flight: section
            .integer("max_in_flight", 1..=1000)
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(256),
        reserve_per_hour: small(section.integer("reserve_per_hour", 0..=1_000_000), 100),
        requests_per_second: section.number("requests_per_second", 0.01..=10_000.0),
        requests_per_hour: section
            .integer("requests_per_hour", 1..=1_000_000)
            .and_then(|count| u32::try_from(count).ok()),
        refresh_share: section.number("refresh_share", 0.001..=1.0).unwrap_or(0.1),
        patience: section
            .duration_up_to("patience", Duration::from_hours(24))
            .unwrap_or(Duration::from_mins(30)),
    };
    section.finish();
    api
}

fn small(value: Option<u64>, default: u32) -> u32 {
    value
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(default)
}

fn read_staging(section: Section<'_>) -> Option<StagingConfig> {
    let dir = section.text("dir").unwrap_or(At {
        value: "staging",
        at: section.at(),
    });
    let dir = section.parsed("dir", Some(dir), |dir| match dir {
        "" => Err("name a directory, such as \"staging\""),
        dir => Ok(PathBuf::from(dir)),
    });
    let keep = section.duration("keep");
    let remote = section.text("remote").and_then(|remote| {
        let is_url = remote.value.contains("://");
        if is_url && !remote.value.contains(['@', '?']) {
            return Some(remote.value.to_owned());
        }
        // What may be a password or a signature is not repeated.
        section.problem(
            remote.at,
            format_args!(
                "`remote`: name an object store without credentials, such as s3://BUCKET/PATH; those are in the store's variables"
            ),
        );
        None
    });
    section.finish();
    Some(StagingConfig {
        remote,
        dir: dir?.value,
        keep: keep.unwrap_or(Duration::from_hours(30 * 24)),
    })
}

fn read_database(section: Section<'_>) -> Option<DatabaseConfig> {
    let url = section.text("url").map(|url| {
        let checked = match url.value {
            "embedded" => Ok(()),
            "" => Err(DatabaseError::Url),
            text => match check_url(text) {
                // Reported when it is used: `doctor` first reports that a password is in a file which others can read.
                Err(DatabaseError::Unencoded) => Ok(()),
                checked => checked,
            },
        };
        if let Err(error) = checked {
            section.problem(url.at, format_args!("`url`: {error}"));
        }
        DatabaseUrl {
            value: SecretString::from(url.value),
            line: section.line(url.at),
        }
    });
    let schema = section.text("schema").unwrap_or(At {
        value: "public",
        at: section.at(),
    });
    let schema = section.parsed("schema", Some(schema), Name::parse);
    section.finish();
    Some(DatabaseConfig {
        url,
        schema: schema?.value,
    })
}

fn read_notify(section: Section<'_>) -> NotifyConfig {
    let url = section.text("url").map(|url| {
        if let Err(problem) = parse_url(url.value) {
            section.problem(url.at, format_args!("`url`: {problem}"));
        }
        SecretString::from(url.value)
    });
    let names = Event::ALL.map(Event::name);
    let mut on = Vec::new();
    for At { value, at } in section.texts("on") {
        match Event::ALL.into_iter().find(|event| event.name() == value) {
            Some(event) => on.push(event),
            None => section.problem(
                at,
                format_args!("`on` is a list of {}, not \"{value}\"", names.join(", ")),
            ),
        }
    }
    if !section.has("on") {
        on.extend(Event::ALL);
    }
    section.finish();
    NotifyConfig { url, on }
}

fn read_prune(section: Section<'_>) -> PruneConfig {
    let prune = PruneConfig {
        max_fraction: section.number("max_fraction", 0.0..=1.0).unwrap_or(0.02),
        min_rows: section.integer("min_rows", 0..=ANY).unwrap_or(20),
    };
    section.finish();
    prune
}

#[cfg(test)]
mod tests;
