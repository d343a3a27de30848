//! A change as a `CloudEvents` 1.0 event in JSON, with Debezium's names in its data.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::change::Change;

#[derive(Serialize)]
struct Event<'c> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: &'static str,
    time: Timestamp,
    datacontenttype: &'static str,
    data: Data<'c>,
}

#[derive(Serialize)]
struct Data<'c> {
    op: &'c str,
    key: Option<&'c RawValue>,
    before: Option<&'c RawValue>,
    after: Option<&'c RawValue>,
    changed: &'c [String],
    source: Source<'c>,
    ts_ms: i64,
}

#[derive(Serialize)]
struct Source<'c> {
    run: &'c str,
    resource: Option<&'c str>,
    table: &'c str,
    file: Option<&'c str>,
    record: Option<i64>,
}

/// One line of JSON. `source` is `/cursus/SCHEMA`, `id` is `TABLE/SEQ`: together they are an event's own.
pub(crate) fn cloud_event(schema: &str, change: &Change) -> serde_json::Result<String> {
    serde_json::to_string(&Event {
        specversion: "1.0",
        id: format!("{}/{}", change.table, change.seq),
        source: format!("/cursus/{schema}"),
        r#type: "cursus.row.changed",
        time: change.seen_at,
        datacontenttype: "application/json",
        data: Data {
            op: &change.op,
            key: change.key.as_deref(),
            before: change.before.as_deref(),
            after: change.after.as_deref(),
            changed: &change.changed,
            source: Source {
                run: &change.run,
                resource: change.resource.as_deref(),
                table: &change.table,
                file: change.file.as_deref(),
                record: change.record,
            },
            ts_ms: change.seen_at.as_millisecond(),
        },
    })
}
