//! What differs is shown row by row and column by column, and nobody's data with it unless they are asked for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::boxes::{boxes, full, stage, thing, things, workdir};
use crate::support::{Workdir, oracle, simulator, snapshot};

/// The part of a document that is about a table.
fn of<'d>(document: &'d Value, table: &str) -> &'d Value {
    let mut tables = document["tables"].as_array().unwrap().iter();
    tables.find(|one| one["table"] == table).unwrap()
}

/// A mirror, and a copy of it in which four rows of coalitions were touched.
async fn two_schemas() -> Workdir {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    workdir.json(["load", "--into", "other"]).await;
    workdir
        .query(
            "UPDATE coalitions_users SET id = -7 WHERE id = (SELECT min(id) FROM coalitions_users);
             UPDATE other.coalitions SET score = -5, name = 'A secret name' WHERE id = (SELECT min(id) FROM other.coalitions);
             UPDATE other.coalitions SET color = NULL WHERE id = (SELECT max(id) FROM other.coalitions);
             UPDATE other.coalitions SET ingested_at = now() - interval '1 day'",
        )
        .await;
    workdir
}

#[tokio::test]
async fn every_row_that_differs_is_counted_by_table_and_column() {
    let workdir = two_schemas().await;
    let document = workdir.json(["diff", "public", "other"]).await;
    assert_eq!(
        document["tables"].as_array().unwrap().len(),
        oracle::TABLES.len()
    );
    let changed: Vec<&Value> = (document["tables"].as_array().unwrap().iter())
        .filter(|table| table["added"] != 0 || table["removed"] != 0 || table["changed"] != 0)
        .map(|table| &table["table"])
        .collect();
    assert_eq!(changed, ["coalitions", "coalitions_users"]);
    let coalitions = of(&document, "coalitions");
    assert_eq!(coalitions["changed"], 2);
    let columns = json!({"color": 1, "name": 1, "score": 1});
    assert_eq!(coalitions["columns"], columns);
    let members = of(&document, "coalitions_users");
    assert_eq!(
        (&members["added"], &members["removed"], &members["changed"]),
        (&json!(1), &json!(1), &json!(0))
    );
    let first = workdir.number("SELECT min(id) FROM coalitions").await;
    let sample = json!({"kind": "changed", "key": {"id": first}, "columns": ["name", "score"]});
    assert_eq!(coalitions["samples"][0], sample);
    // Seen from the other side it is the other way round.
    let document = workdir.json(["diff", "other", "live"]).await;
    let members = of(&document, "coalitions_users");
    assert_eq!(members["samples"][0]["kind"], "added");
    assert_eq!(members["samples"][0]["key"]["id"], -7);
}

#[tokio::test]
async fn values_are_shown_only_if_they_are_asked_for() {
    let workdir = two_schemas().await;
    let before = workdir
        .column("SELECT score FROM coalitions ORDER BY id LIMIT 1")
        .await;
    for arguments in [
        vec!["diff", "live", "other"],
        vec!["diff", "live", "other", "--json"],
    ] {
        let ran = workdir.cursus(arguments).await.exits(0);
        assert!(ran.stdout.contains("score"), "{ran}");
        assert!(!ran.stdout.contains("A secret name"), "{ran}");
        assert!(!ran.stdout.contains("→ -5"), "{ran}");
    }
    let shown = [
        "diff",
        "live",
        "other",
        "--show-values",
        "--table",
        "coalitions",
    ];
    let document = workdir.json(shown).await;
    let sample = &of(&document, "coalitions")["samples"][0];
    assert_eq!(
        sample["after"],
        json!({"name": "A secret name", "score": -5})
    );
    assert_eq!(sample["before"]["score"].to_string(), before[0]);
    let ran = workdir.cursus(shown).await.exits(0);
    assert!(
        ran.stdout.contains(&format!("score {} → -5", before[0])),
        "{ran}"
    );
}

#[tokio::test]
async fn one_row_and_fewer_samples_can_be_asked_for() {
    let workdir = two_schemas().await;
    let id = workdir.number("SELECT max(id) FROM coalitions").await;
    let document = workdir
        .json([
            "diff",
            "live",
            "other",
            "--table",
            "coalitions",
            "--key",
            &id.to_string(),
        ])
        .await;
    let coalitions = of(&document, "coalitions");
    assert_eq!(coalitions["columns"], json!({"color": 1}));
    assert_eq!(coalitions["changed"], 1);
    // Tables whose keys have other columns are reported.
    let document = workdir
        .json(["diff", "live", "other", "--key", "campus_id=1,project_id=2"])
        .await;
    assert_eq!(document["tables"].as_array().unwrap().len(), 1);
    assert_eq!(document["tables"][0]["table"], "campus_projects");
    let document = workdir
        .json(["diff", "live", "other", "--limit", "0"])
        .await;
    assert_eq!(of(&document, "coalitions")["samples"], json!([]));
    workdir
        .cursus(["diff", "live", "other", "--table", "coalition"])
        .await
        .exits(2)
        .says("did you mean `coalitions`?");
    workdir
        .cursus(["diff", "live", "nowhere"])
        .await
        .exits(2)
        .says("there is no schema `nowhere`");
}

#[tokio::test]
async fn diff_of_a_run_compares_its_load_and_leaves_no_schema() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let first = workdir.json(["run"]).await["run_id"].clone();
    let first = first.as_str().unwrap();
    simulator.advance(Duration::from_hours(30));
    workdir.json(["extract", "--full"]).await;
    let traces = "SELECT (SELECT count(*) FROM pipeline.run), (SELECT count(*) FROM pipeline.load), \
                  (SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%diff%')";
    let before = workdir.query(traces).await;
    // What a comparison that was killed has left.
    workdir
        .query(
            "CREATE SCHEMA public_diff_1 CREATE TABLE left_over (id int);
             COMMENT ON SCHEMA public_diff_1 IS 'Made by `cursus diff`; nobody needs it afterwards.';
             CREATE SCHEMA public_diff_2;
             COMMENT ON SCHEMA public_diff_2 IS 'Made by `cursus diff`; nobody needs it afterwards.'",
        )
        .await;
    let answer = workdir.json(["diff", "live", "latest"]).await;
    assert_eq!(workdir.query(traces).await, before);
    let between = workdir.json(["diff", first, "latest"]).await;
    assert_eq!(answer["tables"], between["tables"]);
    assert_eq!(workdir.query(traces).await, before);
    // The load then does just that.
    let loaded = workdir.json(["load"]).await;
    let mut rows = 0;
    for table in loaded["tables"].as_array().unwrap() {
        let diff = of(&answer, table["name"].as_str().unwrap());
        assert_eq!(diff["added"], table["inserted"], "{diff}");
        assert_eq!(diff["removed"], table["deleted"], "{diff}");
        rows += diff["changed"].as_u64().unwrap();
    }
    assert!(rows > 0);
    // A schema of that name that is somebody else's stays as it is.
    workdir
        .query("CREATE SCHEMA public_diff_1 CREATE TABLE precious (id int)")
        .await;
    let refused = workdir.cursus(["diff", "live", "latest"]).await.exits(4);
    refused.says("the schema public_diff_1 is not empty");
    workdir
        .query("DROP TABLE public_diff_1.precious; DROP SCHEMA public_diff_1")
        .await;
    let same = workdir.cursus(["diff", "live", "latest"]).await.exits(0);
    snapshot::assert_said("diff_same", &workdir, &same);
}

#[tokio::test]
async fn fully_loaded_mirror_equals_its_newest_run() {
    let workdir = workdir().await;
    let read = |things| [full("boxes", boxes(1..=3)), full("things", things)];
    stage(&workdir, &read(things(1..=40)));
    workdir.json(["load"]).await;
    // Half of it is missing, more than the prune limit, and one thing is rejected.
    let mut half = things(2..=20);
    half.push(thing(1, 1.5).replace("1.5", r#""heavy""#));
    stage(&workdir, &read(half));
    let before = workdir.json(["diff", "live", "latest"]).await;
    workdir.json_exits(4, ["load"]).await;
    let after = workdir.json(["diff", "live", "latest"]).await;
    for answer in [before, after] {
        for table in answer["tables"].as_array().unwrap() {
            let rows = ["added", "removed", "changed"].map(|kind| table[kind].as_u64());
            assert_eq!(rows, [Some(0); 3], "{answer:#}");
        }
    }
    // What the mirror lacks is reported.
    workdir.query("DELETE FROM things WHERE id = 30").await;
    let answer = workdir.json(["diff", "live", "latest"]).await;
    assert_eq!(of(&answer, "things")["added"], 1, "{answer:#}");
}

#[tokio::test]
async fn diff_names_what_cannot_be_loaded_and_compares_the_rest() {
    let workdir = workdir().await;
    let read = |boxes, things| [full("boxes", boxes), full("things", things)];
    let first = stage(&workdir, &read(boxes(1..=3), things(1..=40)));
    workdir.json(["load"]).await;
    // The API has renamed a key: a load refuses the things, and what refers to them.
    let renamed = things(1..=39);
    let renamed = renamed.iter().map(|thing| thing.replace("weight", "mass"));
    let second = stage(&workdir, &read(boxes(1..=4), renamed.collect()));
    let diff = ["diff", "live", "latest"];
    let answer = workdir.json_exits(4, diff).await;
    assert_eq!(answer["not_loaded"], json!({second.as_str(): ["things"]}));
    let errors = answer["errors"].to_string();
    assert!(errors.contains("no record has /weight"), "{errors}");
    assert_eq!(of(&answer, "boxes")["added"], 1, "{answer:#}");
    let ran = workdir.cursus(diff).await.exits(4);
    let line = format!("not loaded of {second}, so its previous state is compared: things\n");
    assert!(ran.stdout.contains(&line), "{ran}");
    ran.says("no record has /weight");
    let answer = workdir.json(["diff", "live", &first]).await;
    assert_eq!(answer["not_loaded"], json!({}));
}

#[tokio::test]
async fn values_are_shown_as_they_are_however_deep() {
    let workdir = workdir().await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let number = "123456789012345678901234567890.10";
    let thing = |id: i64, document: &str| {
        format!(r#"{{"id":{id},"kind":"thing","document":{document},"parts":[]}}"#)
    };
    let things = |document: &str| vec![thing(8, document), thing(9, document)];
    let read = |things| [full("boxes", boxes(1..=3)), full("things", things)];
    stage(&workdir, &read(things(&format!("[{deep},{number}]"))));
    workdir.json(["load"]).await;
    stage(&workdir, &read(vec![thing(9, number)]));
    let before = format!(r#"{{"document":[{deep}, {number}]}}"#);
    let arguments = ["diff", "live", "latest", "--show-values"];
    let ran = workdir
        .cursus([&arguments[..], &["--json"]].concat())
        .await
        .exits(0);
    for text in [
        format!(r#""before":{before},"after":{{"document":{number}}}"#),
        format!(r#""before":{{"box_id":null,"document":[{deep}, {number}]"#),
    ] {
        assert!(ran.stdout.contains(&text), "{text}: {ran}");
    }
    assert!(!ran.stdout.contains("cursus_oid"), "{ran}");
    let ran = workdir.cursus(arguments).await.exits(0);
    assert!(ran.stdout.contains(&format!("… → {number}")), "{ran}");
    // A document stays one, whatever stands between its parts.
    workdir
        .query(
            "CREATE SCHEMA one CREATE TABLE documents (id int PRIMARY KEY, document json);
             CREATE SCHEMA two CREATE TABLE documents (id int PRIMARY KEY, document json);
             INSERT INTO one.documents VALUES (1, E'[1,\\t\\r\\n1.10]')",
        )
        .await;
    let removed = ["diff", "one", "two", "--show-values"];
    let answer = workdir.json(removed).await;
    let sample = &of(&answer, "documents")["samples"][0];
    assert_eq!(sample["before"], json!({"id": 1, "document": [1, 1.1]}));
}
