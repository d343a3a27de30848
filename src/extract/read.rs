//! One resource: its slices, their pages in parallel, and the proof that nothing is missing.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use roaring::RoaringTreemap;

use crate::api::{self, ApiError};
use crate::config::Resource;
use crate::progress::Task;
use crate::staging::{Evidence, PageEntry, ResourceWriter, StagingError, State};

use super::inspect::{Inspector, PageFacts};
use super::question::{self, Range};
use super::slices::Slice;

/// How a resource is asked for in this run.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) resource: &'a Resource,
    pub(super) slices: Vec<Slice>,
    /// `range[field]` of a delta, both ends.
    pub(super) range: Option<Range>,
    pub(super) page_size: u32,
}

/// What reading a resource gave.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) pages: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) hits: u64,
    pub(super) evidence: Evidence,
    pub(super) ids: RoaringTreemap,
    pub(super) missing: bool,
    /// Every page was read, but the count is no proof: rows came and went, or no total was told.
    pub(super) unproven: bool,
    /// The server's time at the first answer.
    pub(super) first_date: Option<Timestamp>,
    pub(super) outside: u64,
}

impl Answered {
    pub(super) fn state(&self) -> State {
        match (self.missing, self.unproven) {
            (true, _) => State::Partial,
            (false, true) => State::Drifted,
            (false, false) => State::Complete,
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
    #[error(
        "a thread that writes staged pages ended early; this is a fault of cursus, please report it"
    )]
    Thread,
}

/// Reads and stages pages of one resource.
pub(super) struct Reader<'a> {
    pub(super) client: &'a api::Client,
    pub(super) question: &'a Question<'a>,
    pub(super) writer: Arc<ResourceWriter>,
    /// Pages that an earlier process staged in this run.
    pub(super) known: Vec<PageEntry>,
    pub(super) task: &'a Task,
    /// Pages of a slice that are asked for at once.
    pub(super) in_flight: usize,
    /// Called with the server's time at each answer.
    pub(super) clock: &'a (dyn Fn(Timestamp) + Sync),
}

struct Fetched {
    entry: PageEntry,
    facts: PageFacts,
    per_page: Option<u64>,
    date: Option<Timestamp>,
    attempts: u64,
}

impl Reader<'_> {
    /// Reads all slices. A slice that fails leaves a hole that is told; an error ends the whole run.
    pub(super) async fn read(&self) -> Result<Answered, ReadError> {
        let mut all = Answered::default();
        let sliced = self.question.resource.for_each.is_some();
        if sliced {
            all.evidence.slices = Some(self.question.slices.len() as u64);
            all.evidence.announced = Some(0);
        }
        let mut reads: FuturesUnordered<_> = self
            .question
            .slices
            .iter()
            .map(|slice| self.slice(slice))
            .collect();
        while let Some(read) = reads.next().await {
            all.add(read?);
        }
        all.evidence.distinct = all
            .evidence
            .distinct
            .max(if sliced { all.ids.len() } else { 0 });
        Ok(all)
    }

    async fn slice(&self, slice: &Slice) -> Result<Answered, ReadError> {
        let mut answered = Answered::default();
        self.task.expect(1);
        let first = match self.page(slice, 1).await {
            Ok(first) => first,
            Err(error) => {
                answered.note_failure(slice, 1, error)?;
                return Ok(answered);
            }
        };
        answered.first_date = first.date;
        let announced = first.entry.x_total;
        let rows = first.facts.rows;
        let mut size = first
            .per_page
            .filter(|size| *size > 0)
            .unwrap_or(u64::from(self.question.page_size));
        // A server with a smaller page than asked for need not say so.
        if rows > 0 && rows < size && announced.is_some_and(|announced| announced > rows) {
            size = rows;
        }
        answered.evidence.announced = announced;
        answered.evidence.highest_id = descending(&first.facts.ids)
            .then(|| first.facts.ids.first().copied())
            .flatten();
        answered.unproven = announced.is_none();
        let mut totals = Totals::new(announced);
        let mut last_rows = rows;
        answered.take(first);
        let mut page = 1;
        // Pages that are known to be there are asked for at once; rows that are added while we read push
        // others onto pages beyond.
        loop {
            let pages = match totals.highest {
                Some(highest) => highest.div_ceil(size),
                // Without a total the end is the first empty page.
                None if last_rows > 0 => page + 1,
                None => page,
            };
            if page >= pages {
                break;
            }
            self.task.expect(pages - page);
            let mut fetches = futures_util::stream::iter(page + 1..=pages)
                .map(|page| async move {
                    let number = u32::try_from(page).unwrap_or(u32::MAX);
                    (number, self.page(slice, number).await)
                })
                .buffer_unordered(self.in_flight);
            let mut used_up = None;
            while let Some((number, fetched)) = fetches.next().await {
                match fetched {
                    // What is under way has cost its hit: it is staged, and what comes after is denied at once.
                    Err(ReadError::Api(error)) if error.is_used_up() => {
                        used_up.get_or_insert(error);
                    }
                    Ok(fetched) => {
                        totals.see(fetched.entry.x_total);
                        last_rows = fetched.facts.rows;
                        if !descending(&fetched.facts.ids) {
                            answered.evidence.highest_id = None;
                        }
                        answered.take(fetched);
                    }
                    Err(error) => {
                        last_rows = 0;
                        answered.note_failure(slice, number, error)?;
                    }
                }
            }
            drop(fetches);
            if let Some(error) = used_up {
                return Err(error.into());
            }
            page = pages;
        }
        answered.unproven |= totals.shrank;
        answered.judge(slice);
        Ok(answered)
    }

    async fn page(&self, slice: &Slice, page: u32) -> Result<Fetched, ReadError> {
        let request = self.request(slice, page);
        let known =
            (self.known.iter()).find(|known| known.page == page && known.slice == slice.name);
        if let Some(known) = known {
            return self.read_back(known).await;
        }
        let inspector = Inspector::new(
            self.question.resource,
            self.question.range.as_ref().map(|(_, start, _)| *start),
        );
        let answer = self
            .client
            .page(&request, move |body| {
                inspector.inspect(body).map_err(api::InspectError)
            })
            .await?;
        if let Some(date) = answer.date {
            (self.clock)(date);
        }
        let entry = PageEntry {
            page,
            slice: slice.name.clone(),
            request: request.target(),
            status: answer.status,
            rows: answer.inspected.rows,
            bytes: 0,
            sha256: String::new(),
            x_total: answer.total,
            first_id: answer.inspected.ids.first().copied(),
            last_id: answer.inspected.ids.last().copied(),
            fetched_at: answer.received_at,
            server_date: answer.date,
            duration_ms: u64::try_from(answer.duration.as_millis()).unwrap_or(u64::MAX),
            replaces: None,
        };
        let writer = Arc::clone(&self.writer);
        let body = answer.body;
        let entry = tokio::task::spawn_blocking(move || {
            let bytes = body.read().map_err(|source| StagingError::Io {
                doing: "read back",
                path: "the body of a page".into(),
                source,
            })?;
            writer.write(&bytes, entry)
        })
        .await
        .map_err(|_| ReadError::Thread)??;
        self.task.page();
        Ok(Fetched {
            entry,
            facts: answer.inspected,
            per_page: answer.per_page,
            date: answer.date,
            attempts: u64::from(answer.attempts),
        })
    }

    /// A page that needs no request any more.
    async fn read_back(&self, entry: &PageEntry) -> Result<Fetched, ReadError> {
        let (writer, page) = (Arc::clone(&self.writer), entry.clone());
        let inspector = Inspector::new(self.question.resource, None);
        let facts = tokio::task::spawn_blocking(move || {
            let mut body = Vec::new();
            writer.read_back(&page, &mut body)?;
            inspector
                .inspect(&body)
                .map_err(|problem| writer.unreadable(&page, &problem))
        })
        .await
        .map_err(|_| ReadError::Thread)??;
        self.task.page();
        Ok(Fetched {
            facts,
            per_page: None,
            date: entry.server_date,
            attempts: 1,
            entry: entry.clone(),
        })
    }

    /// Whether the known pages answer today's question; pages of another one would be mixed with them.
    pub(super) fn knows_its_question(&self) -> bool {
        self.question.range.is_none()
            && self.known.iter().all(|known| {
                let slice = self
                    .question
                    .slices
                    .iter()
                    .find(|slice| slice.name == known.slice);
                slice.is_some_and(|slice| self.request(slice, known.page).target() == known.request)
            })
    }

    fn request(&self, slice: &Slice, page: u32) -> api::Request {
        let range = self.question.range.as_ref();
        let mut request = question::request(self.question.resource, slice, range);
        let paging = [
            ("page[size]", self.question.page_size),
            ("page[number]", page),
        ];
        let paging = paging.map(|(name, value)| (name.to_owned(), value.to_string()));
        request.query.extend(paging);
        request
    }
}

impl Answered {
    fn take(&mut self, fetched: Fetched) {
        self.pages += 1;
        self.rows += fetched.entry.rows;
        self.bytes += fetched.entry.bytes;
        self.hits += fetched.attempts;
        self.outside += fetched.facts.outside;
        self.ids.extend(
            fetched
                .facts
                .ids
                .into_iter()
                .filter_map(|id| u64::try_from(id).ok()),
        );
    }

    fn note_failure(
        &mut self,
        slice: &Slice,
        page: u32,
        error: ReadError,
    ) -> Result<(), ReadError> {
        match error {
            // What refuses the first page of the only slice refuses the resource.
            ReadError::Api(error)
                if !error.is_fatal_for_run() && (slice.name.is_some() || page > 1) =>
            {
                self.missing = true;
                let place = slice
                    .name
                    .as_ref()
                    .map_or_else(String::new, |slice| format!(" of {slice}"));
                self.evidence.notes.push(format!(
                    "page {page}{place} is missing: {}",
                    crate::report::chain(&error)
                ));
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Complete ⇔ exactly as many distinct ids as were announced. With the highest ids first, rows that are new
    /// have ids above the first one: they are kept, but not counted.
    fn judge(&mut self, slice: &Slice) {
        let highest = self
            .evidence
            .highest_id
            .and_then(|id| u64::try_from(id).ok());
        self.evidence.distinct = match highest {
            Some(highest) => self.ids.rank(highest),
            None => self.ids.len(),
        };
        let Some(announced) = self.evidence.announced else {
            return;
        };
        let distinct = self.evidence.distinct;
        self.unproven |= distinct > announced;
        if !self.missing && distinct < announced {
            self.missing = true;
            let place = slice
                .name
                .as_ref()
                .map_or_else(String::new, |slice| format!("{slice}: "));
            self.evidence.notes.push(format!(
                "{place}{announced} rows were announced, but {distinct} distinct ones were read; rows moved or vanished meanwhile"
            ));
        }
    }

    fn add(&mut self, other: Self) {
        self.pages += other.pages;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.hits += other.hits;
        self.outside += other.outside;
        self.missing |= other.missing;
        self.unproven |= other.unproven;
        self.ids |= other.ids;
        self.first_date = match (self.first_date, other.first_date) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let evidence = other.evidence;
        self.evidence.announced = match (self.evidence.announced, evidence.announced) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        self.evidence.highest_id = self.evidence.highest_id.max(evidence.highest_id);
        self.evidence.distinct += evidence.distinct;
        self.evidence.notes.extend(evidence.notes);
    }
}

/// Ids as `sort=-id` gives them. A server that ignores the sort gives others.
fn descending(ids: &[i64]) -> bool {
    ids.is_sorted_by(|a, b| a > b)
}

/// What the answers of a slice said of its size.
struct Totals {
    highest: Option<u64>,
    last: Option<u64>,
    shrank: bool,
}

impl Totals {
    fn new(announced: Option<u64>) -> Self {
        Self {
            highest: announced,
            last: announced,
            shrank: false,
        }
    }

    /// Fewer than before: rows went while we read, and others may have slipped past a page border.
    fn see(&mut self, total: Option<u64>) {
        let Some(total) = total else { return };
        self.shrank |= self.last.is_some_and(|last| total < last);
        self.last = Some(total);
        self.highest = self.highest.map(|highest| highest.max(total));
    }
}
