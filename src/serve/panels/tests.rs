use super::header::parse;
use super::query::{Column, check};
use super::*;
use crate::config::PackState;
use crate::database::testing;

/// The panels of all pages, those of all packs among them.
fn built_in() -> Vec<PanelFile> {
    let mut config = Config::load(None).unwrap();
    for pack in &mut config.packs {
        pack.state = PackState::On;
    }
    let Found { pages, faults } = Found::of(&config, |_| true);
    assert!(faults.is_empty(), "{faults:?}");
    pages.into_iter().flat_map(|page| page.files).collect()
}

#[test]
fn every_shipped_panel_has_a_header_without_a_fault() {
    let files = built_in();
    assert!(files.len() > 5);
    for PanelFile { file, text, .. } in files {
        let text = text.unwrap();
        let (header, query) = parse(&text).unwrap_or_else(|fault| panic!("{file}: {fault}"));
        assert!(
            header.kind == Kind::Zone || header.empty.len() > 20,
            "{file}"
        );
        assert!(query.contains("SELECT"), "{file}");
        let start = file.rsplit('/').next().unwrap().split('-').next().unwrap();
        assert!(start.parse::<u8>().is_ok(), "{file} begins with its place");
    }
}

#[test]
fn faults_of_a_header_say_what_fits() {
    let title = "-- title: x\n-- chart: bars\n";
    for (text, sentence) in [
        ("SELECT 1".to_owned(), "no `title`; begin the file"),
        ("-- title: x\nSELECT 1".to_owned(), "no `chart`"),
        ("-- chart: bars\nSELECT 1".to_owned(), "no `title`"),
        (
            "-- title: x\n-- chart: pie\n".to_owned(),
            "line 2: `chart` is one of bars, ",
        ),
        (
            format!("{title}-- titel: y"),
            "line 3: `titel` is no key of a header; did you mean `title`?",
        ),
        (
            format!("{title}-- colour: red"),
            "they are title, chart, unit, ",
        ),
        ("-- title:\n".to_owned(), "line 1: `title` has no value"),
        (
            format!("{title}-- title: y"),
            "line 3: `title` is given twice",
        ),
        (
            format!("{title}-- every: 1s"),
            "a duration from 10s to 24h, such as 5m, not `1s`",
        ),
        (format!("{title}-- every: often"), "not `often`"),
        (
            format!("{title}-- width: 12"),
            "`width` is part or full, not `12`",
        ),
        (String::new(), "no `title`"),
    ] {
        let fault = parse(&text).unwrap_err();
        assert!(fault.contains(sentence), "{text}: {fault}");
    }
}

#[test]
fn a_comment_without_a_key_ends_the_header() {
    let text = "\u{feff}-- title: Levels: all\r\n-- chart: columns\r\n--every:90s\r\n-- Why, in words.\r\n-- unit: none\r\nSELECT 1";
    let (header, query) = parse(text).unwrap();
    assert_eq!(header.title, "Levels: all");
    assert_eq!(header.kind, Kind::Columns);
    assert_eq!(header.every, Duration::from_secs(90));
    assert_eq!(header.unit, "");
    assert!(query.starts_with("-- Why"));
}

#[test]
fn columns_that_a_chart_cannot_use_are_named() {
    let columns = |names: &[&str]| -> Vec<Column> {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            is_number: *name == "value",
            is_time: *name == "begin_at",
        };
        names.iter().map(column).collect()
    };
    for (kind, names, fault) in [
        (Kind::Bars, &["label"][..], Some("no column `value`")),
        (Kind::Bars, &["label", "value", "size"], Some("`size`")),
        (Kind::Columns, &["label", "value", "link"], Some("`link`")),
        (Kind::Table, &["link", "tone"], Some("no column to show")),
        (Kind::Table, &["a", "a"], Some("two columns `a`")),
        (Kind::Table, &["a", "link"], None),
        (Kind::Figures, &["value", "label", "note"], None),
    ] {
        let checked = check(kind, &columns(names));
        match fault {
            None => assert_eq!(checked, Ok(())),
            Some(fault) => assert!(checked.unwrap_err().contains(fault), "{names:?}"),
        }
    }
}

async fn outcome(client: &Client, text: &str) -> Outcome {
    let (header, query) = parse(text).unwrap();
    query::run(client, "sql/pages/campus/x.sql", &header, query)
        .await
        .unwrap()
}

async fn sentence(client: &Client, query: &str) -> String {
    let text = format!("-- title: x\n-- chart: bars\n{query}");
    match outcome(client, &text).await {
        Outcome::Error(sentence) => sentence,
        Outcome::Rows(rows) => panic!("{rows:?}"),
    }
}

#[tokio::test]
async fn a_query_that_fails_says_why_and_no_value() {
    let client = testing::database().await;
    let secret = "CREATE TABLE people (login text); INSERT INTO people VALUES ('hunter2')";
    client.batch_execute(secret).await.unwrap();
    client
        .batch_execute("BEGIN READ ONLY; SELECT 1")
        .await
        .unwrap();
    for (query, expected) in [
        (
            "SELECT login AS label, level AS value FROM people",
            "was refused: column \"level\" does not exist; correct",
        ),
        (
            "SELECT label, value FROM nowhere",
            "\"nowhere\" does not exist; `cursus run` makes",
        ),
        (
            "SELECT login AS label, login::bigint AS value FROM people",
            "failed: SQLSTATE 22P02; correct",
        ),
        (
            "SELECT login AS label, login AS value FROM people",
            "`value` is no number",
        ),
        (
            "SELECT login AS label, 1 / (length(login) - 7) AS value FROM people",
            "SQLSTATE 22012",
        ),
        (
            "SELECT 'x' AS label, 1 AS value; DROP TABLE people",
            "syntax error at or near \";\"",
        ),
        (
            "DELETE FROM people RETURNING login AS label, 1 AS value",
            "syntax error",
        ),
        ("SELECT $1::text AS label, 1 AS value", "has parameters"),
        (
            "SELECT 'x' AS label, 1 AS value FROM pg_sleep(60)",
            "was stopped after 5 s",
        ),
        ("", "syntax error"),
    ] {
        let sentence = sentence(&client, query).await;
        assert!(!sentence.contains("hunter2"), "{sentence}");
        assert!(sentence.contains(expected), "{sentence}");
        assert!(sentence.contains("sql/pages/campus/x.sql"), "{sentence}");
    }
    // The transaction is as it was.
    let row = client
        .query_one("SHOW statement_timeout", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "0");
}

#[tokio::test]
async fn rows_and_texts_of_a_query_are_bounded() {
    let client = testing::database().await;
    client
        .batch_execute("BEGIN READ ONLY; SELECT 1")
        .await
        .unwrap();
    let text = "-- title: x\n-- chart: bars\nSELECT repeat('é', 10000) AS label, n::numeric AS value FROM generate_series(1, 5000) AS n ORDER BY n DESC; -- the end";
    let Outcome::Rows(rows) = outcome(&client, text).await else {
        panic!("it has rows");
    };
    assert_eq!(rows.rows.len(), 500);
    assert_eq!(
        rows.rows[0],
        [Some("é".repeat(300)), Some("5000".to_owned())]
    );
    assert!(rows.columns[1].is_number);
}

#[test]
fn a_young_panel_of_the_same_file_is_kept() {
    let (header, _) = parse("-- title: x\n-- chart: bars\n-- every: 1m\n").unwrap();
    let read_at: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
    let panel = Panel {
        file: "a.sql".to_owned(),
        header: Some(header.clone()),
        read_at,
        outcome: Outcome::Rows(Rows::default()),
        text: "one".to_owned(),
    };
    let page = Page {
        title: String::new(),
        zone: Zone::utc(None),
        panels: vec![panel.clone()],
    };
    let kept = |file: &str, text: &str, seconds: i64| {
        let now = read_at + jiff::SignedDuration::from_secs(seconds);
        page.kept(file, text, header.every, now).is_some()
    };
    assert!(kept("a.sql", "one", 59));
    assert!(!kept("a.sql", "one", 60));
    assert!(!kept("a.sql", "two", 1));
    assert!(!kept("b.sql", "one", 1));
    // The clock was set back.
    assert!(!kept("a.sql", "one", -1));
    // A failure is tried again sooner.
    let failed = Panel {
        outcome: Outcome::Error("x".to_owned()),
        ..panel
    };
    let page = Page {
        title: String::new(),
        panels: vec![failed],
        ..page.clone()
    };
    let kept = |seconds: i64| {
        let now = read_at + jiff::SignedDuration::from_secs(seconds);
        page.kept("a.sql", "one", header.every, now).is_some()
    };
    assert!(kept(29) && !kept(30));
}
