//! The rows of a scratch schema → the mirror, in one transaction: only what differs is touched, so views, grants and the
//! times of rows that are the same stay.

use std::collections::BTreeSet;

use tokio_postgres::{Client, Transaction};
use tracing::info;

use crate::config::{Config, Derive, PruneConfig};
use crate::convert::{counted, unsigned};
use crate::database::{catalogue, commit};
use crate::error_chain::chain;
use crate::failpoint::Point;
use crate::load::check::source;
use crate::load::counts::TableCounts;
use crate::load::error::LoadError;
use crate::load::ledger::dangling::{Touched, record_dangling};
use crate::load::ledger::derives;
use crate::load::ledger::erasures;
use crate::load::ledger::held_deletes::{Kept, count_kept, kept_by_table};
use crate::load::ledger::loads::{self, Loaded};
use crate::load::ledger::row_changes::{self, Feed, run_noted};
use crate::load::ledger::schemas::ledger_tables;
use crate::load::mapping::{Followed, Mapping};
use crate::load::merge::prune;
use crate::load::replay::error::ReplayError;
use crate::load::replay::scratch::{drop_unless_locked, mark_applied, scratches_to_drop};
use crate::load::schema_loader::SchemaLoader;
use crate::load::sql::note_changes::Doer;
use crate::load::sql::statements::Statements;
use crate::load::transaction::{begin, set_up};
use crate::name::Name;
use crate::staging::Run;

/// A schema with the rows that the staged runs give of some resources.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    pub(crate) schema: Name,
    pub(crate) resources: BTreeSet<Name>,
}

impl Scratch {
    /// The one of these that has the rows of a table.
    fn of<'s>(scratches: &'s [Self], mapping: &Mapping) -> Option<&'s str> {
        let mut scratches = scratches.iter();
        let has_rows = |scratch: &&Self| scratch.resources.contains(&mapping.table.from);
        scratches
            .find(has_rows)
            .map(|scratch| scratch.schema.as_str())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Rebuilt {
    pub(crate) tables: Vec<TableCounts>,
    /// What stays although the staged runs do not give it.
    pub(crate) kept: Vec<Kept>,
    /// Why scratch schemas were not dropped, a sentence each. The rebuild is finished.
    pub(crate) not_dropped: Vec<String>,
}

struct TablePair<'m> {
    mapping: &'m Mapping,
    scratch: &'m str,
    statements: Statements<'m>,
    counts: TableCounts,
    /// How many rows the mirror had.
    rows: u64,
    /// Whether rows of any table could hold its rows.
    is_referenced: bool,
    kept: Kept,
}

impl SchemaLoader<'_> {
    /// Brings the mirror to what these scratch schemas have, of which this is one, and takes over their ledger: all of it or nothing.
    /// Then drops them. `before` is what the mirror had loaded; it may go back only if `may_go_back`. `runs` are those that they are
    /// from; `fingerprint` is [`Self::fingerprint`] if jobs have filled the schemas.
    pub(crate) async fn rebuild(
        &mut self,
        live: &Name,
        scratches: &[Scratch],
        before: &Loaded,
        may_go_back: bool,
        runs: &[Run],
        fingerprint: Option<&str>,
    ) -> Result<Rebuilt, ReplayError> {
        let mut after = Loaded::new();
        for Scratch { schema, resources } in scratches {
            let client = &self.database.client;
            let mut loaded = loads::loaded(client, schema.as_str(), self.config).await?;
            loaded.retain(|name, _| resources.contains(name));
            after.extend(loaded);
        }
        let resources = scratches.iter().flat_map(|scratch| &scratch.resources);
        let resources = resources.cloned().collect();
        let resources = self.rebuildable(&resources, before, &after, may_go_back)?;
        let prune_limit = (!self.options.allow_prune).then_some(self.config.prune);
        // The order of the load: rows after those that they refer to.
        let mut mappings: Vec<Mapping> = (self.config.resources.iter())
            .filter(|resource| resources.contains(&resource.name))
            .flat_map(|resource| {
                self.mappings
                    .iter()
                    .filter(|m| m.table.from == resource.name && !m.table.is_update_only())
            })
            .cloned()
            .collect();
        refer_to_live(&self.database.client, live, &mut mappings).await?;
        let transaction = begin(&mut self.database).await?;
        set_up(&transaction, self.config, live.as_str()).await?;
        // Nobody is erased while the rows move, and nobody was since the runs were listed.
        if let Some(run) = runs.last() {
            erasures::refuse_unknown(&transaction, run).await?;
        }
        // A derived statement may change any table.
        let mut all = self.mappings.clone();
        for mapping in mappings.iter_mut().chain(&mut all) {
            mapping.followed = Followed::of(self.config, &mapping.table);
        }
        count_references(self.config, &mut all);
        let newest = after.values().max_by_key(|loaded| loaded.seq);
        let newest = newest.map_or_else(String::new, |loaded| loaded.run_id.clone());
        let feed = Feed::begin(&transaction, live.as_str(), &all).await?;
        let pair = (live, scratches);
        let mut rebuilt = merge(&transaction, &mappings, pair, &newest, prune_limit).await?;
        Point::RebuildMerge.reach();
        for Derive { sql, .. } in &self.config.derives {
            run_noted(&transaction, live.as_str(), &all, &newest, sql).await?;
        }
        derives::forget_failed(&transaction, live.as_str()).await?;
        let is_newest = |run: &&Run| run.id().as_str() == newest;
        if let Some(run) = runs.iter().find(is_newest).or(runs.last()) {
            (feed.write_history(&transaction, live.as_str(), &all, run)).await?;
        }
        (feed.finish(&transaction, live.as_str(), &all, &newest)).await?;
        take_over_ledger(&transaction, live, scratches, &resources).await?;
        let schemas: Vec<&str> = scratches.iter().map(|it| it.schema.as_str()).collect();
        source::take_over(&transaction, live.as_str(), &schemas, fingerprint).await?;
        record_kept(
            &transaction,
            &mappings,
            (live, scratches),
            &after,
            &rebuilt.kept,
        )
        .await?;
        let kept = count_kept(&transaction, live.as_str(), self.mappings.as_slice()).await?;
        for counts in &mut rebuilt.tables {
            counts.kept = kept.get(&counts.name).copied().unwrap_or(0);
        }
        // A scratch may have lacked the tables at the other end.
        let rebuilt_tables = mappings.iter().map(|mapping| mapping.table.name.clone());
        let touched = Touched::all_of(rebuilt_tables.collect());
        record_dangling(&transaction, live.as_str(), all.iter(), &touched).await?;
        Point::RebuildRecord.reach();
        for schema in &schemas {
            mark_applied(&transaction, schema).await?;
        }
        let done = commit(transaction, Point::RebuildCommit, Point::RebuildCommitted);
        done.await.map_err(LoadError::at_commit)?;
        rebuilt.not_dropped = self.drop_scratches(live, fingerprint.is_some()).await;
        Ok(rebuilt)
    }

    /// Drops the scratch schemas of this mirror whose rows are applied, with `all_groups` also those of all groups; one that a job has
    /// locked stays. Returns a sentence for each that could not be dropped.
    pub(crate) async fn drop_scratches(&mut self, live: &Name, all_groups: bool) -> Vec<String> {
        let schemas = match scratches_to_drop(&self.database.client, live, all_groups).await {
            Ok(schemas) => schemas,
            Err(error) => return vec![chain(&error)],
        };
        let mut not_dropped = Vec::new();
        for schema in schemas {
            match drop_unless_locked(&mut self.database, &schema).await {
                Ok(()) => {}
                Err(error) => not_dropped.push(format!(
                    "{}; the mirror is rebuilt; drop the schema with `DROP SCHEMA {schema} CASCADE`",
                    chain(&error)
                )),
            }
        }
        not_dropped
    }

    /// The rows of the schema that are kept although the newest runs lack them.
    pub(crate) async fn kept(&self) -> Result<Vec<Kept>, ReplayError> {
        let schema = self.options.schema.as_str();
        Ok(kept_by_table(&self.database.client, schema).await?)
    }

    /// The resources of which the replay knows all rows; refuses if it should and does not.
    fn rebuildable(
        &self,
        resources: &BTreeSet<Name>,
        before: &Loaded,
        after: &Loaded,
        may_go_back: bool,
    ) -> Result<Vec<Name>, ReplayError> {
        let mut rebuildable = Vec::new();
        let mut unproven = Vec::new();
        for resource in (self.config.resources.iter()).filter(|r| resources.contains(&r.name)) {
            let name = &resource.name;
            let (had, has) = (before.get(name), after.get(name));
            // Of named reads alone rows that are not staged stay.
            let is_partial = !resource.has_own_read();
            if has.is_none() && (had.is_none() || is_partial) {
                continue;
            }
            let Some(has) = has.filter(|has| has.full_seq.is_some() || is_partial) else {
                unproven.push(name.to_string());
                continue;
            };
            if let Some(had) = had
                && had.seq > has.seq
                && !may_go_back
            {
                return Err(ReplayError::Behind {
                    resource: name.to_string(),
                    run: had.run_id.clone(),
                });
            }
            rebuildable.push(name.clone());
        }
        if unproven.is_empty() {
            Ok(rebuildable)
        } else {
            Err(ReplayError::Unproven(unproven))
        }
    }
}

/// The scratch knows only what refers to its own tables; what counts is what refers to those of the mirror.
async fn refer_to_live(
    client: &Client,
    live: &Name,
    mappings: &mut [Mapping],
) -> Result<(), LoadError> {
    let names: Vec<&str> = (mappings.iter())
        .map(|mapping| mapping.table.name.as_str())
        .collect();
    let shapes = (catalogue::tables(client, live.as_str(), &names).await)
        .map_err(LoadError::at("read the catalogue"))?;
    for (mapping, shape) in mappings.iter_mut().zip(shapes) {
        let shape = shape.as_ref();
        mapping.shape.referenced_by =
            shape.map_or_else(Vec::new, |shape| shape.referenced_by.clone());
        mapping.shape.interceptors =
            shape.map_or_else(Vec::new, |shape| shape.interceptors.clone());
    }
    Ok(())
}

/// Loads into a scratch count no dangling references; those of the mirror are.
fn count_references(config: &Config, mappings: &mut [Mapping]) {
    for mapping in mappings.iter_mut() {
        let mut tables = config.tables.iter();
        if let Some(table) = tables.find(|table| table.name == mapping.table.name) {
            mapping.table.references.clone_from(&table.references);
        }
    }
}

/// Changes, adds and deletes what differs; deletes last table first, and none if some are too many.
async fn merge(
    transaction: &Transaction<'_>,
    mappings: &[Mapping],
    (live, scratches): (&Name, &[Scratch]),
    run: &str,
    prune_limit: Option<PruneConfig>,
) -> Result<Rebuilt, ReplayError> {
    let mut tables = Vec::new();
    for mapping in mappings {
        let Some(scratch) = Scratch::of(scratches, mapping) else {
            continue;
        };
        let name = &mapping.table.name;
        let statements = Statements::new(mapping, live.as_str());
        let failed = |doing: &str| LoadError::at(format!("rebuild {name}: {doing}"));
        let (analyze, count) = statements.count_both(scratch);
        (transaction.batch_execute(&analyze).await).map_err(failed("look at the scratch"))?;
        let row = (transaction.query_one(&count, &[]).await).map_err(failed("count"))?;
        let mut counts = TableCounts::new(name.clone());
        counts.staged = unsigned(row.get(0));
        let insert = async || {
            let insert = statements.insert_from(scratch);
            (transaction.execute(&insert, &[]).await).map_err(failed("insert"))
        };
        let doer = doer(mapping, run);
        if mapping.followed.is_some() {
            for note in statements.note_rebuild(scratch, doer) {
                row_changes::note(transaction, &statements, note, None).await?;
            }
        }
        // A row may be changed to refer to a new one.
        let is_insert_first = statements.has_self_reference();
        if is_insert_first {
            counts.inserted = insert().await?;
        }
        if let Some(update) = statements.update_from(scratch) {
            counts.updated = (transaction.execute(&update, &[]).await).map_err(failed("update"))?;
        }
        if !is_insert_first {
            counts.inserted = insert().await?;
        }
        counts.unchanged = counts
            .staged
            .saturating_sub(counts.updated + counts.inserted);
        if mapping.is_intercepted() {
            let arrived = statements.count_arrived(scratch);
            let row = (transaction.query_one(&arrived, &[]).await).map_err(failed("count"))?;
            let doing = "inserted or updated as the staged runs give them";
            mapping.check_arrived(counts.staged, unsigned(row.get(0)), doing)?;
        }
        tables.push(TablePair {
            mapping,
            scratch,
            statements,
            counts,
            rows: unsigned(row.get(1)),
            is_referenced: !mapping.shape.referenced_by.is_empty(),
            kept: Kept {
                table: name.clone(),
                rows: 0,
                keys: Vec::new(),
            },
        });
    }
    delete(transaction, &mut tables, run).await?;
    let is_too_many = |both: &&TablePair<'_>| {
        let deletable = both.counts.deleted;
        let is_all = deletable > 1 && deletable == both.rows;
        prune_limit
            .is_some_and(|prune_limit| is_all || deletable > prune::allowed(prune_limit, both.rows))
    };
    let too_many: Vec<&TablePair<'_>> = tables.iter().filter(is_too_many).collect();
    if !too_many.is_empty() {
        let describe = |both: &&TablePair<'_>| {
            let TablePair { counts, rows, .. } = both;
            format!("{} of {rows} rows of {}", counts.deleted, counts.name)
        };
        let mut scratches: Vec<String> = too_many.iter().map(|it| it.scratch.to_owned()).collect();
        scratches.dedup();
        return Err(ReplayError::TooMany {
            tables: too_many.iter().map(describe).collect(),
            scratches,
        });
    }
    let mut rebuilt = Rebuilt::default();
    for TablePair { counts, kept, .. } in tables {
        rebuilt.tables.push(counts);
        rebuilt.kept.extend((kept.rows > 0).then_some(kept));
    }
    let changed: u64 = rebuilt.tables.iter().map(TableCounts::changed).sum();
    info!(schema = %live, "{} changed", counted(changed, "row"));
    Ok(rebuilt)
}

/// Deletes what the scratch does not have and nothing refers to: again, while what went has held other rows.
async fn delete(
    transaction: &Transaction<'_>,
    tables: &mut [TablePair<'_>],
    run: &str,
) -> Result<(), LoadError> {
    let mut is_first = true;
    loop {
        let mut deleted = 0;
        for both in tables.iter_mut().rev() {
            let (mapping, scratch) = (both.mapping, both.scratch);
            if (!is_first && both.kept.rows == 0) || !mapping.has_full_reads {
                continue;
            }
            let name = &both.counts.name;
            let failed = |doing: &str| LoadError::at(format!("rebuild {name}: {doing}"));
            let collect = both.statements.collect_not_in(scratch);
            let (statements, doer) = (&both.statements, doer(mapping, run));
            let done = prune::delete_listed(transaction, statements, &collect, &[], doer).await;
            let done = done.map_err(failed("delete rows"))?;
            mapping.check_arrived(done.deletable, done.deleted, "deleted")?;
            both.counts.deleted += done.deletable;
            deleted += done.deletable;
            if both.is_referenced {
                let kept = both.statements.count_kept(scratch);
                let row = (transaction.query_one(&kept, &[]).await)
                    .map_err(failed("look for what stays"))?;
                both.kept.rows = unsigned(row.get(0));
                both.kept.keys = row.get(1);
            }
        }
        is_first = false;
        if deleted == 0 || tables.iter().all(|both| both.kept.rows == 0) {
            return Ok(());
        }
    }
}

/// A rebuild knows of no record.
fn doer<'d>(mapping: &'d Mapping, run: &'d str) -> Doer<'d> {
    Doer {
        run,
        resource: Some(mapping.table.from.as_str()),
        has_places: false,
    }
}

/// Records the rows that are `kept`: the newest run that a scratch has of their resource lacks them.
async fn record_kept(
    transaction: &Transaction<'_>,
    mappings: &[Mapping],
    (live, scratches): (&Name, &[Scratch]),
    loaded: &Loaded,
    kept: &[Kept],
) -> Result<(), LoadError> {
    for mapping in mappings {
        let (name, resource) = (&mapping.table.name, &mapping.table.from);
        let Some(loaded) = loaded.get(resource).filter(|_| is_among(kept, name)) else {
            continue;
        };
        let Some(scratch) = Scratch::of(scratches, mapping) else {
            continue;
        };
        let statements = Statements::new(mapping, live.as_str());
        let failed = || LoadError::at(format!("rebuild {name}: note what stays"));
        let collect = statements.collect_not_in(scratch);
        let listed = prune::list(transaction, &statements, &collect, &[]).await;
        listed.map_err(failed())?;
        let notes = Some((loaded.run_id.as_str(), resource));
        let noted = prune::keep_referenced_rows(transaction, &statements, notes).await;
        noted.map_err(failed())?;
    }
    Ok(())
}

fn is_among(kept: &[Kept], table: &Name) -> bool {
    kept.iter().any(|kept| kept.table == *table)
}

/// Replaces the ledger of these resources in the mirror by that of the scratch schemas. What else it says of them goes when they are
/// dropped.
async fn take_over_ledger(
    transaction: &Transaction<'_>,
    live: &Name,
    scratches: &[Scratch],
    rebuilt: &[Name],
) -> Result<(), LoadError> {
    let live = live.as_str();
    for table in ledger_tables(transaction, &["schema_name", "resource"]).await? {
        // What the rebuild itself has changed is written there.
        if table == row_changes::TABLE {
            continue;
        }
        let failed = || LoadError::at(format!("take over {table}"));
        let delete = format!("DELETE FROM {table} WHERE schema_name = $1 AND resource = ANY ($2)");
        let update = format!(
            "UPDATE {table} SET schema_name = $1 WHERE schema_name = $2 AND resource = ANY ($3)"
        );
        for Scratch { schema, resources } in scratches {
            let resources = rebuilt.iter().filter(|name| resources.contains(*name));
            let resources: Vec<&str> = resources.map(Name::as_str).collect();
            let schema = schema.as_str();
            let deleted = transaction.execute(&delete, &[&live, &resources]).await;
            deleted.map_err(failed())?;
            let updated = transaction
                .execute(&update, &[&live, &schema, &resources])
                .await;
            updated.map_err(failed())?;
        }
    }
    Ok(())
}
