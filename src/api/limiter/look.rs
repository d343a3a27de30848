//! Whether a request may go by the log that all users of a key share, and what that log must hear. It waits for nothing.

use tokio::time::Instant;

use crate::api::ledger::{Ledger, LedgerError, View};
use crate::api::log::{HOUR, Millis, Rule, Told};
use crate::api::windows::{LONG_PAUSE, Rules, WaitingFor};

/// What happened since the head last looked at the ledger.
#[derive(Debug, Clone, Copy)]
pub(super) enum Correction {
    SentLater { at: Millis, now: Instant },
    NeverSent { at: Millis },
    Pause { until: Instant },
    Told(Told),
}

/// What the log says.
pub(super) enum Look {
    Free {
        room: u64,
    },
    Later {
        at: Millis,
        why: Option<WaitingFor>,
    },
    /// Only requests that are still connecting stand in the way.
    Held,
}

/// Writes corrections to the ledger; false: another process holds it.
pub(super) fn tell(
    ledger: &mut Ledger,
    corrections: &mut Vec<Correction>,
    now: Instant,
) -> Result<bool, LedgerError> {
    if corrections.is_empty() {
        return Ok(true);
    }
    let told = ledger.transact(|view| {
        corrected(view, corrections, now);
        ((), true)
    })?;
    if told.is_some() {
        corrections.clear();
    }
    Ok(told.is_some())
}

pub(super) fn corrected<'a>(view: View<'a>, corrections: &[Correction], now: Instant) -> View<'a> {
    for correction in corrections {
        match *correction {
            Correction::SentLater { at, now: sent } => {
                let ago = Millis::try_from((now - sent).as_millis()).unwrap_or(0);
                view.log.postpone(at, view.now_up - ago);
            }
            Correction::NeverSent { at } => view.log.remove(at),
            Correction::Told(told) => view.log.tell(told),
            Correction::Pause { until } => {
                let left = until.saturating_duration_since(now).as_millis();
                view.log
                    .pause(view.now_up + Millis::try_from(left).unwrap_or(HOUR));
            }
        }
    }
    view
}

pub(super) fn look(
    view: &View<'_>,
    rules: &Rules,
    connecting: &[(u64, Millis)],
    wanted: u64,
) -> Look {
    let now = view.now;
    if view.log.paused_until() > now {
        let at = view.log.paused_until();
        let why = if at - now > LONG_PAUSE {
            WaitingFor::NextHour
        } else {
            WaitingFor::Throttled
        };
        return Look::Later { at, why: Some(why) };
    }
    let mut room = wanted;
    let mut at = now;
    for rule in rules.short() {
        // A request that has not left yet may arrive with the next ones, however long ago it got its turn.
        let held = connecting
            .iter()
            .filter(|(_, since)| since + rule.window <= now)
            .count() as u64;
        if held >= rule.count {
            return Look::Held;
        }
        let rule = Rule {
            count: rule.count - held,
            ..rule
        };
        at = at.max(view.log.earliest(rule, now));
        room = room.min(view.log.room(rule, now));
    }
    let next_hour = view.log.earliest(rules.hour, now);
    room = room.min(view.log.room(rules.hour, now));
    if next_hour > now && next_hour >= at {
        return Look::Later {
            at: next_hour,
            why: Some(WaitingFor::NextHour),
        };
    }
    if at > now {
        return Look::Later { at, why: None };
    }
    Look::Free { room: room.max(1) }
}
