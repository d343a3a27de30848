//! Snapshots of what people read, without what differs from run to run. Knows no promise.

use super::{Ran, Workdir};

/// What differs from run to run, in the order of replacement.
const VARYING: [(&str, &str); 19] = [
    (r"http://127\.0\.0\.1:\d+|127\.0\.0\.1:\d{4,5}", "[API]"),
    (r"\d{8}T\d{6}Z", "[RUN]"),
    (r"\d{4}-\d\d-\d\d/T\d{6}Z", "[DAY/TIME]"),
    (
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00)?",
        "[TIME]",
    ),
    (r"\b[0-9a-f]{64}\b", "[SHA256]"),
    (r"test_\d+_\d+", "[DATABASE]"),
    (r"PostgreSQL \d+(\.\d+|beta\d|rc\d)", "PostgreSQL [VERSION]"),
    (
        r"(\d+(ms|us|ns|s|m|h|days?|months?|years?) ?)+\b",
        "[DURATION]",
    ),
    (
        r"(complete|ends in|\|) \d+ (s|min|h|days?)( \d+ (min|h))?\b",
        "$1 [AGE]",
    ),
    (
        r"\b\d+(\.\d)? (ms|s|min|h|days?)( \d+ (min|h))?\b",
        "[DURATION]",
    ),
    // An age of two digits breaks the line of a narrow table elsewhere.
    (
        r"younger than\s+every\s+=\s+\[DURATION\]",
        "younger than every = [DURATION]",
    ),
    (r"host=\S+", "host=[SOCKET]"),
    (r"/\S*/\.s\.PGSQL\.\d+", "[SOCKET]"),
    (r"this hour: [\d,]+ of", "this hour: [HITS] of"),
    (r"[\d.]+ [MG]B( and [\d,]+ files)? free", "[ROOM] free"),
    (r"the programs in \S+", "the programs in [PROGRAMS]"),
    (r"[\d.]+ [MG]B( and [\d,]+ files)? free", "[ROOM] free"),
    (r"the programs in \S+", "the programs in [PROGRAMS]"),
    (r"[ \t]+\n", "\n"),
];

/// The snapshot settings of a working directory.
pub(crate) fn settings(workdir: &Workdir) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let root = workdir.path("").display().to_string();
    let root = root.trim_end_matches('/').replace('.', r"\.");
    settings.add_filter(&root, "[DIR]");
    for (pattern, name) in VARYING {
        settings.add_filter(pattern, name);
    }
    settings
}

/// Compares what a command said, on both streams, and its exit code.
#[track_caller]
pub(crate) fn assert_said(name: &str, workdir: &Workdir, ran: &Ran) {
    let said = tables(&ran.to_string());
    settings(workdir).bind(|| insta::assert_snapshot!(name, said));
}

/// Tables without their padding, which follows what differs, and without the times of a last column `ms`.
fn tables(text: &str) -> String {
    let mut lines = Vec::new();
    let mut in_table = false;
    let mut has_times = false;
    for line in text.lines() {
        if line.starts_with('─') {
            in_table = !in_table;
            has_times = false;
            continue;
        }
        if !in_table {
            lines.push(line.to_owned());
            continue;
        }
        if line.starts_with('═') {
            continue;
        }
        let mut cells: Vec<&str> = line
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        if has_times && let Some(last) = cells.last_mut() {
            *last = "[MS]";
        }
        has_times |= cells.last() == Some(&"ms");
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    lines.join("\n")
}

/// Compares a text.
#[track_caller]
pub(crate) fn assert_text(name: &str, workdir: &Workdir, text: &str) {
    settings(workdir).bind(|| insta::assert_snapshot!(name, text));
}

/// Compares tables that were fitted to a terminal: which columns they have, not how much of a text is left, which follows what
/// differs.
#[track_caller]
pub(crate) fn assert_tables(name: &str, workdir: &Workdir, text: &str) {
    let mut settings = settings(workdir);
    settings.add_filter(r"\| [^|\n]*…", "| …");
    // The width of a time in a record follows its fraction of a second, and the bytes of a page with it.
    settings.add_filter(
        r"(?m)^(\| \S+/page-\d+\.json\.gz .*\| )[\d,]+ \| (?:\d+|\[MS\]) \|$",
        "$1[BYTES] | [MS] |",
    );
    settings.add_filter(
        r"(?m)^(\| \w+ \| full \| complete \| [^|]+ \| \d+ \| [\d,]+ \| [\d,]+ \| )[\d,]+ \|$",
        "$1[BYTES] |",
    );
    settings.add_filter(
        r"removed(,| \|) [\d,]+( \||\s+bytes)",
        "removed$1 [BYTES]$2",
    );
    // How wide a time is follows its fraction of a second.
    settings.add_filter(r"(?m)^\| (\w+_(?:at|date)) \| .*\|$", "| $1 | [TIMES] |");
    // The same, where rows are stacked.
    settings.add_filter(r"(?m)^(ms|bytes): \d.*$", "$1: [FIGURE]");
    settings.add_filter(
        r"ago, which is younger\s+than",
        "ago, which is younger than",
    );
    settings.bind(|| insta::assert_snapshot!(name, tables(text)));
}
