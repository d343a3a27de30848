//! Groups of resources whose rows are loaded without a look at each other: a job replays one of them into a scratch schema of its
//! own. Decides what a group is and whether it is loaded; loads nothing.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use crate::config::Config;
use crate::database::Database;
use crate::hash::hex;
use crate::load::check::source::{self, Judge};
use crate::load::error::LoadError;
use crate::load::ledger::loads;
use crate::load::lock::lock;
use crate::load::mapping::Mapping;
use crate::load::mappings::mappings;
use crate::load::options::Options;
use crate::load::pending::history;
use crate::load::replay::error::ReplayError;
use crate::load::replay::open::lacks_migrations;
use crate::load::replay::rebuild::Scratch;
use crate::load::replay::scope::ReplayScope;
use crate::load::replay::scratch::{GROUP, SchemaContents, inspect_schema, is_applied, make};
use crate::load::replay::statement_names::{without_comments, words, written};
use crate::load::schema_loader::{SchemaLoader, reserve};
use crate::migrate;
use crate::name::Name;
use crate::pack_files::View;
use crate::staging::{Adoption, Run};

/// What a record costs beside its bytes, in bytes that take as long (measured by `make bench-replay`).
const RECORD: u64 = 2_000;

/// Resources that are replayed together, and what is staged of them.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// From 1 on: that which takes longest is the first.
    pub(crate) number: usize,
    /// Where its rows are brought together.
    pub(crate) scratch: Scratch,
    /// Runs with pages of them.
    pub(crate) runs: Vec<Run>,
    pub(crate) records: u64,
    /// Of their records.
    pub(crate) bytes: u64,
    /// The comment of its schema: what it is a replay of, and of which pages and approvals.
    mark: String,
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// Nobody has begun, or it was applied to the mirror.
    Missing,
    /// It is of other pages, options, migrations, of another `pipeline.toml` or version of cursus.
    Outdated,
    /// Number of runs that are not loaded yet.
    Partial(usize),
    Loaded,
}

impl Group {
    /// Reads how far it is.
    pub(crate) async fn state(
        &self,
        client: &Client,
        config: &Config,
    ) -> Result<GroupState, ReplayError> {
        let schema = self.scratch.schema.as_str();
        match inspect_schema(client, schema).await? {
            SchemaContents::Empty => return Ok(GroupState::Missing),
            // A finish that was killed has left it.
            SchemaContents::NotEmpty(Some(comment)) if is_applied(&comment) => {
                return Ok(GroupState::Missing);
            }
            SchemaContents::NotEmpty(Some(comment)) if comment.starts_with(GROUP) => {
                if comment != self.mark || lacks_migrations(client, config, schema).await? {
                    return Ok(GroupState::Outdated);
                }
            }
            SchemaContents::NotEmpty(_) => return Err(ReplayError::Taken(schema.to_owned())),
        }
        let loaded = loads::loaded(client, schema, config).await?;
        let mut pending = history(config, &self.runs, &loaded)?;
        for run in &mut pending {
            (run.resources).retain(|name| self.scratch.resources.contains(name));
        }
        pending.retain(|run| !run.resources.is_empty());
        Ok(match pending.len() {
            0 => GroupState::Loaded,
            runs => GroupState::Partial(runs),
        })
    }

    /// `group 2 (coalitions, coalitions_users)`.
    pub(crate) fn describe(&self) -> String {
        let names = self.scratch.resources.iter().map(Name::as_str);
        let names: Vec<&str> = names.collect();
        format!("group {} ({})", self.number, names.join(", "))
    }
}

/// The groups of a replay, in the order of their cost, the dearest first. It is of the resources of `scope`, whose tables have these mappings; `runs` are all
/// that it reads.
pub(crate) fn groups(
    config: &Config,
    mappings: &[Mapping],
    scope: &ReplayScope,
    allow_prune: bool,
    runs: &[Run],
) -> Result<Vec<Group>, ReplayError> {
    let live = &config.database.schema;
    let mut groups = Vec::new();
    // What the mirror was rebound with decides which runs are loaded after it.
    let mut adoptions = Vec::new();
    for run in runs {
        for adoption in Adoption::of(run).map_err(LoadError::from)? {
            if adoption.schema == *live {
                adoptions.push(format!("{} {}\n", run.id(), adoption.from));
            }
        }
    }
    let adoptions = adoptions.concat();
    let is_staged = |name: &Name| {
        runs.iter()
            .any(|run| !matches!(run.manifest(name), Ok(None)))
    };
    let parts = tied(config, mappings, &scope.resources).into_iter();
    let (mut parts, unstaged): (Vec<_>, Vec<_>) =
        parts.partition(|part| part.iter().any(is_staged));
    // No job is needed for what was never read.
    match parts.first_mut() {
        Some(first) => first.extend(unstaged.into_iter().flatten()),
        None => parts = unstaged,
    }
    for resources in parts {
        let mut hash = Sha256::new();
        hash.update(&adoptions);
        let (mut records, mut bytes) = (0, 0);
        let mut with_pages = Vec::new();
        for run in runs {
            let mut is_among = false;
            for name in &resources {
                let staged = run.manifest_hash(name).map_err(LoadError::from)?;
                if staged.is_empty() {
                    continue;
                }
                is_among = true;
                hash.update(format!("{} {name} {staged}\n", run.id()));
                // One that cannot be read fails when it is loaded.
                if let Ok(Some(manifest)) = run.manifest(name) {
                    records += manifest.rows;
                    bytes += manifest.bytes;
                }
            }
            with_pages.extend(is_among.then(|| run.clone()));
            // What was approved in the mirror since would have been deleted.
            for approval in run.approvals().map_err(LoadError::from)? {
                let is_of_mirror = approval.schema.is_none_or(|schema| schema == *live);
                if is_of_mirror && resources.contains(&approval.resource) {
                    let (table, rows) = (approval.table, approval.rows);
                    let (keys, as_of) = (approval.sha256, approval.as_of);
                    hash.update(format!("{} {table} {rows} {keys} {as_of}\n", run.id()));
                }
            }
        }
        let scope = ReplayScope {
            from: scope.from.clone(),
            resources: resources.clone(),
        };
        hash.update(scope.fingerprint(config, allow_prune));
        groups.push(Group {
            number: 0,
            scratch: Scratch {
                schema: live.clone(),
                resources,
            },
            runs: with_pages,
            records,
            bytes,
            mark: format!("{GROUP}{}", hex(&hash.finalize())),
        });
    }
    // Stable: those of one size stay in the order of the configuration.
    let cost = |group: &Group| group.bytes + RECORD * group.records;
    groups.sort_by_key(|group| std::cmp::Reverse(cost(group)));
    for (at, group) in groups.iter_mut().enumerate() {
        group.number = at + 1;
        let name = format!("{live}_rebuild_{}", group.number);
        group.scratch.schema = Name::parse(&name).map_err(|_| ReplayError::Long(name))?;
    }
    Ok(groups)
}

/// Splits resources: those in one part whose tables depend on each other by a foreign key, by the configuration, or by a statement
/// that reads both. Soft references are none: they are counted when all rows are there.
fn tied(config: &Config, mappings: &[Mapping], resources: &BTreeSet<Name>) -> Vec<BTreeSet<Name>> {
    let feeds = |table: &str| {
        let mut tables = config.tables.iter();
        let table = tables.find(|one| one.name.as_str() == table);
        table.into_iter().flat_map(|table| table.sources().cloned())
    };
    let all = || config.tables.iter().map(|table| table.name.to_string());
    // What a derived statement writes to a table of its own is read there like a view.
    let mut made = Vec::new();
    for derive in &config.derives {
        let text = without_comments(&derive.sql.text);
        made.extend(written(&text).into_iter().map(|name| View {
            name,
            comment: String::new(),
            columns: Vec::new(),
            sql: text.clone(),
            file: derive.sql.name.clone(),
            pack: None,
        }));
    }
    // Views read such tables, and those statements read views.
    let mut views = made.clone();
    views.extend(config.views.iter().cloned());
    views.extend(made);
    let mut ties: Vec<BTreeSet<Name>> = Vec::new();
    for mapping in mappings {
        let table = &mapping.table;
        let owner = table.owner.iter().map(|owner| owner.table.to_string());
        let mut tables: BTreeSet<String> = mapping.needs().map(str::to_owned).collect();
        tables.extend(owner.chain([table.name.to_string()]));
        if let Some(select) = &table.select {
            tables.extend(read_by(config, &views, &select.text).unwrap_or_else(|| all().collect()));
        }
        // A trigger may read whatever it likes.
        if mapping.is_intercepted() {
            tables.extend(all());
        }
        ties.push(tables.iter().flat_map(|table| feeds(table)).collect());
    }
    for derive in &config.derives {
        let read = read_by(config, &views, &derive.sql.text);
        let mut tables: BTreeSet<String> = derive.after.iter().map(Name::to_string).collect();
        match read {
            Some(read) => tables.extend(read),
            None if tables.is_empty() => tables.extend(all()),
            None => {}
        }
        ties.push(tables.iter().flat_map(|table| feeds(table)).collect());
    }
    let mut parts: Vec<BTreeSet<Name>> = Vec::new();
    let has_table = |name: &Name| config.tables_of(name).next().is_some();
    for resource in config.resources.iter().map(|resource| &resource.name) {
        if resources.contains(resource) && has_table(resource) {
            parts.push([resource.clone()].into());
        }
    }
    for tie in ties {
        let is_tied = |part: &BTreeSet<Name>| !part.is_disjoint(&tie);
        let Some(first) = parts.iter().position(is_tied) else {
            continue;
        };
        let mut at = first + 1;
        while at < parts.len() {
            if is_tied(&parts[at]) {
                let part = parts.remove(at);
                parts[first].extend(part);
            } else {
                at += 1;
            }
        }
    }
    parts
}

/// The tables that a statement names, itself or by one of these views; none, if it names no table at all, so that a function may
/// read any. A column that is called like a table counts as one: then a group is larger than it need be.
fn read_by(config: &Config, views: &[View], text: &str) -> Option<BTreeSet<String>> {
    let text = without_comments(text);
    let words: BTreeSet<&str> = words(&text).collect();
    let tables = config.tables.iter().map(|table| table.name.as_str());
    // A SELECT may read what is staged of a table, too.
    let is_named = |name: &&str| words.contains(name) || words.contains(&*format!("staged_{name}"));
    let named = tables.filter(is_named);
    let mut read: BTreeSet<String> = named.map(str::to_owned).collect();
    for (at, view) in views.iter().enumerate() {
        if words.contains(view.name.as_str()) {
            // Views are in an order in which each comes after those that it reads.
            read.extend(read_by(config, &views[..at], &view.sql).unwrap_or_default());
        }
    }
    (!read.is_empty()).then_some(read)
}

/// The mappings of the mirror for a job that does not open it; refuses one that is not migrated.
pub(crate) async fn mirror_mappings(
    client: &Client,
    config: &Config,
) -> Result<Vec<Mapping>, ReplayError> {
    let live = config.database.schema.as_str();
    let pending = migrate::pending(client, live, &config.migrations()).await;
    if !pending.map_err(LoadError::from)?.is_empty() {
        return Err(ReplayError::Unplanned(live.to_owned()));
    }
    Ok(mappings(config, client, live).await?)
}

impl<'c> SchemaLoader<'c> {
    /// Opens the schema of a group, locked for other jobs: where it is of the same pages and rules, to continue it; else a new one.
    pub(crate) async fn open_group(
        config: &'c Config,
        mut database: Database,
        options: Options,
        group: &Group,
    ) -> Result<Self, ReplayError> {
        let options = Options {
            schema: group.scratch.schema.clone(),
            group: Some(group.scratch.resources.clone()),
            ..options
        };
        let schema = options.schema.as_str();
        reserve(&mut database, config, &options).await?;
        match group.state(&database.client, config).await? {
            GroupState::Partial(_) | GroupState::Loaded => {}
            GroupState::Missing | GroupState::Outdated => {
                let there = inspect_schema(&database.client, schema).await?;
                let drop = !matches!(there, SchemaContents::Empty);
                make(&mut database.client, schema, &group.mark, drop).await?;
            }
        }
        Ok(Self::open(config, database, options).await?)
    }

    /// Groups of the mirror's replay.
    pub(crate) fn groups(
        &self,
        scope: &ReplayScope,
        runs: &[Run],
    ) -> Result<Vec<Group>, ReplayError> {
        let allow_prune = self.options.allow_prune;
        groups(self.config, &self.mappings, scope, allow_prune, runs)
    }

    /// How far each of these groups is.
    pub(crate) async fn states(&self, groups: &[Group]) -> Result<Vec<GroupState>, ReplayError> {
        let mut states = Vec::new();
        for group in groups {
            states.push(group.state(&self.database.client, self.config).await?);
        }
        Ok(states)
    }

    /// What is staged for these groups and was not loaded, though a later run of its resource was: where it is of another source,
    /// the refusal. `runs` is all that is replayed; `of` is the schema that has the rows of the groups now, if not each its own.
    pub(crate) async fn passed_over(
        &self,
        groups: &[Group],
        runs: &[Run],
        of: Option<&Name>,
    ) -> Result<Vec<(String, Option<LoadError>)>, ReplayError> {
        let client = &self.database.client;
        let mut passed = Vec::new();
        for group in groups {
            let schema = of.unwrap_or(&group.scratch.schema).as_str();
            let judge = Judge::look(client, schema, self.config, runs).await?;
            for run in &group.runs {
                let loaded = loads::loaded_from(client, schema, run).await?;
                for name in &group.scratch.resources {
                    if loaded.contains(name.as_str()) || matches!(run.manifest(name), Ok(None)) {
                        continue;
                    }
                    let refused = judge.refuse(std::slice::from_ref(run)).err();
                    passed.push((format!("{}, {name}", run.id()), refused));
                }
            }
        }
        Ok(passed)
    }

    /// Whether these groups were applied to the mirror before, nothing that decides what they give has changed since, and no job has
    /// begun one of them again.
    pub(crate) async fn is_rebuilt_from(&self, groups: &[Group]) -> Result<bool, ReplayError> {
        let states = self.states(groups).await?;
        let (live, client) = (&self.config.database.schema, &self.database.client);
        Ok(states.iter().all(|state| *state == GroupState::Missing)
            && source::rebuilt_from(client, live.as_str()).await? == Some(self.fingerprint(groups)))
    }

    /// Hash of the marks of these groups, and of the columns of the mirror that their rows go into.
    pub(crate) fn fingerprint(&self, groups: &[Group]) -> String {
        let mut hash = Sha256::new();
        for group in groups {
            hash.update(format!("{}\n", group.mark));
        }
        for mapping in &self.mappings {
            let columns = &mapping.shape.columns;
            hash.update(format!("{} {columns:?}\n", mapping.table.name));
        }
        hex(&hash.finalize())
    }

    /// Turns from the mirror to the schemas of these groups, all of them locked; refuses if one is not loaded as the runs, the options
    /// and the configuration are now.
    pub(crate) async fn into_groups(self, groups: &[Group]) -> Result<Self, ReplayError> {
        for group in groups {
            lock(&self.database, group.scratch.schema.as_str()).await?;
        }
        let states = self.states(groups).await?;
        let lacking: Vec<String> = groups.iter().zip(states)
            .filter_map(|(group, state)| {
                let why = match state {
                    GroupState::Loaded => return None,
                    GroupState::Missing => "was not replayed".to_owned(),
                    GroupState::Partial(_) => "is not replayed to the end".to_owned(),
                    GroupState::Outdated => "was replayed before the staged runs, the options, pipeline.toml, a migration or cursus \
                         changed"
                        .to_owned(),
                };
                Some(format!("{} {why}: run `cursus replay --group {}`", group.describe(), group.number))
            })
            .collect();
        if !lacking.is_empty() {
            return Err(ReplayError::Groups(lacking));
        }
        let Self {
            config,
            options,
            database,
            ..
        } = self;
        let schema = groups.first().map(|group| group.scratch.schema.clone());
        let options = Options {
            schema: schema.unwrap_or(options.schema),
            ..options
        };
        Ok(Self::open(config, database, options).await?)
    }
}
