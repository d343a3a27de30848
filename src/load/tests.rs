//! The quick ways of a load give what the plain one gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use jiff::Timestamp;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio_postgres::Client;

use super::*;
use crate::config::Config;
use crate::database::{Database, Target, testing};
use crate::name::Name;
use crate::staging::{
    Evidence, FORMAT, Manifest, Mode, PageEntry, PageRequest, Run, RunSpec, Staging, State,
};

mod model;

const PIPELINE: &str = r#"version = 1
[api]
url = "https://api.example.org"
[prune]
min_rows = 100000
[[resource]]
name = "boxes"
path = "/boxes"
[[resource]]
name = "things"
path = "/things"
cursor = { field = "seen_at", lookback = "1m" }
[[resource]]
name = "pairs"
path = "/pairs"
cursor = { field = "seen_at", lookback = "1m" }
[[table]]
name = "boxes"
from = "boxes"
[[table]]
name = "things"
from = "things"
where = { "/kind" = "thing" }
[[table]]
name = "pairs"
from = "pairs"
where = { "/kind" = "thing" }
"#;

const TABLES: &str = r#"
CREATE TABLE boxes (id bigint PRIMARY KEY, name text);
CREATE TABLE things (
    id bigint CONSTRAINT thing_key PRIMARY KEY, label text, box_id bigint CONSTRAINT in_a_box REFERENCES boxes ON DELETE CASCADE,
    weight double precision, document jsonb, seen_at timestamptz, ingested_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_each UNIQUE (box_id, id) DEFERRABLE);
CREATE TABLE pairs (
    b text, label text, box_id bigint REFERENCES boxes, weight double precision, seen_at timestamptz, a bigint,
    ingested_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (a, b));
CREATE INDEX things_box_id ON things (box_id);
CREATE UNIQUE INDEX "Odd ""name" ON things (lower(label), id DESC) INCLUDE (weight) WHERE weight > 1;
CREATE INDEX things_seen_at ON things (seen_at);
CREATE INDEX things_document ON things USING gin (document) WITH (fastupdate = off);
COMMENT ON INDEX things_seen_at IS 'a comment';
COMMENT ON CONSTRAINT in_a_box ON things IS 'a comment';
CREATE VIEW labels AS SELECT id, label FROM things;
GRANT SELECT ON things TO PUBLIC;
"#;

/// What makes the primary key stay.
const GROUPED: &str = "CREATE VIEW grouped AS SELECT id, label, count(*) FROM things GROUP BY id;";

/// What can be said of the tables.
const SHAPE: &str = "
    SELECT format('index %s %s', indexname, indexdef) FROM pg_indexes WHERE schemaname = $1 AND tablename IN ('boxes', 'things')
    UNION ALL SELECT format('constraint %s %s %s %s', k.conname, pg_get_constraintdef(k.oid), k.convalidated,
        obj_description(k.oid, 'pg_constraint'))
    FROM pg_constraint k WHERE k.connamespace = $1::regnamespace AND k.conrelid <> 0
    UNION ALL SELECT format('relation %s %s %s', relname, relacl, obj_description(oid, 'pg_class')) FROM pg_class
    WHERE relnamespace = $1::regnamespace AND relname !~ 'refinery'
    UNION ALL SELECT format('column %s %s', attname, attnotnull) FROM pg_attribute
    WHERE attrelid = format('%I.things', $1)::regclass AND attnum > 0
    UNION ALL SELECT format('view %s', definition) FROM pg_views WHERE schemaname = $1
    ORDER BY 1";

struct World {
    config: Config,
    url: String,
    client: Client,
    dir: TempDir,
}

impl World {
    async fn new(migration: &str) -> Self {
        let dir = crate::trusted::test_directory();
        let file = dir.path().join("pipeline.toml");
        let folder = dir.path().join("migrations/mirror");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("V1000__things.sql"), migration).unwrap();
        let client = testing::database().await;
        let name: String = client
            .query_one("SELECT current_database()::text", &[])
            .await
            .unwrap()
            .get(0);
        let socket = testing::cluster().await.socket_dir().display().to_string();
        Self {
            config: Config::parse(PIPELINE, Some(&file)).unwrap(),
            url: format!("host={socket} user=cursus dbname={name}"),
            client,
            dir,
        }
    }

    fn staging(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn loader(&self, schema: &str) -> SchemaLoader<'_> {
        let target = Target::Url(SecretString::from(self.url.clone()));
        let database = Database::connect(&target, "test").await.unwrap();
        let options = Options::new(Name::parse(schema).unwrap());
        SchemaLoader::open(&self.config, database, options)
            .await
            .unwrap()
    }

    async fn load(&self, schema: &str, run: &Run) -> Vec<TableCounts> {
        let mut loader = self.loader(schema).await;
        let resources = run.resources().unwrap();
        let mut session = loader.session().await.unwrap();
        let mut loaded = session
            .load(run, &resources, std::slice::from_ref(run), &BTreeSet::new())
            .await
            .unwrap();
        assert!(loaded.failed.is_empty(), "{:?}", loaded.failed);
        session.end().await.unwrap();
        loader.close().await.unwrap();
        for counts in &mut loaded.tables {
            counts.duration_ms = 0;
        }
        loaded.tables
    }

    async fn column(&self, query: &str, schema: &str) -> Vec<String> {
        let rows = self.client.query(query, &[&schema]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn rows(&self, schema: &str) -> Vec<String> {
        let query = format!(
            "SELECT (to_jsonb(t) - 'ingested_at')::text FROM {schema}.things AS t WHERE id > 0 AND $1 <> '' ORDER BY id"
        );
        self.column(&query, schema).await
    }

    async fn quarantine(&self, schema: &str) -> Vec<String> {
        let query = "SELECT concat_ws(' ', resource, file, record_index, key, code, reason) FROM pipeline.quarantine \
                     WHERE schema_name = $1 ORDER BY 1";
        self.column(query, schema).await
    }
}

/// Stages boxes 1 to 5 and these things, `page` records a page. Without `with_ids`, pages do not record their first and last id.
fn stage(root: &Path, things: &[String], page: usize, with_ids: bool, mode: Mode) -> Run {
    stage_reads(root, &[("things", things, mode)], page, with_ids)
}

/// Stages boxes 1 to 5 and these resources.
fn stage_reads(root: &Path, reads: &[(&str, &[String], Mode)], page: usize, with_ids: bool) -> Run {
    let staging = Staging::new(root);
    let lock = staging.lock("test").unwrap();
    // To the schema all of them are one.
    let identity = format!(r#"{{"format": 1, "id": "{:032}"}}"#, 1);
    std::fs::write(root.join(".staging.json"), identity).unwrap();
    let run = staging
        .create_run(&lock, Timestamp::now(), 0, &RunSpec::default())
        .unwrap();
    let boxes: Vec<String> = (1..=5)
        .map(|id| format!(r#"{{"id":{id},"name":"box"}}"#))
        .collect();
    let reads = [&[("boxes", &boxes[..], Mode::Full)], reads].concat();
    for (resource, records, mode) in reads {
        let name = Name::parse(resource).unwrap();
        let (writer, _) = run.writer(lock.share(), &name).unwrap();
        let now = Timestamp::now();
        for (index, records) in records.chunks(page).enumerate() {
            let id = |record: Option<&String>| {
                let record: serde_json::Value = serde_json::from_str(record?).unwrap();
                record["id"].as_i64().filter(|_| with_ids)
            };
            let entry = PageEntry {
                page: u32::try_from(index + 1).unwrap(),
                slice: None,
                request: String::new(),
                page_request: PageRequest {
                    list: format!("/v2/{resource}"),
                    page_size: page as u64,
                    page_number: index as u64 + 1,
                    ..PageRequest::default()
                },
                status: 200,
                rows: records.len() as u64,
                bytes: 0,
                sha256: String::new(),
                x_total: None,
                first_id: id(records.first()),
                last_id: id(records.last()),
                // Every other page is received before the one before it.
                fetched_at: now
                    + jiff::SignedDuration::from_secs(i64::try_from(index ^ 1).unwrap()),
                server_date: None,
                duration_ms: 1,
                per_page: None,
                attempts: 1,
                replaces: None,
                rewritten: None,
            };
            let body = format!("[{}]", records.join(","));
            writer.write(body.as_bytes(), entry).unwrap();
        }
        run.seal(&Manifest {
            format: FORMAT,
            run_id: None,
            resource: name,
            mode,
            state: State::Complete,
            pages: 1,
            rows: records.len() as u64,
            bytes: 0,
            hits: 1,
            x_total: None,
            window: None,
            cursor: None,
            request_hash: String::new(),
            journal_sha256: writer.journal_sha256().unwrap(),
            own_read: true,
            smaller_pages: None,
            reads: std::collections::BTreeMap::new(),
            evidence: Evidence::default(),
            started_at: now,
            finished_at: now,
        })
        .unwrap();
    }
    run
}

/// A record, mostly one that fits.
fn thing(rng: &mut Rng, id: i64, at: i64) -> String {
    let kind = if rng.u8(..50) == 0 { "other" } else { "thing" };
    let box_id = match rng.u8(..60) {
        0 => "9".to_owned(),
        1 => "null".to_owned(),
        _ => rng.u8(1..6).to_string(),
    };
    let weight = match rng.u8(..60) {
        0 => "\"heavy\"",
        1 => "-0.0",
        2 => "1e2",
        3 => "12",
        _ => "0.1",
    };
    let documents = [
        "null",
        r#"{"b":1,"a":[1.50,{"x":null}],"long":"é"}"#,
        "{ \"a\" : [ 1.50 , {\"x\" : null} ], \"long\":\"\\u00e9\", \"b\":1 }",
        r#"{"a":1,"a":2}"#,
        "[1e3,-0,true]",
        "\"\\u0001\\n\\/\\\\\\\"\\ud83d\\ude00\"",
        "{}",
        "[]",
    ];
    format!(
        r#"{{"id":{id},"kind":"{kind}","box_id":{box_id},"label":"l{}","weight":{weight},"document":{},"seen_at":"2026-01-01T00:{:02}:00.000Z"}}"#,
        rng.u8(..9),
        documents[rng.usize(..documents.len())],
        at % 60
    )
}

async fn fills_as_row_by_row(more: &str) {
    let world = World::new(&format!("{TABLES}{more}")).await;
    let mut rng = Rng::with_seed(7);
    let mut things: Vec<String> = (1..=4000).map(|id| thing(&mut rng, id, id)).collect();
    things.extend((1..=200).map(|id| thing(&mut rng, id * 3, id + 1)));
    rng.shuffle(&mut things);
    let run = stage(&world.staging("s"), &things, 100, true, Mode::Full);
    for schema in ["quick", "plain"] {
        world.loader(schema).await.close().await.unwrap();
    }
    let before = world.column(SHAPE, "quick").await;
    let file = "SELECT pg_relation_filenode('quick.things_box_id')::text WHERE $1 <> ''";
    let index = world.column(file, "quick").await;
    // A table that holds something is filled row by row.
    let something = "INSERT INTO plain.things (id) VALUES (-1)";
    world.client.batch_execute(something).await.unwrap();
    let mut quick = world.load("quick", &run).await;
    let plain = world.load("plain", &run).await;
    assert_ne!(
        world.column(file, "quick").await,
        index,
        "not the quick way"
    );
    // What is out of scope or deleted is only there in the plain table.
    for (quick, plain) in quick.iter_mut().zip(&plain) {
        assert!(plain.deleted <= 1, "{plain:?}");
        quick.deleted = plain.deleted;
    }
    assert_eq!(quick, plain);
    let rows = world.rows("quick").await;
    assert!(rows.len() > 3500);
    assert_eq!(rows, world.rows("plain").await);
    assert_eq!(
        world.quarantine("quick").await,
        world.quarantine("plain").await
    );
    assert_eq!(world.column(SHAPE, "quick").await, before);
}

#[tokio::test]
async fn bulk_fill_gives_the_rows_and_keeps_indexes_and_keys() {
    fills_as_row_by_row("").await;
}

#[tokio::test]
async fn bulk_fill_keeps_a_key_that_something_depends_on() {
    fills_as_row_by_row(GROUPED).await;
}

#[tokio::test]
async fn a_reader_of_the_empty_table_stops_nothing() {
    let world = World::new(TABLES).await;
    let mut rng = Rng::with_seed(7);
    let things: Vec<String> = (1..=3000).map(|id| thing(&mut rng, id, id)).collect();
    let run = stage(&world.staging("s"), &things, 100, true, Mode::Full);
    world.loader("quick").await.close().await.unwrap();
    let read = "BEGIN; SELECT FROM quick.things";
    world.client.batch_execute(read).await.unwrap();
    let counts = world.load("quick", &run).await;
    assert!(counts[1].inserted > 2500, "{counts:?}");
}

/// The same histories, once with pages that record their order, so that rows are compared on the way, once with pages
/// that do not.
#[tokio::test]
async fn comparison_gives_the_same_rows_counts_and_quarantine() {
    let world = World::new(TABLES).await;
    for seed in 0..4 {
        let mut rng = Rng::with_seed(seed);
        let descending = rng.bool();
        let schemas = [format!("compared_{seed}"), format!("plain_{seed}")];
        let mut truth: BTreeMap<i64, String> = BTreeMap::new();
        for step in 0..7_i64 {
            truth.retain(|_, _| rng.u8(..20) > 0);
            for _ in 0..if step == 0 { 300 } else { rng.usize(..40) } {
                let id = rng.i64(1..500);
                truth.insert(id, thing(&mut rng, id, step));
            }
            let mut things: Vec<String> = truth.values().cloned().collect();
            if descending {
                things.reverse();
            }
            // What a page and the next may both show, what comes late, what has no order, what has no key.
            let place = rng.usize(1..things.len() - 40);
            match rng.u8(..6) {
                0 => {
                    let again = things[place..place + 3].to_vec();
                    things.splice(place + 3..place + 3, again);
                }
                1 => {
                    let late = thing(&mut rng, 250, step + 1);
                    things.insert(place, late);
                }
                2 => rng.shuffle(&mut things),
                3 => things.insert(place, r#"{"id":"x","kind":"thing"}"#.to_owned()),
                _ => {}
            }
            let mode = if rng.u8(..4) == 0 {
                Mode::Delta
            } else {
                Mode::Full
            };
            let page = rng.usize(7..60);
            let mut results = Vec::new();
            for (schema, with_ids) in schemas.iter().zip([true, false]) {
                let root = world.staging(&format!("{schema}-{step}"));
                let run = stage(&root, &things, page, with_ids, mode);
                let counts = world.load(schema, &run).await;
                results.push((counts, world.rows(schema).await));
            }
            assert_eq!(results[0].0, results[1].0, "seed {seed}, step {step}");
            assert_eq!(results[0].1, results[1].1, "seed {seed}, step {step}");
        }
        let waiting = world.quarantine(&schemas[0]).await;
        assert_eq!(waiting, world.quarantine(&schemas[1]).await, "seed {seed}");
    }
}
