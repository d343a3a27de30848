//! `load --dry-run`: what a load would do, and nothing is done.

use serde_json::json;

use crate::support::boxes::{boxes, delta, full, stage, thing, things, workdir};

#[tokio::test]
async fn it_neither_makes_nor_migrates_a_schema() {
    let workdir = workdir().await;
    stage(&workdir, &[full("boxes", boxes(1..=3))]);
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('pipeline', 'other')";
    let ran = workdir.cursus(["load", "--dry-run"]).await.exits(2);
    assert!(ran.stderr.contains("cursus migrate"), "{ran}");
    assert_eq!(workdir.number(made).await, 0);
    workdir.cursus(["migrate"]).await.exits(0);
    workdir
        .cursus(["load", "--dry-run", "--into", "other"])
        .await
        .exits(2);
    assert_eq!(workdir.number(made).await, 1);
    let dry = workdir.json(["load", "--dry-run"]).await;
    assert_eq!(dry["tables"][0]["inserted"], json!(3));
    assert_eq!(workdir.number("SELECT count(*) FROM boxes").await, 0);
}

#[tokio::test]
async fn each_run_finds_what_those_before_it_would_have_done_and_a_few_keys_are_told() {
    let workdir = workdir().await;
    workdir.cursus(["migrate"]).await.exits(0);
    stage(&workdir, &[full("boxes", boxes(1..=9))]);
    stage(&workdir, &[full("things", things(1..=40))]);
    stage(
        &workdir,
        &[delta("things", vec![thing(1, 2.0), thing(41, 1.0)])],
    );
    stage(&workdir, &[full("boxes", boxes(1..=8))]);
    let dry = workdir.json(["load", "--dry-run"]).await;
    let table = |name: &str| {
        let mut tables = dry["tables"].as_array().unwrap().iter();
        tables.find(|table| table["name"] == name).unwrap().clone()
    };
    let counts = |name: &str| {
        let table = table(name);
        ["inserted", "updated", "deleted", "quarantined"]
            .map(|count| table[count].as_i64().unwrap())
    };
    assert_eq!(counts("boxes"), [9, 0, 1, 0]);
    assert_eq!(counts("things"), [41, 1, 0, 0]);
    let samples = |name: &str| table(name)["samples"].clone();
    assert_eq!(samples("things")["inserted"].as_array().unwrap().len(), 5);
    assert_eq!(samples("things")["updated"], json!([{"id": 1}]));
    assert_eq!(samples("boxes")["deleted"], json!([{"id": 9}]));
    let told = workdir.cursus(["load", "--dry-run"]).await.exits(0);
    assert!(
        told.stdout.contains("\nthings updates {\"id\":1}\n"),
        "{told}"
    );
    assert!(
        told.stdout
            .contains("\nboxes inserts {\"id\":1}, {\"id\":2}, "),
        "{told}"
    );
    assert!(!told.stdout.contains("box 1"), "{told}");
    let nothing = "SELECT (SELECT count(*) FROM boxes) + (SELECT count(*) FROM pipeline.run)";
    assert_eq!(workdir.number(nothing).await, 0);
    let real = workdir.json(["load"]).await;
    assert_eq!(real["tables"][0].get("samples"), None);
    for (at, table) in real["tables"].as_array().unwrap().iter().enumerate() {
        for count in ["staged", "inserted", "updated", "deleted", "quarantined"] {
            assert_eq!(
                table[count], dry["tables"][at][count],
                "{count} of {}",
                table["name"]
            );
        }
    }
}
