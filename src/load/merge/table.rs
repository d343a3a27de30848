//! One staged table → one table of the mirror.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio_postgres::{SimpleQueryMessage, Transaction};

use crate::config::{PruneConfig, QuarantineLimit, SqlFile};
use crate::convert::{signed, unsigned};
use crate::load::counts::{Samples, TableCounts};
use crate::load::decode::decoder::DecodedResource;
use crate::load::decode::record_locator::RecordLocator;
use crate::load::decode::types::{DecodedTable, KeylessRows, RowState, TableComparison};
use crate::load::error::LoadError;
use crate::load::ledger::loads::LoadLedger;
use crate::load::ledger::pre_load_state::PreLoadState;
use crate::load::ledger::row_changes;
use crate::load::mapping::Mapping;
use crate::load::sql::delete_reason::DeleteReason;
use crate::load::sql::note_changes::Doer;
use crate::load::sql::selected::REJECT_REASON;
use crate::load::sql::statements::Statements;
use crate::name::Name;
use crate::staging::{Manifest, Mode};

/// Staged rows at most that are worth counting for the planner: with so few, it can look up the rows of the table one by one.
const FEW: u64 = 200;

pub(crate) struct Table<'a> {
    pub(crate) transaction: &'a Transaction<'a>,
    pub(crate) ledger: LoadLedger<'a>,
    pub(crate) statements: Statements<'a>,
    pub(crate) mapping: &'a Mapping,
}

/// What decides how a table is merged.
pub(super) struct Situation<'a> {
    pub(super) was_empty: bool,
    /// Records of its owner came in several versions.
    pub(super) parent_repeats: bool,
    pub(super) parent_leaves: bool,
    /// Other resources of the run that feed the table, and where their records are.
    pub(super) beside: Vec<(&'a Mapping, &'a RecordLocator)>,
    /// How many rows may be rejected; none: any number.
    pub(super) limit: Option<&'a QuarantineLimit>,
    pub(super) state: &'a PreLoadState,
}

/// What decides which rows of a table are deleted.
#[derive(Clone, Copy)]
pub(crate) struct Pruning<'p> {
    pub(crate) reasons: &'p [DeleteReason],
    /// A complete full read proves it. By itself such a proof empties no table: an empty answer is the likelier reason.
    pub(crate) is_proof: bool,
    /// If the rows were compared: what was seen of them.
    pub(crate) compared: Option<&'p TableComparison>,
    /// Which rows `t` complete named reads cover; an expression.
    pub(crate) covered: Option<&'p str>,
    /// Some rows that were read have no readable key.
    pub(crate) has_keyless_rows: bool,
    /// Tables of which rows may be missing.
    pub(crate) incomplete_tables: &'p BTreeSet<Name>,
    /// The prune limit; none: any number of rows may be deleted.
    pub(crate) prune_limit: Option<PruneConfig>,
    pub(crate) inserted: u64,
}

impl Table<'_> {
    /// Merges staged rows that were chosen from a run that is merged already. Rows of the
    /// `incomplete_tables` may be missing.
    pub(crate) async fn merge_again(
        &self,
        manifest: &Manifest,
        decoded: &DecodedResource,
        incomplete_tables: &BTreeSet<Name>,
    ) -> Result<TableCounts, LoadError> {
        // The caller settles the ledger.
        let situation = Situation {
            was_empty: false,
            parent_repeats: false,
            parent_leaves: false,
            beside: Vec::new(),
            limit: None,
            state: &PreLoadState {
                incomplete_tables: incomplete_tables.clone(),
                ..PreLoadState::default()
            },
        };
        let (counts, ..) = self.merge(manifest, decoded, None, &situation).await?;
        Ok(counts)
    }

    /// Merges the staged rows; also returns whether keys had more than one version, and what rows are among those that a SELECT
    /// has rejected.
    pub(super) async fn merge(
        &self,
        manifest: &Manifest,
        decoded: &DecodedResource,
        seen: Option<&DecodedTable>,
        situation: &Situation<'_>,
    ) -> Result<(TableCounts, bool, KeylessRows), LoadError> {
        let mut counts = TableCounts::new(self.mapping.table.name.clone());
        let mut rejected = KeylessRows::None;
        if let Some(select) = &self.mapping.table.select {
            rejected = self.select(select, situation, &mut counts).await?;
        }
        let (in_scope, repeated) = self
            .settle_staged(decoded, seen, situation, &mut counts)
            .await?;
        if situation
            .state
            .quarantined
            .contains(&self.mapping.table.name)
        {
            let staged = self.statements.staged();
            self.ledger
                .settle_quarantine(self.transaction, self.mapping, &staged, manifest)
                .await?;
        }
        // A complete full read replaces all candidates.
        if !self.mapping.is_proven_by(manifest)
            && situation
                .state
                .with_held_deletes
                .contains(&self.mapping.table.name)
        {
            let staged = self.statements.staged();
            self.ledger
                .drop_seen_candidates(self.transaction, self.mapping, &staged)
                .await?;
        }
        let mut samples = Samples::default();
        let mut quarantined = 0;
        let mut same = 0;
        let read = counts.staged + seen.map_or(0, |seen| seen.keyless);
        // With one more the load ends, and nobody reads the rest.
        let limit = situation.limit;
        let most = limit.map(|limit| limit.of(read).saturating_add(1));
        if situation.was_empty {
            quarantined = self.quarantine_violations(decoded, false, most).await?;
            let rows = in_scope.saturating_sub(quarantined);
            counts.inserted = self
                .fill(rows, &situation.state.empty, &mut samples.inserted)
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
            quarantined = self.quarantine_violations(decoded, has_diff, most).await?;
            let insert = self.statements.insert(has_diff);
            // A row may be changed to refer to a new one.
            let is_insert_first = self.statements.has_self_reference();
            let places = &decoded.places;
            let note_insert = |it: &Statements<'_>, by: Doer<'_>| it.note_insert(has_diff, by);
            let note_update = |it: &Statements<'_>, by: Doer<'_>| it.note_update(has_diff, by);
            if is_insert_first {
                self.note(note_insert, places).await?;
                counts.inserted = (self.change(&insert, "insert", &mut samples.inserted)).await?;
            }
            if let Some(update) = self.statements.update(has_diff) {
                counts.references_changed =
                    self.changes_references(has_diff, counts.staged).await?;
                self.note(note_update, places).await?;
                counts.updated = (self.change(&update, "update", &mut samples.updated)).await?;
            }
            if !is_insert_first {
                self.note(note_insert, places).await?;
                counts.inserted = (self.change(&insert, "insert", &mut samples.inserted)).await?;
            }
            let changed = counts.inserted + counts.updated;
            match differing {
                Some(differing) => {
                    same = in_scope.saturating_sub(differing);
                    let rows = differing.saturating_sub(quarantined);
                    self.check_merged(rows, Some(changed), true).await?;
                }
                None => {
                    let rows = in_scope.saturating_sub(quarantined);
                    self.check_merged(rows, None, false).await?;
                    same = rows.saturating_sub(changed);
                }
            }
        }
        if self.ledger.has_samples {
            counts.sample(samples);
        }
        counts.quarantined += quarantined;
        counts.unchanged += same;
        Ok((counts, repeated, rejected))
    }

    /// Whether the update can change what rows refer to. It is assumed where no diff was made and many rows would be compared.
    async fn changes_references(&self, has_diff: bool, staged: u64) -> Result<bool, LoadError> {
        if !has_diff && staged > FEW {
            return Ok(true);
        }
        let ask = self.statements.changes_references(has_diff);
        let row = self.transaction.query_typed_one(&ask, &[]).await;
        Ok(row.map_err(self.failed("compare its references"))?.get(0))
    }

    /// Refuses a merge of `rows` rows that has not left them in the table as they were read. If each is new or differed, how
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
    ) -> Result<KeylessRows, LoadError> {
        let doing = format!("run {}", select.name);
        let selected = Statements::selected(&select.text);
        let prepared = self.transaction.prepare(&selected).await;
        let prepared = prepared.map_err(self.failed(&doing))?;
        let mut rejected = KeylessRows::None;
        if (prepared.columns().iter()).any(|column| column.name() == REJECT_REASON) {
            let statement = self.statements.insert_or_reject_selected(&select.text);
            // With one more the load ends.
            let most = situation
                .limit
                .map(|limit| signed(limit.max_rows.saturating_add(1)));
            let (run, resource) = (self.ledger.run.id().as_str(), self.ledger.resource.as_str());
            let row = (self.transaction)
                .query_one(&statement, &[&run, &resource, &most])
                .await
                .map_err(self.failed(&doing))?;
            let (rows, owned) = (unsigned(row.get(0)), unsigned(row.get(1)));
            counts.quarantined += rows;
            if rows > owned {
                rejected = KeylessRows::Any;
            } else if rows > 0 {
                rejected = KeylessRows::OfKnownOwners;
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
        decoded: &DecodedResource,
        seen: Option<&DecodedTable>,
        situation: &Situation<'_>,
        counts: &mut TableCounts,
    ) -> Result<(u64, bool), LoadError> {
        let rows = seen.map_or(u64::MAX, DecodedTable::rows);
        if (1..=FEW).contains(&rows) && !situation.was_empty {
            // The server reckons with ten pages of rows where it has counted none, and would read all of a large table for a few.
            let count = self.statements.count_for_plans();
            (self.transaction.batch_execute(&count).await)
                .map_err(self.failed("count the staged rows"))?;
        }
        let mut counted = seen.filter(|_| self.mapping.table.within.is_empty());
        let may_repeat = seen.is_none_or(|seen| seen.may_repeat);
        let parent_repeats = situation.parent_repeats && self.mapping.table.select.is_none();
        let repeated = self.keep_newest(parent_repeats, may_repeat).await?;
        if repeated || parent_repeats {
            counted = None;
        }
        let mut unknown = 0;
        let mut older = 0;
        if self.mapping.table.is_update_only() {
            let doing = "find rows that are to be updated";
            unknown = self.run(&self.statements.drop_unknown(), doing).await?;
            older = self.drop_older(decoded, &situation.beside).await?;
            counted = None;
        }
        for statement in self
            .statements
            .mark_outside(&situation.state.incomplete_tables)
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
        let compared = seen.and_then(|seen| seen.compared.as_ref());
        let unchanged = compared.map_or(0, |compared| compared.unchanged);
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

    /// Leaves the newest staged row of every key; where records of the owner came in several versions (`parent_repeats`), of its
    /// newest version only. Returns whether keys had more than one row.
    pub(crate) async fn keep_newest(
        &self,
        parent_repeats: bool,
        may_repeat: bool,
    ) -> Result<bool, LoadError> {
        if parent_repeats && let Some(statement) = self.statements.drop_rows_of_older_parents() {
            self.run(&statement, "drop rows of older parents").await?;
        }
        let dedupe = self.statements.dedupe();
        Ok(may_repeat && self.run(&dedupe, "keep the newest of each key").await? > 0)
    }

    /// Takes out staged rows of which the table, or another resource of the same run (`beside`), has a newer version; returns how
    /// many.
    pub(crate) async fn drop_older(
        &self,
        decoded: &DecodedResource,
        beside: &[(&Mapping, &RecordLocator)],
    ) -> Result<u64, LoadError> {
        let doing = "drop older versions of rows";
        let mut dropped = 0;
        if let Some(statement) = self.statements.drop_older() {
            dropped += self.run(&statement, doing).await?;
        }
        for (other, places) in beside {
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

    /// Changes rows of the table; returns how many, and keys of a few if they are wanted.
    pub(crate) async fn change(
        &self,
        statement: &str,
        doing: &str,
        sample: &mut Vec<Value>,
    ) -> Result<u64, LoadError> {
        if !self.ledger.has_samples {
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

    /// Notes the rows that a statement is about to change. Those of a SELECT come from no page.
    async fn note(
        &self,
        note: impl Fn(&Statements<'_>, Doer<'_>) -> (u64, String),
        places: &RecordLocator,
    ) -> Result<(), LoadError> {
        if !self.is_followed() {
            return Ok(());
        }
        let has_places = self.mapping.table.select.is_none();
        let note = note(&self.statements, self.doer(has_places));
        let places = has_places.then_some(places);
        row_changes::note(self.transaction, &self.statements, note, places).await
    }

    /// Quarantines rows that violate a constraint, up to `most` of each kind.
    async fn quarantine_violations(
        &self,
        decoded: &DecodedResource,
        has_diff: bool,
        most: Option<u64>,
    ) -> Result<u64, LoadError> {
        // Rows of a SELECT come from no page.
        let places = (self.mapping.table.select.is_none()).then_some(&decoded.places);
        let mut count = 0;
        for violation in self.statements.violations(has_diff) {
            loop {
                let (ledger, mapping) = (&self.ledger, self.mapping);
                let taken = (ledger.quarantine_violating(
                    self.transaction,
                    mapping,
                    places,
                    &violation,
                    most,
                ))
                .await?;
                count += taken;
                // Rows that refer to a rejected one are rejected too.
                if taken == 0 || !violation.is_of_itself {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// Runs a statement without parameters, in one round trip; returns the number of rows.
    pub(crate) async fn run(&self, statement: &str, doing: &str) -> Result<u64, LoadError> {
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

    pub(crate) async fn query_count(&self, statement: &str) -> Result<u64, LoadError> {
        let row = self.transaction.query_one(statement, &[]).await;
        Ok(unsigned(row.map_err(self.failed("count its rows"))?.get(0)))
    }

    pub(crate) fn failed(&self, doing: &str) -> impl FnOnce(tokio_postgres::Error) -> LoadError {
        LoadError::at(format!("load {}: {doing}", self.mapping.table.name))
    }
}

impl<'a> Table<'a> {
    pub(crate) fn new(
        transaction: &'a Transaction<'a>,
        ledger: LoadLedger<'a>,
        mapping: &'a Mapping,
    ) -> Self {
        Self {
            transaction,
            ledger,
            statements: Statements::new(mapping, ledger.schema),
            mapping,
        }
    }
}
