//! The guard before deletes: a few rows may go, many need a person.

use serde_json::Value;

use crate::support::{Workdir, World, oracle, simulator};

/// A world without so many of its memberships, the oldest.
fn without(mut world: World, gone: usize) -> World {
    world.rows("coalitions_users").drain(..gone);
    world
}

fn of_table<'r>(report: &'r Value, table: &str) -> &'r Value {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|entry| entry["name"] == table).unwrap()
}

#[tokio::test]
async fn half_of_a_table_does_not_vanish_unasked() {
    let whole = simulator().await;
    let mut workdir = Workdir::with(&whole).await;
    workdir.json(["run"]).await;
    let half = without(World::of(&whole), 250).serve().await;
    workdir.use_api(&half);
    let report = workdir.json_exits(4, ["run", "--full"]).await;
    assert_eq!(report["state"], "complete", "the read itself is good");
    assert_eq!(of_table(&report, "coalitions_users")["deleted"], 0);
    assert!(
        report["errors"]
            .to_string()
            .contains("250 rows are gone from the API"),
        "{report:#}"
    );

    // Nothing is deleted, and everything else was loaded.
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM coalitions_users")
            .await,
        500
    );
    let candidates = "SELECT key->>'id' FROM pipeline.prune_candidate WHERE table_name = 'coalitions_users' ORDER BY (key->>'id')::bigint";
    let gone: Vec<String> = whole.rows("coalitions_users")[..250]
        .iter()
        .map(|row| row["id"].to_string())
        .collect();
    assert_eq!(workdir.column(candidates).await, gone);
    let refused = "SELECT refused FROM pipeline.load WHERE table_name = 'coalitions_users' ORDER BY id DESC LIMIT 1";
    assert_eq!(workdir.number(refused).await, 250);

    // Once a person has said so, they go.
    let report = workdir.json(["load", "--again", "--allow-prune"]).await;
    assert_eq!(of_table(&report, "coalitions_users")["deleted"], 250);
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM pipeline.prune_candidate")
            .await,
        0
    );
    oracle::assert_mirrors(&workdir, &half).await;
}

#[tokio::test]
async fn what_came_back_is_no_candidate_any_more() {
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
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM pipeline.prune_candidate")
            .await,
        0
    );
    oracle::assert_mirrors(&workdir, &whole).await;
}

#[tokio::test]
async fn a_few_rows_go_unasked() {
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
async fn the_guard_is_as_wide_as_the_configuration_says() {
    let whole = simulator().await;
    let mut workdir = Workdir::with(&whole).await;
    workdir.pipeline(&[("max_fraction = 0.02", "max_fraction = 0.5")]);
    workdir.json(["run"]).await;
    let half = without(World::of(&whole), 250).serve().await;
    workdir.use_api(&half);
    workdir.json(["run", "--full"]).await;
    oracle::assert_mirrors(&workdir, &half).await;
}
