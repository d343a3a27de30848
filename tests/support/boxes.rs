//! A pipeline of boxes, things and notes, and runs of it that are staged without an API. Knows no promise.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cursus::staging::{Mode, RunSpec, Staging, StagingError, State};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::OnceCell;

use super::Workdir;
use super::staged::{StagedPage, StagedRead, close, stage_read};

/// Boxes, things with parts, and notes within things.
pub(crate) const PIPELINE: &str = r#"version = 1
[api]
url = "https://api.example.org"
[prune]
min_rows = 3
max_fraction = 0.1
[[resource]]
name = "boxes"
path = "/boxes"
[[resource]]
name = "things"
path = "/things"
cursor = { field = "seen_at", lookback = "1m" }
[[resource]]
name = "notes"
path = "/notes"
[[table]]
name = "boxes"
from = "boxes"
[table.columns]
things = false
[[table]]
name = "things"
from = "things"
where = { "/kind" = "thing" }
after = ["boxes"]
[[table]]
name = "parts"
from = "things"
rows = "/parts"
after = ["things"]
owner = { thing_id = "things.id" }
[table.columns]
thing_id = "../id"
[[table]]
name = "notes"
from = "notes"
after = ["things"]
within = { thing_id = "things.id" }
[[derive]]
name = "count"
sql = "sql/count.sql"
"#;

/// A resource and a table of things and nothing else, for [`workdir_of`].
pub(crate) const THINGS_ALONE: &str = "[[resource]]\nname = \"things\"\npath = \"/things\"\n[[table]]\nname = \"things\"\nfrom = \"things\"\n";

/// The derive of the pipeline.
pub(crate) const COUNT: &str = "UPDATE boxes SET things = c.things, ingested_at = now() \
    FROM (SELECT b.id, count(t.id) AS things FROM boxes AS b LEFT JOIN things AS t ON t.box_id = b.id GROUP BY b.id) AS c \
    WHERE c.id = boxes.id AND boxes.things IS DISTINCT FROM c.things";

const MIGRATION: &str = "
CREATE TABLE boxes (id bigint PRIMARY KEY, name text, things bigint, ingested_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE things (id bigint PRIMARY KEY, box_id bigint REFERENCES boxes ON DELETE CASCADE, weight double precision,
    document jsonb, seen_at timestamptz, ingested_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE parts (id bigint, thing_id bigint, size bigint, PRIMARY KEY (thing_id, id));
CREATE TABLE notes (id bigint PRIMARY KEY, thing_id bigint, text text, ingested_at timestamptz NOT NULL DEFAULT now());";

const TABLES: [&str; 4] = ["boxes", "things", "parts", "notes"];

/// A directory with a pipeline of boxes, things and notes, its tables, and no API.
pub(crate) async fn workdir() -> Workdir {
    static PREPARED: OnceCell<String> = OnceCell::const_new();
    Workdir::prepared(&PREPARED, write).await
}

/// The same with an empty database.
pub(crate) async fn with_empty_database() -> Workdir {
    let workdir = Workdir::new().await;
    write(&workdir);
    workdir
}

fn write(workdir: &Workdir) {
    workdir.write("pipeline.toml", PIPELINE);
    workdir.write("sql/count.sql", COUNT);
    workdir.write("migrations/mirror/V1000__things.sql", MIGRATION);
}

/// A directory with tables and resources of its own, of an API that nobody asks.
pub(crate) async fn workdir_of(pipeline: &str, migration: &str) -> Workdir {
    let workdir = Workdir::new().await;
    let head = "version = 1\n[api]\nurl = \"https://api.example.org\"\n";
    workdir.write("pipeline.toml", format!("{head}{pipeline}"));
    workdir.write("migrations/mirror/V1000__tables.sql", migration);
    workdir
}

/// What a run reads of a resource.
pub(crate) type Read<'r> = (&'r str, Mode, State, Vec<String>);

/// A complete full read.
pub(crate) fn full(resource: &str, records: Vec<String>) -> Read<'_> {
    (resource, Mode::Full, State::Complete, records)
}

/// A complete delta.
pub(crate) fn delta(resource: &str, records: Vec<String>) -> Read<'_> {
    (resource, Mode::Delta, State::Complete, records)
}

/// Stages a run as an extract would; gives its id.
pub(crate) fn stage(workdir: &Workdir, reads: &[Read<'_>]) -> String {
    stage_pages(workdir, reads, 7)
}

/// As [`stage`], with `page` records a page.
pub(crate) fn stage_pages(workdir: &Workdir, reads: &[Read<'_>], page: usize) -> String {
    stage_asked(
        workdir,
        reads,
        page,
        (Timestamp::now(), 0),
        &RunSpec::default(),
    )
}

/// As [`stage`], of that API and scope.
pub(crate) fn stage_of(workdir: &Workdir, side: (&str, &str), reads: &[Read<'_>]) -> String {
    let (server, place) = side;
    let asked = RunSpec {
        server: server.to_owned(),
        scope: [("place".to_owned(), vec![place.to_owned()])].into(),
        ..RunSpec::default()
    };
    stage_asked(workdir, reads, 7, (Timestamp::now(), 0), &asked)
}

/// As [`stage`], each read received a second after the one before it.
pub(crate) fn stage_in_order(workdir: &Workdir, reads: &[Read<'_>]) -> String {
    stage_asked(
        workdir,
        reads,
        7,
        (Timestamp::now(), 1),
        &RunSpec::default(),
    )
}

/// As [`stage_in_order`], from a time on that has nothing to do with our clock.
pub(crate) fn stage_at(workdir: &Workdir, at: &str, reads: &[Read<'_>]) -> String {
    let at = at.parse().unwrap();
    stage_asked(workdir, reads, 7, (at, 1), &RunSpec::default())
}

fn stage_asked(
    workdir: &Workdir,
    reads: &[Read<'_>],
    page: usize,
    (now, seconds): (Timestamp, i64),
    asked: &RunSpec,
) -> String {
    let staging = Staging::new(workdir.path("staging"));
    let until = Instant::now() + Duration::from_secs(10);
    let lock = loop {
        match staging.lock("test") {
            // A process that another test is just starting has it until it has begun.
            Err(StagingError::Locked { .. }) if Instant::now() < until => std::thread::yield_now(),
            lock => break lock.unwrap(),
        }
    };
    let mut run = (staging.create_run(&lock, now, 0, asked)).unwrap();
    for (place, (resource, mode, state, records)) in reads.iter().enumerate() {
        let apart = SignedDuration::from_secs(seconds * i64::try_from(place).unwrap());
        let read = StagedRead {
            // A delta may be that of a named read as well: it is loaded in the same way.
            name: (*mode == Mode::Delta && records.len() % 3 == 2).then_some("part"),
            state: *state,
            received_at: now + apart,
            ..StagedRead::complete(resource, *mode, page)
        };
        let id = |record: Option<&String>| {
            let record: serde_json::Value = serde_json::from_str(record?).ok()?;
            record["id"].as_i64()
        };
        // A list without records is a page without records.
        let none = records.is_empty().then_some(&records[..]);
        let pages = (records.chunks(page).chain(none)).map(|records| StagedPage {
            ids: (id(records.first()), id(records.last())),
            records: records.to_vec(),
        });
        stage_read(&lock, &run, &read, pages).unwrap();
    }
    close(&mut run).unwrap();
    run.id().to_string()
}

pub(crate) fn boxes(ids: std::ops::RangeInclusive<i64>) -> Vec<String> {
    ids.map(|id| json!({"id": id, "name": format!("box {id}")}).to_string())
        .collect()
}

/// A thing in the first box, with one part.
pub(crate) fn thing(id: i64, weight: f64) -> String {
    json!({"id": id, "kind": "thing", "box_id": 1, "weight": weight, "document": {"a": id}, "colour": format!("c{id}"),
        "seen_at": "2026-01-01T00:00:00Z", "parts": [{"id": 1, "size": id}]})
    .to_string()
}

pub(crate) fn things(ids: std::ops::RangeInclusive<i64>) -> Vec<String> {
    ids.map(|id| thing(id, 1.5)).collect()
}

/// Every row of a schema, its quarantine and its held deletes.
pub(crate) async fn content(
    workdir: &Workdir,
    schema: &str,
) -> BTreeMap<&'static str, Vec<String>> {
    let mut content = BTreeMap::new();
    for table in TABLES {
        let rows = format!(
            "SELECT to_jsonb(t) - 'ingested_at' AS r FROM {schema}.{table} AS t ORDER BY r"
        );
        content.insert(table, workdir.column(&rows).await);
    }
    for (ledger, columns) in [
        (
            "quarantine",
            "run_id, table_name, file, record_index, element_index, key, code",
        ),
        (
            "prune_candidate",
            "run_id, table_name, key, reason, approved_at IS NOT NULL",
        ),
    ] {
        let rows = format!(
            "SELECT concat_ws(' ', {columns}) FROM pipeline.{ledger} WHERE schema_name = '{schema}' ORDER BY 1"
        );
        content.insert(ledger, workdir.column(&rows).await);
    }
    content
}

/// The load ledger: run, resource and table of each load.
pub(crate) async fn loads(workdir: &Workdir, schema: &str) -> Vec<String> {
    let loads = format!(
        "SELECT concat_ws(' ', run_id, seq, resource, table_name, manifest_hash) FROM pipeline.load \
         WHERE schema_name = '{schema}' ORDER BY seq, resource, table_name"
    );
    workdir.column(&loads).await
}

/// Three runs: a full read of everything, and two deltas of things.
pub(crate) fn three_runs(workdir: &Workdir) -> [String; 3] {
    [
        stage(
            workdir,
            &[
                full("boxes", boxes(1..=3)),
                full("things", things(1..=10)),
                full("notes", Vec::new()),
            ],
        ),
        stage(
            workdir,
            &[delta("things", vec![thing(1, 2.0), thing(11, 1.0)])],
        ),
        stage(
            workdir,
            &[delta("things", vec![thing(1, 3.0), thing(12, 1.0)])],
        ),
    ]
}

/// The directory of a run.
pub(crate) fn directory(workdir: &Workdir, run: &str) -> std::path::PathBuf {
    let day = format!("{}-{}-{}", &run[..4], &run[4..6], &run[6..8]);
    workdir.path("staging").join(day).join(&run[8..])
}
