//! What a read that has ended is sealed with.

use jiff::Timestamp;

use crate::plan;
use crate::proof::only_ids;
use crate::staging::{FORMAT, Manifest, Mode, ResourceWriter, State, Window};

use super::Reading;
use super::answered::Answered;
use super::question::Question;
use super::read::ReadError;

impl Reading<'_> {
    /// The manifest of what was read, and what it makes of mode and cursor.
    pub(super) fn manifest(
        &self,
        question: &Question<'_>,
        mut mode: Mode,
        mut answered: Answered,
        writer: &ResourceWriter,
        started_at: Timestamp,
    ) -> Result<Manifest, ReadError> {
        let resource = question.resource;
        let request_hash = plan::request_hash(self.extraction.config, resource);
        let mut state = answered.state(question.needed());
        let is_rangeless = answered.is_rangeless();
        let mut evidence = answered.evidence;
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
        Ok(Manifest {
            format: FORMAT,
            run_id: None,
            resource: resource.name.clone(),
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
            journal_sha256: writer.journal_sha256()?,
            evidence,
            started_at,
            finished_at: crate::clock::now(),
        })
    }
}
