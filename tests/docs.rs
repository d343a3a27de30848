//! What the documentation names as the keeper of a promise is there.

use std::collections::BTreeSet;
use std::path::Path;

const RELIABILITY: &str = include_str!("../docs/reliability.md");

/// The names of all tests, and of the files that have some.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["src", "tests", "crates"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in walkdir::WalkDir::new(root).into_iter().flatten() {
            if entry.path().extension().is_none_or(|end| end != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
                let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) else {
                    continue;
                };
                is_test = false;
                found.extend(rest.split('(').next().map(str::to_owned));
                let module = entry.path().file_stem().unwrap();
                found.insert(module.to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// What stands between backticks and could be a name in Rust.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |text: &&str| {
        let mut bytes = text.bytes();
        bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    text.split('`').skip(1).step_by(2).filter(is_name)
}

#[test]
fn every_test_that_the_documentation_names_is_there() {
    let tests = tests();
    let mut named = BTreeSet::new();
    for line in RELIABILITY.lines() {
        match line.strip_prefix('|') {
            // The test is in the last column.
            Some(row) => named.extend(
                row.trim_end_matches('|')
                    .rsplit('|')
                    .take(1)
                    .flat_map(names),
            ),
            // Columns and commands have shorter names.
            None => named.extend(names(line).filter(|name| name.matches('_').count() > 1)),
        }
    }
    assert!(named.len() > 30, "{named:?}");
    let missing: Vec<&str> = named
        .into_iter()
        .filter(|name| !tests.contains(*name))
        .collect();
    assert!(missing.is_empty(), "there is no test {missing:?}");
}
