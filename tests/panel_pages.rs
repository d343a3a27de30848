//! Pages of panels: which there are, what those of the shipped packs show, whatever people are called, and what is wrong with own ones.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::workdir::{NO_DATABASE, PATIENCE};
use crate::support::{Site, Workdir};

/// Pages of packs, with the packs that they need.
const PAGES: [&str; 4] = ["leaderboards", "logtime", "online", "upcoming"];

fn turn_on(workdir: &Workdir, packs: &str) {
    let text = format!("packs = {packs}\n{}", crate::support::workdir::PIPELINE);
    workdir.write("pipeline.toml", text);
}

/// A mirror with packs, which nothing was loaded into.
async fn mirror(packs: &str) -> Workdir {
    let workdir = Workdir::new().await;
    turn_on(&workdir, packs);
    workdir.cursus(["migrate"]).await.exits(0);
    workdir
}

/// The rows of a panel.
async fn rows(site: &Site, page: &str, file: &str) -> Vec<Value> {
    let document = site.document(&format!("/api/{page}.json")).await;
    let mut panels = document["panels"].as_array().unwrap().iter();
    let panel = panels.find(|panel| panel["file"].as_str().unwrap().ends_with(file));
    let panel = panel.unwrap_or_else(|| panic!("no {file}: {document}"));
    assert_eq!(panel["error"], Value::Null, "{panel}");
    panel["rows"].as_array().unwrap().clone()
}

fn assert_no_fault(document: &Value) {
    for panel in document["panels"].as_array().unwrap() {
        assert_eq!(panel["error"], Value::Null, "{panel}");
    }
}

const CAMPUS: &str = "
    INSERT INTO campuses (id, name, time_zone) VALUES (1, 'Quito', 'America/Guayaquil');
    INSERT INTO users (id, login, campus_id) SELECT n, 'login' || n, 1 FROM generate_series(1, 9) AS n;
";

#[tokio::test]
async fn pages_of_packs_are_there_when_their_tables_are() {
    let workdir = mirror("[]").await;
    let site = Site::of(&workdir).await;
    let entry = |page: &str| format!("href=\"/{page}\"");
    let absent = async |site: &Site, page: &str| {
        for path in [format!("/{page}"), "/calendar.ics".to_owned()] {
            let answer = site.ask(Method::GET, &path, &[]).await;
            assert_eq!(answer.status(), 404, "{path}");
            let text = answer.text().await.unwrap();
            assert!(text.contains("Back to the status"), "{text}");
        }
        let document = format!("/api/{page}.json");
        assert_eq!(site.status(&document, &[]).await, 404, "{document}");
        assert!(!site.page("/").await.contains(&entry(page)), "{page}");
    };
    for page in ["logtime", "online", "upcoming"] {
        absent(&site, page).await;
    }
    assert!(site.page("/").await.contains(&entry("leaderboards")));

    // On, and not made yet.
    turn_on(&workdir, "[\"locations\", \"exams\"]");
    let site = Site::of(&workdir).await;
    for page in ["logtime", "online", "upcoming"] {
        absent(&site, page).await;
    }
    workdir.cursus(["migrate"]).await.exits(0);
    let site = Site::of(&workdir).await;
    for page in PAGES {
        assert!(site.page("/").await.contains(&entry(page)), "{page}");
        let text = site.page(&format!("/{page}")).await;
        assert!(
            text.contains(&format!("{} aria-current=\"page\"", entry(page))),
            "{text}"
        );
        assert_no_fault(&site.document(&format!("/api/{page}.json")).await);
    }
    assert_eq!(site.status("/calendar.ics", &[]).await, 200);
}

#[tokio::test]
async fn online_and_logtime_show_sessions_on_a_plan() {
    let workdir = mirror("[\"locations\"]").await;
    workdir.query(CAMPUS).await;
    // A person in each of the three rows of two clusters, and machines that are free or not used any more.
    let sessions = "
        INSERT INTO locations (id, user_id, campus_id, host, begin_at, end_at)
        SELECT n, n, 1, 'e' || (1 + n / 4) || 'r' || (1 + n % 3) || 'p' || n, now() - interval '90 minutes', NULL FROM generate_series(1, 6) AS n
        UNION ALL SELECT 10, 7, 1, 'e1r2p12', noon, noon + interval '4 hours'
        FROM (SELECT ((now() AT TIME ZONE 'America/Guayaquil')::date - 5 + time '12:00') AT TIME ZONE 'America/Guayaquil' AS noon) AS noons
        UNION ALL SELECT 11, 8, 1, 'e9r1p1', now() - interval '90 days', now() - interval '90 days'
        UNION ALL SELECT 12, 8, 1, 'laptop', now() - interval '2 days', now() - interval '2 days' + interval '1 hour';
    ";
    workdir.query(sessions).await;
    for derive in [
        include_str!("../packs/locations/sql/logtime_days.sql"),
        include_str!("../packs/locations/sql/open_sessions.sql"),
    ] {
        workdir.query(derive).await;
    }
    // Of a campus whose day has begun before that of the page, across the begin of the latter.
    let other = "
        INSERT INTO logtime_days (user_id, campus_id, day, parts, duration, sessions)
        SELECT 9, 2, day, tstzmultirange(tstzrange(midnight - interval '1 hour', midnight + interval '1 hour')), '2 hours', 1
        FROM (SELECT (now() AT TIME ZONE 'America/Guayaquil')::date - 29 AS day) AS days
        CROSS JOIN LATERAL (SELECT day::timestamp AT TIME ZONE 'America/Guayaquil' AS midnight) AS of_page;
    ";
    workdir.query(other).await;
    let site = Site::of(&workdir).await;
    let seats = rows(&site, "online", "20-map.sql").await;
    let seat = |host: &str| {
        let found = seats.iter().find(|seat| seat[3] == host);
        found.map(|seat| [0, 1, 2, 4].map(|at| seat[at].as_str().unwrap_or("").to_owned()))
    };
    let of = |texts: [&str; 4]| Some(texts.map(str::to_owned));
    assert_eq!(seats.len(), 8, "{seats:?}");
    assert_eq!(seat("e1r2p1"), of(["e1", "r2", "p1", "login1"]));
    assert_eq!(seat("e2r2p4"), of(["e2", "r2", "p4", "login4"]));
    assert_eq!(seat("e1r2p12"), of(["e1", "r2", "p12", ""]));
    assert_eq!(seat("laptop"), of(["other machines", "", "laptop", ""]));
    assert_eq!(seat("e9r1p1"), None);
    let page = site.page("/online").await;
    // In a row of its cluster, by the number of the seat, with what is free and what is not there.
    let row = "<tr><th scope=\"row\">r2</th><td class=\"t\" title=\"e1r2p1, login1, since ";
    assert!(page.contains(row), "{page}");
    let rest = "\">login1</td><td class=\"n\"></td><td class=\"n\"></td><td>free</td></tr>";
    assert!(page.contains(rest), "{page}");
    assert!(page.contains("e1 <small>3 of 4 taken</small>"), "{page}");
    let glance = rows(&site, "online", "10-glance.sql").await;
    assert_eq!(glance[0][1], json!("6"), "{glance:?}");
    assert!(page.contains("America/Guayaquil"), "{page}");

    // The average of four weeks: an hour of a person is a quarter.
    let heat = rows(&site, "logtime", "10-week.sql").await;
    assert_eq!(heat.len(), 7 * 24);
    let value = |row: &Value| row[2].as_str().unwrap().parse::<f64>().unwrap();
    let all: f64 = heat.iter().map(value).sum();
    // 4 hours and 1 hour, cut to tenths in each cell.
    assert!((all - 5.0 / 4.0).abs() < 0.5, "{all}");
    let board = rows(&site, "leaderboards", "40-logtime.sql").await;
    assert_eq!(board[0], json!(["login7", "4.0", "1 day"]));
    let page = site.page("/logtime").await;
    assert!(
        page.contains("<th scope=\"row\">Mon</th><td class=\"h"),
        "{page}"
    );

    // Here today on a campus where it is another date than on the page.
    let elsewhere = "
        INSERT INTO campuses (id, name, time_zone)
        SELECT 2, 'Far', CASE WHEN (now() AT TIME ZONE 'America/Guayaquil')::time < '06:00' THEN 'Etc/GMT+12' ELSE 'Etc/GMT-14' END;
        INSERT INTO locations (id, user_id, campus_id, host, begin_at) VALUES (13, 9, 2, 'f1r1s1', now() - interval '1 minute');
    ";
    workdir.query(elsewhere).await;
    let site = Site::of(&workdir).await;
    let glance = rows(&site, "online", "10-glance.sql").await;
    assert_eq!(glance[2], json!(["here today", "7", null, null]));
}

#[tokio::test]
async fn upcoming_is_a_page_and_a_calendar() {
    let workdir = mirror("[\"events\", \"exams\"]").await;
    workdir.query(CAMPUS).await;
    let dates = "
        INSERT INTO exams (id, name, location, begin_at, end_at, max_people, nbr_subscribers, campus_id) VALUES
            (7, 'Exam; Rank 02, a\\b', 'c1,c2', '2099-12-01 10:00Z', '2099-12-01 14:00Z', 40, 38, 1),
            (8, 'Over', 'c1', '2001-12-01 10:00Z', '2001-12-01 14:00Z', 40, 38, 1),
            (9, 'Over', 'c1', '2001-12-01 10:00Z', NULL, 40, 38, 1),
            (6, 'No end', NULL, '2099-12-02 10:00Z', NULL, NULL, 1, 1);
        INSERT INTO events (id, name, kind, begin_at, end_at, nbr_subscribers)
        VALUES (7, E'Two\\nlines', 'meet_up', '2099-12-01 03:00Z', '2099-12-03 03:00Z', 3);
    ";
    workdir.query(dates).await;
    let site = Site::of(&workdir).await;
    let page = site.page("/upcoming").await;
    // By the clock of the campus, five hours behind UTC.
    assert!(page.contains("Tuesday, 1 December 2099"), "{page}");
    assert!(
        page.contains("05:00–09:00") && page.contains("2 of 40 places left"),
        "{page}"
    );
    assert!(page.contains("Monday, 30 November 2099"), "{page}");
    assert!(
        !page.contains("Over") && page.contains("href=\"/calendar.ics\""),
        "{page}"
    );
    let answer = site.ask(Method::GET, "/calendar.ics", &[]).await;
    assert_eq!(
        answer.headers()["content-type"],
        "text/calendar; charset=utf-8"
    );
    let text = answer.text().await.unwrap();
    let stamp = text.find("DTSTAMP:").map(|at| &text[at..at + 24]).unwrap();
    let version = text.lines().nth(2).unwrap();
    let expected = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        version,
        "CALSCALE:GREGORIAN",
        "X-WR-CALNAME:Quito",
        "BEGIN:VEVENT",
        "UID:event-7@cursus",
        stamp,
        "DTSTART:20991201T030000Z",
        "DTEND:20991203T030000Z",
        "SUMMARY:Two\\nlines",
        "CATEGORIES:meet up",
        "DESCRIPTION:3 subscribed",
        "END:VEVENT",
        "BEGIN:VEVENT",
        "UID:exam-7@cursus",
        stamp,
        "DTSTART:20991201T100000Z",
        "DTEND:20991201T140000Z",
        "SUMMARY:Exam\\; Rank 02\\, a\\\\b",
        "LOCATION:c1\\,c2",
        "CATEGORIES:exam",
        "DESCRIPTION:2 of 40 places left",
        "END:VEVENT",
        "BEGIN:VEVENT",
        "UID:exam-6@cursus",
        stamp,
        "DTSTART:20991202T100000Z",
        "SUMMARY:No end",
        "CATEGORIES:exam",
        "DESCRIPTION:1 registered",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    ];
    assert_eq!(text.split("\r\n").collect::<Vec<_>>(), expected);

    workdir.write("token", "a-token-which-is-long-enough-to-be-one");
    std::fs::set_permissions(workdir.path("token"), PermissionsExt::from_mode(0o600)).unwrap();
    let guarded = Site::with(&workdir, &["--token-file", "token"]).await;
    for path in ["/calendar.ics", "/upcoming", "/api/upcoming.json"] {
        assert_eq!(guarded.status(path, &[]).await, 401, "{path}");
    }
    // One that fails takes nothing away from who has subscribed.
    let panel =
        "-- title: Mine\n-- chart: calendar\nSELECT 1 / 0 AS id, 'x' AS label, now() AS begin_at";
    workdir.write("sql/pages/upcoming/40-mine.sql", panel);
    let site = Site::of(&workdir).await;
    let answer = site.ask(Method::GET, "/calendar.ics", &[]).await;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.contains("upcoming/40-mine.sql"), "{text}");
}

#[tokio::test]
async fn large_hostile_campus_fits_the_pages() {
    let workdir = mirror("[\"locations\", \"events\", \"exams\", \"blocs\"]").await;
    let people = "
        INSERT INTO campuses (id, name, time_zone) VALUES (1, '<script>alert(1)</script>', 'Europe/Paris');
        INSERT INTO cursus (id, name) VALUES (21, '42cursus');
        INSERT INTO users (id, login, displayname, campus_id, cursus_id, kind, pool_year, pool_month)
        SELECT n, '\"><img src=x onerror=alert(1)>' || n, repeat('\"', 500), 1, 21, 'student', '2025', 'july' FROM generate_series(1, 10000) AS n;
        INSERT INTO cursus_users (id, user_id, cursus_id, level, grade, begin_at)
        SELECT n, n, 21, n % 2100 / 100.0, repeat('<b>', 200), now() - interval '1 year' FROM generate_series(1, 10000) AS n;
        INSERT INTO locations (id, user_id, campus_id, host, begin_at)
        SELECT n, n, 1, 'c' || (1 + n / 200) || 'r' || (1 + n % 200 / 16) || 's' || (1 + n % 16), now() - interval '2 hours' FROM generate_series(1, 1000) AS n;
        INSERT INTO locations (id, user_id, campus_id, host, begin_at, end_at)
        SELECT 10000 + n, n, 1, 'c1r1s1', now() - interval '30 days' * random(), now() - interval '1 hour' FROM generate_series(1, 10000) AS n;
        INSERT INTO logtime_days (user_id, campus_id, day, parts, duration, sessions)
        SELECT n, 1, current_date - back, tstzmultirange(tstzrange(current_date - back + interval '8 hours', current_date - back + interval '15 hours')), '7 hours', 1
        FROM generate_series(1, 5000) AS n, generate_series(1, 14) AS back;
        INSERT INTO exams (id, name, location, begin_at, end_at, campus_id)
        SELECT n, repeat('\"<i>', 200), repeat('''&', 200), now() + n * interval '1 hour', now() + n * interval '1 hour' + interval '3 hours', 1 FROM generate_series(1, 400) AS n;
        INSERT INTO events (id, name, kind, location, begin_at, end_at)
        SELECT id, name, repeat('<', 500), location, begin_at, end_at FROM exams;
        INSERT INTO coalitions (id, name, score, color) SELECT n, repeat('\"', 500), n, repeat('f', 900) FROM generate_series(1, 30) AS n;
        INSERT INTO blocs (id, campus_id, cursus_id) VALUES (1, 1, 21);
        INSERT INTO blocs_coalitions (bloc_id, coalition_id) SELECT 1, id FROM coalitions;
        ANALYZE;
    ";
    workdir.query(people).await;
    let derive = include_str!("../packs/locations/sql/open_sessions.sql");
    workdir.query(derive).await;
    let site = Site::of(&workdir).await;
    for name in PAGES {
        // It is refused there if it is larger than 60 kB.
        let page = site.page(&format!("/{name}")).await;
        assert_no_fault(&site.document(&format!("/api/{name}.json")).await);
        for raw in ["<script>", "<img", "<b>", "<i>"] {
            assert!(!page.contains(raw), "{name}: {raw}");
        }
    }
    let online = site.page("/online").await;
    assert!(online.contains("places are left out"), "{online}");
    assert_eq!(online.matches("<td class=\"t\"").count(), 1000);
    let upcoming = site.page("/upcoming").await;
    assert!(upcoming.matches(" more</p>").count() == 2, "{upcoming}");
    // A campus of usual names has all of them on the plan.
    workdir
        .query("UPDATE users SET login = 'login' || id")
        .await;
    let site = Site::of(&workdir).await;
    let online = site.page("/online").await;
    assert!(
        !online.contains("left out") && online.contains(">login1000<"),
        "{online}"
    );
}

#[tokio::test]
async fn a_database_that_is_away_at_the_start_hides_no_page() {
    let mut workdir = mirror("[\"exams\"]").await;
    workdir.set("CURSUS_DATABASE_URL", NO_DATABASE);
    let site = Site::of(&workdir).await;
    let page = site.page("/upcoming").await;
    assert!(page.contains("cannot be read since"), "{page}");
    assert_eq!(site.status("/calendar.ics", &[]).await, 503);
}

/// A pack of one's own with a page, and with what is wrong.
fn own_pack(workdir: &Workdir) {
    workdir.write("packs/mine/pack.toml", "[pack]\ndescription = \"mine\"\n");
    let head = "-- title: x\n-- chart: bars\n";
    for (file, text) in [
        ("desk/10-good.sql", "-- title: Good\n-- chart: map\nSELECT 'hall' AS zone, 'A' AS \"row\", 1 AS seat, 'A1' AS label, 'jdoe' AS text".to_owned()),
        ("desk/20-kind.sql", "-- title: x\n-- chart: pie\nSELECT 1".to_owned()),
        ("desk/30-two.sql", format!("{head}SELECT 'a' AS label, 1 AS value; DROP TABLE users;")),
        ("desk/40-column.sql", format!("{head}SELECT 'a' AS label")),
        ("desk/50-time.sql", "-- title: x\n-- chart: calendar\nSELECT 1 AS id, 'x' AS label, 'soon' AS begin_at".to_owned()),
        ("desk/60-write.sql", format!("{head}SELECT 'a' AS label, nextval('counter') AS value")),
        ("Desk/10-x.sql", head.to_owned()),
        ("runs/10-x.sql", head.to_owned()),
        ("20-x.sql", head.to_owned()),
        // Its document would be that of the program.
        ("status/10-x.sql", head.to_owned()),
        // A page of the program has a panel of this name.
        ("campus/10-glance.sql", head.to_owned()),
    ] {
        workdir.write(&format!("packs/mine/pages/{file}"), text);
    }
}

const FAULTS: [(&str, &str); 4] = [
    ("desk/20-kind.sql", "`chart` is one of bars, calendar, "),
    ("desk/30-two.sql", "a file holds one SELECT"),
    ("desk/40-column.sql", "gives no column `value`"),
    ("desk/50-time.sql", "its column `begin_at` is no time"),
];

#[tokio::test]
async fn own_pages_of_a_pack_work_and_say_what_is_wrong() {
    let workdir = Workdir::new().await;
    own_pack(&workdir);
    workdir.write("packs/mine/pages/desk/plan.png", b"\x89PNG\xff");
    workdir.write("packs/mine/pages/desk/old/10-x.sql", "SELECT");
    turn_on(&workdir, "[\"mine\"]");
    workdir.cursus(["migrate"]).await.exits(0);
    workdir.query("CREATE SEQUENCE counter").await;
    let shown = workdir.json(["pack", "show", "mine"]).await;
    assert!(
        shown["files"]["pages/desk/10-good.sql"].is_string(),
        "{shown}"
    );

    // At the start, each in a sentence.
    let mut command = workdir.command(["serve", "--listen", "127.0.0.1:0"]);
    let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut expected: Vec<&str> = FAULTS.iter().map(|(_, sentence)| *sentence).collect();
    expected.extend([
        "rename the folder `Desk`",
        "/runs is a page already",
        "the folder `status`",
        "pages/20-x.sql belongs to no page",
        "another panel of this name",
    ]);
    let said = async {
        while !expected.is_empty() {
            let line = lines.next_line().await.unwrap().unwrap();
            expected.retain(|sentence| !line.contains(sentence));
        }
    };
    tokio::time::timeout(PATIENCE, said).await.unwrap();
    process.kill().await.unwrap();

    // And in the place of its panel, beside those that work.
    let site = Site::of(&workdir).await;
    let page = site.page("/desk").await;
    assert!(
        page.contains("<h1>Desk</h1>") && page.contains(">jdoe</td>"),
        "{page}"
    );
    let document = site.document("/api/desk.json").await;
    for (file, sentence) in FAULTS
        .into_iter()
        .chain([("desk/60-write.sql", "SQLSTATE 25006")])
    {
        let mut panels = document["panels"].as_array().unwrap().iter();
        let panel = panels
            .find(|panel| panel["file"].as_str().unwrap().ends_with(file))
            .unwrap();
        let error = panel["error"].as_str().unwrap_or_else(|| panic!("{panel}"));
        assert!(error.contains(sentence), "{error}");
        assert!(page.contains(&error.replace('"', "&quot;")), "{error}");
    }
    // One of a page of the program adds to it, and takes nothing away.
    let campus = site.page("/campus").await;
    assert!(
        campus.contains("At a glance") && campus.contains("another panel of this name"),
        "{campus}"
    );
    assert!(site.page("/runs").await.contains("<h1>Runs</h1>"));
}

#[tokio::test]
async fn folders_beside_the_configuration_are_pages() {
    let workdir = mirror("[\"exams\"]").await;
    let panel = "-- title: Mine\n-- chart: figures\nSELECT current_setting('TimeZone') AS label, 1 AS value";
    workdir.write("sql/pages/my-page/10-mine.sql", panel);
    // Of every page.
    workdir.write(
        "sql/pages/00-zone.sql",
        "-- title: Zone\n-- chart: zone\nSELECT 'us' AS label, 'Asia/Tokyo' AS value",
    );
    workdir.write("sql/pages/upcoming/20-exams.sql", "\n");
    let site = Site::of(&workdir).await;
    let page = site.page("/my-page").await;
    assert!(
        page.contains("<h1>My page</h1>") && page.contains("Asia/Tokyo</dt>"),
        "{page}"
    );
    // All panels of the pack's page are taken away: the page is, too.
    assert_eq!(site.status("/upcoming", &[]).await, 404);
    assert!(site.page("/campus").await.contains("Asia/Tokyo"));
}
