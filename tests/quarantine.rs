//! Rejected rows: they wait with their reason and origin, and everything else loads.

use serde_json::{Value, json};

use crate::support::boxes::{self, THINGS_ALONE, boxes, delta, full, stage, things, workdir_of};
use crate::support::{SCALE, Workdir, World, oracle, simulator};

/// What waits: table, file, index, index inside the record, column, code.
const WAITING: &str = "SELECT table_name, file, record_index, element_index, column_name, code FROM pipeline.quarantine \
    ORDER BY table_name, code, record_index";

fn cells(rows: &[[&str; 6]]) -> Vec<Vec<Option<String>>> {
    let cell = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    rows.iter().map(|row| row.map(cell).to_vec()).collect()
}

/// The file of the last answer of the newest run that shows this record, and its index there.
async fn place(workdir: &Workdir, resource: &str, id: &Value) -> (String, String) {
    let id = id.to_string();
    let found = workdir
        .json(["stage", "cat", "latest", resource, "--id", &id])
        .await;
    let found = found.as_array().unwrap().last().unwrap();
    let file = found["file"].as_str().unwrap();
    let start = file.find(&format!("{resource}/")).unwrap();
    (file[start..].to_owned(), found["index"].to_string())
}

#[tokio::test]
async fn rejected_row_is_quarantined_and_the_rest_loads() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    workdir.json(["run"]).await;

    let mut world = World::of(&good);
    let coalition = &mut world.rows("coalitions")[3];
    let id = coalition["id"].clone();
    coalition["score"] = json!("many");
    coalition["name"] = json!("Renamed");
    world.rows("coalitions")[4]["name"] = json!("Renamed too");
    let project = &mut world.rows("projects")[2];
    project["name"] = json!("Project with one bad session");
    project["project_sessions"][0]["solo"] = json!("perhaps");
    project["campus"][0]["id"] = Value::Null;
    let project = project["id"].clone();
    let enrolment = world.rows("projects_users").last_mut().unwrap();
    enrolment["project"] = json!({"name": "Project without an id"});
    let enrolment = enrolment["id"].clone();
    let bad = world.serve().await;
    workdir.use_api(&bad);
    let ran = workdir.cursus(["run", "--full"]).await.exits(3);
    assert!(
        ran.stderr.contains("coalitions: 1 row quarantined"),
        "{ran}"
    );

    let [project, coalition, enrolment] = [
        place(&workdir, "projects", &project).await,
        place(&workdir, "coalitions", &id).await,
        place(&workdir, "projects_users", &enrolment).await,
    ];
    assert_eq!(
        workdir.query(WAITING).await,
        cells(&[
            [
                "campus_projects",
                &project.0,
                &project.1,
                "0",
                "campus_id",
                "key"
            ],
            [
                "coalitions",
                &coalition.0,
                &coalition.1,
                "",
                "score",
                "type"
            ],
            [
                "project_sessions",
                &project.0,
                &project.1,
                "0",
                "solo",
                "type"
            ],
            [
                "projects_users",
                &enrolment.0,
                &enrolment.1,
                "",
                "project_id",
                "null"
            ],
        ])
    );
    let reasons = workdir
        .column("SELECT reason FROM pipeline.quarantine")
        .await;
    assert!(
        reasons
            .iter()
            .all(|reason| !reason.is_empty() && !reason.contains("many")),
        "{reasons:?}"
    );
    let key = workdir
        .column("SELECT key FROM pipeline.quarantine WHERE table_name = 'coalitions'")
        .await;
    assert_eq!(key, [format!("{{\"id\": {id}}}")]);
    // The good row of before stays; what fits of the same page and the same record is there.
    let names = workdir
        .column("SELECT name FROM coalitions WHERE name LIKE 'Renamed%'")
        .await;
    assert_eq!(names, ["Renamed too"]);
    assert_eq!(
        workdir
            .number(&format!("SELECT count(*) FROM coalitions WHERE id = {id}"))
            .await,
        1
    );
    assert_eq!(
        workdir
            .count("projects WHERE name = 'Project with one bad session'")
            .await,
        1
    );

    // Loading it once more quarantines nothing twice.
    workdir.cursus(["load", "--again"]).await.exits(3);
    assert_eq!(workdir.count("pipeline.quarantine").await, 4);

    // The next good read settles it.
    workdir.use_api(&good);
    workdir.json(["run", "--full"]).await;
    assert_eq!(workdir.query(WAITING).await, cells(&[]));
    oracle::assert_mirrors(&workdir, &good).await;
}

#[tokio::test]
async fn orphan_is_quarantined_until_its_parent_is_loaded() {
    let good = simulator().await;
    let mut world = World::of(&good);
    let orphaned = world.rows("coalitions_users")[0]["coalition_id"].clone();
    let orphans = good
        .rows("coalitions_users")
        .iter()
        .filter(|row| row["coalition_id"] == orphaned)
        .count();
    world
        .rows("coalitions")
        .retain(|coalition| coalition["id"] != orphaned);
    let bad = world.serve().await;
    let mut workdir = Workdir::with(&bad).await;
    workdir.cursus(["run"]).await.exits(3);
    let waiting = workdir
        .column("SELECT count(*) FROM pipeline.quarantine WHERE table_name = 'coalitions_users' AND code = 'orphan'")
        .await;
    assert_eq!(waiting, [orphans.to_string()]);
    let reasons = workdir
        .column("SELECT DISTINCT reason FROM pipeline.quarantine")
        .await;
    assert_eq!(reasons, ["coalition_id is not in coalitions"]);
    let rest = workdir
        .number("SELECT count(*) FROM coalitions_users")
        .await;
    assert_eq!(
        usize::try_from(rest).unwrap(),
        good.rows("coalitions_users").len() - orphans
    );

    // The parents come, and nobody reads the memberships again: they follow by themselves.
    workdir.use_api(&good);
    let report = workdir.json(["run", "--select", "coalitions"]).await;
    assert_eq!(report["resources"][0]["state"], "complete");
    assert_eq!(workdir.count("pipeline.quarantine").await, 0);
    oracle::assert_mirrors(&workdir, &good).await;
}

#[tokio::test]
async fn dangling_references_are_no_fault() {
    let good = simulator().await;
    let mut world = World::of(&good);
    world.rows("projects")[0]["project_sessions"][0]["campus_id"] = json!(987_654);
    world.rows("projects")[0]["campus"][0]["id"] = json!(987_654);
    world.rows("achievements")[0]["campus"] = json!(["Nowhere", "Nowhere"]);
    let simulator = world.serve().await;
    let workdir = Workdir::with(&simulator).await;
    let report = workdir.json(["run"]).await;
    assert_eq!(report["state"], "complete");
    assert_eq!(
        workdir
            .count("campus_projects WHERE campus_id = 987654")
            .await,
        1
    );
    let unresolved =
        "SELECT unresolved FROM pipeline.load WHERE table_name = 'campus_achievements'";
    assert!(workdir.number(unresolved).await >= 1);
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn dirt_loads_as_it_is() {
    let mut world = World::of(&simulator().await);
    let coalitions = world.rows("coalitions");
    let colours = ["#\t00FF00", "red", "", "00babc\n"];
    for (coalition, colour) in coalitions.iter_mut().zip(colours) {
        coalition["color"] = json!(colour);
        coalition["slug"] = json!("analysts");
        coalition["score"] = json!(-12_345_678_901_i64);
    }
    coalitions[5]["slug"] = Value::Null;
    let project = &mut world.rows("projects")[0];
    project["repository"] = json!("1234");
    project["project_sessions"][0]["estimate_time"] = json!("about 3 days, more or less");
    for (user, date) in world.rows("users").iter_mut().zip([
        "2031-01-01T00:00:00.000+08:00",
        "2031-01-01T00:00:00.000-03:30",
    ]) {
        user["anonymize_date"] = json!(date);
        user["first_name"] = json!("NULL");
        user["last_name"] = json!("\\N\t\"\\\u{202e}\u{1}");
    }
    let simulator = world.serve().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
    let loaded = workdir
        .column("SELECT color FROM coalitions WHERE score = -12345678901 ORDER BY id")
        .await;
    assert_eq!(loaded, colours);
}

#[tokio::test]
async fn load_with_too_many_rejects_is_rolled_back() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    workdir.json(["run"]).await;
    let rows = "SELECT * FROM projects ORDER BY id";
    let before = workdir.query(rows).await;
    let mut world = World::of(&good);
    for project in world.rows("projects").iter_mut().take(30) {
        project["exam"] = json!("perhaps");
        project["name"] = json!("Renamed");
    }
    world.rows("coalitions")[0]["name"] = json!("Renamed");
    let bad = world.serve().await;
    workdir.use_api(&bad);
    let ran = workdir.cursus(["run", "--full"]).await.exits(4);
    for said in [
        &format!(
            "30 of {} rows of projects were rejected, more than the quarantine may hold (20)",
            SCALE.projects
        ),
        "exam: ",
        "such as projects/page-00001.json.gz [",
        "max_fraction",
    ] {
        assert!(ran.stderr.contains(said), "{ran}");
    }
    assert!(!ran.stderr.contains("perhaps"), "{ran}");
    // Nothing of it is kept, and everything else loads.
    assert_eq!(workdir.query(rows).await, before);
    assert_eq!(workdir.count("pipeline.quarantine").await, 0);
    let renamed = "SELECT count(*) FROM coalitions WHERE name = 'Renamed'";
    assert_eq!(workdir.number(renamed).await, 1);

    // It waits, and a number for the table alone stops it as soon as there are more.
    let set_limit = |limit: &str| {
        workdir.pipeline(&[(
            "name = \"projects\"                       #",
            &format!("name = \"projects\"\nquarantine = {{ {limit} }} #"),
        )]);
    };
    set_limit("max_rows = 29, max_fraction = 1");
    workdir
        .cursus(["load"])
        .await
        .exits(4)
        .says("30 of the rows of projects were rejected, more than the quarantine may hold (29)");
    set_limit("max_rows = 30, max_fraction = 0.5");
    workdir.cursus(["load"]).await.exits(3);
    let waiting = "SELECT count(*) FROM pipeline.quarantine WHERE table_name = 'projects'";
    assert_eq!(workdir.number(waiting).await, 30);
}

#[tokio::test]
async fn retry_uses_the_current_tables() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    workdir.json(["run"]).await;
    let ran = workdir.cursus(["quarantine", "ls"]).await.exits(0);
    assert_eq!(ran.stdout, "quarantine is empty\n");
    let mut world = World::of(&good);
    let coalition = &mut world.rows("coalitions")[3];
    let id = coalition["id"].clone();
    coalition["score"] = json!("many");
    coalition["name"] = json!("Renamed");
    world.rows("coalitions")[4]["user_id"] = json!("nobody");
    let session = &mut world.rows("projects")[2]["project_sessions"][0];
    session["solo"] = json!("perhaps");
    let session = session["id"].clone();
    let bad = world.serve().await;
    workdir.use_api(&bad);
    workdir.cursus(["run", "--full"]).await.exits(3);
    workdir.without_api();

    let ran = workdir.cursus(["quarantine", "ls"]).await.exits(0);
    assert!(
        ["coalitions", "score", "user_id", "project_sessions", "solo"]
            .iter()
            .all(|text| ran.stdout.contains(text)),
        "{ran}"
    );
    assert!(!ran.stdout.contains("many"), "{ran}");
    let waiting = workdir.json(["quarantine", "ls", "coalitions"]).await;
    let of = |column: &str| {
        let entries = waiting.as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["column"] == column);
        entry.unwrap()["id"].to_string()
    };
    let (score, leader) = (of("score"), of("user_id"));
    let ran = workdir
        .cursus(["quarantine", "show", &score])
        .await
        .exits(0);
    let record: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&record["id"], &record["score"]), (&id, &json!("many")));
    assert!(ran.stderr.contains("score (/score)"), "{ran}");
    workdir
        .cursus(["quarantine", "show", "987654"])
        .await
        .exits(2);
    workdir
        .cursus(["quarantine", "retry", "--table", "coalition"])
        .await
        .exits(2)
        .says("did you mean `coalitions`?");

    // Nothing has changed: they wait on, with their numbers.
    let report = workdir.json_exits(3, ["quarantine", "retry"]).await;
    assert_eq!(
        (&report["tried"], &report["settled"]),
        (&json!(3), &json!(0))
    );
    let attempts = "SELECT attempts FROM pipeline.quarantine";
    assert_eq!(workdir.column(attempts).await, ["2", "2", "2"]);
    let entries = workdir.json(["quarantine", "ls", "coalitions"]).await;
    assert_eq!(entries[0]["id"], waiting[0]["id"]);

    // The tables are made to match: the good row of before is brought up to date, what is new is inserted.
    workdir
        .query(&format!(
            "DELETE FROM project_sessions WHERE id = {session}; \
             ALTER TABLE coalitions ALTER score TYPE text; ALTER TABLE project_sessions ALTER solo TYPE text"
        ))
        .await;
    // Other rows of these pages that would be rejected now are not read.
    let report = workdir.json(["quarantine", "retry", &score]).await;
    assert_eq!(
        (&report["settled"], &report["waiting"]),
        (&json!(1), &json!(0))
    );
    let row = format!("SELECT name || ' ' || score FROM coalitions WHERE id = {id}");
    assert_eq!(workdir.column(&row).await, ["Renamed many"]);
    let report = workdir.json_exits(3, ["quarantine", "retry"]).await;
    assert_eq!(
        (&report["settled"], &report["waiting"]),
        (&json!(1), &json!(1))
    );
    let solo = format!("SELECT solo FROM project_sessions WHERE id = {session}");
    assert_eq!(workdir.column(&solo).await, ["perhaps"]);

    // The last one is dropped.
    workdir.cursus(["quarantine", "drop"]).await.exits(2);
    let report = workdir.json(["quarantine", "drop", &leader]).await;
    assert_eq!(report["dropped"], 1);
    assert_eq!(workdir.json(["quarantine", "ls"]).await, json!([]));
}

#[tokio::test]
async fn retry_never_overwrites_newer_rows() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    workdir.json(["run"]).await;
    let mut world = World::of(&good);
    let coalitions = world.rows("coalitions");
    let mut newer = coalitions[3].clone();
    let id = newer["id"].clone();
    newer["name"] = json!("Newer");
    coalitions[3]["score"] = json!("many");
    coalitions[3]["name"] = json!("Older");
    let bad = world.serve().await;
    workdir.use_api(&bad);
    workdir
        .cursus(["run", "--full", "--select", "coalitions"])
        .await
        .exits(3);
    let waiting = "SELECT count(*) FROM pipeline.quarantine";
    assert_eq!(workdir.number(waiting).await, 1);

    // A later run shows it in a newer version, which is rejected too.
    let mut world = World::of(&good);
    newer["score"] = json!("more");
    world.rows("coalitions")[3] = newer;
    let worse = world.serve().await;
    workdir.use_api(&worse);
    workdir
        .cursus(["run", "--full", "--force", "--select", "coalitions"])
        .await
        .exits(3);
    // The newer read has settled what the older one left.
    assert_eq!(workdir.number(waiting).await, 1);
    workdir
        .query("ALTER TABLE coalitions ALTER score TYPE text")
        .await;
    workdir.json(["quarantine", "retry"]).await;
    let row = format!("SELECT name || ' ' || score FROM coalitions WHERE id = {id}");
    assert_eq!(workdir.column(&row).await, ["Newer more"]);
}

#[tokio::test]
async fn retried_parents_bring_their_orphans() {
    let good = simulator().await;
    let mut world = World::of(&good);
    let coalition = &mut world.rows("coalitions")[0];
    let id = coalition["id"].clone();
    coalition["score"] = json!("many");
    let bad = world.serve().await;
    let mut workdir = Workdir::with(&bad).await;
    workdir.pipeline(&[("max_fraction = 0.1", "max_fraction = 1")]);
    workdir.cursus(["run"]).await.exits(3);
    let members = format!("SELECT count(*) FROM coalitions_users WHERE coalition_id = {id}");
    assert_eq!(workdir.number(&members).await, 0);
    workdir.without_api();
    workdir
        .query("ALTER TABLE coalitions ALTER score TYPE text")
        .await;
    let report = workdir.json(["quarantine", "retry"]).await;
    assert_eq!(report["waiting"], 0, "{report:#}");
    let expected = good
        .rows("coalitions_users")
        .iter()
        .filter(|row| row["coalition_id"] == id)
        .count();
    assert_eq!(
        usize::try_from(workdir.number(&members).await).unwrap(),
        expected
    );
}

/// Moments in the key, as the API spells them.
#[tokio::test]
async fn newer_rows_settle_entries_whatever_their_key_spelling() {
    let pipeline = r#"
[[resource]]
name = "stays"
path = "/stays"
[[table]]
name = "stays"
from = "stays"
[[table]]
name = "steps"
from = "stays"
rows = "/steps"
after = ["stays"]
owner = { begin_at = "stays.begin_at" }
[table.columns]
begin_at = "../begin_at"
"#;
    let tables = "CREATE TABLE stays (begin_at timestamptz PRIMARY KEY, at timestamp UNIQUE, hours integer); \
                  CREATE TABLE steps (begin_at timestamptz, n bigint, PRIMARY KEY (begin_at, n));";
    let workdir = workdir_of(pipeline, tables).await;
    let begin = |day: i64| {
        format!(
            "2026-01-{day:02}T00:00:00.{}Z",
            if day == 5 { "500" } else { "000" }
        )
    };
    let stay = |day: i64, hours: &Value, step: &Value| {
        json!({"id": day, "begin_at": begin(day), "at": begin(day), "hours": hours, "steps": [{"n": step}]}).to_string()
    };
    let all = (1..=30)
        .map(|day| stay(day, &json!(1), &json!(1)))
        .collect();
    stage(&workdir, &[full("stays", all)]);
    workdir.cursus(["load"]).await.exits(0);
    let bad = [4, 5].map(|day| stay(day, &json!(99_999_999_999_i64), &json!(1)));
    let nested = stay(6, &json!(1), &json!("x"));
    stage(
        &workdir,
        &[delta("stays", [bad.to_vec(), vec![nested]].concat())],
    );
    workdir.cursus(["load"]).await.exits(3);
    assert_eq!(workdir.count("pipeline.quarantine").await, 3);
    let spelled = "SELECT q.key FROM pipeline.quarantine AS q JOIN stays ON key = jsonb_build_object('begin_at', begin_at) \
                   UNION ALL SELECT parent FROM pipeline.quarantine JOIN stays ON parent = to_jsonb(begin_at)";
    assert_eq!(workdir.column(spelled).await.len(), 3);
    let newer = [4, 5, 6].map(|day| stay(day, &json!(3), &json!(2)));
    stage(&workdir, &[delta("stays", newer.to_vec())]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(workdir.count("pipeline.quarantine").await, 0);
    workdir
        .query("ALTER TABLE stays ALTER hours TYPE bigint")
        .await;
    workdir.cursus(["quarantine", "retry"]).await.exits(0);
    let hours = "SELECT hours FROM stays WHERE begin_at BETWEEN '2026-01-04' AND '2026-01-06' ORDER BY begin_at";
    assert_eq!(workdir.column(hours).await, ["3", "3", "3"]);
}

#[tokio::test]
async fn entries_of_another_schema_name_their_commands() {
    let workdir = boxes::workdir().await;
    let with_a_bad_one = |last: i64| {
        let mut records = things(1..=last);
        records.push(boxes::thing(21, 1.0).replace("1.0", "\"heavy\""));
        full("things", records)
    };
    stage(&workdir, &[full("boxes", boxes(1..=3)), with_a_bad_one(20)]);
    let run = stage(&workdir, &[with_a_bad_one(5)]);
    workdir
        .cursus(["load", "--into", "scratch"])
        .await
        .exits(4)
        .says("`cursus prune ls --into scratch`")
        .says(&format!("cursus prune approve {run} --into scratch"))
        .says("cursus quarantine ls things --into scratch");
    let replay = workdir.cursus(["replay", "--into", "past"]).await.exits(4);
    let replay = replay.says("cursus prune approve RUN --into past");
    replay.says("cursus quarantine ls things --into past");
    let explained = workdir.json(["explain", "things", "1", "--into", "scratch"]);
    let by_its_other_name = workdir.json(["explain", "things", "1", "--schema", "scratch"]);
    assert_eq!(explained.await, by_its_other_name.await);

    let scratch = async |arguments: &[&str]| {
        let arguments = [&["quarantine"], arguments, &["--into", "scratch"]].concat();
        workdir.json(arguments).await
    };
    assert_eq!(workdir.json(["quarantine", "ls"]).await, json!([]));
    let number = scratch(&["ls", "things"]).await[0]["id"].to_string();
    let shown = scratch(&["show", &number]).await;
    assert_eq!(shown["record"]["weight"], "heavy");
    let retry = ["quarantine", "retry", "--into", "scratch"];
    assert_eq!(workdir.json_exits(3, retry).await["waiting"], 1);
    assert_eq!(scratch(&["drop", &number]).await["dropped"], 1);
    let elsewhere = ["quarantine", "retry", "--into", "mistyped"];
    assert_eq!(workdir.json(elsewhere).await["tried"], 0);
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'mistyped'";
    assert_eq!(workdir.number(made).await, 0);
    // In the mirror nothing more is to be typed.
    let mirror = workdir.cursus(["load"]).await.exits(4);
    assert!(!mirror.stderr.contains("--into"), "{mirror}");
    let rebuild = workdir.cursus(["replay", "--rebuild"]).await.exits(4);
    let rebuild = rebuild.says("cursus quarantine ls things`\n");
    assert!(!rebuild.stderr.contains("--into"), "{rebuild}");
}

#[tokio::test]
async fn retry_of_older_runs_lacks_newer_keys() {
    let tables = "CREATE TABLE things (id bigint PRIMARY KEY, colour text, size integer)";
    let workdir = workdir_of(THINGS_ALONE, tables).await;
    let mut records: Vec<String> = (1..=30)
        .map(|id| json!({"id": id, "size": id}).to_string())
        .collect();
    records[6] = json!({"id": 7, "size": "large"}).to_string();
    stage(&workdir, &[full("things", records)]);
    workdir.cursus(["load"]).await.exits(3);
    let coloured = json!({"id": 1, "size": 1, "colour": "red"}).to_string();
    stage(&workdir, &[delta("things", vec![coloured])]);
    workdir.cursus(["load"]).await.exits(0);
    workdir
        .query("ALTER TABLE things ALTER size TYPE text")
        .await;
    workdir.cursus(["quarantine", "retry"]).await.exits(0);
    let rows = "SELECT concat_ws(' ', id, colour, size) FROM things WHERE id IN (1, 7) ORDER BY id";
    assert_eq!(workdir.column(rows).await, ["1 red 1", "7 large"]);
}

#[tokio::test]
async fn entries_of_an_unmapped_table_can_be_dropped() {
    let resource = "version = 1\n[api]\nurl = \"https://api.example.org\"\n[[resource]]\nname = \"things\"\npath = \"/things\"\n";
    let table = |name: &str| format!("[[table]]\nname = \"{name}\"\nfrom = \"things\"\n");
    let tables = "CREATE TABLE things (id bigint PRIMARY KEY); CREATE TABLE sizes (id bigint PRIMARY KEY, size integer)";
    let workdir = workdir_of("", tables).await;
    let both = [resource, &table("things"), &table("sizes")].concat();
    workdir.write("pipeline.toml", both);
    let record = json!({"id": 1, "size": "large"}).to_string();
    stage(&workdir, &[full("things", vec![record])]);
    workdir.cursus(["load"]).await.exits(3);
    workdir.write("pipeline.toml", [resource, &table("things")].concat());

    let retry = workdir.cursus(["quarantine", "retry"]).await.exits(3);
    retry.says("warning: sizes: 1 row not retried, because pipeline.toml no longer has this table");
    let waiting = workdir.json(["quarantine", "ls", "sizes"]).await;
    assert_eq!(waiting[0]["column"], "size");
    let drop = ["quarantine", "drop", "--table", "sizes"];
    assert_eq!(workdir.json(drop).await["dropped"], 1);
    workdir.cursus(drop).await.exits(2);
}

#[tokio::test]
async fn retry_names_what_it_cannot_load_and_the_command_that_can() {
    let workdir = boxes::workdir().await;
    let selected = "[[table]]\nname = \"heavy\"\nfrom = \"things\"\nselect = \"sql/heavy.sql\"\nafter = [\"things\"]\n";
    let pipeline = boxes::PIPELINE.replace("[[derive]]", &format!("{selected}[[derive]]"));
    workdir.write("pipeline.toml", pipeline);
    let select =
        "SELECT id, weight FROM staged_things JOIN things USING (id, weight) WHERE weight > 10";
    workdir.write("sql/heavy.sql", select);
    workdir.write(
        "migrations/mirror/V1001__checks.sql",
        "ALTER TABLE things ADD CONSTRAINT light CHECK (weight < 100);
         CREATE TABLE heavy (id bigint PRIMARY KEY, weight double precision CONSTRAINT small CHECK (weight < 20))",
    );
    let note = |id: i64| json!({"id": id, "thing_id": id, "text": "n"}).to_string();
    let records = [30.0, 40.0, 500.0, 15.0];
    let records = (1..).zip(records);
    let reads = [
        full("boxes", boxes(1..=3)),
        full(
            "things",
            records
                .map(|(id, weight)| boxes::thing(id, weight))
                .collect(),
        ),
        full("notes", (1..=4).map(note).collect()),
    ];
    stage(&workdir, &reads);
    workdir.cursus(["load"]).await.exits(3);
    let rows = "SELECT (SELECT count(*) FROM things) * 100 + (SELECT count(*) FROM notes) * 10 + (SELECT count(*) FROM heavy)";
    assert_eq!(workdir.number(rows).await, 331);

    workdir.write(
        "migrations/mirror/V1002__no_checks.sql",
        "ALTER TABLE things DROP CONSTRAINT light; ALTER TABLE heavy DROP CONSTRAINT small",
    );
    let ran = workdir.cursus(["quarantine", "retry"]).await.exits(3);
    let output: Vec<&str> = (ran.stderr.lines())
        .filter_map(|line| line.split_once("Z warning: ").map(|(_, warning)| warning))
        .collect();
    assert_eq!(
        output,
        [
            "heavy: 2 rows not retried, because a SELECT makes them from other rows and no record of theirs is staged; to \
             load them again from staging: `cursus replay --rebuild --select things`",
            "notes: rows that refer to the rows of things loaded now may have been left out before; to load them again \
             from staging: `cursus replay --rebuild --select notes`",
        ]
    );
    assert_eq!(workdir.number(rows).await, 431);
    for resource in ["things", "notes"] {
        let rebuild = ["replay", "--rebuild", "--select", resource];
        workdir.cursus(rebuild).await.exits(0);
    }
    assert_eq!(workdir.number(rows).await, 444);
    assert_eq!(workdir.json(["quarantine", "ls"]).await, json!([]));
}
