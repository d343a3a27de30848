//! What answers prove, one argument at a time; histories at random are in the extractor's tests.

use super::*;
use crate::staging::{FieldWindow, PageEntry, PageRequest, Window};

fn seen(
    number: u64,
    asked: Option<(i64, i64)>,
    ids: &[i64],
    total: Option<u64>,
) -> PageObservation {
    PageObservation {
        number,
        size: 3,
        has_per_page: true,
        asked,
        rows: ids.len() as u64,
        first: ids.first().copied(),
        last: ids.last().copied(),
        descending: true,
        total,
        at: jiff::Timestamp::UNIX_EPOCH,
        date: None,
        settled: None,
        known: 0,
        previous: None,
    }
}

fn page(window: Window, ids: &[i64], total: u64) -> PageEntry {
    PageEntry {
        page: 1,
        slice: None,
        request: String::new(),
        page_request: PageRequest {
            list: "/v2/x".to_owned(),
            window: Some(FieldWindow::new("updated_at", window)),
            page_size: 3,
            page_number: 1,
            ..PageRequest::default()
        },
        status: 200,
        rows: ids.len() as u64,
        bytes: 0,
        sha256: String::new(),
        x_total: Some(total),
        per_page: None,
        first_id: None,
        last_id: None,
        fetched_at: jiff::Timestamp::UNIX_EPOCH,
        server_date: None,
        duration_ms: 0,
        attempts: 1,
        replaces: None,
        rewritten: None,
    }
}

fn window(start: &str, end: &str) -> Window {
    Window {
        start: start.parse().unwrap(),
        end: end.parse().unwrap(),
    }
}

fn doubts(pages: &[(Window, &[i64], u64)], needed: Window) -> Vec<String> {
    let mut answers = Answers::new(Some("updated_at"));
    for (window, ids, total) in pages {
        let facts = PageFacts {
            rows: ids.len() as u64,
            ids: ids.to_vec(),
            ..PageFacts::default()
        };
        answers.add(&page(*window, ids, *total), &facts);
    }
    answers
        .doubts(needed)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn answers_cover_ids_until_no_gap_is_left() {
    let head = seen(1, None, &[30, 25, 20], Some(7));
    let middle = seen(1, Some((0, 19)), &[19, 12, 11], Some(4));
    let end = seen(1, Some((0, 10)), &[4], Some(1));
    let gaps = |seen: &[PageObservation]| {
        let gaps = ids::gaps(seen).unwrap();
        gaps.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(gaps(&[head, middle, end]), [""; 0]);
    assert_eq!(gaps(&[head, end]), ["ids 11 to 19"]);
    assert_eq!(gaps(&[head, middle]), ["ids 0 to 10"]);
    // A page by number proves nothing about what is above its first record.
    let numbered = seen(2, None, &[18, 12, 11], Some(7));
    assert_eq!(gaps(&[head, numbered, end]), ["ids 19 to 19"]);
    // An empty answer that speaks of rows is not the end.
    let empty = seen(1, Some((0, 10)), &[], Some(1));
    assert_eq!(gaps(&[head, middle, empty]), ["ids 0 to 10"]);
    assert_eq!(gaps(&[seen(1, None, &[], Some(0))]), [""; 0]);
    assert!(ids::gaps(&[middle, end]).is_none(), "without page 1");
    // Nothing proves that the list was empty.
    assert_eq!(gaps(&[seen(1, None, &[], None)]), ["ids 0 to 0"]);
}

#[test]
fn rank_is_read_before_rows_can_move_past_it() {
    let at = |number, rows: u64, total| {
        let ids: Vec<i64> = (0..rows)
            .map(|id| 100 - i64::try_from(id).unwrap())
            .collect();
        seen(number, None, &ids, Some(total))
    };
    // Read downwards, a deleted row moves the others onto pages that are still to be read.
    assert_eq!(
        ranks::unread(&[at(1, 3, 8), at(3, 2, 8), at(2, 3, 8)]),
        Ok(vec![])
    );
    assert_eq!(
        ranks::unread(&[at(1, 3, 8), at(3, 2, 8), at(2, 3, 7)]),
        Ok(vec![(3, 3)])
    );
    let again = [at(1, 3, 8), at(3, 2, 8), at(2, 3, 7), at(1, 3, 7)];
    assert_eq!(ranks::unread(&again), Ok(vec![]));
    assert_eq!(pages_to_read(&again[..3]), PagesToRead::Again(vec![1]));
    assert_eq!(pages_to_read(&again[..1]), PagesToRead::Unread(vec![2..=3]));
    // A page that is short leaves its last ranks unread.
    assert_eq!(ranks::unread(&[at(1, 2, 3)]), Ok(vec![(3, 3)]));
    assert_eq!(
        ranks::unread(&[at(1, 3, 6), at(2, 3, 7)]),
        Err(RankError::Grew {
            before: 6,
            after: 7
        })
    );
    assert_eq!(
        ranks::unread(&[seen(1, None, &[1], None)]),
        Err(RankError::NoTotal)
    );
}

#[test]
fn windows_must_meet_and_reach_the_end() {
    let all = window("1970-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    let frozen = window("1970-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z");
    let closing = window("2026-01-01T00:00:00.000Z", "2028-01-01T00:00:00.000Z");
    let late = window("2026-01-01T00:00:01.000Z", "2028-01-01T00:00:00.000Z");
    let frozen = (frozen, &[5, 9][..], 2);
    assert_eq!(doubts(&[frozen, (closing, &[7], 1)], all), [""; 0]);
    for pages in [&[frozen][..], &[frozen, (late, &[7], 1)]] {
        assert_eq!(
            doubts(pages, all),
            ["what changed from 2026-01-01T00:00:00Z on was not read"]
        );
    }
    // The window that closes the read has more rows than were read of it.
    assert_eq!(
        doubts(&[frozen, (closing, &[7, 8, 1], 4)], all),
        ["rows 4 to 4 of the list were not read"]
    );
}
