//! The campus page: what SQL finds in the mirror, as pictures, whatever people are called.

use serde_json::Value;

use crate::support::{Site, Workdir, simulator};

/// The page, and the document that it is made of.
async fn campus(site: &Site) -> (String, Value) {
    (
        site.page("/campus").await,
        site.document("/api/campus.json").await,
    )
}

/// The panel of a file.
fn panel<'d>(document: &'d Value, file: &str) -> &'d Value {
    let mut panels = document["panels"].as_array().unwrap().iter();
    let file = format!("sql/pages/campus/{file}");
    let found = panels.find(|panel| panel["file"] == file.as_str());
    found.unwrap_or_else(|| panic!("no {file}: {document}"))
}

/// The rows of a panel, as the values of these columns.
fn rows(document: &Value, file: &str, columns: &[&str]) -> Vec<Vec<Option<String>>> {
    let panel = panel(document, file);
    assert_eq!(panel["error"], Value::Null, "{panel}");
    let names = panel["columns"].as_array().unwrap();
    let at = |name: &&str| {
        names
            .iter()
            .position(|column| column["name"] == *name)
            .unwrap()
    };
    let at: Vec<usize> = columns.iter().map(at).collect();
    let rows = panel["rows"].as_array().unwrap().iter();
    let rows = rows.map(|row| {
        at.iter()
            .map(|at| row[*at].as_str().map(str::to_owned))
            .collect()
    });
    rows.collect()
}

/// Work of the last days, whatever the simulator made of its time: of each person of the mirror the first project is in progress and
/// has not changed for as many days as the person has in the order of ids, and others are marked.
const RECENT: &str = "
    UPDATE projects_users SET status = 'finished', validated = id % 3 > 0, final_mark = id % 126,
        marked_at = now() - (id % 50) * interval '1 day', updated_at = now() - (id % 50) * interval '1 day';
    UPDATE projects_users SET status = 'in_progress', validated = NULL, final_mark = NULL, marked_at = NULL,
        updated_at = now() - interval '40 days'
    WHERE user_id IN (SELECT id FROM users ORDER BY id LIMIT 3);
    UPDATE cursus_users SET end_at = NULL, blackholed_at = now() + interval '3 days' WHERE id % 2 = 0;
    UPDATE cursus_users SET end_at = now() - interval '3 days' WHERE id % 2 = 1 AND user_id NOT IN (SELECT id FROM users ORDER BY id LIMIT 3);
    UPDATE cursus_users SET level = 4.25 WHERE id % 2 = 0;
    UPDATE users SET location = CASE WHEN id % 2 = 0 THEN 'c2r1s' || id % 10 END;
";

#[tokio::test]
async fn campus_page_shows_what_sql_finds() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    workdir.query(RECENT).await;
    let (page, document) = campus(&Site::of(&workdir).await).await;
    for panel in document["panels"].as_array().unwrap() {
        assert_eq!(panel["error"], Value::Null, "{panel}");
    }

    let glance = rows(&document, "10-glance.sql", &["label", "value"]);
    for (label, query) in [
        ("students", "SELECT count(*) FROM users"),
        (
            "ongoing enrolments",
            "SELECT count(*) FROM cursus_users WHERE end_at IS NULL",
        ),
        ("at a computer", "SELECT count(location) FROM users"),
        (
            "projects in progress",
            "SELECT count(DISTINCT (user_id, project_id)) FROM projects_users WHERE status = 'in_progress'",
        ),
        ("waiting for evaluation", "SELECT 0"),
        (
            "passed in 7 days",
            "SELECT count(*) FROM projects_users WHERE validated AND marked_at >= now() - interval '7 days'",
        ),
    ] {
        let expected = workdir.number(query).await.to_string();
        let found = glance.iter().find(|row| row[0].as_deref() == Some(label));
        assert_eq!(
            found.unwrap()[1].as_deref(),
            Some(expected.as_str()),
            "{label}"
        );
        assert!(page.contains(label), "{label}");
    }

    let levels = "SELECT level::text, count(*) FILTER (WHERE end_at IS NULL AND floor(cursus_users.level) = n.level AND user_id IN (SELECT id FROM users))::text
        FROM generate_series(0, (SELECT floor(max(level))::int FROM cursus_users WHERE end_at IS NULL AND user_id IN (SELECT id FROM users))) AS n (level), cursus_users
        GROUP BY n.level ORDER BY n.level";
    let levels = levels.replace("SELECT level::text", "SELECT n.level::text");
    assert_eq!(
        rows(&document, "30-levels.sql", &["label", "value"]),
        workdir.query(&levels).await
    );

    let activity = rows(&document, "20-activity.sql", &["label", "value"]);
    let days = activity
        .iter()
        .map(|row| row[1].as_deref().unwrap().parse::<i64>().unwrap());
    assert_eq!(activity.len(), 56);
    let marks = "SELECT count(*) FROM projects_users WHERE marked_at > now() - interval '55 days'";
    assert_eq!(days.sum::<i64>(), workdir.number(marks).await);

    let ended = "SELECT count(*)::text FROM cursus_users WHERE end_at > now() - interval '1 year'";
    let enrolments = rows(&document, "40-enrolments.sql", &["value"]);
    assert_eq!(enrolments[4..5], workdir.query(ended).await[..]);
    let people = enrolments
        .iter()
        .map(|row| row[0].as_deref().unwrap().parse::<i64>().unwrap());
    assert_eq!(
        people.sum::<i64>(),
        workdir.number("SELECT count(*) FROM cursus_users").await
    );

    let leaders = "SELECT name, score::text FROM coalitions WHERE id IN (SELECT coalition_id FROM coalitions_users
        WHERE user_id IN (SELECT id FROM users)) ORDER BY coalitions.score DESC NULLS LAST, id LIMIT 8";
    assert_eq!(
        rows(&document, "50-coalitions.sql", &["label", "value"]),
        workdir.query(leaders).await
    );

    let newest = "SELECT u.displayname, e.final_mark::text FROM projects_users e LEFT JOIN users u ON u.id = e.user_id
        WHERE validated AND marked_at > now() - interval '30 days' AND u.id IS NOT NULL ORDER BY marked_at DESC, e.id DESC LIMIT 1";
    let passed = rows(&document, "70-passed.sql", &["student", "mark"]);
    assert!(passed.len() <= 10);
    if let Some(first) = workdir.query(newest).await.into_iter().next() {
        let of_people = passed
            .iter()
            .find(|row| !row[0].as_deref().unwrap().starts_with("user "));
        assert!(of_people.is_none_or(|row| *row == first), "{passed:?}");
    }

    let stuck = rows(&document, "80-stuck.sql", &["student", "days"]);
    assert!(!stuck.is_empty());
    for row in &stuck {
        assert_eq!(row[1].as_deref(), Some("40"));
        assert!(page.contains(row[0].as_deref().unwrap()));
    }

    let seats = rows(&document, "95-online.sql", &["label", "value"]);
    let online = workdir
        .query("SELECT 'c2', count(location)::text FROM users")
        .await;
    assert_eq!(seats, online);
    assert!(page.len() < 60_000, "{} bytes", page.len());
}

#[tokio::test]
async fn hostile_names_are_text_on_the_campus_page() {
    const HOSTILE: [&str; 4] = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "\u{202e}drow\u{1b}[31m",
        "javascript:alert(1)",
    ];
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    workdir.query(RECENT).await;
    for (number, name) in HOSTILE.iter().enumerate() {
        let name = name.replace('\'', "''");
        let set = format!(
            "UPDATE users SET displayname = '{name}', login = '{name}', location = '{name}' WHERE id % 5 = {number};
            UPDATE projects SET name = '{name}' WHERE id % 5 = {number};
            UPDATE coalitions SET name = '{name}', color = '{name}' WHERE id % 5 = {number}"
        );
        workdir.query(&set).await;
    }
    let long = "UPDATE users SET displayname = repeat('x', 10000), login = displayname WHERE id % 5 = 4;
        UPDATE projects SET name = repeat('long ', 2000) WHERE id % 5 = 4;
        UPDATE coalitions SET name = repeat('x', 10000), color = repeat('f', 10000) WHERE id % 5 = 4;
        UPDATE campuses SET name = '<script>alert(2)</script>', time_zone = '<script>alert(3)</script>'";
    workdir.query(long).await;
    let (page, document) = campus(&Site::of(&workdir).await).await;
    for panel in document["panels"].as_array().unwrap() {
        assert_eq!(panel["error"], Value::Null, "{panel}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    for raw in [
        "<script>",
        "<img",
        "javascript:alert(1)\"",
        "\u{202e}",
        "\u{1b}",
        "alert(3)",
    ] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(!page.contains(&"x".repeat(400)));
    assert!(page.len() < 60_000, "{} bytes", page.len());
}

#[tokio::test]
async fn empty_mirror_says_how_each_panel_is_filled() {
    let workdir = Workdir::new().await;
    workdir.cursus(["migrate"]).await.exits(0);
    let (page, document) = campus(&Site::of(&workdir).await).await;
    for panel in document["panels"].as_array().unwrap() {
        assert_eq!(panel["error"], Value::Null, "{panel}");
        assert_eq!(panel["rows"], serde_json::json!([]), "{panel}");
    }
    assert!(page.matches("`cursus run`").count() > 5, "{page}");
    assert!(!page.contains("<svg class=\"bar\""));
}

#[tokio::test]
async fn own_panels_add_replace_and_take_away_and_fail_alone() {
    let workdir = Workdir::new().await;
    workdir.cursus(["migrate"]).await.exits(0);
    workdir.pipeline(&[]);
    workdir
        .query("INSERT INTO users (id, login) VALUES (1, 'hunter2'); CREATE SEQUENCE counter")
        .await;
    let files = [
        (
            "10-glance.sql",
            "-- title: Mine\n-- chart: figures\nSELECT 'people' AS label, count(*) AS value FROM users;\n",
        ),
        ("20-activity.sql", "\n"),
        (
            "97-new.sql",
            "-- title: New\n-- chart: table\nSELECT id AS person, '/runs' AS link FROM users",
        ),
        ("a-header.sql", "-- titel: x\n-- chart: bars\nSELECT 1"),
        (
            "a-column.sql",
            "-- title: x\n-- chart: bars\nSELECT nothing AS label, 1 AS value FROM users",
        ),
        (
            "a-value.sql",
            "-- title: x\n-- chart: bars\nSELECT login AS label, login::int AS value FROM users",
        ),
        (
            "a-slow.sql",
            "-- title: x\n-- chart: bars\nSELECT 'x' AS label, 1 AS value FROM pg_sleep(60)",
        ),
        (
            "a-write.sql",
            "-- title: x\n-- chart: bars\nSELECT 'x' AS label, nextval('counter') AS value",
        ),
        ("notes.txt", "no panel"),
    ];
    for (file, text) in files {
        workdir.write(&format!("sql/pages/campus/{file}"), text);
    }
    let (page, document) = campus(&Site::of(&workdir).await).await;
    let one = vec![vec![Some("people".to_owned()), Some("1".to_owned())]];
    assert_eq!(rows(&document, "10-glance.sql", &["label", "value"]), one);
    assert!(
        page.contains("<a href=\"/runs\">1</a>") || page.contains(">1<"),
        "{page}"
    );
    let all = document["panels"].to_string();
    assert!(
        !all.contains("20-activity") && !all.contains("notes.txt"),
        "{all}"
    );
    for (file, sentence) in [
        ("a-header.sql", "did you mean `title`"),
        ("a-column.sql", "column \"nothing\" does not exist"),
        ("a-value.sql", "SQLSTATE 22P02"),
        ("a-slow.sql", "was stopped after 5 s"),
        ("a-write.sql", "SQLSTATE 25006"),
    ] {
        let panel = panel(&document, file);
        let error = panel["error"].as_str().unwrap_or_else(|| panic!("{panel}"));
        assert!(error.contains(sentence), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(page.contains(&error.replace('"', "&quot;")), "{error}");
    }
    // The panels after them are read.
    assert_eq!(rows(&document, "97-new.sql", &["person"]).len(), 1);
}

#[tokio::test]
async fn days_are_those_of_the_only_campus() {
    let workdir = Workdir::new().await;
    workdir.cursus(["migrate"]).await.exits(0);
    let set_up = "INSERT INTO campuses (id, name, time_zone) VALUES (1, 'Kiritimati', 'Pacific/Kiritimati'), (2, 'Midway', 'Pacific/Midway');
        INSERT INTO users (id, campus_id) VALUES (1, 1), (2, NULL);
        INSERT INTO projects_users (id, user_id, project_id, validated, marked_at, updated_at) VALUES (1, 1, 1, true, now(), now())";
    workdir.query(set_up).await;
    for (zone, change) in [
        (
            "Pacific/Kiritimati",
            "INSERT INTO users (id, campus_id) VALUES (3, 2)",
        ),
        ("UTC", "DELETE FROM users WHERE id = 1"),
        (
            "Pacific/Midway",
            "UPDATE campuses SET time_zone = 'nowhere'",
        ),
        ("UTC", "SELECT"),
    ] {
        let (page, document) = campus(&Site::of(&workdir).await).await;
        assert_eq!(document["zone"]["name"], zone, "{document}");
        assert!(page.contains(zone), "{page}");
        let today = format!("SELECT to_char(now() AT TIME ZONE '{zone}', 'FMDD Mon'), '1'");
        let days = rows(&document, "20-activity.sql", &["label", "value"]);
        assert_eq!(days[55..], workdir.query(&today).await[..]);
        workdir.query(change).await;
    }
}
