//! The page of changes: what it finds however many there are, how much of it, and whatever is in them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::serve_pages::assert_page;
use crate::support::{Site, Workdir};

/// Changes of users: `$1` of them, each of a run of a hundred.
const MANY: &str = "INSERT INTO pipeline.change_feed (schema_name, last_seq, tables) VALUES ('public', COUNT, \
        '{\"users\": [\"id\", \"login\", \"wallet\"], \"pairs\": [\"a\", \"b\", \"note\"]}');
    CREATE TABLE pipeline.change_all PARTITION OF pipeline.change DEFAULT;
    INSERT INTO pipeline.change (schema_name, seq, seen_at, run_id, resource, table_name, op, key, changed, before, after)
    SELECT 'public', n, '2026-11-01T00:00:00Z'::timestamptz + n * interval '1 s', 'run-' || n / 100, 'users', \
        CASE WHEN n = 7 THEN 'pairs' ELSE 'users' END, CASE WHEN n = 5 THEN 'd' ELSE 'u' END, \
        CASE WHEN n = 7 THEN '{\"a\": 1, \"b\": \"x,y\"}' ELSE jsonb_build_object('id', n % 1000) END, '{wallet}', \
        jsonb_build_object('id', n % 1000, 'login', 'u' || n, 'wallet', n), \
        CASE WHEN n <> 5 THEN jsonb_build_object('id', n % 1000, 'login', 'u' || n, 'wallet', n + 1) END \
    FROM generate_series(1, COUNT) AS n";

async fn mirror(count: u64) -> Workdir {
    let workdir = Workdir::new().await;
    workdir.json(["migrate"]).await;
    workdir
        .query(&MANY.replace("COUNT", &count.to_string()))
        .await;
    workdir
}

/// The numbers of the changes that an address gives, part by part.
async fn all(site: &Site, path: &str) -> Vec<u64> {
    let (mut path, mut found) = (path.to_owned(), Vec::new());
    loop {
        let document = site.document(&path).await;
        let changes = document["changes"].as_array().unwrap();
        assert!(changes.len() <= 100, "{path}");
        found.extend(changes.iter().map(|change| change["seq"].as_u64().unwrap()));
        match document["next"].as_str() {
            Some(next) => next.clone_into(&mut path),
            None => return found,
        }
    }
}

#[tokio::test]
async fn changes_are_found_by_every_filter() {
    let workdir = mirror(45_000).await;
    let site = Site::of(&workdir).await;
    let json = "/api/changes.json";
    assert_eq!(all(&site, &format!("{json}?table=pairs")).await, [7]);
    // Rare ones are further back than one part looks.
    assert_eq!(all(&site, &format!("{json}?op=d")).await, [5]);
    let of_run: Vec<u64> = (300..400).rev().collect();
    assert_eq!(all(&site, &format!("{json}?run=run-3")).await, of_run);
    let of_key: Vec<u64> = (0..45).rev().map(|n| n * 1000 + 12).collect();
    for key in ["12", "id=12", "%7B%22id%22:12%7D"] {
        let path = format!("{json}?table=users&key={key}");
        assert_eq!(all(&site, &path).await, of_key, "{key}");
    }
    assert_eq!(
        all(
            &site,
            &format!("{json}?key=%7B%22a%22:1,%22b%22:%22x,y%22%7D")
        )
        .await,
        [7]
    );
    assert_eq!(all(&site, &format!("{json}?key=13&op=d")).await, [0; 0]);
    let newest: Vec<u64> = (44_990..=45_000).rev().collect();
    assert_eq!(all(&site, &format!("{json}?since=44989")).await, newest);
    let since = "2026-11-01T12:29:50Z";
    assert_eq!(all(&site, &format!("{json}?since={since}")).await, newest);
    let path = format!("{json}?table=users&since=44000");
    assert_eq!(all(&site, &path).await.len(), 1000);
    let wrong = site
        .ask(Method::GET, &format!("{json}?op=x&since=y"), &[])
        .await;
    assert_eq!(wrong.status(), 400);
    // The same on the page, part by part without a gap.
    let page = site.page("/changes?table=pairs").await;
    assert!(page.contains("a=1, b=&quot;x,y&quot;"), "{page}");
    let page = site.page("/changes?op=x").await;
    assert!(page.contains("op: write c, u, d or s"), "{page}");
    let page = site.page("/changes").await;
    let last = page.matches("number ").count() as u64;
    let next = format!("/changes?before={}", 45_000 - last + 1);
    assert!(page.contains(&format!("href=\"{next}\"")), "{next}: {page}");
}

/// What the server does for a page, whatever is asked for, is read from an index: no more than a part of the changes.
#[tokio::test]
async fn a_page_of_many_changes_is_read_by_an_index() {
    let workdir = mirror(30_000).await;
    workdir.query("ANALYZE pipeline.change").await;
    for (filter, index) in [
        ("seq < 20000", "change_all_pkey"),
        ("table_name = 'pairs'", "table_name"),
        ("run_id = 'run-9'", "run_id"),
        ("key = ANY ('{\"{\\\"id\\\": 12}\"}'::jsonb[])", "key"),
    ] {
        let plan = format!(
            "EXPLAIN SELECT * FROM pipeline.change WHERE schema_name = 'public' AND {filter} ORDER BY schema_name DESC, seq DESC LIMIT 10000"
        );
        let plan = workdir.column(&plan).await.join("\n");
        assert!(
            plan.contains("Index") && plan.contains(index),
            "{filter}: {plan}"
        );
        assert!(!plan.contains("Seq Scan"), "{filter}: {plan}");
    }
}

#[tokio::test]
async fn changes_page_reads_as_expected() {
    let workdir = mirror(3).await;
    let more = "INSERT INTO pipeline.change (schema_name, seq, seen_at, run_id, table_name, op, key, changed, before, after) VALUES \
        ('public', 4, '2026-11-30T10:00:00Z', 'run-1', 'users', 's', NULL, '{id,login}', NULL, NULL), \
        ('public', 5, '2026-11-30T10:00:00Z', 'erasure-12ab', 'users', 'u', '{\"id\": 1}', '{login}', '{\"id\": 1, \"login\": null}', \
        '{\"id\": 1, \"login\": null}'); UPDATE pipeline.change_feed SET last_seq = 5";
    workdir.query(more).await;
    let site = Site::of(&workdir).await;
    let first = site.page("/").await;
    assert!(
        first.contains("href=\"/changes\""),
        "it is not in the navigation"
    );
    assert_page("page_changes", &workdir, &site.page("/changes").await);
    let row = site
        .page("/changes?table=users&key=%7B%22id%22%3A1%7D")
        .await;
    assert_page("page_changes_row", &workdir, &row);
    let workdir = Workdir::new().await;
    workdir.json(["migrate"]).await;
    let empty = Site::of(&workdir).await;
    let page = empty.page("/changes").await;
    assert!(page.contains("No change is written down yet"));
    assert!(!empty.page("/").await.contains("href=\"/changes\""));
}

#[tokio::test]
async fn hostile_changes_are_text_and_short() {
    const HOSTILE: &str = "<script>alert(1)</script>\" onload=\"x' \u{202e}drow";
    let workdir = mirror(1).await;
    let long = HOSTILE.repeat(500);
    let object: serde_json::Map<String, Value> = (0..300)
        .map(|n| (format!("{HOSTILE}{n}"), json!(long)))
        .collect();
    let (object, name) = (json!(object).to_string(), HOSTILE);
    let insert = format!(
        "INSERT INTO pipeline.change (schema_name, seq, run_id, table_name, op, key, changed, before, after) \
         SELECT 'public', n, $x${name}$x$, $x${name}$x$, 'u', $x${object}$x$, ARRAY[$x${name}1$x$], $x${object}$x$, $x${object}$x$ \
         FROM generate_series(2, 60) AS n"
    );
    workdir.query(&insert).await;
    let tables = json!({ HOSTILE: [HOSTILE], "users": ["id"] }).to_string();
    workdir
        .query(&format!(
            "UPDATE pipeline.change_feed SET last_seq = 60, tables = $x${tables}$x$"
        ))
        .await;
    let site = Site::of(&workdir).await;
    let encoded: String = HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for path in [
        "/changes".to_owned(),
        format!("/changes?table={encoded}&run={encoded}&key={encoded}&since={encoded}&x={encoded}"),
    ] {
        // Its size is looked at there.
        let page = site.page(&path).await;
        for raw in ["<script>", "\" onload=", "\u{202e}"] {
            assert!(!page.contains(raw), "{path}: {raw}");
        }
    }
}
