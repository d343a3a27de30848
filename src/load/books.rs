//! The books: the schema `pipeline`, written in the transaction that writes the rows.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Statement, Transaction};

use crate::config::Config;
use crate::name::Name;
use crate::staging::{Manifest, Run};

use super::counts::TableCounts;
use super::decode::{Decoded, Unfit};
use super::error::LoadError;
use super::mapping::Mapping;

/// Records put into quarantine at once.
const BATCH: usize = 1000;

/// The newest load of each resource of a schema.
pub type Loaded = BTreeMap<Name, LoadedResource>;

/// What the database knows of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedResource {
    /// The newest loaded run.
    pub run_id: String,
    /// Its number.
    pub seq: u64,
    /// The hash of its manifest.
    pub manifest_hash: String,
    /// The newest complete full read that was loaded, by number.
    pub full_seq: Option<u64>,
}

/// Reads what is loaded in a schema. A resource is as far as the last of its tables; one that feeds a table that
/// was never loaded has no full read.
pub async fn loaded(
    client: &impl GenericClient,
    schema: &str,
    config: &Config,
) -> Result<Loaded, LoadError> {
    let rows = client
        .query(
            "SELECT resource, table_name, (array_agg(run_id ORDER BY seq DESC, id DESC))[1], max(seq), \
             (array_agg(manifest_hash ORDER BY seq DESC, id DESC))[1], \
             max(seq) FILTER (WHERE mode = 'full' AND state = 'complete') \
             FROM pipeline.load WHERE schema_name = $1 GROUP BY resource, table_name",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    let number = |seq: i64| u64::try_from(seq).unwrap_or(0);
    let mut tables: BTreeMap<(String, String), LoadedResource> = rows
        .iter()
        .map(|row| {
            let loaded = LoadedResource {
                run_id: row.get(2),
                seq: number(row.get(3)),
                manifest_hash: row.get(4),
                full_seq: row.get::<_, Option<i64>>(5).map(number),
            };
            ((row.get(0), row.get(1)), loaded)
        })
        .collect();
    let mut loaded = Loaded::new();
    for resource in &config.resources {
        let mut furthest: Option<LoadedResource> = None;
        let mut full_seq = Some(u64::MAX);
        for table in config.tables_of(&resource.name) {
            let key = (resource.name.to_string(), table.name.to_string());
            let table = tables.remove(&key);
            full_seq = full_seq.min(table.as_ref().and_then(|table| table.full_seq));
            furthest = match (furthest, table) {
                (Some(a), Some(b)) => Some(if b.seq > a.seq { b } else { a }),
                (a, b) => a.or(b),
            };
        }
        if let Some(furthest) = furthest {
            loaded.insert(
                resource.name.clone(),
                LoadedResource {
                    full_seq,
                    ..furthest
                },
            );
        }
    }
    Ok(loaded)
}

/// Whether any resource of a run was ever loaded into a schema.
pub(super) async fn was_loaded(
    client: &impl GenericClient,
    schema: &str,
    run: &Run,
) -> Result<bool, LoadError> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pipeline.load WHERE schema_name = $1 AND run_id = $2)",
            &[&schema, &run.id().as_str()],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    Ok(row.get(0))
}

/// The number of the newest run that any resource of a schema was loaded from; 0: none.
pub(super) async fn newest(client: &impl GenericClient, schema: &str) -> Result<u64, LoadError> {
    let row = client
        .query_one(
            "SELECT coalesce(max(seq), 0) FROM pipeline.load WHERE schema_name = $1",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

const NOTE_LOAD: &str = "
    INSERT INTO pipeline.load (schema_name, run_id, seq, resource, mode, state, manifest_hash, window_start, window_end,
        cursor, table_name, staged, inserted, updated, unchanged, deleted, out_of_scope, quarantined, unresolved, refused,
        dangling, duration_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::timestamptz, $9::text::timestamptz, $10::text::timestamptz, $11, $12,
        $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
    ON CONFLICT (schema_name, run_id, resource, table_name, manifest_hash) DO UPDATE SET staged = excluded.staged,
        inserted = excluded.inserted, updated = excluded.updated, unchanged = excluded.unchanged,
        deleted = excluded.deleted, out_of_scope = excluded.out_of_scope, quarantined = excluded.quarantined,
        unresolved = excluded.unresolved, refused = excluded.refused, dangling = excluded.dangling,
        duration_ms = excluded.duration_ms, loaded_at = now()";

/// The statement of [`Books::note_load`].
pub(super) async fn prepare_note(transaction: &Transaction<'_>) -> Result<Statement, LoadError> {
    transaction
        .prepare(NOTE_LOAD)
        .await
        .map_err(LoadError::at("prepare to write pipeline.load"))
}

/// Where entries of the books belong.
#[derive(Clone, Copy)]
pub(super) struct Books<'a> {
    pub(super) schema: &'a str,
    pub(super) run: &'a Run,
    pub(super) resource: &'a Name,
}

impl Books<'_> {
    /// Notes the run itself.
    pub(super) async fn note_run(
        transaction: &Transaction<'_>,
        run: &Run,
    ) -> Result<(), LoadError> {
        let record = run.record();
        transaction
            .execute(
                "INSERT INTO pipeline.run (run_id, seq, mode, state, version, started_at, finished_at, hits, selection) \
                 VALUES ($1, $2, $3, $4, $5, $6::text::timestamptz, $7::text::timestamptz, $8, $9) \
                 ON CONFLICT (run_id) DO UPDATE SET mode = excluded.mode, state = excluded.state, \
                 finished_at = excluded.finished_at, hits = excluded.hits",
                &[
                    &record.run_id.as_str(),
                    &signed(record.seq),
                    &record.mode.map(|mode| mode.to_string()),
                    &record.outcome.map_or_else(|| "open".to_owned(), |outcome| outcome.to_string()),
                    &record.version,
                    &record.started_at.to_string(),
                    &record.finished_at.map(|time| time.to_string()),
                    &signed(record.hits),
                    &serde_json::to_value(&record.selection).unwrap_or(Value::Null),
                ],
            )
            .await
            .map_err(LoadError::at("note the run in pipeline.run"))?;
        Ok(())
    }

    /// Notes what a load did to each table of a resource.
    pub(super) async fn note_load(
        &self,
        transaction: &Transaction<'_>,
        note: &Statement,
        manifest: &Manifest,
        manifest_hash: &str,
        tables: &[(TableCounts, Value)],
    ) -> Result<(), LoadError> {
        for (counts, dangling) in tables {
            transaction
                .execute(
                    note,
                    &[
                        &self.schema,
                        &self.run.id().as_str(),
                        &signed(self.run.record().seq),
                        &self.resource.as_str(),
                        &manifest.mode.to_string(),
                        &manifest.state.to_string(),
                        &manifest_hash,
                        &manifest.window.map(|window| window.start.to_string()),
                        &manifest.window.map(|window| window.end.to_string()),
                        &manifest.cursor.map(|cursor| cursor.to_string()),
                        &counts.name.as_str(),
                        &signed(counts.staged),
                        &signed(counts.inserted),
                        &signed(counts.updated),
                        &signed(counts.unchanged),
                        &signed(counts.deleted),
                        &signed(counts.out_of_scope),
                        &signed(counts.quarantined),
                        &signed(counts.unresolved),
                        &signed(counts.refused),
                        dangling,
                        &signed(counts.duration_ms),
                    ],
                )
                .await
                .map_err(LoadError::at("note the load in pipeline.load"))?;
        }
        Ok(())
    }

    /// Puts records that do not fit into quarantine.
    pub(super) async fn quarantine(
        &self,
        transaction: &Transaction<'_>,
        rows: impl IntoIterator<Item = (&Mapping, Unfit)>,
    ) -> Result<(), LoadError> {
        let entries: Vec<Value> = rows
            .into_iter()
            .map(|(mapping, unfit)| {
                json!({
                    "table_name": mapping.table.name,
                    "file": unfit.file,
                    "record_index": unfit.record,
                    "element_index": unfit.element,
                    "key": unfit.key,
                    "column_name": unfit.column,
                    "pointer": unfit.pointer,
                    "code": unfit.code,
                    "reason": unfit.reason,
                })
            })
            .collect();
        for entries in entries.chunks(BATCH) {
            transaction
                .execute(
                "INSERT INTO pipeline.quarantine (schema_name, run_id, resource, table_name, file, record_index, \
                 element_index, key, column_name, pointer, code, reason) \
                 SELECT $1, $2, $3, e.table_name, e.file, e.record_index, e.element_index, e.key, e.column_name, \
                 e.pointer, e.code, e.reason FROM jsonb_to_recordset($4) AS e (table_name text, file text, \
                 record_index bigint, element_index bigint, key jsonb, column_name text, pointer text, code text, \
                 reason text)",
                &[
                    &self.schema,
                    &self.run.id().as_str(),
                    &self.resource.as_str(),
                    &Value::from(entries.to_vec()),
                ],
            )
            .await
            .map_err(LoadError::at("put records into pipeline.quarantine"))?;
        }
        Ok(())
    }

    /// Why a load stops: with what is wrong with most of the rows that do not fit, since the books will not tell.
    pub(super) async fn over_budget(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        unfit: u64,
        read: Option<u64>,
    ) -> LoadError {
        let table = &mapping.table;
        let most = transaction
            .query_opt(
                "SELECT column_name, reason, (array_agg(file || ' [' || record_index || ']' ORDER BY id))[1] \
                 FROM pipeline.quarantine WHERE schema_name = $1 AND run_id = $2 AND table_name = $3 \
                 GROUP BY column_name, reason ORDER BY count(*) DESC, min(id) LIMIT 1",
                &[&self.schema, &self.run.id().as_str(), &table.name.as_str()],
            )
            .await;
        let why = match most {
            Ok(Some(row)) => {
                let column: Option<String> = row.get(0);
                let column = column.map_or_else(String::new, |column| format!("{column}: "));
                let (reason, place): (String, String) = (row.get(1), row.get(2));
                format!("{column}{reason}, such as {place}")
            }
            Ok(None) => "unknown".to_owned(),
            Err(error) => return LoadError::at("read pipeline.quarantine")(error),
        };
        LoadError::Budget {
            table: table.name.to_string(),
            unfit,
            read: read.map_or_else(|| "the".to_owned(), |read| read.to_string()),
            allowed: read.map_or(table.quarantine.max_rows, |read| table.quarantine.of(read)),
            why,
        }
    }

    /// Takes out of quarantine what a newer read of the same records settles: a complete full read settles
    /// all of a table, any other read the keys that it shows.
    pub(super) async fn settle_quarantine(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        staged: &str,
        manifest: &Manifest,
    ) -> Result<(), LoadError> {
        let everything = manifest.is_proof();
        let key = mapping.key_object("s");
        let statement = if everything {
            "DELETE FROM pipeline.quarantine WHERE schema_name = $1 AND table_name = $2 AND run_id <> $3".to_owned()
        } else {
            format!(
                "DELETE FROM pipeline.quarantine AS q WHERE schema_name = $1 AND table_name = $2 AND run_id <> $3 \
                 AND EXISTS (SELECT FROM {staged} AS s WHERE {key} = q.key)"
            )
        };
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [
            &self.schema,
            &mapping.table.name.as_str(),
            &self.run.id().as_str(),
        ];
        transaction
            .execute(&statement, &parameters)
            .await
            .map_err(LoadError::at("settle pipeline.quarantine"))?;
        Ok(())
    }

    /// What the last load of a table counted as dangling.
    pub(super) async fn last_dangling(
        &self,
        transaction: &Transaction<'_>,
        table: &Name,
    ) -> Result<Option<Value>, LoadError> {
        let row = transaction
            .query_typed_opt(
                "SELECT dangling FROM pipeline.load WHERE schema_name = $1 AND resource = $2 AND table_name = $3 \
                 ORDER BY seq DESC, id DESC LIMIT 1",
                &[
                    (&self.schema, Type::TEXT),
                    (&self.resource.as_str(), Type::TEXT),
                    (&table.as_str(), Type::TEXT),
                ],
            )
            .await
            .map_err(LoadError::at("read pipeline.load"))?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Takes this resource's entries of an earlier load of the same run out of quarantine.
    pub(super) async fn forget_quarantine(
        &self,
        transaction: &Transaction<'_>,
    ) -> Result<(), LoadError> {
        transaction
            .execute(
                "DELETE FROM pipeline.quarantine WHERE schema_name = $1 AND run_id = $2 AND resource = $3",
                &[&self.schema, &self.run.id().as_str(), &self.resource.as_str()],
            )
            .await
            .map_err(LoadError::at("settle pipeline.quarantine"))?;
        Ok(())
    }

    /// Drops the candidates of a table: a complete full read knows better.
    pub(super) async fn drop_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
    ) -> Result<(), LoadError> {
        transaction
            .execute(
                "DELETE FROM pipeline.prune_candidate WHERE schema_name = $1 AND table_name = $2",
                &[&self.schema, &mapping.table.name.as_str()],
            )
            .await
            .map_err(LoadError::at(
                "replace old candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Drops the candidates of a table that this load judges anew: its own of an earlier load, and those that it has
    /// seen.
    pub(super) async fn drop_seen_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        staged: &str,
    ) -> Result<(), LoadError> {
        let key = mapping.key_object("s");
        let statement = format!(
            "DELETE FROM pipeline.prune_candidate AS c WHERE schema_name = $1 AND table_name = $2 \
             AND approved_at IS NULL AND (run_id = $3 OR EXISTS (SELECT FROM {staged} AS s WHERE {key} = c.key))"
        );
        transaction
            .execute(
                &statement,
                &[
                    &self.schema,
                    &mapping.table.name.as_str(),
                    &self.run.id().as_str(),
                ],
            )
            .await
            .map_err(LoadError::at(
                "settle candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Drops the candidates of a table that were held for this reason.
    pub(super) async fn drop_candidates_for(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        reason: &str,
    ) -> Result<(), LoadError> {
        transaction
            .execute(
                "DELETE FROM pipeline.prune_candidate WHERE schema_name = $1 AND table_name = $2 \
                 AND approved_at IS NULL AND reason = $3",
                &[&self.schema, &mapping.table.name.as_str(), &reason],
            )
            .await
            .map_err(LoadError::at(
                "settle candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Keeps the keys of a refused delete, and tells how many were not kept already. They are this run's now, whichever
    /// run was refused them before.
    pub(super) async fn keep_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        gone_keys: &str,
    ) -> Result<u64, LoadError> {
        let run = self.run.id().as_str();
        let table = mapping.table.name.as_str();
        let doing = "keep candidates in pipeline.prune_candidate";
        transaction
            .execute(
                &format!(
                    "DELETE FROM pipeline.prune_candidate AS c USING ({gone_keys}) AS g (reason, key) \
                     WHERE c.schema_name = $1 AND c.table_name = $2 AND c.run_id <> $3 AND c.approved_at IS NULL \
                     AND c.key = g.key"
                ),
                &[&self.schema, &table, &run],
            )
            .await
            .map_err(LoadError::at(doing))?;
        transaction
            .execute(
                &format!(
                    "INSERT INTO pipeline.prune_candidate AS c (schema_name, run_id, resource, table_name, reason, key) \
                     SELECT $1, $2, $3, $4, g.* FROM ({gone_keys}) AS g \
                     ON CONFLICT (schema_name, table_name, run_id, key) DO UPDATE SET approved_at = NULL, \
                     reason = excluded.reason, created_at = now() WHERE c.approved_at IS NOT NULL"
                ),
                &[&self.schema, &run, &self.resource.as_str(), &table],
            )
            .await
            .map_err(LoadError::at(doing))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An orphan as an unfit record.
pub(super) fn orphan(
    decoded: &Decoded,
    exploded: bool,
    position: i64,
    key: Value,
    reason: &str,
) -> Unfit {
    let (file, record) = decoded.origin(position);
    let element = position & ((1 << super::decode::ELEMENT_BITS) - 1);
    Unfit {
        file: file.to_owned(),
        record,
        element: if exploded {
            u64::try_from(element).ok()
        } else {
            None
        },
        key: Some(key),
        column: None,
        pointer: None,
        code: "orphan",
        reason: reason.to_owned(),
    }
}
