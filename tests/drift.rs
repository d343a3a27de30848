//! When the API changes the shape of its records, it is told, and good data are not overwritten with nothing.

use serde_json::{Value, json};

use crate::support::{Workdir, World, oracle, simulator};

const DRIFT: &str =
    "SELECT resource, path, kind, first_file FROM pipeline.drift ORDER BY resource, path";

/// Takes a key out of every record.
fn without(rows: &mut [Value], key: &str) {
    for row in rows {
        row.as_object_mut().unwrap().remove(key).unwrap();
    }
}

#[tokio::test]
async fn what_is_new_gone_or_of_another_type_is_told_and_noted() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    let report = workdir.json(["run"]).await;
    assert_eq!(
        report.get("drift"),
        None,
        "the first load knows no other shape"
    );
    let mut world = World::of(&good);
    for row in world.rows("users") {
        row["shoe_size"] = json!(44);
        row["image"]["versions"]["huge"] = json!("https://example.org/huge.jpg");
    }
    // Nothing is mapped to it.
    without(world.rows("users"), "pool_year");
    world.rows("coalitions")[2]["name"] = json!(["Many", "names"]);
    let bad = world.serve().await;
    workdir.use_api(&bad);
    let report = workdir.json_exits(3, ["run", "--full"]).await;
    let told: Vec<String> = (report["drift"].as_array().unwrap().iter())
        .map(|drift| format!("{} {} {}", drift["resource"], drift["path"], drift["kind"]))
        .collect();
    let page = |resource: &str| format!("{resource}/page-00001.json.gz");
    let noted = workdir.query(DRIFT).await;
    let noted: Vec<Vec<String>> = (noted.into_iter())
        .map(|row| row.into_iter().map(Option::unwrap).collect())
        .collect();
    let expected = [
        ["coalitions", "/name", "type", &page("coalitions")],
        ["users", "/image/versions/huge", "new", &page("users")],
        ["users", "/pool_year", "gone", &page("users")],
        ["users", "/shoe_size", "new", &page("users")],
    ];
    assert_eq!(noted, expected, "{told:?}");
    assert_eq!(told.len(), expected.len());
    // It is told once.
    let report = workdir.json_exits(3, ["run", "--full"]).await;
    assert_eq!(report.get("drift"), None);
}

#[tokio::test]
async fn a_mapped_key_that_no_record_has_stops_its_resource_before_nulls_overwrite_data() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    workdir.json(["run"]).await;
    let mut world = World::of(&good);
    for row in world.rows("users") {
        let wallet = row["wallet"].take();
        row["purse"] = wallet;
    }
    without(world.rows("users"), "wallet");
    for row in world.rows("projects") {
        for session in row["project_sessions"].as_array_mut().unwrap() {
            session.as_object_mut().unwrap().remove("solo").unwrap();
        }
    }
    for row in world.rows("projects_users") {
        let project = row["project"].as_object_mut().unwrap();
        let id = project.remove("id").unwrap();
        project.insert("number".to_owned(), id);
    }
    let bad = world.serve().await;
    workdir.use_api(&bad);
    let ran = workdir
        .cursus(["run", "--full"])
        .await
        .exits(4)
        .says("users: no record has /wallet: the API has renamed or dropped it")
        .says("projects: no record has /solo (project_sessions)")
        .says("projects_users: no record has /project/id");
    assert!(!ran.stderr.contains("coalitions: no record"), "{ran}");
    let noted = workdir
        .column("SELECT resource || ' ' || path FROM pipeline.drift WHERE kind = 'gone' ORDER BY 1")
        .await;
    assert_eq!(
        noted,
        [
            "projects /solo (project_sessions)",
            "projects_users /project/id",
            "users /wallet"
        ]
    );
    // Everything is as it was.
    oracle::assert_mirrors(&workdir, &good).await;
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM pipeline.quarantine")
            .await,
        0
    );
    // With the new key in the mapping, the staged run loads.
    workdir.pipeline(&[
        (
            "staff = \"/staff?\"",
            "staff = \"/staff?\"\nwallet = \"/purse\"",
        ),
        (
            "project_id = \"/project/id\"",
            "project_id = \"/project/number\"",
        ),
        (
            "project_id = \"../id\"\n\n[[table]]\nname = \"campus_projects\"",
            "project_id = \"../id\"\nsolo = false\n\n[[table]]\nname = \"campus_projects\"",
        ),
    ]);
    workdir.cursus(["load"]).await.exits(0);
    oracle::assert_mirrors(&workdir, &good).await;
}

#[tokio::test]
async fn a_null_parent_and_few_records_are_no_drift() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    workdir.json(["run"]).await;
    let mut world = World::of(&good);
    // Fewer than twenty records lack it.
    assert!(good.rows("cursus").len() < 20);
    without(world.rows("cursus"), "kind");
    for row in world.rows("projects") {
        row["parent"] = Value::Null;
    }
    for row in world.rows("users") {
        row["image"] = Value::Null;
    }
    let other = world.serve().await;
    workdir.use_api(&other);
    let report = workdir.json(["run", "--full"]).await;
    assert_eq!(report.get("drift"), None, "{report:#}");
    oracle::assert_mirrors(&workdir, &other).await;
}
