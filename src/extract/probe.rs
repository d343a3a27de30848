//! One hit that tells how much a read would give.

use jiff::Timestamp;
use roaring::RoaringTreemap;

use crate::api::{self, ApiError, BodyReader};
use crate::config::{Config, Resource};
use crate::plan::Step;

use super::inspect::Inspector;
use super::{question, slices};

/// What a probing hit tells.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// `X-Total`: the rows that the read would give.
    pub total: Option<u64>,
    /// The server's time.
    pub date: Option<Timestamp>,
}

/// Asks what a read would ask, for a single row. A resource that fans out has many questions: it is not probed.
pub async fn probe(
    client: &api::Client,
    config: &Config,
    resource: &Resource,
    step: &Step,
) -> Result<Probe, ApiError> {
    let (query, window) = question::of_step(resource, step);
    let mut probe = Probe {
        total: None,
        date: None,
    };
    if resource.for_each.is_some() {
        return Ok(probe);
    }
    for slice in slices::slices(config, resource, query, &RoaringTreemap::new()) {
        let mut request = question::request(resource, &slice, window);
        request
            .query
            .push(("page[size]".to_owned(), "1".to_owned()));
        let inspector = Inspector::new(resource, None, None);
        let inspect = move |body: &mut BodyReader<'_>| inspector.inspect(body);
        let answer = client.page(&request, inspect).await?;
        probe = Probe {
            total: answer.total,
            date: answer.date,
        };
    }
    Ok(probe)
}
