//! One page: read back from an earlier process, or asked for and staged.

use std::sync::{Arc, Mutex};

use crate::api::{self, ApiError, BodyReader};
use crate::convert::millis;
use crate::mutex::locked;
use crate::progress::Task;
use crate::proof::PageFacts;
use crate::staging::{KnownPages, PageEntry, PageNumbers, ResourceWriter, SmallerPages};

use super::clock::ServerClock;
use super::error::ReadError;
use super::inspect::Inspector;
use super::read_plan::{self, List, ReadPlan};
use super::scan::PageSelector;
use super::slices::Slice;

/// No smaller page is asked for, however long it takes.
const SMALLEST: u32 = 2;

pub(super) struct PageSource<'a> {
    client: &'a api::Client,
    plan: &'a ReadPlan<'a>,
    writer: Arc<ResourceWriter>,
    task: &'a Task,
    clock: &'a ServerClock,
    /// Pages of an earlier process that need no request any more, and the numbers that are in use.
    known: Mutex<KnownPages>,
    page_size: Mutex<PageSize>,
}

/// Rows a page, reduced when the server takes too long.
#[derive(Clone, Debug)]
pub(super) struct PageSize {
    pub(super) current: SmallerPages,
    pub(super) requests: u64,
    /// A sentence for each time that fewer rows had to be asked for.
    pub(super) notes: Vec<String>,
}

impl<'a> PageSource<'a> {
    /// `known` are pages that an earlier process staged in this run.
    pub(super) fn new(
        client: &'a api::Client,
        plan: &'a ReadPlan<'a>,
        writer: Arc<ResourceWriter>,
        known: KnownPages,
        task: &'a Task,
        clock: &'a ServerClock,
    ) -> Self {
        Self {
            client,
            plan,
            writer,
            task,
            clock,
            known: Mutex::new(known),
            page_size: Mutex::new(PageSize {
                current: plan.page_size,
                requests: 0,
                notes: Vec::new(),
            }),
        }
    }

    pub(super) fn expect(&self, pages: u64) {
        self.task.expect(pages);
    }

    pub(super) fn rows_a_page(&self) -> u64 {
        locked(&self.page_size).current.size.into()
    }

    pub(super) fn page_size(&self) -> PageSize {
        locked(&self.page_size).clone()
    }

    pub(super) fn is_exhausted(&self) -> bool {
        locked(&self.known).is_empty()
    }

    /// The next known page that was not asked for.
    pub(super) async fn next_known(&self) -> Result<Option<(PageEntry, PageFacts)>, ReadError> {
        loop {
            let page = locked(&self.known).take_next();
            let Some(page) = page.transpose()? else {
                return Ok(None);
            };
            if let Some(slice) = self.plan.slice_of(&page) {
                return self.read_back(slice, page).await.map(Some);
            }
        }
    }

    pub(super) async fn page(
        &self,
        list: List<'_>,
        ask: PageSelector,
    ) -> Result<(PageEntry, PageFacts), ReadError> {
        let (slice, resource) = (list.slice, self.plan.resource);
        let size = locked(&self.page_size).current.size;
        let page_request = read_plan::page_request(resource, list, ask, size);
        let known = locked(&self.known).take(slice.name.as_deref(), &page_request)?;
        if let Some(known) = known {
            return self.read_back(slice, known).await;
        }
        let mut request = read_plan::api_request(resource, slice, &page_request);
        request.can_be_smaller = size > SMALLEST;
        let window = read_plan::window_of(resource, &page_request);
        let start = window.map(|window| window.start);
        let inspector = Inspector::new(resource, start, slice.filter.as_ref());
        let inspect = move |body: &mut BodyReader<'_>| inspector.inspect(body);
        let answer = match self.client.page(&request, inspect).await {
            Err(error @ ApiError::TooSlow { .. }) => {
                self.ask_for_less(size, &error);
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
            self.clock.observe(date, answer.received_at);
        }
        let facts = answer.inspected;
        // `Link` speaks of more rows than `X-Total`: one of them is wrong, and the end is not here.
        let before = page_request.page_number - 1;
        let size = answer.per_page.unwrap_or(page_request.page_size);
        let shown = before.saturating_mul(size).saturating_add(facts.rows);
        let total = answer
            .total
            .filter(|total| answer.has_next != Some(true) || *total > shown);
        let (page, replaces) = number(&mut locked(&self.known).numbers, slice, ask);
        let entry = PageEntry {
            page,
            slice: slice.name.clone(),
            request: String::new(),
            page_request,
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
            rewritten: None,
        };
        let writer = Arc::clone(&self.writer);
        // On its own thread until the page is durable, also if this future is dropped.
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

    /// Halves the page size after a page of `size` rows took the server too long.
    fn ask_for_less(&self, size: u32, error: &ApiError) {
        let mut pages = locked(&self.page_size);
        if let ApiError::TooSlow { attempts, .. } = error {
            pages.requests += u64::from(*attempts);
        }
        if pages.current.size == size {
            let smaller = (size / 2).max(SMALLEST);
            pages.current = SmallerPages {
                size: smaller,
                since: self.plan.now.unwrap_or_else(crate::clock::now),
            };
            pages.notes.push(format!(
                "the server took too long for pages of {size} rows; pages of {smaller} were asked for from then on, and a larger \
                 size is tried a day later"
            ));
        }
    }

    /// A page that an earlier process staged.
    async fn read_back(
        &self,
        slice: &Slice,
        page: PageEntry,
    ) -> Result<(PageEntry, PageFacts), ReadError> {
        if let Some(date) = page.server_date {
            self.clock.observe(date, page.fetched_at);
        }
        let writer = Arc::clone(&self.writer);
        let resource = self.plan.resource;
        let window = read_plan::window_of(resource, &page.page_request);
        let start = window.map(|window| window.start);
        let inspector = Inspector::new(resource, start, slice.filter.as_ref());
        let worker = self.client.worker().await;
        let (page, facts) = tokio::task::spawn_blocking(move || {
            let inspected = writer.read_back(&page, |body| inspector.inspect_read_back(body))?;
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
}

/// The number of a page's file: its place in the list, or the next that is free; then also the place.
fn number(taken: &mut PageNumbers, slice: &Slice, ask: PageSelector) -> (u32, Option<u32>) {
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
        Some(filter) if facts.unrequested_ids > 0 => Err(ReadError::FilterIgnored {
            parameter: filter.parameter.clone(),
        }),
        _ => Ok(()),
    }
}
