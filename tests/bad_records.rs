//! Records that no table was made for: each waits with a reason or loads as it is, and none takes a good row with it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::Workdir;
use crate::support::boxes::{full, stage, stage_pages};
use crate::support::snapshot::assert_text;

const PIPELINE: &str = r#"version = 1
[api]
url = "https://api.example.org"
[quarantine]
max_rows = 100
max_fraction = 1.0
[[resource]]
name = "items"
path = "/items"
[[table]]
name = "items"
from = "items"
[table.columns]
inside = "/outer/inside"
"#;

const MIGRATION: &str = "CREATE TABLE items (id bigint PRIMARY KEY, small smallint, number integer, big bigint, \
    ratio double precision, flag boolean, name text, born date, seen timestamptz, document jsonb, tags text[], inside text)";

/// The API has every key, or a load would stop.
const NULLS: &str = r#"{"id":0,"small":null,"number":null,"big":null,"ratio":null,"flag":null,"name":null,"born":null,
    "seen":null,"document":null,"tags":null,"outer":{"inside":null}}"#;

async fn workdir() -> Workdir {
    let workdir = Workdir::new().await;
    workdir.write("pipeline.toml", PIPELINE);
    workdir.write("migrations/mirror/V1000__items.sql", MIGRATION);
    workdir
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[tokio::test]
async fn rejected_records_are_quarantined_and_the_rest_loads() {
    let workdir = workdir().await;
    let rejected = [
        (r#""name":"a\u0000b""#, "NUL in a text"),
        (r#""name":"\ud800""#, "half a character"),
        (r#""name":12"#, "a number as text"),
        (r#""small":32768"#, "out of range"),
        (r#""number":-2147483649"#, "out of range"),
        (r#""number":1.5"#, "a fraction"),
        (r#""number":1.0000000000000000000001"#, "a tiny fraction"),
        (r#""number":"12""#, "a text as number"),
        (r#""big":1e30"#, "out of range"),
        (r#""ratio":1e999"#, "out of range"),
        (r#""ratio":9007199254740993"#, "too many digits"),
        (r#""flag":"true""#, "a text as boolean"),
        (r#""born":"2026-02-30""#, "no such day"),
        (r#""born":"0000-01-01""#, "no such year"),
        (r#""seen":"2026-02-30T10:00:00.000Z""#, "no such day"),
        (r#""seen":"2016-12-31T23:59:60Z""#, "a leap second"),
        (r#""seen":"2026-01-31T12:00:00""#, "no zone"),
        (r#""document":{"a":"\u0000"}"#, "NUL in a document"),
        (r#""document":[1e9999]"#, "out of range in a document"),
        (r#""tags":["a",1]"#, "a number in a list of texts"),
        (r#""tags":"a""#, "no list"),
    ];
    let mut records = vec![NULLS.to_owned()];
    for (index, (bad, _)) in rejected.iter().enumerate() {
        records.push(format!(r#"{{"id":{},"name":"good"}}"#, 1000 + index));
        records.push(format!(r#"{{"id":{},{bad}}}"#, 2000 + index));
    }
    let whole = [
        r#"{"name":"no key"}"#,
        r#"{"id":"x"}"#,
        "{}",
        "[]",
        "null",
        "7",
        "1e999",
        "\"text\"",
    ];
    records.extend(whole.map(str::to_owned));
    // Not an object: nothing is inside.
    records.push(r#"{"id":1,"outer":1e999,"name":"good","tags":["x"]}"#.to_owned());
    records.push(r#"{"id":2,"outer":"\ud800","name":"good"}"#.to_owned());
    records.push(r#"{"id":3000,"name":"last","tags":null,"flag":null}"#.to_owned());
    stage(&workdir, &[full("items", records)]);
    let ran = workdir.cursus(["load"]).await.exits(3);
    assert!(ran.stderr.contains("items: 29 rows quarantined"), "{ran}");
    let good = workdir
        .number("SELECT count(*) FROM items WHERE name IN ('good', 'last')")
        .await;
    assert_eq!(usize::try_from(good).unwrap(), rejected.len() + 3);
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM items WHERE id > 0")
            .await,
        good
    );
    let waiting = workdir
        .query("SELECT key ->> 'id', column_name, code, reason FROM pipeline.quarantine ORDER BY record_index, file")
        .await;
    let mut answer = String::new();
    for row in waiting {
        let cells: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        let what = (cells[0].parse::<usize>().ok())
            .and_then(|id| rejected.get(id.checked_sub(2000)?))
            .map_or("", |(_, what)| *what);
        writeln!(answer, "{what} | {}", cells[1..].join(" | ")).unwrap();
    }
    let mut lines: Vec<&str> = answer.lines().collect();
    lines.sort_unstable();
    assert_text("records_rejected", &workdir, &lines.join("\n"));
}

#[tokio::test]
async fn unmapped_junk_is_ignored() {
    let workdir = workdir().await;
    let junk: Vec<String> = (0..10_000)
        .map(|n| format!(r#""junk_{n}":{{"a":[{n},"b"]}}"#))
        .collect();
    let mut records: Vec<String> = (1..=20)
        .map(|id| format!(r#"{{{},"id":{id},"name":"wide"}}"#, junk.join(",")))
        .collect();
    records.push(NULLS.to_owned());
    records.push(r#"{"\u0000":1,"id":26,"name":"NUL as key"}"#.to_owned());
    records.push(format!(
        r#"{{"id":21,"junk":{},"name":"deep"}}"#,
        nested(200_000)
    ));
    records.push(format!(
        r#"{{"id":22,"outer":{{"junk":{},"inside":"kept"}},"name":"deep inside"}}"#,
        nested(200_000)
    ));
    records.push(
        r#"{"id":0,"id":23,"name":"first","name":"twice","outer":{"inside":"old"},"outer":{}}"#
            .to_owned(),
    );
    records.push(r#"{"i\u0064":24,"n\u0061me":"escaped keys"}"#.to_owned());
    records.push(
        r#"{"\ud800":1,"id":25,"name":"half a character as key","junk":"\udfff"}"#.to_owned(),
    );
    stage(&workdir, &[full("items", records)]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("items WHERE name = 'wide'").await, 20);
    let rest = workdir
        .column("SELECT concat_ws(' ', id, name, inside) FROM items WHERE id > 20 ORDER BY id")
        .await;
    assert_eq!(
        rest,
        [
            "21 deep",
            "22 deep inside kept",
            "23 twice",
            "24 escaped keys",
            "25 half a character as key",
            "26 NUL as key"
        ]
    );
    // `stage cat` shows them too.
    for arguments in [
        &["stage", "cat", "latest", "items"][..],
        &["stage", "cat", "latest", "items", "--id", "22", "--json"],
        &["explain", "items", "22"],
        &["explain", "items", "22", "--json"],
    ] {
        workdir.cursus(arguments).await.exits(0);
    }
}

#[tokio::test]
async fn endlessly_nested_value_is_quarantined_and_shown() {
    let workdir = workdir().await;
    let deep = nested(200_000);
    let mut records = vec![format!(
        r#"{{"id":1,"document":{},"tags":["x"]}}"#,
        nested(500)
    )];
    for column in ["document", "name", "number", "tags", "seen", "outer"] {
        records.push(format!(
            r#"{{"id":{},"{column}":{deep}}}"#,
            records.len() + 1
        ));
    }
    records.push(format!(r#"{{"id":{deep}}}"#));
    records.push(deep.clone());
    stage(&workdir, &[full("items", records)]);
    workdir.cursus(["load"]).await.exits(3);
    // In `outer` it is junk.
    let loaded = workdir.column("SELECT id FROM items ORDER BY id").await;
    assert_eq!(loaded, ["1", "7"]);
    let waiting = workdir.json(["quarantine", "ls", "items"]).await;
    let waiting = waiting.as_array().unwrap();
    let columns: Vec<&str> = waiting
        .iter()
        .map(|entry| entry["column"].as_str().unwrap())
        .collect();
    assert_eq!(
        columns,
        ["document", "name", "number", "tags", "seen", "id", "id"]
    );
    assert_eq!(
        waiting[0]["reason"],
        "the document is nested deeper than 512 levels"
    );
    for entry in waiting {
        let id = entry["id"].to_string();
        let shown = workdir.cursus(["quarantine", "show", &id]).await.exits(0);
        assert!(shown.stdout.contains(&deep), "it is not shown");
        let shown = workdir
            .cursus(["quarantine", "show", &id, "--json"])
            .await
            .exits(0);
        assert!(shown.stdout.contains(&deep), "it is not shown as JSON");
    }
    workdir.json_exits(3, ["quarantine", "retry"]).await;
    workdir.cursus(["explain", "items", "2"]).await.exits(0);
}

#[tokio::test]
async fn a_record_of_50_mb_loads() {
    let workdir = workdir().await;
    let long = "long \u{e9} ".repeat(50 << 17);
    let records = vec![
        json!({"id": 1, "name": "before"}).to_string(),
        json!({"id": 2, "name": long, "junk": "x"}).to_string(),
        json!({"id": 3, "name": "junk", "junk": long}).to_string(),
        json!({"id": 4, "number": long}).to_string(),
        json!({"id": 5, "name": "after"}).to_string(),
    ];
    stage(&workdir, &[full("items", records)]);
    let report = workdir.json_exits(3, ["load"]).await;
    assert_eq!(report["tables"][0]["quarantined"], 1);
    let lengths = workdir
        .column("SELECT octet_length(name) FROM items ORDER BY id")
        .await;
    assert_eq!(lengths, ["6", &long.len().to_string(), "4", "5"]);
    let same = format!(
        "SELECT count(*) FROM items WHERE name = repeat('long \u{e9} ', {})",
        50 << 17
    );
    assert_eq!(workdir.number(&same).await, 1);
    // And once more, compared.
    let again = workdir.json_exits(3, ["load", "--again"]).await;
    assert_eq!(again["tables"][0]["unchanged"], 4, "{again:#}");
}

#[tokio::test]
async fn a_page_of_a_million_records_is_a_page() {
    let workdir = workdir().await;
    let number = |id| format!(r#"{{"id":{id},"number":{}}}"#, id % 7);
    let records = std::iter::once(NULLS.to_owned()).chain((1..1_000_000).map(number));
    let records: Vec<String> = records.collect();
    stage_pages(&workdir, &[full("items", records)], 1_000_000);
    let report = workdir.json(["load"]).await;
    assert_eq!(report["tables"][0]["inserted"], 1_000_000);
    let sums = workdir.column("SELECT sum(number) FROM items").await;
    let expected: i64 = (1..1_000_000).map(|id| id % 7).sum();
    assert_eq!(sums, [expected.to_string()]);
}

#[tokio::test]
async fn table_and_domain_checks_reject_single_rows() {
    let workdir = workdir().await;
    workdir.write(
        "migrations/mirror/V1001__checks.sql",
        "CREATE DOMAIN mark AS smallint CONSTRAINT in_range CHECK (VALUE BETWEEN 0 AND 125); \
         CREATE DOMAIN \"Final mark\" AS mark CONSTRAINT lucky CHECK (VALUE <> 13); \
         CREATE DOMAIN moment AS timestamptz(1); \
         CREATE FUNCTION plausible(bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0'; \
         ALTER TABLE items ALTER small TYPE \"Final mark\", ALTER seen TYPE timestamptz(0), ADD moment moment, \
         ADD CONSTRAINT sensible CHECK (number < big), ADD CONSTRAINT is_plausible CHECK (plausible(big))",
    );
    let item = |id: i64, small: Value, number: Value, big: Value| {
        json!({"id": id, "small": small, "number": number, "big": big, "name": "item", "seen": "2026-01-31T12:00:00.700Z",
            "moment": "2026-01-31T12:00:00.770Z"})
            .to_string()
    };
    let good = || {
        vec![
            item(1, json!(125), json!(1), json!(2)),
            item(2, Value::Null, Value::Null, Value::Null),
        ]
    };
    let bad = [
        item(3, json!(126), json!(1), json!(2)),
        item(4, json!(13), json!(1), json!(2)),
        item(5, json!(0), json!(2), json!(2)),
        item(6, json!(0), json!(-2), json!(-1)),
    ];
    stage(&workdir, &[full("items", [good(), bad.to_vec()].concat())]);
    // In another schema the names are others.
    let waiting = |schema: &str| {
        format!(
            "SELECT concat_ws(' ', key ->> 'id', column_name, code, reason) FROM pipeline.quarantine \
             WHERE schema_name = '{schema}' ORDER BY 1"
        )
    };
    for (schema, arguments) in [
        ("public", &["load"][..]),
        ("past", &["load", "--into", "past"]),
    ] {
        workdir.json_exits(3, arguments).await;
        assert_eq!(
            workdir.column(&waiting(schema)).await,
            [
                "3 small type the CHECK constraint in_range does not hold",
                "4 small type the CHECK constraint lucky does not hold",
                "5 type the CHECK constraint sensible does not hold",
                "6 type the CHECK constraint is_plausible does not hold",
            ]
        );
        let ids = workdir
            .column(&format!("SELECT id FROM {schema}.items ORDER BY id"))
            .await;
        assert_eq!(ids, ["1", "2"]);
    }
    // A row of before stays as it is, the rest loads.
    let newer = vec![
        item(1, json!(126), json!(1), json!(2)),
        item(2, json!(7), json!(1), json!(2)),
    ];
    stage(&workdir, &[full("items", newer)]);
    let report = workdir.json_exits(3, ["load"]).await;
    assert_eq!(
        (
            &report["tables"][0]["updated"],
            &report["tables"][0]["quarantined"]
        ),
        (&json!(1), &json!(1))
    );
    let rows = "SELECT concat_ws(' ', id, small) FROM items ORDER BY id";
    assert_eq!(workdir.column(rows).await, ["1 125", "2 7"]);
    assert_eq!(workdir.column(&waiting("public")).await.len(), 1);
    workdir
        .query("ALTER DOMAIN mark DROP CONSTRAINT in_range")
        .await;
    workdir.json(["quarantine", "retry"]).await;
    assert_eq!(workdir.column(rows).await, ["1 126", "2 7"]);
    let again = workdir.json(["load", "--again"]).await;
    assert_eq!(again["tables"][0]["unchanged"], 2, "{again:#}");
}
