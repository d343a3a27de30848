//! Packs: further resources, tables and views that are turned on by name; and views of the mirror.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::{Value, json};

use crate::support::boxes::{Read, full, stage};
use crate::support::{Workdir, api, oracle, simulator};

const THINGS: &str = "[[resource]]\nname = \"things\"\npath = \"/things\"\n[[table]]\nname = \"things\"\nfrom = \"things\"\n";
const MARKS: &str = "[pack]\ndescription = \"marks of things\"\nright = \"the role Clerk\"\n\
    [[resource]]\nname = \"marks\"\npath = \"/marks\"\n[[table]]\nname = \"marks\"\nfrom = \"marks\"\nreferences = { thing_id = \"things.id\" }\n";
const MARKS_TABLE: &str =
    "CREATE TABLE marks (id bigint PRIMARY KEY, thing_id bigint, mark integer);";

/// A project with things, and the pack `marks` beside it, which is off.
async fn workdir() -> Workdir {
    let workdir = Workdir::new().await;
    turn_on(&workdir, "[]");
    let table = "CREATE TABLE things (id bigint PRIMARY KEY, name text);";
    workdir.write("migrations/mirror/V1000__things.sql", table);
    workdir.write("packs/marks/pack.toml", MARKS);
    workdir.write("packs/marks/migrations/V1__marks.sql", MARKS_TABLE);
    workdir
}

fn turn_on(workdir: &Workdir, packs: &str) {
    let head = "[api]\nurl = \"https://api.example.org\"\n";
    let text = format!("version = 1\npacks = {packs}\n{head}{THINGS}");
    workdir.write("pipeline.toml", text);
}

fn mark(id: i64) -> String {
    json!({ "id": id, "thing_id": 1, "mark": 10 * id }).to_string()
}

fn thing() -> Read<'static> {
    full(
        "things",
        vec![json!({ "id": 1, "name": "lamp" }).to_string()],
    )
}

/// A pack as `pack ls` shows it.
async fn listed(workdir: &Workdir, name: &str) -> Value {
    let list = workdir.json(["pack", "ls"]).await;
    let packs = list["packs"].as_array().unwrap();
    packs
        .iter()
        .find(|pack| pack["name"] == name)
        .unwrap()
        .clone()
}

#[tokio::test]
async fn a_pack_is_on_when_it_is_named_and_keeps_its_tables() {
    let workdir = workdir().await;
    assert_eq!(listed(&workdir, "marks").await["state"], "off");
    stage(&workdir, &[thing()]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM pg_class WHERE relname = 'marks'")
            .await,
        0
    );

    turn_on(&workdir, "[\"marks\"]");
    let view = "-- Marks by thing.\nSELECT thing_id, sum(mark) AS sum FROM marks GROUP BY 1;\n";
    workdir.write("packs/marks/views/sums.sql", view);
    stage(&workdir, &[full("marks", vec![mark(1), mark(2)])]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(
        workdir
            .column("SELECT concat(thing_id, ' ', sum) FROM sums")
            .await,
        ["1 30"]
    );
    let shown = listed(&workdir, "marks").await;
    let facts =
        ["state", "is_own", "right", "resources", "tables", "views"].map(|key| shown[key].clone());
    let expected = [
        json!("on"),
        json!(true),
        json!("the role Clerk"),
        json!(["marks"]),
        json!(["marks"]),
        json!(["sums"]),
    ];
    assert_eq!(facts, expected);
    assert!(shown["requests_a_day"].as_u64().unwrap() > 0, "{shown}");
    // What is on by default needs resources that this project does not have.
    let teams = listed(&workdir, "teams").await;
    assert_eq!(
        (&teams["state"], &teams["is_default"]),
        (&json!("off"), &json!(true))
    );
    assert!(
        teams["why_off"]
            .as_str()
            .unwrap()
            .contains("projects_users"),
        "{teams}"
    );
    let statistics = listed(&workdir, "statistics").await;
    assert_eq!(
        statistics["why_off"],
        "pipeline.toml has no table `projects_users`"
    );
    workdir.cursus(["pack", "show", "marks"]).await.exits(0);
    workdir
        .cursus(["pack", "show", "maks"])
        .await
        .exits(2)
        .says("did you mean `marks`?");
    let schema = workdir.json(["schema"]).await;
    let tables = schema["tables"].as_array().unwrap();
    let of = |name: &str| tables.iter().find(|table| table["name"] == name).unwrap();
    assert_eq!(
        (&of("marks")["pack"], &of("things")["pack"]),
        (&json!("marks"), &Value::Null)
    );
    assert_eq!(
        (&of("sums")["pack"], &of("sums")["comment"]),
        (&json!("marks"), &json!("Marks by thing."))
    );

    // Off again: nothing is deleted, and it is said.
    turn_on(&workdir, "[]");
    stage(&workdir, &[thing()]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(workdir.count("marks").await, 2);
    workdir
        .cursus(["status"])
        .await
        .exits(0)
        .says("the pack marks is off: its tables are no longer kept up");
}

#[tokio::test]
async fn faults_of_all_packs_are_reported_at_once_with_lines() {
    let workdir = workdir().await;
    let cases = [
        (
            "[\"marcs\"]",
            "pipeline.toml:2: `packs`: there is no pack `marcs`; did you mean `marks`?",
        ),
        ("[\"marks\", \"-marks\"]", "turns `marks` on and off"),
        ("[\"marks\", \"marks\"]", "names `marks` twice"),
    ];
    for (packs, sentence) in cases {
        turn_on(&workdir, packs);
        workdir.cursus(["migrate"]).await.exits(2).says(sentence);
    }
    turn_on(&workdir, "[\"marks\", \"Bad_Name\", \"prizes\"]");
    let costs = "requests_a_day = { 100 = 1, 1000 = \"x\" }";
    let bad_name = format!("[pack]\ndescription = \"x\"\n{costs}\n");
    workdir.write("packs/Bad_Name/pack.toml", bad_name);
    let prizes = "[pack]\ndescription = \"prizes\"\nneeds = [\"mars\"]\n[[table]]\nname = \"things\"\nfrom = \"marks\"\n";
    workdir.write("packs/prizes/pack.toml", prizes);
    workdir.write("packs/marks/views/bare.sql", "SELECT 1 AS one");
    let broken = MARKS.replace("path = ", "pth = ");
    workdir.write("packs/marks/pack.toml", broken);
    let said = workdir.cursus(["migrate"]).await.exits(2);
    let said = [
        "packs/marks/pack.toml:6: [[resource]] marks: unknown key `pth`",
        "packs/marks/views/bare.sql: the file begins with a comment",
        "a pack is called by its folder",
        "packs/Bad_Name/pack.toml:3: [pack], requests_a_day: `1000` is a whole number, not",
        "packs/Bad_Name/pack.toml:3: [pack], requests_a_day: the key `10000` is missing",
        "packs/prizes/pack.toml:3: `needs`: there is no pack `mars`; did you mean `marks`?",
        "packs/prizes/pack.toml:5: [[table]] things: pipeline.toml has a table of this name",
        "`from` names the resource `marks` of the pack `marks`; write `marks` into `needs`",
    ]
    .into_iter()
    .fold(said, |said, sentence| said.says(sentence));
    drop(said);
    // What is off is not looked at.
    turn_on(&workdir, "[]");
    workdir.cursus(["migrate"]).await.exits(0);
}

/// A folder, a picture or a name that is no text.
#[tokio::test]
async fn what_is_no_text_in_a_pack_stops_only_who_needs_it() {
    let workdir = workdir().await;
    turn_on(&workdir, "[\"marks\"]");
    let marks = workdir.path("packs/marks");
    for part in ["sql", "export", "pages", "views", "migrations"] {
        std::fs::create_dir_all(marks.join(part)).unwrap();
    }
    let bytes = b"\xff\xfe";
    for file in [
        "README.md",
        "sql/picture.png",
        "export/public.toml",
        "pages/10-loose.sql",
    ] {
        std::fs::write(marks.join(file), bytes).unwrap();
    }
    for part in ["sql", "export"] {
        std::fs::create_dir(marks.join(part).join("old")).unwrap();
        let odd = OsStr::from_bytes(b"\xff.toml");
        std::fs::write(marks.join(part).join(odd), bytes).unwrap();
    }
    workdir.cursus(["migrate"]).await.exits(0);
    let shown = workdir.cursus(["pack", "show", "marks"]).await.exits(0);
    for part in [
        "packs/marks/README.md <==",
        "it is not UTF-8",
        "packs/marks/sql/old <==",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {shown}");
    }
    for file in [
        "views/picture.sql",
        "views/old/",
        "migrations/V2__picture.sql",
    ] {
        let (path, why) = match file.strip_suffix('/') {
            Some(folder) => (marks.join(folder), "should be a plain file"),
            None => (marks.join(file), "it is not UTF-8"),
        };
        if file.ends_with('/') {
            std::fs::create_dir(&path).unwrap();
        } else {
            std::fs::write(&path, bytes).unwrap();
        }
        turn_on(&workdir, "[\"marks\"]");
        let refused = workdir.cursus(["migrate"]).await.says(why);
        assert!(matches!(refused.code, Some(1 | 2)), "{refused}");
        assert!(
            refused.stderr.contains(file.trim_end_matches('/')),
            "{refused}"
        );
        turn_on(&workdir, "[]");
        workdir.cursus(["migrate"]).await.exits(0);
        if file.ends_with('/') {
            std::fs::remove_dir(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[tokio::test]
async fn a_pack_needs_others_to_be_on_and_comes_after_them() {
    let workdir = workdir().await;
    let awards = "[pack]\ndescription = \"awards\"\nneeds = [\"marks\"]\n[[table]]\nname = \"awards\"\nfrom = \"marks\"\n";
    workdir.write("packs/awards/pack.toml", awards);
    let table = "CREATE TABLE awards (id bigint PRIMARY KEY REFERENCES marks, mark integer);";
    workdir.write("packs/awards/migrations/V1__awards.sql", table);
    turn_on(&workdir, "[\"awards\"]");
    let sentence = "the pack `awards` needs the pack `marks`, which is off; write packs = [\"marks\", \"awards\"]";
    workdir.cursus(["migrate"]).await.exits(2).says(sentence);
    turn_on(&workdir, "[\"awards\", \"marks\"]");
    let migrated = workdir.json(["migrate"]).await;
    let applied = migrated["applied"].as_array().unwrap();
    let at = |label: &str| applied.iter().position(|one| one == label).unwrap();
    assert!(
        at("public/marks/V1__marks") < at("public/awards/V1__awards"),
        "{migrated}"
    );
}

/// A pack that comes with an upgrade, or is turned on later, and whose rows are in pages that were read before.
#[tokio::test]
async fn tables_that_come_later_are_named_with_how_to_fill_them() {
    let workdir = workdir().await;
    let parts = "[pack]\ndescription = \"parts\"\n[[table]]\nname = \"parts\"\nfrom = \"things\"\nrows = \"/parts\"\n";
    workdir.write("packs/parts/pack.toml", parts);
    let table = "CREATE TABLE parts (id bigint PRIMARY KEY, name text);";
    workdir.write("packs/parts/migrations/V1__parts.sql", table);
    let lamp = json!({ "id": 1, "name": "lamp", "parts": [{ "id": 7, "name": "bulb" }] });
    stage(&workdir, &[full("things", vec![lamp.to_string()])]);
    workdir.cursus(["load"]).await.exits(0);
    turn_on(&workdir, "[\"marks\", \"parts\"]");
    let migrated = workdir.cursus(["migrate"]).await.exits(0);
    let sentence = "; `cursus replay --rebuild` fills parts from what is staged, without a request; \
        else the next `run` reads the resource of each in full";
    assert!(migrated.stdout.contains(sentence), "{migrated}");
    assert_eq!(workdir.count("parts").await, 0);
    workdir.cursus(["replay", "--rebuild"]).await.exits(0);
    assert_eq!(workdir.count("parts").await, 1);
    let own = "CREATE TABLE more (id bigint)";
    workdir.write("migrations/mirror/V1001__more.sql", own);
    let migrated = workdir.cursus(["migrate"]).await.exits(0);
    assert!(!migrated.stdout.contains("replay"), "{migrated}");
}

#[tokio::test]
async fn a_plan_shows_what_a_pack_would_cost_on_top() {
    let workdir = workdir().await;
    let without = workdir.json(["plan", "--offline"]).await;
    let with = workdir.json(["plan", "--offline", "--pack", "marks"]).await;
    let names = |plan: &Value| -> Vec<String> {
        let lines = plan["resources"].as_array().unwrap();
        lines
            .iter()
            .map(|line| line["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (names(&without), names(&with)),
        (
            vec!["things".to_owned()],
            vec!["things".to_owned(), "marks".to_owned()]
        )
    );
    assert_eq!(with["packs"][0]["name"], "marks");
    assert_eq!(with["packs"][0]["resources"], json!(["marks"]));
    assert!(without.get("packs").is_none());
    workdir
        .cursus(["plan", "--offline", "--pack", "maks"])
        .await
        .exits(2)
        .says("did you mean `marks`?");
}

#[tokio::test]
async fn a_pack_makes_no_table_of_another_one() {
    let workdir = workdir().await;
    turn_on(&workdir, "[\"marks\", \"other\"]");
    workdir.write("packs/other/pack.toml", "[pack]\ndescription = \"other\"\n");
    workdir.write(
        "packs/other/migrations/V1__other.sql",
        "CREATE TABLE marks (id bigint PRIMARY KEY);",
    );
    workdir
        .cursus(["migrate"])
        .await
        .exits(1)
        .says("makes `marks`, which the pack marks makes too");
    workdir.write(
        "packs/other/migrations/V1__other.sql",
        "CREATE TABLE users (id bigint PRIMARY KEY);",
    );
    workdir
        .cursus(["migrate"])
        .await
        .exits(1)
        .says("makes `users`, which cursus makes too");
    workdir.write("packs/other/migrations/V1__other.sql", "SELECT 1");
    workdir.write("packs/other/migrations/first.sql", "SELECT 1");
    workdir
        .cursus(["migrate"])
        .await
        .exits(1)
        .says("first.sql is not named like a migration; name it V1__");
}

/// A view of cursus and one on it, both made.
async fn with_views() -> Workdir {
    let workdir = workdir().await;
    workdir.write(
        "sql/views/a_named.sql",
        "-- Things with a name.\nSELECT id, name FROM things WHERE name IS NOT NULL;\n",
    );
    workdir.write(
        "sql/views/b_counted.sql",
        "-- How many there are.\nSELECT count(*) AS things FROM a_named\n",
    );
    stage(&workdir, &[thing()]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(
        workdir.column("SELECT things::text FROM b_counted").await,
        ["1"]
    );
    workdir
}

const MAY_READ: &str = "SELECT string_agg(relname || ' ' || has_table_privilege('pg_monitor', oid, 'SELECT'), ', ' ORDER BY relname) \
    FROM pg_class WHERE relname IN ('a_named', 'b_counted')";

#[tokio::test]
async fn a_view_is_renewed_with_its_readers_and_keeps_grants() {
    let workdir = with_views().await;
    workdir
        .query("GRANT SELECT ON a_named, b_counted TO pg_monitor")
        .await;
    let fewer = "-- Names of things.\nSELECT name FROM things WHERE name IS NOT NULL\n";
    workdir.write("sql/views/a_named.sql", fewer);
    workdir.cursus(["migrate"]).await.exits(0);
    assert_eq!(
        workdir.column("SELECT a_named::text FROM a_named").await,
        ["(lamp)"]
    );
    assert_eq!(
        workdir.column(MAY_READ).await,
        ["a_named true, b_counted true"]
    );
    let applied = workdir.json(["migrate"]).await;
    assert_eq!(
        (&applied["applied"], &applied["views"]),
        (&json!([]), &json!([]))
    );
    // What people have built on it is not dropped with it.
    workdir
        .query("CREATE VIEW mine AS SELECT name FROM a_named")
        .await;
    workdir.write(
        "sql/views/a_named.sql",
        "-- Ids of things.\nSELECT id FROM things\n",
    );
    let said = workdir.cursus(["migrate"]).await.exits(0);
    said.says("the view public.a_named was not renewed")
        .says("public.mine reads it");
    assert_eq!(workdir.column("SELECT name FROM mine").await, ["lamp"]);
    workdir.query("DROP VIEW mine").await;
    workdir.cursus(["migrate"]).await.exits(0);
    assert_eq!(
        workdir.column("SELECT a_named::text FROM a_named").await,
        ["(1)"]
    );
    assert_eq!(
        workdir.column(MAY_READ).await,
        ["a_named true, b_counted true"]
    );
}

#[tokio::test]
async fn a_migration_puts_views_aside_that_are_in_its_way() {
    let workdir = with_views().await;
    workdir
        .query(
            "GRANT SELECT ON a_named TO pg_monitor; CREATE VIEW mine AS SELECT name FROM a_named",
        )
        .await;
    let change = "ALTER TABLE things ALTER COLUMN id TYPE numeric; ALTER TABLE things ALTER COLUMN name TYPE text USING upper(name);";
    workdir.write("migrations/mirror/V1001__things.sql", change);
    workdir.write("sql/views/a_named.sql", "-- Things with a name.\nSELECT id::bigint AS id, name FROM things WHERE name IS NOT NULL;\n");
    workdir.cursus(["migrate"]).await.exits(0);
    assert_eq!(workdir.column("SELECT name FROM mine").await, ["LAMP"]);
    assert_eq!(
        workdir.column("SELECT things::text FROM b_counted").await,
        ["1"]
    );
    assert_eq!(
        workdir.column(MAY_READ).await,
        ["a_named true, b_counted false"]
    );
    // One that fails for another reason leaves them as they were.
    let fails = "ALTER TABLE things ALTER COLUMN name TYPE varchar; SELECT 1 / 0;";
    workdir.write("migrations/mirror/V1002__fails.sql", fails);
    workdir
        .cursus(["migrate"])
        .await
        .exits(1)
        .says("V1002__fails");
    assert_eq!(workdir.column("SELECT name FROM mine").await, ["LAMP"]);
}

#[tokio::test]
async fn what_people_have_made_under_its_name_is_left_alone() {
    let workdir = workdir().await;
    workdir.cursus(["migrate"]).await.exits(0);
    workdir
        .query("CREATE TABLE a_named (mine text); CREATE VIEW b_counted AS SELECT 7 AS things")
        .await;
    for (view, text) in [
        ("a_named", "SELECT id FROM things"),
        ("b_counted", "SELECT 1 AS things"),
        ("c_whole", "SELECT id FROM things"),
    ] {
        workdir.write(
            &format!("sql/views/{view}.sql"),
            format!("-- A view.\n{text}\n"),
        );
    }
    // One that the database refuses is said, and the others are made.
    workdir.write(
        "sql/views/d_wrong.sql",
        "-- A view.\nSELECT nothing FROM things; DROP TABLE things\n",
    );
    let said = workdir.cursus(["migrate"]).await.exits(0);
    let said = said
        .says("the view public.a_named was not made")
        .says("the view public.b_counted was not made");
    said.says("the view public.d_wrong was not made");
    assert_eq!(
        workdir.column("SELECT things::text FROM b_counted").await,
        ["7"]
    );
    assert_eq!(workdir.count("c_whole").await, 0);
    assert_eq!(workdir.count("a_named").await, 0);
}

#[tokio::test]
async fn a_pack_that_the_key_may_not_read_is_skipped_and_named() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let pack = "[pack]\ndescription = \"evaluations\"\nright = \"the role Advanced staff\"\n\
        [[resource]]\nname = \"evaluations\"\npath = \"/v2/scale_teams\"\n[[table]]\nname = \"evaluations\"\nfrom = \"evaluations\"\n";
    workdir.write("packs/evaluations/pack.toml", pack);
    let table = "CREATE TABLE evaluations (id bigint PRIMARY KEY);";
    workdir.write("packs/evaluations/migrations/V1__evaluations.sql", table);
    workdir.pipeline(&[("version = 1 ", "version = 1\npacks = [\"evaluations\"] ")]);
    let sentence = "the pack `evaluations`, which needs the role Advanced staff, is skipped";
    workdir.cursus(["run"]).await.exits(3).says(sentence);
    oracle::assert_mirrors(&workdir, &simulator).await;
    assert_eq!(workdir.count("evaluations").await, 0);
    let doctor = workdir.cursus(["doctor"]).await.exits(1);
    assert!(
        doctor.stdout.contains(
            "evaluations (needs the role Advanced staff): the key may not read evaluations (403)"
        ),
        "{doctor}"
    );
}

#[tokio::test]
async fn teams_and_skills_are_filled_from_all_that_is_staged() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[(
        "version = 1 ",
        "version = 1\npacks = [\"-teams\", \"-skills\"] ",
    )]);
    workdir.json(["run"]).await;
    workdir.pipeline(&[]);
    let before = api::page_requests(&simulator);
    workdir.cursus(["migrate"]).await.exits(0);
    workdir.cursus(["replay", "--rebuild"]).await.exits(0);
    assert_eq!(api::page_requests(&simulator), before);
    oracle::assert_mirrors(&workdir, &simulator).await;
    for table in ["teams", "teams_users", "cursus_users_skills"] {
        assert!(workdir.count(table).await > 0, "{table}");
    }
    // A row is explained by the record that holds the list of lists.
    let row = workdir
        .query("SELECT team_id, user_id FROM teams_users ORDER BY 1, 2 LIMIT 1")
        .await;
    let [team, user] = &row[0][..] else {
        panic!("{row:?}")
    };
    let key = format!(
        "team_id={},user_id={}",
        team.as_ref().unwrap(),
        user.as_ref().unwrap()
    );
    workdir
        .cursus(["explain", "teams_users", &key])
        .await
        .exits(0);
    // No login of theirs is kept.
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name LIKE 'teams%' \
        AND column_name IN ('login', 'url', 'name', 'repo_url')";
    assert_eq!(workdir.number(columns).await, 0);
    // Nothing is read in full again because of them.
    let report = workdir.json(["run"]).await;
    let resources = report["resources"].as_array().unwrap();
    let of = |name: &str| resources.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(of("projects_users")["mode"], "delta", "{report:#}");
    assert_eq!(of("cursus_users")["mode"], "delta");
}

#[tokio::test]
async fn lists_in_a_list_give_rows_and_a_missing_one_deletes_none() {
    let workdir = Workdir::new().await;
    let pipeline = "version = 1\n[api]\nurl = \"https://api.example.org\"\n[[resource]]\nname = \"things\"\npath = \"/things\"\n\
        [[table]]\nname = \"groups\"\nfrom = \"things\"\nrows = \"/groups\"\n\
        [[table]]\nname = \"members\"\nfrom = \"things\"\nrows = \"/groups/*/people\"\nafter = [\"groups\"]\n\
        owner = { group_id = \"groups.id\" }\n[table.columns]\ngroup_id = \"../id\"\n";
    workdir.write("pipeline.toml", pipeline);
    let tables = "CREATE TABLE groups (id bigint PRIMARY KEY); \
        CREATE TABLE members (group_id bigint, id bigint, PRIMARY KEY (group_id, id));";
    workdir.write("migrations/mirror/V1000__groups.sql", tables);
    let record = |groups: Value| {
        full(
            "things",
            vec![json!({ "id": 1, "groups": groups }).to_string()],
        )
    };
    let two = json!([{ "id": 1, "people": [{ "id": 7 }, { "id": 8 }] }, { "id": 2, "people": [{ "id": 7 }] }]);
    stage(&workdir, &[record(two)]);
    workdir.cursus(["load"]).await.exits(0);
    let members = "SELECT concat(group_id, ' ', id) FROM members ORDER BY 1";
    assert_eq!(workdir.column(members).await, ["1 7", "1 8", "2 7"]);
    // One that left, and a list that is not there: only what is known is done.
    let fewer = json!([{ "id": 1, "people": [{ "id": 8 }] }, { "id": 2 }]);
    stage(&workdir, &[record(fewer)]);
    workdir.cursus(["load"]).await.exits(3);
    assert_eq!(workdir.column(members).await, ["1 8", "2 7"]);
    workdir
        .cursus(["explain", "members", "group_id=1,id=8"])
        .await
        .exits(0);
    for rows in ["/*/people", "/groups/*", "/a/*/b/*/c"] {
        workdir.write("pipeline.toml", pipeline.replace("/groups/*/people", rows));
        workdir
            .cursus(["load"])
            .await
            .exits(2)
            .says("`*` stands once, between two lists");
    }
}
