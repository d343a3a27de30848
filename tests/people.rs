//! A table that several resources feed: people as the enrolments show them.

use std::collections::BTreeMap;
use std::time::Duration;

use cursus::staging::{Mode, State};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::boxes::{Read, delta, full, loads, stage, stage_in_order};
use crate::support::{Shared, Workdir, simulator};

/// A day of November.
fn day(day: u32) -> String {
    format!("2026-11-{day:02}T10:00:00Z")
}

/// A person as the API shows it, in the list and within other records.
fn person(id: i64, login: &str, changed: u32) -> Value {
    json!({"id": id, "login": login, "email": format!("{login}@student.42.fr"), "first_name": login, "last_name": "L",
        "usual_full_name": login, "usual_first_name": null, "displayname": login, "url": "u", "phone": "hidden",
        "kind": "student", "image": {"link": null, "versions": {"large": null, "medium": null, "small": null, "micro": null}},
        "staff?": false, "correction_point": 1, "pool_month": "july", "pool_year": "2024", "location": null, "wallet": 0,
        "anonymize_date": null, "data_erasure_date": null, "created_at": day(1), "updated_at": day(changed),
        "alumnized_at": null, "alumni?": false, "active?": true})
}

fn with(mut record: Value, key: &str, value: Value) -> Value {
    record[key] = value;
    record
}

/// The enrolment of a person, which nests it.
fn enrolment(user: &Value) -> String {
    let id = user["id"].as_i64().unwrap_or(9);
    json!({"id": 1000 + id, "begin_at": day(1), "end_at": null, "grade": null, "level": 1.5, "skills": [], "cursus_id": 21,
        "has_coalition": true, "blackholed_at": null, "created_at": day(1), "updated_at": day(2), "user": user})
    .to_string()
}

fn texts(people: &[Value]) -> Vec<String> {
    people.iter().map(ToString::to_string).collect()
}

fn enrolments(people: &[Value]) -> Vec<String> {
    people.iter().map(enrolment).collect()
}

fn cursus() -> Read<'static> {
    let cursus = json!({"id": 21, "created_at": day(1), "name": "42cursus", "slug": "42cursus", "kind": "main"});
    full("cursus", vec![cursus.to_string()])
}

/// A mirror of three people who are enrolled, loaded.
async fn three_people() -> Workdir {
    static LOADED: Shared = Shared::new();
    let load = async || {
        let workdir = Workdir::new().await;
        let people: Vec<Value> = ["ann", "bob", "cem"]
            .iter()
            .zip(1..)
            .map(|(login, id)| person(id, login, 5))
            .collect();
        stage(
            &workdir,
            &[
                cursus(),
                full("users", texts(&people)),
                full("cursus_users", enrolments(&people)),
            ],
        );
        workdir.json(["load"]).await;
        workdir
    };
    LOADED.workdir(load).await
}

const LOGINS: &str = "SELECT login FROM users ORDER BY id";

fn counts<'r>(report: &'r Value, table: &str) -> &'r Value {
    let mut tables = report["tables"].as_array().unwrap().iter();
    tables.find(|one| one["name"] == table).unwrap()
}

#[tokio::test]
async fn an_anonymised_person_is_taken_from_the_enrolment() {
    let workdir = three_people().await;
    // No date moves; the list of users does not show the person any more.
    let run = stage(
        &workdir,
        &[
            delta("users", Vec::new()),
            delta("cursus_users", enrolments(&[person(2, "3b3-2", 5)])),
        ],
    );
    let report = workdir.json(["load"]).await;
    assert_eq!(counts(&report, "users")["updated"], 1, "{report:#}");
    assert_eq!(counts(&report, "cursus_users")["unchanged"], 1);
    assert_eq!(workdir.column(LOGINS).await, ["ann", "3b3-2", "cem"]);
    let emails = "SELECT count(*) FROM users WHERE email LIKE 'bob%' OR first_name = 'bob'";
    assert_eq!(workdir.number(emails).await, 0);
    let ledger = format!(
        "SELECT concat_ws(' ', resource, table_name, updated) FROM pipeline.load WHERE run_id = '{run}' ORDER BY 1"
    );
    assert_eq!(
        workdir.column(&ledger).await,
        [
            "cursus_users cursus_users 0",
            "cursus_users cursus_users_skills 0",
            "cursus_users users 1",
            "users users 0"
        ]
    );
    let explained = workdir.json(["explain", "users", "2"]).await;
    assert_eq!(explained["resource"], "cursus_users");
    assert_eq!(explained["origin"]["run_id"], *run);
    assert_eq!(explained["origin"]["record"]["login"], "3b3-2");
    let output = workdir.cursus(["explain", "users", "2"]).await.exits(0);
    assert!(
        output.stdout.contains("cursus_users/page-00001.json.gz"),
        "{output}"
    );
    // Others come from the list of users, which shows the same.
    let explained = workdir.json(["explain", "users", "1"]).await;
    assert_eq!(explained["resource"], "users");

    let before = workdir
        .column("SELECT ingested_at FROM users ORDER BY id")
        .await;
    let again = workdir.json(["load", "--again"]).await;
    assert_eq!(counts(&again, "users")["updated"], 0, "{again:#}");
    let after = workdir
        .column("SELECT ingested_at FROM users ORDER BY id")
        .await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_anonymised_person_is_seen_within_a_day() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let id = workdir.number("SELECT min(id) FROM users").await;
    let email = format!("SELECT email FROM users WHERE id = {id}");
    let before = workdir.column(&email).await;
    assert!(simulator.anonymise(id), "{id}");
    simulator.advance(Duration::from_hours(24));
    let report = workdir.json(["run"]).await;
    assert_eq!(report["mode"], "delta", "{report:#}");
    let login = format!("SELECT login FROM users WHERE id = {id}");
    let login = workdir.column(&login).await;
    assert!(login[0].starts_with("3b3-"), "{login:?}");
    assert_ne!(workdir.column(&email).await, before);
}

#[tokio::test]
async fn a_nested_person_is_judged_as_one_of_the_list() {
    let ann = || person(1, "ann", 5);
    for (nested, wanted) in [
        (
            with(person(1, "neu", 6), "kind", json!("student")),
            Some("neu"),
        ),
        (person(1, "old", 4), Some("ann")),
        (with(ann(), "alumni?", json!(true)), None),
        (
            with(person(1, "ann", 4), "alumni?", json!(true)),
            Some("ann"),
        ),
        (with(person(1, "ann", 6), "kind", json!("external")), None),
        (
            with(
                with(person(1, "ann", 6), "alumni?", json!(true)),
                "updated_at",
                json!(null),
            ),
            Some("ann"),
        ),
        (
            with(person(1, "ann", 6), "alumni?", json!(null)),
            Some("ann"),
        ),
        (json!(null), Some("ann")),
    ] {
        let workdir = three_people().await;
        stage(&workdir, &[delta("cursus_users", vec![enrolment(&nested)])]);
        // Without a person the enrolment itself is rejected; without the value nobody is judged.
        let waiting: &[&str] = match &nested {
            Value::Null => &["cursus_users"],
            nested if nested["alumni?"].is_null() => &["users"],
            _ => &[],
        };
        let code = if waiting.is_empty() { 0 } else { 3 };
        workdir.cursus(["load", "-q"]).await.exits(code);
        let login = workdir.column("SELECT login FROM users WHERE id = 1").await;
        assert_eq!(login, Vec::from_iter(wanted), "{nested}");
        assert_eq!(workdir.count("users WHERE id > 1").await, 2);
        let waits = "SELECT table_name FROM pipeline.quarantine";
        assert_eq!(workdir.column(waits).await, waiting, "{nested}");
    }
}

#[tokio::test]
async fn record_without_its_kind_deletes_nobody() {
    let workdir = three_people().await;
    let mut lacking = person(1, "ann", 6);
    lacking.as_object_mut().unwrap().remove("alumni?");
    let mut unknown_kind = person(77, "dov", 6);
    unknown_kind.as_object_mut().unwrap().remove("kind");
    stage(
        &workdir,
        &[delta("cursus_users", enrolments(&[lacking, unknown_kind]))],
    );
    workdir.cursus(["load", "-q"]).await.exits(3);
    assert_eq!(workdir.column(LOGINS).await, ["ann", "bob", "cem"]);
    // Of people who are not in the table nothing waits.
    let waits = "SELECT concat_ws(' ', resource, table_name, key) FROM pipeline.quarantine";
    assert_eq!(
        workdir.column(waits).await,
        ["cursus_users users {\"id\": 1}"]
    );
    // Nothing has changed about it, so it waits on, and is settled by the next that shows it.
    let retried = workdir.json_exits(3, ["quarantine", "retry"]).await;
    assert_eq!(retried["waiting"], 1, "{retried:#}");
    stage(
        &workdir,
        &[delta("cursus_users", enrolments(&[person(1, "eva", 6)]))],
    );
    workdir.cursus(["load", "-q"]).await.exits(0);
    assert_eq!(workdir.column(LOGINS).await, ["eva", "bob", "cem"]);
    assert_eq!(workdir.count("pipeline.quarantine").await, 0);
}

#[tokio::test]
async fn nobody_is_inserted_and_nobody_missed_by_an_enrolment() {
    let workdir = three_people().await;
    // A complete full read without bob, with somebody who is in no list of users.
    let shown = [
        person(1, "ann", 5),
        person(3, "cem", 5),
        person(4, "dov", 5),
    ];
    stage(&workdir, &[full("cursus_users", enrolments(&shown))]);
    let report = workdir.json(["load"]).await;
    assert_eq!(workdir.column(LOGINS).await, ["ann", "bob", "cem"]);
    let users = counts(&report, "users");
    assert_eq!(
        (
            &users["inserted"],
            &users["deleted"],
            &users["out_of_scope"]
        ),
        (&json!(0), &json!(0), &json!(1)),
        "{report:#}"
    );
    let explained = workdir.json(["explain", "users", "4"]).await;
    assert_eq!(explained["row"], json!(null));
    let note = explained["notes"][0].as_str().unwrap();
    assert!(note.contains("cursus_users update rows of users"), "{note}");
    // The list shows the person as it was; the enrolment of the same run is newer.
    stage_in_order(
        &workdir,
        &[
            delta("users", texts(&[person(4, "dov", 6)])),
            delta("cursus_users", enrolments(&[person(4, "3b3-4", 6)])),
        ],
    );
    workdir.json(["load"]).await;
    assert_eq!(workdir.column(LOGINS).await, ["ann", "bob", "cem", "3b3-4"]);
}

#[tokio::test]
async fn of_two_answers_of_one_run_the_later_counts() {
    for (list, nested, is_list_later, wanted) in [
        (6, 6, true, "list"),
        (6, 6, false, "nested"),
        (7, 6, false, "list"),
        (6, 7, true, "nested"),
    ] {
        for mode in [Mode::Full, Mode::Delta] {
            let workdir = three_people().await;
            let others = [person(1, "ann", 5), person(3, "cem", 5)];
            let shown = |login, day| [others.to_vec(), vec![person(2, login, day)]].concat();
            let mut reads = vec![
                (
                    "cursus_users",
                    mode,
                    State::Complete,
                    enrolments(&shown("nested", nested)),
                ),
                ("users", mode, State::Complete, texts(&shown("list", list))),
            ];
            if !is_list_later {
                reads.reverse();
            }
            stage_in_order(&workdir, &reads);
            workdir.json(["load"]).await;
            let login = workdir.column("SELECT login FROM users WHERE id = 2").await;
            assert_eq!(login, [wanted], "{list} {nested} {is_list_later} {mode:?}");
            let explained = workdir.json(["explain", "users", "2"]).await;
            assert_eq!(explained["origin"]["record"]["login"], wanted);
            let again = workdir.json(["load", "--again"]).await;
            assert_eq!(counts(&again, "users")["updated"], 0, "{again:#}");
        }
    }
}

#[tokio::test]
async fn what_feeds_a_table_is_loaded_together() {
    let workdir = three_people().await;
    stage(
        &workdir,
        &[delta("cursus_users", enrolments(&[person(2, "3b3-2", 5)]))],
    );
    stage(&workdir, &[delta("users", texts(&[person(1, "ann", 6)]))]);
    workdir.json(["load", "--select", "users"]).await;
    assert_eq!(workdir.column(LOGINS).await, ["ann", "3b3-2", "cem"]);
    let nothing = workdir.cursus(["load"]).await.exits(0);
    assert!(nothing.stdout.contains("nothing to load"), "{nothing}");
    // So it is replayed, and a rebuild of the table does not bring back what was there before.
    workdir
        .json(["replay", "--into", "past", "--select", "users"])
        .await;
    let past = "SELECT login FROM past.users ORDER BY id";
    assert_eq!(workdir.column(past).await, ["ann", "3b3-2", "cem"]);
    workdir
        .query("UPDATE users SET login = 'bob' WHERE id = 2")
        .await;
    let rebuilt = workdir
        .json(["replay", "--rebuild", "--select", "users"])
        .await;
    assert_eq!(counts(&rebuilt, "users")["updated"], 1, "{rebuilt:#}");
    assert_eq!(workdir.column(LOGINS).await, ["ann", "3b3-2", "cem"]);
}

#[tokio::test]
async fn an_answer_loaded_late_is_no_news() {
    let workdir = three_people().await;
    // Its enrolments cannot be loaded: too many are rejected.
    let broken: Vec<String> = (100..140)
        .map(|id| enrolment(&person(id, "x", 5)).replace("1.5", "\"high\""))
        .chain([enrolment(&person(2, "stale", 5))])
        .collect();
    let first = stage(&workdir, &[delta("cursus_users", broken)]);
    stage(&workdir, &[delta("users", texts(&[person(2, "fresh", 5)]))]);
    workdir.cursus(["load", "-q"]).await.exits(4);
    assert_eq!(workdir.column(LOGINS).await, ["ann", "fresh", "cem"]);
    // Allowed now: the later answer is in the table already.
    let table = "name = \"cursus_users\"                   # of everybody";
    workdir.pipeline(&[(
        table,
        &format!("quarantine = {{ max_fraction = 1.0 }}\n{table}"),
    )]);
    let loaded = workdir.cursus(["load"]).await.exits(3);
    assert!(loaded.stdout.contains(&first), "{loaded}");
    assert_eq!(workdir.column(LOGINS).await, ["ann", "fresh", "cem"]);
}

#[tokio::test]
async fn deletes_by_an_enrolment_are_held_and_approved_like_others() {
    let workdir = Workdir::new().await;
    let people: Vec<Value> = (1..=60).map(|id| person(id, "p", 5)).collect();
    stage(
        &workdir,
        &[
            cursus(),
            full("users", texts(&people)),
            full("cursus_users", enrolments(&people)),
        ],
    );
    workdir.json(["load"]).await;
    let alumni = |ids: std::ops::RangeInclusive<i64>| -> Vec<Value> {
        ids.map(|id| with(person(id, "p", 6), "alumni?", json!(true)))
            .collect()
    };
    let ids = |wanted: i64| {
        let workdir = &workdir;
        async move {
            let rows = workdir.number("SELECT count(*) FROM users").await;
            assert_eq!(rows, wanted);
        }
    };
    // What both resources delete counts together.
    stage(
        &workdir,
        &[
            delta("users", texts(&alumni(1..=12))),
            delta("cursus_users", enrolments(&alumni(13..=24))),
        ],
    );
    workdir.cursus(["load", "-q"]).await.exits(4);
    ids(48).await;
    let held = workdir.json(["prune", "ls"]).await;
    assert_eq!(held.as_array().unwrap().len(), 1, "{held:#}");
    assert_eq!(
        (&held[0]["table"], &held[0]["rows"]),
        (&json!("users"), &json!(12))
    );
    // The list of enrolments, though complete, does not settle what the list of users asked for.
    stage(&workdir, &[full("cursus_users", enrolments(&people))]);
    workdir.cursus(["load", "-q"]).await.exits(0);
    assert_eq!(workdir.json(["prune", "ls"]).await, held);
    let run = held[0]["run_id"].as_str().unwrap();
    workdir
        .cursus(["prune", "approve", run, "-q"])
        .await
        .exits(0);
    ids(36).await;
    assert_eq!(workdir.json(["prune", "ls"]).await, json!([]));
    workdir
        .cursus(["replay", "--into", "past", "-q"])
        .await
        .exits(0);
    let past = "SELECT count(*) FROM past.users";
    assert_eq!(workdir.number(past).await, 36);
}

/// A version of a person: when it changed, its login, whether it is in scope, and the place of the read that shows it.
#[derive(Clone)]
struct Version {
    changed: u32,
    login: String,
    is_in_scope: bool,
    place: usize,
}

impl Version {
    fn record(&self, id: i64) -> Value {
        let record = person(id, &self.login, self.changed);
        with(record, "alumni?", json!(!self.is_in_scope))
    }
}

/// What a table of people holds after a run, by hand.
fn follow(
    table: &mut BTreeMap<i64, (u32, String)>,
    list: &BTreeMap<i64, Version>,
    nested: &BTreeMap<i64, Version>,
    is_proof: bool,
) {
    let row = |version: &Version| (version.changed, version.login.clone());
    for (id, version) in list.iter().filter(|(_, version)| version.is_in_scope) {
        match table.get(id) {
            Some((changed, _)) if *changed > version.changed => {}
            _ => drop(table.insert(*id, row(version))),
        }
    }
    let is_news = |id: &i64, version: &Version| {
        let rival = list
            .get(id)
            .is_some_and(|other| (other.changed, other.place) > (version.changed, version.place));
        !rival
    };
    let news: Vec<_> = (nested.iter())
        .filter(|(id, version)| table.contains_key(id) && is_news(id, version))
        .filter(|(id, version)| table[id].0 <= version.changed)
        .collect();
    for (id, version) in news.iter().filter(|(_, version)| version.is_in_scope) {
        table.insert(**id, row(version));
    }
    for (id, version) in news.into_iter().chain(list) {
        if !version.is_in_scope && table.get(id).is_some_and(|row| row.0 <= version.changed) {
            table.remove(id);
        }
    }
    if is_proof {
        table.retain(|id, _| list.contains_key(id));
    }
}

#[tokio::test]
async fn random_reads_of_both_give_what_the_rule_says() {
    for seed in 0..4 {
        let mut rng = Rng::with_seed(seed);
        let workdir = Workdir::new().await;
        workdir.pipeline(&[("min_rows = 20", "min_rows = 1000")]);
        stage(&workdir, &[cursus()]);
        let mut table = BTreeMap::new();
        for step in 0..8 {
            let list_is_first = rng.bool();
            let mut shown = |place| -> BTreeMap<i64, Version> {
                let mut versions = BTreeMap::new();
                for id in 1..=30 {
                    if rng.u8(..3) > 0 {
                        let version = Version {
                            changed: 1 + rng.u32(..6),
                            login: format!("p{step}-{place}"),
                            is_in_scope: rng.u8(..8) > 0,
                            place,
                        };
                        versions.insert(id, version);
                    }
                }
                versions
            };
            let list = shown(usize::from(!list_is_first));
            let nested = shown(usize::from(list_is_first));
            let records = |versions: &BTreeMap<i64, Version>| -> Vec<Value> {
                versions
                    .iter()
                    .map(|(id, version)| version.record(*id))
                    .collect()
            };
            let modes = [Mode::Full, Mode::Delta];
            let (mode, of_nested) = (modes[rng.usize(..2)], modes[rng.usize(..2)]);
            let mut reads = vec![
                ("users", mode, State::Complete, texts(&records(&list))),
                (
                    "cursus_users",
                    of_nested,
                    State::Complete,
                    enrolments(&records(&nested)),
                ),
            ];
            let mut seen = [Some(list), Some(nested)];
            if !list_is_first {
                reads.reverse();
            }
            if rng.u8(..4) == 0 {
                let left_out = rng.usize(..2);
                let name = ["users", "cursus_users"][left_out];
                reads.retain(|(resource, ..)| *resource != name);
                seen[left_out] = None;
            }
            stage_in_order(&workdir, &reads);
            workdir.cursus(["load", "-q"]).await.exits(0);
            let is_proof = seen[0].is_some() && mode == Mode::Full;
            let [list, nested] = seen.map(Option::unwrap_or_default);
            follow(&mut table, &list, &nested, is_proof);
            let rows = "SELECT concat_ws(' ', id, extract(day FROM updated_at), login) FROM users ORDER BY id";
            let wanted: Vec<String> = (table.iter())
                .map(|(id, (changed, login))| format!("{id} {changed} {login}"))
                .collect();
            assert_eq!(
                workdir.column(rows).await,
                wanted,
                "seed {seed}, step {step}"
            );
        }
        workdir
            .cursus(["replay", "--into", "past", "-q"])
            .await
            .exits(0);
        let [live, past] = ["public", "past"].map(|schema| {
            format!("SELECT to_jsonb(t) - 'ingested_at' FROM {schema}.users AS t ORDER BY id")
        });
        assert_eq!(workdir.column(&past).await, workdir.column(&live).await);
        assert_eq!(
            loads(&workdir, "past").await,
            loads(&workdir, "public").await
        );
    }
}

/// An enrolment of a person in a project.
fn registration(id: i64, user: i64, project: i64, mark: i64) -> String {
    json!({"id": id, "occurrence": 0, "final_mark": mark, "status": "finished", "validated?": true, "current_team_id": null,
        "project": {"id": project, "name": "p", "slug": "p", "parent_id": null}, "cursus_ids": [21], "marked_at": null,
        "marked": true, "retriable_at": null, "teams": [], "created_at": day(1), "updated_at": day(2), "user": person(user, "ann", 5)})
    .to_string()
}

#[tokio::test]
async fn the_newest_enrolment_in_a_project_is_the_current_one() {
    let workdir = Workdir::new().await;
    stage(
        &workdir,
        &[full(
            "projects_users",
            vec![
                registration(12, 1, 7, 80),
                registration(15, 1, 7, 0),
                registration(11, 2, 7, 90),
                registration(14, 1, 8, 70),
            ],
        )],
    );
    workdir.json(["load"]).await;
    workdir.json(["replay", "--into", "past"]).await;
    for schema in ["public", "past"] {
        let current = format!("SELECT id FROM {schema}.current_enrolments ORDER BY id");
        assert_eq!(workdir.column(&current).await, ["11", "14", "15"]);
        let comment = format!("SELECT obj_description('{schema}.current_enrolments'::regclass)");
        assert!(!workdir.column(&comment).await[0].is_empty());
        // Each schema's is of its own.
        workdir
            .query(&format!(
                "UPDATE {schema}.projects_users SET final_mark = 1"
            ))
            .await;
        let marks = format!("SELECT DISTINCT final_mark FROM {schema}.current_enrolments");
        assert_eq!(workdir.column(&marks).await, ["1"]);
    }
    let differs = workdir.json(["diff", "live", "past"]).await;
    let tables = differs["tables"].as_array().unwrap();
    let moved = |table: &Value| ["added", "removed", "changed"].map(|key| table[key].clone());
    assert!(
        tables
            .iter()
            .all(|table| moved(table) == [json!(0), json!(0), json!(0)])
    );
    workdir
        .cursus(["replay", "--rebuild", "-q", "--select", "projects_users"])
        .await
        .exits(0);
    let marks = "SELECT final_mark FROM current_enrolments ORDER BY id";
    assert_eq!(workdir.column(marks).await, ["90", "70", "0"]);
}

/// A schema as the release before left it: its migrations but the last.
async fn before_this_release(workdir: &Workdir) {
    workdir.json(["migrate"]).await;
    workdir
        .query(
            "DROP VIEW current_enrolments CASCADE; DROP INDEX projects_users_user_id_project_id_id; \
             CREATE INDEX projects_users_user_id ON projects_users (user_id); \
             ALTER TABLE projects_users ADD user_login text, ADD user_email text; \
             ALTER TABLE achievements_users ADD user_login text; DELETE FROM refinery_schema_history WHERE version >= 3",
        )
        .await;
}

#[tokio::test]
async fn what_people_have_made_is_not_broken_by_a_migration() {
    let workdir = Workdir::new().await;
    before_this_release(&workdir).await;
    workdir
        .query(
            "CREATE SCHEMA mine; CREATE VIEW mine.marks AS SELECT user_login, final_mark FROM projects_users; \
             CREATE VIEW mine.awards AS SELECT user_login FROM achievements_users",
        )
        .await;
    let refused = workdir.cursus(["migrate"]).await.exits(1);
    for text in ["view mine.marks", "view mine.awards", "JOIN users"] {
        assert!(refused.stderr.contains(text), "{text}: {refused}");
    }
    let columns = "SELECT count(*) FROM pg_attribute WHERE attname IN ('user_login', 'user_email') AND attnum > 0 \
                   AND attrelid IN ('projects_users'::regclass, 'achievements_users'::regclass)";
    assert_eq!(workdir.number(columns).await, 3);
    workdir
        .query(
            "DROP SCHEMA mine CASCADE; CREATE TABLE current_enrolments (mine int); INSERT INTO current_enrolments VALUES (1)",
        )
        .await;
    let refused = workdir.cursus(["migrate"]).await.exits(1);
    let text = "ALTER TABLE public.current_enrolments RENAME TO";
    assert!(refused.stderr.contains(text), "{refused}");
    assert_eq!(
        workdir.number("SELECT mine FROM current_enrolments").await,
        1
    );
    workdir
        .query("ALTER TABLE current_enrolments RENAME TO my_enrolments")
        .await;
    workdir.cursus(["migrate"]).await.exits(0);
    assert_eq!(workdir.number(columns).await, 0);
    assert_eq!(workdir.number("SELECT mine FROM my_enrolments").await, 1);
    assert_eq!(workdir.count("current_enrolments").await, 0);
}
