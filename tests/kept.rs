//! Rows that left the API and stay, because others refer to them: reported as long as they stay.

use serde_json::{Value, json};

use crate::support::Workdir;
use crate::support::boxes::{boxes, delta, full, stage, thing, things, workdir};

const KEPT: &str =
    "SELECT concat_ws(' ', resource, kept) FROM pipeline.freshness WHERE kept > 0 ORDER BY 1";

fn kept_of(report: &Value, table: &str) -> Value {
    let tables = report["tables"].as_array().unwrap();
    let found = tables.iter().find(|entry| entry["name"] == table);
    found.unwrap_or_else(|| panic!("{report:#}"))["kept"].clone()
}

/// Six boxes, two of which the API does not show any more although things are in them.
async fn loaded() -> Workdir {
    let workdir = workdir().await;
    let mut records = things(1..=20);
    records[0] = records[0].replace("\"box_id\":1", "\"box_id\":5");
    records[1] = records[1].replace("\"box_id\":1", "\"box_id\":6");
    let reads = [full("boxes", boxes(1..=6)), full("things", records)];
    stage(&workdir, &reads);
    let report = workdir.json(["load"]).await;
    assert_eq!(kept_of(&report, "boxes"), 0);
    workdir
}

async fn load_without(workdir: &Workdir) -> Value {
    stage(workdir, &[full("boxes", boxes(1..=4))]);
    workdir.json(["load"]).await
}

#[tokio::test]
async fn kept_rows_are_reported_until_they_are_deleted() {
    let workdir = loaded().await;
    let ran = workdir.cursus(["prune", "ls"]).await.exits(0);
    assert_eq!(ran.stdout, "no held deletes\n");
    let run = stage(&workdir, &[full("boxes", boxes(1..=4))]);
    let ran = workdir.cursus(["load"]).await.exits(0);
    assert!(ran.stdout.contains("kept"), "{ran}");
    let again = workdir.json(["load", "--again"]).await;
    assert_eq!(kept_of(&again, "boxes"), 2);
    assert_eq!(workdir.column(KEPT).await, ["boxes 2"]);
    let noted =
        format!("SELECT kept FROM pipeline.load WHERE run_id = '{run}' AND table_name = 'boxes'");
    assert_eq!(workdir.number(&noted).await, 2);
    let output = workdir.json(["prune", "ls"]).await;
    assert_eq!(output.as_array().unwrap().len(), 1, "{output:#}");
    assert_eq!(output[0]["table"], "boxes");
    assert_eq!(output[0]["rows"], 2);
    assert_eq!(
        output[0]["reasons"],
        json!(["absent from a complete full read"])
    );
    assert_eq!(output[0]["referred_by"], json!(["things"]));
    let ran = workdir.cursus(["prune", "ls"]).await.exits(0);
    assert!(
        ran.stdout.starts_with("no held deletes\nkept although"),
        "{ran}"
    );
    assert!(ran.stdout.contains("things refers to them"), "{ran}");
    let explained = workdir.cursus(["explain", "boxes", "5"]).await.exits(0);
    assert!(
        explained.stdout.contains("rows of things refer to it"),
        "{explained}"
    );
    // Nobody can approve it.
    let ran = workdir.cursus(["prune", "approve", &run]).await.exits(0);
    assert!(ran.stdout.contains("has no held deletes"), "{ran}");

    // What proves nothing of them leaves it as it is, and so does a run without them.
    stage(&workdir, &[delta("boxes", boxes(1..=1))]);
    assert_eq!(kept_of(&workdir.json(["load"]).await, "boxes"), 2);
    stage(&workdir, &[delta("things", vec![thing(3, 7.0)])]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.column(KEPT).await, ["boxes 2"]);
    // One comes back, one is free to go.
    stage(&workdir, &[delta("boxes", boxes(5..=5))]);
    assert_eq!(kept_of(&workdir.json(["load"]).await, "boxes"), 1);
    stage(&workdir, &[delta("things", vec![thing(2, 1.5)])]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.column(KEPT).await, ["boxes 1"]);
    stage(&workdir, &[full("boxes", boxes(1..=5))]);
    let report = workdir.json(["load"]).await;
    assert_eq!(kept_of(&report, "boxes"), 0);
    assert_eq!(workdir.column(KEPT).await, Vec::<String>::new());
    assert_eq!(workdir.json(["prune", "ls"]).await, json!([]));
    assert_eq!(workdir.count("boxes").await, 5);
}

#[tokio::test]
async fn rows_that_somebody_deletes_are_kept_no_longer() {
    let workdir = loaded().await;
    let report = load_without(&workdir).await;
    assert_eq!(kept_of(&report, "boxes"), 2);
    workdir
        .query("DELETE FROM things WHERE id = 1; DELETE FROM boxes WHERE id = 5")
        .await;
    stage(&workdir, &[delta("things", vec![thing(3, 7.0)])]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.column(KEPT).await, ["boxes 1"]);
}

#[tokio::test]
async fn replay_and_rebuild_report_kept_rows() {
    let workdir = loaded().await;
    load_without(&workdir).await;
    workdir.json(["replay", "--into", "past"]).await;
    let kept = "SELECT concat_ws(' ', schema_name, resource, kept) FROM pipeline.freshness WHERE kept > 0 ORDER BY 1";
    assert_eq!(
        workdir.column(kept).await,
        ["past boxes 2", "public boxes 2"]
    );
    // A row that no run ever gave is referred to as well.
    workdir
        .query("INSERT INTO boxes (id) VALUES (9); CREATE TABLE labels (box_id bigint REFERENCES boxes); INSERT INTO labels VALUES (9)")
        .await;
    workdir.cursus(["replay", "--rebuild"]).await.exits(4);
    assert_eq!(
        workdir.column(kept).await,
        ["past boxes 2", "public boxes 3"]
    );
    let output = workdir.json(["prune", "ls"]).await;
    let referrers: Vec<&Value> = (output.as_array().unwrap().iter())
        .flat_map(|kept| kept["referred_by"].as_array().unwrap())
        .collect();
    assert_eq!(
        referrers,
        [&json!("labels"), &json!("things")],
        "{output:#}"
    );
}

#[tokio::test]
async fn what_is_held_and_nothing_refers_to_is_held_and_not_kept() {
    let workdir = loaded().await;
    let report = load_without(&workdir).await;
    assert_eq!(kept_of(&report, "boxes"), 2);
    // Nothing refers to them any more, and an empty answer takes none of them.
    let reads = [full("boxes", Vec::new()), full("things", Vec::new())];
    stage(&workdir, &reads);
    workdir.cursus(["load"]).await.exits(4);
    workdir.query("UPDATE things SET box_id = NULL").await;
    stage(&workdir, &[full("boxes", Vec::new())]);
    workdir.cursus(["load"]).await.exits(4);
    assert_eq!(workdir.column(KEPT).await, Vec::<String>::new());
    let output = workdir.json(["prune", "ls"]).await;
    let boxes = output.as_array().unwrap();
    let boxes = boxes.iter().find(|held| held["table"] == "boxes").unwrap();
    assert_eq!(boxes["rows"], 6, "{output:#}");
    assert_eq!(boxes.get("referred_by"), None);
}
