//! What others can hand to cursus, each read from any bytes: the targets of `make fuzz`. Its tests run them on their
//! corpora and on bytes of their own.
//!
//! A target must neither panic nor disagree with a slower reader of the same bytes.
#![expect(
    clippy::missing_panics_doc,
    reason = "to panic is how a target reports a bug"
)]

use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;
use postgres_types::Type;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::Config;
use crate::extract::inspect::Inspector;
use crate::list_limits::MOST_PAGES;
use crate::load::cell::{CellType, time};
use crate::pointer::Pointer;
use crate::proof::{self, Answers, PageFacts, PageObservation, PagesToRead};
use crate::staging::{Manifest, PageEntry, RunRecord, Window, journal};
use crate::walk::Walker;

/// A reader of any bytes.
pub type Target = fn(&[u8]);

/// Each target by the name of its corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("body", body),
    ("cells", cells),
    ("config", config),
    ("journal", journal),
    ("proof", proof),
    ("records", records),
    ("timestamps", timestamps),
];

/// The body of an answer.
pub fn body(input: &[u8]) {
    static CONFIG: LazyLock<Option<Config>> = LazyLock::new(|| Config::load(None).ok());
    for resource in CONFIG.iter().flat_map(|config| &config.resources) {
        let inspector = Inspector::new(resource, Some(Timestamp::UNIX_EPOCH), None);
        let _ = inspector.inspect(input);
    }
}

/// A column's type (the first byte), and a value for it.
pub fn cells(input: &[u8]) {
    let types = [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMP,
        Type::DATE,
        Type::JSONB,
        Type::JSON,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
    ];
    let Some((kind, value)) = input.split_first() else {
        return;
    };
    let Some(cell) = CellType::of(&types[usize::from(*kind) % types.len()]) else {
        return;
    };
    // The walker hands over nothing else.
    let Ok(raw) = serde_json::from_slice::<&RawValue>(value) else {
        return;
    };
    let mut field = Vec::new();
    match cell.encode(Some(raw.get()), &mut field) {
        Ok(()) => {
            let (length, value) = field.split_first_chunk().unwrap_or((&[0; 4], &[]));
            let length = i32::from_be_bytes(*length);
            assert!(length == -1 || usize::try_from(length) == Ok(value.len()));
        }
        Err(_) => assert!(field.is_empty(), "a refused value leaves nothing behind"),
    }
}

/// A `pipeline.toml`.
pub fn config(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Err(error) = Config::parse(text, None)
    {
        assert!(!error.to_string().is_empty());
    }
}

/// The pages of a journal's whole lines.
fn pages_of(journal: &[u8]) -> impl Iterator<Item = PageEntry> {
    let lines = journal.split_inclusive(|byte| *byte == b'\n');
    let whole = lines.filter(|line| line.ends_with(b"\n"));
    whole.filter_map(|line| journal::page_of(line).ok())
}

/// What stands beside staged pages: a journal, a manifest, or the record of a run.
pub fn journal(input: &[u8]) {
    if let Ok(index) = journal::index(Path::new("pages.jsonl"), input, None) {
        assert_eq!(index.lines.len(), pages_of(input).count());
    }
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(input) {
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        assert_eq!(
            serde_json::from_slice::<Manifest>(&text).ok(),
            Some(manifest)
        );
    }
    let _ = serde_json::from_slice::<RunRecord>(input);
}

/// A journal, for what its answers prove and what is still to be asked for.
pub fn proof(input: &[u8]) {
    let (mut seen, mut answers) = (Vec::new(), Answers::new(Some("updated_at")));
    for page in pages_of(input) {
        let ids: Vec<i64> = page.first_id.into_iter().chain(page.last_id).collect();
        seen.push(PageObservation::new(&page, &ids));
        let facts = PageFacts {
            rows: page.rows,
            ids,
            ..PageFacts::default()
        };
        answers.add(&page, &facts);
    }
    let all = Window {
        start: Timestamp::MIN,
        end: Timestamp::MAX,
    };
    let _ = answers.doubts(all);
    let was_asked = |number: &u64| {
        let mut pages = seen.iter().filter(|seen| seen.is_numbered());
        pages.any(|seen| seen.number == *number)
    };
    match proof::pages_to_read(&seen) {
        PagesToRead::Again(pages) => assert!(pages.iter().all(was_asked) && pages.is_sorted()),
        PagesToRead::Unread(pages) => {
            assert!(pages.len() <= 2 * seen.len() + 1, "they take no memory");
            assert!(pages.is_sorted_by(|one, other| one.end() < other.start()));
            for range in pages {
                assert!(1 <= *range.start() && range.start() <= range.end());
                assert!(*range.end() <= MOST_PAGES);
                assert!(
                    !seen
                        .iter()
                        .any(|seen| seen.is_numbered() && range.contains(&seen.number))
                );
            }
        }
    }
}

/// Pointers (the first line, between spaces), and a page.
pub fn records(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (pointers, page) = text.split_once('\n').unwrap_or(("/id", text));
    let pointers: Vec<Pointer> = pointers
        .split(' ')
        .filter_map(|pointer| Pointer::parse(pointer).ok())
        .collect();
    let mut walker = Walker::default();
    let places: Vec<_> = pointers
        .iter()
        .map(|pointer| (walker.add(pointer), walker.place(pointer)))
        .collect();
    let records = serde_json::from_str::<Vec<Value>>(page).ok();
    let walked = walker.page(page, |index, slots| {
        let record = (records.as_ref())
            .zip(usize::try_from(index).ok())
            .map(|(records, index)| &records[index]);
        for (pointer, (slot, place)) in pointers.iter().zip(&places) {
            assert!(!(place.is_there(slots) && place.is_absent(slots)));
            let Some(record) = record else { continue };
            let found = slots[*slot].map(|raw| serde_json::from_str::<Value>(raw).ok());
            let expected = pointer.find(record).cloned().map(Some);
            assert_eq!(found, expected, "{pointer}");
        }
    });
    assert!(records.is_none() || walked.is_ok());
}

/// Texts for columns of times.
pub fn timestamps(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let slow = text.parse::<Timestamp>().ok();
    if let (Ok(quick), Some(slow)) = (time::micros(text), slow) {
        assert_eq!(quick + 946_684_800_000_000, slow.as_microsecond(), "{text}");
    }
    let _ = time::local_micros(text);
    let _ = time::days(text);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let inputs = fs::read_dir(dir.join(target)).unwrap();
        let mut inputs: Vec<_> = inputs
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect();
        assert!(!inputs.is_empty(), "{target} has a corpus");
        if target == "config" {
            inputs.push(crate::embedded_files::PIPELINE.into());
        }
        inputs
    }

    /// An input of the corpus with a piece cut out, repeated or replaced.
    fn mutated(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        (
            prop::sample::select(inputs),
            any::<prop::sample::Index>(),
            0_usize..40,
            prop::collection::vec(any::<u8>(), 0..8),
            1_usize..4,
        )
            .prop_map(|(mut input, at, length, piece, times)| {
                let start = at.index(input.len() + 1);
                let end = (start + length).min(input.len());
                input.splice(start..end, piece.repeat(times));
                input
            })
    }

    #[test]
    fn corpora_and_mutations_of_them_are_read_or_refused() {
        for (name, target) in TARGETS {
            let inputs = corpus(name);
            for input in &inputs {
                target(input);
            }
            let mut runner = proptest::test_runner::TestRunner::default();
            let run = runner.run(&mutated(inputs), |input| {
                target(&input);
                Ok(())
            });
            assert!(run.is_ok(), "{name}: {run:?}");
        }
    }

    #[test]
    fn every_target_has_its_program() {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        let mut programs: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        // Of the API client, which feeds them itself.
        programs.retain(|name| !matches!(name.as_str(), "headers.rs" | "ledger.rs"));
        programs.sort();
        assert_eq!(programs, TARGETS.map(|(name, _)| format!("{name}.rs")));
    }
}
