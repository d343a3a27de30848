//! A null, a missing key or a value of another type where the API documents a value deletes nothing.

use serde_json::{Value, json};

use crate::support::boxes::{
    PIPELINE, Read, boxes, delta, full, stage, things, workdir, workdir_of,
};
use crate::support::{Shared, Workdir, oracle, simulator};

const CODES: &str = "SELECT concat_ws(' ', table_name, coalesce(column_name, pointer), code) FROM pipeline.quarantine ORDER BY 1";
const WAITING: &str = "SELECT count(*) FROM pipeline.quarantine";

type Reader = fn(&str, Vec<String>) -> Read<'_>;

/// Takes a key out of a record (none), or gives it another value.
fn with(record: &str, key: &str, value: Option<&Value>) -> String {
    let mut record: Value = serde_json::from_str(record).unwrap();
    match value {
        Some(value) => record[key] = value.clone(),
        None => drop(record.as_object_mut().unwrap().remove(key)),
    }
    record.to_string()
}

/// Whatever does not tell what the API documents; the code that it waits with.
fn unusual(documented: &Value) -> Vec<(Option<Value>, &'static str)> {
    let others = [
        json!(true),
        json!("thing"),
        json!(7),
        json!(7.5),
        json!({"0": 1}),
        json!([1]),
    ];
    let is_other =
        |value: &Value| std::mem::discriminant(value) != std::mem::discriminant(documented);
    let others = others.into_iter().filter(is_other);
    let others = others.map(|value| (Some(value), "type"));
    [(None, "null"), (Some(Value::Null), "null")]
        .into_iter()
        .chain(others)
        .collect()
}

/// A mirror of boxes, thirty things and their parts.
async fn loaded() -> Workdir {
    static LOADED: Shared = Shared::new();
    let load = async || {
        let workdir = workdir().await;
        let reads = [
            full("boxes", boxes(1..=3)),
            full("things", things(1..=30)),
            full("notes", Vec::new()),
        ];
        stage(&workdir, &reads);
        workdir.json(["load"]).await;
        workdir
    };
    LOADED.workdir(load).await
}

#[tokio::test]
async fn a_list_that_is_no_list_deletes_no_row_of_its_record() {
    let workdir = loaded().await;
    let parts =
        "SELECT concat_ws(' ', thing_id, id) FROM parts WHERE thing_id IN (1, 2) ORDER BY 1";
    for read in [delta as Reader, full] {
        for (value, code) in unusual(&json!([])) {
            // Of the other record it is known that its part is missing.
            let mut records = things(1..=30);
            records[0] = with(&records[0], "parts", value.as_ref());
            records[1] = with(&records[1], "parts", Some(&json!([])));
            stage(&workdir, &[read("things", records)]);
            let report = workdir.json_exits(3, ["load"]).await;
            assert_eq!(
                workdir.column(parts).await,
                ["1 1"],
                "{value:?}: {report:#}"
            );
            let waits = format!("parts /parts {code}");
            assert_eq!(workdir.column(CODES).await, [waits], "{value:?}");
            stage(&workdir, &[delta("things", things(1..=2))]);
            workdir.json(["load"]).await;
            assert_eq!(workdir.column(parts).await, ["1 1", "2 1"]);
            assert_eq!(workdir.number(WAITING).await, 0);
        }
    }
    // An empty list is one.
    let none = with(&things(1..=1)[0], "parts", Some(&json!([])));
    stage(&workdir, &[delta("things", vec![none])]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.column(parts).await, ["2 1"]);
}

#[tokio::test]
async fn an_element_that_is_no_row_deletes_no_row_of_its_record() {
    let workdir = loaded().await;
    let parts =
        "SELECT concat_ws(' ', thing_id, id) FROM parts WHERE thing_id IN (1, 2) ORDER BY 1";
    for read in [delta as Reader, full] {
        for element in [
            Value::Null,
            json!(7),
            json!("part"),
            json!([]),
            json!({}),
            json!({"id": null, "size": 1}),
            json!({"id": "x", "size": 1}),
        ] {
            let mut records = things(1..=30);
            records[0] = with(&records[0], "parts", Some(&json!([element])));
            records[1] = with(&records[1], "parts", Some(&json!([])));
            stage(&workdir, &[read("things", records)]);
            workdir.json_exits(3, ["load"]).await;
            assert_eq!(workdir.column(parts).await, ["1 1"], "{element}");
            assert_eq!(workdir.column(CODES).await, ["parts id key"], "{element}");
            stage(&workdir, &[delta("things", things(1..=2))]);
            workdir.json(["load"]).await;
        }
    }
}

#[tokio::test]
async fn a_value_that_no_where_can_judge_deletes_no_row() {
    let workdir = loaded().await;
    let pipeline =
        |condition: &str| PIPELINE.replace(r#"where = { "/kind" = "thing" }"#, condition);
    let rows = "SELECT count(*) FROM things";
    let conditions = [
        (
            r#"where = { "/kind" = "thing" }"#,
            json!("thing"),
            json!("other"),
        ),
        (r#"where = { "/kind" = false }"#, json!(false), json!(true)),
        (r#"where = { "/kind" = [21, 22] }"#, json!(22), json!(23)),
    ];
    for (condition, good, bad) in conditions {
        workdir.write("pipeline.toml", pipeline(condition));
        let good = |ids| -> Vec<String> {
            let records = things(ids);
            let records = records
                .iter()
                .map(|record| with(record, "kind", Some(&good)));
            records.collect()
        };
        stage(&workdir, &[full("things", good(1..=30))]);
        workdir.json(["load"]).await;
        for read in [delta as Reader, full] {
            for (value, code) in unusual(&bad) {
                let mut records = good(1..=30);
                records[0] = with(&records[0], "kind", value.as_ref());
                stage(&workdir, &[read("things", records)]);
                workdir.json_exits(3, ["load"]).await;
                assert_eq!(workdir.number(rows).await, 30, "{condition}: {value:?}");
                let waits = format!("things /kind {code}");
                assert_eq!(workdir.column(CODES).await, [waits]);
            }
        }
        // What can be judged is.
        let mut records = good(1..=30);
        records[0] = with(&records[0], "kind", Some(&bad));
        stage(&workdir, &[delta("things", records)]);
        let report = workdir.json(["load"]).await;
        let things = report["tables"].as_array().unwrap();
        let things = things.iter().find(|table| table["name"] == "things");
        assert_eq!(things.unwrap()["deleted"], 1, "{report:#}");
        assert_eq!(workdir.number(rows).await, 29);
    }
}

#[tokio::test]
async fn one_condition_that_cannot_be_judged_is_enough_in_any_order() {
    let pipeline = |conditions: &str| {
        format!(
            "[[resource]]\nname = \"people\"\npath = \"/people\"\n\
             [[table]]\nname = \"people\"\nfrom = \"people\"\nwhere = {{ {conditions} }}\n"
        )
    };
    let tables = "CREATE TABLE people (id bigint PRIMARY KEY)";
    for conditions in [
        r#""/a" = "yes", "/b" = false"#,
        r#""/b" = false, "/a" = "yes""#,
    ] {
        let workdir = workdir_of(&pipeline(conditions), tables).await;
        let person = |id: i64, a: &Value, b: &Value| json!({"id": id, "a": a, "b": b}).to_string();
        let good = |id| person(id, &json!("yes"), &json!(false));
        stage(&workdir, &[full("people", (1..=3).map(good).collect())]);
        workdir.json(["load"]).await;
        let odd = vec![
            person(1, &Value::Null, &json!(true)),
            person(2, &json!("no"), &Value::Null),
            good(3),
        ];
        stage(&workdir, &[full("people", odd)]);
        workdir.json_exits(3, ["load"]).await;
        assert_eq!(workdir.count("people").await, 3);
        let explained = workdir.json(["explain", "people", "1"]).await;
        assert!(
            !explained.to_string().contains("out of scope"),
            "{explained:#}"
        );
    }
}

#[tokio::test]
async fn row_without_its_owner_or_reference_is_quarantined() {
    let pipeline = r#"
[[resource]]
name = "stays"
path = "/stays"
[[resource]]
name = "bills"
path = "/bills"
[[table]]
name = "stays"
from = "stays"
[[table]]
name = "steps"
from = "stays"
rows = "/steps"
after = ["stays"]
owner = { stay_id = "stays.id" }
[[table]]
name = "bills"
from = "bills"
after = ["stays"]
within = { stay_id = "stays.id" }
"#;
    // The API names the stay in the step as well.
    let tables = "CREATE TABLE stays (id bigint PRIMARY KEY); \
                  CREATE TABLE steps (id bigint PRIMARY KEY, stay_id bigint); \
                  CREATE TABLE bills (id bigint PRIMARY KEY, stay_id bigint);";
    let workdir = workdir_of(pipeline, tables).await;
    let step = |id: i64, stay: &Value| json!({"id": id, "stay_id": stay});
    let stay = |id: i64, steps: &[Value]| json!({"id": id, "steps": steps}).to_string();
    let bill = |id: i64, stay: &Value| json!({"id": id, "stay_id": stay}).to_string();
    let reads = |odd: &Value| {
        let first = stay(1, &[step(1, odd), step(2, &json!(1))]);
        [
            full("stays", vec![first, stay(2, &[step(3, &json!(2))])]),
            full("bills", vec![bill(1, odd), bill(2, &json!(2))]),
        ]
    };
    stage(&workdir, &reads(&json!(1)));
    workdir.json(["load"]).await;
    let rows = "SELECT concat_ws(' ', 'step', id, stay_id) FROM steps UNION ALL \
                SELECT concat_ws(' ', 'bill', id, stay_id) FROM bills ORDER BY 1";
    let all = workdir.column(rows).await;
    assert_eq!(all.len(), 5);
    for odd in [Value::Null, json!("x"), json!([])] {
        stage(&workdir, &reads(&odd));
        workdir.json_exits(3, ["load"]).await;
        assert_eq!(workdir.column(rows).await, all, "{odd}");
        assert_eq!(workdir.number(WAITING).await, 2, "{odd}");
        // Nor does a later load take them for rows whose reference left.
        stage(
            &workdir,
            &[delta("stays", vec![stay(2, &[step(3, &json!(2))])])],
        );
        workdir.json(["load"]).await;
        assert_eq!(workdir.column(rows).await, all, "{odd}");
    }
    stage(&workdir, &reads(&json!(1)));
    workdir.json(["load"]).await;
    assert_eq!(workdir.number(WAITING).await, 0);
}

#[tokio::test]
async fn a_record_without_a_key_protects_only_what_it_may_be() {
    let workdir = loaded().await;
    let mut records = vec![with(&things(5..=5)[0], "id", Some(&Value::Null))];
    // Of this one it is known that the part is missing.
    records.push(with(&things(2..=2)[0], "parts", Some(&json!([]))));
    for read in [delta as Reader, full] {
        stage(&workdir, &[read("things", records.clone())]);
        workdir.json_exits(3, ["load"]).await;
        let parts = "SELECT count(*) FROM parts";
        assert_eq!(workdir.number(parts).await, 29);
        assert_eq!(workdir.count("things").await, 30);
    }
}

#[tokio::test]
async fn a_key_that_is_null_in_every_record_stops_its_resource() {
    for (key, answer) in [
        ("parts", "of parts were rejected"),
        ("kind", "of things were rejected"),
    ] {
        let workdir = loaded().await;
        let nulls = things(1..=30);
        let nulls = nulls
            .iter()
            .map(|record| with(record, key, Some(&Value::Null)));
        stage(&workdir, &[full("things", nulls.collect())]);
        workdir.cursus(["load"]).await.exits(4).says(answer);
        assert_eq!(workdir.number(WAITING).await, 0);
        for table in ["things", "parts"] {
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(workdir.number(&count).await, 30);
        }
        // A key that is in none is missing.
        let without = things(1..=30);
        let without = without.iter().map(|record| with(record, key, None));
        stage(&workdir, &[full("things", without.collect())]);
        let answer = format!("no record has /{key}: the API has renamed or dropped it");
        workdir.cursus(["load"]).await.exits(4).says(&answer);
        assert_eq!(workdir.count("parts").await, 30);
    }
}

/// The shipped pipeline: sessions, campuses, people, and achievements, which name their campuses.
#[tokio::test]
async fn nulls_of_the_real_api_delete_nothing() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    workdir.json(["run"]).await;
    let names = good.rows("campus");
    let achievements = good.rows("achievements");
    let is_known = |name: &Value| names.iter().any(|campus| campus["name"] == *name);
    let linked: Vec<usize> = (0..achievements.len())
        .filter(|at| {
            let names = achievements[*at]["campus"].as_array().unwrap();
            names.iter().filter(|name| is_known(name)).count() > 1
        })
        .collect();
    let counts = "SELECT concat_ws(' ', (SELECT count(*) FROM project_sessions), (SELECT count(*) FROM campus_projects), \
                  (SELECT count(*) FROM users), (SELECT count(*) FROM campus_users), (SELECT count(*) FROM campus_achievements))";
    let before = workdir.column(counts).await;
    let odd_names = [
        json!(null),
        json!({}),
        json!("Paris"),
        json!([null]),
        json!([7]),
    ];
    assert!(linked.len() >= odd_names.len());
    // As the API would show them, with something else in some of them.
    let mut records = [
        workdir.staged("projects").await,
        workdir.staged("achievements").await,
        workdir.staged("users").await,
    ];
    let [projects, shown, people] = &mut records;
    for (at, names) in linked.iter().zip(&odd_names) {
        let id = &achievements[*at]["id"];
        let record = shown.iter_mut().find(|record| record["id"] == *id);
        record.unwrap()["campus"] = names.clone();
    }
    projects[0]["project_sessions"] = Value::Null;
    projects[1]["campus"] = json!({});
    projects[2]
        .as_object_mut()
        .unwrap()
        .remove("project_sessions");
    for (person, value) in people
        .iter_mut()
        .zip([json!(null), json!("false"), json!(0)])
    {
        person["alumni?"] = value;
    }
    let texts = records.map(|records| records.iter().map(Value::to_string).collect::<Vec<_>>());
    let [projects, shown, people] = texts;
    workdir.without_api();
    for read in [delta as Reader, full] {
        let reads = [
            read("projects", projects.clone()),
            read("achievements", shown.clone()),
            read("users", people.clone()),
        ];
        stage(&workdir, &reads);
        workdir.cursus(["load"]).await.exits(3);
        assert_eq!(workdir.column(counts).await, before);
        nulls_wait(&workdir, odd_names.len()).await;
    }
    workdir.use_api(&good);
    workdir.json(["run", "--full"]).await;
    assert_eq!(workdir.number(WAITING).await, 0);
    oracle::assert_mirrors(&workdir, &good).await;
}

async fn nulls_wait(workdir: &Workdir, names: usize) {
    let waits = "SELECT DISTINCT table_name FROM pipeline.quarantine ORDER BY 1";
    let waiting = [
        "campus_achievements",
        "campus_projects",
        "project_sessions",
        "users",
    ];
    assert_eq!(workdir.column(waits).await, waiting);
    let links = "SELECT count(*) FROM pipeline.quarantine WHERE table_name = 'campus_achievements' \
                 AND parent IS NOT NULL AND reason = 'campus is no list of names'";
    assert_eq!(usize::try_from(workdir.number(links).await).unwrap(), names);
}

#[tokio::test]
async fn repeated_record_is_quarantined_once_by_its_last() {
    let workdir = loaded().await;
    let odd = |id| with(&things(id..=id)[0], "kind", Some(&Value::Null));
    // Of the first both are rejected, of the second the last one does, of the third the first one.
    let mut records = vec![odd(1), odd(2), things(3..=3).remove(0)];
    records.extend(things(4..=30));
    records.extend([odd(1), things(2..=2).remove(0), odd(3)]);
    for read in [delta as Reader, full] {
        stage(&workdir, &[read("things", records.clone())]);
        let report = workdir.json_exits(3, ["load"]).await;
        let things = report["tables"].as_array().unwrap();
        let things = things.iter().find(|table| table["name"] == "things");
        assert_eq!(things.unwrap()["quarantined"], 2, "{report:#}");
        let waiting = "SELECT concat_ws(' ', key ->> 'id', right(file, 18), record_index) \
                       FROM pipeline.quarantine ORDER BY 1";
        let pages = ["1 page-00005.json.gz 2", "3 page-00005.json.gz 4"];
        assert_eq!(workdir.column(waiting).await, pages);
        assert_eq!(workdir.count("things").await, 30);
    }
}
