//! Lists that change between any two answers, read by both scans: what was there all the time must be staged.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{PageSelector, ScanOutcome, by_ids, by_numbers};
use crate::proof::{Answers, BELOW_LOWEST, PageFacts, PageObservation};
use crate::staging::{PageEntry, PageRequest, Window};

const SIZE: u64 = 5;

/// A change of the list, before some answer.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A new row, with a higher id than all before.
    Insert,
    /// A row that comes back with an id that was free.
    Return(u8),
    /// A row that is deleted.
    Remove(u8),
}

/// A server whose list changes while it is read, and whose answers come in any order.
struct Server {
    rows: RefCell<Vec<i64>>,
    /// Rows that were there all the time.
    lasting: RefCell<BTreeSet<i64>>,
    changes: RefCell<Vec<Option<Change>>>,
    /// How often an answer yields to others, before and after it is made.
    pauses: Vec<u8>,
    requests: Cell<usize>,
    /// Whether the order is that of falling ids, or another one.
    sorted: bool,
    answers: RefCell<Answers>,
    staged: RefCell<BTreeSet<i64>>,
    /// Requests (counted from 0) that fail for good.
    broken: Vec<usize>,
}

impl Server {
    fn new(rows: &BTreeSet<i64>, changes: Vec<Option<Change>>, pauses: Vec<u8>) -> Self {
        Self {
            rows: RefCell::new(rows.iter().copied().collect()),
            lasting: RefCell::new(rows.clone()),
            changes: RefCell::new(changes),
            pauses,
            requests: Cell::new(0),
            sorted: true,
            answers: RefCell::new(Answers::new(None)),
            staged: RefCell::default(),
            broken: Vec::new(),
        }
    }

    fn change(&self) {
        let change = self.changes.borrow_mut().pop().flatten();
        let mut rows = self.rows.borrow_mut();
        match change {
            None => {}
            Some(Change::Insert) => {
                let id = rows.iter().copied().max().unwrap_or(0) + 3;
                rows.push(id);
            }
            Some(Change::Return(id)) => {
                let id = i64::from(id);
                if !rows.contains(&id) {
                    rows.push(id);
                }
            }
            Some(Change::Remove(_)) if rows.is_empty() => {}
            Some(Change::Remove(at)) => {
                let at = usize::from(at) % rows.len();
                let id = rows.remove(at);
                self.lasting.borrow_mut().remove(&id);
            }
        }
    }

    async fn pause(&self, at: usize) {
        for _ in 0..self
            .pauses
            .get(at % self.pauses.len().max(1))
            .copied()
            .unwrap_or(0)
        {
            tokio::task::yield_now().await;
        }
    }

    async fn ask(&self, ask: PageSelector) -> Result<Option<PageObservation>, ()> {
        let request = self.requests.get();
        self.requests.set(request + 1);
        self.pause(request).await;
        self.change();
        if self.broken.contains(&request) {
            return Ok(None);
        }
        let mut rows = self.rows.borrow().clone();
        rows.retain(|id| ask.ids.is_none_or(|(low, high)| (low..=high).contains(id)));
        rows.sort_by_key(|id| if self.sorted { -id } else { id * 7919 % 251 });
        let number = if ask.ids.is_some() { 1 } else { ask.number };
        let skipped = usize::try_from((number - 1) * SIZE).unwrap();
        let size = usize::try_from(SIZE).unwrap();
        let ids: Vec<i64> = rows.iter().copied().skip(skipped).take(size).collect();
        let page = PageEntry {
            page: u32::try_from(request).unwrap() + 1,
            slice: None,
            request: String::new(),
            page_request: PageRequest {
                list: "/rows".to_owned(),
                window: None,
                sort: self.sorted.then(|| "-id".to_owned()),
                id_range: ask.ids,
                page_size: SIZE,
                page_number: number,
            },
            status: 200,
            rows: ids.len() as u64,
            bytes: 0,
            sha256: String::new(),
            x_total: Some(rows.len() as u64),
            per_page: Some(SIZE),
            first_id: ids.first().copied(),
            last_id: ids.last().copied(),
            fetched_at: Timestamp::UNIX_EPOCH,
            server_date: None,
            duration_ms: 0,
            attempts: 1,
            replaces: None,
            rewritten: None,
        };
        self.staged.borrow_mut().extend(&ids);
        let facts = PageFacts {
            rows: page.rows,
            ids,
            ..PageFacts::default()
        };
        self.answers.borrow_mut().add(&page, &facts);
        let seen = PageObservation::new(&page, &facts.ids);
        self.pause(request + 1).await;
        Ok(Some(seen))
    }

    fn is_proven(&self) -> bool {
        let needed = Window {
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::MAX,
        };
        self.answers.borrow().doubts(needed).is_empty()
    }

    fn missed(&self) -> Vec<i64> {
        let staged = self.staged.borrow();
        let lasting = self.lasting.borrow();
        lasting.difference(&staged).copied().collect()
    }

    fn pages(&self) -> usize {
        self.rows
            .borrow()
            .len()
            .div_ceil(usize::try_from(SIZE).unwrap())
    }
}

fn read(server: &Server, in_flight: usize, ids: bool) -> ScanOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let first = server.ask(PageSelector::number(1)).await.unwrap().unwrap();
        let ask = async |ask| server.ask(ask).await;
        if ids {
            let scanned = by_ids(first, in_flight, &ask).await.unwrap();
            let (number, ids) = (1, Some(BELOW_LOWEST));
            ask(PageSelector { number, ids }).await.unwrap();
            return scanned;
        }
        by_numbers(vec![first], in_flight, ask).await.unwrap();
        ScanOutcome::Done
    })
}

fn rows() -> impl Strategy<Value = BTreeSet<i64>> {
    prop::collection::btree_set(0..250_i64, 0..140)
}

fn any_change() -> impl Strategy<Value = Option<Change>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Change::Insert)),
        1 => any::<u8>().prop_map(|id| Some(Change::Return(id))),
        1 => any::<u8>().prop_map(|at| Some(Change::Remove(at))),
    ]
}

fn only_going() -> impl Strategy<Value = Option<Change>> {
    prop_oneof![
        4 => Just(None),
        1 => any::<u8>().prop_map(|at| Some(Change::Remove(at))),
    ]
}

proptest! {
    #[test]
    fn by_ids_no_lasting_row_is_missing(
        rows in rows(),
        changes in prop::collection::vec(any_change(), 0..80),
        pauses in prop::collection::vec(0..6_u8, 1..20),
        in_flight in 1..9_usize,
    ) {
        let server = Server::new(&rows, changes, pauses);
        prop_assert_eq!(read(&server, in_flight, true), ScanOutcome::Done);
        prop_assert_eq!(server.missed(), Vec::<i64>::new());
        prop_assert!(server.is_proven());
    }

    #[test]
    fn unchanged_list_costs_one_request_a_page(
        rows in rows(),
        pauses in prop::collection::vec(0..6_u8, 1..20),
        in_flight in 1..9_usize,
        ids: bool,
    ) {
        let server = Server::new(&rows, vec![], pauses);
        read(&server, in_flight, ids);
        prop_assert!(server.is_proven());
        prop_assert_eq!(server.staged.borrow().len(), rows.len());
        let closing = usize::from(ids);
        prop_assert_eq!(server.requests.get(), server.pages().max(1) + closing);
    }

    #[test]
    fn by_numbers_a_proven_read_is_complete_under_deletes(
        rows in rows(),
        changes in prop::collection::vec(only_going(), 0..80),
        pauses in prop::collection::vec(0..6_u8, 1..20),
        in_flight in 1..9_usize,
        sorted: bool,
    ) {
        let mut server = Server::new(&rows, changes, pauses);
        server.sorted = sorted;
        read(&server, in_flight, false);
        if server.is_proven() {
            prop_assert_eq!(server.missed(), Vec::<i64>::new());
        }
    }

    #[test]
    fn by_numbers_a_deleted_row_costs_at_most_two_requests(
        rows in prop::collection::btree_set(0..250_i64, 20..140),
        before in 0..25_usize,
        at: u8,
        pauses in prop::collection::vec(0..3_u8, 1..20),
    ) {
        let mut changes = vec![Some(Change::Remove(at))];
        changes.resize(before + 1, None);
        changes.reverse();
        let server = Server::new(&rows, changes.into_iter().rev().collect(), pauses);
        let pages = server.pages();
        read(&server, 1, false);
        prop_assert!(server.is_proven());
        prop_assert_eq!(server.missed(), Vec::<i64>::new());
        prop_assert!(server.requests.get() <= pages + 2);
    }

    #[test]
    fn failed_page_is_a_hole_and_costs_no_other_page(
        rows in prop::collection::btree_set(0..250_i64, 60..140),
        broken in 1..9_usize,
        in_flight in 1..9_usize,
        ids: bool,
    ) {
        let mut server = Server::new(&rows, vec![], vec![0]);
        server.broken = vec![broken];
        read(&server, in_flight, ids);
        let page = usize::try_from(SIZE).unwrap();
        prop_assert_eq!(server.is_proven(), server.missed().is_empty());
        prop_assert!(server.missed().len() <= page, "{:?}", server.missed());
    }
}

#[test]
fn ignored_id_range_is_detected() {
    let rows: BTreeSet<i64> = (1..60).collect();
    let server = Server::new(&rows, vec![], vec![0]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let scanned = runtime.block_on(async {
        let first = server.ask(PageSelector::number(1)).await.unwrap().unwrap();
        by_ids(first, 4, async |ask: PageSelector| {
            let answer = server.ask(PageSelector::number(1)).await?;
            Ok::<_, ()>(answer.map(|seen| PageObservation {
                asked: ask.ids,
                ..seen
            }))
        })
        .await
    });
    assert_eq!(scanned, Ok(ScanOutcome::NotByIds));
}
