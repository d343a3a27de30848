use proptest::prelude::*;

use super::*;

fn encoded(kind: CellType, raw: &str) -> Result<Vec<u8>, Misfit> {
    let mut out = Vec::new();
    kind.encode(Some(raw), &mut out).map(|()| out.split_off(4))
}

fn refusal(kind: CellType, raw: &str) -> String {
    encoded(kind, raw).unwrap_err().0
}

#[test]
fn a_value_that_would_change_is_refused_with_a_reason_that_does_not_quote_it() {
    use CellType::{Bool, Date, Float8, Int2, Int4, Int8, Jsonb, Text, TextArray, Timestamptz};
    let cases = [
        (Int4, "1.5"),
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
        (Timestamptz, "\"2026-02-30T00:00:00.000Z\""),
        (Timestamptz, "\"yesterday\""),
        (Timestamptz, "\"2026-01-31T12:00:00\""),
        (Date, "\"2026-13-01\""),
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
    Timestamptz "2026-02-30T00:00:00.000Z": the text is no timestamp with a time zone, such as 2026-01-31T12:00:00Z
    Timestamptz "yesterday": the text is no timestamp with a time zone, such as 2026-01-31T12:00:00Z
    Timestamptz "2026-01-31T12:00:00": the text is no timestamp with a time zone, such as 2026-01-31T12:00:00Z
    Date "2026-13-01": the text is no date, such as 2026-01-31
    Jsonb {"a":"\u0000"}: a text in the document holds a NUL character, which PostgreSQL cannot store
    Jsonb [1e9999]: a number in the document has too large an exponent
    TextArray ["a",1]: a text is wanted, not a number
    "#);
    assert!(encoded(Jsonb, &"[".repeat(600)).is_err());
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
    fn any_text_arrives_as_it_is(text in "[^\0]*") {
        let raw = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(encoded(CellType::Text, &raw).unwrap(), text.as_bytes());
    }

    #[test]
    fn nothing_makes_it_panic(raw in "[\"\\\\\\[\\]{}:,eE0-9a-z.+-]{0,30}", kind in 0_usize..14) {
        use CellType::{Bool, Date, Float4, Float8, Int2, Int4, Int8, Int8Array, Json, Jsonb, Text, TextArray, Timestamp, Timestamptz};
        let kinds = [Bool, Int2, Int4, Int8, Float4, Float8, Text, Timestamptz, Timestamp, Date, Jsonb, Json, TextArray, Int8Array];
        let _ = encoded(kinds[kind], &raw);
    }
}
