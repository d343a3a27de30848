//! Any JSON value into every type of column, with PostgreSQL as the judge.

use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Client;

use super::*;

/// What PostgreSQL makes of a JSON text `raw`, printed so that no two values look the same.
fn judge(kind: CellType) -> String {
    let text = "(raw::json #>> '{}')";
    let elements = "jsonb_array_elements_text(raw::jsonb)";
    let unless_null =
        |list: String| format!("CASE raw WHEN 'null' THEN NULL ELSE ARRAY({list}) END");
    match kind {
        // Not cast: a fraction must not be rounded away.
        CellType::Int2 | CellType::Int4 | CellType::Int8 => format!("trim_scale({text}::numeric)"),
        CellType::Jsonb => "nullif(raw, 'null')::jsonb".to_owned(),
        CellType::Json => "nullif(raw, 'null')".to_owned(),
        CellType::TextArray => unless_null(format!("SELECT {elements}")),
        CellType::Int8Array => unless_null(format!(
            "SELECT trim_scale(e::numeric)::text FROM {elements} AS e"
        )),
        _ => format!("{text}::{}", kind.name()),
    }
}

fn quoted(pattern: &str) -> BoxedStrategy<String> {
    let text = proptest::string::string_regex(pattern).unwrap();
    text.prop_map(|text| serde_json::to_string(&text).unwrap())
        .boxed()
}

fn written(pattern: &str) -> BoxedStrategy<String> {
    proptest::string::string_regex(pattern).unwrap().boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(values).prop_map(str::to_owned).boxed()
}

/// Any value, mostly near the edge of some type.
fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => one_of(&["null", "true", "false", "\"true\"", "\"\"", "\"null\"", "\"12\"", "{}", "[]", "-0", "0.0", "-0.0", "0e5"]),
        1 => one_of(&[
            "32767", "32768", "-32768", "-32769", "2147483647", "2147483648", "-2147483648", "-2147483649",
            "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
            "9007199254740993", "9007199254740993.0", "9223372036854775807.0", "922337203685477580.7e1", "16777217", "16777217.0",
            "1.0000000000000000000001", "-1.5", "4.0", "40e-1", "4e0", "1E2", "1e18", "1e19", "1e400", "-1e400", "1e-400", "1e39",
            "3.4028236e38", "1e-46", "4e-46", "1e-45", "5e-324", "2e-324", "1.7976931348623159e308", "0.1", "1e999", "1e1000",
            "1e-999", "12345678901234567890123456789012345678901234567890", "1e999999999999999999999",
        ]),
        3 => any::<i64>().prop_map(|number| number.to_string()),
        3 => any::<f64>().prop_filter_map("not JSON", |number| serde_json::to_string(&number).ok()),
        3 => written("-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?"),
        3 => quoted("\\PC{0,12}"),
        2 => quoted("[^\0]{0,12}"),
        2 => written("\"([a-zé€😀]|\\\\u00[0-9a-f]{2}|\\\\u[0-9a-f]{4}|\\\\ud83d\\\\ude00|\\\\[nrtbf/\"\\\\]){0,6}\""),
        1 => quoted("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        3 => quoted("(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"),
        4 => quoted(
            "(0[01]|19|20|99)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-4]):[0-5][0-9]\
             (:[0-6][0-9](\\.[0-9]{1,9})?)?(Z|z|[+-](0[0-9]|1[0-9]|2[0-5])(:?[0-6][0-9])?)?",
        ),
        1 => one_of(&[
            "\"0000-01-01\"", "\"0001-01-01\"", "\"9999-12-31\"", "\"10000-01-01\"", "\"+12026-01-01\"", "\"20260131\"",
            "\"2026-02-29\"", "\"2024-02-29\"", "\"2026-W05-6\"", "\"2026-1-31\"", "\"infinity\"", "\"now\"", "\"today\"", "\"epoch\"",
            "\"2016-12-31T23:59:60Z\"", "\"0000-01-01T00:00:00Z\"", "\"-000044-03-15T00:00:00Z\"", "\"2026-01-31T24:00:00Z\"",
            "\"2026-01-31T12:00:00+01:00[Europe/Paris]\"", "\"2026-01-31T12:00:00,5Z\"", "\"20260131T120000Z\"",
            "\"2026-01-31T12:00:00.1234567\"", "\"2026-01-31T12:00:00.1234560\"", "\"2026-01-31T12:00:00−01:00\"",
            "\"0001-01-01T00:00:00.000Z\"", "\"0001-01-01T00:00:00+15:59\"", "\"9999-12-31T23:59:59.999999Z\"",
            "\"9999-12-31T23:59:59-15:00\"", "\"2026-01-31T12:00:00-00:00\"", "\"2026-01-31T12:00:00 Z\"", "\"2026-01-31 \"",
        ]),
    ]
}

/// Scalars, and lists and objects of them, with keys twice and spaces.
fn json() -> impl Strategy<Value = String> {
    scalar().prop_recursive(3, 12, 4, |inner| {
        let key = prop_oneof![
            one_of(&["\"a\"", "\"b\"", "\"\\u0061\"", "\"\""]),
            quoted("\\PC{0,4}")
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec((key, inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(key, value)| format!("{key} : {value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn list_of(element: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let elements = prop::collection::vec(element, 0..5);
    elements
        .prop_map(|items| format!("[{}]", items.join(", ")))
        .boxed()
}

/// What fits a type and must not be refused.
fn fitting(kind: CellType) -> BoxedStrategy<String> {
    let millis = || -62_135_596_800_000_i64..253_402_300_799_999;
    let time = |form: &'static str| {
        move |millis: i64| {
            let time = jiff::Timestamp::from_millisecond(millis).unwrap();
            time.strftime(form).to_string()
        }
    };
    match kind {
        CellType::Bool => one_of(&["true", "false"]),
        CellType::Int2 => any::<i16>().prop_map(|number| number.to_string()).boxed(),
        CellType::Int4 => any::<i32>().prop_map(|number| number.to_string()).boxed(),
        CellType::Int8 => any::<i64>()
            .prop_map(|number| format!("{number}.0"))
            .boxed(),
        CellType::Float4 => prop::num::f32::NORMAL
            .prop_map(|number| format!("{number:e}"))
            .boxed(),
        CellType::Float8 => prop::num::f64::NORMAL
            .prop_map(|number| format!("{number:e}"))
            .boxed(),
        CellType::Text => quoted("[^\0]{0,40}"),
        CellType::Timestamptz => millis()
            .prop_map(time("\"%Y-%m-%dT%H:%M:%S.%3f+00:00\""))
            .boxed(),
        CellType::Timestamp => millis().prop_map(time("\"%Y-%m-%d %H:%M:%S\"")).boxed(),
        CellType::Date => millis().prop_map(time("\"%Y-%m-%d\"")).boxed(),
        CellType::Jsonb | CellType::Json => {
            let leaf = prop_oneof![
                quoted("[^\0]{0,9}"),
                any::<i64>().prop_map(|number| number.to_string())
            ];
            list_of(list_of(leaf.boxed()))
        }
        CellType::TextArray => list_of(quoted("[^\0]{0,9}")),
        CellType::Int8Array => list_of(any::<i64>().prop_map(|number| number.to_string()).boxed()),
    }
}

/// What does not stand in the table as PostgreSQL makes it: types and texts.
async fn differing(client: &Client, raws: &[String], copied: &mut [usize; 14]) -> String {
    let mut wrong = String::new();
    for (count, kind) in copied.iter_mut().zip(CellType::ALL) {
        let (name, judge) = (kind.name(), judge(kind));
        let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for (place, raw) in raws.iter().enumerate() {
            let start = data.len();
            data.extend([0, 2, 0, 0, 0, 4]);
            data.extend(i32::try_from(place).unwrap().to_be_bytes());
            match kind.encode(Some(raw), &mut data) {
                Ok(()) => *count += 1,
                Err(_) => data.truncate(start),
            }
        }
        data.extend((-1_i16).to_be_bytes());
        let table =
            format!("DROP TABLE IF EXISTS cells; CREATE TABLE cells (place integer, value {name})");
        client.batch_execute(&table).await.unwrap();
        let sink = client
            .copy_in::<_, Bytes>("COPY cells FROM STDIN (FORMAT binary)")
            .await
            .unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(data.into()).await.unwrap();
        if let Err(error) = sink.finish().await {
            let _ = writeln!(wrong, "{name}: {:?}", error.as_db_error());
            continue;
        }
        // One by one, so that what PostgreSQL itself refuses is named too.
        let judged = client
            .query(
                &format!(
                    "SELECT raw, value::text FROM cells JOIN unnest($1::text[]) WITH ORDINALITY AS r (raw, number) \
                     ON number = place + 1 WHERE value::text IS DISTINCT FROM ({judge})::text"
                ),
                &[&raws],
            )
            .await;
        match judged {
            Ok(rows) => {
                for row in rows {
                    let (raw, value): (&str, Option<&str>) = (row.get(0), row.get(1));
                    let _ = writeln!(wrong, "{name}: {raw} became {value:?}");
                }
            }
            Err(error) => {
                let _ = writeln!(
                    wrong,
                    "{name}: PostgreSQL refuses one: {:?}",
                    error.as_db_error()
                );
            }
        }
    }
    wrong
}

#[tokio::test]
async fn a_value_is_stored_as_postgresql_itself_casts_it() {
    let client = testing::database().await;
    client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let mut runner = TestRunner::deterministic();
    let values = prop_oneof![3 => scalar(), 1 => json()];
    let raws: Vec<String> = (0..4000)
        .map(|_| values.new_tree(&mut runner).unwrap().current())
        .collect();
    let mut copied = [0; 14];
    let wrong = differing(&client, &raws, &mut copied).await;
    assert!(wrong.is_empty(), "{wrong}");
    assert!(copied.iter().all(|count| *count > 50), "{copied:?}");
    // What fits is not refused.
    for kind in CellType::ALL {
        let fitting = fitting(kind);
        let raws: Vec<String> = (0..300)
            .map(|_| fitting.new_tree(&mut runner).unwrap().current())
            .collect();
        for raw in &raws {
            assert!(encoded(kind, raw).is_ok(), "{kind:?} refuses {raw}");
        }
        let wrong = differing(&client, &raws, &mut copied).await;
        assert!(wrong.is_empty(), "{wrong}");
    }
}
