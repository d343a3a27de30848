//! The newest record of a key among staged pages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::config::Source;
use crate::load::decode::cell::{CellType, RejectReason, accepts};
use crate::load::decode::decoder::Decoder;
use crate::load::decode::types::{DecodeError, RecordSelection, slice_values};
use crate::load::error::LoadError;
use crate::load::mapping::Mapping;
use crate::load::repair::origin::{Explained, Origin, RowQuery, raw};
use crate::pointer::Pointer;
use crate::staging::{PageEntry, Run, StagedResource};
use crate::template::Values;
use crate::walk::{Slots, Walker};

/// Finds the record of a key in staged pages.
pub(super) struct Search<'s> {
    wanted: &'s RowQuery<'s>,
    scope: &'s Values,
    root: Walker,
    element: Walker,
    /// The slots of the whole record and of the whole element.
    whole: (usize, usize),
    rows: Option<usize>,
    /// For each column: whether it is of the record that holds the array, and its slot.
    columns: Vec<Option<(bool, usize)>>,
    conditions: Vec<usize>,
    /// The cursor of the owner's row.
    owner_cursor: Option<(CellType, usize)>,
}

/// How the merge ranks the records of a key, the newest last: it takes that of the newest version of the owner, then by the
/// row's own cursor, then by place. Without a cursor a record is older than any with one.
type Rank = (Option<Vec<u8>>, u64, Option<Vec<u8>>, (u64, Option<u64>));

/// The cursor of a record, as bytes that sort, and the record.
type Dated = (Option<Vec<u8>>, Origin);

impl<'s> Search<'s> {
    /// `owner`: the mapping of the table that the rows belong to.
    pub(super) fn new(
        wanted: &'s RowQuery<'s>,
        owner: Option<&Mapping>,
        scope: &'s Values,
    ) -> Self {
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
        let owner_cursor = owner.and_then(|owner| {
            let cursor = &owner.columns[owner.cursor?];
            match &cursor.source {
                Source::Record(pointer) => Some((cursor.cell, root.add(pointer))),
                _ => None,
            }
        });
        Self {
            wanted,
            scope,
            root,
            element,
            whole,
            rows,
            columns,
            conditions,
            owner_cursor,
        }
    }

    /// The record of the key in a run, if it was loaded from there, and its cursor.
    fn in_run(&self, run: &Run, resources: &[&str]) -> Result<Option<Dated>, LoadError> {
        let from = &self.wanted.mapping.table.from;
        if !resources.contains(&from.as_str()) {
            return Ok(None);
        }
        let Some(staged) = run.staged(from)? else {
            return Ok(None);
        };
        let found = self.newest(run, &staged)?;
        Ok(found.map(|((_, _, cursor, _), origin)| (cursor, origin)))
    }

    /// Whether the row is newer than a record with this cursor.
    fn is_older(&self, cursor: Option<&Vec<u8>>, row: Option<&RawValue>) -> bool {
        let mapping = self.wanted.mapping;
        let row: Option<BTreeMap<String, Box<RawValue>>> =
            row.and_then(|row| serde_json::from_str(row.get()).ok());
        let Some(at) = mapping.cursor.filter(|_| mapping.is_shared()) else {
            return false;
        };
        let column = &mapping.columns[at];
        let of_row = row.as_ref().and_then(|row| row.get(&column.name));
        cursor
            < of_row
                .and_then(|of_row| sorted(column.cell, Some(of_row.get())))
                .as_ref()
    }

    /// Why a load makes no row of a record, as it decodes it today.
    async fn misfit(&self, run: &Run, origin: &Origin) -> Result<Option<String>, LoadError> {
        let Some(staged) = run.staged(&self.wanted.mapping.table.from)? else {
            return Ok(None);
        };
        let chosen = RecordSelection::from([(origin.file.clone(), BTreeSet::from([origin.index]))]);
        let (sender, mut chunks) = mpsc::channel(1);
        let decoder = Decoder::new(&[self.wanted.mapping], self.scope, sender, None);
        let decoding =
            tokio::task::spawn_blocking(move || decoder.run(&Arc::new(staged), Some(&chosen)));
        let mut found = None;
        while let Some(chunk) = chunks.recv().await {
            let mut unfit = chunk.unfit.into_iter();
            found = found.or(unfit.find(|unfit| unfit.element == origin.element));
        }
        match decoding.await {
            Ok(Ok(_)) => Ok(found.map(|unfit| {
                let column = unfit.column.map(|column| format!("{column}: "));
                let column = column.unwrap_or_default();
                format!("does not fit and made no row ({column}{})", unfit.reason)
            })),
            Ok(Err(DecodeError::Staging(error))) => Err(error.into()),
            _ => Err(LoadError::Thread),
        }
    }

    /// The record of the key that the merge takes.
    fn newest(
        &self,
        run: &Run,
        staged: &StagedResource,
    ) -> Result<Option<(Rank, Origin)>, LoadError> {
        let mut found: Option<(Rank, Origin)> = None;
        let mut body = Vec::new();
        let mut first = 0;
        for page in staged.pages() {
            let page = page?;
            staged.read(&page, &mut body)?;
            let text = std::str::from_utf8(&body)
                .map_err(|_| staged.unreadable(&page, "it is not UTF-8 text"))?;
            let mut values = run.scope(self.scope);
            values.extend(slice_values(page.slice.as_deref()));
            let mut see = |index, element, own: &Slots<'_>, parent: &Slots<'_>| {
                let whole = match self.rows {
                    Some(_) => own[self.whole.1],
                    None => own[self.whole.0],
                };
                if let Some(values) = self.matching(own, parent, &values)
                    && let Some(record) = whole.and_then(raw)
                {
                    let rank = self.rank(own, parent, (first + index, element));
                    if found.as_ref().is_none_or(|(newest, _)| *newest <= rank) {
                        let place = (index, element);
                        let origin = self.origin(run, staged, &page, place, own, (record, values));
                        found = Some((rank, origin));
                    }
                }
            };
            let mut count = 0;
            self.root
                .page(text, |index, slots| {
                    count = index + 1;
                    match self.rows {
                        None => see(index, None, slots, slots),
                        Some(rows) => {
                            let text = slots[rows].unwrap_or("[]");
                            let each =
                                |element, own: &Slots<'_>| see(index, Some(element), own, slots);
                            // A list that cannot be walked is in quarantine as a whole.
                            let _ = if self.wanted.mapping.table.is_update_only() {
                                self.element.nested(text, each)
                            } else {
                                self.element.page(text, each)
                            };
                        }
                    }
                })
                .map_err(|error| {
                    let problem = format!(
                        "it is not a JSON array of records (line {}, column {})",
                        error.line(),
                        error.column()
                    );
                    staged.unreadable(&page, &problem)
                })?;
            first += count;
        }
        Ok(found)
    }

    fn rank(
        &self,
        own: &Slots<'_>,
        parent: &Slots<'_>,
        (record, element): (u64, Option<u64>),
    ) -> Rank {
        let mapping = self.wanted.mapping;
        let cursor = mapping.cursor.and_then(|at| {
            let (_, slot) = self.columns[at]?;
            sorted(mapping.columns[at].cell, own[slot])
        });
        let of_owner = (self.owner_cursor).and_then(|(cell, slot)| sorted(cell, parent[slot]));
        let (of_owner, owner) = if self.wanted.is_of_one_owner() {
            (of_owner, record)
        } else {
            (None, 0)
        };
        (of_owner, owner, cursor, (record, element))
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
            let filled = constant(*at).map(|text| cell.json_of(text));
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
        let conditions = table.conditions.iter().zip(&self.conditions);
        let judged: Result<Vec<_>, _> = conditions
            .map(|(condition, slot)| Ok((condition, accepts(own[*slot], &condition.accepted)?)))
            .collect();
        // What cannot be judged is in quarantine, not out of scope.
        let judged = judged.unwrap_or_else(|_: RejectReason| Vec::new());
        let failed = judged.into_iter().find(|(_, is_accepted)| !is_accepted);
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

/// Newest loaded run first; a rejected record did not make the row. Of several resources that feed the table
/// (`searches`, its own first) the newest record of a run counts.
pub(super) async fn through(
    searches: &[Search<'_>],
    client: &Client,
    schema: &str,
    runs: &[Run],
    explained: &mut Explained,
) -> Result<(), LoadError> {
    let Some(own) = searches.first() else {
        return Ok(());
    };
    let (table, own_resource) = {
        let table = &own.wanted.mapping.table;
        (table.name.as_str(), table.from.as_str())
    };
    let loaded = client
        .query(
            "SELECT run_id, array_agg(DISTINCT resource) FROM pipeline.load WHERE schema_name = $1 AND table_name = $2 \
             GROUP BY run_id ORDER BY max(seq) DESC",
            &[&schema, &table],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    let waiting = own.wanted.quarantine(client, schema).await?;
    let mut gone = BTreeSet::new();
    for row in &loaded {
        let id: &str = row.get(0);
        let resources: Vec<&str> = row.get(1);
        let Some(run) = runs.iter().find(|run| run.id().as_str() == id) else {
            gone.insert(id.to_owned());
            continue;
        };
        let mut found = Vec::new();
        for search in searches {
            if let Some((cursor, origin)) = search.in_run(run, &resources)? {
                found.push((cursor, origin, search));
            }
        }
        // Newest first, the last of the searches first among those of one moment.
        found.reverse();
        found.sort_by(|(a, of_a, _), (b, of_b, _)| (b, of_b.fetched_at).cmp(&(a, of_a.fetched_at)));
        // What says the same is of the table's own resource.
        let own = found
            .iter()
            .position(|(_, origin, _)| origin.resource == own_resource);
        if let (Some(at), Some((cursor, newest, _))) = (own, found.first())
            && (cursor == &found[at].0 && newest.is_same(&found[at].1))
        {
            found.swap(0, at);
        }
        for (cursor, origin, search) in found {
            if search.is_older(cursor.as_ref(), explained.row.as_deref()) {
                continue;
            }
            let is_waiting = waiting.iter().any(|entry| {
                entry.run_id == id
                    && entry.file == origin.file
                    && entry.record == origin.index
                    && entry.element == origin.element
            });
            // What was dropped from quarantine has no entry, and made no row all the same.
            let why = if is_waiting {
                Some("waits in quarantine".to_owned())
            } else {
                search.misfit(run, &origin).await?
            };
            let Some(why) = why else {
                explained.found(origin, search.wanted.mapping);
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
    if !gone.is_empty() {
        let gone: Vec<String> = gone.into_iter().collect();
        explained.notes.push(format!(
            "no staged record has made it; it may come from a run that was loaded and is not in staging any more: {}",
            gone.join(", ")
        ));
    }
    Ok(())
}

/// A cursor as bytes that sort as PostgreSQL sorts the value; none if the merge sees none.
fn sorted(cell: CellType, raw: Option<&str>) -> Option<Vec<u8>> {
    let raw = raw.filter(|raw| *raw != "null")?;
    let mut bytes = Vec::new();
    cell.encode(Some(raw), &mut bytes).ok()?;
    // Its length comes first.
    let mut bytes = bytes.split_off(4);
    if let (false, Some(first)) = (cell == CellType::Text, bytes.first_mut()) {
        // Negative numbers, and times of before 2000, come first.
        *first ^= 0x80;
    }
    Some(bytes)
}
