//! The staged runs once more: into a schema of their own, or to rebuild the mirror, and the same rows by every way.

use std::collections::BTreeMap;

use cursus::name::Name;
use cursus::staging::{
    Evidence, Manifest, Mode, Outcome, PageEntry, RunState, Selection, Staging, State,
};
use fastrand::Rng;
use jiff::Timestamp;
use serde_json::json;

use crate::support::Workdir;

const PIPELINE: &str = r#"version = 1
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

const COUNT: &str = "UPDATE boxes SET things = c.things, ingested_at = now() \
    FROM (SELECT b.id, count(t.id) AS things FROM boxes AS b LEFT JOIN things AS t ON t.box_id = b.id GROUP BY b.id) AS c \
    WHERE c.id = boxes.id AND boxes.things IS DISTINCT FROM c.things";

const MIGRATION: &str = "
CREATE TABLE boxes (id bigint PRIMARY KEY, name text, things bigint, ingested_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE things (id bigint PRIMARY KEY, box_id bigint REFERENCES boxes ON DELETE CASCADE, weight double precision,
    document jsonb, seen_at timestamptz, ingested_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE parts (id bigint, thing_id bigint, size bigint, PRIMARY KEY (thing_id, id));
CREATE TABLE notes (id bigint PRIMARY KEY, thing_id bigint, text text, ingested_at timestamptz NOT NULL DEFAULT now());";

const TABLES: [&str; 4] = ["boxes", "things", "parts", "notes"];

/// A directory with a pipeline of boxes, things and notes, and no API.
async fn workdir() -> Workdir {
    let workdir = Workdir::new().await;
    workdir.write("pipeline.toml", PIPELINE);
    workdir.write("sql/count.sql", COUNT);
    workdir.write("migrations/mirror/V1000__things.sql", MIGRATION);
    workdir
}

/// What a run reads of a resource.
type Read<'r> = (&'r str, Mode, State, Vec<String>);

/// A complete full read.
fn full(resource: &str, records: Vec<String>) -> Read<'_> {
    (resource, Mode::Full, State::Complete, records)
}

/// A complete delta.
fn delta(resource: &str, records: Vec<String>) -> Read<'_> {
    (resource, Mode::Delta, State::Complete, records)
}

/// Stages a run as an extract would; gives its id.
fn stage(workdir: &Workdir, reads: &[Read<'_>]) -> String {
    let staging = Staging::new(workdir.path("staging"));
    let lock = staging.lock("test").unwrap();
    let now = Timestamp::now();
    let mut run = (staging.create_run(&lock, now, 0, Selection::default())).unwrap();
    for (resource, mode, state, records) in reads {
        let name = Name::parse(resource).unwrap();
        let (writer, _) = run.writer(&name).unwrap();
        for (index, records) in records.chunks(7).enumerate() {
            let entry = PageEntry {
                page: u32::try_from(index + 1).unwrap(),
                slice: None,
                request: String::new(),
                status: 200,
                rows: records.len() as u64,
                bytes: 0,
                sha256: String::new(),
                x_total: None,
                first_id: None,
                last_id: None,
                fetched_at: now,
                server_date: None,
                duration_ms: 1,
                per_page: None,
                attempts: 1,
                replaces: None,
            };
            let body = format!("[{}]", records.join(","));
            writer.write(body.as_bytes(), entry).unwrap();
        }
        run.seal(&Manifest {
            format: 1,
            resource: name,
            mode: *mode,
            state: *state,
            pages: 1,
            rows: records.len() as u64,
            bytes: 0,
            hits: 1,
            x_total: None,
            window: None,
            cursor: None,
            request_hash: String::new(),
            journal_sha256: writer.journal_sha256().unwrap(),
            evidence: Evidence::default(),
            started_at: now,
            finished_at: now,
        })
        .unwrap();
    }
    run.update(|record| {
        record.state = RunState::Closed;
        record.outcome = Some(Outcome::Complete);
    })
    .unwrap();
    run.id().to_string()
}

fn boxes(ids: std::ops::RangeInclusive<i64>) -> Vec<String> {
    ids.map(|id| json!({"id": id, "name": format!("box {id}")}).to_string())
        .collect()
}

/// A thing in the first box, with one part.
fn thing(id: i64, weight: f64) -> String {
    json!({"id": id, "kind": "thing", "box_id": 1, "weight": weight, "document": {"a": id}, "colour": format!("c{id}"),
        "seen_at": "2026-01-01T00:00:00Z", "parts": [{"id": 1, "size": id}]})
    .to_string()
}

fn things(ids: std::ops::RangeInclusive<i64>) -> Vec<String> {
    ids.map(|id| thing(id, 1.5)).collect()
}

/// Every row of a schema, and what waits there.
async fn content(workdir: &Workdir, schema: &str) -> BTreeMap<&'static str, Vec<String>> {
    let mut content = BTreeMap::new();
    for table in TABLES {
        let rows = format!(
            "SELECT to_jsonb(t) - 'ingested_at' AS r FROM {schema}.{table} AS t ORDER BY r"
        );
        content.insert(table, workdir.column(&rows).await);
    }
    for (books, columns) in [
        (
            "quarantine",
            "run_id, table_name, file, record_index, element_index, key, code",
        ),
        ("prune_candidate", "run_id, table_name, key, reason"),
    ] {
        let rows = format!(
            "SELECT concat_ws(' ', {columns}) FROM pipeline.{books} WHERE schema_name = '{schema}' ORDER BY 1"
        );
        content.insert(books, workdir.column(&rows).await);
    }
    content
}

/// What the books say: run, resource and table of each load.
async fn loads(workdir: &Workdir, schema: &str) -> Vec<String> {
    let loads = format!(
        "SELECT concat_ws(' ', run_id, seq, resource, table_name, manifest_hash) FROM pipeline.load \
         WHERE schema_name = '{schema}' ORDER BY seq, resource, table_name"
    );
    workdir.column(&loads).await
}

/// Three runs: a full read of everything, and two deltas of things.
fn three_runs(workdir: &Workdir) -> [String; 3] {
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

#[tokio::test]
async fn a_replay_makes_a_schema_of_a_past_day_and_goes_on_from_there() {
    let workdir = workdir().await;
    let runs = three_runs(&workdir);
    let weight = "SELECT weight FROM past.things WHERE id = 1";
    // No mirror is needed, and none is made.
    let report = workdir
        .json(["replay", "--to", &runs[1], "--into", "past"])
        .await;
    assert_eq!(report["runs"], json!(runs[..2]));
    assert_eq!(workdir.column(weight).await, ["2"]);
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
            .await,
        0
    );
    let report = workdir.json(["replay", "--into", "past"]).await;
    assert_eq!(report["runs"], json!(runs[2..]));
    assert_eq!(workdir.column(weight).await, ["3"]);
    let ran = workdir.cursus(["replay", "--into", "past"]).await.exits(0);
    assert!(
        ran.stdout
            .contains("nothing to replay: past has every staged run"),
        "{ran}"
    );
    // Dropped by hand, it is made anew: the books do not count for more than the rows.
    workdir
        .query("DROP SCHEMA past CASCADE; CREATE SCHEMA past")
        .await;
    let report = workdir.json(["replay", "--into", "past"]).await;
    assert_eq!(report["runs"], json!(runs));
    workdir.json(["load"]).await;
    assert_eq!(
        content(&workdir, "past").await,
        content(&workdir, "public").await
    );
    // Part of it, with what it refers to.
    let report = workdir
        .json([
            "replay", "--from", &runs[1], "--into", "part", "--select", "boxes",
        ])
        .await;
    assert_eq!(report["runs"], json!([]));
    workdir
        .json(["replay", "--into", "chosen", "--select", "things"])
        .await;
    assert_eq!(
        workdir.number("SELECT count(*) FROM chosen.things").await,
        12
    );
    assert_eq!(workdir.number("SELECT count(*) FROM chosen.boxes").await, 3);
}

#[tokio::test]
async fn a_replay_touches_no_schema_but_its_own() {
    let workdir = workdir().await;
    let runs = three_runs(&workdir);
    workdir.json(["load"]).await;
    workdir
        .query("CREATE SCHEMA mine CREATE TABLE precious (id int)")
        .await;
    workdir.json(["load", "--into", "other"]).await;
    let books = workdir
        .column("SELECT id FROM pipeline.load ORDER BY 1")
        .await;
    for (schema, why) in [
        ("public", "is the schema of the mirror"),
        ("mine", "is not empty, and no replay has made it"),
        ("other", "is not empty, and no replay has made it"),
    ] {
        workdir
            .cursus(["replay", "--into", schema])
            .await
            .exits(4)
            .says(why);
    }
    workdir
        .cursus(["replay", "--into", "pipeline"])
        .await
        .exits(1)
        .says("holds the books");
    workdir
        .cursus(["replay", "--into", "no such"])
        .await
        .exits(2)
        .says("no such");
    workdir.cursus(["replay"]).await.exits(2);
    workdir
        .cursus(["replay", "--rebuild", "--into", "past"])
        .await
        .exits(2);
    workdir
        .cursus([
            "replay", "--from", &runs[1], "--to", &runs[0], "--into", "past",
        ])
        .await
        .exits(2)
        .says("no finished run");
    assert_eq!(
        workdir
            .column("SELECT id FROM pipeline.load ORDER BY 1")
            .await,
        books
    );
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'past'";
    assert_eq!(workdir.number(made).await, 0);

    // What a replay has made is not mixed with another one, nor taken for an earlier day.
    workdir.json(["replay", "--into", "past"]).await;
    workdir
        .cursus(["replay", "--from", &runs[1], "--into", "past"])
        .await
        .exits(4)
        .says("differs in --from");
    workdir
        .cursus(["replay", "--select", "boxes", "--into", "past"])
        .await
        .exits(4)
        .says("--select");
    workdir
        .cursus(["replay", "--to", &runs[0], "--into", "past"])
        .await
        .exits(4)
        .says(&runs[2]);
    workdir.write(
        "pipeline.toml",
        PIPELINE.replace("\"/kind\" = \"thing\"", "\"/kind\" = \"other\""),
    );
    workdir
        .cursus(["replay", "--into", "past"])
        .await
        .exits(4)
        .says("pipeline.toml");
    workdir.write("pipeline.toml", PIPELINE);
    workdir.write(
        "migrations/mirror/V1001__colour.sql",
        "ALTER TABLE things ADD COLUMN colour text",
    );
    workdir
        .cursus(["replay", "--into", "past"])
        .await
        .exits(4)
        .says("migration");
    assert_eq!(workdir.number("SELECT count(*) FROM past.things").await, 12);
}

#[tokio::test]
async fn nothing_older_than_what_is_loaded_of_a_resource_is_loaded() {
    let workdir = workdir().await;
    let first = stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=5))],
    );
    workdir.json(["load", "--select", "boxes"]).await;
    // The full reads make up for the things that were never loaded.
    let second = stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=6))],
    );
    workdir.json(["load", "--select", "things"]).await;
    let before = content(&workdir, "public").await;
    let newest = |refused: &serde_json::Value| {
        let errors = refused["errors"].to_string();
        assert!(
            errors.contains(&format!("last one loaded for things ({second})")),
            "{errors}"
        );
        assert!(
            errors.contains(&format!("cursus replay --to {first} --into NAME")),
            "{errors}"
        );
    };
    newest(&workdir.json_exits(4, ["load", &first]).await);
    newest(
        &workdir
            .json_exits(4, ["load", &first, "--select", "things"])
            .await,
    );
    newest(&workdir.json_exits(4, ["load", &first, "--again"]).await);
    assert_eq!(content(&workdir, "public").await, before);
    // What was loaded of it is only named.
    workdir
        .cursus(["load", &first, "--select", "boxes"])
        .await
        .exits(0)
        .says(&format!("the run {first} is loaded already"));
    workdir
        .cursus(["replay", "--to", &first, "--into", "past"])
        .await
        .exits(0);
    assert_eq!(workdir.number("SELECT count(*) FROM past.things").await, 5);
}

#[tokio::test]
async fn the_newest_run_of_a_resource_repairs_it_once_more() {
    let workdir = workdir().await;
    let first = stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=5))],
    );
    let second = stage(&workdir, &[delta("things", vec![thing(1, 2.0)])]);
    workdir.json(["load"]).await;
    let before = content(&workdir, "public").await;
    // Things came later, boxes did not.
    workdir
        .query("UPDATE boxes SET name = 'broken'; UPDATE things SET weight = 9 WHERE id = 1")
        .await;
    workdir
        .cursus(["load", &first, "--again"])
        .await
        .exits(4)
        .says(&second);
    let report = workdir
        .json(["load", &first, "--again", "--select", "boxes"])
        .await;
    assert_eq!(report["runs"], json!([first]));
    let report = workdir.json(["load", "--again"]).await;
    assert_eq!(report["runs"], json!([second]));
    assert_eq!(content(&workdir, "public").await, before);
    let loads = loads(&workdir, "public").await;
    assert_eq!(loads.len(), 5, "{loads:?}");
    // A run that is not staged any more cannot.
    let day = format!("{}-{}-{}", &second[..4], &second[4..6], &second[6..8]);
    std::fs::remove_dir_all(workdir.path("staging").join(day).join(&second[8..])).unwrap();
    workdir
        .cursus(["load", "--again"])
        .await
        .exits(2)
        .says("is not staged any more");
}

#[tokio::test]
async fn a_rebuild_mends_the_mirror_and_leaves_alone_what_is_right() {
    let workdir = workdir().await;
    let runs = three_runs(&workdir);
    workdir.json(["load"]).await;
    workdir
        .query("CREATE VIEW heavy AS SELECT * FROM things WHERE weight > 2; GRANT SELECT ON things TO PUBLIC")
        .await;
    let (rows, books) = (
        content(&workdir, "public").await,
        loads(&workdir, "public").await,
    );
    let places = "SELECT ctid, xmin, ingested_at FROM things WHERE id NOT IN (2, 3) ORDER BY id";
    let grants = "SELECT relacl FROM pg_class WHERE oid = 'public.things'::regclass";
    let (right, granted) = (workdir.query(places).await, workdir.column(grants).await);
    workdir
        .query(
            "UPDATE things SET weight = 9 WHERE id = 2; DELETE FROM things WHERE id = 3; DELETE FROM parts WHERE thing_id = 5; \
             INSERT INTO boxes (id) VALUES (77); UPDATE boxes SET things = 5 WHERE id = 1",
        )
        .await;
    let report = workdir.json(["replay", "--rebuild"]).await;
    assert_eq!(report["runs"], json!(runs));
    let changes: Vec<String> = (report["tables"].as_array().unwrap().iter())
        .map(|t| {
            format!(
                "{} {} {} {}",
                t["name"], t["inserted"], t["updated"], t["deleted"]
            )
        })
        .collect();
    let told = [
        "\"boxes\" 0 0 1",
        "\"things\" 1 1 0",
        "\"parts\" 1 0 0",
        "\"notes\" 0 0 0",
    ];
    assert_eq!(changes, told);
    assert_eq!(content(&workdir, "public").await, rows);
    assert_eq!(loads(&workdir, "public").await, books);
    assert_eq!(
        workdir.query(places).await,
        right,
        "a row that was right was written"
    );
    assert_eq!(workdir.column(grants).await, granted);
    assert_eq!(workdir.column("SELECT id FROM heavy").await, ["1"]);
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname ~ 'rebuild') \
                + (SELECT count(*) FROM pipeline.load WHERE schema_name ~ 'rebuild')";
    assert_eq!(workdir.number(left).await, 0);
    let report = workdir.json(["load"]).await;
    assert_eq!(report["runs"], json!([]));
}

#[tokio::test]
async fn a_rebuild_deletes_no_more_than_the_guard_lets_go() {
    let workdir = workdir().await;
    three_runs(&workdir);
    workdir.json(["load"]).await;
    workdir
        .query("INSERT INTO things (id) SELECT generate_series(100, 110); UPDATE things SET weight = 9 WHERE id = 2")
        .await;
    let before = content(&workdir, "public").await;
    let books = loads(&workdir, "public").await;
    workdir
        .cursus(["replay", "--rebuild"])
        .await
        .exits(4)
        .says("11 of 23 rows of things are not in what the staged runs give")
        .says("--allow-prune");
    assert_eq!(content(&workdir, "public").await, before);
    assert_eq!(loads(&workdir, "public").await, books);
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM public_rebuild.things")
            .await,
        12
    );
    // What the refused one has left is replaced, and goes.
    workdir.json(["replay", "--rebuild", "--allow-prune"]).await;
    assert_eq!(workdir.number("SELECT count(*) FROM things").await, 12);
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM pg_namespace WHERE nspname ~ 'rebuild'")
            .await,
        0
    );
    // A schema of that name that is somebody's is not touched.
    workdir
        .query("CREATE SCHEMA public_rebuild CREATE TABLE precious (id int)")
        .await;
    workdir
        .cursus(["replay", "--rebuild"])
        .await
        .exits(4)
        .says("no replay has made it");
}

#[tokio::test]
async fn a_rebuild_goes_back_only_on_purpose_and_never_without_a_full_read() {
    let workdir = workdir().await;
    let runs = three_runs(&workdir);
    workdir.json(["load"]).await;
    let newest = content(&workdir, "public").await;
    let books = loads(&workdir, "public").await;
    // Without the full read of the things nobody knows which are gone.
    workdir
        .cursus(["replay", "--rebuild", "--from", &runs[1]])
        .await
        .exits(4)
        .says("no complete full read of boxes, things, notes");
    // With the last run gone from staging the mirror would go back unasked.
    let day = format!("{}-{}-{}", &runs[2][..4], &runs[2][4..6], &runs[2][6..8]);
    let last = workdir.path("staging").join(day).join(&runs[2][8..]);
    let away = workdir.path("away");
    std::fs::rename(&last, &away).unwrap();
    workdir
        .cursus(["replay", "--rebuild"])
        .await
        .exits(4)
        .says(&format!("things is loaded up to the run {}", runs[2]));
    assert_eq!(loads(&workdir, "public").await, books);
    std::fs::rename(&away, &last).unwrap();

    // A run that cannot be read stops it: the mirror is more than what is left.
    let page = last.join("things/page-00001.json.gz");
    let bytes = std::fs::read(&page).unwrap();
    std::fs::write(&page, &bytes[..bytes.len() / 2]).unwrap();
    workdir
        .cursus(["replay", "--rebuild"])
        .await
        .exits(1)
        .says("the mirror was not rebuilt");
    assert_eq!(content(&workdir, "public").await, newest);
    std::fs::write(&page, &bytes).unwrap();

    workdir
        .json(["replay", "--rebuild", "--to", &runs[1]])
        .await;
    assert_eq!(
        workdir
            .column("SELECT weight FROM things WHERE id = 1")
            .await,
        ["2"]
    );
    assert_eq!(workdir.number("SELECT count(*) FROM things").await, 11);
    // The books are that far too: the rest loads again.
    let report = workdir.json(["load"]).await;
    assert_eq!(report["runs"], json!(runs[2..]));
    assert_eq!(content(&workdir, "public").await, newest);
    assert_eq!(loads(&workdir, "public").await, books);
}

#[tokio::test]
async fn a_new_column_is_filled_from_staging_without_a_hit() {
    let workdir = workdir().await;
    three_runs(&workdir);
    workdir.json(["load"]).await;
    workdir.write(
        "migrations/mirror/V1001__colour.sql",
        "ALTER TABLE things ADD COLUMN colour text",
    );
    // There is no API behind this directory. A plain load fills nothing that it has loaded before.
    workdir.json(["load"]).await;
    assert_eq!(workdir.number("SELECT count(colour) FROM things").await, 0);
    let report = workdir.json(["replay", "--rebuild"]).await;
    assert_eq!(report["tables"][1]["updated"], 12, "{report:#}");
    let colours = "SELECT count(*) FROM things WHERE colour = 'c' || id";
    assert_eq!(workdir.number(colours).await, 12);
}

/// What the API would show.
#[derive(Default)]
struct World {
    boxes: BTreeMap<i64, String>,
    things: BTreeMap<i64, String>,
    notes: BTreeMap<i64, String>,
}

impl World {
    /// Inserts, changes, deletes, people who leave the scope, and things whose box comes late. Gives the ids of changed things.
    fn change(&mut self, rng: &mut Rng, step: i64) -> Vec<i64> {
        let share = [2, 20][usize::from(rng.bool())];
        self.things.retain(|_, _| rng.i64(..share) > 0);
        self.boxes.retain(|_, _| rng.u8(..9) > 0);
        for _ in 0..if step == 0 { 20 } else { rng.usize(..3) } {
            let id = rng.i64(1..9);
            self.boxes.insert(
                id,
                json!({"id": id, "name": format!("box {step}")}).to_string(),
            );
        }
        let mut changed = Vec::new();
        for _ in 0..if step == 0 { 60 } else { rng.usize(..15) } {
            let id = rng.i64(1..40);
            let kind = ["thing", "thing", "thing", "thing", "other"][rng.usize(..5)];
            let weight = [json!(1.5), json!(rng.i64(..4)), json!("heavy"), json!(null)];
            let parts: Vec<_> = (0..rng.i64(..4))
                .map(|part| json!({"id": part, "size": rng.i64(..5)}))
                .collect();
            let thing = json!({"id": id, "kind": kind, "box_id": rng.i64(1..9), "weight": weight[rng.usize(..4)],
                "document": {"step": step}, "seen_at": format!("2026-01-01T00:{step:02}:00Z"), "parts": parts});
            self.things.insert(id, thing.to_string());
            changed.push(id);
        }
        for _ in 0..rng.usize(..6) {
            let id = rng.i64(1..30);
            let note = json!({"id": id, "thing_id": rng.i64(1..40), "text": format!("{step}")});
            self.notes.insert(id, note.to_string());
        }
        changed
    }

    /// What a run reads of it.
    fn reads(&self, rng: &mut Rng, step: i64, changed: &[i64]) -> Vec<Read<'static>> {
        let mut reads = Vec::new();
        let state = |rng: &mut Rng| {
            [
                State::Complete,
                State::Complete,
                State::Drifted,
                State::Partial,
            ][rng.usize(..4)]
        };
        let all =
            |rows: &BTreeMap<i64, String>| -> Vec<String> { rows.values().cloned().collect() };
        if step == 0 || rng.u8(..3) > 0 {
            reads.push(("boxes", Mode::Full, state(rng), all(&self.boxes)));
        }
        if step == 0 || rng.u8(..3) == 0 {
            reads.push(("things", Mode::Full, state(rng), all(&self.things)));
        } else {
            let shown = changed.iter().filter_map(|id| self.things.get(id).cloned());
            reads.push(("things", Mode::Delta, state(rng), shown.collect()));
        }
        if rng.bool() {
            reads.push(("notes", Mode::Full, state(rng), all(&self.notes)));
        }
        reads
    }
}

/// Of histories as small as these every run is loaded when it comes; then all of them once more.
#[tokio::test]
async fn a_replay_of_all_runs_gives_the_mirror_row_by_row() {
    let (mut refused, mut waited, mut rebuilds) = (0, 0, 0);
    for seed in 0..4 {
        let workdir = workdir().await;
        let mut rng = Rng::with_seed(seed);
        let mut world = World::default();
        for step in 0..8 {
            let changed = world.change(&mut rng, step);
            stage(&workdir, &world.reads(&mut rng, step, &changed));
            let loaded = workdir.cursus(["load", "-q"]).await;
            assert!(
                matches!(loaded.code, Some(0 | 3 | 4)),
                "seed {seed}, step {step}: {loaded}"
            );
            refused += usize::from(loaded.code == Some(4));
            waited += usize::from(loaded.code == Some(3));
        }
        let live = content(&workdir, "public").await;
        let replayed = workdir.cursus(["replay", "--into", "past", "-q"]).await;
        assert!(
            matches!(replayed.code, Some(0 | 3 | 4)),
            "seed {seed}: {replayed}"
        );
        assert_eq!(content(&workdir, "past").await, live, "seed {seed}");
        assert_eq!(
            loads(&workdir, "past").await,
            loads(&workdir, "public").await,
            "seed {seed}"
        );
        // The exit code is that of the end, not of the way.
        let is_empty = |books: &str| live[books].is_empty();
        let code = match (is_empty("prune_candidate"), is_empty("quarantine")) {
            (false, _) => 4,
            (true, false) => 3,
            (true, true) => 0,
        };
        let replayed = replayed.exits(code);
        assert!(
            replayed.stdout.contains("replayed into past from 8 runs"),
            "{replayed}"
        );

        // A mirror that somebody damaged is rebuilt, if everything was read in full once.
        workdir
            .query("UPDATE things SET weight = -1; DELETE FROM parts WHERE size > 2")
            .await;
        workdir
            .query("DELETE FROM notes WHERE id % 2 = 0; INSERT INTO boxes (id) VALUES (99)")
            .await;
        let rebuilt = workdir.cursus(["replay", "--rebuild", "-q"]).await;
        if rebuilt.stderr.contains("no complete full read") {
            rebuilt.exits(4);
            continue;
        }
        rebuilt.exits(code);
        rebuilds += 1;
        assert_eq!(content(&workdir, "public").await, live, "seed {seed}");
    }
    assert!(
        refused > 3 && waited > 3 && rebuilds > 1,
        "{refused} {waited} {rebuilds}: the histories are too tame"
    );
}
