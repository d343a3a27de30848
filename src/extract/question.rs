//! What a resource is asked: the query of a step, its window of time, and the request that comes of it. Pure.

use jiff::Timestamp;

use crate::api;
use crate::config::{QueryParameter, Resource};
use crate::plan::Step;
use crate::proof::{EARLIEST, LATEST};
use crate::staging::{SmallerPages, Window};

use super::slices::Slice;

/// How a resource is asked for in this run.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) resource: &'a Resource,
    pub(super) slices: Vec<Slice>,
    /// What a delta ranges over.
    pub(super) window: Option<Window>,
    /// Rows a page, until the server takes too long for so many.
    pub(super) pages: SmallerPages,
    /// The server's time, if an answer has told it.
    pub(super) now: Option<Timestamp>,
}

impl Question<'_> {
    /// What must be proven where windows of time are asked for: the window of a delta, or all time.
    pub(super) fn needed(&self) -> Window {
        self.window.unwrap_or(Window {
            start: EARLIEST,
            end: LATEST,
        })
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
            (&resource.delta_query, Some(Window { start, end }))
        }
        Step::Full | Step::Skip => (&resource.query, None),
    }
}

/// The request for a slice, all but its paging.
pub(super) fn request(resource: &Resource, slice: &Slice, window: Option<Window>) -> api::Request {
    let mut query = slice.query.clone();
    if let (Some(cursor), Some(Window { start, end })) = (&resource.cursor, window) {
        query.push((
            format!("range[{}]", cursor.field),
            format!("{start:.3},{end:.3}"),
        ));
    }
    if let Some(sort) = &resource.sort {
        query.push(("sort".to_owned(), sort.clone()));
    }
    api::Request {
        path: slice.path.clone(),
        query,
        timeout: resource.timeout,
        can_be_smaller: false,
    }
}
