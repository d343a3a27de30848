//! The newest record of a key among staged pages.

use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio_postgres::Client;

use super::super::decode::slice_values;
use super::super::error::LoadError;
use super::super::row::accepts;
use super::{Explained, Origin, Wanted, raw};
use crate::config::Source;
use crate::pointer::Pointer;
use crate::staging::{PageEntry, Run, StagedResource};
use crate::template::Values;
use crate::walk::{Slots, Walker};

/// Finds the record of a key in staged pages.
pub(super) struct Search<'s> {
    wanted: &'s Wanted<'s>,
    scope: &'s Values,
    root: Walker,
    element: Walker,
    /// The slots of the whole record and of the whole element.
    whole: (usize, usize),
    rows: Option<usize>,
    /// For each column: whether it is of the record that holds the array, and its slot.
    columns: Vec<Option<(bool, usize)>>,
    conditions: Vec<usize>,
}

impl<'s> Search<'s> {
    pub(super) fn new(wanted: &'s Wanted<'s>, scope: &'s Values) -> Self {
        let (mut root, mut element) = (Walker::default(), Walker::default());
        let whole = (root.add(&Pointer::whole()), element.add(&Pointer::whole()));
        let table = &wanted.mapping.table;
        let rows = table.rows.as_ref().map(|pointer| root.add(pointer));
        let own = if rows.is_some() {
            &mut element
        } else {
            &mut root
        };
        let conditions = (table.conditions.iter())
            .map(|condition| own.add(&condition.pointer))
            .collect();
        let columns = (wanted.mapping.columns.iter())
            .map(|column| match &column.source {
                Source::Record(pointer) if rows.is_some() => Some((false, element.add(pointer))),
                Source::Record(pointer) => Some((false, root.add(pointer))),
                Source::Parent(pointer) => Some((true, root.add(pointer))),
                Source::Constant(_) | Source::Elsewhere => None,
            })
            .collect();
        Self {
            wanted,
            scope,
            root,
            element,
            whole,
            rows,
            columns,
            conditions,
        }
    }

    /// Newest loaded run first; a record that waits in quarantine did not make the row.
    pub(super) async fn through(
        &self,
        client: &Client,
        schema: &str,
        runs: &[Run],
        explained: &mut Explained,
    ) -> Result<(), LoadError> {
        let mapping = self.wanted.mapping;
        let table = mapping.table.name.as_str();
        let loaded = client
            .query(
                "SELECT run_id FROM pipeline.load WHERE schema_name = $1 AND table_name = $2 \
                 GROUP BY run_id ORDER BY max(seq) DESC",
                &[&schema, &table],
            )
            .await
            .map_err(LoadError::at("read pipeline.load"))?;
        let waiting = self.wanted.entries(client, schema, "quarantine").await?;
        let mut gone = BTreeSet::new();
        for row in &loaded {
            let id: &str = row.get(0);
            let Some(run) = runs.iter().find(|run| run.id().as_str() == id) else {
                gone.insert(id.to_owned());
                continue;
            };
            let Some(staged) = run.staged(&mapping.table.from)? else {
                continue;
            };
            let Some(origin) = self.newest(run, &staged)? else {
                continue;
            };
            let is_waiting = waiting.iter().any(|entry| {
                entry["run_id"] == id
                    && entry["file"] == origin.file.as_str()
                    && entry["record_index"] == origin.index
                    && entry["element_index"].as_u64() == origin.element
            });
            if is_waiting {
                explained.notes.push(format!(
                    "a newer record, in {} [{}] of the run {id}, waits in quarantine",
                    origin.file, origin.index
                ));
                // Of a row that is not there, the record that waits is what there is to see.
                if explained.origin.is_none() && explained.row.is_none() {
                    explained.origin = Some(origin);
                }
                continue;
            }
            explained.origin = Some(origin);
            return Ok(());
        }
        if !gone.is_empty() {
            let gone: Vec<String> = gone.into_iter().collect();
            explained.notes.push(format!(
                "no staged record has made it; it may come from a run that was loaded and is not in staging any more: {}",
                gone.join(", ")
            ));
        }
        Ok(())
    }

    /// The last record of the key in the order in which pages were received.
    fn newest(&self, run: &Run, staged: &StagedResource) -> Result<Option<Origin>, LoadError> {
        let mut found = None;
        let mut body = Vec::new();
        for page in staged.pages() {
            staged.read(page, &mut body)?;
            let text = std::str::from_utf8(&body)
                .map_err(|_| staged.unreadable(page, "it is not UTF-8 text"))?;
            let mut values = self.scope.clone();
            values.extend(slice_values(page.slice.as_deref()));
            let mut see = |index, element, own: &Slots<'_>, parent: &Slots<'_>| {
                let whole = match self.rows {
                    Some(_) => own[self.whole.1],
                    None => own[self.whole.0],
                };
                if let Some(values) = self.matching(own, parent, &values)
                    && let Some(record) = whole.and_then(raw)
                {
                    let place = (index, element);
                    found = Some(self.origin(run, staged, page, place, own, (record, values)));
                }
            };
            self.root
                .page(text, |index, slots| match self.rows {
                    None => see(index, None, slots, slots),
                    Some(rows) => {
                        // A list that cannot be walked is in quarantine as a whole.
                        let _ = self
                            .element
                            .page(slots[rows].unwrap_or("[]"), |element, own| {
                                see(index, Some(element), own, slots);
                            });
                    }
                })
                .map_err(|error| {
                    let problem = format!(
                        "it is not a JSON array of records (line {}, column {})",
                        error.line(),
                        error.column()
                    );
                    staged.unreadable(page, &problem)
                })?;
        }
        Ok(found)
    }

    /// The values of all columns, if the record has the key.
    fn matching(
        &self,
        own: &Slots<'_>,
        parent: &Slots<'_>,
        constants: &Values,
    ) -> Option<Vec<Option<Box<RawValue>>>> {
        let mapping = self.wanted.mapping;
        let constant = |at: usize| match &mapping.columns[at].source {
            Source::Constant(template) => template.fill(constants),
            _ => None,
        };
        for (at, wanted) in mapping.key.iter().zip(&self.wanted.encoded) {
            let cell = mapping.columns[*at].cell;
            let filled = constant(*at).map(|text| {
                if cell.is_quoted() {
                    Value::from(text).to_string()
                } else {
                    text
                }
            });
            let raw = match self.columns[*at] {
                Some((true, slot)) => parent[slot],
                Some((false, slot)) => own[slot],
                None => filled.as_deref(),
            };
            let mut bytes = Vec::new();
            if cell.encode(raw, &mut bytes).is_err() || bytes != *wanted {
                return None;
            }
        }
        let value = |at: usize| match self.columns[at] {
            Some((is_parent, slot)) => {
                let found = if is_parent { parent[slot] } else { own[slot] };
                raw(found?)
            }
            None => to_raw_value(&constant(at)?).ok(),
        };
        Some((0..mapping.columns.len()).map(value).collect())
    }

    fn origin(
        &self,
        run: &Run,
        staged: &StagedResource,
        page: &PageEntry,
        (index, element): (u64, Option<u64>),
        own: &Slots<'_>,
        (record, values): (Box<RawValue>, Vec<Option<Box<RawValue>>>),
    ) -> Origin {
        let table = &self.wanted.mapping.table;
        let mut conditions = table.conditions.iter().zip(&self.conditions);
        let failed = conditions.find(|(condition, slot)| {
            own[**slot].is_some_and(|raw| !accepts(raw, &condition.accepted))
        });
        Origin {
            run_id: run.id().to_string(),
            resource: table.from.to_string(),
            file: staged.file(page).display().to_string(),
            index,
            element,
            request: page.request.clone(),
            fetched_at: page.fetched_at,
            out_of_scope: failed.map(|(condition, _)| condition.pointer.to_string()),
            record,
            values,
        }
    }
}
