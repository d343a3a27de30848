//! Rows that refer to rows: of the same table, and of one that leaves.

use serde_json::json;

use crate::support::Workdir;
use crate::support::boxes::{THINGS_ALONE, delta, full, stage, workdir_of};

const TABLE: &str =
    "CREATE TABLE things (id bigint PRIMARY KEY, parent_id bigint REFERENCES things)";

fn thing(id: i64, parent: Option<i64>) -> String {
    json!({"id": id, "parent_id": parent}).to_string()
}

/// Those that have a parent, and all that are not among the first thirty.
async fn family(workdir: &Workdir) -> Vec<String> {
    let rows = "SELECT concat_ws(' ', id, parent_id) FROM things WHERE parent_id IS NOT NULL OR id >= 30 ORDER BY id";
    workdir.column(rows).await
}

#[tokio::test]
async fn row_with_a_parent_in_its_table_loads_with_it_or_waits() {
    let workdir = workdir_of(THINGS_ALONE, TABLE).await;
    let mut first: Vec<String> = (0..29).map(|id| thing(id, None)).collect();
    first.push(thing(29, Some(31)));
    stage(&workdir, &[full("things", first)]);
    workdir.cursus(["load"]).await.exits(3);
    assert_eq!(workdir.count("things").await, 29);
    // Changed and new rows with a new parent; one that waits has one that waits.
    let next = [
        thing(1, Some(30)),
        thing(30, None),
        thing(32, Some(33)),
        thing(33, Some(34)),
    ];
    stage(&workdir, &[delta("things", next.to_vec())]);
    workdir.cursus(["load"]).await.exits(3);
    assert_eq!(family(&workdir).await, ["1 30", "30"]);
    stage(
        &workdir,
        &[delta("things", vec![thing(31, None), thing(34, None)])],
    );
    workdir.cursus(["load"]).await.exits(0);
    let all = ["1 30", "29 31", "30", "31", "32 33", "33 34", "34"];
    assert_eq!(family(&workdir).await, all);
    assert_eq!(workdir.count("pipeline.quarantine").await, 0);
}

#[tokio::test]
async fn rows_that_refer_to_each_other_are_deleted_together() {
    let workdir = workdir_of(THINGS_ALONE, TABLE).await;
    let parent = |id: i64| match id {
        7 => Some(7),
        3..=5 => Some(id - 1),
        _ => None,
    };
    stage(
        &workdir,
        &[full(
            "things",
            (0..30).map(|id| thing(id, parent(id))).collect(),
        )],
    );
    workdir.cursus(["load"]).await.exits(0);
    workdir
        .query(
            "CREATE TABLE notes (thing_id bigint REFERENCES things); INSERT INTO notes VALUES (9)",
        )
        .await;
    let removed = [2, 3, 4, 5, 7, 9];
    let rest = (0..30)
        .filter(|id| !removed.contains(id))
        .map(|id| thing(id, None));
    stage(&workdir, &[full("things", rest.collect())]);
    let report = workdir.json(["load"]).await;
    assert_eq!(report["tables"][0]["deleted"], json!(5));
    assert_eq!(report["tables"][0]["referred"], json!(1));
    let left = "SELECT id FROM things WHERE id IN (2, 3, 4, 5, 7, 9)";
    assert_eq!(workdir.column(left).await, ["9"]);
}

#[tokio::test]
async fn approved_rows_that_refer_to_each_other_are_deleted() {
    let workdir = workdir_of(THINGS_ALONE, TABLE).await;
    // Of the last thirty each refers to the one before, and two to each other.
    let parent = |id: i64| (id >= 20).then(|| if id == 20 { 21 } else { id - 1 });
    let all = |ids: std::ops::Range<i64>| ids.map(|id| thing(id, parent(id))).collect();
    stage(&workdir, &[full("things", all(0..50))]);
    workdir.cursus(["load"]).await.exits(0);
    let run = stage(&workdir, &[full("things", all(0..20))]);
    workdir.cursus(["load"]).await.exits(4);
    let approve = ["prune", "approve", &run];
    let done = workdir.json(approve).await;
    assert_eq!(done["tables"][0]["deleted"], 30, "{done:#}");
    assert_eq!(workdir.json(["prune", "ls"]).await, json!([]));
    let live = "SELECT id FROM things ORDER BY id";
    let replayed = "SELECT id FROM past.things ORDER BY id";
    workdir.json(["replay", "--into", "past"]).await;
    assert_eq!(workdir.column(live).await, workdir.column(replayed).await);
}

#[tokio::test]
async fn rebuild_replaces_rows_that_refer_to_each_other() {
    let workdir = workdir_of(THINGS_ALONE, TABLE).await;
    let first = (0..30).map(|id| thing(id, (id == 2).then_some(1)));
    stage(&workdir, &[full("things", first.collect())]);
    workdir.cursus(["load"]).await.exits(0);
    workdir
        .query("INSERT INTO things VALUES (90, NULL), (91, 90); UPDATE things SET parent_id = 91 WHERE id = 90")
        .await;
    stage(
        &workdir,
        &[delta("things", vec![thing(2, Some(40)), thing(40, None)])],
    );
    workdir.json(["replay", "--rebuild"]).await;
    assert_eq!(family(&workdir).await, ["2 40", "40"]);
}

#[tokio::test]
async fn nested_rows_are_deleted_with_their_record() {
    let pipeline = r#"
[[resource]]
name = "things"
path = "/things"
[[table]]
name = "things"
from = "things"
where = { "/kind" = "thing" }
[[table]]
name = "parts"
from = "things"
rows = "/parts"
after = ["things"]
owner = { thing_id = "things.id" }
[table.columns]
thing_id = "../id"
"#;
    let tables = "CREATE TABLE things (id bigint PRIMARY KEY); \
                  CREATE TABLE parts (id bigint PRIMARY KEY, thing_id bigint REFERENCES things);";
    let record = |id: i64, kind: &str, parts: &[i64]| {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| json!({"id": id * 10 + part}))
            .collect();
        json!({"id": id, "kind": kind, "parts": parts}).to_string()
    };
    for is_full in [true, false] {
        let workdir = workdir_of(pipeline, tables).await;
        let first = (0..40).map(|id| record(id, "thing", &[1, 2])).collect();
        stage(&workdir, &[full("things", first)]);
        workdir.cursus(["load"]).await.exits(0);
        // One of the parts is not shown any more.
        let kind = |id| if id < 3 { "other" } else { "thing" };
        let next = (0..40).map(|id| record(id, kind(id), &[1, 2][..if id == 1 { 1 } else { 2 }]));
        let read = if is_full { full } else { delta };
        stage(&workdir, &[read("things", next.collect())]);
        workdir.cursus(["load"]).await.exits(0);
        assert_eq!(workdir.count("things").await, 37);
        assert_eq!(workdir.count("parts").await, 74);
    }
}
