//! `cursus sql`: questions change nothing, and answers keep their types and bytes.

use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::{Ran, Running, Workdir};

/// A table with a row, which nothing below may change.
async fn workdir() -> Workdir {
    let workdir = Workdir::new().await;
    workdir
        .query("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")
        .await;
    workdir
}

/// The same on a private PostgreSQL, which runs until the second is dropped: started for each command it would take a minute.
async fn private() -> (Workdir, Running) {
    let mut workdir = Workdir::new().await;
    workdir.set("CURSUS_DATABASE_URL", "embedded");
    let make = "CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)";
    workdir.cursus(["sql", "--write", make]).await.exits(0);
    let held = Running::start(&workdir, &["sql", "SELECT pg_sleep(3600)"]);
    (workdir, held)
}

/// Statements that write, or begin to be able to.
const WRITES: [&str; 14] = [
    "DELETE FROM kept",
    "SET TRANSACTION READ WRITE; DELETE FROM kept",
    "SET default_transaction_read_only = off; DELETE FROM kept",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; DELETE FROM kept",
    "COMMIT; DELETE FROM kept",
    "COMMIT; BEGIN READ WRITE; DELETE FROM kept; COMMIT",
    "ROLLBACK AND CHAIN; SET TRANSACTION READ WRITE; DELETE FROM kept",
    "COMMIT AND CHAIN; DELETE FROM kept; COMMIT",
    "SELECT set_config('transaction_read_only', 'off', false), set_config('transaction_read_only', 'off', true); DELETE FROM kept",
    "DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true); DELETE FROM kept; END $$",
    "DO $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; DELETE FROM kept; END $$",
    "WITH deleted AS (DELETE FROM kept RETURNING id) SELECT count(*) FROM deleted",
    "EXPLAIN ANALYZE DELETE FROM kept",
    "PREPARE go AS DELETE FROM kept; EXECUTE go",
];

#[tokio::test]
async fn no_question_changes_the_database() {
    let workdir = workdir().await;
    workdir
        .query(
            "CREATE PROCEDURE go() LANGUAGE plpgsql AS $$ BEGIN COMMIT; DELETE FROM kept; END $$",
        )
        .await;
    for write in WRITES.into_iter().chain(["CALL go()", "BEGIN; CALL go()"]) {
        for how in [&[][..], &["--json"], &["--csv"]] {
            let ran = workdir.cursus([&["sql", write][..], how].concat()).await;
            assert_eq!(ran.code, Some(1), "{ran}");
            assert_eq!(workdir.count("kept").await, 1, "{ran}");
        }
    }
    let answer = workdir.cursus(["sql", "DELETE FROM kept"]).await.exits(1);
    answer.says("read-only transaction; `--write` lets a query");
}

#[tokio::test]
async fn a_question_to_the_private_server_is_no_superusers() {
    let (workdir, _held) = private().await;
    let who =
        "SELECT rolsuper OR rolcreaterole AS is_super FROM pg_roles WHERE rolname = current_user";
    for _ in 0..2 {
        assert_eq!(
            workdir.json(["sql", who]).await,
            json!([{"is_super": false}])
        );
    }
    for write in WRITES {
        let ran = workdir.cursus(["sql", write]).await.exits(1);
        let kept = workdir.json(["sql", "SELECT count(*) FROM kept"]).await;
        assert_eq!(kept, json!([{"count": 1}]), "{ran}");
    }
    let loot = workdir.path("loot");
    for reach in [
        "COPY kept TO PROGRAM 'touch LOOT'",
        "COPY kept TO 'LOOT'",
        "COPY (SELECT 1) TO PROGRAM 'touch LOOT'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT lo_export(1, 'LOOT')",
        "DO $$ BEGIN RESET ROLE; EXECUTE 'COPY kept TO ''LOOT'''; END $$",
        "SET SESSION AUTHORIZATION cursus; COPY kept TO 'LOOT'",
        "SET ROLE cursus",
        "CREATE ROLE mine SUPERUSER",
    ] {
        let reach = reach.replace("LOOT", &loot.display().to_string());
        workdir.cursus(["sql", &reach]).await.exits(1);
        assert!(!loot.exists(), "{reach}");
    }
}

/// What psql says to a script, if it is there.
async fn psql(workdir: &Workdir, more: &[&str], script: &str) -> String {
    let mut command = workdir.command([&["sql"][..], more].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    let mut psql = command.spawn().unwrap();
    let mut stdin = psql.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).await.unwrap();
    drop(stdin);
    let output = psql.wait_with_output().await.unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn psql_reads_unless_it_may_write_and_knows_no_secret() {
    let (mut workdir, _held) = private().await;
    workdir.set("CURSUS_CLIENT_SECRET", "canary-of-the-api");
    workdir.set("DATABASE_URL", "postgres://me:canary-of-another@host/db");
    let environment = psql(&workdir, &[], "\\! env\n").await;
    if environment.contains("there is no psql") {
        return;
    }
    assert!(environment.contains("PGUSER=cursus_read"), "{environment}");
    assert!(!environment.contains("canary"), "{environment}");
    assert!(!environment.contains("CURSUS_"), "{environment}");
    let said = psql(&workdir, &[], "DELETE FROM kept;").await;
    assert!(said.contains("read-only transaction"), "{said}");
    let said = psql(&workdir, &["--write"], "DELETE FROM kept;").await;
    assert!(said.contains("DELETE 1"), "{said}");
}

#[tokio::test]
async fn every_statement_with_rows_is_a_document() {
    let workdir = workdir().await;
    for (query, expected) in [
        ("SHOW server_encoding", json!([{"server_encoding": "UTF8"}])),
        (
            "VALUES (1, 'a'), (2, NULL)",
            json!([{"column1": 1, "column2": "a"}, {"column1": 2, "column2": null}]),
        ),
        ("TABLE kept;", json!([{"id": 1}])),
        (
            "WITH a AS (SELECT 1 AS b) SELECT b FROM a -- no more",
            json!([{"b": 1}]),
        ),
        (
            "SELECT 1 AS id, 2 AS id, 3 AS id_2",
            json!([{"id": 1, "id_3": 2, "id_2": 3}]),
        ),
        ("SELECT WHERE false", json!([])),
        ("SELECT 1 AS a WHERE false", json!([])),
        ("", json!([])),
        ("SET statement_timeout = '1min'", json!([])),
    ] {
        assert_eq!(workdir.json(["sql", query]).await, expected, "{query}");
    }
    let plan = workdir
        .json(["sql", "EXPLAIN (COSTS OFF) SELECT * FROM kept"])
        .await;
    assert_eq!(plan, json!([{"QUERY PLAN": "Seq Scan on kept"}]));
    let plan = workdir
        .json(["sql", "EXPLAIN (FORMAT JSON) SELECT 1"])
        .await;
    assert!(plan[0]["QUERY PLAN"][0]["Plan"].is_object(), "{plan}");
}

#[tokio::test]
async fn values_of_a_document_are_as_row_to_json_writes_them() {
    let workdir = workdir().await;
    workdir
        .query("CREATE TYPE mood AS ENUM ('fine'); CREATE DOMAIN small AS int; CREATE TYPE pair AS (a int, b text)")
        .await;
    let all = "SELECT 1::int2 AS a, 2::int8 AS b, 1.50::numeric AS c, 'NaN'::numeric AS d, 'Infinity'::float8 AS e, \
        0.1::float4 AS f, true AS g, '{\"x\": [1,\n 2]}'::json AS h, '[1]'::jsonb AS i, '{1,NULL,3}'::int[] AS j, \
        '{{a,\"b,\"}}'::text[] AS k, '2026-11-23 02:00:00+01'::timestamptz AS l, '2026-11-23 02:00:00'::timestamp AS m, \
        '2026-11-23'::date AS n, 'fine'::mood AS o, 3::small AS p, ROW(1, 'x')::pair AS q, 'a\"b\nc'::text AS r, \
        '\\x00ff'::bytea AS s, '1 day'::interval AS t, NULL::int[] AS u, 5::oid AS v, 'infinity'::timestamptz AS w, \
        ARRAY[ROW(1,'x')::pair] AS x, '{2026-01-01 00:00:00+00}'::timestamptz[] AS y, int4range(1, 3) AS z";
    let expected = format!("SELECT row_to_json(whole)::text FROM ({all}) AS whole");
    let expected = workdir
        .query(&format!("SET TimeZone = 'UTC'; {expected}"))
        .await;
    let expected = expected[0][0].clone().unwrap();
    let ran = workdir.cursus(["sql", "--json", all]).await.exits(0);
    let document: serde_json::Value = serde_json::from_str(&expected).unwrap();
    assert_eq!(ran.json(), json!([document]));
    assert_eq!(ran.stdout.lines().count(), 1, "{ran}");
}

#[tokio::test]
async fn each_statement_has_an_array_of_its_own() {
    let workdir = workdir().await;
    let query = "SELECT 1 AS a; SHOW TimeZone; ; SELECT ';' AS b -- ; \n; SET work_mem = '5MB'; SHOW work_mem";
    let ran = workdir.cursus(["sql", "--json", query]).await.exits(0);
    let arrays = ran.stdout.lines().map(serde_json::from_str);
    let arrays: Vec<serde_json::Value> = arrays.collect::<Result<_, _>>().unwrap();
    let expected = [
        json!([{"a": 1}]),
        json!([{"TimeZone": "UTC"}]),
        json!([{"b": ";"}]),
        json!([]),
        json!([{"work_mem": "5MB"}]),
    ];
    assert_eq!(arrays, expected, "{ran}");
}

#[tokio::test]
async fn a_document_may_write_where_it_is_allowed_to() {
    let workdir = workdir().await;
    let insert = "INSERT INTO kept VALUES (2), (3) RETURNING id";
    let rows = workdir.json(["sql", "--write", insert]).await;
    assert_eq!(rows, json!([{"id": 2}, {"id": 3}]));
    let rows = workdir
        .json(["sql", "--write", "DELETE FROM kept WHERE id = 2"])
        .await;
    assert_eq!(rows, json!([]));
    assert_eq!(workdir.number("SELECT sum(id) FROM kept").await, 4);
    // All or nothing, as in one message.
    let both = "DELETE FROM kept; SELECT 1/0";
    workdir.cursus(["sql", "--write", both]).await.exits(1);
    assert_eq!(workdir.count("kept").await, 2);
    workdir
        .cursus(["sql", "--write", "VACUUM kept"])
        .await
        .exits(0);
}

fn bytes(ran: Ran) -> String {
    ran.exits(0).stdout
}

#[tokio::test]
async fn csv_is_the_same_on_every_server() {
    let workdir = workdir().await;
    let query = "SELECT '2026-11-23 02:00+00'::timestamptz AS t, '2026-11-23'::date AS d, '1 day 2 hours'::interval AS i, \
        '\\x00ff'::bytea AS b, 0.1::float8 + 0.2 AS f, NULL AS n, '' AS e, E'a\\nb' AS l, 'say \"x\", y' AS q";
    let expected = "t,d,i,b,f,n,e,l,q\n\
        2026-11-23 02:00:00+00,2026-11-23,1 day 02:00:00,\\x00ff,0.30000000000000004,,\"\",\"a\nb\",\"say \"\"x\"\", y\"\n";
    assert_eq!(
        bytes(workdir.cursus(["sql", "--csv", query]).await),
        expected
    );
    let name = workdir.column("SELECT current_database()").await.remove(0);
    for setting in [
        "DateStyle = 'German, DMY'",
        "IntervalStyle = 'iso_8601'",
        "TimeZone = 'Asia/Tokyo'",
        "bytea_output = 'escape'",
        "extra_float_digits = -5",
        "standard_conforming_strings = off",
    ] {
        workdir
            .query(&format!("ALTER DATABASE {name} SET {setting}"))
            .await;
    }
    assert_eq!(
        bytes(workdir.cursus(["sql", "--csv", query]).await),
        expected
    );
}
