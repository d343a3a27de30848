//! What staging knows of earlier reads, as far as anybody asks.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use roaring::RoaringTreemap;

use super::{minus, request_hash};
use crate::config::{Config, Resource};
use crate::name::Name;
use crate::staging::{Mode, ReadManifest, Run, RunId, StagingError, State};

/// So many of the newest deltas say how fast rows change.
pub const DELTAS: usize = 20;

/// What staging knows of earlier reads, newest first, for each read of each resource: those that decide something, or
/// that a forecast rests on. It does not grow with the number of runs.
#[derive(Clone, Debug, Default)]
pub struct History {
    reads: BTreeMap<Key, Vec<Read>>,
    /// Numbers of all runs that were looked at.
    runs: RoaringTreemap,
    /// Requests an hour that the API allowed, as the newest run that knows it was answered.
    hour_limit: Option<u64>,
}

/// A resource, and the named read of it.
type Key = (Name, Option<Name>);

fn key(resource: &Resource) -> Key {
    (resource.name.clone(), resource.read_name().cloned())
}

/// An earlier read that is final.
#[derive(Clone, Debug)]
pub struct Read {
    /// The run that it belongs to.
    pub run_id: RunId,
    /// Its number.
    pub seq: u64,
    /// Its manifest.
    pub manifest: ReadManifest,
}

impl History {
    /// Reads the manifests of `runs` (in the order of their numbers), newest first, as far as they are needed. One that
    /// cannot be read is told, and counts as a read that did not succeed.
    pub fn read(config: &Config, runs: &[Run]) -> Result<Self, StagingError> {
        let mut history = Self {
            reads: BTreeMap::new(),
            runs: runs.iter().map(|run| run.record().seq).collect(),
            hour_limit: runs.iter().rev().find_map(|run| {
                let limit = run.record().rate.get("limit_per_hour")?;
                limit.as_u64()
            }),
        };
        let reads = config.resources.iter().flat_map(Resource::all_reads);
        for resource in reads {
            let mut wanted = Wanted::new(
                request_hash(config, resource),
                resource.for_each.is_some(),
                resource.cursor.is_some(),
            );
            let mut reads = Vec::new();
            for run in runs.iter().rev() {
                if wanted.is_nothing() {
                    break;
                }
                let manifest = run.manifest(&resource.name);
                match manifest.map(|manifest| manifest?.read(resource.read_name())) {
                    Ok(Some(manifest)) if wanted.take(&manifest) => reads.push(Read {
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
                history.reads.insert(key(resource), reads);
            }
        }
        Ok(history)
    }

    /// Whether it was read from this run too.
    pub fn covers(&self, run: &Run) -> bool {
        self.runs.contains(run.record().seq)
    }

    /// Final ones of a read, newest first: the newest, and those that are needed of the others.
    pub fn of(&self, resource: &Resource) -> &[Read] {
        self.reads.get(&key(resource)).map_or(&[], Vec::as_slice)
    }

    /// Requests an hour that the API allowed at last, if any answer told.
    pub fn hour_limit(&self) -> Option<u64> {
        self.hour_limit
    }

    /// The newest read that moved the cursor, asked for in the same way as today.
    pub fn newest_whole(&self, resource: &Resource, request_hash: &str) -> Option<&Read> {
        self.of(resource)
            .iter()
            .take_while(|read| read.manifest.request_hash == request_hash)
            .find(|read| read.manifest.state.moves_cursor() && read.manifest.cursor.is_some())
    }

    /// How far a resource with a cursor is known, when the server's clock is `ahead` of ours by so much. A cursor is a
    /// single answer's word: one that our clock and today's answers agree not to have been reached then, by more than
    /// the lookback makes good, came from a wrong clock, and what changed before it was never asked for.
    pub fn reached(
        &self,
        resource: &Resource,
        request_hash: &str,
        ahead: Option<SignedDuration>,
    ) -> Option<Timestamp> {
        let lookback = resource.cursor.as_ref()?.lookback;
        let reached = |read: &Read| {
            let said = read.manifest.cursor?;
            let at_most = ahead.and_then(|ahead| read.manifest.finished_at.checked_add(ahead).ok());
            Some(match at_most {
                Some(at_most) if minus(said, lookback) > at_most => (at_most, false),
                _ => (said, true),
            })
        };
        let mut reads = (self.of(resource).iter())
            .take_while(|read| read.manifest.request_hash == request_hash)
            .filter(|read| read.manifest.state.moves_cursor())
            .filter_map(reached);
        match reads.next()? {
            (newest, true) => Some(newest),
            (newest, false) => Some(reads.fold(newest, |most, (other, _)| most.max(other))),
        }
    }

    /// The newest full read that read every page and proved nothing, asked for in the same way as today.
    pub fn newest_drifted_full(&self, resource: &Resource, request_hash: &str) -> Option<&Read> {
        self.of(resource)
            .iter()
            .take_while(|read| read.manifest.request_hash == request_hash)
            .find(|read| read.manifest.mode == Mode::Full && read.manifest.window.is_none())
            .filter(|read| read.manifest.state == State::Drifted)
    }

    /// The newest complete full read, asked for in the same way as today.
    pub fn newest_full(&self, resource: &Resource, request_hash: &str) -> Option<&Read> {
        self.of(resource)
            .iter()
            .take_while(|read| read.manifest.request_hash == request_hash)
            .find(|read| read.manifest.is_proof())
    }
}

/// What is still looked for of a resource, from its newest read on to older ones.
#[expect(clippy::struct_excessive_bools, reason = "each is a find of its own")]
struct Wanted {
    /// Today's question; none: an older read answered another, and so those before it mean nothing any more.
    hash: Option<String>,
    newest: bool,
    cursor: bool,
    whole: bool,
    proof: bool,
    /// A full read, whatever its state.
    full: bool,
    slices: bool,
    deltas: usize,
}

impl Wanted {
    fn new(request_hash: String, fans_out: bool, has_deltas: bool) -> Self {
        Self {
            hash: Some(request_hash),
            newest: true,
            cursor: true,
            whole: true,
            proof: true,
            full: true,
            slices: fans_out,
            deltas: if has_deltas { DELTAS } else { 0 },
        }
    }

    /// Whether older reads are of no use.
    fn is_nothing(&self) -> bool {
        let of_today = self.whole || self.proof || self.full || self.slices || self.deltas > 0;
        !(self.newest || self.cursor || self.hash.is_some() && of_today)
    }

    /// Whether a read is one of those looked for, which are then found.
    fn take(&mut self, manifest: &ReadManifest) -> bool {
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
        let is_whole = manifest.state.moves_cursor();
        taken |= found(&mut self.whole, is_whole && manifest.cursor.is_some());
        taken |= found(&mut self.proof, manifest.is_proof());
        let is_full = manifest.mode == Mode::Full && manifest.window.is_none();
        taken |= found(&mut self.full, is_full);
        let slices = manifest.evidence.slices.is_some_and(|slices| slices > 0);
        taken |= found(&mut self.slices, slices);
        if self.deltas > 0 && is_whole && manifest.window.is_some() {
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

    fn history(manifests: &[(u64, ReadManifest)]) -> History {
        let mut history = History::default();
        let reads = manifests.iter().map(|(seq, manifest)| Read {
            run_id: serde_json::from_value("20261123T020000Z".into()).unwrap(),
            seq: *seq,
            manifest: manifest.clone(),
        });
        (history.reads).insert(key(&users()), reads.collect());
        history
    }

    /// All that is asked of a history, here and in the forecast.
    fn answers(history: &History) -> Vec<Option<u64>> {
        let name = users();
        let today = || {
            let reads = history.of(&name).iter();
            reads.take_while(|read| read.manifest.request_hash == "today")
        };
        let seq = |read: Option<&Read>| read.map(|read| read.seq);
        let is_full = |read: &&Read| read.manifest.mode == Mode::Full;
        let is_delta =
            |read: &&Read| read.manifest.window.is_some() && read.manifest.state.moves_cursor();
        let mut answers = vec![
            seq(history.of(&name).first()),
            seq((history.of(&name).iter()).find(|read| read.manifest.cursor.is_some())),
            seq(history.newest_whole(&name, "today")),
            seq(history.newest_full(&name, "today")),
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
        fn what_is_kept_answers_as_all_would_and_does_not_grow(
            manifests in proptest::collection::vec(manifest(), 0..200),
        ) {
            let all: Vec<(u64, ReadManifest)> = (0..1_000).rev().zip(manifests).collect();
            let mut wanted = Wanted::new("today".to_owned(), true, true);
            let mut kept = Vec::new();
            for (seq, manifest) in &all {
                if wanted.is_nothing() {
                    break;
                }
                if wanted.take(manifest) {
                    kept.push((*seq, manifest.clone()));
                }
            }
            prop_assert_eq!(answers(&history(&kept)), answers(&history(&all)));
            prop_assert!(kept.len() <= DELTAS + 7, "{}", kept.len());
        }
    }
}
