//! A key that others use up: everything is sent in the end, for few requests, or patience ends.

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;

/// What the server does with one request.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Serve,
    Reject(Option<u64>),
    Fault,
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        3 => Just(Reply::Serve),
        2 => Just(Reply::Reject(None)),
        2 => (0_u64..5).prop_map(|seconds| Reply::Reject(Some(seconds))),
        1 => Just(Reply::Fault),
    ]
}

fn seen() -> RateHeaders {
    rate(20, 1_000_000, 999_999)
}

/// Sends until it is served, and counts what that takes.
async fn served(
    limiter: Limiter,
    mut reply: impl FnMut() -> Reply,
    latency: Duration,
) -> Result<u64, ApiError> {
    let mut requests = 0;
    loop {
        let turn = limiter.turn(Purpose::Page).await?;
        requests += 1;
        tokio::time::sleep(latency).await;
        match reply() {
            Reply::Serve => {
                turn.answered(seen());
                return Ok(requests);
            }
            Reply::Reject(after) => turn.rejected(seen(), after.map(Duration::from_secs)),
            Reply::Fault => turn.faulted(seen()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever the server answers, as long as it serves something within the patience.
    #[test]
    fn every_request_is_served_once_whatever_comes_before(
        replies in proptest::collection::vec(reply(), 0..120),
        requests in 1_usize..30,
        latency in 0_u64..3_000,
    ) {
        let (sum, took) = on_paused_clock(async {
            let limiter = taught(limits(), 20).await;
            let replies = Arc::new(Mutex::new(replies.clone().into_iter()));
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..requests {
                let (limiter, replies) = (limiter.clone(), Arc::clone(&replies));
                let reply = move || replies.lock().unwrap().next().unwrap_or(Reply::Serve);
                tasks.spawn(served(limiter, reply, Duration::from_millis(latency)));
            }
            let counts: Vec<_> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
            (counts.iter().sum::<u64>(), start.elapsed())
        });
        let others = replies.iter().filter(|reply| !matches!(reply, Reply::Serve)).count();
        prop_assert!(sum <= (requests + others) as u64, "{sum} in {took:?}");
    }

    /// Nothing is ever served: all end when patience does, and until then one probe goes out after each pause.
    #[test]
    fn patience_ends_after_its_time_and_few_probes(
        after in proptest::option::of(0_u64..50),
        patience in 0_u64..7_200,
        requests in 1_usize..30,
        latency in 0_u64..2_000,
    ) {
        on_paused_clock(async {
            let patience = Duration::from_secs(patience);
            let limiter = patient(patience).await;
            let first = Arc::new(Mutex::new(None));
            let mut tasks = JoinSet::new();
            for _ in 0..requests {
                let (limiter, first) = (limiter.clone(), Arc::clone(&first));
                let reply = move || {
                    first.lock().unwrap().get_or_insert_with(Instant::now);
                    Reply::Reject(after)
                };
                let latency = Duration::from_millis(latency);
                tasks.spawn(async move {
                    let denied = served(limiter, reply, latency).await.unwrap_err();
                    assert!(matches!(denied, ApiError::Throttled { .. }), "{denied:?}");
                    Instant::now()
                });
            }
            let ends = tasks.join_all().await;
            let quiet = *ends.iter().min().unwrap() - first.lock().unwrap().unwrap();
            assert!(quiet >= patience, "{quiet:?} of {patience:?}");
            let last = *ends.iter().max().unwrap() - first.lock().unwrap().unwrap();
            assert!(last <= patience + Duration::from_secs(80), "{last:?} of {patience:?}");
            // A burst before the first answer, then one a pause: as asked for a minute, then ever fewer.
            let burst = u64::try_from(requests).unwrap();
            let rejected = limiter.figures().rejected_429;
            let seconds = patience.as_secs();
            let most = match after {
                None => 8 + seconds / 60,
                Some(_) => 62 + 60 * u64::from((seconds / 60 + 1).ilog2() + 1),
            };
            assert!(rejected <= burst + most, "{rejected} requests in {patience:?}, asked for {after:?}");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_429s_in_a_row_cost_sixty_requests_and_a_minute() {
    let limiter = taught(limits(), 20).await;
    let left = Arc::new(Mutex::new(60));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..40 {
        let left = Arc::clone(&left);
        let reply = move || {
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return Reply::Reject(Some(1));
            }
            Reply::Serve
        };
        tasks.spawn(served(limiter.clone(), reply, Duration::from_millis(50)));
    }
    let requests: u64 = tasks.join_all().await.into_iter().map(Result::unwrap).sum();
    assert_eq!(requests, 100);
    assert!(
        start.elapsed() < Duration::from_secs(85),
        "{:?}",
        start.elapsed()
    );
}

/// Requests of the minute after the 429, at a limit a second.
async fn minute_after_a_stray_429(limit: u64) -> u64 {
    let limiter = taught(limits(), limit).await;
    let start = Instant::now();
    let mut sent = 0;
    let mut tasks = JoinSet::new();
    loop {
        let turn = page(&limiter).await;
        if start.elapsed() >= Duration::from_mins(1) {
            return sent;
        }
        sent += 1;
        let is_stray = sent == 1;
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if is_stray {
                turn.rejected(
                    rate(limit, 1_000_000, 999_999),
                    Some(Duration::from_secs(1)),
                );
            } else {
                turn.answered(rate(limit, 1_000_000, 999_999));
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_stray_429_costs_a_few_seconds_of_the_rate() {
    for limit in [2, 8, 20, 300] {
        let sent = minute_after_a_stray_429(limit).await;
        assert!(sent * 100 >= limit * 60 * 88, "{sent} at {limit}/s");
    }
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_and_its_success_lets_all_go() {
    let limiter = taught(limits(), 1_000).await;
    let turns: Vec<_> = [
        limiter.turn(Purpose::Page).await,
        limiter.turn(Purpose::Page).await,
    ]
    .into();
    for turn in turns {
        turn.unwrap().rejected(seen(), None);
    }
    let probe = page(&limiter).await;
    let next = limiter.clone();
    let next = tokio::spawn(async move { next.turn(Purpose::Page).await.unwrap() });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!next.is_finished(), "one probe is enough");
    probe.answered(seen());
    tokio::time::timeout(Duration::from_secs(1), next)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_ends_otherwise_is_followed_by_another() {
    let limiter = taught(limits(), 20).await;
    page(&limiter).await.rejected(seen(), None);
    page(&limiter).await.faulted(seen());
    drop(page(&limiter).await);
    page(&limiter).await.unreached();
    page(&limiter).await.give_back();
    let start = Instant::now();
    page(&limiter).await.answered(seen());
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn the_success_of_an_older_request_extends_patience() {
    let patience = Duration::from_secs(10);
    let limiter = patient(patience).await;
    let old = page(&limiter).await;
    let rejected = page(&limiter).await;
    let start = Instant::now();
    rejected.rejected(seen(), Some(Duration::from_secs(50)));
    let waits = limiter.clone();
    let waits = tokio::spawn(async move { waits.turn(Purpose::Page).await.map(drop) });
    tokio::time::sleep(Duration::from_secs(8)).await;
    old.answered(seen());
    let denied = waits.await.unwrap().unwrap_err();
    assert!(
        matches!(denied, ApiError::Throttled { quiet } if quiet == patience),
        "{denied:?}"
    );
    assert_eq!(start.elapsed().as_secs(), 18);
}

#[tokio::test(start_paused = true)]
async fn an_hour_that_is_used_up_costs_no_patience() {
    let patience = Duration::from_secs(10);
    let limiter = patient(patience).await;
    for _ in 0..3 {
        let turn = page(&limiter).await;
        turn.rejected(rate(20, 1_200, 0), Some(Duration::from_mins(50)));
    }
    let turn = page(&limiter).await;
    turn.answered(rate(20, 1_200, 1_199));
}

#[tokio::test(start_paused = true)]
async fn pauses_of_minutes_that_are_no_hour_cost_patience() {
    let limiter = taught(limits(), 20).await;
    let start = Instant::now();
    let denied = served(limiter.clone(), || Reply::Reject(Some(120)), Duration::ZERO).await;
    assert!(
        matches!(denied, Err(ApiError::Throttled { .. })),
        "{denied:?}"
    );
    assert_eq!(start.elapsed().as_secs() / 60, 30);
    assert!(limiter.figures().rejected_429 <= 16);
}
