//! What may still be sent, and how long that takes. It grants nothing.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::shared::{LEDGER_PATIENCE, Shared, milliseconds};
use crate::error::ApiError;
use crate::ledger::Ledger;
use crate::rate_windows::Rules;

/// How many requests a key has, and what it has used of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowance {
    /// Requests in a second.
    pub per_second: f64,
    /// Requests in an hour, without those kept free for others.
    pub per_hour: u64,
    /// Requests that are left of them.
    pub left: u64,
    /// How long what was sent counts.
    pub hour: Duration,
    /// Groups of requests that still count: when they were sent, before now, and how many; oldest first.
    pub used: Vec<(Duration, u64)>,
}

impl Allowance {
    /// How long these requests take, if nobody else uses the key meanwhile.
    pub fn time_for(&self, requests: u64) -> Duration {
        let distance = 1.0 / self.per_second.max(f64::MIN_POSITIVE);
        let hour = self.hour.as_secs_f64();
        let mut frees: VecDeque<(f64, u64)> = self
            .used
            .iter()
            .map(|(ago, count)| (hour - ago.as_secs_f64(), *count))
            .collect();
        // What others sent is not known by its time: it may have been just now.
        let ours: u64 = self.used.iter().map(|(_, count)| count).sum();
        let others = self.per_hour.saturating_sub(ours.saturating_add(self.left));
        if others > 0 {
            frees.push_back((hour, others));
        }
        // More was sent than the limit now is: as much has to be forgotten before a request is free.
        let mut over = ours.saturating_add(self.left).saturating_sub(self.per_hour);
        let mut left = self.left;
        let mut now: f64 = 0.0;
        for _ in 0..requests {
            while let Some((at, count)) = frees.front().copied()
                && (at <= now || left == 0)
            {
                frees.pop_front();
                let forgotten = over.min(count);
                over -= forgotten;
                left = left.saturating_add(count - forgotten);
                now = now.max(at);
            }
            left = left.saturating_sub(1);
            frees.push_back((now + hour, 1));
            now += distance;
        }
        Duration::try_from_secs_f64(now).unwrap_or(Duration::MAX)
    }
}

/// What may still be sent as far as the ledger and the server's answers so far show.
pub(super) async fn allowance(shared: &Shared) -> Result<Allowance, ApiError> {
    let mut ledger = shared.ledger.lock().await;
    let since = Instant::now();
    let (rules, used, room) = loop {
        match shared.used(&mut ledger)? {
            Some(looked) => break looked,
            None if since.elapsed() > LEDGER_PATIENCE => return Err(ApiError::LedgerBusy),
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let hour = rules.hour;
    let remaining = shared.state().figures.rate.hour_remaining;
    let reserve = u64::from(shared.limits.reserve_per_hour);
    let left = remaining.map_or(u64::MAX, |remaining| remaining.saturating_sub(reserve));
    Ok(Allowance {
        per_second: rules.rate(),
        per_hour: hour.count,
        left: room.min(left),
        hour: milliseconds(hour.window),
        used,
    })
}

/// See [`Allowance::used`].
type Used = Vec<(Duration, u64)>;

impl Shared {
    /// The rules, what was sent in this hour, and the room that is left; None: another process holds the ledger.
    fn used(&self, ledger: &mut Ledger) -> Result<Option<(Rules, Used, u64)>, ApiError> {
        let mut state = self.state();
        let looked = ledger.transact(|view| {
            // What is not written there yet is newer.
            if state.corrections.is_empty() {
                state.windows.learn(view.log.advertised());
            }
            let Some(rules) = state.windows.rules(&self.limits) else {
                return (None, false);
            };
            let hour = rules.hour;
            let entries = view.log.entries().iter();
            let used = entries
                .filter(|entry| entry.at + hour.window > view.now)
                .map(|entry| (milliseconds(view.now - entry.at), u64::from(entry.count)));
            let used = used.collect();
            (Some((rules, used, view.log.room(hour, view.now))), false)
        });
        match looked? {
            None => Ok(None),
            Some(None) => Err(self.reserve_too_large(&state)),
            Some(looked) => Ok(looked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn fresh(left: u64, used: Vec<(Duration, u64)>) -> Allowance {
        Allowance {
            per_second: 2.0,
            per_hour: 1_200,
            left,
            hour: HOUR,
            used,
        }
    }

    #[test]
    fn the_second_decides_until_the_hour_is_used_up() {
        let minutes = |minutes| Duration::from_mins(minutes);
        assert_eq!(fresh(1_200, vec![]).time_for(0), Duration::ZERO);
        assert_eq!(fresh(1_200, vec![]).time_for(1_200), minutes(10));
        // The first request of the second hour goes when the very first is an hour old.
        assert_eq!(fresh(1_200, vec![]).time_for(2_400), minutes(70));
        // What was sent 50 minutes ago comes back in 10.
        let used = vec![(minutes(50), 1_200)];
        assert_eq!(
            fresh(0, used).time_for(2),
            minutes(10) + Duration::from_secs(1)
        );
        // Twice as many as are allowed: the first half frees nothing.
        let used = vec![(minutes(50), 1_200), (minutes(20), 1_200)];
        assert_eq!(
            fresh(0, used).time_for(2),
            minutes(40) + Duration::from_secs(1)
        );
        // Nobody knows when others sent theirs.
        assert_eq!(fresh(0, vec![]).time_for(2), HOUR + Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn more_requests_take_more_time_and_no_window_is_over(
            used in proptest::collection::vec((0_u64..3_600, 1_u64..50), 0..8),
            per_hour in 1_u64..400,
            requests in 1_u64..2_000,
        ) {
            let mut used: Vec<_> = used
                .into_iter()
                .map(|(ago, count)| (Duration::from_secs(ago), count))
                .collect();
            used.sort_by_key(|(ago, _)| std::cmp::Reverse(*ago));
            let ours: u64 = used.iter().map(|(_, count)| count).sum();
            let allowance = Allowance {
                per_second: 2.0,
                per_hour,
                left: per_hour.saturating_sub(ours),
                hour: HOUR,
                used,
            };
            let time = allowance.time_for(requests);
            prop_assert!(time > allowance.time_for(requests - 1));
            let full_hours = (requests - 1) / per_hour;
            prop_assert!(time >= HOUR * u32::try_from(full_hours).unwrap());
        }
    }
}
