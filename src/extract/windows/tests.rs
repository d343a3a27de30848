//! Lists without an order that change between any two answers: what was there all the time must be staged, whatever
//! its cursor is.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::scan::{PageSelector, by_numbers};
use super::{FirstPage, Lists, read, split};
use crate::proof::{Answers, EARLIEST, LATEST, PageFacts, PageObservation};
use crate::staging::{FieldWindow, PageEntry, PageRequest, Window};

const SIZE: u64 = 4;
const START: &str = "2026-01-01T00:00:00Z";

/// A change of the list, before some answer.
#[derive(Clone, Copy, Debug)]
enum Change {
    Insert,
    InsertUndated,
    Touch(u8),
    Remove(u8),
}

/// A server whose list changes while it is read; a row's place changes with its cursor.
struct Server {
    rows: RefCell<BTreeMap<i64, Option<Timestamp>>>,
    /// Rows that were there all the time.
    lasting: RefCell<BTreeSet<i64>>,
    changes: RefCell<Vec<Vec<Change>>>,
    /// Ids are not used twice.
    next: Cell<i64>,
    now: Cell<Timestamp>,
    /// Milliseconds between two requests.
    pace: i64,
    requests: Cell<u32>,
    answers: RefCell<Answers>,
    staged: RefCell<BTreeSet<i64>>,
}

impl Server {
    fn new(cursors: &[Option<Timestamp>], changes: Vec<Vec<Change>>, pace: i64) -> Self {
        let rows: BTreeMap<_, _> = (1..).zip(cursors.iter().copied()).collect();
        Self {
            lasting: RefCell::new(rows.keys().copied().collect()),
            rows: RefCell::new(rows),
            changes: RefCell::new(changes),
            next: Cell::new(1_000),
            now: Cell::new(START.parse().unwrap()),
            pace,
            requests: Cell::new(0),
            answers: RefCell::new(Answers::new(Some("updated_at"))),
            staged: RefCell::default(),
        }
    }

    fn advance(&self, milliseconds: i64) -> Timestamp {
        let later = self.now.get() + SignedDuration::from_millis(milliseconds);
        self.now.set(later);
        later
    }

    fn change(&self, change: Change) {
        let now = self.advance(7);
        let mut rows = self.rows.borrow_mut();
        let next = self.next.get();
        self.next.set(next + 1);
        let at = |place: u8, rows: &BTreeMap<i64, _>| {
            let place = usize::from(place) % rows.len().max(1);
            rows.keys().nth(place).copied()
        };
        match change {
            Change::Insert => drop(rows.insert(next, Some(now))),
            Change::InsertUndated => drop(rows.insert(next, None)),
            Change::Touch(place) => {
                let Some(id) = at(place, &rows) else { return };
                let cursor = rows.get_mut(&id).unwrap();
                // What has no time gets none, and what is far stays there.
                if cursor.is_some_and(|cursor| cursor <= now) {
                    *cursor = Some(now);
                }
            }
            Change::Remove(place) => {
                // Of rows without a time it is not proven if some are added while others are deleted (docs/hits.md).
                let Some(id) = at(place, &rows).filter(|id| rows[id].is_some()) else {
                    return;
                };
                rows.remove(&id);
                self.lasting.borrow_mut().remove(&id);
            }
        }
    }

    fn ask(
        &self,
        window: Option<Window>,
        number: u64,
    ) -> (PageEntry, PageObservation, Vec<Timestamp>) {
        for change in self.changes.borrow_mut().pop().unwrap_or_default() {
            self.change(change);
        }
        let now = self.advance(self.pace);
        let request = self.requests.get() + 1;
        self.requests.set(request);
        let rows = self.rows.borrow();
        let is_asked = |cursor: Option<Timestamp>| {
            window.is_none_or(|Window { start, end }| {
                cursor.is_some_and(|cursor| start <= cursor && cursor <= end)
            })
        };
        let mut listed: Vec<_> = rows
            .iter()
            .filter(|(_, cursor)| is_asked(**cursor))
            .collect();
        listed.sort_by_key(|(id, cursor)| {
            let moved = cursor.map_or(0, Timestamp::as_millisecond);
            ((*id * 7919 + moved) % 251, **id)
        });
        let skipped = usize::try_from((number - 1) * SIZE).unwrap();
        let page = listed
            .iter()
            .skip(skipped)
            .take(usize::try_from(SIZE).unwrap());
        let mut facts = PageFacts::default();
        for (id, cursor) in page {
            facts.rows += 1;
            let key = facts.note_id(Some(&id.to_string()));
            match cursor {
                Some(time) => facts.times.push(*time),
                None => facts.undated.extend(key),
            }
        }
        let total = listed.len() as u64;
        drop(listed);
        drop(rows);
        // The server takes its time after it has counted.
        for change in self.changes.borrow_mut().pop().unwrap_or_default() {
            self.change(change);
        }
        let end = self.advance(self.pace / 3);
        let entry = PageEntry {
            page: request,
            slice: None,
            request: String::new(),
            page_request: PageRequest {
                list: "/rows".to_owned(),
                window: window.map(|window| FieldWindow::new("updated_at", window)),
                page_size: SIZE,
                page_number: number,
                ..PageRequest::default()
            },
            status: 200,
            rows: facts.rows,
            bytes: 0,
            sha256: String::new(),
            x_total: Some(total),
            per_page: Some(SIZE),
            first_id: None,
            last_id: None,
            fetched_at: end,
            server_date: Some(Timestamp::from_second(end.as_second()).unwrap()),
            duration_ms: u64::try_from(end.duration_since(now).as_millis()).unwrap(),
            attempts: 1,
            replaces: None,
            rewritten: None,
        };
        self.staged.borrow_mut().extend(&facts.ids);
        self.answers.borrow_mut().add(&entry, &facts);
        let seen = PageObservation::new(&entry, &facts.ids);
        (entry, seen, facts.times)
    }

    fn read(&self, asked: Option<Window>) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(read(self, asked)).unwrap();
    }

    fn doubts(&self, start: Timestamp) -> Vec<String> {
        let needed = Window { start, end: LATEST };
        let doubts = self.answers.borrow().doubts(needed);
        doubts.iter().map(ToString::to_string).collect()
    }

    fn missed(&self) -> Vec<i64> {
        let (staged, lasting) = (self.staged.borrow(), self.lasting.borrow());
        lasting.difference(&staged).copied().collect()
    }
}

impl Lists for Server {
    type Error = ();

    async fn first(&self, window: Option<Window>) -> Result<Option<FirstPage>, ()> {
        let (entry, seen, times) = self.ask(window, 1);
        Ok(Some(FirstPage {
            split: split(&seen, &times),
            seen,
            is_rangeless: false,
            entry,
        }))
    }

    async fn rest(&self, window: Option<Window>, head: FirstPage) -> Result<(), ()> {
        if head.seen.shows_all() {
            return Ok(());
        }
        let ask = async |ask: PageSelector| Ok(Some(self.ask(window, ask.number).1));
        by_numbers(vec![head.seen], 3, ask).await
    }

    fn unaccounted(&self) -> Option<u64> {
        self.answers.borrow().unaccounted(None)
    }

    fn is_rangeless(&self) -> bool {
        false
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Mostly times of last year; some null, long past, or far ahead.
fn cursor() -> impl Strategy<Value = Option<Timestamp>> {
    let start = time(START);
    prop_oneof![
        12 => (1..30_000_000_i64).prop_map(move |ago| Some(start - SignedDuration::from_secs(ago))),
        1 => Just(None),
        1 => Just(Some(time("1969-07-20T20:17:40Z"))),
        1 => Just(Some(time("0001-01-01T00:00:00Z"))),
        1 => Just(Some(time("2099-01-01T00:00:00Z"))),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::Insert),
        1 => Just(Change::InsertUndated),
        3 => any::<u8>().prop_map(Change::Touch),
        2 => any::<u8>().prop_map(Change::Remove),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let some = prop_oneof![
        5 => Just(Vec::new()),
        2 => prop::collection::vec(change(), 1..3),
    ];
    prop::collection::vec(some, 0..60)
}

proptest! {
    #[test]
    fn a_complete_read_misses_no_lasting_row(
        cursors in prop::collection::vec(cursor(), 0..60),
        changes in changes(),
        pace in 1..2_000_i64,
    ) {
        let server = Server::new(&cursors, changes, pace);
        server.read(None);
        if server.doubts(EARLIEST).is_empty() {
            prop_assert_eq!(server.missed(), Vec::<i64>::new());
        }
    }

    #[test]
    fn a_complete_delta_misses_no_lasting_row(
        cursors in prop::collection::vec(cursor(), 0..30),
        changes in changes(),
        pace in 1..2_000_i64,
        ago in 1..30_000_000_i64,
    ) {
        let server = Server::new(&cursors, changes, pace);
        let start = time(START) - SignedDuration::from_secs(ago);
        let is_older = |cursor: &Option<Timestamp>| cursor.is_none_or(|cursor| cursor < start);
        let outside = server.rows.borrow().iter().filter(|(_, cursor)| is_older(cursor)).map(|(id, _)| *id).collect::<Vec<_>>();
        server.lasting.borrow_mut().retain(|id| !outside.contains(id));
        server.read(Some(Window { start, end: LATEST }));
        if server.doubts(start).is_empty() {
            prop_assert_eq!(server.missed(), Vec::<i64>::new());
        }
    }

    #[test]
    fn without_changes_every_read_is_complete(
        cursors in prop::collection::vec(cursor(), 0..60),
        pace in 1_000..2_000_i64,
    ) {
        let server = Server::new(&cursors, vec![], pace);
        server.read(None);
        prop_assert_eq!(server.doubts(EARLIEST), [""; 0]);
        prop_assert_eq!(server.missed(), Vec::<i64>::new());
        let is_dated = |cursor: &Option<Timestamp>| cursor.is_some_and(|cursor| cursor <= time(START));
        if cursors.iter().all(is_dated) {
            // One request more for the rows without a range, and one that closes the read.
            let pages = u32::try_from(cursors.len().div_ceil(4)).unwrap();
            prop_assert_eq!(server.requests.get(), if pages > 1 { pages + 2 } else { 1 });
        }
    }
}

#[test]
fn a_delta_of_two_pages_costs_three_requests() {
    let ago = |seconds| Some(time(START) - SignedDuration::from_secs(seconds));
    let cursors: Vec<_> = (10..16).map(ago).collect();
    let start = time(START) - SignedDuration::from_mins(1);
    let server = Server::new(&cursors, vec![], 1_000);
    let end = LATEST;
    server.read(Some(Window { start, end }));
    assert_eq!(server.doubts(start), [""; 0]);
    assert_eq!(server.missed(), Vec::<i64>::new());
    assert_eq!(server.requests.get(), 3);
}
