//! What a read gave, and what proves that it is complete.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::proof::{self, Answers, Doubt, PageFacts, PageObservation};
use crate::staging::{Evidence, PageEntry, SmallerPages, State, Window};

/// Places named in a note; the others are counted.
const NAMED: usize = 5;

#[derive(Debug, Default)]
pub(super) struct ReadResult {
    pub(super) pages: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) hits: u64,
    /// Rows that the server announced at the first page (of all slices).
    pub(super) announced: Option<u64>,
    pub(super) evidence: Evidence,
    /// The server's time at the first answer.
    pub(super) first_date: Option<Timestamp>,
    /// Records from before their window.
    pub(super) outside: u64,
    /// Rows a page, and since when.
    pub(super) page_size: Option<SmallerPages>,
    pub(super) answers: Answers,
    /// Places that could not be read, by reason.
    pub(super) failures: BTreeMap<String, Vec<String>>,
    /// The first page of a list is among them: no answer speaks of that list.
    pub(super) lost: bool,
}

impl ReadResult {
    pub(super) fn add(&mut self, entry: &PageEntry, facts: &PageFacts) {
        self.pages += 1;
        self.rows += entry.rows;
        self.bytes += entry.bytes;
        self.hits += u64::from(entry.attempts);
        self.outside += facts.outside;
        self.first_date = match (self.first_date, entry.server_date) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.answers.add(entry, facts);
    }

    /// Whether the API ignores windows of time.
    pub(super) fn is_rangeless(&self) -> bool {
        proof::ignores_range(self.outside, self.rows)
    }

    /// Adds what the first page of a slice announces.
    pub(super) fn announce(&mut self, head: &PageObservation, is_one_of_many: bool) {
        self.announced = match (self.announced, head.total) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        if !is_one_of_many && head.descending {
            self.evidence.highest_id = head.first;
        }
    }

    /// How sure it is that nothing in `needed` is missing. What is missing becomes notes.
    pub(super) fn state(&mut self, needed: Window) -> State {
        let doubts = self.answers.doubts(needed);
        if doubts.is_empty() && !self.lost {
            return State::Complete;
        }
        let notes = &mut self.evidence.notes;
        if self.failures.is_empty() {
            notes.extend(doubts.iter().take(NAMED).map(ToString::to_string));
            if let Some(others @ 1..) = doubts.len().checked_sub(NAMED) {
                notes.push(format!("and so in {others} more slices"));
            }
        }
        for (reason, places) in &self.failures {
            let mut named = places[..places.len().min(NAMED)].join(", ");
            if let Some(others @ 1..) = places.len().checked_sub(NAMED) {
                let _ = write!(named, " and {others} more");
            }
            let are = if places.len() == 1 { "is" } else { "are" };
            notes.push(format!("{named} {are} missing: {reason}"));
        }
        let is_hole = |doubt: &Doubt| matches!(doubt, Doubt::Hole(_));
        if self.lost || !self.failures.is_empty() || doubts.iter().any(is_hole) {
            State::Partial
        } else {
            State::Drifted
        }
    }
}
