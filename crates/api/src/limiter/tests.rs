//! The limiter's promises, against a model of the server, on a clock that is never waited for.

mod hour;
mod throttled;

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;
use crate::rate_windows::RateHeaders;

fn limits() -> Limits {
    Limits::default()
}

fn limiter(limits: Limits) -> Limiter {
    Limiter::new(limits, Ledger::in_memory())
}

fn rate(second: u64, hour: u64, remaining: u64) -> RateHeaders {
    RateHeaders {
        second_limit: Some(second),
        second_remaining: None,
        hour_limit: Some(hour),
        hour_remaining: Some(remaining),
    }
}

/// Runs on one thread whose clock jumps to the next event.
fn on_paused_clock<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

async fn page(limiter: &Limiter) -> Turn {
    limiter.turn(Purpose::Page).await.unwrap()
}

/// A limiter that has learned the limit of a second from an answer.
async fn taught(limits: Limits, second: u64) -> Limiter {
    let limiter = limiter(limits);
    let turn = page(&limiter).await;
    turn.answered(rate(second, 1_000_000, 999_999));
    tokio::time::sleep(Duration::from_secs(2)).await;
    limiter
}

/// One that leaves so much of each hour to others.
async fn reserving(reserve_per_hour: u32) -> Limiter {
    let limits = Limits {
        reserve_per_hour,
        ..limits()
    };
    taught(limits, 20).await
}

/// One that gives up after so long without a success.
async fn patient(patience: Duration) -> Limiter {
    let limits = Limits {
        patience,
        ..limits()
    };
    taught(limits, 20).await
}

fn since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap()
}

fn assert_never_over(mut arrivals: Vec<u64>, limit: u64) {
    arrivals.sort_unstable();
    let limit = usize::try_from(limit).unwrap();
    for window in arrivals.windows(limit + 1) {
        let span = window[limit] - window[0];
        assert!(span >= 1_000, "{} requests within {span} ms", limit + 1);
    }
}

#[derive(Debug, Clone)]
struct Planned {
    after: u64,
    delay: u64,
    latency: u64,
}

fn planned() -> impl Strategy<Value = Planned> {
    (
        prop_oneof![3 => Just(0_u64), 1 => 0_u64..1_500],
        0_u64..24,
        prop_oneof![Just(0_u64), 0_u64..12_000],
    )
        .prop_map(|(after, delay, latency)| Planned {
            after,
            delay,
            latency,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever comes when, however long answers take, and with all the variation of the delay that the
    /// slack allows: no second of any phase sees more than the limit. Fixed windows are among them.
    #[test]
    fn no_window_of_any_phase_is_ever_over(
        limit in 2_u64..60,
        requests in proptest::collection::vec(planned(), 1..300),
    ) {
        let arrivals = on_paused_clock(async {
            let limiter = limiter(limits());
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for request in requests {
                tokio::time::sleep(Duration::from_millis(request.after)).await;
                let limiter = limiter.clone();
                tasks.spawn(async move {
                    let turn = page(&limiter).await;
                    tokio::time::sleep(Duration::from_millis(request.delay)).await;
                    let arrival = since(start);
                    tokio::time::sleep(Duration::from_millis(request.latency)).await;
                    turn.answered(rate(limit, 1_000_000, 999_999));
                    arrival
                });
            }
            tasks.join_all().await
        });
        assert_never_over(arrivals, limit);
    }
}

#[test]
fn at_least_97_percent_of_the_limit_is_reached_at_any_latency() {
    for limit in [2_u64, 8, 20, 300, 5_000] {
        for latency in [50, 1_000, 10_000] {
            let sent = on_paused_clock(async {
                let limiter = taught(limits(), limit).await;
                let start = Instant::now();
                let mut tasks = JoinSet::new();
                loop {
                    let turn = page(&limiter).await;
                    if start.elapsed() >= Duration::from_mins(1) {
                        break;
                    }
                    tasks.spawn(async move {
                        tokio::time::sleep(Duration::from_millis(latency)).await;
                        turn.answered(rate(limit, 1_000_000, 999_999));
                    });
                }
                limiter.figures().requests - 2
            });
            assert!(
                sent * 100 >= limit * 60 * 97,
                "{sent} at {limit}/s, {latency} ms"
            );
            assert!(sent <= limit * 61, "{sent} at {limit}/s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_a_second_until_the_server_advertises_its_limit() {
    let limiter = limiter(limits());
    let start = Instant::now();
    let mut sent = Vec::new();
    let mut turns = Vec::new();
    for _ in 0..6 {
        turns.push(page(&limiter).await);
        sent.push(since(start));
    }
    assert_never_over(sent, 2);
    let waiting = tokio::spawn({
        let limiter = limiter.clone();
        async move {
            for _ in 0..20 {
                page(&limiter).await.answered(RateHeaders::default());
            }
            Instant::now()
        }
    });
    tokio::task::yield_now().await;
    turns.remove(0).answered(rate(20, 1_200, 1_000));
    let learnt = Instant::now();
    assert!(waiting.await.unwrap() - learnt < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_fractional_cap_holds_below_the_servers_limit() {
    let limiter = taught(
        Limits {
            requests_per_second: Some(0.5),
            ..limits()
        },
        100,
    )
    .await;
    let start = Instant::now();
    for _ in 0..10 {
        page(&limiter).await.answered(RateHeaders::default());
    }
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(18) && took < Duration::from_secs(20),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_everybody_and_two_bursts_widen_the_slack() {
    let limiter = taught(limits(), 10).await;
    let mut waiting = limiter.waiting();
    let rejected = page(&limiter).await;
    let others: Vec<_> = (0..5)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let turn = page(&limiter).await;
                let sent = Instant::now();
                turn.answered(rate(10, 1_000, 900));
                sent
            })
        })
        .collect();
    let now = Instant::now();
    rejected.rejected(rate(10, 1_000, 900), Some(Duration::from_secs(7)));
    waiting.changed().await.unwrap();
    assert_eq!(
        waiting.borrow_and_update().map(|waiting| waiting.reason),
        Some(WaitingFor::Throttled)
    );
    for other in others {
        assert!(other.await.unwrap() - now >= Duration::from_secs(7));
    }
    assert_eq!(*limiter.waiting().borrow(), None);
    assert!(limiter.figures().waited >= Duration::from_secs(7));
    assert_eq!(limiter.figures().rejected_429, 1);

    // One of a burst halved the rate, one of the next burst widened the slack; the others of their burst did not again.
    let mut windows = Windows::new(limits().least_pause);
    let second = |windows: &Windows| windows.rules(&limits()).unwrap().second.unwrap().window;
    assert_eq!(second(&windows), 1_024);
    let burst = |windows: &mut Windows, first: u64| {
        (first..first + 3).for_each(|number| windows.sent(number));
        for number in first..first + 3 {
            windows.heard(now, number, RateHeaders::default());
            windows.rejected(now, number, first + 3, RateHeaders::default(), None);
        }
    };
    let serve = |windows: &mut Windows, number: u64| {
        windows.sent(number);
        windows.heard(now, number, RateHeaders::default());
        windows.served(now, number);
    };
    burst(&mut windows, 0);
    assert_eq!(second(&windows), 2 * 1_024);
    (3..10).for_each(|number| serve(&mut windows, number));
    assert_eq!(second(&windows), 1_024);
    burst(&mut windows, 10);
    assert_eq!(second(&windows), 2 * 1_048);
    (13..5_000).for_each(|number| serve(&mut windows, number));
    assert_eq!(second(&windows), 1_024);
}

#[tokio::test(start_paused = true)]
async fn an_hour_that_is_used_up_is_waited_for_or_ends_the_run() {
    for wait_for_next_hour in [true, false] {
        let limiter = taught(
            Limits {
                wait_for_next_hour,
                ..limits()
            },
            10,
        )
        .await;
        let turn = page(&limiter).await;
        let in_flight = page(&limiter).await;
        turn.rejected(rate(10, 1_200, 0), None);
        in_flight.answered(rate(10, 1_200, 0));
        let start = Instant::now();
        match limiter.turn(Purpose::Page).await {
            Ok(turn) => {
                assert!(wait_for_next_hour);
                assert!(start.elapsed() >= Duration::from_secs(3_590));
                turn.answered(rate(10, 1_200, 1_199));
            }
            Err(ApiError::HourUsedUp { resume_at }) => {
                assert!(!wait_for_next_hour);
                assert!(resume_at > Timestamp::now());
                assert_eq!(start.elapsed(), Duration::ZERO);
            }
            Err(denied) => panic!("{denied:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_leaves_after_the_hour_stops_nobody() {
    let limiter = taught(limits(), 10).await;
    let turn = page(&limiter).await;
    turn.rejected(rate(10, 1_200, 0), None);
    // One goes first, to look.
    let first = page(&limiter).await;
    let others = limiter.clone();
    let next = tokio::spawn(async move { others.turn(Purpose::Page).await.unwrap() });
    tokio::task::yield_now().await;
    first.unreached();
    let next = tokio::time::timeout(Duration::from_hours(2), next).await;
    next.expect("somebody else goes")
        .unwrap()
        .answered(rate(10, 1_200, 1_199));
}

#[tokio::test(start_paused = true)]
async fn served_in_the_order_of_asking_though_some_give_up() {
    let limiter = taught(limits(), 5).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..20 {
        let (limiter, order) = (limiter.clone(), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let turn = page(&limiter).await;
            order.lock().unwrap().push(number);
            turn.answered(RateHeaders::default());
        }));
        tokio::task::yield_now().await;
    }
    // The one at the head of the queue, one in its midst, and the last.
    for quitter in [1, 7, 19] {
        tasks[quitter].abort();
    }
    for task in tasks {
        let _ = task.await;
    }
    let expected: Vec<i32> = (0..20).filter(|n| ![1, 7, 19].contains(n)).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn max_hits_counts_requests_that_may_have_arrived() {
    let limiter = limiter(Limits {
        max_hits: Some(2),
        ..limits()
    });
    limiter
        .turn(Purpose::Token)
        .await
        .unwrap()
        .answered(RateHeaders::default());
    page(&limiter).await.unreached();
    page(&limiter).await.give_back();
    drop(page(&limiter).await);
    page(&limiter).await.answered(RateHeaders::default());
    assert!(matches!(
        limiter.turn(Purpose::Page).await,
        Err(ApiError::MaxHits { max_hits: 2 })
    ));
    assert_eq!(
        (limiter.figures().requests, limiter.figures().token_requests),
        (2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_reserve_that_leaves_nothing_is_named() {
    let limiter = limiter(Limits {
        reserve_per_hour: 1_200,
        ..limits()
    });
    assert!(matches!(
        limiter.turn(Purpose::Page).await,
        Err(ApiError::ReserveTooLarge { .. })
    ));
}

#[tokio::test]
async fn limiters_that_share_a_ledger_obey_the_limit_together() {
    let directory = cursus_base::trusted::test_directory();
    let start = std::time::Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let ledger = Ledger::shared(directory.path(), "https://api.example.org", "key").unwrap();
        let limiter = Limiter::new(limits(), ledger);
        tasks.spawn(async move {
            let mut sent = Vec::new();
            for _ in 0..12 {
                let turn = page(&limiter).await;
                sent.push(u64::try_from(start.elapsed().as_millis()).unwrap());
                turn.answered(rate(20, 1_000, 900));
            }
            sent
        });
    }
    let sent = tasks.join_all().await.concat();
    assert_eq!(sent.len(), 36);
    assert_never_over(sent, 20);
}

#[tokio::test]
async fn a_lower_limit_advertised_to_one_holds_for_all() {
    let directory = tempfile::tempdir().unwrap();
    let new = || {
        let ledger = Ledger::shared(directory.path(), "https://api.example.org", "key").unwrap();
        let wait_for_next_hour = false;
        Limiter::new(
            Limits {
                wait_for_next_hour,
                ..limits()
            },
            ledger,
        )
    };
    let (one, two) = (new(), new());
    for hour in [1_000_000, 3] {
        let turn = one.turn(Purpose::Page).await.unwrap();
        turn.answered(rate(5_000, hour, 2));
        let allowance = two.allowance().await.unwrap();
        assert_eq!(allowance.per_hour, hour);
    }
    two.turn(Purpose::Page)
        .await
        .unwrap()
        .answered(RateHeaders::default());
    for limiter in [one, two, new()] {
        let denied = limiter.turn(Purpose::Page).await.unwrap_err();
        assert!(matches!(denied, ApiError::HourUsedUp { .. }), "{denied:?}");
    }
}
