//! Every row can be followed back to the record that it was made of.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::boxes::{
    boxes, delta, full, stage, thing, things, with_empty_database, workdir, workdir_of,
};
use crate::support::{Workdir, World, simulator};

fn column<'d>(explained: &'d Value, name: &str) -> &'d Value {
    let mut columns = explained["columns"].as_array().unwrap().iter();
    columns.find(|column| column["name"] == name).unwrap()
}

#[tokio::test]
async fn a_row_is_followed_to_the_newest_record_that_was_loaded() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let first = workdir.json(["run"]).await["run_id"].clone();
    simulator.advance(Duration::from_hours(13));
    let second = workdir.json(["run"]).await["run_id"].clone();
    for (order, run) in [("updated_at DESC", &second), ("updated_at", &first)] {
        let one = format!("SELECT id FROM coalitions_users ORDER BY {order} LIMIT 1");
        let id = workdir.number(&one).await.to_string();
        let explained = workdir.json(["explain", "coalitions_users", &id]).await;
        let origin = &explained["origin"];
        assert_eq!(origin["run_id"], *run, "{explained:#}");
        // The place that it names holds the record that it shows.
        let found = workdir
            .json([
                "stage",
                "cat",
                run.as_str().unwrap(),
                "coalitions_users",
                "--id",
                &id,
            ])
            .await;
        let last = found.as_array().unwrap().last().unwrap();
        assert_eq!(last["record"], origin["record"]);
        assert_eq!(last["request"], origin["request"]);
        assert_eq!(last["index"], origin["index"]);
        let file = last["file"].as_str().unwrap();
        assert!(file.ends_with(origin["file"].as_str().unwrap()), "{file}");
        assert_eq!(explained["row"]["score"], origin["record"]["score"]);
    }
}

#[tokio::test]
async fn each_column_names_its_pointer() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let id = workdir
        .number("SELECT min(id) FROM users")
        .await
        .to_string();
    let explained = workdir.json(["explain", "users", &id]).await;
    let record = &explained["origin"]["record"];
    let image = column(&explained, "image_small");
    assert_eq!(image["from"], "/image/versions/small");
    assert_eq!(image["in_record"], record["image"]["versions"]["small"]);
    assert_eq!(image["in_mirror"], explained["row"]["image_small"]);
    assert_eq!(column(&explained, "cursus_id")["from"], "{cursus_id}");
    assert_eq!(column(&explained, "cursus_id")["in_record"], "21");
    let derived = column(&explained, "campus_id");
    assert_eq!(derived["from"], "not the record: a [[derive]] or a default");
    let ran = workdir.cursus(["explain", "users", &id]).await.exits(0);
    for text in [
        "/image/versions/small",
        "users/page-00001.json.gz",
        "GET /v2/",
    ] {
        assert!(ran.stdout.contains(text), "{text}: {ran}");
    }
}

#[tokio::test]
async fn exploded_and_selected_rows_name_the_record_that_holds_them() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let one = "SELECT format('campus_id=%s,project_id=%s', campus_id, project_id) FROM campus_projects ORDER BY 1 DESC LIMIT 1";
    let key = workdir.column(one).await.remove(0);
    let explained = workdir.json(["explain", "campus_projects", &key]).await;
    assert!(explained["origin"]["element"].is_u64(), "{explained:#}");
    assert_eq!(column(&explained, "project_id")["from"], "../id");
    assert_eq!(
        column(&explained, "project_id")["in_record"],
        explained["row"]["project_id"]
    );
    assert_eq!(
        explained["origin"]["record"]["id"],
        explained["row"]["campus_id"]
    );

    let one = "SELECT 'achievement_id=' || achievement_id || ',campus_id=' || campus_id FROM campus_achievements LIMIT 1";
    let key = workdir.column(one).await.remove(0);
    let explained = workdir.json(["explain", "campus_achievements", &key]).await;
    assert_eq!(explained["origin"]["resource"], "achievements");
    assert_eq!(
        explained["origin"]["record"]["id"],
        explained["row"]["achievement_id"]
    );
    assert_eq!(
        column(&explained, "campus_id")["from"],
        "sql/campus_achievements.sql"
    );
}

#[tokio::test]
async fn explain_shows_quarantine_and_scope() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    let first = workdir.json(["run"]).await["run_id"].clone();
    let mut world = World::of(&good);
    let coalition = &mut world.rows("coalitions")[3];
    let id = coalition["id"].to_string();
    coalition["score"] = json!("many");
    let bad = world.serve().await;
    workdir.use_api(&bad);
    workdir.cursus(["run", "--full"]).await.exits(3);
    let explained = workdir.json(["explain", "coalitions", &id]).await;
    assert_eq!(
        explained["origin"]["run_id"], first,
        "the old record made the row"
    );
    let waiting = workdir.json(["quarantine", "ls", "coalitions"]).await;
    assert_eq!(waiting[0]["column"], "score");
    assert_eq!(
        explained["quarantine"], waiting,
        "the same names for the same"
    );
    let notes = explained["notes"].to_string();
    assert!(notes.contains("is in quarantine"), "{notes}");
    let ran = workdir
        .cursus(["explain", "coalitions", &id])
        .await
        .exits(0);
    let entry = &waiting[0];
    let line = format!(
        "rejected  {} [{}] of the run {}: score: {}; cursus quarantine show {}\n",
        entry["file"].as_str().unwrap(),
        entry["record"],
        entry["run_id"].as_str().unwrap(),
        entry["reason"].as_str().unwrap(),
        entry["id"],
    );
    assert!(ran.stdout.contains(&line), "{line}{ran}");
}

#[tokio::test]
async fn explain_finds_quarantine_by_any_spelling_of_a_time() {
    let workdir = workdir_of(
        "[[resource]]\nname = \"visits\"\npath = \"/visits\"\n[[table]]\nname = \"visits\"\nfrom = \"visits\"\n",
        "CREATE TABLE visits (at timestamptz PRIMARY KEY, size bigint)",
    )
    .await;
    let visit = json!({"at": "2026-01-01T01:00:00+01:00", "size": "much"});
    stage(&workdir, &[full("visits", vec![visit.to_string()])]);
    workdir.json_exits(3, ["load"]).await;
    let waiting = workdir.json(["quarantine", "ls", "visits"]).await;
    let explained = workdir
        .json(["explain", "visits", "2026-01-01T00:00:00Z"])
        .await;
    assert_eq!(explained["quarantine"], waiting, "{explained:#}");
    assert_eq!(explained["origin"]["record"], visit);
}

#[tokio::test]
async fn rejected_record_is_no_origin_after_its_entry_was_dropped() {
    let workdir = workdir().await;
    let bad_ones = |id: i64| thing(id, 1.5).replace("1.5", r#""heavy""#);
    let first = stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=10))],
    );
    workdir.json(["load"]).await;
    let second = stage(
        &workdir,
        &[delta("things", vec![bad_ones(9), bad_ones(11)])],
    );
    workdir.json_exits(3, ["load"]).await;
    workdir.json(["quarantine", "drop", "--all"]).await;
    let explained = workdir.json(["explain", "things", "9"]).await;
    assert_eq!(explained["origin"]["run_id"], first, "{explained:#}");
    assert_eq!(column(&explained, "weight")["in_record"], 1.5);
    let note = |index| {
        format!(
            "a newer record, in things/page-00001.json.gz [{index}] of the run {second}, was rejected and made no row \
             (weight: a number is wanted, not a text)"
        )
    };
    assert_eq!(explained["notes"], json!([note(0)]));
    // Its parts are whole.
    let explained = workdir.json(["explain", "parts", "thing_id=9,id=1"]).await;
    assert_eq!(explained["origin"]["run_id"], second, "{explained:#}");
    // Of what has no row, the record that made none is shown.
    let explained = workdir.json(["explain", "things", "11"]).await;
    assert_eq!(explained["row"], Value::Null);
    assert_eq!(explained["origin"]["record"]["weight"], "heavy");
    assert_eq!(explained["notes"][0], note(1));
}

#[tokio::test]
async fn explain_before_the_first_load_says_what_makes_tables() {
    let workdir = with_empty_database().await;
    stage(&workdir, &[full("boxes", boxes(1..=3))]);
    let ran = workdir.cursus(["explain", "boxes", "1"]).await.exits(2);
    let ran = ran.says("`cursus load` makes them").says("cursus migrate");
    assert!(!ran.stderr.contains("add a migration"), "{ran}");
    workdir.json(["migrate"]).await;
    let ran = workdir.cursus(["explain", "boxes", "1"]).await.exits(1);
    ran.says("there is no such row");
    // A table that no migration makes is still said to need one.
    workdir.query("DROP TABLE notes").await;
    let ran = workdir.cursus(["explain", "boxes", "1"]).await.exits(2);
    ran.says("add a migration that creates it");
}

#[tokio::test]
async fn missing_or_invalid_key_is_reported() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    for (arguments, code, said) in [
        (["explain", "users", "999999999"], 1, "there is no such row"),
        (
            ["explain", "users", "jdoe"],
            2,
            "this is no value of id: it is not a number",
        ),
        (
            ["explain", "users", "99999999999999999999"],
            2,
            "this is no value of id: the number is out of the range of bigint",
        ),
        (
            ["explain", "users", "1,2"],
            2,
            "the key of users is id: write id=…",
        ),
        (["explain", "user", "1"], 2, "did you mean `users`?"),
    ] {
        workdir.cursus(arguments).await.exits(code).says(said);
    }
}

#[tokio::test]
async fn explain_names_the_record_that_the_merge_took() {
    let workdir = workdir().await;
    // The newest by its cursor comes first; what has none is older than all, wherever it comes.
    let thing = |weight: f64, seen_at: Value| {
        json!({"id": 9, "kind": "thing", "weight": weight, "seen_at": seen_at, "parts": [{"id": 1, "size": weight}]})
            .to_string()
    };
    stage(
        &workdir,
        &[
            full("boxes", boxes(1..=3)),
            full(
                "things",
                vec![
                    thing(1.0, json!("1999-01-01T00:00:00Z")),
                    thing(2.0, json!("2026-01-02T00:00:00Z")),
                    thing(3.0, json!("2026-01-01T00:00:00Z")),
                    thing(4.0, Value::Null),
                ],
            ),
        ],
    );
    workdir.json(["load"]).await;
    let explained = workdir.json(["explain", "things", "9"]).await;
    assert_eq!(explained["origin"]["index"], 1, "{explained:#}");
    assert_eq!(column(&explained, "weight")["in_record"], 2.0);
    assert_eq!(column(&explained, "weight")["in_mirror"], 2.0);
    let part = ["explain", "parts", "thing_id=9,id=1"];
    let explained = workdir.json(part).await;
    assert_eq!(explained["origin"]["index"], 1, "{explained:#}");
    assert_eq!(explained["row"]["size"], 2);
    // Of two that are equally new, the later one.
    let same = |weight| thing(weight, json!("2026-01-03T00:00:00Z"));
    stage(&workdir, &[delta("things", vec![same(5.0), same(6.0)])]);
    workdir.json(["load"]).await;
    let explained = workdir.json(["explain", "things", "9"]).await;
    assert_eq!(explained["origin"]["index"], 1, "{explained:#}");
    assert_eq!(explained["row"]["weight"], 6);
}

#[tokio::test]
async fn the_record_and_the_row_are_shown_as_they_are() {
    let workdir = workdir().await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let number = "123456789012345678901234567890.10";
    // Of others, so that a tab between its parts is theirs too.
    let record = format!(
        r#"{{"weight":1.10,{tab}"kind":"thing","id":9,"document":{{"z":{deep},"a":{number}}},"seen_at":null,"parts":[]}}"#,
        tab = '\t'
    );
    stage(
        &workdir,
        &[
            full("boxes", boxes(1..=3)),
            full("things", vec![record.clone()]),
        ],
    );
    workdir.json(["load"]).await;
    let record = record.replace('\t', " ");
    let document = format!(r#"{{"z":{deep},"a":{number}}}"#);
    let stored = format!(r#"{{"a": {number}, "z": {deep}}}"#);
    let ran = workdir
        .cursus(["explain", "things", "9", "--json"])
        .await
        .exits(0);
    for text in [
        format!(r#""record":{record}"#),
        format!(r#""in_record":{document},"in_mirror":{stored}"#),
        r#""in_record":1.10,"in_mirror":1.1"#.to_owned(),
    ] {
        assert!(ran.stdout.contains(&text), "{text}: {ran}");
    }
    let ran = workdir.cursus(["explain", "things", "9"]).await.exits(0);
    assert!(ran.stdout.contains(&format!("\n{record}\n")), "{ran}");
}

/// Rows of several owners can have one key: an element of an older version of its owner does not compete.
#[tokio::test]
async fn an_element_of_an_older_owner_is_no_origin() {
    let pipeline = "[[resource]]\nname = \"things\"\npath = \"/things\"\ncursor = { field = \"seen_at\", lookback = \"1m\" }\n\
                    [[table]]\nname = \"things\"\nfrom = \"things\"\n\
                    [[table]]\nname = \"parts\"\nfrom = \"things\"\nrows = \"/parts\"\nafter = [\"things\"]\n\
                    owner = { thing_id = \"things.id\" }\n[table.columns]\nthing_id = \"../id\"\n";
    let tables = "CREATE TABLE things (id bigint PRIMARY KEY, seen_at timestamptz); \
                  CREATE TABLE parts (id bigint PRIMARY KEY, thing_id bigint, size bigint)";
    let workdir = workdir_of(pipeline, tables).await;
    let thing = |id: i64, seen_at: &str, size: i64| {
        json!({"id": id, "seen_at": seen_at, "parts": [{"id": 7, "size": size}]}).to_string()
    };
    let things = vec![
        thing(1, "2026-01-02T00:00:00Z", 1),
        thing(1, "2026-01-01T00:00:00Z", 2),
    ];
    stage(&workdir, &[full("things", things)]);
    workdir.json(["load"]).await;
    let explained = workdir.json(["explain", "parts", "7"]).await;
    assert_eq!(explained["row"]["size"], 1, "{explained:#}");
    assert_eq!(explained["origin"]["index"], 0, "{explained:#}");
    assert_eq!(column(&explained, "size")["in_record"], 1);
}

#[tokio::test]
async fn explain_runs_where_transactions_are_read_only() {
    let workdir = workdir().await;
    stage(&workdir, &[full("boxes", boxes(1..=3))]);
    workdir.json(["load"]).await;
    let before = workdir.json(["explain", "boxes", "2"]).await;
    let database = workdir.column("SELECT current_database()").await.remove(0);
    let read_only = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    workdir.query(&read_only).await;
    assert_eq!(workdir.json(["explain", "boxes", "2"]).await, before);
    assert_eq!(before["origin"]["record"]["id"], 2);
}
