//! One page: had from an earlier process, or asked for and staged.

use std::sync::Arc;

use crate::api::{self, ApiError, BodyReader};
use crate::number::millis;
use crate::proof::{self, PageFacts, Seen};
use crate::staging::{PageEntry, PageNumbers, Window};

use super::inspect::Inspector;
use super::question;
use super::read::{List, ReadError, Reader, locked};
use super::scan::Ask;
use super::slices::Slice;

/// No smaller page is asked for, however long it takes.
const SMALLEST: u32 = 2;

impl Reader<'_> {
    pub(super) async fn page(
        &self,
        list: &List<'_>,
        ask: Ask,
    ) -> Result<(PageEntry, PageFacts), ReadError> {
        let slice = list.slice;
        let pages = *locked(&self.pages);
        let mut request = self.request(list, ask, pages.size);
        request.can_be_smaller = pages.size > SMALLEST;
        let target = request.target();
        let known = locked(&self.known).take(slice.name.as_deref(), &target)?;
        if let Some(known) = known {
            return self.read_back(slice, known).await;
        }
        let inspector = Inspector::new(
            self.question.resource,
            list.window.map(|window| window.start),
            slice.filter.as_ref(),
        );
        let answer = self
            .client
            .page(&request, move |body: &mut BodyReader<'_>| {
                inspector.inspect(body)
            })
            .await;
        let answer = match answer {
            Err(error @ ApiError::TooSlow { .. }) => {
                self.ask_for_less(pages.size, &error);
                // The same records, in smaller pages; of a page by its number others have to follow.
                let is_first = ask.ids.is_some() || ask.number == 1;
                return if is_first {
                    Box::pin(self.page(list, ask)).await
                } else {
                    Err(error.into())
                };
            }
            answer => answer?,
        };
        if let Some(date) = answer.date {
            (self.clock)(date, answer.received_at);
        }
        let facts = answer.inspected;
        // `Link` speaks of more rows than `X-Total`: one of them is wrong, and the end is not here.
        let before = if ask.ids.is_some() { 1 } else { ask.number } - 1;
        let size = answer.per_page.unwrap_or(u64::from(pages.size));
        let shown = before.saturating_mul(size).saturating_add(facts.rows);
        let total = answer
            .total
            .filter(|total| answer.has_next != Some(true) || *total > shown);
        let (page, replaces) = number(&mut locked(&self.known).numbers, slice, ask);
        let entry = PageEntry {
            page,
            slice: slice.name.clone(),
            request: target,
            status: answer.status,
            rows: facts.rows,
            bytes: 0,
            sha256: String::new(),
            x_total: total,
            per_page: answer.per_page,
            first_id: facts.ids.first().copied(),
            last_id: facts.ids.last().copied(),
            fetched_at: answer.received_at,
            server_date: answer.date,
            duration_ms: millis(answer.duration),
            attempts: answer.attempts,
            replaces,
        };
        let writer = Arc::clone(&self.writer);
        // Until the page is durable, also if nobody waits for that any more.
        let (body, slot) = (answer.body, answer.slot);
        let entry = tokio::task::spawn_blocking(move || {
            let written = writer.write(body.reader(), entry);
            drop((body, slot));
            written
        })
        .await
        .map_err(|_| ReadError::Thread)??;
        self.task.page();
        keeps_to_filter(slice, &facts)?;
        Ok((entry, facts))
    }

    /// The server took too long for pages of so many rows: from now on half as many are asked for.
    fn ask_for_less(&self, size: u32, error: &ApiError) {
        let mut answered = locked(&self.answered);
        if let ApiError::TooSlow { attempts, .. } = error {
            answered.hits += u64::from(*attempts);
        }
        let mut pages = locked(&self.pages);
        if pages.size == size {
            pages.size = (size / 2).max(SMALLEST);
            pages.since = self.question.now.unwrap_or_else(crate::clock::now);
            answered.evidence.notes.push(format!(
                "the server took too long for pages of {size} rows; pages of {} were asked for from then on, and a larger size \
                 is tried a day later",
                pages.size
            ));
        }
    }

    /// A page that needs no request any more.
    pub(super) async fn read_back(
        &self,
        slice: &Slice,
        page: PageEntry,
    ) -> Result<(PageEntry, PageFacts), ReadError> {
        if let Some(date) = page.server_date {
            (self.clock)(date, page.fetched_at);
        }
        let writer = Arc::clone(&self.writer);
        let window = self.window_of(&page);
        let inspector = Inspector::new(
            self.question.resource,
            window.map(|window| window.start),
            slice.filter.as_ref(),
        );
        let worker = self.client.worker().await;
        let (page, facts) = tokio::task::spawn_blocking(move || {
            let inspected = writer.read_back(&page, |body| inspector.inspect(body))?;
            drop(worker);
            inspected
                .map_err(|problem| writer.unreadable(&page, &format!("it {problem}")))
                .map(|facts| (page, facts))
        })
        .await
        .map_err(|_| ReadError::Thread)??;
        self.task.page();
        keeps_to_filter(slice, &facts)?;
        Ok((page, facts))
    }

    /// Whether the known pages answer today's question; pages of another one would be mixed with them.
    pub(super) fn knows_its_question(&self) -> bool {
        let answers = |page: PageEntry| {
            let slices = &self.question.slices;
            let Some(slice) = slices.iter().find(|slice| slice.name == page.slice) else {
                return false;
            };
            let window = self.window_of(&page);
            let fits = match (self.question.window, window) {
                (Some(asked), Some(known)) => known.start >= asked.start && known.end <= asked.end,
                (None, Some(_)) => self.question.resource.sort.is_none(),
                (asked, None) => asked.is_none(),
            };
            let seen = Seen::new(&page, &[]);
            let ask = Ask {
                number: seen.number,
                ids: seen.asked,
            };
            let size = u32::try_from(proof::asked_size(&page)).unwrap_or(0);
            fits && self.request(&List { slice, window }, ask, size).target() == page.request
        };
        locked(&self.known)
            .iter()
            .all(|page| page.is_ok_and(answers))
    }

    /// The window that a page was asked for in.
    pub(super) fn window_of(&self, page: &PageEntry) -> Option<Window> {
        let cursor = self.question.resource.cursor.as_ref()?;
        proof::window_of(page, &cursor.field)
    }

    fn request(&self, list: &List<'_>, ask: Ask, size: u32) -> api::Request {
        let mut request = question::request(self.question.resource, list.slice, list.window);
        let mut add = |name: &str, value: String| request.query.push((name.to_owned(), value));
        if let Some((low, high)) = ask.ids {
            add("range[id]", format!("{low},{high}"));
        }
        add("page[size]", size.to_string());
        let number = if ask.ids.is_some() { 1 } else { ask.number };
        add("page[number]", number.to_string());
        request
    }
}

/// The number of a page's file: its place in the list, or the next that is free; then also the place.
fn number(taken: &mut PageNumbers, slice: &Slice, ask: Ask) -> (u32, Option<u32>) {
    let place = u32::try_from(ask.number).unwrap_or(u32::MAX);
    let slice = slice.name.as_deref();
    if taken.insert(slice, place) {
        return (place, None);
    }
    let last = taken.last(slice);
    let free = last.map_or(1, |last| last.saturating_add(1));
    taken.insert(slice, free);
    (free, Some(place))
}

fn keeps_to_filter(slice: &Slice, facts: &PageFacts) -> Result<(), ReadError> {
    match &slice.filter {
        Some(filter) if facts.strangers > 0 => Err(ReadError::FilterIgnored {
            parameter: filter.parameter.clone(),
        }),
        _ => Ok(()),
    }
}
