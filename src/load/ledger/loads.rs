//! `pipeline.run` and `pipeline.load`: what is loaded of each resource, read before a load and written in the transaction of its rows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio_postgres::{GenericClient, Statement, Transaction};

use crate::config::{Config, Table};
use crate::convert::{signed, unsigned};
use crate::load::counts::TableCounts;
use crate::load::error::LoadError;
use crate::migrate;
use crate::name::Name;
use crate::staging::{Manifest, Run};

/// The newest load of each resource of a schema.
pub(crate) type Loaded = BTreeMap<Name, LoadedResource>;

/// What the database knows of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadedResource {
    pub(crate) run_id: String,
    pub(crate) seq: u64,
    /// The hash of its manifest.
    pub(crate) manifest_hash: String,
    /// The newest complete full read that was loaded, by number.
    pub(crate) full_seq: Option<u64>,
    /// The newest run whose delta began after all that was known before: a run between them was never loaded.
    pub(crate) gap_seq: Option<u64>,
}

/// Reads what is loaded in a schema. A resource is as far as the last of its tables; one that feeds a table that
/// was never loaded has no full read. Of a schema that was dropped nothing is loaded.
pub(crate) async fn loaded(
    client: &impl GenericClient,
    schema: &str,
    config: &Config,
) -> Result<Loaded, LoadError> {
    let rows = client
        .query(
            "SELECT resource, table_name, (array_agg(run_id ORDER BY seq DESC, id DESC))[1], max(seq), \
             (array_agg(manifest_hash ORDER BY seq DESC, id DESC))[1], \
             max(seq) FILTER (WHERE mode = 'full' AND state = 'complete'), \
             max(seq) FILTER (WHERE window_start > known AND cursor > known) \
             FROM (SELECT *, max(cursor) OVER (PARTITION BY resource, table_name ORDER BY seq, id \
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS known \
                   FROM pipeline.load WHERE schema_name = $1 AND EXISTS (SELECT FROM pg_catalog.pg_tables \
                   WHERE schemaname = $1 AND tablename = $2)) AS loads GROUP BY resource, table_name",
            &[&schema, &migrate::HISTORY],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    let mut tables: BTreeMap<(String, String), LoadedResource> = rows
        .iter()
        .map(|row| {
            let loaded = LoadedResource {
                run_id: row.get(2),
                seq: unsigned(row.get(3)),
                manifest_hash: row.get(4),
                full_seq: row.get::<_, Option<i64>>(5).map(unsigned),
                gap_seq: row.get::<_, Option<i64>>(6).map(unsigned),
            };
            ((row.get(0), row.get(1)), loaded)
        })
        .collect();
    let mut loaded = Loaded::new();
    for resource in &config.resources {
        let mut furthest: Option<LoadedResource> = None;
        let mut full_seq = Some(u64::MAX);
        let mut gap_seq = None;
        let fed: Vec<&Table> = config.tables_of(&resource.name).collect();
        let is_own = |table: &&&Table| table.from == resource.name;
        let has_own = fed.iter().any(|table| is_own(&table));
        // What it only updates lacks no row that a full read would bring.
        for table in fed.iter().filter(|table| !has_own || is_own(table)) {
            let key = (resource.name.to_string(), table.name.to_string());
            let table = tables.remove(&key);
            full_seq = full_seq.min(table.as_ref().and_then(|table| table.full_seq));
            gap_seq = gap_seq.max(table.as_ref().and_then(|table| table.gap_seq));
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
                    gap_seq,
                    ..furthest
                },
            );
        }
    }
    Ok(loaded)
}

/// Tables of which nothing was ever loaded into a schema, although their resource was: they were made later.
pub(crate) async fn unfilled_tables<'c>(
    client: &impl GenericClient,
    schema: &str,
    config: &'c Config,
) -> Result<Vec<&'c Name>, LoadError> {
    let select = "SELECT resource, array_agg(DISTINCT table_name) FROM pipeline.load WHERE schema_name = $1 GROUP BY resource";
    let rows = client.query(select, &[&schema]).await;
    let rows = rows.map_err(LoadError::at("read pipeline.load"))?;
    let loaded: BTreeMap<String, Vec<String>> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let is_unfilled = |table: &&Table| {
        let loaded = loaded.get(table.from.as_str());
        loaded.is_some_and(|tables| !tables.iter().any(|name| table.name.as_str() == name))
    };
    let tables = config.tables.iter().filter(is_unfilled);
    Ok(tables.map(|table| &table.name).collect())
}

/// The resources of a run that were ever loaded into a schema.
pub(crate) async fn loaded_from(
    client: &impl GenericClient,
    schema: &str,
    run: &Run,
) -> Result<BTreeSet<String>, LoadError> {
    let rows = client
        .query(
            "SELECT DISTINCT resource FROM pipeline.load WHERE schema_name = $1 AND run_id = $2",
            &[&schema, &run.id().as_str()],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The number of the newest run that any resource of a schema was loaded from; 0: none.
pub(crate) async fn newest(client: &impl GenericClient, schema: &str) -> Result<u64, LoadError> {
    let row = client
        .query_one(
            "SELECT coalesce(max(seq), 0) FROM pipeline.load WHERE schema_name = $1",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    Ok(unsigned(row.get(0)))
}

/// The runs that were open when they were loaded, but for those of which another load is about to record something.
pub(crate) async fn open_runs(client: &impl GenericClient) -> Result<BTreeSet<String>, LoadError> {
    let rows = client
        .query(
            "SELECT run_id FROM pipeline.run WHERE state = 'open' FOR UPDATE SKIP LOCKED",
            &[],
        )
        .await
        .map_err(LoadError::at("read pipeline.run"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

const RECORD_LOAD: &str = "
    INSERT INTO pipeline.load (schema_name, run_id, seq, resource, mode, state, manifest_hash, window_start, window_end,
        cursor, table_name, staged, inserted, updated, unchanged, deleted, out_of_scope, quarantined, unresolved, refused,
        dangling, duration_ms, kept, own_read, reads)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::timestamptz, $9::text::timestamptz, $10::text::timestamptz, $11, $12,
        $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)
    ON CONFLICT (schema_name, run_id, resource, table_name, manifest_hash) DO UPDATE SET staged = excluded.staged,
        inserted = excluded.inserted, updated = excluded.updated, unchanged = excluded.unchanged,
        deleted = excluded.deleted, out_of_scope = excluded.out_of_scope, quarantined = excluded.quarantined,
        unresolved = excluded.unresolved, refused = excluded.refused, dangling = excluded.dangling,
        duration_ms = excluded.duration_ms, kept = excluded.kept, loaded_at = now()";

/// The statement of [`LoadLedger::record_load`].
pub(crate) async fn prepare_record(transaction: &Transaction<'_>) -> Result<Statement, LoadError> {
    transaction
        .prepare(RECORD_LOAD)
        .await
        .map_err(LoadError::at("prepare to write pipeline.load"))
}

/// What the load ledger says of the named reads of a resource.
fn named_reads(manifest: &Manifest) -> Value {
    let reads = manifest.reads.iter().map(|(name, read)| {
        let figures = serde_json::json!({
            "mode": read.mode,
            "state": read.state,
            "rows": read.rows,
            "window_end": read.window.map(|window| window.end),
            "cursor": read.cursor,
            "finished_at": read.finished_at,
        });
        (name.to_string(), figures)
    });
    Value::Object(reads.collect())
}

/// The load ledger, for one resource of one run in one schema.
#[derive(Clone, Copy)]
pub(crate) struct LoadLedger<'a> {
    pub(crate) schema: &'a str,
    pub(crate) run: &'a Run,
    pub(crate) resource: &'a Name,
    /// Whether keys of the rows are wanted: on a dry run.
    pub(crate) has_samples: bool,
}

impl LoadLedger<'_> {
    /// Records the run, unless that is done: a load of it into another schema would wait for the row.
    pub(crate) async fn record_run(
        client: &impl GenericClient,
        run: &Run,
    ) -> Result<(), LoadError> {
        let record = run.record();
        client
            .execute(
                "INSERT INTO pipeline.run (run_id, seq, mode, state, version, started_at, finished_at, hits, selection) \
                 SELECT $1, $2, $3, $4, $5, $6::text::timestamptz, $7::text::timestamptz, $8, $9 \
                 WHERE NOT EXISTS (SELECT FROM pipeline.run WHERE run_id = $1 AND (mode, state, finished_at, hits) \
                 IS NOT DISTINCT FROM ($3, $4, $7::text::timestamptz, $8)) \
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
            .map_err(LoadError::at("record the run in pipeline.run"))?;
        Ok(())
    }

    pub(crate) async fn record_load(
        &self,
        transaction: &Transaction<'_>,
        note: &Statement,
        manifest: &Manifest,
        manifest_hash: &str,
        tables: &[(TableCounts, Value)],
    ) -> Result<(), LoadError> {
        let reads = named_reads(manifest);
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
                        &signed(counts.kept),
                        &manifest.own_read,
                        &reads,
                    ],
                )
                .await
                .map_err(LoadError::at("record the load in pipeline.load"))?;
        }
        Ok(())
    }
}
