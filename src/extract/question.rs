//! What a resource is asked: the query of a step, its range, and the request that comes of it. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api;
use crate::config::{QueryParameter, Resource};
use crate::plan::Step;

use super::slices::Slice;

/// How far beyond the present a window reaches, so that a row that changes while we read stays in it:
/// only rows that enter can then shift the pages, and those that enter push others down, never out.
const WINDOW_BEYOND: SignedDuration = SignedDuration::from_hours(366 * 24);

/// `range[field]` of a delta, both ends.
pub(super) type Range = (String, Timestamp, Timestamp);

/// The parameters that a step asks with, and its range.
pub(super) fn of_step<'r>(
    resource: &'r Resource,
    step: &Step,
) -> (&'r [QueryParameter], Option<Range>) {
    let (Step::Delta { start, end }, Some(cursor)) = (step, &resource.cursor) else {
        return (&resource.query, None);
    };
    let end = end.unwrap_or_else(|| {
        Timestamp::now()
            .max(*start)
            .saturating_add(WINDOW_BEYOND)
            .unwrap_or(Timestamp::MAX)
    });
    let range = (cursor.field.clone(), *start, end);
    (&resource.delta_query, Some(range))
}

/// The request for a slice, all but its paging.
pub(super) fn request(resource: &Resource, slice: &Slice, range: Option<&Range>) -> api::Request {
    let mut query = slice.query.clone();
    if let Some((field, start, end)) = range {
        query.push((format!("range[{field}]"), format!("{start:.3},{end:.3}")));
    }
    if let Some(sort) = &resource.sort {
        query.push(("sort".to_owned(), sort.clone()));
    }
    api::Request {
        path: slice.path.clone(),
        query,
        timeout: resource.timeout,
    }
}
