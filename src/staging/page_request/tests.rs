//! Requests as both formats of the journal write them.

use proptest::prelude::*;

use super::*;
use crate::staging::{PageEntry, journal};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,12}", "[ -~é日]{0,8}"]
}

/// What the configuration can add to a list: `page`, `sort` and ranges of time are not in its hands.
fn parameter() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        text().prop_map(|field| format!("filter[{field}]")),
        text().prop_filter("set by cursus", |name| {
            !name.starts_with("page") && !name.starts_with("range") && name != "sort"
        }),
        Just("range[begin_at]".to_owned()),
    ];
    let values = text().prop_filter("a window", |value| {
        let times = value.split_once(',');
        times.is_none_or(|(start, _)| start.parse::<Timestamp>().is_err())
    });
    (name, values)
}

/// Path and query as the API's client encodes them.
fn list() -> impl Strategy<Value = String> {
    let path = prop_oneof![Just("/v2/users"), Just("/v2/cursus/21/été"), Just("/")];
    (path, prop::collection::vec(parameter(), 0..4)).prop_map(|(path, query)| {
        let request = crate::api::Request {
            path: path.to_owned(),
            query,
            ..crate::api::Request::default()
        };
        request.target()
    })
}

fn time() -> impl Strategy<Value = Timestamp> {
    let (first, last) = (crate::proof::EARLIEST, crate::proof::LATEST);
    (first.as_nanosecond()..=last.as_nanosecond())
        .prop_map(|time| Timestamp::from_nanosecond(time).unwrap())
}

prop_compose! {
    fn request()(
        list in list(),
        window in prop::option::of((text(), time(), time())),
        sort in prop::option::of(prop_oneof![Just("-id".to_owned()), text()]),
        id_range in prop::option::of(any::<(i64, i64)>()),
        page_size in 1_u64..=100,
        page_number in 1_u64..=1_000_000,
    ) -> PageRequest {
        let window = window.filter(|(field, ..)| field != "id" && !field.contains(']'));
        PageRequest {
            list,
            window: window.map(|(field, start, end)| FieldWindow::new(&field, Window { start, end })),
            sort,
            id_range,
            page_size,
            page_number,
        }
    }
}

fn entry(page_request: PageRequest) -> PageEntry {
    PageEntry {
        page: 1,
        slice: None,
        request: page_request.target(),
        page_request,
        status: 200,
        rows: 0,
        bytes: 0,
        sha256: String::new(),
        x_total: None,
        per_page: None,
        first_id: None,
        last_id: None,
        fetched_at: Timestamp::UNIX_EPOCH,
        server_date: None,
        duration_ms: 0,
        attempts: 1,
        replaces: None,
        rewritten: None,
    }
}

const FIELDS: [&str; 6] = [
    "list",
    "window",
    "sort",
    "id_range",
    "page_size",
    "page_number",
];

proptest! {
    #[test]
    fn both_formats_ask_for_the_same_page(request in request()) {
        let entry = entry(request);
        prop_assert!(entry.agrees());
        let line = serde_json::to_vec(&entry).unwrap();
        prop_assert_eq!(&journal::page_of(&line).unwrap(), &entry);
        let mut first: serde_json::Value = serde_json::from_slice(&line).unwrap();
        for field in FIELDS {
            first.as_object_mut().unwrap().remove(field);
        }
        let first = serde_json::to_vec(&first).unwrap();
        let first = journal::page_of(&first).unwrap();
        prop_assert!(first.agrees());
        prop_assert_eq!(&first, &entry);
    }

    #[test]
    fn target_is_what_the_client_sends(request in request(), query in prop::collection::vec(parameter(), 0..4)) {
        let mut shared = crate::api::Request { path: "/v2/users".to_owned(), query, ..Default::default() };
        let request = PageRequest { list: shared.target(), ..request };
        shared.query.extend(request.parameters());
        prop_assert_eq!(request.target(), shared.target());
    }

    #[test]
    fn any_request_of_format_1_is_read(request in "[ -~\\n\u{7f}é]{0,60}") {
        let parsed = legacy::parse(&request);
        prop_assert_eq!(legacy::parse(&parsed.target()).page_number, parsed.page_number);
    }
}

#[test]
fn line_with_invalid_request_fields_is_refused() {
    let request = PageRequest {
        list: "/v2/users".to_owned(),
        page_size: 100,
        page_number: 7,
        ..PageRequest::default()
    };
    let line = serde_json::to_value(entry(request)).unwrap();
    let read = |line: &serde_json::Value| journal::page_of(&serde_json::to_vec(line).unwrap());
    assert_eq!(read(&line).unwrap().page_request.page_number, 7);
    for field in ["list", "page_size", "page_number"] {
        let mut line = line.clone();
        line.as_object_mut().unwrap().remove(field);
        assert!(read(&line).is_err(), "without {field}");
    }
    let (most, range) = (crate::list_limits::MOST_RECORDS, serde_json::json!([0, 9]));
    for (field, value) in [
        ("page_number", 0.into()),
        ("page_number", (most + 1).into()),
        ("page_number", (-1).into()),
        ("page_size", 0.into()),
        ("page_size", (most + 1).into()),
        ("id_range", serde_json::json!([1])),
        ("id_range", serde_json::json!([0, u64::MAX])),
        (
            "window",
            serde_json::json!({"field": "updated_at", "start": "yesterday", "end": "now"}),
        ),
        ("window", range.clone()),
        ("sort", 1.into()),
        ("unknown", 1.into()),
    ] {
        let mut line = line.clone();
        line[field] = value;
        assert!(read(&line).is_err(), "{field}: {}", line[field]);
    }
    // A line of format 1 has none of the fields.
    let mut first = line;
    for field in FIELDS {
        first.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(read(&first).unwrap().page_request.page_number, 7);
    first["id_range"] = range;
    assert!(read(&first).is_err());
}

#[test]
fn line_with_another_request_disagrees() {
    let request = PageRequest {
        list: "/v2/users?filter%5Bkind%5D=student".to_owned(),
        sort: Some("-id".to_owned()),
        id_range: Some((0, 99)),
        page_size: 100,
        page_number: 1,
        window: None,
    };
    let entry = entry(request);
    assert!(entry.agrees());
    let text = "/v2/users?filter%5Bkind%5D=student&sort=-id&range%5Bid%5D=0%2C99&page%5Bsize%5D=100&page%5Bnumber%5D=1";
    assert_eq!(entry.request, text);
    for (from, to) in [
        ("student", "admin"),
        ("-id", "id"),
        ("%2C99", "%2C98"),
        ("=100", "=99"),
        ("%5D=1", "%5D=2"),
    ] {
        let mut other = entry.clone();
        other.request = text.replacen(from, to, 1);
        assert!(!other.agrees(), "{}", other.request);
    }
}
