//! How far an erasure reaches: what loads have copied, what was left behind, whom it tells, and who works beside it.

use cursus::failpoint::Point;
use serde_json::{Value, json};

use crate::changes::changes;
use crate::erasure::{CANARY, day, is_erased, mirror, move_staging, person};
use crate::support::boxes::{delta, full, stage, workdir_of};
use crate::support::{Running, Template, Workdir};
use crate::two_at_once::{pipe, reached};

/// Follows columns of users, keeps how they were, and has the person with the id 2 change.
async fn follow(workdir: &Workdir, columns: &str) {
    let followed = format!(
        "\n[changes.tables]\nusers = {columns}\n\n[history.tables]\nusers = {columns}\n\n[quarantine]"
    );
    workdir.pipeline(&[("\n[quarantine]", &followed)]);
    for (number, name) in [(3, "before"), (4, "after")] {
        let mut changed = person(2, CANARY);
        changed["login"] = json!(format!("{CANARY}-{name}"));
        changed["updated_at"] = json!(day(number));
        stage(workdir, &[delta("users", vec![changed.to_string()])]);
        workdir.cursus(["load"]).await;
    }
    for table in ["pipeline.change", "pipeline.history"] {
        let held = format!("SELECT count(*) FROM {table} AS c WHERE c::text LIKE '%cAnArY%'");
        assert!(workdir.number(&held).await > 0, "{table} holds the person");
    }
}

#[tokio::test]
async fn an_erasure_is_a_change_without_a_personal_value() {
    let workdir = mirror().await;
    follow(&workdir, "[\"login\", \"email\", \"kind\"]").await;
    let before = changes(&workdir, &[]).await;
    let erasure = workdir.json(["forget", "2"]).await["erasure"].clone();
    is_erased(&workdir, "after forget, with changes").await;
    let after = changes(&workdir, &[]).await;
    assert_eq!(after.len(), before.len() + 1);
    let event = after.last().unwrap();
    let row = json!({"id": 2, "login": null, "email": null, "kind": "student"});
    assert_eq!(
        event["data"],
        json!({"op": "u", "key": {"id": 2}, "before": row, "after": row, "changed": ["login", "email"],
            "source": {"run": format!("erasure-{}", erasure.as_str().unwrap()), "resource": null, "table": "users",
                "file": null, "record": null}, "ts_ms": event["data"]["ts_ms"]})
    );
    // Once: nothing changes the second time.
    workdir.json(["forget", "2"]).await;
    assert_eq!(changes(&workdir, &[]).await.len(), after.len());
}

#[tokio::test]
async fn copies_of_what_is_followed_no_more_are_erased() {
    let template = Template::of(mirror().await).await;
    let columns = "ALTER TABLE users RENAME COLUMN login TO nick";
    let table = "UPDATE pipeline.change SET table_name = 'people' WHERE table_name = 'users'; \
        UPDATE pipeline.history SET table_name = 'people' WHERE table_name = 'users'";
    for (what, statement) in [("a column", columns), ("a table", table)] {
        let workdir = template.workdir().await;
        follow(&workdir, "[\"login\", \"email\"]").await;
        // Of another person, whose values stay.
        let other = "INSERT INTO pipeline.change (schema_name, seq, run_id, table_name, op, key, after) \
            SELECT 'public', 1000, 'x', table_name, 'c', '{\"id\": 1}', '{\"id\": 1, \"login\": \"ann\"}' \
            FROM pipeline.change WHERE op = 'u' AND table_name = ";
        workdir.query(statement).await;
        let is_column = what == "a column";
        let name = if is_column { "users" } else { "people" };
        workdir.query(&format!("{other} '{name}' LIMIT 1")).await;
        workdir.pipeline(&[]);
        if is_column {
            let text = std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap();
            let (head, rest) = text.split_once("also_from = { cursus_users").unwrap();
            let rest = rest.replacen("[table.columns]", "[table.columns]\nnick = \"/login\"", 1);
            let text = format!("{head}also_from = {{ cursus_users{rest}");
            workdir.write("pipeline.toml", text.replace("users.login", "users.nick"));
        }
        let ran = workdir.cursus(["forget", "2"]).await;
        assert_eq!(ran.code, Some(0), "{what}: {ran}");
        is_erased(&workdir, what).await;
        let left = "SELECT after->>'login' FROM pipeline.change WHERE seq = 1000";
        assert_eq!(workdir.column(left).await, ["ann"], "{what}");
        workdir.end().await;
    }
}

#[tokio::test]
async fn what_an_interrupted_run_left_is_erased() {
    let workdir = mirror().await;
    // A page that was begun again: its line is of other bytes, and nothing seals it.
    let run = workdir.run_directory();
    let users = run.join("users");
    std::fs::remove_file(users.join("manifest.json")).unwrap();
    let damaged = users.join("page-00001.json.gz");
    std::fs::write(&damaged, format!("[{}]", person(2, CANARY))).unwrap();
    let ran = workdir.cursus(["forget", "2"]).await;
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(!damaged.exists());
    is_erased(&workdir, "a damaged page of an open read").await;
}

/// Members with a code of any kind, and a table that SQL fills of them.
async fn members(more: &str) -> Workdir {
    let pipeline = format!(
        "[[resource]]\nname = \"members\"\npath = \"/members\"\n[[table]]\nname = \"members\"\nfrom = \"members\"\n[table.columns]\n\
         greeting = false\n[[table]]\nname = \"badges\"\nfrom = \"members\"\nselect = \"sql/badges.sql\"\nafter = [\"members\"]\n\
         [[derive]]\nname = \"greet\"\nsql = \"sql/greet.sql\"\n\
         [person]\n[[person.place]]\nresource = \"members\"\nid = \"/code\"\nfields = [\"/name\"]\n{more}"
    );
    let migration =
        "CREATE TABLE members (id bigint PRIMARY KEY, code text, name text, greeting text);
        CREATE TABLE badges (id bigint PRIMARY KEY, holder text, print text)";
    let workdir = workdir_of(&pipeline, migration).await;
    workdir.write(
        "sql/badges.sql",
        "SELECT id, code AS holder, 'badge of ' || name AS print FROM staged_members WHERE staged_state = 0",
    );
    workdir.write(
        "sql/greet.sql",
        "UPDATE members SET greeting = 'dear ' || name WHERE greeting IS DISTINCT FROM 'dear ' || name",
    );
    let odd = r#"{"id": 1, "code": "a\/\u0142", "name": "cAnArY"}"#.to_owned();
    let other = json!({"id": 2, "code": "b", "name": "bob"}).to_string();
    stage(&workdir, &[full("members", vec![odd, other])]);
    workdir.json(["load"]).await;
    workdir
}

#[tokio::test]
async fn columns_that_sql_fills_are_erased_where_declared() {
    let workdir = members("").await;
    let ran = workdir.cursus(["forget", "a/\u{142}"]).await.exits(2);
    ran.says("badges is filled by a SELECT from records of members, which hold people");
    let workdir = members(
        "[[person.table]]\ntable = \"badges\"\nid = \"holder\"\nfields = [\"print\"]\n\
         [[person.table]]\ntable = \"members\"\nid = \"code\"\nfields = [\"greeting\"]\n",
    )
    .await;
    let texts = "SELECT concat_ws(' ', m.id, name, greeting, print) FROM members AS m JOIN badges USING (id) ORDER BY id";
    assert_eq!(
        workdir.column(texts).await[0],
        "1 cAnArY dear cAnArY badge of cAnArY"
    );
    // However the id is written in a page.
    workdir.json(["forget", "a/\u{142}"]).await;
    is_erased(&workdir, "columns that SQL fills").await;
    assert_eq!(
        workdir.column(texts).await,
        ["1", "2 bob dear bob badge of bob"]
    );
    // What fills them the next time has nothing to fill them with.
    stage(
        &workdir,
        &[full(
            "members",
            vec![
                json!({"id": 1, "code": "a/\u{142}", "name": "cAnArY-again"}).to_string(),
                json!({"id": 2, "code": "b", "name": "bea"}).to_string(),
            ],
        )],
    );
    workdir.json(["load"]).await;
    assert_eq!(
        workdir.column(texts).await,
        ["1", "2 bea dear bea badge of bea"]
    );
    let wrong = "[[person.table]]\ntable = \"badges\"\nid = \"owner\"\nfields = [\"print\"]\n";
    let ran = members(wrong).await.cursus(["forget", "b"]).await.exits(2);
    ran.says("[[person.table]] of badges: the column `owner` is not in the database");
}

#[tokio::test]
async fn pages_of_nobody_knows_whom_keep_an_erasure_open() {
    let workdir = mirror().await;
    let template = Template::of(workdir).await;
    let (today, backup) = (template.workdir().await, template.workdir().await);
    today.json(["forget", "2"]).await;
    move_staging(&backup, &today);
    // The old pages of a resource that the configuration has no more.
    let run = today.run_directory();
    let (from, to) = (run.join("users"), run.join("guests"));
    std::fs::rename(from, to).unwrap();
    let ran = today.cursus(["load"]).await;
    assert!(format!("{ran}").contains("`guests`"), "{ran}");
    let ledger = std::fs::read_to_string(today.path("staging/erasures.jsonl")).unwrap();
    assert!(!ledger.contains("\"done\""), "{ledger}");
    today
        .cursus(["forget", "--finish"])
        .await
        .exits(2)
        .says("`guests`");
}

#[tokio::test]
async fn no_replay_brings_an_erased_person_back() {
    let template = Template::of(mirror().await).await;
    // Staging is from a backup.
    let (today, backup) = (template.workdir().await, template.workdir().await);
    today.json(["forget", "2"]).await;
    move_staging(&backup, &today);
    today.cursus(["replay", "--into", "past"]).await;
    is_erased(&today, "a replay of restored pages").await;
    let kept = "\n[history.tables]\nusers = [\"login\", \"kind\"]\n\n[quarantine]";
    today.pipeline(&[("\n[quarantine]", kept)]);
    today.cursus(["history", "rebuild"]).await;
    let kept = "SELECT concat_ws(' ', row->>'login', row->>'kind') FROM pipeline.history \
        WHERE schema_name = 'public' AND valid_to IS NULL ORDER BY key";
    let people = ["ann student", "student", "cem student"];
    assert_eq!(
        today.column(kept).await,
        people,
        "history of restored pages"
    );
    is_erased(&today, "the history of restored pages").await;
    // Runs were listed before.
    let mut workdir = template.workdir().await;
    let pipe = pipe(&workdir, "pipe");
    let failpoint = format!("{}=wait:{}", Point::LoadBegin.name(), pipe.display());
    workdir.set("CURSUS_FAILPOINT", failpoint);
    let replay = Running::start(&workdir, &["replay", "--into", "past"]);
    let held = reached(pipe).await;
    workdir.unset("CURSUS_FAILPOINT");
    workdir.json(["forget", "2"]).await;
    drop(held);
    let ran = replay.end().await.exits(4);
    assert!(format!("{ran}").contains("people were erased"), "{ran}");
    is_erased(&workdir, "a replay beside it").await;
    workdir.cursus(["replay", "--into", "past"]).await;
    is_erased(&workdir, "a replay after it").await;
}

#[tokio::test]
async fn exports_that_may_hold_a_person_are_named() {
    let workdir = mirror().await;
    let plain = workdir.cursus(["forget", "2", "--dry-run"]).await.exits(0);
    assert!(!plain.stdout.contains("export"), "{plain}");
    let record = "INSERT INTO pipeline.export (mirror, what, columns) VALUES \
        ('public', 'CSV of users', '{users.id,users.login}'), ('public', 'marks', '{projects_users.final_mark}'), \
        ('public', 'an old table', '{people.nick}'), ('dropped', 'a schema that is not there', '{users.id}')";
    workdir.query(record).await;
    let forgotten = workdir.json(["forget", "2", "--dry-run"]).await;
    let exports = forgotten["exports"].as_array().unwrap().iter();
    let serials: Vec<&Value> = exports.map(|export| &export["serial"]).collect();
    assert_eq!(serials, [1, 3, 4]);
    let printed = workdir.cursus(["forget", "2"]).await.exits(0);
    assert!(printed.stdout.contains("export 1 of public"), "{printed}");
}
