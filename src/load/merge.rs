//! Staged tables → the mirror: what is new is inserted, what differs is updated, the rest is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;
use tokio_postgres::{SimpleQueryMessage, Transaction};

use crate::config::{Budget, SqlFile};
use crate::failpoint::Point;
use crate::name::Name;
use crate::number::{millis, signed, unsigned};
use crate::staging::{Manifest, Mode};
use crate::template::Values;

use super::before::Before;
use super::books::Books;
use super::bulk;
use super::counts::{Samples, TableCounts};
use super::decode::{Decoded, MissingKeys, RowState, TableSeen, Unfit};
use super::drift::Shape;
use super::error::LoadError;
use super::known::Compared;
use super::mapping::Mapping;
use super::places::Places;
use super::sql::{REJECT_REASON, Statements};
use super::stage::{self, Reading};

/// A resource whose rows are merged, on its way to the deletes and the books.
pub(super) struct Merged {
    pub(super) shape: Shape,
    pub(super) manifest: Manifest,
    pub(super) tables: Vec<MergedTable>,
    /// Where the records are, if others are compared with them.
    places: Option<Places>,
}

/// A table whose rows are merged.
pub(super) struct MergedTable {
    pub(super) mapping: Mapping,
    pub(super) counts: TableCounts,
    /// It was empty before, so nothing is gone from it.
    pub(super) was_empty: bool,
    /// Rows that may be among those without a readable key.
    pub(super) missing_keys: MissingKeys,
    /// If its rows were compared: what was seen of them.
    pub(super) compared: Option<Compared>,
}

/// Stages and merges a resource; `merged` are those before it in this run. Rows that have waited for a parent have come into
/// the `filled` tables meanwhile.
#[expect(clippy::too_many_arguments, reason = "each is another thing")]
pub(super) async fn merge(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    scope: &Values,
    reading: Reading,
    mappings: Vec<Mapping>,
    merged: &BTreeMap<Name, Merged>,
    before: &Before,
    filled: &BTreeSet<Name>,
) -> Result<Merged, LoadError> {
    let manifest = reading.staged.manifest().clone();
    if before.again.contains(books.resource) {
        books.forget_quarantine(transaction).await?;
    }
    for mapping in mappings
        .iter()
        .filter(|mapping| mapping.table.select.is_some())
    {
        stage::create_staged(transaction, mapping, books.schema).await?;
    }
    let fed = stage::fed(&mappings);
    let started = Instant::now();
    let mut unfit: BTreeMap<Name, u64> = BTreeMap::new();
    let quarantine = async |table: usize, rows: Vec<Unfit>| {
        let mapping = fed[table];
        *unfit.entry(mapping.table.name.clone()).or_default() += rows.len() as u64;
        let count = unfit.get(&mapping.table.name).copied().unwrap_or(0);
        let rows = rows.into_iter().map(|unfit| (mapping, unfit));
        books.quarantine(transaction, rows).await?;
        // How many are read is not known yet, but more than this may wait of none.
        if count > mapping.table.quarantine.max_rows {
            return Err(books.over_budget(transaction, mapping, count, None).await);
        }
        Ok(())
    };
    let mut decoded =
        stage::fill(transaction, reading, &fed, books.schema, scope, quarantine).await?;
    let seen = std::mem::take(&mut decoded.tables);
    let mut seen: BTreeMap<Name, TableSeen> = fed
        .iter()
        .map(|mapping| mapping.table.name.clone())
        .zip(seen)
        .collect();
    drop(fed);
    let keyless: BTreeSet<Name> = (seen.iter())
        .filter(|(_, seen)| seen.keyless > 0)
        .map(|(name, _)| name.clone())
        .collect();
    // The COPY of all tables runs as one stream: its time is shared out evenly.
    let tables_count = u64::try_from(seen.len().max(1)).unwrap_or(1);
    let copy_ms = millis(started.elapsed()) / tables_count;
    let mut tables: Vec<MergedTable> = Vec::new();
    let mut with_older_versions: Vec<Name> = Vec::new();
    let mut with_rows_outside: Vec<Name> = Vec::new();
    for mapping in mappings {
        let started = Instant::now();
        let name = mapping.table.name.clone();
        let table = Table::new(transaction, books, &mapping);
        let mut seen = seen.remove(&name);
        let situation = Situation {
            was_empty: before.empty.contains(&name)
                && !filled.contains(&name)
                && !mapping.table.is_update_only(),
            beside: if mapping.table.is_update_only() {
                beside(&name, merged)
            } else {
                Vec::new()
            },
            parent_repeats: (mapping.table.owner.as_ref())
                .is_some_and(|owner| with_older_versions.contains(&owner.table)),
            parent_leaves: (mapping.table.owner.as_ref())
                .is_some_and(|owner| with_rows_outside.contains(&owner.table)),
            budget: Some(&mapping.table.quarantine),
            before,
        };
        let (mut counts, repeated, rejected) = table
            .merge(&manifest, &decoded, seen.as_ref(), &situation)
            .await?;
        let missing_keys = match &seen {
            Some(seen) => seen.missing_keys,
            None => rejected.max(missing_keys_of_select(&mapping, &keyless)),
        };
        Point::LoadMerge.reach();
        if repeated {
            with_older_versions.push(name.clone());
        }
        if counts.out_of_scope > 0 {
            with_rows_outside.push(name.clone());
        }
        let mut unfit = unfit.get(&name).copied().unwrap_or(0);
        if unfit > 0 && mapping.table.is_update_only() {
            let unknown = books.forget_unknown(transaction, &mapping).await?;
            unfit -= unknown.min(unfit);
        }
        if unfit > 0 && repeated {
            let staged = table.statements.staged();
            let forgotten = books.forget_repeated(transaction, &mapping, &staged);
            let forgotten = forgotten.await?;
            unfit -= forgotten.min(unfit);
        }
        counts.quarantined += unfit;
        // Unfit rows with a key are staged by their key; those without are not.
        counts.staged += seen.as_ref().map_or(0, |seen| seen.keyless);
        if counts.quarantined > mapping.table.quarantine.of(counts.staged) {
            let (unfit, read) = (counts.quarantined, Some(counts.staged));
            return Err(books.over_budget(transaction, &mapping, unfit, read).await);
        }
        counts.duration_ms += millis(started.elapsed()) + if seen.is_some() { copy_ms } else { 0 };
        tables.push(MergedTable {
            counts,
            was_empty: situation.was_empty,
            missing_keys,
            compared: seen.as_mut().and_then(|seen| seen.compared.take()),
            mapping,
        });
    }
    let is_shared = tables.iter().any(|table| table.mapping.is_shared());
    Ok(Merged {
        shape: decoded.shape,
        manifest,
        places: is_shared.then_some(decoded.places),
        tables,
    })
}

/// What the resources before this one have staged of the same table.
fn beside<'m>(table: &Name, merged: &'m BTreeMap<Name, Merged>) -> Vec<(&'m Mapping, &'m Places)> {
    let mut beside = Vec::new();
    for other in merged.values() {
        let mut mappings = other.tables.iter().map(|table| &table.mapping);
        let mapping = mappings.find(|mapping| mapping.table.name == *table);
        beside.extend(mapping.zip(other.places.as_ref()));
    }
    beside
}

/// What rows without a readable key in these tables mean for one that is made of them.
fn missing_keys_of_select(mapping: &Mapping, keyless: &BTreeSet<Name>) -> MissingKeys {
    let owner = mapping.table.owner.as_ref().map(|owner| &owner.table);
    let of = |name: &Name| match owner {
        Some(owner) if owner == name => MissingKeys::OfUnknownOwner,
        _ => MissingKeys::Any,
    };
    keyless.iter().map(of).max().unwrap_or_default()
}

pub(super) struct Table<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) books: Books<'a>,
    pub(super) statements: Statements<'a>,
    pub(super) mapping: &'a Mapping,
}

/// What decides how a table is merged.
struct Situation<'a> {
    was_empty: bool,
    /// Records of its owner came in several versions.
    parent_repeats: bool,
    /// Records of its owner are out of scope.
    parent_leaves: bool,
    /// Other resources of the run that feed the table, and where their records are.
    beside: Vec<(&'a Mapping, &'a Places)>,
    /// How many rows may not fit; none: any number.
    budget: Option<&'a Budget>,
    before: &'a Before,
}

impl Table<'_> {
    /// Merges staged rows that were chosen from a run that is merged already. Rows of the
    /// `incomplete_tables` may be missing.
    pub(super) async fn merge_again(
        &self,
        manifest: &Manifest,
        decoded: &Decoded,
        incomplete_tables: &BTreeSet<Name>,
    ) -> Result<TableCounts, LoadError> {
        // The books are settled by whoever has chosen.
        let situation = Situation {
            was_empty: false,
            parent_repeats: false,
            parent_leaves: false,
            beside: Vec::new(),
            budget: None,
            before: &Before {
                incomplete_tables: incomplete_tables.clone(),
                ..Before::default()
            },
        };
        let (counts, ..) = self.merge(manifest, decoded, None, &situation).await?;
        Ok(counts)
    }

    /// Merges the staged rows; also tells whether keys had more than one version, and what rows are among those that a SELECT
    /// has rejected.
    async fn merge(
        &self,
        manifest: &Manifest,
        decoded: &Decoded,
        seen: Option<&TableSeen>,
        situation: &Situation<'_>,
    ) -> Result<(TableCounts, bool, MissingKeys), LoadError> {
        let mut counts = TableCounts::new(self.mapping.table.name.clone());
        let mut rejected = MissingKeys::None;
        if let Some(select) = &self.mapping.table.select {
            rejected = self.select(select, situation, &mut counts).await?;
        }
        let (in_scope, repeated) = self
            .settle_staged(decoded, seen, situation, &mut counts)
            .await?;
        if situation
            .before
            .quarantined
            .contains(&self.mapping.table.name)
        {
            let staged = self.statements.staged();
            self.books
                .settle_quarantine(self.transaction, self.mapping, &staged, manifest)
                .await?;
        }
        // A complete full read replaces them all when it knows what is gone.
        if !self.mapping.is_proven_by(manifest)
            && situation.before.refused.contains(&self.mapping.table.name)
        {
            let staged = self.statements.staged();
            self.books
                .drop_seen_candidates(self.transaction, self.mapping, &staged)
                .await?;
        }
        let mut samples = Samples::default();
        let mut unfit = 0;
        let mut same = 0;
        let read = counts.staged + seen.map_or(0, |seen| seen.keyless);
        // With one more the load ends, and nobody reads the rest.
        let budget = situation.budget;
        let most = budget.map(|budget| budget.of(read).saturating_add(1));
        if situation.was_empty {
            unfit = self.take_unfit(decoded, false, most).await?;
            let rows = in_scope.saturating_sub(unfit);
            counts.inserted = self
                .fill(rows, &situation.before.empty, &mut samples.inserted)
                .await?;
            self.check_merged(rows, Some(counts.inserted), false)
                .await?;
        } else if in_scope > 0 {
            // Of a delta most rows are new or differ: to list them first would only copy them.
            let has_diff = manifest.mode == Mode::Full;
            let differing = if has_diff {
                let create = self.statements.create_diff();
                Some(self.run(&create, "find what is new or changed").await?)
            } else {
                None
            };
            unfit = self.take_unfit(decoded, has_diff, most).await?;
            let insert = self.statements.insert(has_diff);
            // A row may be changed to refer to a new one.
            let is_insert_first = self.statements.has_self_reference();
            if is_insert_first {
                counts.inserted = (self.change(&insert, "insert", &mut samples.inserted)).await?;
            }
            if let Some(update) = self.statements.update(has_diff) {
                counts.updated = (self.change(&update, "update", &mut samples.updated)).await?;
            }
            if !is_insert_first {
                counts.inserted = (self.change(&insert, "insert", &mut samples.inserted)).await?;
            }
            let changed = counts.inserted + counts.updated;
            match differing {
                Some(differing) => {
                    same = in_scope.saturating_sub(differing);
                    let rows = differing.saturating_sub(unfit);
                    self.check_merged(rows, Some(changed), true).await?;
                }
                None => {
                    let rows = in_scope.saturating_sub(unfit);
                    self.check_merged(rows, None, false).await?;
                    same = rows.saturating_sub(changed);
                }
            }
        }
        if self.books.has_samples {
            counts.sample(samples);
        }
        counts.quarantined += unfit;
        counts.unchanged += same;
        Ok((counts, repeated, rejected))
    }

    /// Refuses a merge of so many rows that has not left them in the table as they were read. If each is new or differed, how
    /// many were `changed` tells it; where something of the table may change or drop rows on the way, they are looked for.
    async fn check_merged(
        &self,
        rows: u64,
        changed: Option<u64>,
        has_diff: bool,
    ) -> Result<(), LoadError> {
        const DOING: &str = "inserted or updated as they were read";
        if let Some(changed) = changed {
            self.mapping.check_arrived(rows, changed, DOING)?;
        }
        if !self.mapping.is_intercepted() {
            return Ok(());
        }
        let count = self.statements.count_held(has_diff);
        let held = self.query_count(&count).await?;
        self.mapping.check_arrived(rows, held, DOING)
    }

    /// Runs the SELECT that gives the rows of the table, and puts those that it rejects into quarantine.
    async fn select(
        &self,
        select: &SqlFile,
        situation: &Situation<'_>,
        counts: &mut TableCounts,
    ) -> Result<MissingKeys, LoadError> {
        let doing = format!("run {}", select.name);
        let selected = Statements::selected(&select.text);
        let prepared = self.transaction.prepare(&selected).await;
        let prepared = prepared.map_err(self.failed(&doing))?;
        let mut rejected = MissingKeys::None;
        if (prepared.columns().iter()).any(|column| column.name() == REJECT_REASON) {
            let statement = self.statements.insert_or_reject_selected(&select.text);
            // With one more the load ends.
            let most = situation
                .budget
                .map(|budget| signed(budget.max_rows.saturating_add(1)));
            let (run, resource) = (self.books.run.id().as_str(), self.books.resource.as_str());
            let row = (self.transaction)
                .query_one(&statement, &[&run, &resource, &most])
                .await
                .map_err(self.failed(&doing))?;
            let (rows, owned) = (unsigned(row.get(0)), unsigned(row.get(1)));
            counts.quarantined += rows;
            if rows > owned {
                rejected = MissingKeys::Any;
            } else if rows > 0 {
                rejected = MissingKeys::OfKnownOwners;
            }
        } else {
            let statement = self.statements.insert_selected(&select.text);
            self.run(&statement, &doing).await?;
        }
        counts.unresolved = self
            .run(&self.statements.delete_keyless(), "drop rows without a key")
            .await?;
        Ok(rejected)
    }

    /// Leaves one row of every key, in the state that it is to be merged in, and counts them: how many are in scope, and
    /// whether keys had more than one version.
    async fn settle_staged(
        &self,
        decoded: &Decoded,
        seen: Option<&TableSeen>,
        situation: &Situation<'_>,
        counts: &mut TableCounts,
    ) -> Result<(u64, bool), LoadError> {
        let mut counted = seen.filter(|_| self.mapping.table.within.is_empty());
        if situation.parent_repeats
            && self.mapping.table.select.is_none()
            && let Some(statement) = self.statements.drop_rows_of_older_parents()
        {
            self.run(&statement, "drop rows of older parents").await?;
            counted = None;
        }
        let mut repeated = false;
        if seen.is_none_or(|seen| seen.may_repeat) {
            repeated = self
                .run(&self.statements.dedupe(), "keep the newest of each key")
                .await?
                > 0;
            counted = counted.filter(|_| !repeated);
        }
        let mut unknown = 0;
        let mut older = 0;
        if self.mapping.table.is_update_only() {
            let doing = "find rows that are to be updated";
            unknown = self.run(&self.statements.drop_unknown(), doing).await?;
            older = self.drop_older(decoded, situation).await?;
            counted = None;
        }
        for statement in self
            .statements
            .mark_outside(&situation.before.incomplete_tables)
        {
            self.run(&statement, "find rows out of scope").await?;
        }
        if situation.parent_leaves
            && self.mapping.table.select.is_none()
            && let Some(statement) = self.statements.mark_of_outside_parents()
        {
            self.run(&statement, "find rows of parents out of scope")
                .await?;
            counted = None;
        }
        let unchanged = seen.map_or(0, |seen| seen.unchanged);
        counts.unchanged = unchanged;
        // What a SELECT has rejected is not staged.
        counts.staged = unchanged + counts.quarantined;
        if let Some(seen) = counted {
            counts.staged += seen.in_scope + seen.out_of_scope + seen.quarantined;
            counts.out_of_scope = seen.out_of_scope;
            return Ok((seen.in_scope, repeated));
        }
        let states = self
            .transaction
            .query(&self.statements.count_states(), &[])
            .await
            .map_err(self.failed("count the staged rows"))?;
        let mut in_scope = 0;
        for row in &states {
            let count = unsigned(row.get(1));
            counts.staged += count;
            match row.get::<_, i16>(0) {
                state if state == RowState::InScope as i16 => in_scope = count,
                state if state == RowState::OutOfScope as i16 => counts.out_of_scope = count,
                _ => {}
            }
        }
        counts.staged += unknown + older;
        counts.out_of_scope += unknown;
        counts.unchanged += older;
        Ok((in_scope, repeated))
    }

    /// Takes out staged rows of which the table, or another resource of the same run, has a newer version; gives how many.
    async fn drop_older(
        &self,
        decoded: &Decoded,
        situation: &Situation<'_>,
    ) -> Result<u64, LoadError> {
        let doing = "drop older versions of rows";
        let mut dropped = 0;
        if let Some(statement) = self.statements.drop_older() {
            dropped += self.run(&statement, doing).await?;
        }
        for (other, places) in &situation.beside {
            let statement = self.statements.drop_superseded(other);
            let (firsts, later) = decoded.places.beside(places);
            dropped += self
                .transaction
                .execute(&statement, &[&firsts, &later])
                .await
                .map_err(self.failed(doing))?;
        }
        Ok(dropped)
    }

    /// Inserts all that is in scope into the empty table.
    async fn fill(
        &self,
        rows: u64,
        fresh: &BTreeSet<Name>,
        sample: &mut Vec<Value>,
    ) -> Result<u64, LoadError> {
        let insert = self.statements.insert_all();
        if rows >= bulk::WORTHWHILE
            && !self.books.has_samples
            && let Some(rows) = bulk::fill(
                self.transaction,
                self.books.schema,
                self.mapping,
                fresh,
                &insert,
            )
            .await?
        {
            return Ok(rows);
        }
        self.change(&insert, "insert", sample).await
    }

    /// Changes rows of the table; gives how many, and keys of a few if they are wanted.
    pub(super) async fn change(
        &self,
        statement: &str,
        doing: &str,
        sample: &mut Vec<Value>,
    ) -> Result<u64, LoadError> {
        if !self.books.has_samples {
            return self.run(statement, doing).await;
        }
        let row = self
            .transaction
            .query_one(&self.statements.sampled(statement), &[])
            .await
            .map_err(self.failed(doing))?;
        if let Value::Array(keys) = row.get(1) {
            *sample = keys;
        }
        Ok(unsigned(row.get(0)))
    }

    /// Takes rows that the table would refuse, and puts up to so many of each kind into quarantine.
    async fn take_unfit(
        &self,
        decoded: &Decoded,
        has_diff: bool,
        most: Option<u64>,
    ) -> Result<u64, LoadError> {
        // Rows of a SELECT come from no page.
        let places = (self.mapping.table.select.is_none()).then_some(&decoded.places);
        let mut count = 0;
        for take in self.statements.take_unfit(has_diff) {
            loop {
                let (books, mapping) = (&self.books, self.mapping);
                let taken = (books.take(self.transaction, mapping, places, &take, most)).await?;
                count += taken;
                // With a row go those that refer to it.
                if taken == 0 || !take.is_of_itself {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// Runs a statement without parameters, in one round trip; gives the number of rows.
    pub(super) async fn run(&self, statement: &str, doing: &str) -> Result<u64, LoadError> {
        let messages = self
            .transaction
            .simple_query(statement)
            .await
            .map_err(self.failed(doing))?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        Ok(rows.sum())
    }

    /// Asks for a number.
    pub(super) async fn query_count(&self, statement: &str) -> Result<u64, LoadError> {
        let row = self.transaction.query_one(statement, &[]).await;
        Ok(unsigned(row.map_err(self.failed("count its rows"))?.get(0)))
    }

    pub(super) fn failed(&self, doing: &str) -> impl FnOnce(tokio_postgres::Error) -> LoadError {
        LoadError::at(format!("load {}: {doing}", self.mapping.table.name))
    }
}

impl<'a> Table<'a> {
    pub(super) fn new(
        transaction: &'a Transaction<'a>,
        books: Books<'a>,
        mapping: &'a Mapping,
    ) -> Self {
        Self {
            transaction,
            books,
            statements: Statements::new(mapping, books.schema),
            mapping,
        }
    }
}
