//! What a run is expected to give and to cost, by what earlier runs staged. Sends no request and never fails: what cannot
//! be read back is unknown.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::config::{Config, ForEach, Resource};
use crate::convert::counted;
use crate::extract::ids::EarlierIds;
use crate::extract::windows;
use crate::name::Name;
use crate::plan::{self, Decision, EarlierReads, Read, Step};
use crate::staging::{Mode, ReadManifest, ResourceState, Run, StagingError};

pub(crate) type Totals = BTreeMap<(Name, Option<Name>), u64>;

pub(crate) struct ForecastInput<'a> {
    pub(crate) config: &'a Config,
    /// The staged runs that the forecast rests on, in order.
    pub(crate) runs: &'a [Run],
    pub(crate) earlier_reads: &'a EarlierReads,
    pub(crate) request: &'a plan::ReadOptions,
    /// A run that is resumed; none of the earlier reads is of it.
    pub(crate) unfinished: Option<&'a Run>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedRead {
    pub(crate) name: Name,
    pub(crate) read: Option<Name>,
    /// `None` if it is skipped.
    pub(crate) mode: Option<Mode>,
    pub(crate) reason: String,
    pub(crate) expected: Expected,
}

/// Rows and requests, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) rows: Option<u64>,
    /// Requests, each for a page; without rows: at least.
    pub(crate) hits: Option<u64>,
}

impl Expected {
    const NOTHING: Self = Self {
        rows: Some(0),
        hits: Some(0),
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Accuracy {
    pub(crate) hits: u64,
    pub(crate) actual: u64,
    /// The difference in percent of the requests sent; above 0: fewer were sent.
    pub(crate) error_percent: f64,
}

/// The requests of a plan, and whether more are possible because something is unknown. `None` where nothing that would cost a request
/// is known: a zero would be read as "nothing to do".
pub(crate) fn hits(planned: &[PlannedRead]) -> (Option<u64>, bool) {
    let sum = planned.iter().filter_map(|one| one.expected.hits).sum();
    let at_least = planned.iter().any(|one| one.expected.rows.is_none());
    (Some(sum).filter(|sum| *sum > 0 || !at_least), at_least)
}

/// Compares the forecast of a finished run with its requests. The forecast uses the decisions of the run and, for resources
/// that were never read before, the totals of its first answers.
pub(crate) fn outcome(past: &ForecastInput<'_>, run: &Run) -> Result<Accuracy, StagingError> {
    let mut decided = Vec::new();
    let mut announced = Totals::new();
    for resource in &past.config.resources {
        let summary = (run.record().resources.iter()).find(|summary| summary.name == resource.name);
        let Some(summary) = summary.filter(|summary| summary.state != ResourceState::Skipped)
        else {
            continue;
        };
        if let Some(total) = summary.x_total {
            announced.insert((resource.name.clone(), None), total);
        }
        for read in &summary.reads {
            let key = (resource.name.clone(), Some(read.name.clone()));
            announced.extend(read.x_total.map(|total| (key, total)));
        }
        let manifest = run.manifest(&resource.name)?;
        for read in resource.all_reads() {
            let manifest = manifest
                .as_ref()
                .map(|manifest| manifest.read(read.read_name()));
            let window = match manifest {
                Some(None) => continue,
                manifest => manifest.flatten().and_then(|manifest| manifest.window),
            };
            let step = window.map_or(Step::Full, |window| Step::Delta {
                start: window.start,
                end: Some(window.end),
            });
            let reason = String::new();
            decided.push((read, Decision { step, reason }));
        }
    }
    let now = run.record().started_at;
    let (hits, _) = hits(&past.forecast(decided, now, &Totals::new(), &announced));
    Ok(Accuracy::new(hits.unwrap_or(0), run.record().hits))
}

impl Accuracy {
    #[expect(
        clippy::cast_precision_loss,
        reason = "requests are far below 2^52, and it is shown with one decimal"
    )]
    fn new(hits: u64, actual: u64) -> Self {
        let error = (hits as f64 - actual as f64) / actual.max(1) as f64;
        Self {
            hits,
            actual,
            error_percent: (error * 1_000.0).round() / 10.0,
        }
    }
}

impl ForecastInput<'_> {
    /// What comes of decisions (in dependency order) at `now`. `probed` are rows that a probe has shown; `fallback` those
    /// for resources of which staging knows nothing.
    pub(crate) fn forecast(
        &self,
        decided: Vec<(&Resource, Decision)>,
        now: Timestamp,
        probed: &Totals,
        fallback: &Totals,
    ) -> Vec<PlannedRead> {
        let mut planned: Vec<PlannedRead> = Vec::new();
        for (resource, decision) in decided {
            let name = &resource.name;
            if let Some(staged) = self.is_final(name) {
                planned.extend(Some(staged).filter(|_| resource.read.is_none()));
                continue;
            }
            let key = (name.clone(), resource.read_name().cloned());
            let (probed, fallback) = (probed.get(&key), fallback.get(&key));
            let mut next = match (&decision.step, &resource.for_each) {
                (Step::Skip, _) => PlannedRead {
                    name: name.clone(),
                    read: resource.read_name().cloned(),
                    mode: None,
                    reason: decision.reason,
                    expected: Expected::NOTHING,
                },
                (_, Some(for_each)) => {
                    self.fan_out(resource, for_each, &planned, fallback.copied(), now)
                }
                (step, None) => {
                    let probed = probed.copied();
                    let expected = match (probed, self.expected(resource, step, now)) {
                        (Some(rows), _) => self.paged(resource, step, rows),
                        (None, Expected { rows: None, hits }) => fallback
                            .map_or(Expected { rows: None, hits }, |rows| {
                                self.paged(resource, step, *rows)
                            }),
                        (None, expected) => expected,
                    };
                    PlannedRead {
                        name: name.clone(),
                        read: resource.read_name().cloned(),
                        mode: Some(match step {
                            Step::Delta { .. } => Mode::Delta,
                            Step::Full | Step::Since(_) | Step::Skip => Mode::Full,
                        }),
                        reason: decision.reason,
                        expected,
                    }
                }
            };
            if next.read.is_none() {
                self.take_staged(&mut next);
            }
            planned.push(next);
        }
        planned
    }

    /// Of a resource that the unfinished run has read.
    pub(crate) fn is_final(&self, resource: &Name) -> Option<PlannedRead> {
        let run = self.unfinished?;
        let manifest = run.manifest(resource).ok().flatten()?;
        Some(PlannedRead {
            name: resource.clone(),
            read: None,
            mode: Some(manifest.mode),
            reason: format!("already read by {}, which is resumed", run.id()),
            expected: Expected {
                rows: Some(manifest.x_total.unwrap_or(manifest.rows)),
                hits: Some(0),
            },
        })
    }

    /// Pages that the unfinished run has staged cost nothing more.
    fn take_staged(&self, planned: &mut PlannedRead) {
        let Some(run) = self.unfinished else {
            return;
        };
        let staged = run.pages_so_far(&planned.name).unwrap_or(0);
        if let Some(hits) = &mut planned.expected.hits
            && staged > 0
        {
            *hits = hits.saturating_sub(staged);
            planned.reason = format!(
                "{}; {} staged by {}",
                planned.reason,
                counted(staged, "page"),
                run.id()
            );
        }
    }

    fn page_size(&self, resource: &Resource) -> u64 {
        let now = crate::clock::now();
        let pages = plan::page_size(self.config, resource, self.earlier_reads, now);
        u64::from(pages.size).max(1)
    }

    fn paged(&self, resource: &Resource, step: &Step, rows: u64) -> Expected {
        let size = self.page_size(resource);
        let pages = rows.div_ceil(size).max(1);
        let hits = match step {
            _ if pages == 1 || !resource.is_read_in_windows() => pages,
            Step::Delta { .. } => windows::delta_requests(rows, size),
            Step::Full | Step::Since(_) | Step::Skip => windows::full_requests(rows, size),
        };
        Expected {
            rows: Some(rows),
            hits: Some(hits),
        }
    }

    fn expected(&self, resource: &Resource, step: &Step, now: Timestamp) -> Expected {
        let full = (self.earlier_reads)
            .of_request(resource)
            .find(|read| read.manifest.mode == Mode::Full && read.manifest.window.is_none());
        match step {
            Step::Skip => Expected::NOTHING,
            Step::Since(_) => {
                let last = self.earlier_reads.last_complete_full(resource);
                last.map_or_else(Expected::default, |last| {
                    self.paged(resource, step, announced(&last.manifest))
                })
            }
            // A named read that was never read has no more rows than its resource.
            Step::Full if full.is_none() && resource.read.is_some() => {
                let parent = self.config.resource(resource.name.as_str());
                let full = parent.and_then(|parent| self.earlier_reads.last_complete_full(parent));
                full.map_or_else(Expected::default, |full| {
                    self.paged(resource, step, announced(&full.manifest))
                })
            }
            Step::Full => full.map_or_else(Expected::default, |full| {
                let came = self.came_since(resource, full).unwrap_or_else(|error| {
                    tracing::debug!(resource = %resource.name, "not forecast: {error}");
                    0
                });
                self.paged(resource, step, announced(&full.manifest) + came)
            }),
            Step::Delta { start, end } => {
                let span = end.unwrap_or(now).duration_since(*start);
                let Some(rows) = self.changing_in(resource, span) else {
                    // It is unknown how many rows change; to ask costs at least one request.
                    return Expected {
                        rows: None,
                        hits: Some(1),
                    };
                };
                self.paged(
                    resource,
                    step,
                    full.map_or(rows, |full| rows.min(announced(&full.manifest))),
                )
            }
        }
    }

    fn earlier_ids<'s>(&'s self, resource: &'s Resource, from_seq: u64) -> EarlierIds<'s> {
        EarlierIds {
            runs: self.runs,
            earlier_reads: self.earlier_reads,
            resource,
            from_seq,
        }
    }

    /// Rows that later deltas showed beyond the newest of a full read.
    fn came_since(&self, resource: &Resource, full: &Read) -> Result<u64, StagingError> {
        let is_newest =
            (self.earlier_reads.of(resource).first()).is_some_and(|newest| newest.seq == full.seq);
        let run = self.runs.iter().find(|run| *run.id() == full.run_id);
        let Some(run) = run.filter(|_| !is_newest) else {
            return Ok(0);
        };
        let Some(staged) = run.staged(&resource.name)? else {
            return Ok(0);
        };
        let mut highest = None;
        for page in staged.pages() {
            let page = page?;
            highest = highest.max(page.first_id).max(page.last_id);
        }
        let highest = highest.and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
        let shown = self.earlier_ids(resource, full.seq + 1).all()?;
        Ok(shown.len() - shown.rank(highest))
    }

    /// Rows that change in `span`, at the rate of earlier deltas.
    fn changing_in(&self, resource: &Resource, span: SignedDuration) -> Option<u64> {
        let (mut rows, mut asked) = (0, 0);
        let deltas = self.earlier_reads.of_request(resource).filter_map(|read| {
            let window = read.manifest.window?;
            let asked = window.end.duration_since(window.start).as_millis();
            (read.manifest.state.moves_cursor()).then_some((announced(&read.manifest), asked))
        });
        for (more_rows, more_asked) in deltas.take(plan::DELTAS) {
            rows += u128::from(more_rows);
            asked += u128::try_from(more_asked).unwrap_or(0);
        }
        let span = u128::try_from(span.as_millis()).unwrap_or(0);
        let expected = (rows * span).checked_div(asked)?;
        u64::try_from(expected).ok()
    }

    fn fan_out(
        &self,
        resource: &Resource,
        for_each: &ForEach,
        planned: &[PlannedRead],
        announced: Option<u64>,
        now: Timestamp,
    ) -> PlannedRead {
        let mut next = PlannedRead {
            name: resource.name.clone(),
            read: resource.read_name().cloned(),
            mode: Some(Mode::Full),
            reason: format!("for the ids of {}", for_each.ids_of),
            expected: Expected::default(),
        };
        let Some(parent) = self.config.resource(for_each.ids_of.as_str()) else {
            return next;
        };
        if let Some(read) = resource
            .read
            .as_ref()
            .filter(|_| for_each.is_of(&resource.name))
        {
            let full = self.earlier_reads.last_complete_full(parent);
            let from = full.map_or(0, |full| full.seq);
            let shown = self.earlier_ids(parent, from);
            let ids = shown.not_since(plan::minus(now, plan::due_after(read.every)));
            // Those that a read of this run is about to show are not asked for.
            let shown = planned.iter().filter(|one| one.name == parent.name);
            let shown: u64 = shown.filter_map(|one| one.expected.rows).sum();
            let ids = ids.map_or(0, |ids| ids.len()).saturating_sub(shown);
            next.mode = Some(Mode::Delta);
            next.reason = format!("for {} of {}", counted(ids, "id"), parent.name);
            next.expected = self.sliced(resource, for_each, ids, announced);
            return next;
        }
        let in_this_run = planned.iter().find(|one| one.name == parent.name);
        let is_full = in_this_run.is_some_and(|parent| parent.mode == Some(Mode::Full));
        let fan_out = plan::fan_out(resource, parent, self.earlier_reads, self.request, is_full);
        next.mode = Some(fan_out.mode);
        let rows = in_this_run.map_or(Some(0), |parent| parent.expected.rows);
        let earlier = fan_out.from_seq.map_or(0, |from_seq| {
            let ids = self.earlier_ids(parent, from_seq).all();
            ids.map_or(0, |ids| ids.len())
        });
        let ids = match rows {
            // What a delta shows are mostly ids that are known.
            Some(rows) if fan_out.is_all => Some(rows.max(earlier)),
            Some(rows) => Some(rows + earlier),
            None => None,
        };
        if let Some(ids) = ids {
            next.reason = format!("for {} of {}", counted(ids, "id"), parent.name);
            next.expected = self.sliced(resource, for_each, ids, announced);
        } else if let Some(rows) = announced {
            next.expected = self.paged(resource, &Step::Full, rows);
        }
        next
    }

    /// Rows and requests of a fan-out over `ids`: for each slice as many as last time.
    fn sliced(
        &self,
        resource: &Resource,
        for_each: &ForEach,
        ids: u64,
        announced: Option<u64>,
    ) -> Expected {
        let batch = (for_each.batch as u64).max(1);
        let slices = ids.div_ceil(batch);
        let last = self.earlier_reads.of_request(resource).find_map(|read| {
            let slices = read.manifest.evidence.slices.filter(|slices| *slices > 0)?;
            Some((slices, &read.manifest))
        });
        match (last, announced) {
            _ if slices == 0 => Expected::NOTHING,
            (Some((last_slices, last)), _) => Expected {
                // A batch is made to fit its page: about a row for each id.
                rows: Some(if batch > 1 {
                    ids
                } else {
                    in_proportion(last.rows, slices, last_slices)
                }),
                hits: Some(in_proportion(last.pages, slices, last_slices).max(slices)),
            },
            (None, Some(rows)) => Expected {
                rows: Some(rows),
                hits: Some(rows.div_ceil(self.page_size(resource)).max(slices)),
            },
            (None, None) => Expected {
                rows: (batch > 1).then_some(ids),
                hits: Some(slices),
            },
        }
    }
}

fn in_proportion(figure: u64, to: u64, from: u64) -> u64 {
    figure.saturating_mul(to).saturating_add(from / 2) / from.max(1)
}

fn announced(manifest: &ReadManifest) -> u64 {
    manifest.x_total.unwrap_or(manifest.rows)
}
