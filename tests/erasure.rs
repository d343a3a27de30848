//! A person is erased: from every page and every row, and no backup brings them back.

use std::io::Read as _;
use std::path::Path;

use cursus::failpoint::Point;
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

use crate::support::boxes::{delta, directory, full, stage, workdir_of};
use crate::support::state;
use crate::support::{Shared, Template, Workdir, simulator};

/// In every personal value of the person with the id 2, and nowhere else.
pub(crate) const CANARY: &str = "cAnArY";

/// Every durable step of an erasure, and at which of the times that it is reached.
pub(crate) const FORGET: [(Point, u32); 20] = [
    (Point::ErasureWrite, 1),
    (Point::ErasureTorn, 1),
    (Point::ErasureSync, 1),
    (Point::ErasureDone, 1),
    (Point::ErasureTorn, 2),
    (Point::ErasureDone, 3),
    (Point::ErasedRowsCommit, 1),
    (Point::ErasedRowsCommitted, 1),
    (Point::ErasedPageWrite, 1),
    (Point::ErasedPageSync, 1),
    (Point::ErasedPageRename, 2),
    (Point::ErasedPageNamed, 3),
    (Point::ErasedPageDone, 4),
    (Point::ErasedJournalWrite, 1),
    (Point::ErasedJournalSync, 1),
    (Point::ErasedJournalRename, 2),
    (Point::ErasedJournalNamed, 2),
    (Point::ErasedJournalDone, 3),
    (Point::ErasedStrayRemove, 1),
    (Point::ErasedPageRename, 1),
];

/// One step of each thing that an erasure writes.
pub(crate) const FORGET_SAMPLE: [(Point, u32); 4] = [
    (Point::ErasureTorn, 2),
    (Point::ErasedRowsCommit, 1),
    (Point::ErasedPageRename, 2),
    (Point::ErasedJournalNamed, 2),
];

pub(crate) fn day(day: u32) -> String {
    format!("2026-11-{day:02}T10:00:00Z")
}

/// A person whose personal values begin with `name`.
pub(crate) fn person(id: i64, name: &str) -> Value {
    json!({"id": id, "login": name, "email": format!("{name}@student.example"), "first_name": name, "last_name": name,
        "usual_full_name": name, "usual_first_name": name, "displayname": name, "url": format!("https://x/{name}"),
        "phone": name, "kind": "student", "image": {"link": name, "versions": {"large": name, "medium": name,
        "small": name, "micro": name}}, "staff?": false, "correction_point": 1, "pool_month": name, "pool_year": name,
        "location": name, "wallet": 5, "anonymize_date": null, "data_erasure_date": null, "created_at": day(1),
        "updated_at": day(2), "alumnized_at": null, "alumni?": false, "active?": true, "one_day": {"new": [name]}})
}

fn name_of(id: i64) -> &'static str {
    ["ann", CANARY, "cem"][usize::try_from(id - 1).unwrap()]
}

fn people() -> Vec<String> {
    (1..=3)
        .map(|id| person(id, name_of(id)).to_string())
        .collect()
}

fn enrolment(id: i64) -> String {
    json!({"id": 1000 + id, "begin_at": day(1), "end_at": null, "grade": "Member", "level": 4.0, "skills": [], "cursus_id": 21,
        "has_coalition": true, "blackholed_at": null, "created_at": day(1), "updated_at": day(2), "user": person(id, name_of(id))})
    .to_string()
}

/// An attempt of a person, in a team of all three that is called after the second.
fn attempt(id: i64, user: i64) -> String {
    let mate = |id: i64| {
        json!({"id": id, "login": name_of(id), "url": format!("u/{}", name_of(id)), "leader": id == 2,
        "occurrence": 0, "validated": true, "projects_user_id": 10 * id})
    };
    json!({"id": id, "occurrence": 0, "final_mark": 125, "status": "finished", "validated?": true, "current_team_id": 3,
        "project": {"id": 1, "name": "libft", "slug": "libft", "parent_id": null}, "cursus_ids": [21], "marked_at": null,
        "marked": true, "retriable_at": null, "created_at": day(1), "updated_at": day(2), "user": person(user, name_of(user)),
        "teams": [{"id": 3, "name": format!("{CANARY}'s group"), "final_mark": 125, "repo_url": format!("git@x:{CANARY}"),
            "project_gitlab_path": format!("x/{CANARY}"), "users": [mate(1), mate(2), mate(3)]},
            {"id": 4, "name": "ann's group", "final_mark": 80, "repo_url": null, "project_gitlab_path": null, "users": [mate(1)]}]})
    .to_string()
}

fn attempts() -> Vec<String> {
    let of_second = (1..=30).map(|id| attempt(id, 2));
    of_second
        .chain((31..=33).map(|id| attempt(id, id - 30)))
        .collect()
}

fn earned() -> (Vec<String>, Vec<String>) {
    let achievement = json!({"id": 1, "name": "a", "description": "d", "tier": "none", "kind": "project", "visible": true,
        "image": null, "nbr_of_success": null, "users_url": "u", "achievements": [], "campus": [], "parent": null, "title": null});
    let earned = (1..=3).map(|id| {
        json!({"id": id, "achievement_id": 1, "user_id": id, "login": name_of(id), "nbr_of_success": null, "url": "u",
            "created_at": day(1), "updated_at": day(2)})
        .to_string()
    });
    (vec![achievement.to_string()], earned.collect())
}

fn cursus() -> Vec<String> {
    vec![json!({"id": 21, "created_at": day(1), "name": "42cursus", "slug": "42cursus", "kind": "main"}).to_string()]
}

/// A mirror that holds the person in every way: nested, in a row that is kept although its delete is held, and in quarantine.
pub(crate) async fn mirror() -> Workdir {
    static LOADED: Shared = Shared::new();
    let load = async || {
        let workdir = Workdir::new().await;
        let (achievements, earned) = earned();
        stage(
            &workdir,
            &[
                full("cursus", cursus()),
                full("achievements", achievements),
                full("users", people()),
                full("cursus_users", (1..=3).map(enrolment).collect()),
                full("projects_users", attempts()),
                full("achievements_users", earned),
            ],
        );
        workdir.json(["load"]).await;
        // 30 rows of the second are missing: more than the prune limit lets a load delete.
        stage(
            &workdir,
            &[full(
                "projects_users",
                (31..=33).map(|id| attempt(id, id - 30)).collect(),
            )],
        );
        workdir.json_exits(4, ["load"]).await;
        let mut odd = person(2, CANARY);
        odd["wallet"] = json!(format!("{CANARY} has none"));
        stage(&workdir, &[delta("users", vec![odd.to_string()])]);
        workdir.json_exits(3, ["load"]).await;
        assert_eq!(workdir.count("pipeline.quarantine").await, 1);
        assert_eq!(workdir.count("pipeline.prune_candidate").await, 30);
        workdir
    };
    LOADED.workdir(load).await
}

/// The bytes of a staged file, unpacked.
fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let mut plain = Vec::new();
    match MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain) {
        Ok(_) => plain,
        Err(_) => bytes,
    }
}

/// The files in which a text is.
pub(crate) fn files_with(workdir: &Workdir, text: &str) -> Vec<String> {
    let mut places = Vec::new();
    for entry in walkdir::WalkDir::new(workdir.path("")) {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        let plain = unpacked(entry.path());
        if plain
            .windows(text.len())
            .any(|window| window == text.as_bytes())
        {
            places.push(entry.path().display().to_string());
        }
    }
    places
}

/// The files and tables in which a text is.
pub(crate) async fn places_of(workdir: &Workdir, text: &str) -> Vec<String> {
    let mut places = files_with(workdir, text);
    let tables = "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables \
        WHERE table_type = 'BASE TABLE' AND table_schema !~ '^(pg_|information_schema)' ORDER BY 1";
    for table in workdir.column(tables).await {
        let count = format!("SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%{text}%'");
        if workdir.number(&count).await > 0 {
            places.push(table);
        }
    }
    places
}

pub(crate) async fn is_erased(workdir: &Workdir, when: &str) {
    let places = places_of(workdir, CANARY).await;
    assert!(places.is_empty(), "{when}: {places:#?}");
}

/// All staged records, by the file that they are in.
pub(crate) fn records(workdir: &Workdir) -> Vec<(String, Value)> {
    let mut records = Vec::new();
    let files = walkdir::WalkDir::new(workdir.path("staging")).sort_by_file_name();
    for entry in files.into_iter().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|end| end == "gz") {
            let page = serde_json::from_slice(&unpacked(entry.path())).unwrap();
            records.push((
                entry
                    .path()
                    .strip_prefix(workdir.path(""))
                    .unwrap()
                    .display()
                    .to_string(),
                page,
            ));
        }
    }
    records
}

/// What must be null of the second person.
fn blanked(mut page: Value) -> Value {
    fn blank(value: &mut Value) {
        match value {
            Value::String(text) if text.contains(CANARY) => *value = Value::Null,
            Value::Array(list) => list.iter_mut().for_each(blank),
            Value::Object(map) => {
                if map.get("id") == Some(&json!(2)) && map.contains_key("pool_month") {
                    for key in ["correction_point", "wallet"] {
                        map[key] = Value::Null;
                    }
                }
                map.values_mut().for_each(blank);
            }
            _ => {}
        }
    }
    blank(&mut page);
    page
}

#[tokio::test]
async fn nothing_of_a_forgotten_person_is_found() {
    let workdir = mirror().await;
    workdir.cursus(["replay", "--into", "past"]).await;
    let places = places_of(&workdir, CANARY).await;
    for table in ["public.users", "past.users"] {
        assert!(places.iter().any(|place| place == table), "{places:#?}");
    }
    let before = records(&workdir);
    let others = "SELECT to_jsonb(u) FROM users AS u WHERE id <> 2 ORDER BY id";
    let others_before = workdir.column(others).await;
    let ran = workdir
        .cursus(["forget", "2", "--json", "-vv"])
        .await
        .exits(0);
    assert!(!format!("{ran}").contains(CANARY), "{ran}");
    let forgotten = ran.json();
    is_erased(&workdir, "after forget").await;
    assert!(forgotten["pages"].as_array().unwrap().len() > 5);
    // Ids, counts and other people are as they were.
    let expected: Vec<(String, Value)> = before
        .into_iter()
        .map(|(file, page)| (file, blanked(page)))
        .collect();
    assert_eq!(records(&workdir), expected);
    assert_eq!(workdir.column(others).await, others_before);
    let row =
        "SELECT concat_ws(' ', id, kind, alumni, login, email, wallet) FROM users WHERE id = 2";
    assert_eq!(workdir.column(row).await, ["2 student f"]);
    assert_eq!(workdir.count("projects_users").await, 33);
    // Again: nothing is left to do, and the quarantined record fits now.
    let again = workdir.json(["forget", "2"]).await;
    let values = |page: &Value| page["values"].as_u64().unwrap();
    assert_eq!(
        again["pages"]
            .as_array()
            .unwrap()
            .iter()
            .map(values)
            .sum::<u64>(),
        0
    );
    workdir.json(["quarantine", "retry"]).await;
    is_erased(&workdir, "after a retry").await;
}

#[tokio::test]
async fn a_dry_run_lists_every_place_and_changes_nothing() {
    let workdir = mirror().await;
    let before = records(&workdir);
    let rows = workdir
        .column("SELECT to_jsonb(u) FROM users AS u ORDER BY id")
        .await;
    let listed = workdir.json(["forget", "2", "--dry-run"]).await;
    assert_eq!(listed["dry_run"], true);
    let files: Vec<String> = listed["pages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|page| {
            format!(
                "{}/{}",
                directory(&workdir, page["run"].as_str().unwrap()).display(),
                page["file"].as_str().unwrap()
            )
        })
        .collect();
    for place in places_of(&workdir, CANARY).await {
        let is_listed = files.contains(&place) || place.starts_with("public.");
        assert!(is_listed, "{place} is not in {files:#?}");
    }
    let tables = listed["rows"].as_array().unwrap();
    let rows_of = |table: &str| {
        tables
            .iter()
            .find(|one| one["table"] == table)
            .map(|one| one["rows"].clone())
    };
    assert_eq!(rows_of("users"), Some(json!(1)));
    assert_eq!(rows_of("pipeline.prune_candidate"), Some(json!(30)));
    assert_eq!(rows_of("pipeline.quarantine"), Some(json!(1)));
    assert_eq!(records(&workdir), before);
    assert_eq!(
        workdir
            .column("SELECT to_jsonb(u) FROM users AS u ORDER BY id")
            .await,
        rows
    );
    assert!(!workdir.path("staging/erasures.jsonl").exists());
    assert_eq!(workdir.count("pipeline.erasure").await, 0);
    let text = workdir
        .cursus(["forget", "2", "--dry-run"])
        .await
        .exits(0)
        .stdout;
    insta::assert_snapshot!("forget_dry_run", text);
}

/// The staging directory of one takes the place of the other's.
pub(crate) fn move_staging(from: &Workdir, to: &Workdir) {
    std::fs::remove_dir_all(to.path("staging")).unwrap();
    std::fs::rename(from.path("staging"), to.path("staging")).unwrap();
}

#[tokio::test]
async fn a_backup_of_either_half_brings_nobody_back() {
    let yesterday = Template::of(mirror().await).await;
    for half in ["staging", "database"] {
        let (today, backup) = (yesterday.workdir().await, yesterday.workdir().await);
        today.json(["forget", "2"]).await;
        let restored = if half == "staging" {
            move_staging(&backup, &today);
            today
        } else {
            move_staging(&today, &backup);
            backup
        };
        assert!(!places_of(&restored, CANARY).await.is_empty());
        let ran = restored.cursus(["load"]).await;
        let ran = ran.exits(0);
        ran.says("the erasure ledgers differ");
        is_erased(&restored, half).await;
        // They agree now.
        let ran = restored.cursus(["load"]).await.exits(0);
        assert!(!ran.stderr.contains("ledger"), "{}", ran.stderr);
        restored.json(["forget", "2"]).await;
    }
}

#[tokio::test]
async fn the_union_of_two_ledgers_holds() {
    let yesterday = Template::of(mirror().await).await;
    let (one, other) = (yesterday.workdir().await, yesterday.workdir().await);
    one.json(["forget", "2"]).await;
    other.json(["forget", "3"]).await;
    move_staging(&one, &other);
    other
        .cursus(["load"])
        .await
        .exits(0)
        .says("the erasure ledgers differ");
    for name in [CANARY, "cem@student"] {
        assert_eq!(places_of(&other, name).await, [""; 0], "{name}");
    }
    assert_eq!(other.count("pipeline.erasure").await, 2);
    let ledger = std::fs::read_to_string(other.path("staging/erasures.jsonl")).unwrap();
    assert_eq!(
        ledger
            .lines()
            .filter(|line| line.contains("\"person\""))
            .count(),
        2
    );
}

#[tokio::test]
async fn replay_and_rebuild_leave_the_erased_blank() {
    let yesterday = Template::of(mirror().await).await;
    let (workdir, backup) = (yesterday.workdir().await, yesterday.workdir().await);
    workdir.json(["forget", "2"]).await;
    // Only the pages come from the backup: both ledgers name the person.
    std::fs::copy(
        workdir.path("staging/erasures.jsonl"),
        backup.path("staging/erasures.jsonl"),
    )
    .unwrap();
    move_staging(&backup, &workdir);
    workdir.cursus(["replay", "--into", "past"]).await;
    workdir.cursus(["replay", "--rebuild"]).await;
    let places = places_of(&workdir, CANARY).await;
    assert!(
        places.iter().all(|place| place.contains(".json.gz")),
        "{places:#?}"
    );
    assert_eq!(
        workdir
            .column("SELECT count(*) FROM past.users WHERE id = 2")
            .await,
        ["1"]
    );
    assert_eq!(
        workdir.column("SELECT login FROM users WHERE id = 2").await,
        [""]
    );
    // Nobody reads them in what is printed, and `forget` finishes it.
    let printed = workdir
        .cursus(["stage", "cat", "latest", "users"])
        .await
        .exits(0);
    assert!(!printed.stdout.contains(CANARY));
    workdir.json(["forget", "--finish"]).await;
    is_erased(&workdir, "after --finish").await;
}

#[tokio::test]
async fn an_erasure_killed_in_each_phase_is_finished() {
    an_erasure_survives(&FORGET_SAMPLE).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn an_erasure_killed_anywhere_is_finished() {
    an_erasure_survives(&FORGET).await;
}

async fn an_erasure_survives(places: &[(Point, u32)]) {
    let workdir = mirror().await;
    // What a process that died has left beside a page.
    let stray = workdir
        .run_directory()
        .join("users/.page-00009.json.gz.tmp");
    std::fs::write(&stray, CANARY).unwrap();
    let template = Template::of(workdir).await;
    let forget = ["forget", "2"];
    survives_kills(&template, &forget, places, |workdir, when| {
        assert_eq!(files_with(workdir, CANARY), [""; 0], "{when}");
    })
    .await;
    // What all of them came to.
    let workdir = template.workdir().await;
    workdir.cursus(forget).await.exits(0);
    is_erased(&workdir, "not killed").await;
    workdir.cursus(["replay", "--into", "past"]).await;
    is_erased(&workdir, "not killed, replayed").await;
}

/// An erasure that is killed at each of these places, and finished by the same command or by the next load: pages, rows and ledgers are
/// those of one that was not killed, and so of its replay. `check` looks into the files themselves.
pub(crate) async fn survives_kills(
    template: &Template,
    forget: &[&str],
    places: &[(Point, u32)],
    check: impl Fn(&Workdir, &str),
) {
    // The lines of people in the ledger that have their end.
    let recorded = |workdir: &Workdir| {
        let ledger = std::fs::read_to_string(workdir.path("staging/erasures.jsonl"));
        let ledger = ledger.unwrap_or_default();
        let lines = ledger.split_inclusive('\n');
        lines
            .filter(|line| line.contains("\"person\"") && line.ends_with('\n'))
            .count()
    };
    let state = async |workdir: &Workdir| {
        let staged = state::of_staging(&workdir.path("staging"));
        (recorded(workdir), staged, state::of_database(workdir).await)
    };
    let workdir = template.workdir().await;
    let before = recorded(&workdir);
    workdir.cursus(forget).await.exits(0);
    let (people, staged, rows) = state(&workdir).await;
    for (index, (point, nth)) in places.iter().enumerate() {
        let mut workdir = template.workdir().await;
        workdir.set("CURSUS_FAILPOINT", format!("{}:{nth}=kill", point.name()));
        let killed = workdir.cursus(forget).await;
        assert_eq!(killed.code, None, "{}:{nth} is not reached", point.name());
        workdir.unset("CURSUS_FAILPOINT");
        let by_load = recorded(&workdir) > before && index % 2 == 0;
        let finish = if by_load { &["load"] } else { forget };
        let when = format!(
            "killed at {}:{nth}, finished by {}",
            point.name(),
            finish[0]
        );
        workdir.cursus(finish).await.exits(0);
        check(&workdir, &when);
        let found = state(&workdir).await;
        assert_eq!(found.0, people, "{when}");
        state::assert_same(&found.1, &staged, &when);
        state::assert_same(&found.2, &rows, &when);
        let left = state::left_over(&workdir.path("staging"));
        assert_eq!(left, [""; 0], "{when}");
        workdir.end().await;
    }
}

#[tokio::test]
async fn rewritten_runs_verify_and_stay_blank_when_read_again() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let known = workdir.query("SELECT u.id, u.login FROM users AS u WHERE u.kind = 'student' AND length(login) > 4 \
        AND EXISTS (SELECT FROM projects_users AS p WHERE p.user_id = u.id) \
        AND NOT EXISTS (SELECT FROM users AS o WHERE o.id <> u.id AND strpos(o.login, u.login) > 0) ORDER BY id LIMIT 1").await;
    let [Some(id), Some(login)] = &known[0][..] else {
        panic!("nobody")
    };
    let mail = format!("{login}@");
    assert!(places_of(&workdir, &mail).await.len() > 2);
    let before = state_of(&workdir).await;
    workdir.json(["forget", id]).await;
    assert_eq!(places_of(&workdir, &mail).await, [""; 0]);
    assert_eq!(state_of(&workdir).await, before);
    workdir.cursus(["stage", "verify", "latest"]).await.exits(0);
    // What the API sends of them later is blank before it is staged.
    simulator.advance(std::time::Duration::from_hours(30));
    workdir.json(["run", "--full"]).await;
    assert_eq!(places_of(&workdir, &mail).await, [""; 0]);
    workdir.cursus(["stage", "verify", "latest"]).await.exits(0);
    workdir.json(["load"]).await;
    let login = format!("SELECT coalesce(login, 'null') FROM users WHERE id = {id}");
    assert_eq!(workdir.column(&login).await, ["null"]);
    // A run that is rewritten is loaded already: no load does it again.
    assert_eq!(workdir.json(["load"]).await["runs"], json!([]));
}

/// What proofs and counts rest on.
async fn state_of(workdir: &Workdir) -> Vec<String> {
    workdir.column("SELECT concat_ws(' ', resource, table_name, state, staged, manifest_hash) FROM pipeline.load ORDER BY 1").await
}

#[tokio::test]
async fn a_rewrite_that_the_ledger_does_not_name_is_refused() {
    let workdir = mirror().await;
    workdir.json(["forget", "2"]).await;
    let path = workdir.path("staging/erasures.jsonl");
    let ledger = std::fs::read_to_string(&path).unwrap();
    let run = workdir.run_directory();
    let latest = ["stage", "verify", "latest"];
    let refused = |text: String, says: &'static str| {
        let (workdir, path) = (&workdir, &path);
        async move {
            std::fs::write(path, text).unwrap();
            let ran = workdir.cursus(latest).await;
            assert_ne!(ran.code, Some(0), "{ran}");
            assert!(format!("{ran}").contains(says), "{ran}");
        }
    };
    let without = ledger
        .lines()
        .filter(|line| !line.contains("journal_sha256"));
    let without: String = without.map(|line| format!("{line}\n")).collect();
    let says = "the erasure ledger does not name that";
    refused(without, says).await;
    refused(String::new(), says).await;
    refused("nonsense\n".to_owned(), "no line of the erasure ledger").await;
    std::fs::write(&path, &ledger).unwrap();
    // A journal that says something else of the rewrite.
    let journal = run.join("users/pages.jsonl");
    let lines = std::fs::read_to_string(&journal).unwrap();
    assert!(lines.contains("\"rewritten\""));
    for (from, to) in [
        ("\"was\":\"", "\"was\":\"0"),
        ("\"erasure\":\"", "\"erasure\":\"0"),
    ] {
        std::fs::write(&journal, lines.replacen(from, to, 1)).unwrap();
        let ran = workdir.cursus(latest).await;
        assert_ne!(ran.code, Some(0), "{ran}");
        assert!(format!("{ran}").contains("pages.jsonl"), "{ran}");
    }
}

#[tokio::test]
async fn an_unknown_person_is_a_sentence_and_no_entry() {
    let workdir = mirror().await;
    for arguments in [&["forget", "4711"][..], &["forget", "nobody", "4711"]] {
        let ran = workdir.cursus(arguments).await.exits(2);
        ran.says("nothing is held of");
    }
    assert!(!workdir.path("staging/erasures.jsonl").exists());
    assert_eq!(workdir.count("pipeline.erasure").await, 0);
    workdir.cursus(["subject", "4711"]).await.exits(3);
}

#[tokio::test]
async fn a_person_whose_id_is_a_text_is_erased() {
    let pipeline = "[[resource]]\nname = \"members\"\npath = \"/members\"\nid = \"/number\"\n\
        [[table]]\nname = \"members\"\nfrom = \"members\"\n\
        [person]\n[[person.place]]\nresource = \"members\"\nid = \"/code\"\nfields = [\"/name\"]\n";
    let migration =
        "CREATE TABLE members (number bigint PRIMARY KEY, code text, name text, score bigint)";
    let workdir = workdir_of(pipeline, migration).await;
    let member = |number: i64, code: Value, name: &str| {
        json!({"number": number, "code": code, "name": name, "score": 5}).to_string()
    };
    stage(
        &workdir,
        &[full(
            "members",
            vec![
                member(1, json!("a b"), CANARY),
                member(2, json!("a"), "bob"),
                member(3, json!("007"), "cem"),
            ],
        )],
    );
    workdir.json(["load"]).await;
    workdir.json(["forget", "a b"]).await;
    is_erased(&workdir, "a text").await;
    assert_eq!(
        workdir
            .column("SELECT name FROM members ORDER BY number")
            .await,
        ["", "bob", "cem"]
    );
    // A text is not the number that it looks like.
    workdir.cursus(["forget", "7"]).await.exits(2);
}

#[tokio::test]
async fn what_cannot_be_erased_is_refused_before_anything_is() {
    let with = |more: &str, columns: &str| {
        let pipeline = format!(
            "[[resource]]\nname = \"members\"\npath = \"/members\"\n[[resource]]\nname = \"rooms\"\npath = \"/rooms\"\n\
             [[table]]\nname = \"members\"\nfrom = \"members\"\n{more}"
        );
        let migration = format!("CREATE TABLE members (id bigint PRIMARY KEY, {columns})");
        async move {
            let workdir = workdir_of(&pipeline, &migration).await;
            let member = json!({"id": 1, "name": CANARY, "home": {"id": 1, "street": CANARY}});
            stage(&workdir, &[full("members", vec![member.to_string()])]);
            workdir.json(["load"]).await;
            let ran = workdir.cursus(["forget", "1"]).await.exits(2);
            assert!(!workdir.path("staging/erasures.jsonl").exists());
            assert_eq!(workdir.count("pipeline.erasure").await, 0);
            ran
        }
    };
    let place = |fields: &str| {
        format!(
            "[person]\nnobody_in = [\"rooms\"]\n[[person.place]]\nresource = \"members\"\nid = \"/id\"\nfields = {fields}\n"
        )
    };
    let ran = with("", "name text, home jsonb").await;
    ran.says("does not say where people are in the records of members, rooms");
    let ran = with(
        "[person]\n[[person.place]]\nresource = \"members\"\nid = \"/id\"\nfields = [\"/name\"]\n",
        "name text",
    )
    .await;
    ran.says("in the records of rooms");
    let ran = with(&place("[\"/name\"]"), "name text NOT NULL").await;
    ran.says("members.name is personal, and cannot be null");
    let ran = with(&place("[\"/home/street\"]"), "home jsonb").await;
    ran.says("members.home holds more than the personal values of one person");
}

#[tokio::test]
async fn anonymised_people_are_swept() {
    let workdir = mirror().await;
    // The API shows the second as somebody else now; older pages still have the name.
    let mut anonymous = person(2, "3b3-2");
    anonymous["updated_at"] = json!(day(9));
    stage(&workdir, &[delta("users", vec![anonymous.to_string()])]);
    workdir.cursus(["load"]).await;
    assert_eq!(
        workdir.column("SELECT login FROM users WHERE id = 2").await,
        ["3b3-2"]
    );
    let forgotten = workdir.json(["forget", "--anonymised"]).await;
    assert_eq!(forgotten["people"], 1);
    is_erased(&workdir, "anonymised").await;
    assert_eq!(workdir.json(["forget", "--anonymised"]).await["people"], 0);
}

#[tokio::test]
async fn subject_prints_all_that_is_held_and_nobody_else() {
    let workdir = mirror().await;
    let held = workdir.json(["subject", "2"]).await;
    let rows = held["rows"].as_array().unwrap();
    let tables: std::collections::BTreeSet<&str> = rows
        .iter()
        .map(|row| row["table"].as_str().unwrap())
        .collect();
    assert_eq!(
        tables.into_iter().collect::<Vec<_>>(),
        [
            "achievements_users",
            "cursus_users",
            "pipeline.prune_candidate",
            "pipeline.quarantine",
            "projects_users",
            "teams_users",
            "users"
        ]
    );
    let records = held["records"].as_array().unwrap();
    assert!(
        records
            .iter()
            .any(|record| record["at"] == "/teams/*/users/*")
    );
    let text = held.to_string();
    assert!(text.contains(CANARY));
    for other in ["ann", "cem"] {
        assert!(!text.contains(&format!("\"{other}\"")), "{other}");
    }
    let printed = workdir.cursus(["subject", "2"]).await.exits(0);
    assert!(printed.stdout.contains("users/page-00001.json.gz record 1"));
    workdir.json(["forget", "2"]).await;
    let held = workdir.json(["subject", "2"]).await;
    assert_eq!(held["erased"], true);
    assert!(!held.to_string().contains(CANARY));
}

#[tokio::test]
async fn the_ledger_names_nobody() {
    let workdir = mirror().await;
    workdir.json(["forget", "2"]).await;
    let path = workdir.path("staging/erasures.jsonl");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let ledger = std::fs::read_to_string(&path).unwrap();
    let first: Value = serde_json::from_str(ledger.lines().next().unwrap()).unwrap();
    let keys: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["at", "erasure", "key", "person"]);
    assert_eq!(first["person"].as_str().unwrap().len(), 64);
    assert_eq!(
        workdir.column("SELECT person FROM pipeline.erasure").await,
        [first["person"].as_str().unwrap()]
    );
}
