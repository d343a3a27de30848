//! When the API changes the shape of its records, it is reported, and good data are not overwritten with nothing.

use serde_json::{Value, json};

use crate::support::Workdir;
use crate::support::boxes::{
    PIPELINE, boxes, content, delta, directory, full, stage, stage_pages, things, workdir,
};

const DRIFT: &str = "SELECT concat_ws(' ', run_id, resource, path, kind, first_file) FROM pipeline.drift ORDER BY 1";

/// The records as an API would send them that has changed its mind.
fn changed(records: &[String], change: impl Fn(&mut Value)) -> Vec<String> {
    let change = |record: &String| {
        let mut record = serde_json::from_str(record).unwrap();
        change(&mut record);
        record.to_string()
    };
    records.iter().map(change).collect()
}

/// Calls a key by another name.
fn rename(object: &mut Value, from: &str, to: &str) {
    let object = object.as_object_mut().unwrap();
    let value = object.remove(from).unwrap();
    object.insert(to.to_owned(), value);
}

/// A mirror of boxes, thirty things and their parts.
async fn loaded() -> Workdir {
    let workdir = workdir().await;
    let reads = [
        full("boxes", boxes(1..=3)),
        full("things", things(1..=30)),
        full("notes", Vec::new()),
    ];
    stage(&workdir, &reads);
    let report = workdir.json(["load"]).await;
    assert_eq!(
        report.get("drift"),
        None,
        "the first load knows no other shape"
    );
    workdir
}

#[tokio::test]
async fn new_missing_or_retyped_keys_are_reported_once() {
    let workdir = loaded().await;
    let other = changed(&things(1..=30), |thing| {
        thing["colour"] = json!(["red", "green"]);
        thing["document"]["\u{1b}[2Jnew"] = json!(1);
        rename(thing, "kind", "sort");
        rename(thing, "sort", "kind");
        thing["price"] = json!({"net": 1});
    });
    // Nothing is mapped to `a`, which is in the document only.
    let other = changed(&other, |thing| {
        thing["document"].as_object_mut().unwrap().remove("a");
    });
    let run = stage(&workdir, &[full("things", other.clone())]);
    let loaded = workdir.cursus(["load"]).await.exits(0);
    let first = "things/page-00001.json.gz";
    let answer = [
        format!("drift: things: /colour has values of another type ({first})"),
        format!("drift: things: /document/\\u{{1b}}[2Jnew is new in its records ({first})"),
        format!("drift: things: /price is new in its records ({first})"),
        format!("drift: things: /document/a is in none of its records ({first})"),
    ];
    assert_eq!(
        loaded
            .stderr
            .lines()
            .filter_map(|line| Some(&line[line.find("drift: ")?..]))
            .collect::<Vec<_>>(),
        answer
    );
    let noted = [
        format!("{run} things /colour type {first}"),
        format!("{run} things /document/\u{1b}[2Jnew new {first}"),
        format!("{run} things /document/a gone {first}"),
        format!("{run} things /price new {first}"),
    ];
    assert_eq!(workdir.column(DRIFT).await, noted);
    stage(&workdir, &[full("things", other)]);
    let report = workdir.json(["load"]).await;
    assert_eq!(report.get("drift"), None, "it is reported once");
    assert_eq!(workdir.column(DRIFT).await, noted);
}

#[tokio::test]
async fn missing_mapped_key_stops_its_resource() {
    let workdir = loaded().await;
    let before = content(&workdir, "public").await;
    let renamed = |records: &[String]| {
        changed(records, |thing| {
            rename(thing, "weight", "mass");
            rename(&mut thing["parts"][0], "size", "length");
        })
    };
    let reads = [
        full("boxes", boxes(1..=4)),
        full("things", renamed(&things(1..=30))),
    ];
    let run = stage(&workdir, &reads);
    workdir
        .cursus(["load"])
        .await
        .exits(4)
        .says("things: no record has /size (parts), /weight: the API has renamed or dropped it");
    let first = "things/page-00001.json.gz";
    assert_eq!(
        workdir.column(DRIFT).await,
        [
            format!("{run} things /size (parts) gone {first}"),
            format!("{run} things /weight gone {first}")
        ]
    );
    let mut now = content(&workdir, "public").await;
    assert_eq!(now["boxes"].len(), 4, "other resources load");
    assert_eq!(now.remove("things"), before.get("things").cloned());
    assert_eq!(now.remove("parts"), before.get("parts").cloned());
    assert_eq!(now["quarantine"], Vec::<String>::new());

    // With the new keys in the mapping, the staged run loads, and the mirror has all that it had.
    let mapped = PIPELINE
        .replace(
            "after = [\"boxes\"]",
            "after = [\"boxes\"]\n[table.columns]\nweight = \"/mass\"",
        )
        .replace(
            "thing_id = \"../id\"",
            "thing_id = \"../id\"\nsize = \"/length\"",
        );
    workdir.write("pipeline.toml", mapped);
    workdir.cursus(["load"]).await.exits(0);
    let now = content(&workdir, "public").await;
    assert_eq!(now["things"], before["things"]);
    assert_eq!(now["parts"], before["parts"]);
    assert!(directory(&workdir, &run).is_dir());
}

#[tokio::test]
async fn nulls_few_records_and_one_that_has_the_key_are_no_drift() {
    let workdir = loaded().await;
    let lacking = |thing: &mut Value| {
        thing.as_object_mut().unwrap().remove("weight");
    };
    // Fewer than twenty lack it; then all of a page but one; then its parent is null.
    stage(
        &workdir,
        &[delta("things", changed(&things(1..=19), lacking))],
    );
    let most = changed(&things(1..=30), |thing| {
        if thing["id"] != 3 {
            lacking(thing);
        }
    });
    stage(&workdir, &[full("things", most)]);
    let nulls = changed(&things(1..=30), |thing| {
        thing["weight"] = Value::Null;
        thing["document"] = Value::Null;
    });
    stage(&workdir, &[delta("things", nulls)]);
    let report = workdir.json(["load"]).await;
    assert_eq!(report.get("drift"), None, "{report:#}");
    assert_eq!(workdir.count("things WHERE weight IS NULL").await, 30);
}

#[tokio::test]
async fn keys_of_some_records_are_neither_missing_nor_new() {
    let workdir = workdir().await;
    let without = |keys: &'static [&str], until: i64| {
        changed(&things(1..=100), move |thing| {
            if thing["id"].as_i64().unwrap() <= until {
                let thing = thing.as_object_mut().unwrap();
                for key in keys {
                    thing.remove(*key);
                }
            }
        })
    };
    // `weight` is mapped, `colour` is not; the first page is sampled up to its 25th record.
    for things in [
        without(&["weight"], 26),
        without(&[], 0),
        without(&["weight", "colour"], 26),
        without(&[], 0),
        without(&["weight", "colour"], 99),
        without(&[], 0),
    ] {
        let reads = [full("boxes", boxes(1..=3)), full("things", things)];
        stage_pages(&workdir, &reads, 100);
        let report = workdir.json(["load"]).await;
        assert_eq!(report.get("drift"), None, "{report:#}");
    }
    assert_eq!(workdir.column(DRIFT).await, Vec::<String>::new());
    let weights = "SELECT count(weight) FROM things";
    assert_eq!(workdir.number(weights).await, 100);
}

#[tokio::test]
async fn a_comparison_that_gives_up_says_nothing_of_what_is_absent() {
    let workdir = loaded().await;
    // Box by box from the highest; the rare key is in the last ones only, behind more than a comparison keeps.
    workdir.write(
        "migrations/mirror/V1001__rare.sql",
        "ALTER TABLE boxes ADD COLUMN rare text",
    );
    let wide = |filler: &str| -> Vec<String> {
        let mut boxes: Vec<String> = (1..=3_000)
            .rev()
            .map(|id: i64| {
                let mut record = json!({"id": id, "name": filler.repeat(4_000)});
                if id <= 50 {
                    record["rare"] = json!("r");
                }
                record.to_string()
            })
            .collect();
        boxes.shrink_to_fit();
        boxes
    };
    for filler in ["x", "y"] {
        stage_pages(&workdir, &[full("boxes", wide(filler))], 100);
        workdir.cursus(["load"]).await.exits(0);
        assert_eq!(
            workdir
                .number(&format!(
                    "SELECT count(*) FROM boxes WHERE left(name, 1) = '{filler}' AND (rare IS NOT NULL) = (id <= 50)"
                ))
                .await,
            3_000
        );
    }
}

#[tokio::test]
async fn missing_key_without_data_is_a_warning() {
    let workdir = workdir().await;
    // The API has no such key yet, or the mapping is wrong: the table has nothing in that column.
    let without = changed(&things(1..=30), |thing| {
        thing.as_object_mut().unwrap().remove("weight");
    });
    let reads = [full("boxes", boxes(1..=3)), full("things", without.clone())];
    let run = stage(&workdir, &reads);
    workdir
        .cursus(["load"])
        .await
        .exits(0)
        .says("drift: things: /weight is in none of its records");
    let first = "things/page-00001.json.gz";
    let answer = [format!("{run} things /weight gone {first}")];
    assert_eq!(workdir.column(DRIFT).await, answer);
    assert_eq!(workdir.count("things").await, 30);

    // As soon as one row has a value there is something to lose.
    stage(&workdir, &[delta("things", things(1..=1))]);
    workdir.cursus(["load"]).await.exits(0);
    stage(&workdir, &[full("things", without)]);
    let ran = workdir.cursus(["load"]).await.exits(4);
    ran.says("things: no record has /weight: the API has renamed or dropped it");
    let weights = "SELECT count(weight) FROM things";
    assert_eq!(workdir.number(weights).await, 1);
}

#[tokio::test]
async fn keys_that_are_data_are_neither_reported_nor_kept() {
    let workdir = workdir().await;
    for run in 0..3 {
        let voted = (1..=30).map(|id| {
            json!({"id": id, "name": "box", "votes": {format!("login{run}_{id}"): 1}}).to_string()
        });
        stage(&workdir, &[full("boxes", voted.collect())]);
        let ran = workdir.cursus(["load"]).await.exits(0);
        assert!(!ran.stderr.contains("login"), "{ran}");
    }
    let ledger = "SELECT count(*) FROM pipeline.drift WHERE path LIKE '%login%'";
    assert_eq!(workdir.number(ledger).await, 0);
    let kept = "SELECT count(*) FROM pipeline.shape WHERE fields::text LIKE '%login%'";
    assert_eq!(workdir.number(kept).await, 0);
}
