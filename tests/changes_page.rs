//! The pages of changes and of how a row was: what they find however much there is, how much of it, and whatever is in it.

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

const HOSTILE: &str = "<script>alert(1)</script>\" onload=\"x' \u{202e}drow";

fn hostile() -> serde_json::Map<String, Value> {
    let long = json!(HOSTILE.repeat(50));
    let field = |n| (format!("{HOSTILE}{n}"), long.clone());
    (0..300).map(field).collect()
}

#[tokio::test]
async fn hostile_changes_are_text_and_short() {
    let workdir = mirror(1).await;
    let object = hostile();
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

/// `COUNT` versions of a user a minute apart, each with another wallet; before the 60th the row was not there. Then another user, a
/// row with a key of two columns in a table that is kept no more, and a row of another mirror.
const KEPT: &str = "INSERT INTO pipeline.history_span (schema_name, table_name, columns, valid_from, valid_to, from_run, to_run, changed_at)
    SELECT 'public', t, c, '2026-11-01T00:00:00Z', e, 'run-0', CASE WHEN e IS NOT NULL THEN 'run-9' END, '2026-11-01T00:00:00Z' FROM (VALUES
        ('users', ARRAY['id', 'login', 'wallet'], NULL), ('pairs', ARRAY['a', 'b', 'note'], '2026-11-02T00:00:00Z'::timestamptz)) AS v (t, c, e);
    INSERT INTO pipeline.history (schema_name, table_name, key, row, valid_from, valid_to, from_run, to_run)
    SELECT 'public', 'users', '{\"id\": 1}'::jsonb, jsonb_build_object('id', 1, 'login', 'ann', 'wallet', n),
        '2026-11-01T00:00:00Z'::timestamptz + n * interval '1 min' + CASE WHEN n = 60 THEN interval '5 s' ELSE '0' END,
        CASE WHEN n < COUNT THEN '2026-11-01T00:01:00Z'::timestamptz + n * interval '1 min' END,
        'run-' || n, CASE WHEN n < COUNT THEN 'run-' || n + 1 END FROM generate_series(1, COUNT) AS n
    UNION ALL SELECT 'public', 'users', '{\"id\": 2}', '{\"id\": 2, \"login\": \"bea\"}', '2026-11-01T00:00:00Z', NULL, 'run-0', NULL
    UNION ALL SELECT 'public', 'pairs', '{\"a\": 1, \"b\": \"x,y\"}', '{\"a\": 1, \"b\": \"x,y\", \"note\": null}',
        '2026-11-01T00:00:00Z', NULL, 'run-0', NULL
    UNION ALL SELECT 'past', 'users', '{\"id\": 1}', '{\"id\": 1, \"login\": \"of-another-mirror\"}', '2026-11-01T00:00:00Z', NULL, 'run-0', NULL";

async fn kept(workdir: &Workdir, count: u64) {
    workdir
        .query(&KEPT.replace("COUNT", &count.to_string()))
        .await;
}

/// The wallets of all versions that an address shows, part by part, and how many of the versions say that something has changed.
async fn wallets(site: &Site, path: &str) -> (Vec<u64>, usize) {
    let (mut path, mut found, mut marked) = (path.to_owned(), Vec::new(), 0);
    loop {
        let page = site.page(&path).await;
        assert!(!page.contains("of-another-mirror"), "{path}: {page}");
        for card in page.split("class=\"card\"").skip(1) {
            let (_, wallet) = card.split_once("<bdi>wallet</bdi>").unwrap();
            marked += usize::from(wallet.starts_with(" <span class=\"mark\">changed"));
            assert!(!card.contains("<bdi>login</bdi> <span"), "{card}");
            let (_, value) = wallet.split_once("<td><code><bdi>").unwrap();
            found.push(value.split('<').next().unwrap().parse().unwrap());
        }
        match page.split_once("rel=\"next\" href=\"") {
            Some((_, next)) => {
                path = next.split('"').next().unwrap().replace("&amp;", "&");
            }
            None => return (found, marked),
        }
    }
}

#[tokio::test]
async fn a_row_is_shown_as_it_was_version_by_version() {
    let workdir = mirror(9).await;
    kept(&workdir, 130).await;
    let site = Site::of(&workdir).await;
    let newest: Vec<u64> = (1..=130).rev().collect();
    // All but the first, and the one before which the row was not there.
    for key in ["1", "id=1", "%7B%22id%22:1%7D"] {
        let shown = wallets(&site, &format!("/history?table=users&key={key}")).await;
        assert_eq!(shown, (newest.clone(), 128), "{key}");
    }
    let page = site.page("/changes").await;
    let row = "/history?table=users&amp;key=%7B%22id%22%3A%201%7D";
    assert!(page.contains(&format!("href=\"{row}\"")), "{page}");
    for (asked, says) in [
        ("", "Name a table and the key"),
        ("?table=users&key=77", "No such row is known"),
        (
            "?table=cursus&key=1",
            "It is not kept how rows of that table were",
        ),
        ("?table=users&key=a=1,2", "key: "),
        ("?table=users&key=2", "it is so now"),
        (
            "?table=pairs&key=%7B%22a%22:1,%22b%22:%22x,y%22%7D",
            "the last that is known",
        ),
    ] {
        let page = site.page(&format!("/history{asked}")).await;
        assert!(page.contains(says), "{asked}: {page}");
    }
    let row = "/history?table=users&key=1&before=1793491500000000";
    assert_page("page_history", &workdir, &site.page(row).await);
}

#[tokio::test]
async fn hostile_versions_are_text_and_short() {
    let workdir = mirror(1).await;
    let object = hostile();
    let (object, key) = (json!(object), json!({ HOSTILE: 1 }));
    let insert = format!(
        "INSERT INTO pipeline.history_span (schema_name, table_name, columns, valid_from, from_run, changed_at) \
         VALUES ('public', $x${HOSTILE}$x$, ARRAY[$x${HOSTILE}$x$], now(), 'x', now()); \
         INSERT INTO pipeline.history (schema_name, table_name, key, row, valid_from, valid_to, from_run, to_run) \
         SELECT 'public', $x${HOSTILE}$x$, $x${key}$x$, $x${object}$x$::jsonb || jsonb_build_object('n', n), \
         '2026-11-01T00:00:00Z'::timestamptz + n * interval '1 s', '2026-11-01T00:00:01Z'::timestamptz + n * interval '1 s', \
         $x${HOSTILE}$x$, $x${HOSTILE}$x$ FROM generate_series(1, 60) AS n"
    );
    workdir.query(&insert).await;
    let site = Site::of(&workdir).await;
    let encoded =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let (name, key) = (encoded(HOSTILE), encoded(&key.to_string()));
    // Its size is looked at there.
    let page = site.page(&format!("/history?table={name}&key={key}")).await;
    assert!(page.contains("rel=\"next\""), "{page}");
    for page in [
        page,
        site.page(&format!("/history?table={name}&key={name}"))
            .await,
    ] {
        for raw in ["<script>", "\" onload=", "\u{202e}"] {
            assert!(!page.contains(raw), "{raw}: {page}");
        }
    }
}
