//! A resource that failed, is held back, or was never read whole deletes nothing in those that depend on it.

use cursus::staging::{Mode, State};
use serde_json::{Value, json};

use crate::support::Workdir;
use crate::support::boxes::{boxes, delta, full, stage, thing, things, workdir, workdir_of};

const NOTES: &str = "SELECT count(*) FROM notes";

fn notes(ids: std::ops::RangeInclusive<i64>) -> Vec<String> {
    let note = |id: i64| json!({"id": id, "thing_id": id, "text": "n"}).to_string();
    ids.map(note).collect()
}

/// A mirror of boxes, twenty things and their notes.
async fn loaded() -> Workdir {
    let workdir = workdir().await;
    let reads = [
        full("boxes", boxes(1..=3)),
        full("things", things(1..=20)),
        full("notes", notes(1..=20)),
    ];
    stage(&workdir, &reads);
    workdir.json(["load"]).await;
    workdir
}

#[tokio::test]
async fn failed_resource_deletes_no_row_within_it() {
    let workdir = loaded().await;
    // Somebody has deleted some, and their notes would follow.
    workdir.query("DELETE FROM things WHERE id <= 3").await;
    let broken =
        "ALTER TABLE things ADD CONSTRAINT none CHECK (weight < 100), ALTER weight SET NOT NULL";
    workdir.query(broken).await;
    let heavy = (1..=40).map(|id| thing(id, 500.0)).collect();
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", heavy)],
    );
    workdir.cursus(["load"]).await.exits(4);
    assert_eq!(workdir.number(NOTES).await, 20);
    // In a later run of the same load it is held back.
    stage(
        &workdir,
        &[full("boxes", boxes(1..=4)), full("notes", notes(1..=20))],
    );
    workdir.cursus(["load"]).await.exits(4);
    assert_eq!(workdir.number(NOTES).await, 20);
    assert_eq!(workdir.count("boxes").await, 4);
    // When it is whole again, so are they.
    stage(&workdir, &[full("things", things(1..=19))]);
    workdir.cursus(["load"]).await.exits(4);
    assert_eq!(workdir.number(NOTES).await, 19);
}

#[tokio::test]
async fn table_without_a_full_read_deletes_no_dependent_row() {
    let pipeline = r#"
[[resource]]
name = "people"
path = "/people"
[[resource]]
name = "places"
path = "/places"
[[table]]
name = "people"
from = "people"
[[table]]
name = "places"
from = "places"
after = ["people"]
within = { person_id = "people.id" }
"#;
    let tables = "CREATE TABLE people (id bigint PRIMARY KEY, name text); \
                  CREATE TABLE places (id bigint PRIMARY KEY, person_id bigint); \
                  INSERT INTO places SELECT n, n FROM generate_series(1, 4) AS n; \
                  INSERT INTO people SELECT n, 'old' FROM generate_series(1, 4) AS n;";
    let person = |id: i64| json!({"id": id, "name": "new"}).to_string();
    let place = |id: i64| json!({"id": id, "person_id": id}).to_string();
    for state in [State::Partial, State::Drifted, State::Complete] {
        let workdir = workdir_of(pipeline, tables).await;
        workdir.cursus(["migrate"]).await.exits(0);
        workdir.query("DELETE FROM people WHERE id > 2").await;
        let people = ("people", Mode::Full, state, (1..=2).map(person).collect());
        stage(
            &workdir,
            &[people, delta("places", vec![place(1), place(4)])],
        );
        workdir.cursus(["load"]).await;
        let left = if state == State::Complete { 2 } else { 4 };
        let count = "SELECT count(*) FROM places";
        assert_eq!(workdir.number(count).await, left, "{state}");
        let people = full("people", (1..=3).map(person).collect());
        stage(&workdir, &[people]);
        workdir.json(["load"]).await;
        let left = if state == State::Complete { 2 } else { 3 };
        assert_eq!(workdir.number(count).await, left, "{state}");
    }
}

#[tokio::test]
async fn fan_out_of_a_failed_resource_is_held_with_it() {
    let pipeline = r#"
[[resource]]
name = "people"
path = "/people"
[[resource]]
name = "places"
path = "/places"
query = { "filter[person_id]" = "{person_id}" }
for_each = { ids_of = "people", as = "person_id", batch = 10 }
[[table]]
name = "people"
from = "people"
[[table]]
name = "places"
from = "places"
"#;
    let tables = "CREATE TABLE people (id bigint PRIMARY KEY, size integer); \
                  CREATE TABLE places (id bigint PRIMARY KEY, person_id bigint);";
    let workdir = workdir_of(pipeline, tables).await;
    let person = |id: i64, size: &Value| json!({"id": id, "size": size}).to_string();
    let place = |id: i64| json!({"id": id, "person_id": id}).to_string();
    let reads = |ids: std::ops::RangeInclusive<i64>, size: &Value| {
        [
            full("people", ids.clone().map(|id| person(id, size)).collect()),
            full("places", ids.map(place).collect()),
        ]
    };
    stage(&workdir, &reads(1..=30, &json!(1)));
    workdir.json(["load"]).await;
    // All are rejected, so it is not known which are missing.
    stage(&workdir, &reads(3..=30, &json!("large")));
    workdir.cursus(["load"]).await.exits(1);
    assert_eq!(workdir.count("places").await, 30);
    stage(&workdir, &reads(3..=30, &json!(2)));
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("places").await, 28);
}
