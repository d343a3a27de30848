//! The staged runs once more, into a schema of their own; and nothing older over what is newer.

use serde_json::json;

use crate::support::boxes::{
    PIPELINE, boxes, content, delta, directory, full, loads, stage, thing, things, three_runs,
    with_empty_database, workdir,
};

#[tokio::test]
async fn replay_makes_a_schema_of_a_past_day_and_resumes() {
    let workdir = with_empty_database().await;
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
            .count("pg_class WHERE relnamespace = 'public'::regnamespace")
            .await,
        0
    );
    let report = workdir.json(["replay", "--into", "past"]).await;
    assert_eq!(report["runs"], json!(runs[2..]));
    assert_eq!(workdir.column(weight).await, ["3"]);
    let ran = workdir.cursus(["replay", "--into", "past"]).await.exits(0);
    assert!(
        ran.stdout
            .contains("nothing to replay: every staged run is loaded into past"),
        "{ran}"
    );
    // Dropped by hand, it is made again: the load ledger does not count for more than the rows.
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
    assert_eq!(workdir.count("chosen.things").await, 12);
    assert_eq!(workdir.count("chosen.boxes").await, 3);
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
    let ledger = workdir
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
        .says("holds the load ledger");
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
        ledger
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
    assert_eq!(workdir.count("past.things").await, 12);
}

#[tokio::test]
async fn nothing_older_than_the_loaded_run_is_loaded() {
    let workdir = workdir().await;
    let first = stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=5))],
    );
    workdir.json(["load", "--select", "boxes"]).await;
    // The full reads replace the things that were never loaded.
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
    newest(
        &workdir
            .json_exits(4, ["load", &first, "--again", "--select", "things"])
            .await,
    );
    assert_eq!(content(&workdir, "public").await, before);
    // What was loaded of it is only named.
    let named = workdir.json(["load", &first, "--select", "boxes"]).await;
    assert_eq!(named["skipped"], json!([first]));
    workdir
        .cursus(["replay", "--to", &first, "--into", "past"])
        .await
        .exits(0);
    assert_eq!(workdir.count("past.things").await, 5);
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
    std::fs::remove_dir_all(directory(&workdir, &second)).unwrap();
    workdir
        .cursus(["load", "--again"])
        .await
        .exits(2)
        .says("is not staged any more");
}

#[tokio::test]
async fn replay_loads_every_run_within_the_prune_limit() {
    let workdir = workdir().await;
    let all = |count| {
        [
            full("boxes", boxes(1..=3)),
            full("things", things(1..=count)),
        ]
    };
    let runs = [stage(&workdir, &all(10)), stage(&workdir, &all(4))];
    let report = workdir.json(["load"]).await;
    assert_eq!(
        report["runs"],
        json!(runs[1..]),
        "the second replaces the first"
    );
    let report = workdir.json_exits(4, ["replay", "--into", "past"]).await;
    assert_eq!(report["runs"], json!(runs));
    let errors = report["errors"].to_string();
    assert!(
        errors.contains("things: prune limit exceeded: 6 deletes held"),
        "{errors}"
    );
    assert_eq!(workdir.count("past.things").await, 10);
    workdir
        .json(["replay", "--allow-prune", "--into", "pruned"])
        .await;
    assert_eq!(workdir.count("pruned.things").await, 4);
}

#[tokio::test]
async fn replay_of_failed_runs_does_not_say_nothing_to_replay() {
    let workdir = workdir().await;
    let bad = things(1..=30)
        .into_iter()
        .map(|thing| thing.replace("\"weight\":1.5", "\"weight\":\"x\""));
    stage(&workdir, &[full("things", bad.collect())]);
    let ran = workdir.cursus(["replay", "--into", "past"]).await.exits(4);
    assert!(!ran.stdout.contains("nothing to replay"), "{ran}");
}

#[tokio::test]
async fn replay_with_another_cursor_starts_again() {
    let workdir = workdir().await;
    three_runs(&workdir);
    workdir.cursus(["replay", "--into", "past"]).await.exits(0);
    let cursor = "cursor = { field = \"seen_at\"";
    workdir.write(
        "pipeline.toml",
        PIPELINE.replace(cursor, "cursor = { field = \"id\""),
    );
    workdir.cursus(["replay", "--into", "past"]).await.exits(4);
}
