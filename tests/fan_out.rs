//! Resources that are read once for each id of another: one id a path, or many a filter.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::{SCALE, Workdir, oracle, simulator};

/// The shipped block of memberships, and one that reads them one coalition at a time.
pub(crate) const FLAT: &str =
    "path = \"/v2/coalitions_users\"           # flat: fewer pages than one coalition at a time
cursor = { field = \"updated_at\", lookback = \"10m\" }
full_every = \"30d\"
";
pub(crate) const ONE_BY_ONE: &str = "path = \"/v2/coalitions/{coalition_id}/coalitions_users\"
for_each = { ids_of = \"coalitions\", as = \"coalition_id\" }
";

fn slices(workdir: &Workdir, resource: &str) -> BTreeSet<String> {
    let run = workdir.run_directory();
    fs::read_dir(run.join(resource))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

fn resource<'r>(report: &'r Value, name: &str) -> &'r Value {
    let resources = report["resources"].as_array().unwrap();
    resources
        .iter()
        .find(|resource| resource["name"] == name)
        .unwrap()
}

#[tokio::test]
async fn one_id_a_path_reads_all_and_gives_the_id_as_a_constant() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[
        (FLAT, ONE_BY_ONE),
        (
            "name = \"coalitions_users\"\nfrom = \"coalitions_users\"\nafter = [\"coalitions\"]\nreferences = { user_id = \"users.id\" }\n",
            "name = \"coalitions_users\"\nfrom = \"coalitions_users\"\nafter = [\"coalitions\"]\nreferences = { user_id = \"users.id\" }\n[table.columns]\ncoalition_id = \"{coalition_id}\"\n",
        ),
    ]);
    let report = workdir.json(["run"]).await;
    let read = resource(&report, "coalitions_users");
    assert_eq!(
        (read["state"].as_str(), read["mode"].as_str()),
        (Some("complete"), Some("full"))
    );
    assert_eq!(read["rows"], SCALE.memberships);
    oracle::assert_mirrors(&workdir, &simulator).await;
    let wanted: BTreeSet<String> = (simulator.rows("coalitions").iter())
        .map(|coalition| format!("coalition_id={}", coalition["id"]))
        .collect();
    assert_eq!(slices(&workdir, "coalitions_users"), wanted);
    // Every coalition has its pages, each its own path.
    let pages = workdir
        .json(["stage", "ls", "latest", "coalitions_users"])
        .await;
    for page in pages.as_array().unwrap() {
        let id = page["slice"]
            .as_str()
            .unwrap()
            .strip_prefix("coalition_id=")
            .unwrap();
        let path = format!("/v2/coalitions/{id}/coalitions_users?");
        assert!(
            page["request"].as_str().unwrap().starts_with(&path),
            "{page}"
        );
    }
}

#[tokio::test]
async fn many_ids_a_filter_read_all_in_few_requests() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("batch = 85", "batch = 7")]);
    let report = workdir.json(["run"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
    let mut ids: Vec<i64> = (workdir.column("SELECT id FROM users").await.iter())
        .map(|id| id.parse().unwrap())
        .collect();
    ids.sort_unstable();
    let wanted: BTreeSet<String> = ids
        .chunks(7)
        .map(|batch| match batch {
            [one] => format!("user_id={one}"),
            _ => format!("user_id={}..{}", batch[0], batch[batch.len() - 1]),
        })
        .collect();
    assert_eq!(slices(&workdir, "campus_users"), wanted);
    let read = resource(&report, "campus_users");
    assert_eq!(read["hits"], wanted.len());
    let pages = workdir
        .json(["stage", "ls", "latest", "campus_users"])
        .await;
    let asked: Vec<&str> = pages
        .as_array()
        .unwrap()
        .iter()
        .map(|page| page["request"].as_str().unwrap())
        .collect();
    let first: Vec<String> = ids[..7].iter().map(ToString::to_string).collect();
    let comma_joined = [first.join(","), first.join("%2C")];
    assert!(
        asked
            .iter()
            .any(|request| comma_joined.iter().any(|ids| request.contains(ids))),
        "{asked:?}"
    );
}

#[tokio::test]
async fn slice_of_several_pages_is_read_in_full() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[(FLAT, &format!("{ONE_BY_ONE}page_size = 7\n"))]);
    workdir.json(["run"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn a_delta_fans_out_over_what_the_delta_of_its_parent_showed() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    simulator.advance(std::time::Duration::from_hours(13));
    let report = workdir.json(["run"]).await;
    let shown = resource(&report, "users")["rows"].as_u64().unwrap();
    assert!(shown > 0 && shown < SCALE.students as u64, "{report:#}");
    let read = resource(&report, "campus_users");
    assert_eq!(read["mode"], "delta");
    let asked = format!("for {shown} ids of users");
    assert!(read["notes"].to_string().contains(&asked), "{read:#}");
}

#[tokio::test]
async fn fan_out_without_all_parent_ids_reads_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    simulator.advance(std::time::Duration::from_hours(13));
    workdir.json(["extract", "--select", "users"]).await;
    let manifest = workdir.run_directory().join("users/manifest.json");
    fs::write(&manifest, "{").unwrap();
    let report = workdir.json_exits(3, ["extract"]).await;
    let read = resource(&report, "campus_users");
    assert_eq!(read["state"], "failed", "{report:#}");
    let notes = read["notes"].to_string();
    assert!(notes.contains(manifest.to_str().unwrap()), "{notes}");
    assert_eq!(resource(&report, "cursus_users")["state"], "complete");
    assert!(notes.contains("cursus extract --full --select"), "{notes}");
    workdir
        .json(["extract", "--full", "--select", "users"])
        .await;
    let report = workdir.json(["extract"]).await;
    let read = resource(&report, "campus_users");
    assert_eq!(read["state"], "complete", "{report:#}");
}

#[tokio::test]
async fn the_ids_of_another_resource_are_another_question() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    workdir.pipeline(&[(
        "for_each = { ids_of = \"users\"",
        "for_each = { ids_of = \"cursus_users\"",
    )]);
    let report = workdir.json(["extract"]).await;
    let read = resource(&report, "campus_users");
    assert_eq!(read["mode"], "full", "{report:#}");
}
