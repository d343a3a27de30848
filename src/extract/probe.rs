//! One request that shows how many rows a read would give.

use jiff::Timestamp;
use roaring::RoaringTreemap;

use crate::api::{self, ApiError, BodyReader};
use crate::config::{Config, Resource};
use crate::plan::Step;

use super::inspect::Inspector;
use super::read_plan::{self, List};
use super::scan::PageSelector;
use super::slices;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// `X-Total`: the rows that the read would give.
    pub(crate) total: Option<u64>,
    pub(crate) date: Option<Timestamp>,
}

/// Asks what a read would ask, for one row. A resource that fans out is not probed: it asks for many lists.
pub(crate) async fn probe(
    client: &api::Client,
    config: &Config,
    resource: &Resource,
    step: &Step,
) -> Result<Probe, ApiError> {
    let (query, window) = read_plan::of_step(resource, step);
    let mut slices = slices::slices(config, resource, query, &RoaringTreemap::new());
    let Some(slice) = slices.pop().filter(|_| resource.for_each.is_none()) else {
        return Ok(Probe {
            total: None,
            date: None,
        });
    };
    let list = List {
        slice: &slice,
        window,
    };
    let page_request = read_plan::page_request(resource, list, PageSelector::number(1), 1);
    let request = read_plan::api_request(resource, &slice, &page_request);
    let inspector = Inspector::new(resource, None, None);
    let inspect = move |body: &mut BodyReader<'_>| inspector.inspect(body);
    let answer = client.page(&request, inspect).await?;
    Ok(Probe {
        total: answer.total,
        date: answer.date,
    })
}
