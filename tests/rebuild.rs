//! The mirror brought to what the staged runs give, in place.

use serde_json::json;

use crate::support::boxes::{
    PIPELINE, boxes, content, delta, directory, full, loads, stage, thing, things, three_runs,
    workdir,
};

#[tokio::test]
async fn rebuild_corrects_wrong_rows_alone() {
    let workdir = workdir().await;
    let runs = three_runs(&workdir);
    workdir.json(["load"]).await;
    workdir
        .query("CREATE VIEW heavy AS SELECT * FROM things WHERE weight > 2; GRANT SELECT ON things TO PUBLIC")
        .await;
    let (rows, ledger) = (
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
    let answer = [
        "\"boxes\" 0 0 1",
        "\"things\" 1 1 0",
        "\"parts\" 1 0 0",
        "\"notes\" 0 0 0",
    ];
    assert_eq!(changes, answer);
    assert_eq!(content(&workdir, "public").await, rows);
    assert_eq!(loads(&workdir, "public").await, ledger);
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
async fn rebuild_keeps_the_prune_limit() {
    let workdir = workdir().await;
    three_runs(&workdir);
    workdir.json(["load"]).await;
    workdir
        .query("INSERT INTO things (id) SELECT generate_series(100, 110); UPDATE things SET weight = 9 WHERE id = 2")
        .await;
    let before = content(&workdir, "public").await;
    let ledger = loads(&workdir, "public").await;
    workdir
        .cursus(["replay", "--rebuild"])
        .await
        .exits(4)
        .says("11 of 23 rows of things are not in what the staged runs give")
        .says("--allow-prune");
    assert_eq!(content(&workdir, "public").await, before);
    assert_eq!(loads(&workdir, "public").await, ledger);
    assert_eq!(workdir.count("public_rebuild.things").await, 12);
    // What the refused one has left is replaced, and goes.
    workdir.json(["replay", "--rebuild", "--allow-prune"]).await;
    assert_eq!(workdir.count("things").await, 12);
    assert_eq!(
        workdir
            .count("pg_namespace WHERE nspname ~ 'rebuild'")
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
        .says("cursus has not made it, but needs its name");
}

#[tokio::test]
async fn rebuild_goes_back_on_request_and_from_a_full_read() {
    let workdir = workdir().await;
    let runs = three_runs(&workdir);
    workdir.json(["load"]).await;
    let newest = content(&workdir, "public").await;
    let ledger = loads(&workdir, "public").await;
    // Without the full read of the things it is not known which are missing.
    workdir
        .cursus(["replay", "--rebuild", "--from", &runs[1]])
        .await
        .exits(4)
        .says("no complete full read of boxes, things, notes");
    // Without the last run in staging the mirror would return to the state before it without approval.
    let last = directory(&workdir, &runs[2]);
    let away = workdir.path("away");
    std::fs::rename(&last, &away).unwrap();
    workdir
        .cursus(["replay", "--rebuild"])
        .await
        .exits(4)
        .says(&format!("things is loaded up to the run {}", runs[2]));
    assert_eq!(loads(&workdir, "public").await, ledger);
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
    assert_eq!(workdir.count("things").await, 11);
    // The load ledger is that far too: the rest loads again.
    let report = workdir.json(["load"]).await;
    assert_eq!(report["runs"], json!(runs[2..]));
    assert_eq!(content(&workdir, "public").await, newest);
    assert_eq!(loads(&workdir, "public").await, ledger);
}

#[tokio::test]
async fn new_column_is_filled_from_staging_without_a_request() {
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

#[tokio::test]
async fn a_new_column_is_filled_where_older_runs_lack_its_key() {
    let workdir = workdir().await;
    let old: Vec<String> = (things(1..=30).iter())
        .map(|thing| thing.replace("colour", "color"))
        .collect();
    stage(
        &workdir,
        &[
            full("boxes", boxes(1..=3)),
            full("things", old),
            full("notes", Vec::new()),
        ],
    );
    stage(&workdir, &[delta("things", things(1..=25))]);
    workdir.json(["load"]).await;
    workdir.write(
        "migrations/mirror/V1001__colour.sql",
        "ALTER TABLE things ADD COLUMN colour text",
    );
    for (replay, schema) in [
        (["replay", "--rebuild"].as_slice(), "public"),
        (&["replay", "--into", "past"], "past"),
    ] {
        workdir.cursus(replay).await.exits(0);
        let colours = format!("SELECT count(colour) FROM {schema}.things");
        assert_eq!(workdir.number(&colours).await, 25, "{schema}");
    }
}

#[tokio::test]
async fn rebuild_keeps_and_names_rows_that_others_refer_to() {
    let workdir = workdir().await;
    three_runs(&workdir);
    workdir.json(["load"]).await;
    // A table of somebody else, and rows of the mirror that hold each other in a row.
    workdir
        .query(
            "CREATE TABLE remarks (id serial, box_id bigint REFERENCES boxes ON DELETE CASCADE); \
             ALTER TABLE boxes ADD COLUMN inside bigint REFERENCES boxes ON DELETE CASCADE; \
             INSERT INTO boxes (id) VALUES (70), (71), (90); \
             INSERT INTO boxes (id, inside) VALUES (72, 70), (91, 90); UPDATE boxes SET inside = 1 WHERE id = 2; \
             INSERT INTO things (id, box_id) VALUES (700, 71); \
             INSERT INTO remarks (box_id) SELECT 72 FROM generate_series(1, 5000)",
        )
        .await;
    let pipeline = PIPELINE.replace("things = false", "things = false\ninside = false");
    workdir.write("pipeline.toml", &pipeline);
    workdir.write(
        "migrations/mirror/V1001__inside.sql",
        "ALTER TABLE boxes ADD COLUMN IF NOT EXISTS inside bigint REFERENCES boxes ON DELETE CASCADE",
    );
    workdir
        .cursus(["replay", "--rebuild"])
        .await
        .exits(4)
        .says("boxes: 2 rows missing from the staged runs kept, because other rows refer to them")
        .says(r#"{"id": 70}, {"id": 72};"#);
    let boxes = workdir.column("SELECT id FROM boxes ORDER BY id").await;
    assert_eq!(boxes, ["1", "2", "3", "70", "72"]);
    assert_eq!(workdir.number("SELECT count(*) FROM remarks").await, 5_000);
    assert_eq!(workdir.count("things").await, 12);
    // Without what held them they go.
    workdir.query("DELETE FROM remarks").await;
    workdir.json(["replay", "--rebuild"]).await;
    assert_eq!(workdir.count("boxes").await, 3);
}

#[tokio::test]
async fn rebuild_of_some_resources_includes_their_dependents() {
    let workdir = workdir().await;
    let others = [thing(11, 1.0).replace(r#""kind":"thing""#, r#""kind":"other""#)];
    let notes = (1..=11).map(|id| json!({"id": id, "thing_id": id, "text": "t"}).to_string());
    let reads = [
        full("boxes", boxes(1..=3)),
        full("things", [things(1..=10), others.to_vec()].concat()),
        full("notes", notes.collect()),
    ];
    stage(&workdir, &reads);
    workdir.json(["load"]).await;
    let notes = "SELECT count(*) FROM notes";
    assert_eq!(workdir.number(notes).await, 10);
    // The notes follow the things into scope, and out of it.
    for (kinds, count) in [(r#"["thing", "other"]"#, 11), (r#"["other"]"#, 1)] {
        let where_kind = format!(r#"where = {{ "/kind" = {kinds} }}"#);
        let pipeline = PIPELINE.replace(r#"where = { "/kind" = "thing" }"#, &where_kind);
        workdir.write("pipeline.toml", &pipeline);
        let rebuild = ["replay", "--rebuild", "--select", "things", "--allow-prune"];
        workdir.json(rebuild).await;
        assert_eq!(workdir.number("SELECT count(*) FROM things").await, count);
        assert_eq!(workdir.number(notes).await, count);
    }
}

#[tokio::test]
async fn rebuild_empties_no_table_without_approval() {
    let workdir = workdir().await;
    three_runs(&workdir);
    workdir.json(["load"]).await;
    workdir
        .query("INSERT INTO notes (id, thing_id) VALUES (1, 1), (2, 2)")
        .await;
    workdir
        .cursus(["replay", "--rebuild"])
        .await
        .exits(4)
        .says("2 of 2 rows of notes are not in what the staged runs give");
    assert_eq!(workdir.count("notes").await, 2);
    workdir.json(["replay", "--rebuild", "--allow-prune"]).await;
    assert_eq!(workdir.count("notes").await, 0);
}
