//! What must be the same however often a command was stopped: rows, load ledger and staged records; no times, no serial numbers,
//! no names of runs. Knows no promise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cursus::staging::Staging;
use serde_json::Value;

use super::Workdir;

/// What differs from run to run in the load ledger; in tables of data only the second.
const OF_LEDGER: &str = "id, run_id, manifest_hash, window_start, window_end, cursor, loaded_at, created_at, approved_at, \
    started_at, finished_at, duration_ms, hits, version, ingested_at, applied_on, staging_id, origin, first_run, last_run, adopted_at, resources, reads, erasure, erased_at";
const OF_TABLES: &str = "ingested_at, applied_on";
/// The same in what the load ledger says of named reads.
const OF_READS: &str = r#""(cursor|window_end|finished_at)": "[^"]*""#;

/// Lines by where they are from.
pub(crate) type Lines = BTreeMap<String, Vec<String>>;

/// Every row of every schema.
pub(crate) async fn of_database(workdir: &Workdir) -> Lines {
    let tables = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' \
        AND table_schema !~ '^(pg_|information_schema)' ORDER BY 1, 2";
    let mut lines = Lines::new();
    for table in workdir.query(tables).await {
        let [Some(schema), Some(table)] = &table[..] else {
            panic!("a table without a name");
        };
        let varying = if schema == "pipeline" {
            OF_LEDGER
        } else {
            OF_TABLES
        };
        let rows = format!(
            "SELECT regexp_replace((to_jsonb(t) - '{{{varying}}}'::text[])::text, '{OF_READS}', '', 'g') FROM \"{schema}\".\"{table}\" AS t ORDER BY 1"
        );
        lines.insert(format!("{schema}.{table}"), workdir.column(&rows).await);
    }
    lines
}

/// Every staged record, by run number and resource, with what its manifest says.
pub(crate) fn of_staging(root: &Path) -> Lines {
    let mut lines = Lines::new();
    for run in Staging::new(root).runs().unwrap() {
        let seq = run.record().seq;
        let record = run.record();
        lines.insert(
            format!("run {seq}"),
            vec![format!(
                "{:?} {:?} {:?}",
                record.state, record.outcome, record.mode
            )],
        );
        for resource in run.resources().unwrap() {
            let Some(staged) = run.staged(&resource).unwrap() else {
                lines.insert(format!("run {seq}, {resource}"), vec!["open".to_owned()]);
                continue;
            };
            let manifest = staged.manifest();
            let mut records = BTreeSet::new();
            let mut body = Vec::new();
            for page in staged.pages() {
                staged.read(&page.unwrap(), &mut body).unwrap();
                let page: Vec<Value> = serde_json::from_slice(&body).unwrap();
                records.extend(page.iter().map(Value::to_string));
            }
            // A page may have been asked for twice.
            let said = format!(
                "{} {} of {:?}",
                manifest.mode, manifest.state, manifest.x_total
            );
            let all = std::iter::once(said).chain(records).collect();
            lines.insert(format!("run {seq}, {resource}"), all);
        }
    }
    lines
}

/// What a broken-off command may leave while it is broken off, and no longer.
pub(crate) fn left_over(root: &Path) -> Vec<String> {
    let is_left = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.path().extension() == Some("tmp".as_ref()) || name.starts_with(".removed-")
    };
    walkdir::WalkDir::new(root)
        .into_iter()
        .flatten()
        .filter(is_left)
        .map(|entry| entry.path().display().to_string())
        .collect()
}

/// Fails at the first thing that differs.
#[track_caller]
pub(crate) fn assert_same(found: &Lines, expected: &Lines, when: &str) {
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for name in names {
        let (Some(found), Some(expected)) = (found.get(name), expected.get(name)) else {
            let is = if found.contains_key(name) {
                "too much"
            } else {
                "missing"
            };
            panic!("{when}: {name} is {is}");
        };
        let more = found.iter().find(|line| !expected.contains(line));
        let less = expected.iter().find(|line| !found.contains(line));
        assert!(
            found == expected,
            "{when}: {name} differs ({} lines, not {})\nonly found: {more:?}\nonly expected: {less:?}",
            found.len(),
            expected.len()
        );
    }
}
