//! The record that a load takes for a key: staged, deduplicated and compared as a load does it, then read again from its page.

use std::collections::BTreeSet;

use serde_json::value::to_raw_value;
use tokio_postgres::{Row, Transaction};

use crate::config::Source;
use crate::convert::unsigned;
use crate::load::cell::accepts;
use crate::load::decode::decoder::DecodedResource;
use crate::load::decode::record_locator::RecordLocator;
use crate::load::decode::types::{ELEMENT_BITS, RejectedRecord, RowState, slice_values};
use crate::load::error::LoadError;
use crate::load::explain::origin::{Explained, Origin, raw};
use crate::load::ledger::loads::LoadLedger;
use crate::load::ledger::quarantine::Entry;
use crate::load::mapping::{MappedColumn, Mapping};
use crate::load::merge::staged_tables::{create_staged, fill_again};
use crate::load::merge::table::Table;
use crate::pointer::Pointer;
use crate::staging::Run;
use crate::template::Values;
use crate::walk::{Element, Elements, Slots, Walker};

/// Where a key is looked for.
pub(super) struct OriginSearch<'s> {
    pub(super) schema: &'s str,
    pub(super) scope: &'s Values,
    pub(super) runs: &'s [Run],
    /// The entries of the key.
    pub(super) quarantine: Vec<Entry>,
    /// What feeds the table, its own resource first: its mapping, and that of the table that its rows belong to. Only rows of the
    /// key are staged.
    pub(super) feeds: Vec<(Mapping, Option<Mapping>)>,
}

/// A record that a load leaves in its staged table.
struct Candidate<'m> {
    mapping: &'m Mapping,
    origin: Origin,
    /// Why a load rejects it, as it decodes it today.
    rejected: Option<String>,
}

/// What a load stages of the key, of one resource.
struct StagedKey<'m> {
    table: Table<'m>,
    decoded: DecodedResource,
    rejected: Vec<RejectedRecord>,
}

impl OriginSearch<'_> {
    /// Records the record that made the row, of the newest loaded run that has one: a rejected record made none.
    pub(super) async fn explain(
        &self,
        transaction: &mut Transaction<'_>,
        explained: &mut Explained,
    ) -> Result<(), LoadError> {
        let Some((own, _)) = self.feeds.first() else {
            return Ok(());
        };
        let loaded = transaction
            .query(
                "SELECT run_id, array_agg(DISTINCT resource) FROM pipeline.load WHERE schema_name = $1 AND table_name = $2 \
                 GROUP BY run_id ORDER BY max(seq) DESC",
                &[&self.schema, &own.table.name.as_str()],
            )
            .await
            .map_err(LoadError::at("read pipeline.load"))?;
        let mut missing = BTreeSet::new();
        for row in &loaded {
            let id: &str = row.get(0);
            let Some(run) = self.runs.iter().find(|run| run.id().as_str() == id) else {
                missing.insert(id);
                continue;
            };
            for candidate in self
                .candidates(transaction, run, &row.get::<_, Vec<&str>>(1))
                .await?
            {
                let Candidate {
                    mapping,
                    origin,
                    rejected,
                } = candidate;
                // What was dropped from quarantine has no entry, and still made no row.
                let Some(why) = self.quarantined(&origin).or(rejected) else {
                    explained.found(origin, mapping);
                    return Ok(());
                };
                explained.notes.push(format!(
                    "a newer record, in {} [{}] of the run {id}, {why}",
                    origin.file, origin.index
                ));
                // Of a row that is not there, the record that made none is what there is to see.
                if explained.origin.is_none() && explained.row.is_none() {
                    explained.origin = Some(origin);
                }
            }
        }
        if !missing.is_empty() {
            let missing: Vec<&str> = missing.into_iter().collect();
            explained.notes.push(format!(
                "no staged record has made it; it may come from a run that was loaded and is not in staging any more: {}",
                missing.join(", ")
            ));
        }
        Ok(())
    }

    /// What is said of a record that is in quarantine.
    fn quarantined(&self, origin: &Origin) -> Option<String> {
        let is_it = |entry: &Entry| {
            entry.run_id == origin.run_id
                && entry.file == origin.file
                && (entry.record, entry.element) == (origin.index, origin.element)
        };
        let mut entries = self.quarantine.iter();
        entries.any(is_it).then(|| "is in quarantine".to_owned())
    }

    /// The records of the key in a run, that which a load takes first.
    async fn candidates<'m>(
        &'m self,
        transaction: &mut Transaction<'_>,
        run: &Run,
        resources: &[&str],
    ) -> Result<Vec<Candidate<'m>>, LoadError> {
        let savepoint =
            (transaction.savepoint("explain").await).map_err(LoadError::at("set a savepoint"))?;
        let mut staged: Vec<StagedKey<'_>> = Vec::new();
        let loaded =
            |(mapping, _): &&(Mapping, _)| resources.contains(&mapping.table.from.as_str());
        for (mapping, owner) in self.feeds.iter().filter(loaded) {
            let beside: Vec<(&Mapping, &RecordLocator)> = (staged.iter())
                .map(|key| (key.table.mapping, &key.decoded.places))
                .collect();
            let key = self
                .stage(&savepoint, run, mapping, owner.as_ref(), &beside)
                .await?;
            staged.extend(key);
        }
        let mut candidates = Vec::new();
        // What is merged last counts.
        for key in staged.iter().rev() {
            let rows = savepoint
                .query(&key.table.statements.staged_rows(), &[])
                .await;
            for row in rows.map_err(LoadError::at("read what is staged"))? {
                let mapping = self.feeds.iter().map(|(mapping, _)| mapping);
                let mapping = mapping.filter(|one| one.table.from == key.table.mapping.table.from);
                candidates.extend(mapping.map(|mapping| self.candidate(run, key, mapping, &row)));
            }
        }
        drop(staged);
        (savepoint.rollback().await).map_err(LoadError::at("roll back to a savepoint"))?;
        candidates.into_iter().collect()
    }

    /// Stages the rows of the key and leaves what a load would leave; none if the run has no such resource. `beside`: the resources
    /// of the run that are merged before this one.
    async fn stage<'t>(
        &'t self,
        transaction: &'t Transaction<'t>,
        run: &'t Run,
        mapping: &'t Mapping,
        owner: Option<&Mapping>,
        beside: &[(&Mapping, &RecordLocator)],
    ) -> Result<Option<StagedKey<'t>>, LoadError> {
        let Some(staged) = run.staged(&mapping.table.from)? else {
            return Ok(None);
        };
        let mappings: Vec<&Mapping> = owner.into_iter().chain([mapping]).collect();
        for mapping in &mappings {
            create_staged(transaction, mapping, self.schema).await?;
        }
        let mut rejected = Vec::new();
        let scope = run.scope(self.scope);
        let quarantine = async |at: usize, more: Vec<RejectedRecord>| {
            if at + 1 == mappings.len() {
                rejected.extend(more.into_iter().filter(|record| record.key.is_some()));
            }
            Ok(())
        };
        let decoded = fill_again(
            transaction,
            staged,
            None,
            &mappings,
            self.schema,
            &scope,
            quarantine,
        )
        .await?;
        let ledger = LoadLedger {
            schema: self.schema,
            run,
            resource: &mapping.table.from,
            has_samples: false,
        };
        let parent_repeats = match owner {
            Some(owner) => {
                Table::new(transaction, ledger, owner)
                    .keep_newest(false, true)
                    .await?
            }
            None => false,
        };
        let table = Table::new(transaction, ledger, mapping);
        table.keep_newest(parent_repeats, true).await?;
        table.drop_older(&decoded, beside).await?;
        // What says the same is of the resource that was merged first.
        for (other, _) in beside {
            let doing = "drop what others say too";
            table.run(&table.statements.drop_same(other), doing).await?;
        }
        Ok(Some(StagedKey {
            table,
            decoded,
            rejected,
        }))
    }

    /// The record of a staged row.
    fn candidate<'m>(
        &self,
        run: &Run,
        key: &StagedKey<'_>,
        mapping: &'m Mapping,
        row: &Row,
    ) -> Result<Candidate<'m>, LoadError> {
        let place = unsigned(row.get(0));
        let is_nested = mapping.table.rows.is_some();
        let element = is_nested.then_some(place & ((1 << ELEMENT_BITS) - 1));
        let origin = read_record(
            run,
            &key.decoded.places,
            mapping,
            self.scope,
            (place >> ELEMENT_BITS, element),
        )?;
        let is_rejected = row.get::<_, i16>(1) == RowState::Quarantined as i16;
        let reason = key.rejected.iter().find(|record| {
            (record.record, record.element) == (origin.index, element) && record.file == origin.file
        });
        let rejected = is_rejected.then(|| {
            let reason = reason.map_or_else(String::new, |record| match &record.column {
                Some(column) => format!(" ({column}: {})", record.reason),
                None => format!(" ({})", record.reason),
            });
            format!("was rejected and made no row{reason}")
        });
        Ok(Candidate {
            mapping,
            origin,
            rejected,
        })
    }
}

/// Reads a record, or an element of its nested list, from its page: itself, and the value of each column.
fn read_record(
    run: &Run,
    places: &RecordLocator,
    mapping: &Mapping,
    scope: &Values,
    (record, element): (u64, Option<u64>),
) -> Result<Origin, LoadError> {
    let table = &mapping.table;
    let mut root = Walker::default();
    let (mut elements, rows) = table.rows.as_ref().map_or_else(Default::default, |list| {
        let (elements, slot) = Elements::of(list, &mut root);
        (elements, Some(slot))
    });
    let own = |pointer: &Pointer, root: &mut Walker, elements: &mut Elements| match rows {
        Some(_) => elements.walker.add(pointer),
        None => root.add(pointer),
    };
    let whole = own(&Pointer::to_record(), &mut root, &mut elements);
    let conditions: Vec<usize> = (table.conditions.iter())
        .map(|condition| own(&condition.pointer, &mut root, &mut elements))
        .collect();
    let slots: Vec<Option<(bool, usize)>> = (mapping.columns.iter())
        .map(|column| match &column.source {
            Source::Record(pointer) => Some((false, own(pointer, &mut root, &mut elements))),
            Source::Parent(pointer) => Some((true, elements.add_to_holder(pointer, &mut root))),
            Source::Constant(_) | Source::Elsewhere => None,
        })
        .collect();
    let staged = places.staged();
    let (page, index) = places.page_of(record)?;
    let mut body = Vec::new();
    staged.read(&page, &mut body)?;
    let text =
        std::str::from_utf8(&body).map_err(|_| staged.unreadable(&page, "it is not UTF-8 text"))?;
    let mut constants = run.scope(scope);
    constants.extend(slice_values(page.slice.as_deref()));
    let mut found = None;
    let mut see = |own: &Slots<'_>, parent: &Slots<'_>| {
        let value = |(column, slot): (&MappedColumn, &Option<(bool, usize)>)| match (
            slot,
            &column.source,
        ) {
            (Some((true, slot)), _) => raw(parent[*slot]?),
            (Some((false, slot)), _) => raw(own[*slot]?),
            (None, Source::Constant(template)) => to_raw_value(&template.fill(&constants)?).ok(),
            (None, _) => None,
        };
        let values = mapping.columns.iter().zip(&slots).map(value).collect();
        let mut judged = table.conditions.iter().zip(&conditions);
        let failed = judged.find(|(condition, slot)| {
            matches!(accepts(own[**slot], &condition.accepted), Ok(false))
        });
        found = own[whole].and_then(raw).map(|record| {
            let failed = failed.map(|(condition, _)| condition.pointer.to_string());
            (record, values, failed)
        });
    };
    let walked = root.page(text, |at, slots| {
        if at != index {
            return;
        }
        match (rows.and_then(|rows| slots[rows]), element) {
            (Some(list), Some(element)) => {
                let each = |found: Element<'_, '_>| {
                    if let Element::One(at, own, holder) = found
                        && at == element
                    {
                        see(own, holder);
                    }
                };
                // A list that cannot be walked was rejected as a whole.
                let _ = elements.each(list, slots, table.is_update_only(), each);
            }
            _ => see(slots, slots),
        }
    });
    let unreadable =
        || staged.unreadable(&page, "it does not hold the record that was staged from it");
    walked.map_err(|_| unreadable())?;
    let (record, values, out_of_scope) = found.ok_or_else(unreadable)?;
    Ok(Origin {
        run_id: run.id().to_string(),
        resource: table.from.to_string(),
        file: staged.file(&page).display().to_string(),
        index,
        element,
        request: page.request.clone(),
        fetched_at: page.fetched_at,
        out_of_scope,
        record,
        values,
    })
}
