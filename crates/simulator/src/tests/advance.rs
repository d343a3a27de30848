//! How the world is made and how it moves.

use std::collections::BTreeMap;

use super::*;

#[tokio::test]
async fn a_day_passes_and_every_change_lies_in_its_window() {
    let api = Api::start(small()).await;
    let before = |name: &str| api.simulator.rows(name);
    let names = [
        "users",
        "cursus_users",
        "projects_users",
        "coalitions_users",
        "projects",
    ];
    let old: Vec<Vec<Value>> = names.iter().map(|name| before(name)).collect();
    let students = ids(&api.all(STUDENTS).await);
    api.simulator.advance(Duration::from_hours(24));

    let date = header(&api.get("/v2/cursus").await, "date");
    assert!(date.starts_with("Tue, 03 Mar 2026 06:0"), "{date}");
    for (name, old) in names.iter().zip(old) {
        let new = api.simulator.rows(name);
        assert!(new.len() >= old.len(), "{name}: deleted rows are replaced");
        let changed = new.iter().filter(|row| {
            let known = old.iter().find(|known| known["id"] == row["id"]);
            // A nested person may have changed without the row that nests them.
            known.is_none_or(|known| known["updated_at"] != row["updated_at"])
        });
        let path = if *name == "projects" {
            "/v2/cursus/21/projects"
        } else {
            &format!("/v2/{name}")
        };
        let window = "2026-03-02T06:00:00Z,2026-03-03T07:00:00Z";
        let listed = api.all(&format!("{path}?range[updated_at]={window}")).await;
        let changed: Vec<i64> = changed.map(|row| row["id"].as_i64().unwrap()).collect();
        assert_eq!(sorted(ids(&listed)), sorted(changed.clone()), "{name}");
        assert!(!changed.is_empty(), "{name}");
    }
    let now = ids(&api.all(STUDENTS).await);
    assert!(
        students.iter().any(|id| !now.contains(id)),
        "someone graduated"
    );
    assert!(
        now.iter().any(|id| !students.contains(id)),
        "someone joined"
    );
}

#[tokio::test]
async fn the_same_seed_and_steps_give_the_same_world() {
    let hour = Duration::from_hours(1);
    let worlds = [1, 1, 2].map(|seed| async move {
        let options = Options { seed, ..small() };
        let simulator = Simulator::start(options).await.unwrap();
        simulator.advance(hour);
        let logins = |row: &Value| row["login"].as_str().unwrap().to_owned();
        let people = simulator.rows("users");
        let people: Vec<String> = people.iter().map(logins).collect();
        (people, simulator.rows("projects_users").len())
    });
    let [first, again, other] = worlds;
    let first = first.await;
    assert_eq!(first, again.await);
    assert_ne!(first, other.await);
}

#[tokio::test]
async fn churn_shifts_pages_while_they_are_read() {
    let churn = Churn {
        every: 2,
        inserted: 3,
        updated: 1,
        deleted: 1,
        resources: vec!["coalitions_users".to_owned()],
    };
    let options = Options {
        churn: Some(churn),
        ..small()
    };
    let api = Api::start(options).await;
    let first = api.page("/v2/coalitions_users?sort=-id&per_page=100").await;
    let second = api
        .page("/v2/coalitions_users?sort=-id&per_page=100&page=2")
        .await;
    let first: HashSet<i64> = ids(&first).into_iter().collect();
    assert!(ids(&second).iter().any(|id| first.contains(id)));
    assert_eq!(api.simulator.rows("coalitions_users").len(), 452);
    for name in Resource::ALL.map(Resource::name) {
        let churn = Churn {
            every: 1,
            inserted: 2,
            updated: 2,
            deleted: 2,
            resources: Vec::new(),
        };
        let options = Options {
            churn: Some(churn),
            staff: true,
            slow_pages: BTreeMap::new(),
            ..small()
        };
        let api = Api::start(options).await;
        for _ in 0..4 {
            api.page(&format!("/v2/{name}")).await;
        }
    }
}

#[tokio::test]
async fn given_rows_are_served_as_they_are_and_joins_refer_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let coalition = r#"{ "id": 77, "name": "É\u00e9", "slug": "x", "image_url": "", "cover_url": null, "color": "\t#fff", "score": 1.50, "user_id": 3 }"#;
    let coalitions = file("coalitions", &format!("[\n {coalition}\n]"));
    let people = Simulator::start(small()).await.unwrap();
    let users = file("users", &Value::from(people.rows("users")).to_string());
    let mut options = small();
    options.rows.insert("coalitions".to_owned(), coalitions);
    options.rows.insert("users".to_owned(), users);
    for name in ["cursus_users", "projects_users", "achievements_users"] {
        let path = file(name, &Value::from(people.rows(name)).to_string());
        options.rows.insert(name.to_owned(), path);
    }
    let api = Api::start(options).await;
    let served = api.get("/v2/coalitions").await.text().await.unwrap();
    assert_eq!(
        served,
        format!(
            "[{}]",
            coalition
                .replace(": ", ":")
                .replace(", ", ",")
                .replace("{ ", "{")
                .replace(" }", "}")
        )
    );
    assert_eq!(api.total("/v2/coalitions/77/coalitions_users").await, 450);
    assert_eq!(api.total(STUDENTS).await, 40);
    for name in [
        "users",
        "cursus_users",
        "projects_users",
        "achievements_users",
    ] {
        assert_eq!(api.simulator.rows(name), people.rows(name), "{name}");
    }

    let broken = file("broken", r#"[{"id":1},{"name":"no id"}]"#);
    let mut options = small();
    options.rows.insert("cursus".to_owned(), broken);
    let error = Simulator::start(options).await.unwrap_err();
    assert!(matches!(error, SimulateError::Row { index: 1, .. }));
    let row = "row 0 of people.json has not the shape of its resource:";
    for (rows, expected) in [
        (
            r#"[{"id": "Lovelace"}]"#,
            format!("{row} its id must be a whole number"),
        ),
        (
            r#"[{"id": 1, "user": "Lovelace"}]"#,
            format!("{row} column 25 of it, without its spaces, is not what the API sends there"),
        ),
        (
            r#"["Lovelace"]"#,
            format!("{row} column 10 of it, without its spaces, is not what the API sends there"),
        ),
        (r#"[{"id": 1}]"#, format!("{row} it lacks `user`")),
        (
            r#""Lovelace""#,
            "people.json must hold one JSON array of rows, and does not at line 1, column 10"
                .to_owned(),
        ),
    ] {
        let mut options = small();
        let people = file("people.json", rows);
        let folder = people.parent().unwrap().display().to_string();
        options.rows.insert("cursus_users".to_owned(), people);
        let error = Simulator::start(options).await.unwrap_err();
        // A row is a person's: the place of the fault is reported, not the value.
        let message = error.to_string();
        assert_eq!(message.replace(&format!("{folder}/"), ""), expected);
    }
    let mut options = small();
    options.rows.insert("campuses".to_owned(), PathBuf::new());
    let error = Simulator::start(options).await.unwrap_err().to_string();
    assert!(error.contains("campus_users"), "{error}");
}

#[tokio::test]
async fn the_quick_start_has_the_size_that_it_promises() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for (name, least) in [
        ("cursus", 54),
        ("campus", 25),
        ("projects", 938),
        ("achievements", 8_000),
        ("coalitions", 350),
        ("projects_users", 900),
        ("coalitions_users", 92_000),
    ] {
        assert!(simulator.rows(name).len() >= least, "{name}");
    }
}

#[tokio::test]
async fn rows_vanish_outright_only_if_wanted() {
    let options = Options {
        deletions_per_day: 40.0,
        ..small()
    };
    let simulator = Simulator::start(options).await.unwrap();
    for name in ["coalitions_users", "projects_users"] {
        let before = ids(&simulator.rows(name));
        simulator.advance(Duration::from_hours(24));
        let after = ids(&simulator.rows(name));
        assert!(before.iter().any(|id| !after.contains(id)), "{name}");
    }
}

#[tokio::test]
async fn levels_and_skills_move_without_a_date() {
    let simulator = Simulator::start(small()).await.unwrap();
    let before = simulator.rows("cursus_users");
    simulator.advance(Duration::from_hours(24 * 20));
    let after = simulator.rows("cursus_users");
    let changed = |key: &str| {
        let pairs = before.iter().zip(&after);
        let changed = pairs.filter(|(old, new)| {
            assert_eq!(old["id"], new["id"]);
            old[key] != new[key] && old["updated_at"] == new["updated_at"]
        });
        changed.map(|(old, _)| old).collect::<Vec<_>>()
    };
    for key in ["level", "skills"] {
        let changed = changed(key);
        assert!(!changed.is_empty(), "{key}");
        assert!(changed.iter().all(|row| row["end_at"].is_null()), "{key}");
    }

    let options = Options {
        undated: Undated::NONE,
        ..small()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let before = simulator.rows("cursus_users");
    simulator.advance(Duration::from_hours(240));
    let after = simulator.rows("cursus_users");
    for (old, new) in before.iter().zip(&after) {
        let is_dated = old["updated_at"] != new["updated_at"];
        assert!(is_dated || old["level"] == new["level"]);
    }
}

#[tokio::test]
async fn an_anonymised_person_is_nested_but_not_listed() {
    for staff in [false, true] {
        let options = Options { staff, ..small() };
        let api = Api::start(options).await;
        let enrolments = api.simulator.rows("projects_users");
        let id = enrolments[0]["user"]["id"].as_i64().unwrap();
        let people = api.simulator.rows("users");
        let person = people.iter().find(|row| row["id"] == id).unwrap();
        let earned = api.simulator.rows("achievements_users");
        let before = ["cursus_users", "projects_users"].map(|name| api.simulator.rows(name));
        let in_cursus = api.total("/v2/cursus/21/users").await;
        assert!(!api.simulator.anonymise(-1));
        assert!(api.simulator.anonymise(id));

        let listed = usize::from(staff);
        for path in ["/v2/users", "/v2/cursus/21/users"] {
            assert_eq!(api.total(&format!("{path}?filter[id]={id}")).await, listed);
        }
        assert_eq!(
            api.total("/v2/cursus/21/users").await,
            in_cursus - 1 + listed
        );
        let status = if staff { 200 } else { 404 };
        let login = person["login"].as_str().unwrap();
        let new = format!("3b3-{id:08x}");
        for (path, status) in [
            (format!("/v2/users/{id}"), status),
            (format!("/v2/users/{new}"), status),
            (format!("/v2/users/{id}/cursus_users"), status),
            (format!("/v2/users/{login}"), 404),
        ] {
            assert_eq!(api.status(&path).await, status, "{path}");
        }
        let known = api.simulator.rows("users").len();
        assert_eq!(
            known,
            people.len() - 1 + listed,
            "the truth is what is shown"
        );

        let names = ["cursus_users", "projects_users"];
        for (name, before) in names.iter().zip(before) {
            let rows = api.all(&format!("/v2/{name}?filter[user_id]={id}")).await;
            assert!(!rows.is_empty());
            for row in rows {
                let old = before.iter().find(|old| old["id"] == row["id"]).unwrap();
                assert_eq!(row["updated_at"], old["updated_at"]);
                let (user, old) = (&row["user"], &old["user"]);
                assert_eq!(user.as_object().unwrap().len(), 25);
                assert_eq!(user["login"], *new);
                assert_eq!(user["email"], format!("{new}@student.example"));
                assert_eq!(user["image"]["link"], Value::Null);
                assert_eq!(user["image"]["versions"]["micro"], Value::Null);
                assert_eq!(user["updated_at"], old["updated_at"]);
                assert!(!row.to_string().contains(&format!("\"{login}\"")));
            }
        }
        for (new_row, old) in api.simulator.rows("achievements_users").iter().zip(earned) {
            assert_eq!(new_row["updated_at"], old["updated_at"]);
            let is_theirs = new_row["user_id"] == id;
            assert_eq!(new_row["login"] == *new, is_theirs);
        }
    }
}

#[tokio::test]
async fn people_are_anonymised_now_and_then() {
    let simulator = Simulator::start(small()).await.unwrap();
    let before = simulator.rows("users").len();
    simulator.advance(Duration::from_hours(24));
    let after = simulator.rows("users").len();
    assert!(after >= before, "rarely: none of 80 in the first day");
    let nested = |simulator: &Simulator| {
        let rows = simulator.rows("cursus_users");
        let ids = rows.iter().map(|row| row["user"]["id"].as_i64().unwrap());
        ids.collect::<HashSet<_>>().len()
    };
    simulator.advance(Duration::from_hours(24 * 90));
    assert!(nested(&simulator) > simulator.rows("users").len());
}

#[tokio::test]
async fn enrolments_are_replaced_under_a_higher_id() {
    let simulator = Simulator::start(small()).await.unwrap();
    let before = simulator.rows("projects_users");
    let highest = before.last().unwrap()["id"].as_i64().unwrap();
    simulator.advance(Duration::from_hours(24 * 60));
    let after = simulator.rows("projects_users");
    let has = |rows: &[Value], key: &str, value: &Value| {
        let is_same = |row: &&Value| row.pointer(key) == value.pointer(key);
        rows.iter().filter(is_same).cloned().collect::<Vec<_>>()
    };
    let deleted = before
        .iter()
        .filter(|row| has(&after, "/id", row).is_empty());
    let deleted: Vec<&Value> = deleted.collect();
    assert!(!deleted.is_empty());
    for old in deleted {
        let theirs = has(&after, "/user/id", old);
        let new = has(&theirs, "/project/id", old);
        assert!(new.iter().any(|row| row["id"].as_i64().unwrap() > highest));
    }

    let id = after[0]["id"].as_i64().unwrap();
    let new = simulator.replace_enrolment(id).unwrap();
    assert_eq!(simulator.replace_enrolment(id), None);
    let rows = simulator.rows("projects_users");
    let row = rows.last().unwrap();
    assert_eq!(row["id"], new);
    assert_eq!(row["user"]["id"], after[0]["user"]["id"]);
    assert_eq!(row["project"], after[0]["project"]);
    assert_eq!(row["teams"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn teams_are_given_up_without_a_date() {
    let options = Options {
        undated: Undated {
            given_up: 0.02,
            ..Undated::default()
        },
        ..small()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let before = simulator.rows("projects_users");
    let unfinished =
        |row: &&Value| row["final_mark"].is_null() && row["current_team_id"] != Value::Null;
    let at = before.iter().position(|row| unfinished(&row)).unwrap();
    let id = before[at]["id"].as_i64().unwrap();
    assert!(simulator.give_up_team(id));
    assert!(!simulator.give_up_team(id));
    let teams = |row: &Value| row["teams"].as_array().unwrap().len();
    let row = &simulator.rows("projects_users")[at];
    assert_eq!(teams(row), teams(&before[at]) - 1);
    assert_eq!(row["current_team_id"], Value::Null);
    assert_eq!(row["updated_at"], before[at]["updated_at"]);

    let before = simulator.rows("projects_users");
    simulator.advance(Duration::from_hours(24 * 7));
    let after = simulator.rows("projects_users");
    let given_up = before.iter().filter(|old| {
        let new = after.iter().find(|new| new["id"] == old["id"]);
        new.is_some_and(|new| {
            new["updated_at"] == old["updated_at"]
                && new["current_team_id"].is_null()
                && !old["current_team_id"].is_null()
        })
    });
    assert!(given_up.count() > 0);
}
