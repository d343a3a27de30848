//! The hour of a key that others use as well, fixed or rolling: what can be known of it is never overdrawn.

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// An hour as the server counts it, fixed or rolling, others on the same key: the reserve stays free but for what
    /// others take between the answer that a turn was granted upon and the arrival of its request, which nobody can
    /// know. Requests overtake each other on their way. While requests are under way that answer is at most a minute old. When it says that the reserve is
    /// reached, a single request in an hour asks how things stand; it costs itself. Everything is sent in the end.
    #[test]
    fn no_hour_of_either_kind_is_ever_over(
        rolling: bool,
        phase in 0_u64..3_600_000,
        limit in 40_u64..120,
        gaps in proptest::collection::vec(1_000_u64..400_000, 0..80),
        latency in prop_oneof![0_u64..5_000, 5_000_u64..120_000],
        delays in proptest::collection::vec(0_u64..300, 1..250),
    ) {
        const RESERVE: u64 = 10;
        let others: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let hours = Hours { rolling, phase, limit, others: others.clone(), ours: Vec::new() };
        let requests = on_paused_clock(async {
            let limiter = limiter(Limits { reserve_per_hour: 10, ..limits() });
            let hours = Arc::new(Mutex::new(hours));
            let start = Instant::now();
            // As a run does, one asks first how things stand.
            let turn = page(&limiter).await;
            let left = u64::try_from(hours.lock().unwrap().arrive(0)).unwrap();
            let newest = Heard { number: 1, arrived: 0, left };
            let known = Arc::new(Mutex::new(Known { granted: 1, answered: 1, newest }));
            turn.answered(rate(20, limit, left));
            let mut tasks = JoinSet::new();
            for &delay in &delays {
                let (limiter, hours, known) = (limiter.clone(), Arc::clone(&hours), Arc::clone(&known));
                tasks.spawn(async move {
                    let turn = page(&limiter).await;
                    let (number, newest, alone) = known.lock().unwrap().grant();
                    let granted = since(start);
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    let arrived = since(start);
                    let remaining = hours.lock().unwrap().arrive(arrived);
                    tokio::time::sleep(Duration::from_millis(latency)).await;
                    let left = u64::try_from(remaining).unwrap_or(0);
                    known.lock().unwrap().answer(Heard { number, arrived, left });
                    if remaining < 0 {
                        turn.rejected(rate(20, limit, 0), None);
                    } else {
                        turn.answered(rate(20, limit, left));
                    }
                    Sent { number, granted, arrived, remaining, newest, alone }
                });
            }
            tasks.join_all().await
        });
        prop_assert_eq!(requests.len(), delays.len());
        let known_at = |request: &Sent| request.newest.arrived;
        let mut asked_into_the_reserve = Vec::new();
        for request in &requests {
            let left = request.newest.left;
            // A later request may overtake it, and was granted upon an answer of its own.
            let overtaking = requests.iter().filter(|later| later.number >= request.number && later.granted <= request.arrived);
            let since = overtaking.map(known_at).min().unwrap();
            let unknown = others.iter().filter(|at| (since..=request.arrived).contains(at)).count();
            // With nothing left, it may have been any number beyond.
            let due = match left {
                0 => i64::MIN,
                1..=RESERVE => i64::try_from(left).unwrap() - 1,
                _ => i64::try_from(RESERVE).unwrap(),
            };
            prop_assert!(request.remaining >= due.saturating_sub(i64::try_from(unknown).unwrap()), "{:?} {}", request, unknown);
            if left <= RESERVE {
                prop_assert!(request.alone, "{:?}", request);
                asked_into_the_reserve.push(request.arrived);
            } else if !request.alone {
                prop_assert!(request.granted - known_at(request) <= 60_000 + latency + 1, "{:?}", request);
            }
        }
        asked_into_the_reserve.sort_unstable();
        let apart = |pair: &[u64]| pair[1] - pair[0] >= 3_600_000;
        prop_assert!(asked_into_the_reserve.windows(2).all(apart), "{:?}", asked_into_the_reserve);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_overtake_each_other_do_not_make_the_hour_longer() {
    let limiter = reserving(10).await;
    page(&limiter).await.answered(rate(20, 100, 14));
    let one = page(&limiter).await;
    let two = page(&limiter).await;
    // The second came to the server first, and is heard last.
    one.answered(rate(20, 100, 12));
    two.answered(rate(20, 100, 13));
    for left in [11, 10] {
        page(&limiter).await.answered(rate(20, 100, left));
    }
    let next = tokio::time::timeout(Duration::from_mins(50), limiter.turn(Purpose::Page));
    assert!(next.await.is_err(), "the reserve is left");
}

#[tokio::test(start_paused = true)]
async fn reserve_holds_when_answers_overtake_each_other() {
    let limiter = reserving(10).await;
    page(&limiter).await.answered(rate(20, 100, 13));
    let one = page(&limiter).await;
    let two = page(&limiter).await;
    one.answered(rate(20, 100, 11));
    two.answered(rate(20, 100, 12));
    let last = page(&limiter).await;
    let next = tokio::time::timeout(Duration::from_mins(50), limiter.turn(Purpose::Page));
    assert!(next.await.is_err(), "one was left");
    drop(last);
}

/// A server with a fixed hour that nobody else uses, and requests and answers that overtake each other as they like.
struct Overtaking {
    windows: Windows,
    now: Instant,
    remaining: u64,
    next: u64,
    on_their_way: Vec<u64>,
    /// With what remained after them.
    counted: Vec<(u64, u64)>,
}

impl Overtaking {
    fn new(remaining: u64) -> Self {
        let mut new = Self {
            windows: Windows::new(limits().least_pause),
            now: Instant::now(),
            remaining,
            next: 0,
            on_their_way: Vec::new(),
            counted: Vec::new(),
        };
        new.send();
        new.arrive(0);
        new.answer(0, true);
        new
    }

    fn block(&self) -> Option<Block> {
        let reserve_per_hour = 10;
        self.windows.block(
            self.now,
            &Limits {
                reserve_per_hour,
                ..limits()
            },
        )
    }

    fn send(&mut self) {
        self.windows.sent(self.next);
        self.on_their_way.push(self.next);
        self.next += 1;
    }

    fn arrive(&mut self, place: usize) {
        let number = self.on_their_way.remove(place);
        self.remaining -= 1;
        self.counted.push((number, self.remaining));
    }

    fn answer(&mut self, place: usize, is_named: bool) {
        let (number, remaining) = self.counted.remove(place);
        let headers = if is_named {
            rate(20, 100, remaining)
        } else {
            RateHeaders::default()
        };
        self.windows.heard(self.now, number, headers);
    }

    /// Sends all that may be sent.
    fn finish(&mut self) {
        loop {
            if self.block().is_none() {
                self.send();
            } else if !self.on_their_way.is_empty() {
                self.arrive(0);
            } else if !self.counted.is_empty() {
                self.answer(0, true);
            } else {
                return;
            }
        }
    }
}

#[test]
fn an_overtaken_answer_gives_nothing_back() {
    let mut server = Overtaking::new(16);
    (0..3).for_each(|_| server.send());
    // The server counts 2, 3, 1; heard are 2, 1, 3.
    for place in [1, 1, 0] {
        server.arrive(place);
    }
    for place in [0, 1, 0] {
        server.answer(place, true);
    }
    server.finish();
    assert_eq!(server.remaining, 10);
}

#[test]
fn an_answer_overtaken_by_two_begins_no_new_hour() {
    let mut server = Overtaking::new(16);
    (0..3).for_each(|_| server.send());
    // The server counts 3, 1, 2; heard are 1, 2, 3.
    for place in [2, 0, 0] {
        server.arrive(place);
    }
    for place in [1, 1, 0] {
        server.answer(place, true);
    }
    server.finish();
    assert_eq!(server.remaining, 10);
}

proptest! {
    #[test]
    fn in_any_order_the_reserve_is_kept_and_the_rest_used(
        remaining in 11_u64..40,
        steps in proptest::collection::vec((0_u8..8, 0_usize..100), 0..150),
    ) {
        let mut server = Overtaking::new(remaining);
        let mut are_all_named = true;
        for (step, place) in steps {
            let (coming, going) = (server.on_their_way.len(), server.counted.len());
            match step {
                0..=2 if server.block().is_none() => server.send(),
                3..=4 if coming > 0 => server.arrive(place % coming),
                5..=7 if going > 0 => {
                    let is_named = place > 3;
                    are_all_named &= is_named;
                    server.answer(place % going, is_named);
                }
                _ => {}
            }
            prop_assert!(server.remaining >= 10);
        }
        server.finish();
        prop_assert!(server.remaining >= 10);
        prop_assert!(server.remaining == 10 || !are_all_named, "{} are left", server.remaining);
    }
}

/// What became of one request, and what was known when its turn was granted.
#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u64,
    granted: u64,
    arrived: u64,
    /// After it; below zero: rejected.
    remaining: i64,
    newest: Heard,
    /// No other request was under way.
    alone: bool,
}

/// What the server answered to one request.
#[derive(Debug, Clone, Copy)]
struct Heard {
    number: u64,
    arrived: u64,
    left: u64,
}

/// What the limiter can know.
#[derive(Debug)]
struct Known {
    granted: u64,
    answered: u64,
    newest: Heard,
}

impl Known {
    fn grant(&mut self) -> (u64, Heard, bool) {
        let alone = self.granted == self.answered;
        self.granted += 1;
        (self.granted, self.newest, alone)
    }

    fn answer(&mut self, heard: Heard) {
        self.answered += 1;
        if self.newest.number < heard.number {
            self.newest = heard;
        }
    }
}

/// The server's count of an hour.
struct Hours {
    rolling: bool,
    phase: u64,
    limit: u64,
    others: Vec<u64>,
    ours: Vec<u64>,
}

impl Hours {
    /// What remains after a request that arrives now; below zero: it is rejected.
    fn arrive(&mut self, now: u64) -> i64 {
        self.ours.push(now);
        // Shifted by a day, so that a window that began before us is no special case.
        let shifted = |at: u64| at + 86_400_000 - self.phase;
        let begin = if self.rolling {
            shifted(now) - 3_599_999
        } else {
            shifted(now) / 3_600_000 * 3_600_000
        };
        let counted = |times: &[u64]| {
            times
                .iter()
                .filter(|at| **at <= now && shifted(**at) >= begin)
                .count()
        };
        let used = counted(&self.ours) + counted(&self.others);
        i64::try_from(self.limit).unwrap() - i64::try_from(used).unwrap()
    }
}
