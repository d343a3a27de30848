//! The manifest of a read.

use jiff::Timestamp;

use crate::config::Resource;
use crate::convert::counted;
use crate::plan;
use crate::proof::only_ids;
use crate::staging::{Evidence, Mode, ReadManifest, State, Window};

use super::read_plan::ReadPlan;
use super::read_result::ReadResult;
use super::resources::RunReader;

impl RunReader<'_> {
    /// The manifest of a finished read, with its mode and cursor.
    pub(super) fn manifest(
        &self,
        read: &ReadPlan<'_>,
        mut mode: Mode,
        doubt: Option<String>,
        mut result: ReadResult,
        started_at: Timestamp,
    ) -> ReadManifest {
        let resource = read.resource;
        let request_hash = plan::request_hash(self.extraction.config, resource);
        let mut state = result.state(read.needed());
        let is_rangeless = result.is_rangeless();
        let identities = result.answers.ids();
        let mut evidence = result.evidence;
        evidence.distinct = evidence.distinct_of(&identities);
        if let Some(doubt) = doubt {
            state = state.max(State::Drifted);
            evidence.notes.push(doubt);
        }
        if result.outside > 0 {
            let field = resource.cursor.as_ref().map_or("", |cursor| &cursor.field);
            let outside = result.outside;
            // A few stray records are noted. If most are from before the window, all were sent; but a delta's query never
            // proves a delete.
            if is_rangeless {
                mode = Mode::Full;
                state = state.max(State::Drifted);
                evidence.notes.push(format!(
                    "the API ignores range[{field}]: {} from before the window came too, so this counts as a full read",
                    counted(outside, "record")
                ));
            } else {
                evidence.notes.push(format!(
                    "{} changed before the window that range[{field}] asked for",
                    counted(outside, "record")
                ));
            }
        }
        let read_at = result.first_date;
        let window = read.window.map(|Window { start, end }| Window {
            start,
            end: read_at.map_or(end, |read_at| read_at.min(end)),
        });
        let known = (self.earlier_reads).trusted_cursor(resource, self.clock.clock_skew());
        let cursor = match (state.moves_cursor(), read_at, &window) {
            (false, ..) | (_, None, _) => None,
            (true, Some(read_at), Some(window)) if mode == Mode::Delta => {
                plan::cursor_after(*window, read_at, known)
            }
            (true, read_at, _) => read_at,
        };
        // A fan-out over no ids asks for nothing and is complete.
        let cursor = cursor.or_else(|| {
            (read.slices.is_empty() && state.moves_cursor()).then(|| read.now.unwrap_or(started_at))
        });
        self.ids.keep(&resource.name, only_ids(identities));
        evidence.without_id = result.answers.without_whole_id();
        evidence
            .notes
            .extend(self.ignored_filters(resource, result.announced));
        ReadManifest {
            mode,
            state,
            pages: result.pages,
            rows: result.rows,
            bytes: result.bytes,
            hits: result.hits,
            x_total: result.announced,
            window,
            cursor,
            request_hash,
            evidence,
            smaller_pages: result.page_size.filter(|pages| {
                let configured = resource
                    .page_size
                    .unwrap_or(self.extraction.config.api.page_size);
                pages.size < configured
            }),
            started_at,
            finished_at: crate::clock::now(),
        }
    }

    /// A note on a named read that gives as many rows as a full read: the API seems to ignore its filters, which costs
    /// requests but stays correct.
    fn ignored_filters(&self, read: &Resource, announced: Option<u64>) -> Option<String> {
        let config = self.extraction.config;
        read.read_name()
            .filter(|_| read.for_each.is_none() && read.cursor.is_none())?;
        let resource = config.resource(read.name.as_str())?;
        let full = (self.earlier_reads).last_complete_full(resource)?;
        let (all, announced) = (full.manifest.x_total?, announced?);
        (announced >= all && all > 0).then(|| {
            format!(
                "it gave as many rows as the last full read ({announced}): the API may ignore its filters, which costs requests"
            )
        })
    }

    pub(super) fn failed_read(
        &self,
        read: &Resource,
        why: String,
        started_at: Timestamp,
    ) -> ReadManifest {
        ReadManifest {
            request_hash: plan::request_hash(self.extraction.config, read),
            evidence: Evidence {
                notes: vec![why],
                ..Evidence::default()
            },
            finished_at: crate::clock::now(),
            ..ReadManifest::without_pages(State::Partial, started_at)
        }
    }
}
