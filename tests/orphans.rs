//! Rows that wait for what they belong to: the newest version wins, however late it comes in.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::boxes::{
    PIPELINE, boxes, delta, directory, full, stage, stage_pages, things, workdir, workdir_of,
};
use crate::support::running::until;

const WAITING: &str = "SELECT count(*) FROM pipeline.quarantine";

fn thing(id: i64, box_id: i64, weight: i64, parts: &Value) -> String {
    json!({"id": id, "kind": "thing", "box_id": box_id, "weight": weight, "document": null,
        "seen_at": "2026-01-01T00:00:00Z", "parts": parts})
    .to_string()
}

#[tokio::test]
async fn newer_orphan_replaces_the_older_row_when_retried() {
    let workdir = workdir().await;
    let first = vec![
        thing(1, 1, 1, &json!([])),
        thing(2, 1, 1, &json!([])),
        thing(3, 1, 1, &json!([])),
    ];
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", first)],
    );
    workdir.json(["load"]).await;
    let moved = vec![
        thing(1, 9, 2, &json!([])),
        thing(2, 8, 2, &json!([])),
        thing(4, 9, 2, &json!([])),
    ];
    stage(&workdir, &[delta("things", moved)]);
    workdir.json_exits(3, ["load"]).await;
    let rows = "SELECT concat_ws(' ', id, box_id, weight) FROM things ORDER BY id";
    assert_eq!(workdir.column(rows).await, ["1 1 1", "2 1 1", "3 1 1"]);
    // One of two parents comes: one row is changed, one is new, one waits on beside its older version.
    stage(
        &workdir,
        &[full("boxes", [boxes(1..=3), boxes(9..=9)].concat())],
    );
    let report = workdir.json(["load"]).await;
    let things: Vec<&Value> = (report["tables"].as_array().unwrap().iter())
        .filter(|table| table["name"] == "things")
        .collect();
    assert_eq!(
        (&things[0]["inserted"], &things[0]["updated"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        workdir.column(rows).await,
        ["1 9 2", "2 1 1", "3 1 1", "4 9 2"]
    );
    assert_eq!(workdir.number(WAITING).await, 1);
    // What is newer than the one that waits settles it.
    stage(
        &workdir,
        &[
            full("boxes", [boxes(1..=3), boxes(8..=9)].concat()),
            delta("things", vec![thing(2, 1, 3, &json!([]))]),
        ],
    );
    workdir.json(["load"]).await;
    assert_eq!(
        workdir.column(rows).await,
        ["1 9 2", "2 1 3", "3 1 1", "4 9 2"]
    );
    assert_eq!(workdir.number(WAITING).await, 0);
}

#[tokio::test]
async fn retried_orphans_bring_their_own_orphans() {
    let workdir = workdir().await;
    workdir.write(
        "migrations/mirror/V1001__parts.sql",
        "ALTER TABLE parts ADD FOREIGN KEY (thing_id) REFERENCES things ON DELETE CASCADE",
    );
    let part = json!([{"id": 1, "size": 1}]);
    stage(
        &workdir,
        &[
            full("boxes", boxes(1..=3)),
            full("things", vec![thing(1, 9, 1, &part)]),
        ],
    );
    workdir.json_exits(3, ["load"]).await;
    assert_eq!(workdir.number(WAITING).await, 2);
    stage(&workdir, &[full("boxes", boxes(1..=9))]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.column("SELECT thing_id FROM parts").await, ["1"]);
    assert_eq!(workdir.number(WAITING).await, 0);
}

#[tokio::test]
async fn orphan_that_could_not_be_read_is_retried_later() {
    let workdir = workdir().await;
    let waits = full("things", vec![thing(1, 9, 1, &json!([]))]);
    let run = stage(&workdir, &[full("boxes", boxes(1..=3)), waits]);
    workdir.json_exits(3, ["load"]).await;
    let page = directory(&workdir, &run).join("things/page-00001.json.gz");
    let aside = workdir.path("aside");
    std::fs::rename(&page, &aside).unwrap();
    stage(&workdir, &[full("boxes", boxes(1..=9))]);
    let loaded = workdir.cursus(["load"]).await.exits(0);
    assert!(
        loaded.stderr.contains("the next load retries them"),
        "{loaded}"
    );
    assert_eq!(workdir.number(WAITING).await, 1);
    std::fs::rename(&aside, &page).unwrap();
    // No parent comes with this one.
    stage(&workdir, &[full("boxes", boxes(1..=9))]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(workdir.column("SELECT id FROM things").await, ["1"]);
    assert_eq!(workdir.number(WAITING).await, 0);
}

#[tokio::test]
async fn a_table_that_would_be_loaded_before_its_parents_is_refused() {
    let pipeline = "[[resource]]\nname = \"things\"\npath = \"/things\"\n[[resource]]\nname = \"boxes\"\npath = \"/boxes\"\n\
                    [[table]]\nname = \"things\"\nfrom = \"things\"\n[[table]]\nname = \"boxes\"\nfrom = \"boxes\"\n";
    let tables = "CREATE TABLE boxes (id bigint PRIMARY KEY); \
                  CREATE TABLE things (id bigint PRIMARY KEY, box_id bigint REFERENCES boxes)";
    let workdir = workdir_of(pipeline, tables).await;
    let records = |ids: std::ops::RangeInclusive<i64>| -> Vec<String> {
        ids.map(|id| json!({"id": id, "box_id": id}).to_string())
            .collect()
    };
    let reads = [
        full("things", records(1..=3)),
        full("boxes", records(1..=3)),
    ];
    stage(&workdir, &reads);
    workdir
        .cursus(["load"])
        .await
        .exits(2)
        .says("add \"boxes\" to its `after`");
    let after =
        format!("{pipeline}[[table]]\nname = \"things\"\nfrom = \"things\"\nafter = [\"boxes\"]\n");
    let after = after.replacen("[[table]]\nname = \"things\"\nfrom = \"things\"\n", "", 1);
    workdir.write(
        "pipeline.toml",
        format!("version = 1\n[api]\nurl = \"https://api.example.org\"\n{after}"),
    );
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(workdir.count("things").await, 3);
}

#[tokio::test]
async fn nested_orphans_are_retried_with_their_record() {
    let workdir = workdir().await;
    let bad = || json!([{"id": 1, "size": "large"}, {"id": "x", "size": 1}, {"id": 3, "size": 3}]);
    let first = vec![thing(1, 1, 1, &bad()), thing(2, 1, 1, &bad())];
    stage(
        &workdir,
        &[
            full("boxes", boxes(1..=1)),
            full("things", [first, things(11..=30)].concat()),
        ],
    );
    workdir.json_exits(3, ["load"]).await;
    assert_eq!(workdir.number(WAITING).await, 4);
    // The first of them is read again, and has no such parts any more.
    stage(
        &workdir,
        &[delta(
            "things",
            vec![thing(1, 1, 2, &json!([{"id": 3, "size": 4}]))],
        )],
    );
    workdir.json(["load"]).await;
    let parents = workdir
        .column("SELECT DISTINCT parent FROM pipeline.quarantine")
        .await;
    assert_eq!(parents, ["2"]);
    workdir
        .query("ALTER TABLE parts ALTER size TYPE text")
        .await;
    let report = workdir.json_exits(3, ["quarantine", "retry"]).await;
    assert_eq!(
        (&report["settled"], &report["waiting"]),
        (&json!(1), &json!(1))
    );
    let parts = workdir
        .column(
            "SELECT concat_ws(' ', thing_id, id, size) FROM parts WHERE thing_id < 10 ORDER BY 1",
        )
        .await;
    assert_eq!(parts, ["1 3 4", "2 1 large", "2 3 3"]);
}

#[tokio::test]
async fn selected_resource_is_not_loaded_before_its_parents() {
    let workdir = workdir().await;
    let notes = (1..=30).map(|id| json!({"id": id, "thing_id": id, "text": "t"}).to_string());
    let first = [full("boxes", boxes(1..=3)), full("things", things(1..=20))];
    stage(&workdir, &first);
    let second = [
        full("things", things(1..=30)),
        full("notes", notes.collect()),
    ];
    stage(&workdir, &second);
    let notes = "SELECT count(*) FROM notes";
    for load in [
        ["load", "--select", "notes", "-q"].as_slice(),
        &["load", "-q"],
    ] {
        workdir.cursus(load).await.exits(0);
        assert_eq!(workdir.count("things").await, 30);
        assert_eq!(workdir.number(notes).await, 30);
    }

    // Nor is it loaded once more before what waits of the same run.
    workdir
        .query("DELETE FROM things; DELETE FROM parts; DELETE FROM pipeline.load WHERE resource = 'things'")
        .await;
    let again = ["load", "--again", "--select", "notes", "-q"];
    workdir.cursus(again).await.exits(0);
    assert_eq!(workdir.number(notes).await, 30);
}

#[tokio::test]
async fn any_number_of_orphans_takes_bounded_memory() {
    let workdir = workdir().await;
    let count = 60_000;
    let records = |box_id| {
        (1..=count)
            .map(|id| {
                json!({"id": id, "kind": "thing", "box_id": box_id, "weight": 1,
        "document": null, "seen_at": null, "parts": []})
                .to_string()
            })
            .collect()
    };
    stage_pages(
        &workdir,
        &[full("boxes", boxes(1..=1)), full("things", records(1))],
        5_000,
    );
    let load = async || {
        let mut command = workdir.command(["load"]);
        let mut child = (command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()).unwrap();
        let status = format!("/proc/{}/status", child.id().unwrap());
        let mut peak = 0;
        until("the load has ended", async || {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = line.and_then(|line| line.split_whitespace().next());
            peak = kilobytes.map_or(peak, |text| text.parse::<u64>().unwrap());
            child.try_wait().unwrap().is_some()
        })
        .await;
        (child.wait().await.unwrap().code(), peak)
    };
    let (code, before) = load().await;
    assert_eq!(code, Some(0));
    stage_pages(&workdir, &[full("things", records(2))], 5_000);
    let (code, peak) = load().await;
    assert_eq!(code, Some(4));
    assert!(
        peak < before + 20_000,
        "{peak} kB, and {before} kB without orphans"
    );
    assert_eq!(workdir.number(WAITING).await, 0);
    let moved = "SELECT count(*) FROM things WHERE box_id = 1";
    assert_eq!(workdir.number(moved).await, count);
}

#[tokio::test]
async fn each_of_thousands_of_orphans_knows_its_record() {
    let workdir = workdir().await;
    let of = |id: i64| thing(id, if id % 12 == 0 { 9 } else { 1 }, 1, &json!([]));
    let records = (1..=30_000).map(of).collect();
    let resources = [full("boxes", boxes(1..=1)), full("things", records)];
    stage_pages(&workdir, &resources, 700);
    workdir.json_exits(3, ["load"]).await;
    let waiting = "SELECT concat_ws(' ', count(DISTINCT key), count(*) FILTER (WHERE file = format('things/page-%s.json.gz', lpad(((thing - 1) / 700 + 1)::text, 5, '0')) \
                   AND record_index = (thing - 1) % 700)) \
                   FROM (SELECT *, (key->>'id')::int AS thing FROM pipeline.quarantine) AS q";
    assert_eq!(workdir.column(waiting).await, ["2500 2500"]);
}

#[tokio::test]
async fn thousands_of_orphans_that_stay_hold_no_load_up() {
    let workdir = workdir().await;
    let many = "[quarantine]\nmax_fraction = 1.0\nmax_rows = 1000000\n";
    workdir.write("pipeline.toml", format!("{PIPELINE}{many}"));
    stage(&workdir, &[full("boxes", boxes(1..=1))]);
    workdir.cursus(["load"]).await.exits(0);
    for run in 0..2 {
        let records = (1..=15_000)
            .map(|id| thing(run * 15_000 + id, 9, 1, &json!([])))
            .collect();
        stage_pages(&workdir, &[delta("things", records)], 5_000);
        workdir.cursus(["load", "-q"]).await.exits(3);
        workdir.query("ANALYZE pipeline.quarantine").await;
    }
    stage(&workdir, &[full("boxes", boxes(1..=2))]);
    // To compare each with each would take minutes.
    workdir.cursus(["load", "-q"]).await.exits(0);
    assert_eq!(workdir.number(WAITING).await, 30_000);
}

#[tokio::test]
async fn deletes_of_retried_orphans_are_held_in_the_name_of_the_load() {
    let workdir = workdir().await;
    let first = (1..=40).map(|id| thing(id, 1, 1, &json!([]))).collect();
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", first)],
    );
    workdir.cursus(["load"]).await.exits(0);
    let moved = (1..=10).map(|id| thing(id, 9, 1, &json!([]))).collect();
    stage(&workdir, &[delta("things", moved)]);
    workdir.cursus(["load"]).await.exits(3);
    let other = PIPELINE.replace("\"/kind\" = \"thing\"", "\"/kind\" = \"gadget\"");
    workdir.write("pipeline.toml", other);
    let run = stage(&workdir, &[full("boxes", boxes(1..=9))]);
    workdir.cursus(["load"]).await.exits(4).says(&run);
    let held = "SELECT DISTINCT run_id FROM pipeline.prune_candidate";
    assert_eq!(workdir.column(held).await, std::slice::from_ref(&run));
    workdir.cursus(["prune", "approve", &run]).await.exits(0);
    assert_eq!(workdir.count("things").await, 30);
}

/// The prune limit is 4 of 40 rows for all that a load deletes.
#[tokio::test]
async fn deletes_of_retries_count_together_against_the_prune_limit() {
    let workdir = workdir().await;
    let first = (1..=40).map(|id| thing(id, 1, 1, &json!([]))).collect();
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", first)],
    );
    workdir.cursus(["load"]).await.exits(0);
    for ids in [1..=3, 4..=6] {
        let moved = ids.map(|id| thing(id, 9, 1, &json!([]))).collect();
        stage(&workdir, &[delta("things", moved)]);
        workdir.cursus(["load"]).await.exits(3);
    }
    let other = PIPELINE.replace("\"/kind\" = \"thing\"", "\"/kind\" = \"gadget\"");
    workdir.write("pipeline.toml", other);
    let run = stage(&workdir, &[full("boxes", boxes(1..=9))]);
    workdir.cursus(["load"]).await.exits(4).says(&run);
    assert_eq!(workdir.count("things").await, 37);
    assert_eq!(workdir.count("pipeline.prune_candidate").await, 3);
}

#[tokio::test]
async fn orphan_that_is_rejected_otherwise_for_a_while_is_loaded() {
    let workdir = workdir().await;
    let first = vec![thing(1, 9, 1, &json!([])), thing(2, 1, 1, &json!([]))];
    stage(
        &workdir,
        &[full("boxes", boxes(1..=1)), full("things", first)],
    );
    workdir.cursus(["load"]).await.exits(3);
    let check = "ALTER TABLE things ADD CONSTRAINT heavy CHECK (weight > 5) NOT VALID";
    workdir.query(check).await;
    stage(&workdir, &[full("boxes", boxes(1..=9))]);
    workdir.cursus(["load"]).await.exits(0);
    workdir
        .query("ALTER TABLE things DROP CONSTRAINT heavy")
        .await;
    stage(&workdir, &[full("boxes", boxes(1..=10))]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(workdir.count("things").await, 2);
}
