//! Whether a request may go by the log that all users of a key share, and what that log must hear. It waits for nothing.

use tokio::time::Instant;

use crate::ledger::{Ledger, LedgerError, View};
use crate::limits::WaitingFor;
use crate::log::{AdvertisedLimits, HOUR, Millis};
use crate::rate_windows::{LONG_PAUSE, Rules};

/// What happened since the ledger was last written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Correction {
    SentLater { at: Millis, now: Instant },
    NeverSent { at: Millis },
    Pause { until: Instant },
    Limits(AdvertisedLimits),
}

pub(super) enum Admission {
    Free,
    Later {
        at: Millis,
        reason: Option<WaitingFor>,
    },
}

/// Writes corrections to the ledger; false: another process holds it.
pub(super) fn write_corrections(
    ledger: &mut Ledger,
    corrections: &mut Vec<Correction>,
    now: Instant,
) -> Result<bool, LedgerError> {
    if corrections.is_empty() {
        return Ok(true);
    }
    let written = ledger.transact(|view| {
        correct(view, corrections, now);
        ((), true)
    })?;
    if written.is_some() {
        corrections.clear();
    }
    Ok(written.is_some())
}

pub(super) fn correct<'a>(view: View<'a>, corrections: &[Correction], now: Instant) -> View<'a> {
    let millis = |duration: std::time::Duration| Millis::try_from(duration.as_millis());
    for correction in corrections {
        match *correction {
            Correction::SentLater { at, now: sent } => {
                let ago = millis(now.saturating_duration_since(sent)).unwrap_or(0);
                view.log.postpone(at, view.now_up - ago);
            }
            Correction::NeverSent { at } => view.log.remove(at),
            Correction::Limits(limits) => view.log.advertise(limits),
            Correction::Pause { until } => {
                let left = millis(until.saturating_duration_since(now)).unwrap_or(HOUR);
                view.log.pause(view.now_up + left);
            }
        }
    }
    view
}

pub(super) fn admission(view: &View<'_>, rules: &Rules) -> Admission {
    let now = view.now;
    let paused_until = view.log.paused_until();
    if paused_until > now {
        let is_long = paused_until - now > LONG_PAUSE;
        return Admission::Later {
            at: paused_until,
            reason: Some(if is_long {
                WaitingFor::NextHour
            } else {
                WaitingFor::Throttled
            }),
        };
    }
    let by_second = rules.short().map(|rule| view.log.earliest(rule, now)).max();
    let (by_second, by_hour) = (by_second.unwrap_or(now), view.log.earliest(rules.hour, now));
    match by_second.max(by_hour) {
        at if at <= now => Admission::Free,
        at => Admission::Later {
            at,
            reason: (by_hour >= by_second).then_some(WaitingFor::NextHour),
        },
    }
}
