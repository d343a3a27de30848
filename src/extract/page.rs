//! One page: had from an earlier process, or asked for and staged.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::api::{self, ApiError};
use crate::number::millis;
use crate::proof::{self, PageFacts, Seen};
use crate::staging::{PageEntry, StagingError, Window};

use super::inspect::Inspector;
use super::question;
use super::read::{List, ReadError, Reader, locked};
use super::scan::Ask;
use super::slices::Slice;

/// No smaller page is asked for, however long it takes.
const SMALLEST: u32 = 2;

/// Pages written at the same time: enough for the disk to be busy, few enough for their memory not to matter.
static WRITING: Semaphore = Semaphore::const_new(8);

/// Pages on disk: those that need no request any more, and the numbers that are taken.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) known: Vec<PageEntry>,
    taken: BTreeSet<(Option<String>, u32)>,
}

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
        let known = locked(&self.files).take(slice, &target);
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
            .page(&request, move |body| {
                inspector.inspect(body).map_err(api::InspectError)
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
        let (page, replaces) = locked(&self.files).number(slice, ask);
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
        let _turn = WRITING.acquire().await;
        let entry = tokio::task::spawn_blocking(move || {
            let bytes = body.read().map_err(|source| StagingError::Io {
                doing: "read back",
                path: "the body of a page".into(),
                source,
            })?;
            let written = writer.write(&bytes, entry);
            drop(slot);
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
        let (page, facts) = tokio::task::spawn_blocking(move || {
            let mut body = Vec::new();
            writer.read_back(&page, &mut body)?;
            inspector
                .inspect(&body)
                .map_err(|problem| writer.unreadable(&page, &problem))
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
        let files = locked(&self.files);
        files.known.iter().all(|page| {
            let slices = &self.question.slices;
            let Some(slice) = slices.iter().find(|slice| slice.name == page.slice) else {
                return false;
            };
            let window = self.window_of(page);
            let fits = match (self.question.window, window) {
                (Some(asked), Some(known)) => known.start >= asked.start && known.end <= asked.end,
                (None, Some(_)) => self.question.resource.sort.is_none(),
                (asked, None) => asked.is_none(),
            };
            let seen = Seen::new(page, &[]);
            let ask = Ask {
                number: seen.number,
                ids: seen.asked,
            };
            let size = u32::try_from(proof::asked_size(page)).unwrap_or(0);
            fits && self.request(&List { slice, window }, ask, size).target() == page.request
        })
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

impl Files {
    /// `known` are pages that an earlier process staged.
    pub(super) fn new(known: Vec<PageEntry>) -> Self {
        let taken = known.iter().map(|page| (page.slice.clone(), page.page));
        Self {
            taken: taken.collect(),
            known,
        }
    }

    /// A page that answers `request` already. One that was read again is given again in its order.
    fn take(&mut self, slice: &Slice, request: &str) -> Option<PageEntry> {
        let at = self
            .known
            .iter()
            .position(|page| page.slice == slice.name && page.request == request)?;
        Some(self.known.remove(at))
    }

    /// The number of a page's file: its place in the list, or the next that is free; then also the place.
    fn number(&mut self, slice: &Slice, ask: Ask) -> (u32, Option<u32>) {
        let place = u32::try_from(ask.number).unwrap_or(u32::MAX);
        if self.taken.insert((slice.name.clone(), place)) {
            return (place, None);
        }
        let of_slice = (slice.name.clone(), 0)..=(slice.name.clone(), u32::MAX);
        let last = self.taken.range(of_slice).next_back();
        let free = last.map_or(1, |(_, last)| last.saturating_add(1));
        self.taken.insert((slice.name.clone(), free));
        (free, Some(place))
    }
}

fn keeps_to_filter(slice: &Slice, facts: &PageFacts) -> Result<(), ReadError> {
    match &slice.filter {
        Some(filter) if facts.strangers > 0 => Err(ReadError::FilterIgnored {
            parameter: filter.parameter.clone(),
        }),
        _ => Ok(()),
    }
}
