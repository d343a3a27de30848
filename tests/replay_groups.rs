//! A rebuild in jobs: groups of resources are replayed side by side, and what comes of it is what one replay gives.

use std::collections::BTreeMap;
use std::fs;

use cursus::failpoint::Point;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::boxes::{
    COUNT, PIPELINE, Read, boxes, delta, full, stage, stage_of, thing, things, workdir,
};
use crate::support::running::until_asleep;
use crate::support::{Running, Workdir};

/// Shelves, which refer to boxes without a foreign key, and labels within shelves by a SELECT.
const SHELVES: &str = r#"
[[resource]]
name = "shelves"
path = "/shelves"
[[table]]
name = "shelves"
from = "shelves"
references = { box_id = "boxes.id" }
[[table]]
name = "labels"
from = "shelves"
select = "sql/labels.sql"
after = ["shelves"]
owner = { shelf_id = "shelves.id" }
"#;
const LABELS: &str = "SELECT id AS shelf_id, 'shelf ' || id AS text FROM staged_shelves";
const MIGRATION: &str = "CREATE TABLE shelves (id bigint PRIMARY KEY, box_id bigint, ingested_at timestamptz NOT NULL DEFAULT now()); \
    CREATE TABLE labels (shelf_id bigint PRIMARY KEY, text text)";
const TABLES: [&str; 6] = ["boxes", "things", "parts", "notes", "shelves", "labels"];

pub(crate) fn shelves(ids: std::ops::RangeInclusive<i64>) -> Vec<String> {
    let shelf = |id: i64| json!({"id": id, "box_id": id}).to_string();
    ids.map(shelf).collect()
}

/// A pipeline of two groups: boxes, things and notes; and shelves. Nothing is staged.
pub(crate) async fn two_groups() -> Workdir {
    let workdir = workdir().await;
    workdir.write("pipeline.toml", format!("{PIPELINE}{SHELVES}"));
    workdir.write("sql/labels.sql", LABELS);
    workdir.write("migrations/mirror/V1001__shelves.sql", MIGRATION);
    workdir
}

/// A run of both groups, without anything that waits.
pub(crate) fn both_groups() -> [Read<'static>; 3] {
    [
        full("boxes", boxes(1..=3)),
        full("things", things(1..=9)),
        full("shelves", shelves(1..=3)),
    ]
}

/// Runs with rejected records, orphans, held deletes, a changed scope, and references that lead to nothing at first.
fn stage_runs(workdir: &Workdir) -> Vec<String> {
    let orphan = json!({"id": 70, "kind": "thing", "box_id": 33}).to_string();
    let rejected = json!({"id": 71, "kind": "thing", "weight": "heavy"}).to_string();
    let lost = json!({"id": 72, "kind": "thing", "box_id": 99}).to_string();
    let odd = json!({"id": 93, "box_id": "none"}).to_string();
    let notes = |ids: std::ops::RangeInclusive<i64>| -> Vec<String> {
        ids.map(|id| json!({"id": id, "thing_id": id, "text": "t"}).to_string())
            .collect()
    };
    let first = [
        full("boxes", boxes(1..=30)),
        full("things", things(1..=60)),
        full("notes", notes(1..=20)),
        full("shelves", shelves(1..=40)),
    ];
    let changed = [vec![thing(1, 2.0), orphan, rejected], things(61..=64)].concat();
    vec![
        stage_of(workdir, ("https://api.example.org", "here"), &first),
        stage_of(
            workdir,
            ("https://api.example.org", "here"),
            &[delta("things", changed), full("shelves", shelves(1..=28))],
        ),
        stage_of(
            workdir,
            ("https://api.example.org", "there"),
            &[full("boxes", boxes(1..=33)), full("notes", notes(1..=19))],
        ),
        stage_of(
            workdir,
            ("https://api.example.org", "there"),
            &[
                full("things", [things(1..=50), vec![lost]].concat()),
                delta("shelves", [shelves(90..=91), vec![odd]].concat()),
            ],
        ),
    ]
}

/// Every row of the mirror, and all that the load ledger says, without its numbers and times.
pub(crate) async fn state(workdir: &Workdir) -> BTreeMap<String, Vec<String>> {
    let mut state = BTreeMap::new();
    let ledger = [
        "run",
        "load",
        "quarantine",
        "prune_candidate",
        "drift",
        "shape",
        "derive_failed",
        "source",
    ];
    let ledger = ledger.map(|table| format!("pipeline.{table}"));
    for table in TABLES
        .map(|table| format!("public.{table}"))
        .into_iter()
        .chain(ledger)
    {
        let rows = format!(
            "SELECT to_jsonb(t) - '{{id,loaded_at,created_at,duration_ms,ingested_at,rebuilt_from}}'::text[] || \
             CASE WHEN '{table}' LIKE 'public.%' AND to_jsonb(t) ? 'id' THEN jsonb_build_object('id', to_jsonb(t)->'id') ELSE '{{}}' END \
             AS r FROM {table} AS t ORDER BY r"
        );
        let rows = workdir.column(&rows).await;
        state.insert(table, rows);
    }
    state
}

pub(crate) async fn scratch_schemas(workdir: &Workdir) -> usize {
    workdir
        .count("pg_namespace WHERE nspname ~ 'rebuild'")
        .await
}

/// The resources of each group of a plan, and how far it is.
fn plan(report: &Value) -> Vec<(String, String)> {
    let groups = report["groups"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    groups
        .map(|group| {
            let names = group["resources"].as_array().unwrap().iter();
            let names: Vec<String> = names.map(text).collect();
            (names.join(" "), text(&group["state"]))
        })
        .collect()
}

#[tokio::test]
async fn groups_give_what_one_replay_gives() {
    let workdir = two_groups().await;
    let runs = stage_runs(&workdir);
    // Held deletes, rejected rows: the exit code is that of the plain rebuild.
    let plain = workdir
        .cursus(["replay", "--rebuild", "--json"])
        .await
        .exits(4);
    let expected = state(&workdir).await;
    assert!(!expected["pipeline.quarantine"].is_empty());
    assert!(!expected["pipeline.prune_candidate"].is_empty());
    assert!(
        expected["pipeline.load"]
            .iter()
            .any(|load| load.contains(r#""dangling": {"box_id": 9}"#)),
        "{expected:#?}"
    );

    let wrong = "UPDATE things SET weight = 9 WHERE id < 4; DELETE FROM shelves WHERE id < 4; INSERT INTO boxes (id) VALUES (77)";
    workdir.query(wrong).await;
    let before = state(&workdir).await;
    let planned = workdir.json(["replay", "--plan"]).await;
    let names = ["boxes notes things", "shelves"];
    assert_eq!(
        plan(&planned),
        names.map(|names| (names.to_owned(), "missing".to_owned()))
    );
    for group in ["2", "1"] {
        workdir
            .cursus(["replay", "--finish"])
            .await
            .exits(4)
            .says("group 1 (boxes, notes, things) was not replayed");
        let replayed = workdir
            .cursus(["replay", "--group", group, "--json"])
            .await
            .exits(0)
            .json();
        assert_eq!(replayed["schema"], format!("public_rebuild_{group}"));
    }
    let again = workdir.json(["replay", "--group", "1"]).await;
    assert_eq!(again["runs"], json!([]));
    workdir
        .cursus(["replay", "--group", "3"])
        .await
        .exits(2)
        .says("there is no group 3: `cursus replay --plan` lists 2 groups");
    // Nobody sees anything of it until the end.
    assert_eq!(
        state(&workdir)
            .await
            .into_iter()
            .filter(|(table, _)| table.starts_with("public"))
            .collect::<Vec<_>>(),
        before
            .into_iter()
            .filter(|(table, _)| table.starts_with("public"))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        plan(&workdir.json(["replay", "--plan"]).await),
        names.map(|names| (names.to_owned(), "loaded".to_owned()))
    );
    let finished = workdir
        .cursus(["replay", "--finish", "--json"])
        .await
        .exits(4);
    assert_eq!(finished.json()["runs"], json!(runs));
    assert_eq!(finished.json()["errors"], plain.json()["errors"]);
    assert_eq!(state(&workdir).await, expected);
    assert_eq!(scratch_schemas(&workdir).await, 0);
    assert_eq!(workdir.json(["load"]).await["runs"], json!([]));
}

#[tokio::test]
async fn groups_come_from_a_store_into_an_empty_database() {
    let workdir = two_groups().await;
    stage_runs(&workdir);
    workdir.cursus(["replay", "--rebuild"]).await.exits(4);
    let store = workdir.path("store");
    fs::create_dir(&store).unwrap();
    let url = format!("file://{}", store.display());
    workdir.json(["stage", "push", &url]).await;
    let other = two_groups().await;
    for step in [vec!["--plan"], vec!["--group", "1"], vec!["--group", "2"]] {
        let command = [vec!["replay", "--from", &url], step].concat();
        other.cursus(&command).await.exits(0);
    }
    other
        .cursus(["replay", "--from", &url, "--finish"])
        .await
        .exits(4);
    assert_eq!(state(&other).await, state(&workdir).await);
    other.end().await;
}

#[tokio::test]
async fn view_that_a_select_reads_is_a_rule_of_its_group() {
    let workdir = two_groups().await;
    let view = |name: &str| {
        let view =
            format!("-- Boxes with a name.\nSELECT id::bigint AS id, {name} AS name FROM boxes;\n");
        workdir.write("sql/views/named_boxes.sql", view);
    };
    view("name");
    workdir.write(
        "sql/labels.sql",
        "SELECT s.id AS shelf_id, v.name AS text FROM staged_shelves AS s LEFT JOIN named_boxes AS v ON v.id = s.box_id",
    );
    stage(&workdir, &both_groups());
    workdir.json(["replay", "--plan"]).await;
    workdir.cursus(["replay", "--group", "1"]).await.exits(0);
    view("upper(name)");
    workdir
        .cursus(["replay", "--finish"])
        .await
        .exits(4)
        .says("was replayed before the staged runs");
    workdir.cursus(["replay", "--group", "1"]).await.exits(0);
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    let texts = workdir.column("SELECT text FROM labels ORDER BY 1").await;
    assert_eq!(texts, ["BOX 1", "BOX 2", "BOX 3"]);
}

#[tokio::test]
async fn killed_group_continues_and_killed_finish_changes_nothing() {
    jobs_survive(&[Point::LoadCommitted], &[Point::RebuildRecord]).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn group_killed_anywhere_continues() {
    let group = [
        Point::ReplayMake,
        Point::ReplayMade,
        Point::LoadCommit,
        Point::LoadCommitted,
        Point::LoadMerge,
    ];
    let finish = [
        Point::RebuildMerge,
        Point::RebuildRecord,
        Point::RebuildCommit,
    ];
    jobs_survive(&group, &finish).await;
}

#[tokio::test]
async fn finish_names_runs_that_the_jobs_passed_over() {
    let workdir = two_groups().await;
    let (here, other) = (
        ("https://api.example.org", "here"),
        ("https://other.example.org", "here"),
    );
    stage_of(&workdir, here, &both_groups());
    let foreign = stage_of(&workdir, other, &[delta("shelves", shelves(7..=7))]);
    stage_of(&workdir, here, &[delta("shelves", shelves(4..=4))]);
    let plain = workdir.cursus(["replay", "--rebuild"]).await.exits(4);
    assert!(plain.stderr.contains(&foreign), "{plain}");
    workdir.json(["replay", "--plan"]).await;
    for group in ["1", "2"] {
        workdir.cursus(["replay", "--group", group]).await;
        workdir.cursus(["replay", "--group", group]).await.exits(0);
    }
    let finished = workdir.cursus(["replay", "--finish"]).await.exits(4);
    assert!(finished.stderr.contains(&foreign), "{finished}");
}

/// A job that is killed at these places, one after the other, and a finish; the first run of the group is loaded by then.
async fn jobs_survive(group: &[Point], finish: &[Point]) {
    let mut workdir = two_groups().await;
    stage_runs(&workdir);
    workdir.cursus(["replay", "--rebuild"]).await.exits(4);
    let expected = state(&workdir).await;
    workdir
        .query("DELETE FROM shelves; DELETE FROM notes")
        .await;
    let wrong = workdir.count("shelves").await;
    workdir.json(["replay", "--plan"]).await;
    workdir.json(["replay", "--group", "2"]).await;
    for point in group {
        workdir.set("CURSUS_FAILPOINT", format!("{}:1=kill", point.name()));
        let killed = workdir.cursus(["replay", "--group", "1"]).await;
        workdir.unset("CURSUS_FAILPOINT");
        assert_eq!(killed.code, None, "{}", point.name());
        workdir
            .cursus(["replay", "--finish"])
            .await
            .exits(4)
            .says("group 1 (boxes, notes, things)");
        let planned = workdir.json(["replay", "--plan"]).await;
        assert_eq!(planned["groups"][0]["runs"], 4);
        assert_ne!(planned["groups"][0]["state"], "loaded", "{planned:#}");
    }
    let report = workdir.json(["replay", "--group", "1"]).await;
    assert_eq!(
        report["runs"].as_array().unwrap().len(),
        3,
        "it did not continue: {report:#}"
    );
    for point in finish {
        workdir.set("CURSUS_FAILPOINT", format!("{}:1=kill", point.name()));
        assert_eq!(workdir.cursus(["replay", "--finish"]).await.code, None);
        workdir.unset("CURSUS_FAILPOINT");
        assert_eq!(workdir.count("shelves").await, wrong);
    }
    workdir.cursus(["replay", "--finish"]).await.exits(4);
    assert_eq!(state(&workdir).await, expected);
}

/// A SELECT reads a table that a derived statement fills from a table of another resource.
#[tokio::test]
async fn tables_that_derived_statements_fill_tie_resources() {
    let workdir = two_groups().await;
    let own = "[[derive]]\nname = \"named\"\nsql = \"sql/named.sql\"\nafter = [\"boxes\"]\n";
    workdir.write("pipeline.toml", format!("{PIPELINE}{own}{SHELVES}"));
    workdir.write(
        "sql/named.sql",
        "INSERT INTO named (box_id, name) SELECT id, name FROM boxes ON CONFLICT DO NOTHING",
    );
    workdir.write(
        "migrations/mirror/V1002__named.sql",
        "CREATE TABLE named (box_id bigint PRIMARY KEY, name text)",
    );
    workdir.write(
        "sql/labels.sql",
        "SELECT s.id AS shelf_id, n.name AS text FROM staged_shelves AS s LEFT JOIN named AS n USING (box_id)",
    );
    stage_runs(&workdir);
    let planned = plan(&workdir.json(["replay", "--plan"]).await);
    assert_eq!(planned[0].0, "boxes notes shelves things");
}

/// Words of a comment are no names: neither of a table, nor of one that a statement fills.
#[tokio::test]
async fn comments_in_statements_tie_no_resources() {
    let workdir = two_groups().await;
    let count = format!(
        "-- For all boxes, also those that came into scope later than their shelves.\n{COUNT}"
    );
    workdir.write("sql/count.sql", count);
    let labels = "-- Shelves stand beside boxes.\nSELECT id AS shelf_id, -- not of things\n'shelf ' || id AS text\n\
                  -- Those out of scope have none.\nFROM staged_shelves";
    workdir.write("sql/labels.sql", labels);
    stage_runs(&workdir);
    let groups = async || plan(&workdir.json(["replay", "--plan"]).await).len();
    assert_eq!(groups().await, 2);
    // Behind a string it is not known what is a comment.
    workdir.write("sql/labels.sql", format!("{labels}\n-- Nor of things."));
    assert_eq!(groups().await, 1);
}

/// The largest lists of the shipped pipeline are of different groups, so that jobs share the time of a rebuild.
#[tokio::test]
async fn shipped_people_and_achievements_are_two_groups() {
    let workdir = Workdir::new().await;
    let groups = [
        "campus_users cursus cursus_users users",
        "achievements achievements_users campus",
        "coalitions coalitions_users",
        "projects",
        "projects_users",
    ];
    let names = groups.iter().flat_map(|group| group.split(' '));
    let reads: Vec<_> = names.map(|name| full(name, Vec::new())).collect();
    stage(&workdir, &reads);
    let planned = plan(&workdir.json(["replay", "--plan"]).await);
    let planned: Vec<&str> = planned.iter().map(|(names, _)| names.as_str()).collect();
    assert_eq!(planned, groups);
}

#[tokio::test]
async fn what_changed_after_a_group_is_replayed_again() {
    let workdir = two_groups().await;
    stage_runs(&workdir);
    let groups = async || {
        for group in ["1", "2"] {
            workdir.cursus(["replay", "--group", group]).await.exits(0);
        }
    };
    workdir
        .cursus(["replay", "--group", "1"])
        .await
        .exits(4)
        .says("run `cursus replay --plan` first");
    workdir.json(["replay", "--plan"]).await;
    groups().await;
    // Another run, with pages of one group.
    let newest = stage_of(
        &workdir,
        ("https://api.example.org", "there"),
        &[delta("shelves", shelves(92..=92))],
    );
    let refused = workdir.cursus(["replay", "--finish"]).await.exits(4);
    let refused = refused.says("group 2 (shelves) was replayed before the staged runs");
    assert!(!refused.stderr.contains("group 1"), "{refused}");
    // Other options.
    workdir
        .cursus(["replay", "--finish", "--allow-prune"])
        .await
        .exits(4)
        .says("group 1 (boxes, notes, things) was replayed before");
    assert_eq!(workdir.count("shelves").await, 0);
    workdir.cursus(["replay", "--group", "2"]).await.exits(0);
    workdir.cursus(["replay", "--finish"]).await.exits(4);
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM shelves WHERE id = 92")
            .await,
        1
    );
    // Another rule, and another migration.
    groups().await;
    let rule = PIPELINE.replace(r#"where = { "/kind" = "thing" }"#, "");
    workdir.write("pipeline.toml", format!("{rule}{SHELVES}"));
    workdir
        .cursus(["replay", "--finish"])
        .await
        .exits(4)
        .says("group 2 (shelves) was replayed before");
    groups().await;
    workdir.write(
        "migrations/mirror/V1002__colour.sql",
        "ALTER TABLE things ADD COLUMN colour text",
    );
    workdir
        .cursus(["replay", "--group", "1"])
        .await
        .exits(4)
        .says("run `cursus replay --plan` first");
    workdir
        .cursus(["replay", "--finish"])
        .await
        .exits(4)
        .says("group 1 (boxes, notes, things) was replayed before");
    groups().await;
    // A schema of a group that is none any more goes.
    workdir.write("sql/labels.sql", "SELECT s.id AS shelf_id, b.name AS text FROM staged_shelves AS s LEFT JOIN boxes AS b ON b.id = s.box_id");
    let planned = workdir.json(["replay", "--plan"]).await;
    assert_eq!(
        plan(&planned),
        [(
            "boxes notes shelves things".to_owned(),
            "outdated".to_owned()
        )]
    );
    workdir.cursus(["replay", "--group", "1"]).await.exits(0);
    let finished = workdir
        .cursus(["replay", "--finish", "--to", &newest])
        .await
        .exits(4);
    assert!(
        finished.stdout.contains("rebuilt public from 5 runs"),
        "{finished}"
    );
    assert_eq!(scratch_schemas(&workdir).await, 0);
    assert!(workdir.number("SELECT count(colour) FROM things").await > 0);
}

/// They are approved when the mirror is at a run that has no pages of the group.
#[tokio::test]
async fn deletes_that_are_approved_meanwhile_stay_deleted() {
    let workdir = two_groups().await;
    stage(
        &workdir,
        &[
            full("boxes", boxes(1..=3)),
            full("things", things(1..=9)),
            full("shelves", shelves(1..=40)),
        ],
    );
    workdir.cursus(["load"]).await.exits(0);
    let run = stage(&workdir, &[full("shelves", shelves(1..=28))]);
    workdir.cursus(["load"]).await.exits(4);
    stage(&workdir, &[delta("things", things(10..=10))]);
    workdir.cursus(["load"]).await;
    let planned = plan(&workdir.json(["replay", "--plan"]).await);
    let shelves = planned.iter().position(|(names, _)| names == "shelves");
    let shelves = (shelves.unwrap() + 1).to_string();
    for group in ["1", "2"] {
        workdir.cursus(["replay", "--group", group]).await.exits(0);
    }
    workdir.cursus(["prune", "approve", &run]).await.exits(0);
    assert_eq!(workdir.count("shelves").await, 28);
    workdir
        .cursus(["replay", "--finish"])
        .await
        .exits(4)
        .says("(shelves) was replayed before the staged runs");
    workdir
        .cursus(["replay", "--group", &shelves])
        .await
        .exits(0);
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    assert_eq!(workdir.count("shelves").await, 28);
    assert_eq!(workdir.json(["prune", "ls"]).await, json!([]));
}

#[tokio::test]
async fn second_job_of_a_group_is_refused_and_so_is_finish() {
    let workdir = two_groups().await;
    stage(&workdir, &both_groups());
    workdir.json(["replay", "--plan"]).await;
    workdir.write("sql/count.sql", format!("{COUNT}; SELECT pg_sleep(3600)"));
    let first = Running::start(&workdir, &["replay", "--group", "1"]);
    until_asleep(&workdir, &first).await;
    for second in [&["replay", "--group", "1"][..], &["replay", "--finish"]] {
        let refused = workdir.cursus(second).await.exits(5);
        assert!(
            refused
                .stderr
                .contains(&format!("pid {}, `cursus replay`", first.pid())),
            "{refused}"
        );
    }
    // The other group is loaded meanwhile.
    let free = Running::start(&workdir, &["replay", "--group", "2"]);
    until_asleep(&workdir, &free).await;
    free.signal(Signal::SIGKILL);
    free.end().await;
    first.signal(Signal::SIGKILL);
    assert_eq!(first.end().await.code, None);
    workdir.write("sql/count.sql", COUNT);
    for group in ["1", "2"] {
        workdir.cursus(["replay", "--group", group]).await.exits(0);
    }
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    assert_eq!(workdir.count("things").await, 9);
}
