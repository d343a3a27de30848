//! One resource of one run: its lists are read to their end, each page is staged, and it is known what is missing.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use jiff::Timestamp;

use crate::api::{self, ApiError};
use crate::config::Paging;
use crate::number::millis;
use crate::progress::Task;
use crate::proof::{self, Answers, BELOW_LOWEST, Seen};
use crate::staging::{KnownPages, ResourceWriter, SmallerPages, StagingError, Window};

use super::answered::Answered;
use super::question::Question;
use super::scan::{self, Ask, Scanned};
use super::slices::Slice;
use super::windows::{self, Head};

/// Requests a second that a key is allowed at most, as far as is known.
const FASTEST: u64 = 20;
/// Requests under way beyond those that the rate needs.
const SPARE: u64 = 12;

impl ReadError {
    /// Whether it ends the run, and not only this resource.
    pub(super) fn is_fatal_for_run(&self) -> bool {
        match self {
            Self::Api(error) => error.is_fatal_for_run(),
            Self::FilterIgnored { .. } | Self::Ids(_) => false,
            Self::Staging(_) | Self::Thread => true,
        }
    }
}

/// Why reading a resource was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// Pages with the ids to fan out over.
    #[error(transparent)]
    Ids(StagingError),
    #[error(
        "the API ignores `{parameter}`: it also sends records of others, and would send all of them for every batch of ids; \
         read this resource without `for_each`"
    )]
    FilterIgnored { parameter: String },
    #[error(
        "a thread that works on staged pages ended early; this is a fault of cursus, please report it"
    )]
    Thread,
}

/// Reads and stages pages of one resource.
pub(super) struct Reader<'a> {
    pub(super) client: &'a api::Client,
    pub(super) question: &'a Question<'a>,
    pub(super) writer: Arc<ResourceWriter>,
    pub(super) task: &'a Task,
    in_flight: usize,
    /// Called with the server's time at each answer, and with ours when it came.
    pub(super) clock: &'a (dyn Fn(Timestamp, Timestamp) + Sync),
    pub(super) answered: Mutex<Answered>,
    /// Pages of an earlier process that need no request any more, and the numbers that are taken.
    pub(super) known: Mutex<KnownPages>,
    used_up: Mutex<Option<ApiError>>,
    /// Rows a page, as few as the server has needed so far.
    pub(super) pages: Mutex<SmallerPages>,
}

/// What is paged through at one time: a slice, all of it or in a window.
pub(super) struct List<'a> {
    pub(super) slice: &'a Slice,
    pub(super) window: Option<Window>,
}

/// The lists of a slice, one a window of time.
struct SliceLists<'r, 'a> {
    reader: &'r Reader<'a>,
    slice: &'r Slice,
}

impl windows::Lists for SliceLists<'_, '_> {
    type Error = ReadError;

    async fn first(&self, window: Option<Window>) -> Result<Option<Head>, ReadError> {
        let slice = self.slice;
        self.reader.first(&List { slice, window }).await
    }

    async fn rest(&self, window: Option<Window>, head: Head) -> Result<(), ReadError> {
        let slice = self.slice;
        self.reader.rest(&List { slice, window }, head).await
    }

    fn unaccounted(&self) -> Option<u64> {
        let answered = locked(&self.reader.answered);
        answered.answers.unaccounted(self.slice.name.as_deref())
    }

    fn is_rangeless(&self) -> bool {
        locked(&self.reader.answered).is_rangeless()
    }
}

impl<'a> Reader<'a> {
    /// `known` are pages that an earlier process staged in this run.
    pub(super) fn new(
        client: &'a api::Client,
        question: &'a Question<'a>,
        writer: Arc<ResourceWriter>,
        known: KnownPages,
        task: &'a Task,
        in_flight: usize,
        clock: &'a (dyn Fn(Timestamp, Timestamp) + Sync),
    ) -> Self {
        let cursor = question.resource.cursor.as_ref();
        Self {
            client,
            question,
            writer,
            task,
            in_flight,
            clock,
            answered: Mutex::new(Answered {
                answers: Answers::new(cursor.map(|cursor| cursor.field.as_str())),
                ..Answered::default()
            }),
            known: Mutex::new(known),
            used_up: Mutex::default(),
            pages: Mutex::new(question.pages),
        }
    }

    /// Reads all slices. What fails leaves a hole that is told; an error ends the whole run.
    pub(super) async fn read(self) -> Result<Answered, ReadError> {
        // An API that ignores the ids of a fan-out is found out by the first slice.
        let (pilot, others) = match self.question.slices.split_first() {
            Some((pilot, others)) => (Some(pilot), others),
            None => (None, &[][..]),
        };
        if let Some(pilot) = pilot {
            self.slice(pilot).await?;
        }
        // Each takes memory: no more of them are begun than requests can be under way.
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
        self.not_asked_again().await?;
        let mut answered = std::mem::take(&mut *locked(&self.answered));
        answered.pages_of = Some(*locked(&self.pages));
        if self.question.resource.for_each.is_some() {
            answered.evidence.slices = Some(self.question.slices.len() as u64);
            answered.announced.get_or_insert(0);
        }
        answered.evidence.distinct = (answered.evidence).distinct_of(&answered.answers.ids());
        Ok(answered)
    }

    /// Pages of an earlier process that nobody had to ask for again: the journal has them, so they count.
    async fn not_asked_again(&self) -> Result<(), ReadError> {
        loop {
            let page = locked(&self.known).take_next();
            let Some(page) = page.transpose()? else {
                return Ok(());
            };
            let slices = &self.question.slices;
            if let Some(slice) = slices.iter().find(|slice| slice.name == page.slice) {
                let (entry, facts) = self.read_back(slice, page).await?;
                locked(&self.answered).take(&entry, &facts);
            }
        }
    }

    async fn slice(&self, slice: &Slice) -> Result<(), ReadError> {
        let resource = self.question.resource;
        if resource.is_read_in_windows() {
            return windows::read(
                &SliceLists {
                    reader: self,
                    slice,
                },
                self.question.window,
            )
            .await;
        }
        let list = List {
            slice,
            window: self.question.window,
        };
        if let Some(head) = self.first(&list).await? {
            self.rest(&list, head).await?;
        }
        Ok(())
    }

    /// Page 1 of a list.
    async fn first(&self, list: &List<'_>) -> Result<Option<Head>, ReadError> {
        self.task.expect(1);
        let fetched = self.page(list, Ask::page(1)).await;
        // What refuses the first page of the only slice refuses the resource.
        let is_all = list.slice.name.is_none() && locked(&self.answered).pages == 0;
        let fetched = match fetched {
            Err(error) if is_all => return Err(error),
            fetched => self.or_hole(list, 1, fetched)?,
        };
        let Some((entry, facts)) = fetched else {
            locked(&self.answered).lost = true;
            return Ok(None);
        };
        let seen = Seen::new(&entry, &facts.ids);
        let mut answered = locked(&self.answered);
        let is_first = answered.answers.is_new(&entry);
        answered.take(&entry, &facts);
        if is_first {
            answered.announce(&seen, list.slice.name.is_some());
        }
        Ok(Some(Head {
            split: windows::split(&seen, &facts.times),
            date: entry.server_date,
            settled: seen.settled,
            seen,
            took: Duration::from_millis(entry.duration_ms),
            entry,
            is_rangeless: proof::is_rangeless(facts.outside, facts.rows),
        }))
    }

    /// Everything after page 1.
    async fn rest(&self, list: &List<'_>, head: Head) -> Result<(), ReadError> {
        let pages = head.pages();
        let Head {
            entry: first_page,
            seen: first,
            took,
            ..
        } = head;
        if first.is_whole() {
            return Ok(());
        }
        let asked_size = proof::asked_size(&first_page);
        self.task.expect(pages.saturating_sub(1));
        let numbered = Mutex::new(Some(vec![first]));
        let ask = async |ask: Ask| {
            let number = ask.number;
            // A list may be said to have a million pages: none is asked for only to be denied.
            if self.is_at_its_end() {
                return Ok(None);
            }
            let fetched = self.page_of(list, ask, (asked_size, first.size)).await;
            let seen = self.or_hole(list, number, fetched)?;
            if let Some(seen) = seen.filter(Seen::is_numbered)
                && let Some(numbered) = &mut *locked(&numbered)
            {
                numbered.push(seen);
            }
            Ok(seen)
        };
        if self.question.resource.paging == Paging::Ids {
            match scan::by_ids(first, self.in_flight.min(at_once(took)), &ask).await? {
                Scanned::Through => {
                    if locked(&self.answered).answers.may_be_below(&first_page) {
                        self.below(list, pages + 1).await?;
                    }
                    return Ok(());
                }
                Scanned::NotByIds => {
                    locked(&self.answered).evidence.notes.push(
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
        list: &List<'_>,
        ask: Ask,
        (asked_size, size): (u64, u64),
    ) -> Result<Seen, ReadError> {
        let is_smaller = || u64::from(locked(&self.pages).size) < asked_size;
        if ask.ids.is_some() || !is_smaller() {
            match self.page(list, ask).await {
                Err(ReadError::Api(ApiError::TooSlow { .. })) if is_smaller() => {}
                fetched => {
                    let (entry, facts) = fetched?;
                    locked(&self.answered).take(&entry, &facts);
                    return Ok(Seen::new(&entry, &facts.ids));
                }
            }
        }
        let (mut at, end) = ((ask.number - 1) * size, ask.number * size);
        let mut all: Option<Seen> = None;
        while at < end {
            let smaller = u64::from(locked(&self.pages).size).min(size).max(1);
            let number = at / smaller + 1;
            let (entry, facts) = match self.page(list, Ask::page(number)).await {
                Err(ReadError::Api(ApiError::TooSlow { .. }))
                    if u64::from(locked(&self.pages).size) < smaller =>
                {
                    continue;
                }
                fetched => fetched?,
            };
            locked(&self.answered).take(&entry, &facts);
            let seen = Seen::new(&entry, &facts.ids);
            at = number * smaller;
            all = Some(all.map_or(seen, |all| Seen {
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
        Ok(Seen {
            number: ask.number,
            size,
            ..all
        })
    }

    /// Asks for ids below the lowest that are asked for. An API that refuses the question has told nothing: that is no
    /// hole, but proves nothing either.
    async fn below(&self, list: &List<'_>, number: u64) -> Result<(), ReadError> {
        let ids = Some(BELOW_LOWEST);
        let fetched = match self.page(list, Ask { number, ids }).await {
            Err(ReadError::Api(error)) if !error.is_fatal_for_run() && !error.is_used_up() => None,
            fetched => self.or_hole(list, number, fetched)?,
        };
        if let Some((entry, facts)) = fetched {
            locked(&self.answered).take(&entry, &facts);
        }
        Ok(())
    }

    /// Whether no request is allowed any more, and none can be spared.
    fn is_at_its_end(&self) -> bool {
        locked(&self.used_up).is_some() && locked(&self.known).is_empty()
    }

    /// A failure that need not end the run leaves a hole.
    fn or_hole<T>(
        &self,
        list: &List<'_>,
        number: u64,
        fetched: Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        match fetched {
            Ok(fetched) => Ok(Some(fetched)),
            // What is under way has cost its hit and is staged; what comes after is denied at once.
            Err(ReadError::Api(error)) if error.is_used_up() => {
                locked(&self.used_up).get_or_insert(error);
                Ok(None)
            }
            Err(ReadError::Api(error)) if !error.is_fatal_for_run() => {
                let place = match &list.slice.name {
                    Some(slice) => format!("page {number} of {slice}"),
                    None => format!("page {number}"),
                };
                let mut answered = locked(&self.answered);
                let places = answered.failures.entry(crate::chain::chain(&error));
                places.or_default().push(place);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// How many requests hide the time that one takes, also where it varies.
fn at_once(took: Duration) -> usize {
    let in_time = millis(took);
    let needed = SPARE + in_time.saturating_mul(FASTEST) / 1000;
    usize::try_from(needed).unwrap_or(usize::MAX)
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
