//! How one read asks for its pages. Pure.

use jiff::Timestamp;

use crate::api;
use crate::config::{QueryParameter, Resource};
use crate::plan::Step;
use crate::proof::{EARLIEST, LATEST};
use crate::staging::{FieldWindow, PageEntry, PageRequest, SmallerPages, Window};

use super::scan::PageSelector;
use super::slices::Slice;

#[derive(Debug)]
pub(super) struct ReadPlan<'a> {
    pub(super) resource: &'a Resource,
    pub(super) slices: Vec<Slice>,
    pub(super) window: Option<Window>,
    /// Rows a page, until the server takes too long for them.
    pub(super) page_size: SmallerPages,
    /// The server's time; `None` before the first answer.
    pub(super) now: Option<Timestamp>,
}

/// What is paged through at one time: a slice, all of it or in a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    pub(super) slice: &'a Slice,
    pub(super) window: Option<Window>,
}

impl ReadPlan<'_> {
    /// The time that a read in windows must prove: the window of a delta, or all time.
    pub(super) fn needed(&self) -> Window {
        self.window.unwrap_or(Window {
            start: EARLIEST,
            end: LATEST,
        })
    }

    /// The slice of a staged page; `None` if this read does not ask for it.
    pub(super) fn slice_of(&self, page: &PageEntry) -> Option<&Slice> {
        self.slices.iter().find(|slice| slice.name == page.slice)
    }

    /// Whether a staged page is one that this read asks for. Pages of other lists would be mixed with its own.
    pub(super) fn asks_for(&self, page: &PageEntry) -> bool {
        let staged = &page.page_request;
        let Some(slice) = self.slice_of(page) else {
            return false;
        };
        let window = window_of(self.resource, staged);
        let is_within = match (self.window, window) {
            (Some(own), Some(staged)) => staged.start >= own.start && staged.end <= own.end,
            (None, Some(_)) => self.resource.sort.is_none(),
            (own, None) => own.is_none(),
        };
        let size = u32::try_from(staged.page_size).unwrap_or(0);
        let ask = PageSelector {
            number: staged.page_number,
            ids: staged.id_range,
        };
        is_within && *staged == page_request(self.resource, List { slice, window }, ask, size)
    }
}

/// The parameters that a step asks with, and its window.
pub(super) fn of_step<'r>(
    resource: &'r Resource,
    step: &Step,
) -> (&'r [QueryParameter], Option<Window>) {
    match step {
        Step::Delta { start, end } => {
            let (start, end) = (*start, end.unwrap_or(LATEST));
            let window = Window { start, end }.to_milliseconds();
            (&resource.delta_query, Some(window))
        }
        Step::Since(start) => {
            let (start, end) = (*start, LATEST);
            let window = Window { start, end }.to_milliseconds();
            (&resource.query, Some(window))
        }
        Step::Full | Step::Skip => (&resource.query, None),
    }
}

/// The window that a page was asked for in, if it is one of the resource's cursor.
pub(super) fn window_of(resource: &Resource, request: &PageRequest) -> Option<Window> {
    request.window_of(&resource.cursor.as_ref()?.field)
}

pub(super) fn page_request(
    resource: &Resource,
    list: List<'_>,
    ask: PageSelector,
    size: u32,
) -> PageRequest {
    let shared = api::Request {
        path: list.slice.path.clone(),
        query: list.slice.query.clone(),
        ..api::Request::default()
    };
    let cursor = resource.cursor.as_ref();
    PageRequest {
        list: shared.target(),
        window: (cursor.zip(list.window))
            .map(|(cursor, window)| FieldWindow::new(&cursor.field, window)),
        sort: resource.sort.clone(),
        id_range: ask.ids,
        page_size: size.into(),
        // Within a range of ids, the first page is the one that is asked for.
        page_number: if ask.ids.is_some() { 1 } else { ask.number },
    }
}

pub(super) fn api_request(
    resource: &Resource,
    slice: &Slice,
    page_request: &PageRequest,
) -> api::Request {
    let mut query = slice.query.clone();
    query.extend(page_request.parameters());
    api::Request {
        path: slice.path.clone(),
        query,
        timeout: resource.timeout,
        can_be_smaller: false,
    }
}
