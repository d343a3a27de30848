//! The prune limit: a few deletes pass, many need a person.

use serde_json::Value;

use crate::support::boxes::{PIPELINE, boxes, delta, full, stage, thing, things, workdir};
use crate::support::{SCALE, Workdir, World, oracle, simulator};

/// A world without this many of its memberships, the oldest.
fn without(mut world: World, removed: usize) -> World {
    world.rows("coalitions_users").drain(..removed);
    world
}

fn of_table<'r>(report: &'r Value, table: &str) -> &'r Value {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|entry| entry["name"] == table).unwrap()
}

#[tokio::test]
async fn delete_of_half_a_table_needs_approval() {
    let whole = simulator().await;
    let mut workdir = Workdir::with(&whole).await;
    workdir.json(["run"]).await;
    let half = without(World::of(&whole), 250).serve().await;
    workdir.use_api(&half);
    let report = workdir.json_exits(4, ["run", "--full"]).await;
    assert_eq!(report["state"], "complete", "the read itself is good");
    assert_eq!(of_table(&report, "coalitions_users")["deleted"], 0);
    assert!(
        report["errors"].to_string().contains("250 deletes held"),
        "{report:#}"
    );

    // Nothing is deleted, and everything else was loaded.
    assert_eq!(workdir.count("coalitions_users").await, SCALE.memberships);
    let candidates = "SELECT key->>'id' FROM pipeline.prune_candidate WHERE table_name = 'coalitions_users' ORDER BY (key->>'id')::bigint";
    let removed: Vec<String> = whole.rows("coalitions_users")[..250]
        .iter()
        .map(|row| row["id"].to_string())
        .collect();
    assert_eq!(workdir.column(candidates).await, removed);
    let refused = "SELECT refused FROM pipeline.load WHERE table_name = 'coalitions_users' ORDER BY id DESC LIMIT 1";
    assert_eq!(workdir.number(refused).await, 250);

    // Once a person has said so, they go.
    let report = workdir.json(["load", "--again", "--allow-prune"]).await;
    assert_eq!(of_table(&report, "coalitions_users")["deleted"], 250);
    assert_eq!(workdir.count("pipeline.prune_candidate").await, 0);
    oracle::assert_mirrors(&workdir, &half).await;
}

#[tokio::test]
async fn returned_row_is_no_delete_candidate() {
    let whole = simulator().await;
    let mut workdir = Workdir::with(&whole).await;
    workdir.json(["run"]).await;
    let half = without(World::of(&whole), 250).serve().await;
    workdir.use_api(&half);
    workdir
        .json_exits(4, ["run", "--full", "--select", "coalitions_users"])
        .await;
    workdir.use_api(&whole);
    workdir.json(["run", "--full"]).await;
    assert_eq!(workdir.count("pipeline.prune_candidate").await, 0);
    oracle::assert_mirrors(&workdir, &whole).await;
}

#[tokio::test]
async fn few_deletes_need_no_approval() {
    let whole = simulator().await;
    let mut workdir = Workdir::with(&whole).await;
    workdir.json(["run"]).await;
    let fewer = without(World::of(&whole), 20).serve().await;
    workdir.use_api(&fewer);
    let report = workdir.json(["run", "--full"]).await;
    assert_eq!(of_table(&report, "coalitions_users")["deleted"], 20);
    oracle::assert_mirrors(&workdir, &fewer).await;
}

#[tokio::test]
async fn prune_limit_follows_the_configuration() {
    let whole = simulator().await;
    let mut workdir = Workdir::with(&whole).await;
    workdir.pipeline(&[("max_fraction = 0.02", "max_fraction = 0.5")]);
    workdir.json(["run"]).await;
    let half = without(World::of(&whole), 250).serve().await;
    workdir.use_api(&half);
    workdir.json(["run", "--full"]).await;
    oracle::assert_mirrors(&workdir, &half).await;
}

#[tokio::test]
async fn an_empty_answer_empties_no_table_however_small() {
    for rows in [2, 20] {
        let workdir = workdir().await;
        workdir.write(
            "pipeline.toml",
            PIPELINE.replace("min_rows = 3", "min_rows = 20"),
        );
        stage(
            &workdir,
            &[
                full("boxes", boxes(1..=1)),
                full("things", things(1..=rows)),
            ],
        );
        workdir.json(["load"]).await;
        let empty = stage(&workdir, &[full("things", Vec::new())]);
        workdir.cursus(["load"]).await.exits(4).says(&format!(
            "things: prune limit exceeded: {rows} deletes held"
        ));
        // With their parts, which are compared in another way.
        for table in ["things", "parts"] {
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(workdir.number(&count).await, rows);
        }
        let replayed = workdir.cursus(["replay", "--into", "past"]).await;
        replayed.exits(4);
        assert_eq!(
            workdir.number("SELECT count(*) FROM past.things").await,
            rows
        );

        // A person may say so; and what is read record by record is no empty answer.
        workdir.json(["prune", "approve", &empty]).await;
        for table in ["things", "parts"] {
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(workdir.number(&count).await, 0);
        }
    }
}

#[tokio::test]
async fn last_row_can_be_deleted() {
    let workdir = workdir().await;
    let reads = [
        full("boxes", boxes(1..=3)),
        full("things", things(1..=1)),
        full("notes", Vec::new()),
    ];
    stage(&workdir, &reads);
    workdir.json(["load"]).await;
    stage(
        &workdir,
        &[full("boxes", boxes(1..=1)), full("things", Vec::new())],
    );
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("boxes").await, 1);
    assert_eq!(workdir.count("things").await, 0);

    // A record without parts says so of itself.
    stage(&workdir, &[delta("things", vec![thing(1, 1.0)])]);
    workdir.json(["load"]).await;
    let bare = thing(1, 1.0).replace(r#""parts":[{"id":1,"size":1}]"#, r#""parts":[]"#);
    let parts = r#""parts":[{"id":1,"size":1},{"id":2,"size":1}]"#;
    let two = thing(1, 1.0).replace(r#""parts":[{"id":1,"size":1}]"#, parts);
    stage(&workdir, &[delta("things", vec![two])]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("parts").await, 2);
    stage(&workdir, &[delta("things", vec![bare])]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("parts").await, 0);
}

#[tokio::test]
async fn full_read_without_any_old_row_is_held() {
    // What is inserted by the same read, what had waited, and what stays for others do not count.
    for rows in [2, 3, 20] {
        let workdir = workdir().await;
        workdir.write(
            "pipeline.toml",
            PIPELINE.replace("min_rows = 3", "min_rows = 20"),
        );
        let reads = [
            full("boxes", boxes(1..=1)),
            full("things", things(1..=rows)),
        ];
        stage(&workdir, &reads);
        workdir.json(["load"]).await;
        let orphan = thing(500, 1.5).replace("\"box_id\":1", "\"box_id\":9");
        let orphan = orphan.replace(r#"[{"id":1,"size":500}]"#, "[]");
        stage(&workdir, &[delta("things", vec![orphan.clone()])]);
        workdir.json_exits(3, ["load"]).await;
        let others = vec![thing(100, 1.5), orphan];
        let reads = [
            full("boxes", [boxes(1..=1), boxes(9..=9)].concat()),
            full("things", others),
        ];
        let run = stage(&workdir, &reads);
        let ran = workdir.cursus(["load"]).await.exits(4);
        ran.says(&format!(
            "things: prune limit exceeded: {rows} deletes held"
        ));
        let count = "SELECT count(*) FROM things";
        assert_eq!(workdir.number(count).await, rows + 2);
        let parts = format!("SELECT count(*) FROM parts WHERE thing_id <= {rows}");
        assert_eq!(workdir.number(&parts).await, rows);
        workdir.json(["prune", "approve", &run]).await;
        assert_eq!(workdir.number(count).await, 2);
    }
}

#[tokio::test]
async fn kept_rows_do_not_allow_emptying_a_table() {
    let workdir = workdir().await;
    let reads = [full("boxes", boxes(1..=3)), full("things", things(1..=5))];
    stage(&workdir, &reads);
    workdir.json(["load"]).await;
    // The things are in box 1.
    stage(&workdir, &[full("boxes", boxes(7..=8))]);
    workdir
        .cursus(["load"])
        .await
        .exits(4)
        .says("boxes: prune limit exceeded: 2 deletes held");
    assert_eq!(workdir.count("boxes").await, 5);
}

#[tokio::test]
async fn prune_limit_is_a_share_of_the_previous_rows() {
    let workdir = workdir().await;
    let reads = [full("boxes", boxes(1..=1)), full("things", things(1..=50))];
    stage(&workdir, &reads);
    workdir.json(["load"]).await;
    // A tenth of fifty may go, however many come.
    stage(&workdir, &[full("things", things(7..=400))]);
    workdir
        .cursus(["load"])
        .await
        .exits(4)
        .says("things: prune limit exceeded: 6 deletes held");
    stage(&workdir, &[full("things", things(6..=450))]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("things").await, 445);
}
