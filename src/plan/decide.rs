//! Which reads are due, in which mode, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::{Config, FullEvery, QueryParameter, Resource};
use crate::convert::span_of;
use crate::name::{Name, advice};
use crate::printable::Messages;
use crate::staging::{Mode, SmallerPages, Window};

use super::earlier_reads::{EarlierReads, Read};
use super::time::{ServerNow, minus};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the last read is young enough.
    Skip,
    Full,
    /// Read all from this time on, by the cursor's field.
    Since(Timestamp),
    /// Read what changed in a window that ends now, by the server's time.
    Delta {
        /// From, with the lookback.
        start: Timestamp,
        /// An end given on the command line.
        end: Option<Timestamp>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) step: Step,
    pub(crate) reason: String,
}

/// Over which ids of another resource one fans out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FanOut {
    /// Over all ids, not only those that are new or changed.
    pub(crate) is_all: bool,
    /// Besides the ids of this run, those in reads from this run number on.
    pub(crate) from_seq: Option<u64>,
    pub(crate) mode: Mode,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ReadOptions {
    pub(crate) full: bool,
    /// `--force`: `min_age` is ignored.
    pub(crate) force: bool,
    /// `--since` and `--window`: from, and to.
    pub(crate) window: Option<(Timestamp, Option<Timestamp>)>,
    /// Resources that must be read in full, because the database lacks their past.
    pub(crate) must_be_full: BTreeMap<Name, String>,
}

/// The resources selected by `--select` and `--exclude`, in dependency order. The error names unknown ones, with a
/// suggestion each.
pub(crate) fn select<'c>(
    config: &'c Config,
    select: &[String],
    exclude: &[String],
) -> Result<Vec<&'c Resource>, Messages> {
    let mut unknown = Vec::new();
    for name in select.iter().chain(exclude) {
        if config.resource(name).is_none() {
            let names = (config.resources.iter()).map(|resource| resource.name.as_str());
            let advice = advice(name, names, "the resources are");
            unknown.push(format!("there is no resource `{name}`; {advice}"));
        }
    }
    if !unknown.is_empty() {
        return Err(Messages::of(&unknown));
    }
    let chosen: Vec<&Resource> = config
        .resources
        .iter()
        .filter(|resource| {
            let is = |names: &[String]| names.iter().any(|name| name == resource.name.as_str());
            (select.is_empty() || is(select)) && !is(exclude)
        })
        .collect();
    if chosen.is_empty() {
        let nothing = "no resource is left to read; see --select and --exclude";
        return Err(Messages::of(&[nothing.to_owned()]));
    }
    Ok(chosen)
}

/// What a decision rests on.
pub(crate) struct Decider<'a> {
    pub(crate) config: &'a Config,
    pub(crate) earlier_reads: &'a EarlierReads,
    pub(crate) request: &'a ReadOptions,
    pub(crate) server: ServerNow,
}

impl Decider<'_> {
    /// What to do with each read of a resource, its own first.
    pub(crate) fn decide<'r>(&self, resource: &'r Resource) -> Vec<(&'r Resource, Decision)> {
        let own = (resource.has_own_read()).then(|| (resource, self.decide_own(resource)));
        let is_full = own.as_ref().is_some_and(|(_, own)| own.step == Step::Full);
        let named = self.decide_named_reads(resource, is_full);
        own.into_iter().chain(named).collect()
    }

    /// What to do with each named read of a resource. `is_full`: its own read is full in this run.
    pub(crate) fn decide_named_reads<'r>(
        &self,
        resource: &'r Resource,
        is_full: bool,
    ) -> Vec<(&'r Resource, Decision)> {
        let decide = |read: &'r Resource| {
            let decision = if is_full && is_part_of(read, resource) {
                Decision {
                    step: Step::Skip,
                    reason: "the full read of this run has its records".to_owned(),
                }
            } else {
                self.decide_named_read(read, resource)
            };
            (read, decision)
        };
        resource.reads.iter().map(decide).collect()
    }

    fn decide_named_read(&self, read: &Resource, resource: &Resource) -> Decision {
        let Self {
            earlier_reads,
            request,
            server,
            ..
        } = *self;
        let last = earlier_reads.last_cursor_read(read);
        let youngest = last_covering_read(read, resource, earlier_reads);
        let youngest = youngest.and_then(|read| age(read, server.now));
        if request.full && !resource.has_own_read() {
            return full("--full");
        }
        let every = read.read.as_ref().map_or(Duration::ZERO, |read| read.every);
        let affordable = last.map_or(Duration::ZERO, |last| self.affordable(read, last));
        if let Some(age) = youngest
            && age < due_after(every.max(affordable))
            && !request.force
        {
            let limit = format!("every = {}", humantime::format_duration(every));
            return skip(
                age,
                &if affordable > every {
                    format!(
                        "{} ({limit}, extended by refresh_share)",
                        span_of(affordable)
                    )
                } else {
                    limit
                },
            );
        }
        let Some(cursor) = &read.cursor else {
            return full(&match youngest {
                Some(age) => format!("the last one is {} old", span_of(age)),
                None => "it was never read".to_owned(),
            });
        };
        let full = |reason: String| Decision {
            step: (cursor.first).map_or(Step::Full, |first| Step::Since(minus(server.now, first))),
            reason,
        };
        let cursor_at = earlier_reads.trusted_cursor(read, server.clock_skew);
        let (Some(cursor_at), Some(last)) = (cursor_at, earlier_reads.last_complete_full(read))
        else {
            return full("no complete read of it in staging was asked for as today".to_owned());
        };
        if let Some(reason) = self.is_due_in_full(read, last) {
            return full(reason);
        }
        Decision {
            step: Step::Delta {
                start: minus(cursor_at, cursor.lookback),
                end: None,
            },
            reason: format!("known up to {cursor_at}"),
        }
    }

    fn decide_own(&self, resource: &Resource) -> Decision {
        let Self {
            earlier_reads,
            request,
            server,
            ..
        } = *self;
        let now = server.now;
        if let Some(reason) = request.must_be_full.get(&resource.name) {
            return full(reason);
        }
        if request.full {
            return full("--full");
        }
        let last_read = earlier_reads.last_cursor_read(resource);
        if let Some(read) = last_read
            && !request.force
            && request.window.is_none()
            && let Some(age) = age(read, now)
            && age < resource.min_age
        {
            let min_age = humantime::format_duration(resource.min_age);
            return skip(age, &format!("min_age = {min_age}"));
        }
        let Some(cursor) = &resource.cursor else {
            return full("it has no cursor: every read is full");
        };
        if let Some((start, end)) = request.window {
            return Decision {
                step: Step::Delta { start, end },
                reason: "asked for on the command line".to_owned(),
            };
        }
        let cursor_at = earlier_reads.trusted_cursor(resource, server.clock_skew);
        let last_full = earlier_reads.last_complete_full(resource);
        // One that proved nothing is tried again the next day, and until then its records are known as well.
        let drifted = earlier_reads.last_drifted_full(resource).filter(|read| {
            let newer = last_full.is_none_or(|full| full.seq < read.seq);
            newer && age(read, now).is_some_and(|age| age < DRIFTED_FULL_EVERY)
        });
        let (Some(cursor_at), Some(last_full)) = (cursor_at, drifted.or(last_full)) else {
            return full(if earlier_reads.of(resource).is_empty() {
                "it was never read"
            } else {
                "no complete full read in staging was asked for as today"
            });
        };
        if let Some(reason) = self.is_due_in_full(resource, last_full) {
            return full(&reason);
        }
        let announced = last_read.and_then(|read| read.manifest.cursor);
        Decision {
            step: Step::Delta {
                start: minus(cursor_at, cursor.lookback),
                end: None,
            },
            reason: match announced {
                Some(announced) if announced > cursor_at => format!(
                    "known up to {cursor_at}; the API's answer gave {announced}, which is in the future"
                ),
                _ => format!("known up to {cursor_at}"),
            },
        }
    }

    /// Why a resource or a named read is to be read in full again.
    fn is_due_in_full(&self, read: &Resource, last: &Read) -> Option<String> {
        let (every, written) = self.full_every(read, last)?;
        let age = age(last, self.server.now)?;
        (age >= every).then(|| {
            let age = span_of(age);
            format!("the last full read is {age} old, and full_every = {written}")
        })
    }

    /// How old the last full read may become.
    fn full_every(&self, resource: &Resource, last: &Read) -> Option<(Duration, String)> {
        const DAY: Duration = Duration::from_hours(24);
        let every = match resource.full_every? {
            FullEvery::Fixed(every) => (every, humantime::format_duration(every).to_string()),
            FullEvery::Auto => {
                let every = self.affordable(resource, last).clamp(DAY, 30 * DAY);
                (every, format!("auto, now {}", span_of(every)))
            }
        };
        Some(every)
    }

    /// How old a read like `last` must become, so that it takes no more of the hourly limit than `refresh_share`.
    fn affordable(&self, read: &Resource, last: &Read) -> Duration {
        /// What the API allows an application that has no higher limit.
        const USUAL_LIMIT: u64 = 1_200;
        let Self {
            config,
            earlier_reads,
            ..
        } = *self;
        let smaller = last.manifest.smaller_pages.map(|pages| pages.size);
        let configured = read.page_size.unwrap_or(config.api.page_size);
        let page_size = u64::from(smaller.unwrap_or(configured)).max(1);
        let rows = last.manifest.x_total.unwrap_or(last.manifest.rows);
        let learnt = earlier_reads.hour_limit().unwrap_or(USUAL_LIMIT);
        let limit = (config.api.requests_per_hour).map_or(learnt, |cap| learnt.min(u64::from(cap)));
        let hour = Duration::from_hours(1);
        let share = config.api.refresh_share;
        #[expect(
            clippy::cast_precision_loss,
            reason = "requests and limits are far below 2^52"
        )]
        let hours = rows.div_ceil(page_size) as f64 / (limit.max(1) as f64 * share);
        Duration::try_from_secs_f64(hours * hour.as_secs_f64()).unwrap_or(Duration::MAX)
    }
}

/// A full read that was drifted is retried after this time.
const DRIFTED_FULL_EVERY: Duration = Duration::from_hours(24);

/// Whether a full read of the resource shows all records that its named read asks for.
fn is_part_of(read: &Resource, resource: &Resource) -> bool {
    let has = |parameter: &QueryParameter| read.query.contains(parameter);
    read.for_each.is_none() && read.cursor.is_none() && resource.query.iter().all(has)
}

/// The newest read that showed the records of a named read: one of its own, or a full read of the resource.
pub(crate) fn last_covering_read<'h>(
    read: &Resource,
    resource: &Resource,
    earlier_reads: &'h EarlierReads,
) -> Option<&'h Read> {
    let last = earlier_reads.last_cursor_read(read);
    let full = earlier_reads.last_complete_full(resource);
    let full = full.filter(|_| is_part_of(read, resource));
    last.into_iter().chain(full).max_by_key(|read| read.seq)
}

fn skip(age: Duration, limit: &str) -> Decision {
    let reason = format!("read {} ago, which is younger than {limit}", span_of(age));
    Decision {
        step: Step::Skip,
        reason,
    }
}

fn full(reason: &str) -> Decision {
    Decision {
        step: Step::Full,
        reason: reason.to_owned(),
    }
}

/// How old a read is when it is due again. It is dated some seconds after its run began, and the run that comes `every`
/// later must find it due.
pub(crate) fn due_after(every: Duration) -> Duration {
    every.saturating_sub(every / 20)
}

/// Rows to ask for a page: as configured, or as few as the server could give in time; a day later twice as many.
pub(crate) fn page_size(
    config: &Config,
    read: &Resource,
    earlier_reads: &EarlierReads,
    now: Timestamp,
) -> SmallerPages {
    const TRIED_AFTER: Duration = Duration::from_hours(24);
    let configured = read.page_size.unwrap_or(config.api.page_size);
    let last = earlier_reads
        .of(read)
        .first()
        .and_then(|last| last.manifest.smaller_pages);
    let Some(last) = last.filter(|last| last.size < configured) else {
        return SmallerPages {
            size: configured,
            since: now,
        };
    };
    let age = Duration::try_from(now.duration_since(last.since)).unwrap_or_default();
    if age < TRIED_AFTER {
        return last;
    }
    SmallerPages {
        size: last.size.saturating_mul(2).min(configured),
        since: now,
    }
}

/// Over which ids of `parent` a resource fans out, when this run has or has not a complete full read of the parent.
pub(crate) fn fan_out(
    resource: &Resource,
    parent: &Resource,
    earlier_reads: &EarlierReads,
    request: &ReadOptions,
    parent_is_full: bool,
) -> FanOut {
    let last_whole = earlier_reads.last_cursor_read(resource);
    let parent_full = earlier_reads
        .last_complete_full(parent)
        .map(|read| read.seq);
    let is_all = parent_is_full
        || earlier_reads.last_complete_full(resource).is_none()
        || request.full
        || request.must_be_full.contains_key(&resource.name);
    // All ids: those of a complete full read of the parent, and whatever came after it. Otherwise those that
    // the parent showed since this resource was read last.
    let from_seq = match (is_all, parent_is_full) {
        (true, true) => None,
        (true, false) => Some(parent_full.unwrap_or(0)),
        (false, _) => Some(last_whole.map_or(0, |read| read.seq + 1)),
    };
    // Without a complete full read of the parent not all ids are known: then absence proves nothing.
    let knows_all = parent_is_full || parent_full.is_some();
    FanOut {
        is_all,
        from_seq,
        mode: if is_all && knows_all {
            Mode::Full
        } else {
            Mode::Delta
        },
    }
}

/// What a database has of a resource: the newest read that it loaded, and the newest complete full one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadedReads<'a> {
    /// The run of the newest.
    pub(crate) run_id: &'a str,
    pub(crate) seq: u64,
    /// The number of the full one's run.
    pub(crate) full_seq: Option<u64>,
    /// The number of the newest run before which another one is missing.
    pub(crate) gap_seq: Option<u64>,
}

/// Resources whose past a database does not have and staging cannot give any more, with the reason.
pub(crate) fn must_be_full<'a>(
    config: &Config,
    earlier_reads: &EarlierReads,
    loaded: impl Fn(&Name) -> Option<LoadedReads<'a>>,
) -> BTreeMap<Name, String> {
    let lacks = |resource: &&Resource| {
        let full = earlier_reads.last_complete_full(resource);
        let feeds_a_table = config.tables_of(&resource.name).next().is_some();
        // The full read that the next delta would build on is loaded, or still to be loaded.
        full.filter(|_| feeds_a_table).is_some_and(|full| {
            loaded(&resource.name).is_some_and(|known| {
                let has_it = known.full_seq.is_some_and(|seq| seq >= full.seq)
                    && full.run_id.as_str() <= known.run_id;
                let has_gap = known.gap_seq > known.full_seq;
                full.seq <= known.seq && (!has_it || has_gap)
            })
        })
    };
    let reason = "the database lacks the last full read, or a read after it";
    (config.resources.iter().filter(lacks))
        .map(|resource| (resource.name.clone(), reason.to_owned()))
        .collect()
}

/// The cursor after a complete read of `window`, when it was `known` before. A window given on the command line moves the
/// cursor only if no gap remains.
pub(crate) fn cursor_after(
    window: Window,
    cursor_at: Timestamp,
    known: Option<Timestamp>,
) -> Option<Timestamp> {
    let known = known?;
    let cursor_at = cursor_at.min(window.end);
    Some(if window.start <= known {
        cursor_at.max(known)
    } else {
        known
    })
}

fn age(read: &Read, now: Timestamp) -> Option<Duration> {
    let at = read.manifest.cursor.unwrap_or(read.manifest.started_at);
    // A clock that went back gives no age: then nothing is skipped.
    Duration::try_from(now.duration_since(at)).ok()
}
