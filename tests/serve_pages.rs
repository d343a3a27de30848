//! What each page of `serve` is, as HTML: a change of a page is seen in a snapshot.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::snapshot;
use crate::support::workdir::PIPELINE;
use crate::support::{Site, Workdir, simulator};

/// What waits for a decision, one of each kind. The keys are in no page.
const WAITING: &str = "
    INSERT INTO pipeline.quarantine (schema_name, run_id, resource, table_name, file, record_index, key, column_name, code, reason)
    SELECT 'public', '20261130T041500Z', 'users', 'users', 'users/page-1.json.gz', n, '{\"id\": 4242}', 'wallet', 'type', 'the value is no bigint'
    FROM generate_series(1, 2) AS n;
    INSERT INTO pipeline.prune_candidate (schema_name, run_id, resource, table_name, key, reason, referred_by)
    SELECT 'public', '20261130T041500Z', 'users', 'users', '{\"id\": 4242}'::jsonb, 'absent from a complete read', NULL UNION ALL
    SELECT 'public', '20261130T041500Z', 'cursus', 'cursus', '{\"id\": 4242}', 'absent from a complete read', 'cursus_users';
    INSERT INTO pipeline.drift (schema_name, run_id, resource, path, kind)
    SELECT 'public', '20261130T041500Z', 'users', '/badge', kind FROM unnest(ARRAY['new', 'type', 'gone']) AS kind;
";

/// A panel of each chart; other shipped ones are taken away.
const PANELS: [(&str, &str); 8] = [
    (
        "00-zone.sql",
        "-- title: Zone\n-- chart: zone\nSELECT 'Paris' AS label, 'Europe/Paris' AS value",
    ),
    (
        "10-glance.sql",
        "-- title: Figures\n-- chart: figures\n-- width: full\nSELECT 'students' AS label, 1234 AS value, 'a note' AS note, 'warning' AS tone",
    ),
    (
        "30-levels.sql",
        "-- title: Levels\n-- chart: columns\n-- unit: students\nSELECT n AS label, n * n AS value FROM generate_series(0, 3) AS n",
    ),
    (
        "40-enrolments.sql",
        "-- title: Enrolments\n-- chart: bars\n-- caption: A sentence.\nSELECT '<b>' AS label, 3 AS value, '#00babc' AS colour, '/runs' AS link",
    ),
    (
        "70-passed.sql",
        "-- title: Passed\n-- chart: table\nSELECT 'jdoe' AS student, 100 AS mark, 'ok' AS state, 'ok' AS tone",
    ),
    (
        "75-map.sql",
        "-- title: Map\n-- chart: map\nSELECT 'c1' AS zone, 'r1' AS \"row\", seat, 'c1r1' || seat AS label, text, note, tone \
        FROM (VALUES ('s10', NULL, NULL, NULL), ('s2', 'jdoe', 'since 10:00', 'warning')) AS seats (seat, text, note, tone)",
    ),
    (
        "76-heat.sql",
        "-- title: Heat\n-- chart: heat\nSELECT day AS \"row\", hour AS \"column\", hour * 10 AS value \
        FROM (VALUES ('Mon'), ('Tue')) AS days (day), generate_series(0, 2) AS hour",
    ),
    (
        "77-calendar.sql",
        "-- title: Coming\n-- chart: calendar\nSELECT 1 AS id, '<b>' AS label, '2099-12-01 10:00Z'::timestamptz AS begin_at, \
        '2099-12-01 12:00Z'::timestamptz AS end_at, 'c1' AS place, 'exam' AS text, 'warning' AS tone",
    ),
];
const TAKEN_AWAY: [&str; 6] = [
    "20-activity.sql",
    "50-coalitions.sql",
    "60-projects.sql",
    "80-stuck.sql",
    "90-highest.sql",
    "95-online.sql",
];

/// A page without what differs: one element a line, no hash in the names of files, no figure of this machine, and of the charts of days
/// and hours, which have snapshots of their own, the frame alone.
fn lines(page: &str) -> String {
    let mut page = page.to_owned();
    for id in ["days", "requests", "figures"] {
        let start = format!("<figure id=\"{id}\"");
        if let Some(from) = page.find(&start) {
            let to = from + page[from..].find("</figure>").unwrap();
            page.replace_range(from + start.len()..to, ">[CHART]");
        }
    }
    page.replace('<', "\n<").replace("\n</", "</")
}

#[track_caller]
pub(crate) fn assert_page(name: &str, workdir: &Workdir, page: &str) {
    let mut settings = snapshot::settings(workdir);
    settings.set_snapshot_path("snapshots");
    for (pattern, stands) in [
        (r"-[0-9a-f]{8,}\.(css|js|svg)", "-[HASH].$1"),
        (r"cursus \d+\.\d+\.\d+", "cursus [VERSION]"),
        (r"older than <time", "older than\n<time"),
        (r#"datetime="[^"]*""#, r#"datetime="[TIME]""#),
        (r">\d\d:\d\dZ<", ">[TIME]<"),
        (r"20\d\d-\d\d-\d\dT[\d:.]+Z", "[TIME]"),
        (r"database \w+, schema", "database [DATABASE], schema"),
        (r"role \w+", "role [ROLE]"),
        // Of the oldest, which is seconds old.
        (r#" width="[\d.]+%""#, r#" width="[WIDTH]""#),
    ] {
        settings.add_filter(pattern, stands);
    }
    settings.bind(|| insta::assert_snapshot!(name, lines(page)));
}

#[tokio::test]
async fn pages_of_a_mirror_read_as_expected() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let ran = workdir.json(["run", "--select", "cursus,users"]).await;
    let run = ran["run_id"].as_str().unwrap();
    // Files of panels are looked for beside it.
    workdir.write("pipeline.toml", PIPELINE);
    for (file, sql) in PANELS {
        workdir.write(&format!("sql/pages/campus/{file}"), sql);
    }
    for file in TAKEN_AWAY {
        workdir.write(&format!("sql/pages/campus/{file}"), "");
    }
    let site = Site::of(&workdir).await;
    assert_page("page_status", &workdir, &site.page("/").await);
    assert_page("page_runs", &workdir, &site.page("/runs").await);
    let page = site.page(&format!("/runs/{run}")).await;
    assert_page("page_run", &workdir, &page);
    assert_page("page_campus", &workdir, &site.page("/campus").await);
    workdir.query(WAITING).await;
    let page = site.page("/decisions").await;
    assert!(!page.contains("4242"), "a key is on the page: {page}");
    assert_page("page_decisions", &workdir, &page);
    let document: Value = site.document("/api/decisions.json").await;
    assert!(!document.to_string().contains("4242"), "{document}");
}

#[tokio::test]
async fn every_decision_is_in_a_part_of_the_document() {
    const MANY: usize = 1_234;
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run", "--select", "cursus"]).await;
    let drifts = format!(
        "INSERT INTO pipeline.drift (schema_name, run_id, resource, path, kind) \
         SELECT 'public', 'a-run', 'cursus', '/' || n, 'new' FROM generate_series(1, {MANY}) AS n"
    );
    workdir.query(&drifts).await;
    let site = Site::of(&workdir).await;
    let mut paths = BTreeSet::new();
    let mut address = "/api/decisions.json".to_owned();
    loop {
        let document: Value = site.document(&address).await;
        let drifts = document["drift"].as_array().unwrap().iter();
        paths.extend(drifts.map(|drift| drift["path"].to_string()));
        match document["next"].as_str() {
            Some(next) => next.clone_into(&mut address),
            None => break,
        }
    }
    assert_eq!(paths.len(), MANY);
}

#[tokio::test]
async fn pages_without_a_mirror_read_as_expected() {
    let mut workdir = Workdir::new().await;
    workdir.unset("CURSUS_DATABASE_URL");
    let site = Site::of(&workdir).await;
    for (name, path) in [
        ("page_status_empty", "/"),
        ("page_runs_empty", "/runs"),
        ("page_decisions_empty", "/decisions"),
        ("page_campus_empty", "/campus"),
        ("page_login", "/login"),
    ] {
        assert_page(name, &workdir, &site.page(path).await);
    }
    let get = async |path: &str, headers: &[(&str, &str)]| {
        let answer = site.ask(reqwest::Method::GET, path, headers).await;
        answer.text().await.unwrap()
    };
    assert_page("page_unknown", &workdir, &get("/nothing", &[]).await);
    assert_page(
        "page_unknown_run",
        &workdir,
        &get("/runs/nothing", &[]).await,
    );
    let elsewhere = [("sec-fetch-site", "cross-site")];
    assert_page("page_cross_site", &workdir, &get("/runs", &elsewhere).await);
}
