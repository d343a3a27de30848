//! `load --dry-run`: what a load would do, and nothing is done.

use serde_json::json;

use crate::support::boxes::{
    boxes, delta, full, stage, thing, things, with_empty_database, workdir,
};

#[tokio::test]
async fn it_neither_makes_nor_migrates_a_schema() {
    let workdir = with_empty_database().await;
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
    assert_eq!(workdir.count("boxes").await, 0);
}

#[tokio::test]
async fn dry_run_builds_on_earlier_runs_and_samples_keys() {
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
    let answer = workdir.cursus(["load", "--dry-run"]).await.exits(0);
    assert!(
        answer.stdout.contains("\nthings updates {\"id\":1}\n"),
        "{answer}"
    );
    assert!(
        answer
            .stdout
            .contains("\nboxes inserts {\"id\":1}, {\"id\":2}, "),
        "{answer}"
    );
    assert!(!answer.stdout.contains("box 1"), "{answer}");
    let nothing = "SELECT (SELECT count(*) FROM boxes) + (SELECT count(*) FROM pipeline.run)";
    assert_eq!(workdir.number(nothing).await, 0);
    let real = workdir.json(["load"]).await;
    assert_eq!(real["tables"][0].get("samples"), None);
    assert_eq!((&dry["dry_run"], real.get("dry_run")), (&json!(true), None));
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

#[tokio::test]
async fn dry_run_reports_held_and_rejected_rows_as_conditional() {
    let workdir = workdir().await;
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=20))],
    );
    workdir.json(["load"]).await;
    let mut few = things(1..=5);
    few.push(thing(21, 1.0).replace("1.0", "\"heavy\""));
    let run = stage(&workdir, &[full("things", few)]);
    let ran = workdir.cursus(["load", "--dry-run"]).await.exits(4);
    let ran = ran
        .says(&format!(
            "{run}, things: prune limit exceeded: 15 deletes would be held until they are approved\n"
        ))
        .says(&format!(
            "{run}, things: 1 row would be quarantined\n"
        ));
    // Nothing is there to be looked at.
    for command in ["cursus prune", "cursus quarantine"] {
        assert!(!ran.stderr.contains(command), "{ran}");
    }
    for line in [
        "\nthings holds {\"id\":6}, {\"id\":7}, {\"id\":8}, {\"id\":9}, {\"id\":10}, …\n",
        "\nthings rejects things/page-00001.json.gz [5], weight: ",
    ] {
        assert!(ran.stdout.contains(line), "{ran}");
    }
    assert!(!ran.stdout.contains("heavy"), "{ran}");
    let dry = workdir.json_exits(4, ["load", "--dry-run"]).await;
    let mut tables = dry["tables"].as_array().unwrap().iter();
    let things = tables.find(|table| table["name"] == "things").unwrap();
    let rejected = &things["samples"]["unfit"][0];
    let place = ["file", "record", "column"].map(|key| rejected[key].clone());
    let file = "things/page-00001.json.gz";
    assert_eq!(place, [json!(file), json!(5), json!("weight")]);
    assert_eq!(things["samples"]["held"].as_array().unwrap().len(), 5);
    // Once it is done, both are where the commands find them.
    let ran = workdir.cursus(["load"]).await.exits(4);
    ran.says("review with `cursus prune ls`")
        .says("list the reasons with `cursus quarantine ls things`\n");
}
