//! What a read that has ended is sealed with.

use jiff::Timestamp;

use crate::config::Resource;
use crate::plan;
use crate::proof::only_ids;
use crate::staging::{Evidence, Mode, ReadManifest, State, Window};

use super::Reading;
use super::answered::Answered;
use super::question::Question;

impl Reading<'_> {
    /// The manifest of what was read, and what it makes of mode and cursor.
    pub(super) fn manifest(
        &self,
        question: &Question<'_>,
        mut mode: Mode,
        doubt: Option<String>,
        mut answered: Answered,
        started_at: Timestamp,
    ) -> ReadManifest {
        let resource = question.resource;
        let request_hash = plan::request_hash(self.extraction.config, resource);
        let mut state = answered.state(question.needed());
        let is_rangeless = answered.is_rangeless();
        let mut evidence = answered.evidence;
        if let Some(doubt) = doubt {
            state = state.max(State::Drifted);
            evidence.notes.push(doubt);
        }
        if answered.outside > 0 {
            let field = resource.cursor.as_ref().map_or("", |cursor| &cursor.field);
            let outside = answered.outside;
            // A stray record is told; when most of them are from before the window, all were sent. What a delta's
            // query gives is never proof that a row is gone.
            if is_rangeless {
                mode = Mode::Full;
                state = state.max(State::Drifted);
                evidence.notes.push(format!(
                    "the API ignores range[{field}]: {outside} records from before the window came too, so this counts as a full read"
                ));
            } else {
                evidence.notes.push(format!(
                    "{outside} records changed before the window that range[{field}] asked for"
                ));
            }
        }
        let reached = answered.first_date;
        let window = question.window.map(|Window { start, end }| Window {
            start,
            end: reached.map_or(end, |reached| reached.min(end)),
        });
        let known = (self.history).reached(resource, &request_hash, self.clock.ahead());
        let cursor = match (state.moves_cursor(), reached, &window) {
            (false, ..) | (_, None, _) => None,
            (true, Some(reached), Some(window)) if mode == Mode::Delta => {
                plan::cursor_after(*window, reached, known)
            }
            (true, reached, _) => reached,
        };
        // A fan-out over no ids asks nothing and is known to be complete.
        let cursor = cursor.or_else(|| {
            (question.slices.is_empty() && state.moves_cursor())
                .then(|| question.now.unwrap_or(started_at))
        });
        self.ids
            .keep(&resource.name, only_ids(answered.answers.ids()));
        evidence.without_id = answered.answers.without_whole_id();
        evidence
            .notes
            .extend(self.ignored_filters(resource, answered.announced));
        ReadManifest {
            mode,
            state,
            pages: answered.pages,
            rows: answered.rows,
            bytes: answered.bytes,
            hits: answered.hits,
            x_total: answered.announced,
            window,
            cursor,
            request_hash,
            evidence,
            smaller_pages: answered.pages_of.filter(|pages| {
                let configured = resource
                    .page_size
                    .unwrap_or(self.extraction.config.api.page_size);
                pages.size < configured
            }),
            started_at,
            finished_at: crate::clock::now(),
        }
    }

    /// A named read that gives as many rows as a full read: the API seems to ignore what makes it another one. It costs
    /// more, and stays right.
    fn ignored_filters(&self, read: &Resource, announced: Option<u64>) -> Option<String> {
        let config = self.extraction.config;
        read.read_name()
            .filter(|_| read.for_each.is_none() && read.cursor.is_none())?;
        let resource = config.resource(read.name.as_str())?;
        let full = (self.history).newest_full(resource, &plan::request_hash(config, resource))?;
        let (all, announced) = (full.manifest.x_total?, announced?);
        (announced >= all && all > 0).then(|| {
            format!(
                "it gave as many rows as the last full read ({announced}): the API may ignore its filters, which costs requests"
            )
        })
    }

    /// The manifest of a named read that failed.
    pub(super) fn failed_read(
        &self,
        read: &Resource,
        why: String,
        started_at: Timestamp,
    ) -> ReadManifest {
        ReadManifest {
            mode: Mode::Delta,
            state: State::Partial,
            pages: 0,
            rows: 0,
            bytes: 0,
            hits: 0,
            x_total: None,
            window: None,
            cursor: None,
            request_hash: plan::request_hash(self.extraction.config, read),
            evidence: Evidence {
                notes: vec![why],
                ..Evidence::default()
            },
            smaller_pages: None,
            started_at,
            finished_at: crate::clock::now(),
        }
    }
}
