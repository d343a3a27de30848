//! What loads have changed: all of it, in order, once, and read by those who come back.

mod following;

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::histories::{World, approve};
use crate::support::Workdir;
use crate::support::boxes::{
    PIPELINE, boxes, delta, full, stage, stage_in_order, thing, things, workdir, workdir_of,
};

/// Every table, without the document of things and the text of notes.
pub(crate) const FOLLOWED: &str = "[changes.tables]\nboxes = [\"name\", \"things\"]\n\
    things = [\"box_id\", \"weight\", \"seen_at\"]\nparts = [\"size\", \"thing_id\"]\nnotes = [\"thing_id\"]\n";
const COLUMNS: [(&str, &str); 4] = [
    ("boxes", "id, name, things"),
    ("things", "id, box_id, weight, seen_at"),
    ("parts", "thing_id, id, size"),
    ("notes", "id, thing_id"),
];

/// Boxes and things that are followed.
pub(crate) async fn followed() -> Workdir {
    let workdir = workdir().await;
    workdir.write("pipeline.toml", format!("{PIPELINE}{FOLLOWED}"));
    workdir
}

pub(crate) async fn changes(workdir: &Workdir, arguments: &[&str]) -> Vec<Value> {
    let ran = workdir
        .cursus([&["changes", "--json"], arguments].concat())
        .await;
    let lines = ran.exits(0).stdout;
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// `users/12` → 12.
pub(crate) fn seq(event: &Value) -> u64 {
    let id = event["id"].as_str().unwrap();
    id.rsplit_once('/').unwrap().1.parse().unwrap()
}

type Tables = BTreeMap<String, BTreeMap<String, Value>>;

async fn table(workdir: &Workdir, table: &str, columns: &str) -> BTreeMap<String, Value> {
    let rows = format!("SELECT to_jsonb(t)::text FROM (SELECT {columns} FROM {table}) AS t");
    let rows = workdir.column(&rows).await;
    let rows = rows
        .iter()
        .map(|row| serde_json::from_str::<Value>(row).unwrap());
    let key = |row: &Value| match table {
        "parts" => json!({"id": row["id"], "thing_id": row["thing_id"]}).to_string(),
        _ => json!({"id": row["id"]}).to_string(),
    };
    rows.map(|row| (key(&row), row)).collect()
}

async fn tables(workdir: &Workdir) -> Tables {
    let mut tables = Tables::new();
    for (name, columns) in COLUMNS {
        tables.insert(name.to_owned(), table(workdir, name, columns).await);
    }
    tables
}

/// Follows the changes as a reader does who keeps a copy. Each must fit what the copy has.
async fn fold(workdir: &Workdir, copy: &mut Tables, events: &[Value]) {
    for event in events {
        let data = &event["data"];
        let name = data["source"]["table"].as_str().unwrap();
        let rows = copy.entry(name.to_owned()).or_default();
        let key = data["key"].to_string();
        let (before, after) = (data["before"].clone(), data["after"].clone());
        match data["op"].as_str().unwrap() {
            "s" => {
                let (_, columns) = COLUMNS.iter().find(|(table, _)| *table == name).unwrap();
                *rows = table(workdir, name, columns).await;
            }
            "c" => {
                assert_eq!(before, Value::Null, "{event}");
                assert_eq!(rows.insert(key, after), None, "{event}");
            }
            "u" => {
                for (column, value) in before.as_object().unwrap() {
                    let is_changed = data["changed"].as_array().unwrap().contains(&json!(column));
                    assert_eq!(is_changed, *value != after[column], "{event}");
                }
                assert_eq!(rows.insert(key, after), Some(before), "{event}");
            }
            "d" => {
                assert_eq!(after, Value::Null, "{event}");
                assert_eq!(rows.remove(&key), Some(before), "{event}");
            }
            op => panic!("{op}: {event}"),
        }
    }
}

/// Reads what is new, checks that no number is missing, and that the copy is the mirror.
async fn catch_up(workdir: &Workdir, copy: &mut Tables, last: &mut u64, context: &str) {
    let events = changes(workdir, &["--since", &last.to_string()]).await;
    for event in &events {
        assert_eq!(seq(event), *last + 1, "{context}: {event}");
        *last += 1;
    }
    fold(workdir, copy, &events).await;
    assert_eq!(*copy, tables(workdir).await, "{context}");
}

/// How often each kind of change was seen.
async fn follow_histories(seeds: std::ops::Range<u64>) -> BTreeMap<String, usize> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in seeds {
        let workdir = workdir().await;
        let things = "name = \"things\"\nfrom = \"things\"\n";
        let also = format!("{things}also_from = {{ notes = \"/thing\" }}\n");
        let pipeline = format!("{PIPELINE}{FOLLOWED}").replace(things, &also);
        workdir.write("pipeline.toml", pipeline);
        let mut rng = Rng::with_seed(seed);
        let (mut world, mut copy, mut last) = (World::default(), Tables::new(), 0);
        for (name, _) in COLUMNS {
            copy.insert(name.to_owned(), BTreeMap::new());
        }
        for step in 0..8 {
            let changed = world.change(&mut rng, step);
            stage_in_order(&workdir, &world.reads(&mut rng, step, &changed));
            let loaded = workdir.cursus(["load", "-q"]).await;
            assert!(matches!(loaded.code, Some(0 | 3 | 4)), "{loaded}");
            let context = format!("seed {seed}, step {step}");
            catch_up(&workdir, &mut copy, &mut last, &context).await;
            approve(&workdir, &mut rng).await;
            catch_up(
                &workdir,
                &mut copy,
                &mut last,
                &format!("{context}, approved"),
            )
            .await;
        }
        // What somebody has changed by hand is what the rebuild changes back.
        workdir
            .query(
                "UPDATE things SET weight = -1 WHERE id % 3 = 0; DELETE FROM parts WHERE size > 2",
            )
            .await;
        workdir.query("INSERT INTO boxes (id) VALUES (99)").await;
        copy = tables(&workdir).await;
        let rebuilt = workdir
            .cursus(["replay", "--rebuild", "-q", "--allow-prune"])
            .await;
        assert!(matches!(rebuilt.code, Some(0 | 3 | 4)), "{rebuilt}");
        catch_up(
            &workdir,
            &mut copy,
            &mut last,
            &format!("seed {seed}, rebuilt"),
        )
        .await;
        workdir.cursus(["load", "-q"]).await;
        workdir
            .cursus(["replay", "--rebuild", "-q", "--allow-prune"])
            .await;
        let again = changes(&workdir, &["--since", &last.to_string()]).await;
        assert_eq!(
            again,
            Vec::<Value>::new(),
            "seed {seed}: nothing has changed"
        );
        for row in workdir
            .query("SELECT table_name || ' ' || op || CASE WHEN file IS NULL THEN '' ELSE ' page' END, count(*)::text \
                FROM pipeline.change WHERE schema_name = 'public' GROUP BY 1")
            .await
        {
            let count = row[1].as_ref().unwrap().parse::<usize>().unwrap();
            *seen.entry(row[0].clone().unwrap()).or_default() += count;
        }
    }
    seen
}

/// Leavers, late parents, approvals, derived columns, updates by other resources, and a rebuild of a damaged mirror.
#[tokio::test]
async fn the_changes_on_a_copy_give_the_mirror() {
    follow_histories(0..1).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn changes_of_random_histories_give_the_mirror() {
    let seen = follow_histories(1..5).await;
    for kind in [
        "boxes u",
        "things u page",
        "things d",
        "things c page",
        "parts c page",
        "notes d",
    ] {
        assert!(
            seen.get(kind).is_some_and(|count| *count > 3),
            "{kind}: {seen:?}"
        );
    }
}

/// Without approvals between loads, which a replay finds at once.
#[tokio::test]
async fn a_replay_gives_the_same_changes() {
    let workdir = followed().await;
    let pipeline = format!("{PIPELINE}{FOLLOWED}").replace("min_rows = 3", "min_rows = 1000");
    workdir.write(
        "pipeline.toml",
        pipeline.replace("max_fraction = 0.1", "max_fraction = 1.0"),
    );
    let mut rng = Rng::with_seed(5);
    let mut world = World::default();
    for step in 0..6 {
        let changed = world.change(&mut rng, step);
        stage_in_order(&workdir, &world.reads(&mut rng, step, &changed));
        workdir.cursus(["load", "-q", "--allow-prune"]).await;
    }
    let replayed = workdir
        .cursus(["replay", "--into", "past", "-q", "--allow-prune"])
        .await;
    assert!(matches!(replayed.code, Some(0 | 3)), "{replayed}");
    let without = |mut events: Vec<Value>| {
        for event in &mut events {
            event["data"]["ts_ms"].take();
            event["time"].take();
            event["source"].take();
        }
        events
    };
    let live = without(changes(&workdir, &[]).await);
    assert!(live.len() > 30, "{live:?}");
    assert_eq!(without(changes(&workdir, &["--into", "past"]).await), live);
}

#[tokio::test]
async fn a_first_load_and_a_new_column_are_one_marker_each() {
    let workdir = followed().await;
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=9))],
    );
    workdir.cursus(["load"]).await.exits(0);
    let of = |events: &[Value]| -> Vec<String> {
        let name = |event: &Value| {
            let data = &event["data"];
            format!(
                "{} {} {}",
                data["op"], data["source"]["table"], data["changed"]
            )
            .replace('"', "")
        };
        events.iter().map(name).collect()
    };
    let first = of(&changes(&workdir, &[]).await);
    assert_eq!(first[0], "s boxes [id,name,things]", "{first:?}");
    assert_eq!(
        first.len(),
        3,
        "a table without rows has no marker: {first:?}"
    );
    // A column more, and a table that is not followed for a while.
    let fewer = format!("{PIPELINE}{FOLLOWED}").replace("boxes = [\"name\", \"things\"]\n", "");
    workdir.write(
        "pipeline.toml",
        fewer.replace("\"weight\",", "\"weight\", \"document\","),
    );
    stage(&workdir, &[delta("things", vec![thing(1, 2.0)])]);
    workdir.cursus(["load"]).await.exits(0);
    let second = of(&changes(&workdir, &["--since", "3"]).await);
    assert_eq!(second, ["s things [id,box_id,weight,document,seen_at]"]);
    workdir.write("pipeline.toml", format!("{PIPELINE}{FOLLOWED}"));
    stage(&workdir, &[delta("things", vec![thing(2, 2.0)])]);
    workdir.cursus(["load"]).await.exits(0);
    let third = of(&changes(&workdir, &["--since", "4"]).await);
    assert_eq!(third[0], "s boxes [id,name,things]", "{third:?}");
    assert_eq!(third.len(), 2, "{third:?}");
    // Switched off: nothing is written, and on again is a marker.
    workdir.write("pipeline.toml", PIPELINE);
    stage(&workdir, &[delta("things", vec![thing(3, 2.0)])]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(
        changes(&workdir, &["--since", "6"]).await,
        Vec::<Value>::new()
    );
    workdir.write("pipeline.toml", format!("{PIPELINE}{FOLLOWED}"));
    stage(&workdir, &[delta("things", vec![thing(4, 2.0)])]);
    workdir.cursus(["load"]).await.exits(0);
    let again = of(&changes(&workdir, &["--since", "6"]).await);
    assert_eq!(again.len(), 3, "{again:?}");
}

/// Only what the followed columns show is a change, and a dry run writes none.
#[tokio::test]
async fn what_is_not_followed_and_what_is_tried_is_no_change() {
    let workdir = followed().await;
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=9))],
    );
    workdir.cursus(["load"]).await.exits(0);
    let other = thing(2, 1.5).replace("{\"a\":2}", "{\"a\":\"canary\"}");
    stage(&workdir, &[delta("things", vec![thing(1, 1.5), other])]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(
        changes(&workdir, &["--since", "3"]).await,
        Vec::<Value>::new()
    );
    stage(&workdir, &[delta("things", vec![thing(1, 4.0)])]);
    workdir.cursus(["load", "--dry-run"]).await.exits(0);
    assert_eq!(
        changes(&workdir, &["--since", "3"]).await,
        Vec::<Value>::new()
    );
    workdir.cursus(["load"]).await.exits(0);
    let events = changes(&workdir, &["--since", "3"]).await;
    assert_eq!(events.len(), 1, "{events:?}");
    let source = &events[0]["data"]["source"];
    assert_eq!(source["resource"], "things");
    assert_eq!(source["record"], 0);
    assert!(
        source["file"].as_str().unwrap().starts_with("things/"),
        "{source}"
    );
}

/// Whatever a statement of ours does, by whatever way.
#[tokio::test]
async fn every_write_of_a_derived_statement_is_seen() {
    let workdir = followed().await;
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=9))],
    );
    workdir.cursus(["load"]).await.exits(0);
    let (mut copy, mut last) = (tables(&workdir).await, 3);
    for (at, sql) in [
        "UPDATE boxes SET things = things + 1",
        "DELETE FROM boxes WHERE id = 3; INSERT INTO boxes (id, name) VALUES (7, 'seven')",
        "CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM boxes; TRUNCATE boxes CASCADE; INSERT INTO boxes SELECT * FROM kept",
        "DO $$ BEGIN EXECUTE 'UPDATE ' || 'boxes SET name = upper(name)'; END $$",
    ]
    .into_iter()
    .enumerate()
    {
        workdir.write("sql/count.sql", sql);
        let weight = 3.0 + f64::from(u8::try_from(at).unwrap());
        stage(&workdir, &[delta("things", vec![thing(1, weight)])]);
        workdir.cursus(["load"]).await.exits(0);
        let before = last;
        catch_up(&workdir, &mut copy, &mut last, sql).await;
        assert!(last > before + 1, "{sql}");
    }
}

#[tokio::test]
async fn names_that_sql_knows_are_followed_as_any_other() {
    let pipeline = "[[resource]]\nname = \"select\"\npath = \"/select\"\n[[table]]\nname = \"order\"\nfrom = \"select\"\n\
        [changes.tables]\norder = [\"k0\", \"user\", \"step\", \"n\", \"t\"]\n";
    let tables = "CREATE TABLE \"order\" (\"table\" text, \"group\" bigint, k0 text, \"user\" json, step double precision, n text, t text, \
        PRIMARY KEY (\"group\", \"table\"))";
    let workdir = workdir_of(pipeline, tables).await;
    let row = |value: &str| {
        json!({"id": 1, "table": "it's \"x\"", "group": 1, "k0": value, "user": {"a": value}, "step": 1.5, "n": null, "t": "\u{7}"})
            .to_string()
    };
    stage(&workdir, &[full("select", vec![row("a")])]);
    workdir.cursus(["load"]).await.exits(0);
    stage(&workdir, &[full("select", vec![row("b")])]);
    workdir.cursus(["load"]).await.exits(0);
    let events = changes(&workdir, &["--since", "1"]).await;
    assert_eq!(
        events[0]["data"]["changed"],
        json!(["k0", "user"]),
        "{events:?}"
    );
    assert_eq!(
        events[0]["data"]["key"],
        json!({"group": 1, "table": "it's \"x\""})
    );
    let named = changes(&workdir, &["--table", "order", "--key", "1,it's \"x\""]).await;
    assert_eq!(named.len(), 1, "{named:?}");
    let text = workdir.cursus(["changes", "--since", "1"]).await.exits(0);
    assert!(!text.stdout.contains('\u{7}'), "{text}");
}

#[tokio::test]
async fn what_changes_names_must_be_there() {
    let workdir = followed().await;
    let with = |tables: &str| {
        workdir.write(
            "pipeline.toml",
            format!("{PIPELINE}[changes.tables]\n{tables}"),
        );
    };
    with(
        "bxoes = [\"name\"]\nthings = \"weight\"\nparts = [1, \"Size\"]\nnotes = [\"text\", \"text\"]\n",
    );
    let refused = workdir.cursus(["load"]).await.exits(2);
    for said in [
        "did you mean `boxes`",
        "a list of columns",
        "is a text",
        "a name is",
        "has text twice",
    ] {
        assert!(refused.stderr.contains(said), "{said}: {refused}");
    }
    with("boxes = [\"nmae\", \"ingested_at\"]\n");
    stage(&workdir, &[full("boxes", boxes(1..=3))]);
    let refused = workdir.cursus(["load"]).await;
    assert_ne!(refused.code, Some(0), "{refused}");
    for said in ["did you mean `name`", "moves with every change"] {
        assert!(refused.stderr.contains(said), "{said}: {refused}");
    }
    // The key may be left out, or be listed.
    with("boxes = []\nthings = [\"id\"]\n");
    workdir.cursus(["load"]).await.exits(0);
}
