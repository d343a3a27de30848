use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::database::testing;

mod round_trip;

fn encoded(kind: CellType, raw: &str) -> Result<Vec<u8>, Misfit> {
    let mut out = Vec::new();
    kind.encode(Some(raw), &mut out).map(|()| out.split_off(4))
}

fn refusal(kind: CellType, raw: &str) -> String {
    encoded(kind, raw).unwrap_err().0
}

#[test]
fn a_value_that_would_change_is_rejected_without_quoting_it() {
    use CellType::{
        Bool, Date, Float4, Float8, Int2, Int4, Int8, Jsonb, Text, TextArray, Timestamp,
        Timestamptz,
    };
    let cases = [
        (Int4, "1.5"),
        (Int8, "1.0000000000000000000001"),
        (Int8, "1e400"),
        (Int4, "2147483648"),
        (Int2, "-32769"),
        (Int8, "9223372036854775808"),
        (Int8, "\"12\""),
        (Int8, "{}"),
        (Bool, "1"),
        (Text, "12"),
        (Text, "\"a\\u0000b\""),
        (Text, "\"\\ud800\""),
        (Float8, "9007199254740993"),
        (Float8, "1e999"),
        (Float4, "1e-50"),
        (Timestamptz, "\"2026-02-30T00:00:00.000Z\""),
        (Timestamptz, "\"yesterday\""),
        (Timestamptz, "\"2026-01-31T12:00:00\""),
        (Timestamptz, "\"2016-12-31T23:59:60Z\""),
        (Timestamp, "\"2026-01-31T12:00:00+01:00\""),
        (Timestamp, "\"2026-01-31T12:00:00.1234567\""),
        (Date, "\"2026-13-01\""),
        (Date, "\"0000-01-01\""),
        (Jsonb, "{\"a\":\"\\u0000\"}"),
        (Jsonb, "[1e9999]"),
        (TextArray, "[\"a\",1]"),
    ];
    let text: String = cases
        .iter()
        .map(|(kind, raw)| format!("{kind:?} {raw}: {}\n", refusal(*kind, raw)))
        .collect();
    insta::assert_snapshot!(text, @r#"
    Int4 1.5: a whole number is wanted, not one with a fraction
    Int8 1.0000000000000000000001: a whole number is wanted, not one with a fraction
    Int8 1e400: the number is out of the range of bigint
    Int4 2147483648: the number is out of the range of integer
    Int2 -32769: the number is out of the range of smallint
    Int8 9223372036854775808: the number is out of the range of bigint
    Int8 "12": a whole number is wanted, not a text
    Int8 {}: a whole number is wanted, not an object
    Bool 1: true or false is wanted, not a number
    Text 12: a text is wanted, not a number
    Text "a\u0000b": the text holds a NUL character, which PostgreSQL cannot store
    Text "\ud800": the text has an escape that is no character
    Float8 9007199254740993: the number has more digits than double precision holds
    Float8 1e999: the number is out of the range of double precision
    Float4 1e-50: the number is out of the range of real
    Timestamptz "2026-02-30T00:00:00.000Z": the text is no timestamp with a time zone, such as 2026-01-31T12:00:00Z
    Timestamptz "yesterday": the text is no timestamp with a time zone, such as 2026-01-31T12:00:00Z
    Timestamptz "2026-01-31T12:00:00": the text is no timestamp with a time zone, such as 2026-01-31T12:00:00Z
    Timestamptz "2016-12-31T23:59:60Z": the text is no timestamp with a time zone, such as 2026-01-31T12:00:00Z
    Timestamp "2026-01-31T12:00:00+01:00": the timestamp is in another time zone than UTC; only a column of the type timestamptz can hold it
    Timestamp "2026-01-31T12:00:00.1234567": the timestamp is finer than a microsecond
    Date "2026-13-01": the text is no date, such as 2026-01-31
    Date "0000-01-01": the text is no date, such as 2026-01-31
    Jsonb {"a":"\u0000"}: a text in the document holds a NUL character, which PostgreSQL cannot store
    Jsonb [1e9999]: a number in the document has too large an exponent
    TextArray ["a",1]: a text is wanted, not a number
    "#);
    assert!(encoded(Jsonb, &"[".repeat(600)).is_err());
    // As jsonb more than 256 MB.
    let huge = format!("[{}1]", "1,".repeat(16 << 20));
    assert!(refusal(Jsonb, &huge).contains("larger than PostgreSQL takes"));
}

#[test]
fn whole_numbers_written_as_floats_are_whole_numbers() {
    assert_eq!(encoded(CellType::Int4, "4.0").unwrap(), 4_i32.to_be_bytes());
    assert_eq!(
        encoded(CellType::Int8, "-1e3").unwrap(),
        (-1000_i64).to_be_bytes()
    );
}

#[test]
fn null_and_absent_are_null_and_the_text_null_is_a_text() {
    for raw in [None, Some("null")] {
        let mut out = Vec::new();
        CellType::Text.encode(raw, &mut out).unwrap();
        assert_eq!(out, (-1_i32).to_be_bytes());
    }
    assert_eq!(encoded(CellType::Text, "\"NULL\"").unwrap(), b"NULL");
}

#[test]
fn a_misfit_leaves_nothing_behind() {
    let mut out = vec![7];
    assert!(
        CellType::TextArray
            .encode(Some("[\"a\",1]"), &mut out)
            .is_err()
    );
    assert_eq!(out, [7]);
}

proptest! {
    #[test]
    fn the_quick_timestamp_equals_the_library(millis in 0_i64..4_102_444_800_000) {
        let time = jiff::Timestamp::from_millisecond(millis).unwrap();
        let text = time.strftime("\"%Y-%m-%dT%H:%M:%S.%3fZ\"").to_string();
        let micros = (millis - 946_684_800_000) * 1000;
        prop_assert_eq!(encoded(CellType::Timestamptz, &text).unwrap(), micros.to_be_bytes());
    }

    #[test]
    fn any_text_is_a_field_or_leaves_nothing(raw in "[\"\\\\\\[\\]{}:,eE0-9a-z.+-]{0,30}", kind in 0_usize..14) {
        let mut field = Vec::new();
        match CellType::ALL[kind].encode(Some(&raw), &mut field) {
            Ok(()) => {
                let (length, value) = field.split_first_chunk().unwrap();
                prop_assert_eq!(usize::try_from(i32::from_be_bytes(*length)), Ok(value.len()));
            }
            Err(_) => prop_assert!(field.is_empty()),
        }
    }
}

/// JSON as somebody may write it: spaces, escapes, keys twice, numbers of many forms.
pub(crate) fn document() -> impl Strategy<Value = String> {
    let leaves = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-0.0",
        "0.0",
        "1.50",
        "1.5",
        "-7",
        "1e2",
        "12345678901234567890",
        "\"\"",
        "\"a\"",
        "\"é\"",
        "\"\\u00e9\"",
        "\"\\u0001\"",
        "\"\\/\"",
        "\"/\"",
        "\"\\\\\\\"\\n\\t\\b\\f\\r\"",
        "\"\\ud83d\\ude00\"",
        "\"\\u007f\"",
    ];
    let keys = ["\"a\"", "\"b\"", "\"aa\"", "\"é\"", "\"\"", "\"\\u0061\""];
    let space = || prop::sample::select(vec!["", "", " ", "\n\t"]);
    let leaf = prop::sample::select(leaves.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(3, 20, 4, move |inner| {
        let member = (prop::sample::select(keys.to_vec()), space(), inner.clone())
            .prop_map(|(key, space, value)| format!("{space}{key}{space}:{space}{value}{space}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec(member, 0..4)
                .prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_is_accepted_refused_or_of_no_type_that_is_asked_for(
        raw in document(),
        accepted in prop::collection::vec(document(), 1..4),
    ) {
        let parse = |raw: &str| serde_json::from_str::<serde_json::Value>(raw).unwrap();
        // What pipeline.toml can ask for.
        let is_literal = |value: &Value| value.is_boolean() || value.is_string() || value.is_i64();
        let accepted: Vec<Value> = accepted.iter().map(|raw| parse(raw)).filter(is_literal).collect();
        let value = parse(&raw);
        prop_assert_eq!(accepts(None, &accepted).unwrap_err().0, "null");
        let kind = |value: &Value| (value.is_boolean(), value.is_string(), value.is_number());
        let is_comparable = |other: &&Value| kind(other) == kind(&value);
        match accepts(Some(&raw), &accepted) {
            Ok(true) => prop_assert!(accepted.contains(&value) || value.as_f64().is_some()),
            Ok(false) => {
                prop_assert!(!accepted.contains(&value));
                prop_assert!(accepted.is_empty() || accepted.iter().any(|it| is_comparable(&it)));
            }
            Err(("null", _)) => prop_assert!(value.is_null()),
            // A number with a fraction is none that can be asked for.
            Err((_, _)) => prop_assert!(value.is_number() || !accepted.iter().any(|it| is_comparable(&it))),
        }
    }
}
