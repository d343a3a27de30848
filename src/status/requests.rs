//! Requests by hour, of the command log: a command's requests are spread evenly over the time that it took. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::staging::CommandRecord;

const HOUR: i64 = 3600;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HourOfRequests {
    pub(crate) starts_at: Timestamp,
    pub(crate) requests: f64,
}

/// The last `hours` hours, that of `now` as the last.
pub(crate) fn by_hour(
    commands: &[CommandRecord],
    now: Timestamp,
    hours: i64,
) -> Vec<HourOfRequests> {
    let last = now.as_second().div_euclid(HOUR);
    let starts = (last + 1 - hours)..=last;
    let hour = |at: i64| {
        let from = Timestamp::from_second(at * HOUR).unwrap_or_default();
        let requests = commands.iter().map(|command| share(command, from)).sum();
        HourOfRequests {
            starts_at: from,
            requests,
        }
    };
    starts.map(hour).collect()
}

/// The requests of a command that fall into the hour from `from` on.
fn share(command: &CommandRecord, from: Timestamp) -> f64 {
    let all: u64 = command.requests.values().sum();
    let to = from + SignedDuration::from_secs(HOUR);
    let (begun, ended) = (command.started_at, command.finished_at);
    if all == 0 || ended < from || begun >= to {
        return 0.0;
    }
    let took = ended.duration_since(begun).as_secs_f64();
    let within = ended.min(to).duration_since(begun.max(from)).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let all = all as f64;
    if took > 0.0 {
        all * (within / took).clamp(0.0, 1.0)
    } else if ended < to {
        all
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spread_over_the_hours_of_a_command() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let command = |from: &str, to: &str, requests: u64| {
            let mut record = CommandRecord::ending_now("run", at(from));
            record.finished_at = at(to);
            record.requests.insert("200".to_owned(), requests);
            record
        };
        let commands = [
            command("2026-11-29T20:30:00Z", "2026-11-29T22:00:00Z", 90),
            command("2026-11-29T22:10:00Z", "2026-11-29T22:10:00Z", 5),
            command("2026-11-28T00:00:00Z", "2026-11-28T01:00:00Z", 1000),
        ];
        let hours = by_hour(&commands, at("2026-11-29T22:59:00Z"), 4);
        let counts: Vec<f64> = hours.iter().map(|hour| hour.requests).collect();
        assert_eq!(counts, [0.0, 30.0, 60.0, 5.0]);
        assert_eq!(hours[3].starts_at, at("2026-11-29T22:00:00Z"));
    }
}
