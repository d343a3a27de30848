//! One read of a resource: its lists are read to their end, and what is missing is recorded.

use std::pin::pin;
use std::sync::Mutex;

use futures_util::StreamExt;
use futures_util::stream;

use crate::api::ApiError;
use crate::config::{Paging, Resource};
use crate::error_chain::chain;
use crate::proof::{self, Answers, BELOW_LOWEST, PageObservation};
use crate::staging::Window;

use super::error::ReadError;
use super::page::PageSource;
use super::read_plan::{List, ReadPlan};
use super::read_result::ReadResult;
use super::scan::{self, PageSelector, ScanOutcome};
use super::slices::Slice;
use super::windows::{self, FirstPage};
use crate::mutex::locked;

/// The highest known rate limit of a key, in requests a second.
const FASTEST: u64 = 20;
/// Requests in flight beyond those that the rate needs.
const SPARE: u64 = 12;

pub(super) struct Reader<'a> {
    plan: &'a ReadPlan<'a>,
    pages: PageSource<'a>,
    in_flight: usize,
    result: Mutex<ReadResult>,
    used_up: Mutex<Option<ApiError>>,
}

/// The lists of a slice, one a window of time.
struct SliceLists<'r, 'a> {
    reader: &'r Reader<'a>,
    slice: &'r Slice,
}

impl windows::Lists for SliceLists<'_, '_> {
    type Error = ReadError;

    async fn first(&self, window: Option<Window>) -> Result<Option<FirstPage>, ReadError> {
        let slice = self.slice;
        self.reader.first(List { slice, window }).await
    }

    async fn rest(&self, window: Option<Window>, head: FirstPage) -> Result<(), ReadError> {
        let slice = self.slice;
        self.reader.rest(List { slice, window }, head).await
    }

    fn unaccounted(&self) -> Option<u64> {
        let result = locked(&self.reader.result);
        result.answers.unaccounted(self.slice.name.as_deref())
    }

    fn is_rangeless(&self) -> bool {
        locked(&self.reader.result).is_rangeless()
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(plan: &'a ReadPlan<'a>, pages: PageSource<'a>, in_flight: usize) -> Self {
        let cursor = plan.resource.cursor.as_ref();
        Self {
            plan,
            pages,
            in_flight,
            result: Mutex::new(ReadResult {
                answers: Answers::new(cursor.map(|cursor| cursor.field.as_str())),
                ..ReadResult::default()
            }),
            used_up: Mutex::default(),
        }
    }

    /// Reads all slices. A failed request is recorded as a gap; an error fails the run.
    pub(super) async fn read(self) -> Result<ReadResult, ReadError> {
        // The first slice shows whether the API ignores the ids of a fan-out.
        let (pilot, others) = match self.plan.slices.split_first() {
            Some((pilot, others)) => (Some(pilot), others),
            None => (None, &[][..]),
        };
        if let Some(pilot) = pilot {
            self.slice(pilot).await?;
        }
        // Each slice takes memory: at most as many are open as requests can be in flight.
        {
            let reads = stream::iter(others).map(|slice| self.slice(slice));
            let mut reads = pin!(reads.buffer_unordered(self.in_flight.max(1)));
            while let Some(read) = reads.next().await {
                read?;
            }
        }
        if let Some(error) = locked(&self.used_up).take() {
            return Err(error.into());
        }
        // The journal has them, so they count, also if they were not asked for again.
        while let Some((entry, facts)) = self.pages.next_known().await? {
            locked(&self.result).add(&entry, &facts);
        }
        let mut result = std::mem::take(&mut *locked(&self.result));
        let page_size = self.pages.page_size();
        result.hits += page_size.requests;
        result.evidence.notes.extend(page_size.notes);
        result.page_size = Some(page_size.current);
        if self.plan.resource.for_each.is_some() || self.plan.slices.len() > 1 {
            result.evidence.slices = Some(self.plan.slices.len() as u64);
            result.announced.get_or_insert(0);
        }
        Ok(result)
    }

    async fn slice(&self, slice: &Slice) -> Result<(), ReadError> {
        let resource = self.plan.resource;
        if resource.is_read_in_windows() {
            return windows::read(
                &SliceLists {
                    reader: self,
                    slice,
                },
                self.plan.window,
            )
            .await;
        }
        let list = List {
            slice,
            window: self.plan.window,
        };
        if let Some(head) = self.first(list).await? {
            self.rest(list, head).await?;
        }
        Ok(())
    }

    async fn first(&self, list: List<'_>) -> Result<Option<FirstPage>, ReadError> {
        self.pages.expect(1);
        let fetched = self.pages.page(list, PageSelector::number(1)).await;
        // An error of the first page of the only slice is an error of the resource.
        let is_all = list.slice.name.is_none() && locked(&self.result).pages == 0;
        let fetched = match fetched {
            Err(error) if is_all => return Err(error),
            fetched => self.or_hole(list, 1, fetched)?,
        };
        let Some((entry, facts)) = fetched else {
            locked(&self.result).lost = true;
            return Ok(None);
        };
        let seen = PageObservation::new(&entry, &facts.ids);
        let mut result = locked(&self.result);
        let is_first = result.answers.is_new(&entry);
        result.add(&entry, &facts);
        if is_first {
            result.announce(&seen, list.slice.name.is_some());
        }
        Ok(Some(FirstPage {
            split: windows::split(&seen, &facts.times),
            seen,
            entry,
            is_rangeless: proof::ignores_range(facts.outside, facts.rows),
        }))
    }

    async fn rest(&self, list: List<'_>, head: FirstPage) -> Result<(), ReadError> {
        let pages = head.pages();
        let FirstPage {
            entry: first_page,
            seen: first,
            ..
        } = head;
        if first.shows_all() {
            return Ok(());
        }
        let asked_size = first_page.page_request.page_size;
        self.pages.expect(pages.saturating_sub(1));
        let numbered = Mutex::new(Some(vec![first]));
        let ask = async |ask: PageSelector| {
            let number = ask.number;
            // A list may announce a million pages: none is asked for when no request is allowed.
            if self.is_at_its_end() {
                return Ok(None);
            }
            let fetched = self.page_of(list, ask, (asked_size, first.size)).await;
            let seen = self.or_hole(list, number, fetched)?;
            if let Some(seen) = seen.filter(PageObservation::is_numbered)
                && let Some(numbered) = &mut *locked(&numbered)
            {
                numbered.push(seen);
            }
            Ok(seen)
        };
        if self.plan.resource.paging == Paging::Ids {
            match scan::by_ids(
                first,
                self.in_flight.min(at_once(first_page.duration_ms)),
                &ask,
            )
            .await?
            {
                ScanOutcome::Done => {
                    if locked(&self.result).answers.may_be_below(&first_page) {
                        self.below(list, pages + 1).await?;
                    }
                    return Ok(());
                }
                ScanOutcome::NotByIds => {
                    locked(&self.result).evidence.notes.push(
                        "the API ignores `range[id]` or `sort` here; its pages were read by number (set `paging = \"numbers\"`, which saves a request)"
                            .to_owned(),
                    );
                }
            }
        }
        let seen = locked(&numbered).take().unwrap_or_default();
        scan::by_numbers(seen, self.in_flight, ask).await
    }

    /// A page of a list whose first one was asked for with `asked_size` rows, of which the server gives `size`. Where it has
    /// needed smaller pages since, those that show the same rows.
    async fn page_of(
        &self,
        list: List<'_>,
        ask: PageSelector,
        (asked_size, size): (u64, u64),
    ) -> Result<PageObservation, ReadError> {
        let is_smaller = || self.pages.rows_a_page() < asked_size;
        if ask.ids.is_some() || !is_smaller() {
            match self.pages.page(list, ask).await {
                Err(ReadError::Api(ApiError::TooSlow { .. })) if is_smaller() => {}
                fetched => {
                    let (entry, facts) = fetched?;
                    locked(&self.result).add(&entry, &facts);
                    return Ok(PageObservation::new(&entry, &facts.ids));
                }
            }
        }
        let (mut at, end) = ((ask.number - 1) * size, ask.number * size);
        let mut all: Option<PageObservation> = None;
        while at < end {
            let smaller = self.pages.rows_a_page().min(size).max(1);
            let number = at / smaller + 1;
            let (entry, facts) = match self.pages.page(list, PageSelector::number(number)).await {
                Err(ReadError::Api(ApiError::TooSlow { .. }))
                    if self.pages.rows_a_page() < smaller =>
                {
                    continue;
                }
                fetched => fetched?,
            };
            locked(&self.result).add(&entry, &facts);
            let seen = PageObservation::new(&entry, &facts.ids);
            at = number * smaller;
            all = Some(all.map_or(seen, |all| PageObservation {
                rows: (all.rows + seen.rows).min(size),
                last: seen.last.or(all.last),
                descending: all.descending && seen.descending,
                total: all.total.min(seen.total),
                ..all
            }));
            if seen.rows < smaller {
                break;
            }
        }
        let all = all.ok_or(ReadError::Thread)?;
        Ok(PageObservation {
            number: ask.number,
            size,
            ..all
        })
    }

    /// Asks for ids below [`proof::LOWEST`]. A refused request is no gap, but proves nothing either.
    async fn below(&self, list: List<'_>, number: u64) -> Result<(), ReadError> {
        let ids = Some(BELOW_LOWEST);
        let fetched = match self.pages.page(list, PageSelector { number, ids }).await {
            Err(ReadError::Api(error)) if !error.is_fatal_for_run() && !error.is_used_up() => None,
            fetched => self.or_hole(list, number, fetched)?,
        };
        if let Some((entry, facts)) = fetched {
            locked(&self.result).add(&entry, &facts);
        }
        Ok(())
    }

    /// Whether no request is allowed any more, and no known page is left.
    fn is_at_its_end(&self) -> bool {
        locked(&self.used_up).is_some() && self.pages.is_exhausted()
    }

    /// Records a failure that does not end the run as a hole.
    fn or_hole<T>(
        &self,
        list: List<'_>,
        number: u64,
        fetched: Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        match fetched {
            Ok(fetched) => Ok(Some(fetched)),
            // Requests in flight are still staged; later ones are denied at once.
            Err(ReadError::Api(error)) if error.is_used_up() => {
                locked(&self.used_up).get_or_insert(error);
                Ok(None)
            }
            Err(ReadError::Api(error)) if !error.is_fatal_for_run() => {
                let place = match &list.slice.name {
                    Some(slice) => format!("page {number} of {slice}"),
                    None => format!("page {number}"),
                };
                let mut result = locked(&self.result);
                let places = result.failures.entry(reason_of(self.plan.resource, &error));
                places.or_default().push(place);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Why a request failed; of a pack whose right the key lacks, that it is this.
pub(super) fn reason_of(resource: &Resource, error: &ApiError) -> String {
    let why = chain(error);
    match resource.refusal().filter(|_| error.is_forbidden()) {
        Some(refusal) => format!("{refusal}: {why}"),
        None => why,
    }
}

/// Requests in flight that hide the latency of one, also where it varies.
fn at_once(duration_ms: u64) -> usize {
    let needed = SPARE + duration_ms.saturating_mul(FASTEST) / 1000;
    usize::try_from(needed).unwrap_or(usize::MAX)
}
