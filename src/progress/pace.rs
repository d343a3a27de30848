//! How fast something counts, and when the next line of the log is due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Without a terminal a line comes no more often.
const LOGGED_EVERY: Duration = Duration::from_secs(10);
/// The rate is that of so long a time before now.
const RATE_WINDOW: Duration = Duration::from_secs(30);

/// Counts at times of the last half minute.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Instant, u64)>);

/// When the last line was logged.
#[derive(Debug, Default)]
pub(super) struct LastLine(Option<Instant>);

impl Pace {
    pub(super) fn sample(&mut self, now: Instant, done: u64) {
        let past = &mut self.0;
        past.push_back((now, done));
        while past.len() > 2
            && (past.get(1)).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_WINDOW)
        {
            past.pop_front();
        }
    }

    /// How many a second; none before there is a second to judge by. What is begun again counts from where it is.
    pub(super) fn rate(&self) -> Option<f64> {
        let ((first, before), (last, done)) = (self.0.front()?, self.0.back()?);
        let seconds = last.duration_since(*first).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        (seconds >= 1.0).then(|| done.saturating_sub(*before) as f64 / seconds)
    }
}

impl LastLine {
    /// Whether ten seconds have passed since the first question or the last line.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let since = *self.0.get_or_insert(now);
        let is_due = now.duration_since(since) >= LOGGED_EVERY;
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_log_is_due_every_ten_seconds() {
        let mut logged = LastLine::default();
        let start = Instant::now();
        let mut is_due = |seconds: &u64| logged.is_due(start + Duration::from_secs(*seconds));
        let found: Vec<u64> = (0..31).filter(|at| is_due(at)).collect();
        assert_eq!(found, [10, 20, 30]);
    }
}
