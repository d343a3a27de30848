//! The earlier reads in staging that decide something.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use roaring::RoaringTreemap;

use super::request_hash::request_hash;
use super::time::minus;
use crate::config::{Config, Resource};
use crate::name::Name;
use crate::staging::{Mode, ReadManifest, Run, RunId, StagingError, State};

/// As many of the newest deltas show how fast rows change.
pub(crate) const DELTAS: usize = 20;

/// What staging knows of earlier reads, newest first, for each read of each resource: those that decide something, or
/// that a forecast rests on. It does not grow with the number of runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct EarlierReads {
    reads: BTreeMap<Key, Vec<Read>>,
    /// Of today's requests.
    request_hashes: BTreeMap<Key, String>,
    /// Numbers of all runs that were looked at.
    runs: RoaringTreemap,
    /// The hourly limit, by the newest run that has it.
    hour_limit: Option<u64>,
}

/// A resource, and the named read of it.
type Key = (Name, Option<Name>);

fn key(resource: &Resource) -> Key {
    (resource.name.clone(), resource.read_name().cloned())
}

#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) run_id: RunId,
    pub(crate) seq: u64,
    pub(crate) manifest: ReadManifest,
}

impl EarlierReads {
    /// Reads the manifests of `runs` (in the order of their numbers), newest first, as far as they are needed. One that
    /// cannot be read is reported, and counts as a read that failed.
    pub(crate) fn read(config: &Config, runs: &[Run]) -> Result<Self, StagingError> {
        let mut earlier_reads = Self {
            reads: BTreeMap::new(),
            request_hashes: BTreeMap::new(),
            runs: runs.iter().map(|run| run.record().seq).collect(),
            hour_limit: runs.iter().rev().find_map(|run| {
                let limit = run.record().rate.get("limit_per_hour")?;
                limit.as_u64()
            }),
        };
        let reads = config.resources.iter().flat_map(Resource::all_reads);
        for resource in reads {
            let hash = request_hash(config, resource);
            (earlier_reads.request_hashes).insert(key(resource), hash.clone());
            let mut wanted =
                WantedReads::new(hash, resource.for_each.is_some(), resource.cursor.is_some());
            let mut reads = Vec::new();
            for run in runs.iter().rev() {
                if wanted.is_done() {
                    break;
                }
                let manifest = run.manifest(&resource.name);
                match manifest.map(|manifest| manifest?.read(resource.read_name())) {
                    Ok(Some(manifest)) if wanted.claim(&manifest) => reads.push(Read {
                        run_id: run.id().clone(),
                        seq: run.record().seq,
                        manifest,
                    }),
                    Ok(None | Some(_)) => {}
                    Err(error @ StagingError::Broken { .. }) => tracing::warn!("{error}"),
                    Err(error) => return Err(error),
                }
            }
            if !reads.is_empty() {
                earlier_reads.reads.insert(key(resource), reads);
            }
        }
        Ok(earlier_reads)
    }

    /// Whether this run was read for it.
    pub(crate) fn covers(&self, run: &Run) -> bool {
        self.runs.contains(run.record().seq)
    }

    /// Final ones of a read, newest first: the newest, and those that are needed of the others.
    pub(crate) fn of(&self, resource: &Resource) -> &[Read] {
        self.reads.get(&key(resource)).map_or(&[], Vec::as_slice)
    }

    /// The hourly limit in the newest answer that had one.
    pub(crate) fn hour_limit(&self) -> Option<u64> {
        self.hour_limit
    }

    /// Those of today's request, newest first.
    pub(crate) fn of_request(&self, resource: &Resource) -> impl Iterator<Item = &Read> {
        let hash = self.request_hashes.get(&key(resource));
        let reads = self.of(resource).iter();
        reads.take_while(move |read| Some(&read.manifest.request_hash) == hash)
    }

    /// The newest read of today's request that moved the cursor.
    pub(crate) fn last_cursor_read(&self, resource: &Resource) -> Option<&Read> {
        self.of_request(resource)
            .find(|read| read.manifest.state.moves_cursor() && read.manifest.cursor.is_some())
    }

    /// How far a resource with a cursor is known; `clock_skew` is how far the server's clock is ahead. A cursor is taken
    /// from one answer: if it was in the future at that time, by more than the lookback, it came from a wrong clock, and
    /// changes before it were never requested.
    pub(crate) fn trusted_cursor(
        &self,
        resource: &Resource,
        clock_skew: Option<SignedDuration>,
    ) -> Option<Timestamp> {
        let lookback = resource.cursor.as_ref()?.lookback;
        let trusted = |read: &Read| {
            let cursor = read.manifest.cursor?;
            let at_most = clock_skew
                .and_then(|clock_skew| read.manifest.finished_at.checked_add(clock_skew).ok());
            Some(match at_most {
                Some(at_most) if minus(cursor, lookback) > at_most => (at_most, false),
                _ => (cursor, true),
            })
        };
        let mut reads = self
            .of_request(resource)
            .filter(|read| read.manifest.state.moves_cursor())
            .filter_map(trusted);
        match reads.next()? {
            (newest, true) => Some(newest),
            (newest, false) => Some(reads.fold(newest, |most, (other, _)| most.max(other))),
        }
    }

    /// The newest full read of today's request, if it is drifted.
    pub(crate) fn last_drifted_full(&self, resource: &Resource) -> Option<&Read> {
        self.of_request(resource)
            .find(|read| read.manifest.mode == Mode::Full && read.manifest.window.is_none())
            .filter(|read| read.manifest.state == State::Drifted)
    }

    pub(crate) fn last_complete_full(&self, resource: &Resource) -> Option<&Read> {
        self.of_request(resource)
            .find(|read| read.manifest.is_complete_full())
    }
}

/// What is still searched for a read, from the newest run to older ones.
#[expect(clippy::struct_excessive_bools, reason = "each is a find of its own")]
struct WantedReads {
    /// The hash of today's request; `None` after a read of another request: those before it do not count.
    hash: Option<String>,
    newest: bool,
    cursor: bool,
    /// One of today's request.
    own_cursor: bool,
    complete_full: bool,
    /// A full read, whatever its state.
    full: bool,
    slices: bool,
    deltas: usize,
}

impl WantedReads {
    fn new(request_hash: String, fans_out: bool, has_deltas: bool) -> Self {
        Self {
            hash: Some(request_hash),
            newest: true,
            cursor: true,
            own_cursor: true,
            complete_full: true,
            full: true,
            slices: fans_out,
            deltas: if has_deltas { DELTAS } else { 0 },
        }
    }

    /// Whether older runs are of no use.
    fn is_done(&self) -> bool {
        let of_today =
            self.own_cursor || self.complete_full || self.full || self.slices || self.deltas > 0;
        !(self.newest || self.cursor || self.hash.is_some() && of_today)
    }

    /// Whether a read is one of those searched for; it is then found.
    fn claim(&mut self, manifest: &ReadManifest) -> bool {
        let found = |wanted: &mut bool, is: bool| is && std::mem::take(wanted);
        let mut taken = found(&mut self.newest, true);
        taken |= found(&mut self.cursor, manifest.cursor.is_some());
        if self
            .hash
            .as_deref()
            .is_none_or(|hash| hash != manifest.request_hash)
        {
            // The first of them is kept: it parts today's reads from older ones.
            return taken | self.hash.take().is_some();
        }
        let moves_cursor = manifest.state.moves_cursor();
        taken |= found(
            &mut self.own_cursor,
            moves_cursor && manifest.cursor.is_some(),
        );
        taken |= found(&mut self.complete_full, manifest.is_complete_full());
        let is_full = manifest.mode == Mode::Full && manifest.window.is_none();
        taken |= found(&mut self.full, is_full);
        let slices = manifest.evidence.slices.is_some_and(|slices| slices > 0);
        taken |= found(&mut self.slices, slices);
        if self.deltas > 0 && moves_cursor && manifest.window.is_some() {
            self.deltas -= 1;
            taken = true;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staging::{Evidence, Window};
    use proptest::prelude::*;

    fn manifest() -> impl Strategy<Value = ReadManifest> {
        (
            prop_oneof![8 => Just("today"), 1 => Just("before")],
            prop_oneof![1 => Just(Mode::Full), 5 => Just(Mode::Delta)],
            prop_oneof![
                Just(State::Complete),
                Just(State::Drifted),
                Just(State::Partial)
            ],
            any::<bool>(),
            any::<bool>(),
            proptest::option::of(0_u64..3),
            0_u64..100,
        )
            .prop_map(|(hash, mode, state, windowed, known, slices, rows)| {
                let time = Timestamp::UNIX_EPOCH;
                ReadManifest {
                    mode,
                    state,
                    pages: 1,
                    rows,
                    bytes: 1,
                    hits: 1,
                    x_total: None,
                    window: windowed.then_some(Window {
                        start: time,
                        end: time,
                    }),
                    cursor: known.then_some(time),
                    request_hash: hash.to_owned(),
                    evidence: Evidence {
                        slices,
                        ..Evidence::default()
                    },
                    smaller_pages: None,
                    started_at: time,
                    finished_at: time,
                }
            })
    }

    fn users() -> Resource {
        let config = Config::load(None).unwrap();
        config.resource("users").unwrap().clone()
    }

    fn earlier_reads(manifests: &[(u64, ReadManifest)]) -> EarlierReads {
        let mut earlier_reads = EarlierReads::default();
        let reads = manifests.iter().map(|(seq, manifest)| Read {
            run_id: serde_json::from_value("20261123T020000Z".into()).unwrap(),
            seq: *seq,
            manifest: manifest.clone(),
        });
        (earlier_reads.reads).insert(key(&users()), reads.collect());
        (earlier_reads.request_hashes).insert(key(&users()), "today".to_owned());
        earlier_reads
    }

    /// All that is asked of earlier reads, here and in the forecast.
    fn answers(earlier_reads: &EarlierReads) -> Vec<Option<u64>> {
        let name = users();
        let today = || earlier_reads.of_request(&name);
        let seq = |read: Option<&Read>| read.map(|read| read.seq);
        let is_full = |read: &&Read| read.manifest.mode == Mode::Full;
        let is_delta =
            |read: &&Read| read.manifest.window.is_some() && read.manifest.state.moves_cursor();
        let mut answers = vec![
            seq(earlier_reads.of(&name).first()),
            seq((earlier_reads.of(&name).iter()).find(|read| read.manifest.cursor.is_some())),
            seq(earlier_reads.last_cursor_read(&name)),
            seq(earlier_reads.last_complete_full(&name)),
            seq(today()
                .filter(is_full)
                .find(|read| read.manifest.window.is_none())),
            seq(today().find(|read| read.manifest.evidence.slices > Some(0))),
        ];
        answers.extend(
            today()
                .filter(is_delta)
                .take(DELTAS)
                .map(|read| Some(read.seq)),
        );
        answers
    }

    proptest! {
        #[test]
        fn bounded_history_answers_like_a_complete_one(
            manifests in proptest::collection::vec(manifest(), 0..200),
        ) {
            let all: Vec<(u64, ReadManifest)> = (0..1_000).rev().zip(manifests).collect();
            let mut wanted = WantedReads::new("today".to_owned(), true, true);
            let mut kept = Vec::new();
            for (seq, manifest) in &all {
                if wanted.is_done() {
                    break;
                }
                if wanted.claim(manifest) {
                    kept.push((*seq, manifest.clone()));
                }
            }
            prop_assert_eq!(answers(&earlier_reads(&kept)), answers(&earlier_reads(&all)));
            prop_assert!(kept.len() <= DELTAS + 7, "{}", kept.len());
        }
    }
}
