//! What answers prove, one argument at a time; histories at random are in the extractor's tests.

use super::*;

fn seen(number: u64, asked: Option<(i64, i64)>, ids: &[i64], total: Option<u64>) -> Seen {
    Seen {
        number,
        size: 3,
        size_is_told: true,
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

fn page(request: &str, ids: &[i64], total: u64) -> PageEntry {
    PageEntry {
        page: 1,
        slice: None,
        request: request.to_owned(),
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
    }
}

fn doubts(pages: &[(&str, &[i64], u64)], needed: (&str, &str)) -> Vec<String> {
    let mut answers = Answers::new(Some("updated_at"));
    for (request, ids, total) in pages {
        let facts = PageFacts {
            rows: ids.len() as u64,
            ids: ids.to_vec(),
            ..PageFacts::default()
        };
        answers.add(&page(request, ids, *total), &facts);
    }
    let needed = Window {
        start: needed.0.parse().unwrap(),
        end: needed.1.parse().unwrap(),
    };
    answers
        .doubts(needed)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn answers_cover_ids_until_none_is_left_out() {
    let head = seen(1, None, &[30, 25, 20], Some(7));
    let middle = seen(1, Some((0, 19)), &[19, 12, 11], Some(4));
    let end = seen(1, Some((0, 10)), &[4], Some(1));
    let gaps = |seen: &[Seen]| {
        let gaps = ids::gaps(seen).unwrap();
        gaps.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(gaps(&[head, middle, end]), [""; 0]);
    assert_eq!(gaps(&[head, end]), ["ids 11 to 19"]);
    assert_eq!(gaps(&[head, middle]), ["ids 0 to 10"]);
    // A page by number says nothing of what stands above its first record.
    let numbered = seen(2, None, &[18, 12, 11], Some(7));
    assert_eq!(gaps(&[head, numbered, end]), ["ids 19 to 19"]);
    // An empty answer that speaks of rows is not the end.
    let empty = seen(1, Some((0, 10)), &[], Some(1));
    assert_eq!(gaps(&[head, middle, empty]), ["ids 0 to 10"]);
    assert_eq!(gaps(&[seen(1, None, &[], Some(0))]), [""; 0]);
    assert!(ids::gaps(&[middle, end]).is_none(), "without page 1");
    // Nobody says that nothing was to come.
    assert_eq!(gaps(&[seen(1, None, &[], None)]), ["ids 0 to 0"]);
}

#[test]
fn a_rank_is_read_when_a_page_showed_it_before_rows_could_move_past_it() {
    let at = |number, rows: u64, total| {
        let ids: Vec<i64> = (0..rows)
            .map(|id| 100 - i64::try_from(id).unwrap())
            .collect();
        seen(number, None, &ids, Some(total))
    };
    // Read downwards, a row that leaves moves the others onto pages that are still to come.
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
    assert_eq!(wanted(&again[..3]), Wanted::Again(vec![1]));
    assert_eq!(wanted(&again[..1]), Wanted::New(vec![2..=3]));
    // A page that is short leaves its last ranks unread.
    assert_eq!(ranks::unread(&[at(1, 2, 3)]), Ok(vec![(3, 3)]));
    assert_eq!(
        ranks::unread(&[at(1, 3, 6), at(2, 3, 7)]),
        Err(Unranked::Grew {
            before: 6,
            after: 7
        })
    );
    assert_eq!(
        ranks::unread(&[seen(1, None, &[1], None)]),
        Err(Unranked::NoTotal)
    );
}

#[test]
fn windows_must_meet_and_reach_the_end() {
    let all = ("1970-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    let window = |start: &str, end: &str| {
        format!("/v2/x?range%5Bupdated_at%5D={start}%2C{end}&page%5Bsize%5D=3&page%5Bnumber%5D=1")
    };
    let frozen = window("1970-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z");
    let closing = window("2026-01-01T00:00:00.000Z", "2028-01-01T00:00:00.000Z");
    let late = window("2026-01-01T00:00:01.000Z", "2028-01-01T00:00:00.000Z");
    let frozen = (frozen.as_str(), &[5, 9][..], 2);
    assert_eq!(doubts(&[frozen, (&closing, &[7], 1)], all), [""; 0]);
    for pages in [&[frozen][..], &[frozen, (&late, &[7], 1)]] {
        assert_eq!(
            doubts(pages, all),
            ["what changed from 2026-01-01T00:00:00Z on was not read"]
        );
    }
    // The window that closes the read has more rows than were read of it.
    assert_eq!(
        doubts(&[frozen, (&closing, &[7, 8, 1], 4)], all),
        ["rows 4 to 4 of the list were not read"]
    );
}
