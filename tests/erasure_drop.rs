//! A person's records and rows are removed: from every page, every table and every copy, and nothing brings them back.

use std::time::Duration;

use cursus::failpoint::Point;
use serde_json::{Value, json};

use crate::changes::changes;
use crate::erasure::{
    CANARY, FORGET, FORGET_SAMPLE, day, files_with, is_erased, mirror, move_staging, person,
    places_of, records, survives_kills,
};
use crate::support::boxes::{delta, full, stage, workdir_of};
use crate::support::{Shared, Template, Workdir, simulator};

/// A mirror that holds the person with the id 2 in every way, also as the head of a coalition, and alone in a team.
pub(crate) async fn campus() -> Workdir {
    static LOADED: Shared = Shared::new();
    let load = async || {
        let workdir = mirror().await;
        let coalition = |id: i64, head: Value| {
            json!({"id": id, "name": "c", "slug": format!("c-{id}"), "image_url": "i", "cover_url": "c", "color": "#000",
                "score": 7, "user_id": head})
            .to_string()
        };
        let mate = json!({"id": 2, "login": CANARY, "url": "u", "leader": true, "occurrence": 0, "validated": true, "projects_user_id": 40});
        let team = |id: i64| {
            json!({"id": id, "name": format!("{CANARY}'s group"), "final_mark": 80, "repo_url": null, "project_gitlab_path": null,
                "users": [mate.clone()]})
        };
        let teams: Vec<Value> = (100..140).map(team).collect();
        let alone = json!({"id": 40, "occurrence": 0, "final_mark": 80, "status": "finished", "validated?": true,
            "current_team_id": 100, "project": {"id": 1, "name": "libft", "slug": "libft", "parent_id": null}, "cursus_ids": [21],
            "marked_at": null, "marked": true, "retriable_at": null, "created_at": day(1), "updated_at": day(3),
            "user": person(2, CANARY), "teams": teams});
        stage(
            &workdir,
            &[
                full(
                    "coalitions",
                    vec![coalition(1, json!(2)), coalition(2, json!(3))],
                ),
                delta("projects_users", vec![alone.to_string()]),
            ],
        );
        workdir.cursus(["load"]).await.exits(0);
        assert_eq!(workdir.count("teams").await, 42);
        workdir
    };
    LOADED.workdir(load).await
}

/// Every row of a schema that names the person, by table.
async fn rows_of_second(workdir: &Workdir, schema: &str) -> Vec<String> {
    let columns = format!(
        "SELECT format('%I.%I WHERE %I = 2', table_schema, table_name, column_name) FROM information_schema.columns \
         JOIN information_schema.tables USING (table_schema, table_name) WHERE table_schema = '{schema}' \
         AND table_type = 'BASE TABLE' AND (column_name = 'user_id' OR table_name = 'users' AND column_name = 'id')"
    );
    let mut found = Vec::new();
    for place in workdir.column(&columns).await {
        if workdir
            .number(&format!("SELECT count(*) FROM {place}"))
            .await
            > 0
        {
            found.push(place);
        }
    }
    found
}

/// Whether a value names the person with the id 2: as a record, a nested one, or by reference. What is left of a record has an id.
fn names_second(value: &Value) -> bool {
    match value {
        Value::Object(map) if map.contains_key("cursus:dropped") => map
            .keys()
            .any(|key| !["cursus:dropped", "id", "updated_at"].contains(&key.as_str())),
        Value::Object(map) => {
            map.get("user_id") == Some(&json!(2))
                || (map.contains_key("login") && map.get("id") == Some(&json!(2)))
                || map.values().any(names_second)
        }
        Value::Array(list) => list.iter().any(names_second),
        _ => false,
    }
}

/// That nothing of the person is anywhere, and that the staged runs give the mirror.
pub(crate) async fn is_dropped(workdir: &Workdir, when: &str) {
    is_erased(workdir, when).await;
    assert_eq!(rows_of_second(workdir, "public").await, [""; 0], "{when}");
    for (file, page) in records(workdir) {
        assert!(!names_second(&page), "{when}: {file}");
    }
    for table in ["pipeline.quarantine", "pipeline.prune_candidate"] {
        assert_eq!(workdir.count(table).await, 0, "{when}: {table}");
    }
    workdir.query("DROP SCHEMA IF EXISTS again CASCADE").await;
    workdir.cursus(["replay", "--into", "again"]).await.exits(0);
    let diff = workdir.json(["diff", "public", "again"]).await;
    for table in diff["tables"].as_array().unwrap() {
        for what in ["added", "removed", "changed"] {
            assert_eq!(table[what], 0, "{when}: {table}");
        }
    }
    for run in workdir.json(["stage", "ls"]).await.as_array().unwrap() {
        let run = run["run_id"].as_str().unwrap();
        // Nothing proves what a test has staged; but pages and journals are those that the ledger names.
        let verified = workdir.cursus(["stage", "verify", run]).await;
        for wrong in ["were erased", "checksum", "ledger", "damaged"] {
            assert!(!format!("{verified}").contains(wrong), "{when}: {verified}");
        }
    }
}

#[tokio::test]
async fn nothing_of_a_dropped_person_is_left() {
    let workdir = campus().await;
    workdir.cursus(["replay", "--into", "past"]).await;
    let before = records(&workdir);
    let others = "SELECT to_jsonb(u) FROM users AS u WHERE id <> 2 ORDER BY id";
    let others_before = workdir.column(others).await;
    let state = "SELECT concat_ws(' ', resource, table_name, state, staged, manifest_hash) FROM pipeline.load \
        WHERE schema_name IN ('public', 'past') ORDER BY 1";
    let state_before = workdir.column(state).await;
    let ran = workdir
        .cursus(["forget", "2", "--drop", "--json", "-vv"])
        .await
        .exits(0);
    assert!(!format!("{ran}").contains(CANARY), "{ran}");
    assert_eq!(ran.json()["drop"], true);
    is_dropped(&workdir, "after forget --drop").await;
    assert_eq!(rows_of_second(&workdir, "past").await, [""; 0]);
    // What is shared stays: a team with others, a coalition without its head. A team of nobody else is removed.
    let teams =
        "SELECT concat_ws(' ', team_id, user_id) FROM teams_users ORDER BY team_id, user_id";
    assert_eq!(workdir.column(teams).await, ["3 1", "3 3", "4 1"]);
    assert_eq!(
        workdir.column("SELECT id FROM teams ORDER BY id").await,
        ["3", "4"]
    );
    assert_eq!(
        workdir
            .column("SELECT coalesce(user_id, 0) FROM coalitions ORDER BY id")
            .await,
        ["0", "3"]
    );
    assert_eq!(workdir.column(others).await, others_before);
    // Pages have as many records as before, in their places, and those of others but for nested entries.
    let after = records(&workdir);
    assert_eq!(after.len(), before.len());
    for ((file, before), (same, after)) in before.iter().zip(&after) {
        assert_eq!(file, same);
        let (before, after) = (before.as_array().unwrap(), after.as_array().unwrap());
        assert_eq!(before.len(), after.len(), "{file}");
        for (before, after) in before.iter().zip(after) {
            assert_eq!(before["id"], after["id"], "{file}");
            assert!(
                before.to_string().contains(CANARY) || before["user_id"] == 2 || before == after
            );
        }
    }
    // What proofs and counts rest on.
    assert_eq!(workdir.column(state).await, state_before);
    // Nothing is held of them, and nothing waits.
    let held = workdir.json_exits(3, ["subject", "2"]).await;
    assert_eq!(
        (&held["rows"], &held["records"], &held["dropped"]),
        (&json!([]), &json!([]), &json!(true))
    );
    let printed = workdir.cursus(["subject", "2"]).await.exits(3).stdout;
    assert!(printed.contains("were removed"), "{printed}");
    assert_eq!(workdir.json(["load"]).await["runs"], json!([]));
}

#[tokio::test]
async fn a_dry_run_of_a_drop_lists_every_place() {
    let workdir = campus().await;
    let before = records(&workdir);
    let plain = workdir.json(["forget", "2", "--dry-run"]).await;
    let listed = workdir.json(["forget", "2", "--drop", "--dry-run"]).await;
    assert_eq!(listed["pages"], plain["pages"]);
    // And what nobody else is in.
    let teams = json!({"schema": "public", "table": "teams", "rows": 40, "personal": 0});
    let mut rows = listed["rows"].as_array().unwrap().clone();
    assert!(rows.contains(&teams), "{rows:?}");
    rows.retain(|row| *row != teams);
    assert_eq!(json!(rows), plain["rows"]);
    for place in places_of(&workdir, CANARY).await {
        let is_listed = listed["pages"]
            .as_array()
            .unwrap()
            .iter()
            .any(|page| place.ends_with(page["file"].as_str().unwrap()));
        assert!(is_listed || place.starts_with("public."), "{place}");
    }
    assert_eq!(records(&workdir), before);
    assert!(!workdir.path("staging/erasures.jsonl").exists());
    assert_eq!(rows_of_second(&workdir, "public").await.len(), 6);
}

#[tokio::test]
async fn what_the_api_shows_of_a_dropped_person_stays_away() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let id = &workdir
        .column(
            "SELECT id FROM users AS u WHERE EXISTS (SELECT FROM teams_users AS t WHERE t.user_id = u.id) ORDER BY id LIMIT 1",
        )
        .await[0];
    let rows = format!(
        "SELECT (SELECT count(*) FROM users WHERE id = {id}) + (SELECT count(*) FROM cursus_users WHERE user_id = {id}) \
         + (SELECT count(*) FROM projects_users WHERE user_id = {id}) + (SELECT count(*) FROM teams_users WHERE user_id = {id}) \
         + (SELECT count(*) FROM cursus_users_skills WHERE user_id = {id})"
    );
    assert!(workdir.number(&rows).await > 10);
    workdir.json(["forget", id, "--drop"]).await;
    assert_eq!(workdir.number(&rows).await, 0);
    workdir.cursus(["stage", "verify", "latest"]).await.exits(0);
    // Until the next full read the mirror has teams and mates that only records of the person showed.
    let is_replayed = async |when: &str, may_lack: &[&str]| {
        workdir.query("DROP SCHEMA IF EXISTS again CASCADE").await;
        workdir.cursus(["replay", "--into", "again"]).await.exits(0);
        let diff = workdir.json(["diff", "public", "again"]).await;
        for table in diff["tables"].as_array().unwrap() {
            let differs = ["added", "changed"].map(|what| &table[what]);
            assert_eq!(differs, [&json!(0); 2], "{when}: {table}");
            let may_lack = may_lack.contains(&table["table"].as_str().unwrap());
            assert!(table["removed"] == 0 || may_lack, "{when}: {table}");
        }
    };
    is_replayed("after forget --drop", &["teams", "teams_users"]).await;
    // Every read is complete, nothing is held or waits, and the person is not there.
    simulator.advance(Duration::from_hours(30));
    let ran = workdir.json(["run", "--full"]).await;
    assert_eq!(workdir.number(&rows).await, 0, "{ran}");
    for table in ["pipeline.quarantine", "pipeline.prune_candidate"] {
        assert_eq!(workdir.count(table).await, 0, "{table}");
    }
    let states = "SELECT DISTINCT state FROM pipeline.load";
    assert_eq!(workdir.column(states).await, ["complete"]);
    workdir.cursus(["stage", "verify", "latest"]).await.exits(0);
    is_replayed("after a full run", &[]).await;
    // A delta, too.
    simulator.advance(Duration::from_hours(2));
    workdir.json(["run"]).await;
    assert_eq!(workdir.number(&rows).await, 0);
    workdir.json_exits(3, ["subject", id]).await;
    is_replayed("after a delta", &[]).await;
}

#[tokio::test]
async fn an_interrupted_run_is_resumed_without_the_dropped() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let of_users = "SELECT id FROM users ORDER BY id";
    let id = &workdir.column(of_users).await[0];
    simulator.advance(Duration::from_hours(30));
    // Some pages of users are staged, and nothing seals them.
    let failpoint = format!("{}:12=kill", Point::LineDone.name());
    workdir.set("CURSUS_FAILPOINT", failpoint);
    let killed = workdir.cursus(["run", "--full"]).await;
    assert_eq!(killed.code, None, "{killed}");
    workdir.unset("CURSUS_FAILPOINT");
    workdir.json(["forget", id, "--drop"]).await;
    workdir.cursus(["run"]).await.exits(0);
    workdir.cursus(["stage", "verify", "latest"]).await.exits(0);
    assert!(!workdir.column(of_users).await.contains(id));
    let states = "SELECT DISTINCT state FROM pipeline.load";
    assert_eq!(workdir.column(states).await, ["complete"]);
    assert_eq!(workdir.count("pipeline.quarantine").await, 0);
    workdir.json_exits(3, ["subject", id]).await;
}

#[tokio::test]
async fn rows_of_derived_tables_are_dropped_where_declared() {
    let pipeline = "[[resource]]\nname = \"members\"\npath = \"/members\"\n\
        [[table]]\nname = \"members\"\nfrom = \"members\"\n[[derive]]\nname = \"days\"\nsql = \"sql/days.sql\"\n\
        [person]\n[[person.place]]\nresource = \"members\"\nid = \"/id\"\nfields = [\"/name\"]\nown = \"record\"\n\
        [[person.table]]\nderived = \"days\"\nid = \"member_id\"\n";
    let migration = "CREATE TABLE members (id bigint PRIMARY KEY, name text); \
        CREATE TABLE days (member_id bigint, day integer, PRIMARY KEY (member_id, day))";
    let workdir = workdir_of(pipeline, migration).await;
    workdir.write(
        "sql/days.sql",
        "INSERT INTO days SELECT id, 1 FROM members ON CONFLICT DO NOTHING",
    );
    let members = || {
        let member = |id: i64| json!({"id": id, "name": CANARY}).to_string();
        full("members", vec![member(1), member(2)])
    };
    stage(&workdir, &[members()]);
    workdir.json(["load"]).await;
    let listed = workdir.json(["forget", "1", "--drop", "--dry-run"]).await;
    assert_eq!(listed["rows"][0]["table"], "days");
    assert!(
        workdir
            .json(["subject", "1"])
            .await
            .to_string()
            .contains("\"days\"")
    );
    let days = "SELECT member_id FROM days ORDER BY 1";
    // Without --drop ids stay.
    workdir.json(["forget", "2"]).await;
    assert_eq!(workdir.column(days).await, ["1", "2"]);
    workdir.json(["forget", "1", "--drop"]).await;
    assert_eq!(workdir.column(days).await, ["2"]);
    stage(&workdir, &[members()]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.column(days).await, ["2"]);
    // The test has staged what an extract would have reduced.
    workdir.json(["forget", "--finish"]).await;
    workdir.json_exits(3, ["subject", "1"]).await;
    // Of somebody who is in no other table any more, too.
    workdir.query("INSERT INTO days VALUES (3, 1)").await;
    workdir.json(["forget", "3", "--drop"]).await;
    assert_eq!(workdir.column(days).await, ["2"]);
}

#[tokio::test]
async fn a_backup_of_either_half_brings_no_record_back() {
    let yesterday = Template::of(campus().await).await;
    for half in ["staging", "database"] {
        // The other half knows nothing of it, or of an erasure that removed no record.
        for before in [None, Some(["forget", "2"])] {
            let (today, backup) = (yesterday.workdir().await, yesterday.workdir().await);
            if let Some(before) = before {
                backup.json(before).await;
            }
            today.json(["forget", "2", "--drop"]).await;
            let restored = if half == "staging" {
                move_staging(&backup, &today);
                today
            } else {
                move_staging(&today, &backup);
                backup
            };
            let ran = restored.cursus(["load"]).await.exits(0);
            ran.says("the erasure ledgers differ");
            is_dropped(&restored, &format!("{half} of {before:?}")).await;
            let dropped = "SELECT string_agg(dropped::text, ' ') FROM pipeline.erasure";
            assert_eq!(restored.column(dropped).await, ["true"]);
            // They agree now.
            let ran = restored.cursus(["load"]).await.exits(0);
            assert!(!ran.stderr.contains("ledger"), "{}", ran.stderr);
        }
    }
}

#[tokio::test]
async fn a_person_who_was_erased_can_be_dropped_and_stays_so() {
    let workdir = campus().await;
    workdir.json(["forget", "2"]).await;
    assert!(!rows_of_second(&workdir, "public").await.is_empty());
    let forgotten = workdir.json(["forget", "2", "--drop"]).await;
    assert_eq!(forgotten["dropped_before"], 0);
    is_dropped(&workdir, "after --drop").await;
    let ledger = std::fs::read_to_string(workdir.path("staging/erasures.jsonl")).unwrap();
    assert_eq!(ledger.matches("\"person\"").count(), 2);
    let ran = workdir.cursus(["forget", "2"]).await.exits(0);
    assert!(
        ran.stdout
            .contains("records of 1 person were removed before (--drop), and stay so"),
        "{ran}"
    );
    is_dropped(&workdir, "without --drop again").await;
    workdir.json(["forget", "2", "--drop"]).await;
    workdir.json(["forget", "--finish"]).await;
    is_dropped(&workdir, "twice").await;
    // Somebody else is erased as before, and next to them.
    workdir.json(["forget", "3"]).await;
    assert_eq!(places_of(&workdir, "cem@student").await, [""; 0]);
    assert_eq!(rows_of_second(&workdir, "public").await, [""; 0]);
    assert_eq!(
        workdir
            .column("SELECT concat_ws(' ', id, login) FROM users ORDER BY id")
            .await,
        ["1 ann", "3"]
    );
}

#[tokio::test]
async fn anonymised_people_are_dropped() {
    let workdir = campus().await;
    let mut anonymous = person(2, "3b3-2");
    anonymous["updated_at"] = json!(day(9));
    stage(&workdir, &[delta("users", vec![anonymous.to_string()])]);
    workdir.cursus(["load"]).await.exits(0);
    let forgotten = workdir.json(["forget", "--anonymised", "--drop"]).await;
    assert_eq!(forgotten["people"], 1);
    is_dropped(&workdir, "anonymised").await;
    assert_eq!(places_of(&workdir, "3b3-2").await, [""; 0]);
    let again = workdir.json(["forget", "--anonymised", "--drop"]).await;
    assert_eq!(again["people"], 0);
    is_dropped(&workdir, "anonymised, again").await;
}

#[tokio::test]
async fn what_waits_of_others_is_found_where_it_has_moved_to() {
    let workdir = campus().await;
    let mate = |id: i64, occurrence: Value| json!({"id": id, "login": CANARY, "occurrence": occurrence, "validated": true});
    let team = json!({"id": 7, "users": [mate(2, json!(0)), mate(3, json!("none"))]});
    let attempt = json!({"id": 50, "occurrence": 0, "status": "finished", "cursus_ids": [21], "updated_at": day(4),
        "project": {"id": 1, "name": "libft", "slug": "libft", "parent_id": null}, "user": person(3, "cem"), "teams": [team]});
    let attempts = vec![attempt.to_string()];
    stage(&workdir, &[delta("projects_users", attempts)]);
    workdir.cursus(["load"]).await.exits(3);
    let waiting =
        "SELECT key->>'user_id' FROM pipeline.quarantine WHERE table_name = 'teams_users'";
    assert_eq!(workdir.column(waiting).await, ["3"]);
    workdir.json(["forget", "2", "--drop"]).await;
    workdir.cursus(["quarantine", "retry"]).await.exits(3);
    assert_eq!(workdir.column(waiting).await, ["3"]);
}

#[tokio::test]
async fn pages_of_a_backup_are_read_without_the_dropped() {
    let yesterday = Template::of(campus().await).await;
    let (workdir, backup) = (yesterday.workdir().await, yesterday.workdir().await);
    workdir.json(["forget", "2", "--drop"]).await;
    std::fs::copy(
        workdir.path("staging/erasures.jsonl"),
        backup.path("staging/erasures.jsonl"),
    )
    .unwrap();
    move_staging(&backup, &workdir);
    workdir.cursus(["replay", "--into", "past"]).await.exits(0);
    workdir.cursus(["replay", "--rebuild"]).await.exits(0);
    for schema in ["past", "public"] {
        assert_eq!(rows_of_second(&workdir, schema).await, [""; 0], "{schema}");
    }
    let printed = workdir.cursus(["stage", "cat", "latest", "projects_users"]);
    assert!(!printed.await.exits(0).stdout.contains(CANARY));
    let ran = workdir.cursus(["stage", "verify", "latest"]).await;
    assert!(format!("{ran}").contains("forget --finish"), "{ran}");
    workdir.json(["forget", "--finish"]).await;
    is_dropped(&workdir, "after --finish").await;
}

#[tokio::test]
async fn a_drop_killed_in_each_phase_is_finished() {
    a_drop_survives(&FORGET_SAMPLE).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn a_drop_killed_anywhere_is_finished() {
    // What a process that died has left beside a page is for the other test.
    let places = FORGET
        .into_iter()
        .filter(|(point, _)| *point != Point::ErasedStrayRemove);
    a_drop_survives(&places.collect::<Vec<_>>()).await;
}

async fn a_drop_survives(places: &[(Point, u32)]) {
    let template = Template::of(campus().await).await;
    let erased = template.workdir().await;
    erased.json(["forget", "2"]).await;
    let erased = Template::of(erased).await;
    let drop = ["forget", "2", "--drop"];
    let (of_erased, others): (Vec<_>, Vec<_>) =
        (places.iter().enumerate()).partition(|(index, _)| index % 3 == 0);
    for (template, places) in [(template, others), (erased, of_erased)] {
        let places: Vec<_> = places.into_iter().map(|(_, place)| *place).collect();
        survives_kills(&template, &drop, &places, |workdir, when| {
            assert_eq!(files_with(workdir, CANARY), [""; 0], "{when}");
            for (file, page) in records(workdir) {
                assert!(!names_second(&page), "{when}: {file}");
            }
        })
        .await;
        // What all of them came to.
        let workdir = template.workdir().await;
        workdir.cursus(drop).await.exits(0);
        is_dropped(&workdir, "not killed").await;
    }
}

#[tokio::test]
async fn nothing_waits_after_a_drop_that_was_killed() {
    let mut workdir = campus().await;
    // Its key is none of a row that is there.
    let odd = json!({"id": 99, "final_mark": "none", "updated_at": day(4), "user": person(2, CANARY), "teams": []});
    stage(&workdir, &[delta("projects_users", vec![odd.to_string()])]);
    workdir.cursus(["load"]).await.exits(3);
    let failpoint = format!("{}:1=kill", Point::ErasedRowsCommit.name());
    workdir.set("CURSUS_FAILPOINT", failpoint);
    assert_eq!(workdir.cursus(["forget", "2", "--drop"]).await.code, None);
    workdir.unset("CURSUS_FAILPOINT");
    workdir.cursus(["load"]).await.exits(0);
    is_dropped(&workdir, "killed before the rows").await;
}

#[tokio::test]
async fn changes_and_history_hold_nothing_of_a_dropped_person() {
    let workdir = campus().await;
    let tables = "users = [\"login\", \"email\", \"kind\"]\nprojects_users = [\"final_mark\"]\ncoalitions = [\"user_id\", \"score\"]\n\
        teams = [\"final_mark\"]";
    let followed =
        format!("\n[changes.tables]\n{tables}\n\n[history.tables]\n{tables}\n\n[quarantine]");
    workdir.pipeline(&[("\n[quarantine]", &followed)]);
    for number in [3, 4] {
        let mut changed = person(2, CANARY);
        changed["login"] = json!(format!("{CANARY}-{number}"));
        changed["updated_at"] = json!(day(number));
        stage(&workdir, &[delta("users", vec![changed.to_string()])]);
        workdir.cursus(["load"]).await;
    }
    let before = changes(&workdir, &[]).await;
    workdir.json(["forget", "2", "--drop"]).await;
    is_dropped(&workdir, "with changes").await;
    let after = changes(&workdir, &[]).await;
    // None is missing among those before, since readers count them; they hold a key.
    let ids = |events: &[Value]| -> Vec<Value> {
        events.iter().map(|event| event["id"].clone()).collect()
    };
    assert_eq!(ids(&after[..before.len()]), ids(&before));
    let new: Vec<&Value> = after[before.len()..]
        .iter()
        .map(|event| &event["data"])
        .collect();
    let of = |table: &str| -> Vec<&&Value> {
        let is_it = |data: &&&Value| data["source"]["table"] == table;
        new.iter().filter(is_it).collect()
    };
    assert_eq!(of("users").len(), 1);
    let user = of("users")[0];
    let row = json!({"id": 2, "login": null, "email": null, "kind": null});
    assert_eq!(
        (&user["op"], &user["key"], &user["before"], &user["after"]),
        (&json!("d"), &json!({"id": 2}), &row, &Value::Null)
    );
    assert_eq!(of("projects_users").len(), 32);
    assert_eq!(of("teams").len(), 40);
    assert!(new.iter().all(|data| data["op"] != "c"));
    let mark = |data: &&&Value| data["before"].get("final_mark").is_none_or(Value::is_null);
    assert!(of("projects_users").iter().all(mark));
    let coalition = of("coalitions")[0];
    let unnamed = json!({"id": 1, "user_id": null, "score": 7});
    assert_eq!(
        (&coalition["op"], &coalition["before"], &coalition["after"]),
        (&json!("u"), &unnamed, &unnamed)
    );
    let held = "SELECT table_name || ' ' || key::text FROM pipeline.history WHERE schema_name = 'public' ORDER BY 1";
    let kept = workdir.column(held).await;
    assert!(!kept.iter().any(|row| row == "users {\"id\": 2}"));
    assert_eq!(
        kept.iter()
            .filter(|row| row.starts_with("projects_users"))
            .count(),
        2
    );
    // A rebuild gives the same rows, and none of the person.
    workdir.cursus(["history", "rebuild"]).await.exits(0);
    let rebuilt = workdir
        .column(&held.replace("ORDER", "AND valid_to IS NULL ORDER"))
        .await;
    assert_eq!(rebuilt, kept);
    is_erased(&workdir, "after a rebuild").await;
}

#[tokio::test]
async fn versions_that_name_somebody_else_keep_the_id() {
    let workdir = campus().await;
    let followed = "\n[history.tables]\ncoalitions = [\"user_id\"]\n\n[quarantine]";
    workdir.pipeline(&[("\n[quarantine]", followed)]);
    for head in [3, 2] {
        let coalition = |id: i64, head: i64| {
            json!({"id": id, "name": "c", "slug": format!("c-{id}"), "image_url": "i", "cover_url": "c", "color": "#000",
                "score": 7, "user_id": head})
            .to_string()
        };
        let both = vec![coalition(1, head), coalition(2, 3)];
        stage(&workdir, &[full("coalitions", both)]);
        workdir.cursus(["load"]).await;
    }
    workdir.json(["forget", "2", "--drop"]).await;
    let heads = "SELECT row->>'user_id' FROM pipeline.history WHERE table_name = 'coalitions' AND key->>'id' = '1' \
        AND row->>'user_id' IS NOT NULL";
    assert_eq!(workdir.column(heads).await, ["3"]);
}

#[tokio::test]
async fn rows_that_would_be_left_alone_refuse_a_drop() {
    let with = |place: &str, more: &str, columns: &str| {
        let pipeline = format!(
            "[[resource]]\nname = \"members\"\npath = \"/members\"\n[[resource]]\nname = \"notes\"\npath = \"/notes\"\n\
             [[table]]\nname = \"members\"\nfrom = \"members\"\n[[table]]\nname = \"notes\"\nfrom = \"notes\"\nafter = [\"members\"]\n\
             [person]\n{more}\n[[person.place]]\nresource = \"members\"\nid = \"/id\"\nfields = [\"/name\"]\n{place}\n"
        );
        let migration = format!(
            "CREATE TABLE members (id bigint PRIMARY KEY, name text); CREATE TABLE notes (id bigint PRIMARY KEY, {columns})"
        );
        async move {
            let workdir = workdir_of(&pipeline, &migration).await;
            let member = |id: i64| json!({"id": id, "name": CANARY}).to_string();
            let note = |id: i64| json!({"id": id, "about": 1}).to_string();
            stage(
                &workdir,
                &[
                    full("members", vec![member(1)]),
                    full("notes", vec![note(1)]),
                ],
            );
            workdir.json(["load"]).await;
            let ran = workdir.cursus(["forget", "1", "--drop"]).await;
            if ran.code == Some(2) {
                assert!(!workdir.path("staging/erasures.jsonl").exists());
                assert_eq!(workdir.count("pipeline.erasure").await, 0);
            }
            (workdir, ran)
        }
    };
    let nobody = "nobody_in = [\"notes\"]";
    let about = |own: &str| {
        format!("[[person.place]]\nresource = \"notes\"\nid = \"/about\"\nfields = []\n{own}\n")
    };
    let own = "own = \"record\"";
    let (_, ran) = with("", nobody, "about bigint").await;
    ran.exits(2)
        .says("does not say which records are a person's own");
    let (_, ran) = with(own, nobody, "about bigint REFERENCES members").await;
    ran.exits(2)
        .says("rows of public.notes refer to rows of members, which are removed with their person");
    let (_, ran) = with(own, &about(""), "about bigint NOT NULL").await;
    ran.exits(2)
        .says("notes.about names a person and must not be null");
    // A note of nobody.
    let author =
        "[[person.place]]\nresource = \"notes\"\nid = \"/by\"\nfields = []\nown = \"record\"\n";
    let (_, ran) = with(own, author, "about bigint REFERENCES members, by bigint").await;
    ran.exits(2)
        .says("rows of other tables refer to rows of members");
    // With what the sentences say it works.
    let (workdir, ran) = with(own, &about(own), "about bigint NOT NULL REFERENCES members").await;
    ran.exits(0);
    assert_eq!(
        workdir.count("members").await + workdir.count("notes").await,
        0
    );
    let (workdir, ran) = with(own, &about(""), "about bigint").await;
    ran.exits(0);
    assert_eq!(
        workdir.column("SELECT coalesce(about, 0) FROM notes").await,
        ["0"]
    );
    is_erased(&workdir, "a note about nobody").await;
}
