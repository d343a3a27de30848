//! Held deletes: a person approves them once, and later loads of the run apply the approval.

use crate::support::boxes::{
    self, THINGS_ALONE, boxes, delta, directory, full, stage, thing, things, workdir_of,
};
use crate::support::files::edit;
use crate::support::{SCALE, Workdir, World, oracle, simulator};
use cursus_simulator::Simulator;
use serde_json::{Value, json};

/// How many memberships a run lacks that is held.
const HELD: usize = SCALE.memberships / 2;
const WAITING: &str = "pipeline.prune_candidate WHERE approved_at IS NULL";

/// A simulator without this many of the oldest memberships.
async fn without(simulator: &Simulator, removed: usize) -> Simulator {
    let mut world = World::of(simulator);
    world.rows("coalitions_users").drain(..removed);
    world.serve().await
}

/// A mirror of the whole, and a run that missed half of the memberships: its id.
async fn refused(workdir: &mut Workdir, whole: &Simulator, half: &Simulator) -> (String, String) {
    workdir.use_api(whole);
    let first = workdir.json(["run"]).await;
    workdir.use_api(half);
    let second = workdir.json_exits(4, ["run", "--full"]).await;
    let id = |report: &Value| report["run_id"].as_str().unwrap().to_owned();
    (id(&first), id(&second))
}

fn approvals(workdir: &Workdir) -> Value {
    let text = std::fs::read(workdir.run_directory().join("approvals.json")).unwrap();
    let file: Value = serde_json::from_slice(&text).unwrap();
    file["approvals"].clone()
}

#[tokio::test]
async fn approved_deletes_are_applied_once() {
    let whole = simulator().await;
    let half = without(&whole, HELD).await;
    let mut workdir = Workdir::new().await;
    let ran = workdir.cursus(["prune", "ls"]).await.exits(0);
    assert_eq!(ran.stdout, "no held deletes\n");
    let (_, run) = refused(&mut workdir, &whole, &half).await;

    let held = workdir.json(["prune", "ls"]).await;
    assert_eq!(held[0]["run_id"], run.as_str());
    assert_eq!(held[0]["table"], "coalitions_users");
    assert_eq!(held[0]["rows"], HELD);
    assert_eq!(
        held[0]["reasons"],
        json!(["absent from a complete full read"])
    );
    let ran = workdir.cursus(["prune", "ls", "latest"]).await.exits(0);
    let id = whole.rows("coalitions_users")[0]["id"].clone();
    assert_eq!(ran.stdout.lines().count(), HELD);
    assert!(
        ran.stdout
            .contains(&format!("coalitions_users {{\"id\":{id}}}\n")),
        "{ran}"
    );

    // Of another resource nothing is held.
    let ran = workdir
        .cursus(["prune", "approve", &run, "--resource", "users"])
        .await
        .exits(0);
    assert!(ran.stdout.contains("has no held deletes"), "{ran}");
    workdir
        .cursus(["prune", "approve", &run, "--resource", "user"])
        .await
        .exits(2)
        .says("did you mean `users`?");
    assert_eq!(workdir.count("coalitions_users").await, SCALE.memberships);
    assert!(!workdir.run_directory().join("approvals.json").exists());

    let done = workdir.json(["prune", "approve", &run]).await;
    assert_eq!(
        done["tables"],
        json!([{ "name": "coalitions_users", "deleted": HELD, "referred": 0 }])
    );
    oracle::assert_mirrors(&workdir, &half).await;
    let approval = &approvals(&workdir)[0];
    assert_eq!(approval["rows"], HELD);
    assert_eq!(approval["table"], "coalitions_users");
    assert_eq!(approval["sha256"].as_str().unwrap().len(), 64);

    let ran = workdir.cursus(["prune", "approve", &run]).await.exits(0);
    assert!(ran.stdout.contains("has no held deletes"), "{ran}");
    assert_eq!(workdir.json(["prune", "ls"]).await, json!([]));
    assert_eq!(approvals(&workdir).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn later_loads_of_the_runs_apply_the_approval() {
    let whole = simulator().await;
    let half = without(&whole, HELD).await;
    let mut workdir = Workdir::new().await;
    let (first, second) = refused(&mut workdir, &whole, &half).await;
    workdir.json(["prune", "approve", "latest"]).await;
    workdir.without_api();
    workdir.new_database().await;
    workdir.json(["load", &first]).await;
    assert_eq!(workdir.count("coalitions_users").await, SCALE.memberships);
    let report = workdir.json(["load", &second]).await;
    let tables = report["tables"].as_array().unwrap();
    let table = tables
        .iter()
        .find(|table| table["name"] == "coalitions_users");
    assert_eq!(table.unwrap()["deleted"], HELD);
    let noted = "SELECT deleted || ' ' || refused FROM pipeline.load WHERE table_name = 'coalitions_users' \
                 ORDER BY id DESC LIMIT 1";
    assert_eq!(workdir.column(noted).await, [format!("{HELD} 0")]);
    oracle::assert_mirrors(&workdir, &half).await;

    // Another set than the approved one is held.
    let path = workdir.run_directory().join("approvals.json");
    edit(&path, |file| {
        file["approvals"][0]["sha256"] = json!("0".repeat(64));
    });
    workdir.new_database().await;
    workdir.json(["load", &first]).await;
    workdir
        .cursus(["load", &second])
        .await
        .exits(4)
        .says("cursus prune approve");
    assert_eq!(workdir.count("coalitions_users").await, SCALE.memberships);
    // A file that is no approval approves nothing, and says so.
    std::fs::write(&path, "{").unwrap();
    let ran = workdir.cursus(["load", "--again"]).await.exits(4);
    assert!(ran.stderr.contains("approvals.json"), "{ran}");
    assert_eq!(workdir.count("coalitions_users").await, SCALE.memberships);
}

#[tokio::test]
async fn what_a_later_load_has_seen_stays() {
    let whole = simulator().await;
    let half = without(&whole, HELD).await;
    let mut workdir = Workdir::new().await;
    let (first, second) = refused(&mut workdir, &whole, &half).await;
    // Fifty of them show up again in a read that proves nothing about the rest; one of them is rejected.
    let mut world = World::of(&whole);
    world.rows("coalitions_users").drain(..HELD - 50);
    world.rows("coalitions_users")[0]["coalition_id"] = json!(987_654);
    let third = world.serve().await;
    workdir.use_api(&third);
    let since = [
        "run",
        "--since",
        "2000-01-01T00:00:00Z",
        "--select",
        "coalitions_users",
    ];
    let report = workdir.json_exits(3, since).await;
    assert_eq!(report["resources"][0]["mode"], "delta");
    assert_eq!(workdir.count(WAITING).await, HELD - 50);
    let done = workdir.json(["prune", "approve", &second]).await;
    assert_eq!(done["tables"][0]["deleted"], HELD - 50);
    assert_eq!(
        workdir.count("coalitions_users").await,
        SCALE.memberships - HELD + 50
    );
    let rows = "SELECT id, coalition_id, score FROM coalitions_users ORDER BY id";
    let live = workdir.query(rows).await;

    // The same history again: what was approved goes when it went, not when it was refused.
    workdir.without_api();
    workdir.new_database().await;
    workdir.json(["load", &first]).await;
    workdir.cursus(["load", &second]).await.exits(4);
    assert_eq!(workdir.count("coalitions_users").await, SCALE.memberships);
    workdir.cursus(["load"]).await.exits(3);
    assert_eq!(workdir.query(rows).await, live);
    assert_eq!(workdir.count(WAITING).await, 0);
}

#[tokio::test]
async fn interrupted_approval_is_repeated_and_applied_once() {
    let whole = simulator().await;
    let half = without(&whole, HELD).await;
    let mut workdir = Workdir::new().await;
    let (_, run) = refused(&mut workdir, &whole, &half).await;
    workdir
        .query(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
             CREATE TRIGGER refuse BEFORE DELETE ON coalitions_users EXECUTE FUNCTION refuse()",
        )
        .await;
    workdir.cursus(["prune", "approve", &run]).await.exits(1);
    assert_eq!(workdir.count("coalitions_users").await, SCALE.memberships);
    assert_eq!(workdir.count(WAITING).await, HELD);
    workdir
        .query("DROP TRIGGER refuse ON coalitions_users")
        .await;
    workdir.json(["prune", "approve", &run]).await;
    assert_eq!(approvals(&workdir).as_array().unwrap().len(), 1);
    oracle::assert_mirrors(&workdir, &half).await;
}

#[tokio::test]
async fn approved_row_that_others_refer_to_is_kept() {
    let whole = simulator().await;
    let mut workdir = Workdir::new().await;
    let half = without(&whole, HELD).await;
    let (_, run) = refused(&mut workdir, &whole, &half).await;
    let id = whole.rows("coalitions_users")[7]["id"].clone();
    workdir
        .query(&format!(
            "CREATE TABLE notes (membership_id bigint REFERENCES coalitions_users ON DELETE CASCADE); \
             INSERT INTO notes VALUES ({id})"
        ))
        .await;
    let done = workdir.json_exits(4, ["prune", "approve", &run]).await;
    assert_eq!(done["tables"][0]["deleted"], HELD - 1);
    assert_eq!(done["tables"][0]["referred"], 1);
    assert_eq!(workdir.count("notes").await, 1);
    // It is held on, and goes when it may.
    assert_eq!(workdir.json(["prune", "ls"]).await[0]["rows"], 1);
    workdir.query("DELETE FROM notes").await;
    let done = workdir.json(["prune", "approve", &run]).await;
    assert_eq!(done["tables"][0]["deleted"], 1);
    assert_eq!(workdir.json(["prune", "ls"]).await, json!([]));
    oracle::assert_mirrors(&workdir, &half).await;
}

#[tokio::test]
async fn rows_within_an_approved_one_are_deleted_with_it() {
    let whole = simulator().await;
    let mut world = World::of(&whole);
    for user in world.rows("users").iter_mut().skip(5) {
        user["alumni?"] = json!(true);
    }
    let few = world.serve().await;
    let mut workdir = Workdir::new().await;
    workdir.pipeline(&[("min_rows = 20 ", "min_rows = 10 ")]);
    workdir.use_api(&whole);
    workdir.json(["run"]).await;
    let outside = "SELECT count(*) FROM campus_users WHERE user_id NOT IN (SELECT id FROM users)";
    workdir.use_api(&few);
    workdir
        .json_exits(4, ["run", "--full", "--select", "users"])
        .await;
    let done = workdir.json_exits(4, ["prune", "approve", "latest"]).await;
    assert_eq!(done["tables"][0]["name"], "users");
    assert!(done["tables"][0]["deleted"].as_u64().unwrap() > 20);
    // They are many in turn: held, and approved with the same run, which is still the newest.
    let held = workdir.json(["prune", "ls"]).await;
    assert_eq!(held[0]["table"], "campus_users", "{held:#}");
    assert!(workdir.number(outside).await > 0);
    workdir.json(["prune", "approve", "latest"]).await;
    assert_eq!(workdir.number(outside).await, 0);
    let file = approvals(&workdir);
    assert_eq!(file[1]["table"], "campus_users", "{file:#}");
}

#[tokio::test]
async fn delete_is_held_by_the_run_that_proposed_it() {
    let workdir = boxes::workdir().await;
    let note = |id: i64| json!({"id": id, "thing_id": id % 40 / 10 + 1, "text": "n"}).to_string();
    let reads = [
        full("boxes", boxes(1..=3)),
        full("things", things(1..=40)),
        full("notes", (0..40).map(note).collect()),
    ];
    stage(&workdir, &reads);
    workdir.json(["load"]).await;
    // Two things go, and with each of them ten notes would.
    let run = stage(&workdir, &[full("things", things(3..=40))]);
    let refused = workdir.json_exits(4, ["load"]).await;
    let tables = refused["tables"].as_array().unwrap();
    let notes = tables.iter().find(|table| table["name"] == "notes");
    assert_eq!(notes.unwrap()["refused"], json!(20));
    // Later loads hold nothing more; of one thing that is back the notes are not held any more.
    stage(&workdir, &[full("boxes", boxes(1..=4))]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(workdir.count(WAITING).await, 20);
    stage(&workdir, &[delta("things", vec![thing(1, 1.0)])]);
    workdir.cursus(["load"]).await.exits(0);
    let held = workdir.json(["prune", "ls"]).await;
    assert_eq!(
        (&held[0]["run_id"], &held[0]["rows"]),
        (&json!(run), &json!(10)),
        "{held:#}"
    );
    let done = workdir.json(["prune", "approve", &run]).await;
    assert_eq!(done["tables"][0]["deleted"], 10);
    let notes = |schema: &str| format!("SELECT id FROM {schema}.notes ORDER BY id");
    let live = workdir.column(&notes("public")).await;
    assert_eq!(live.len(), 30);
    workdir.json(["replay", "--into", "past"]).await;
    assert_eq!(workdir.column(&notes("past")).await, live);
}

/// Things of which a run has lost most, loaded into the mirror and beside it; the run.
async fn refused_twice(workdir: &Workdir) -> String {
    let reads = [full("boxes", boxes(1..=3)), full("things", things(1..=20))];
    stage(workdir, &reads);
    workdir.json(["load"]).await;
    let run = stage(workdir, &[full("things", things(1..=5))]);
    workdir.cursus(["load"]).await.exits(4);
    workdir.cursus(["replay", "--into", "past"]).await.exits(4);
    run
}

#[tokio::test]
async fn run_without_held_deletes_is_reported_as_such() {
    let workdir = boxes::workdir().await;
    let run = stage(&workdir, &[full("boxes", boxes(1..=3))]);
    workdir.json(["load"]).await;
    let ran = workdir.cursus(["prune", "ls", &run]).await.exits(0);
    let answer = format!("the run {run} has no held deletes; ");
    assert!(ran.stdout.starts_with(&answer), "{ran}");
    assert_eq!(workdir.json(["prune", "ls", &run]).await, json!([]));
}

#[tokio::test]
async fn what_is_approved_beside_the_mirror_stays_in_the_mirror() {
    let workdir = boxes::workdir().await;
    let run = refused_twice(&workdir).await;
    let there = async |schema: &str| {
        let count = format!("SELECT count(*) FROM {schema}.things");
        workdir.number(&count).await
    };
    let approve = ["prune", "approve", &run, "--into", "past"];
    workdir.json(approve).await;
    assert_eq!((there("public").await, there("past").await), (20, 5));
    stage(&workdir, &[delta("things", vec![thing(1, 9.0)])]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(there("public").await, 20, "approved for another schema");
    workdir.cursus(["replay", "--into", "other"]).await.exits(4);
    assert_eq!(there("other").await, 20);

    // What is approved in the mirror counts wherever the runs are loaded, and so does a file of before schemas were noted.
    workdir.json(["prune", "approve", &run]).await;
    assert_eq!(there("public").await, 5);
    let file = directory(&workdir, &run).join("approvals.json");
    let noted: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let approvals = noted["approvals"].as_array().unwrap();
    let of = |schema| approvals.iter().filter(move |it| it["schema"] == schema);
    // The parts went with their things.
    assert_eq!((of("past").count(), of("public").count()), (2, 2));
    workdir.json(["replay", "--into", "third"]).await;
    assert_eq!(there("third").await, 5);
    let mut old: Vec<Value> = of("public").cloned().collect();
    for approval in &mut old {
        approval.as_object_mut().unwrap().remove("schema");
    }
    let old = json!({"format": 1, "approvals": old});
    std::fs::write(&file, old.to_string()).unwrap();
    workdir.json(["replay", "--into", "fourth"]).await;
    assert_eq!(there("fourth").await, 5);
}

#[tokio::test]
async fn record_without_a_key_releases_no_held_delete() {
    for is_compared in [true, false] {
        let key = if is_compared { "id" } else { "id, x" };
        let tables = format!("CREATE TABLE things (id bigint, x bigint, PRIMARY KEY ({key}))");
        let workdir = workdir_of(THINGS_ALONE, &tables).await;
        let things = |ids: std::ops::RangeInclusive<i64>| -> Vec<String> {
            ids.map(|id| json!({"id": id, "x": 1}).to_string())
                .collect()
        };
        stage(&workdir, &[full("things", things(1..=200))]);
        workdir.cursus(["load"]).await.exits(0);
        let run = stage(&workdir, &[full("things", things(1..=100))]);
        workdir.cursus(["load"]).await.exits(4);
        assert_eq!(workdir.count(WAITING).await, 100);
        let keyless = vec![json!({"id": null, "x": 1}).to_string()];
        stage(
            &workdir,
            &[full("things", [things(1..=120), keyless].concat())],
        );
        workdir.cursus(["load"]).await.exits(3);
        assert_eq!(workdir.count(WAITING).await, 80);
        workdir.cursus(["prune", "approve", &run]).await.exits(0);
        assert_eq!(workdir.count("things").await, 120);
    }
}
