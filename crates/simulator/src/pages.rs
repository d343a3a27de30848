//! Turns a path and a query into a page of rows or one row, with its paging headers. Knows nothing of tokens and limits.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use axum::http::StatusCode;

use super::answer::{Answer, TOTAL};
use super::faults::FaultKind;
use super::fields::Resource;
use super::oauth;
use super::query::{Paging, Query, Scope};
use super::routes::{self, Target};
use super::server::Server;
use super::world::World;

/// The list or row that a request asks for.
pub(super) struct ListRequest<'a> {
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) pairs: &'a [(String, String)],
}

/// What lists gave, kept while the world stays as it is, so that a page costs a page.
#[derive(Default)]
pub(super) struct ListCache {
    version: u64,
    lists: HashMap<String, Arc<Vec<i64>>>,
}

/// Most lists that are kept.
const LISTS: usize = 64;

impl Server {
    pub(super) fn show(&self, request: &ListRequest<'_>, fault: Option<&FaultKind>) -> Answer {
        if request.path == "/v2/me" {
            // A token of an application has no user.
            return Answer::forbidden();
        }
        let described = self.options.unknowns.described_errors;
        let target = routes::target(request.path, &self.world());
        match target {
            None => Answer::error(StatusCode::NOT_FOUND, "Not found", described),
            Some(Target::List(Resource::Coalitions, _))
                if self.options.unknowns.coalitions_need_role && !self.options.staff =>
            {
                Answer::forbidden()
            }
            Some(Target::List(Resource::ScaleTeams, _)) if !self.options.staff => {
                Answer::forbidden()
            }
            Some(Target::One(resource, id)) => {
                let world = self.world();
                let mut body = Vec::new();
                if resource == Resource::Users {
                    world.write_profile(id, &mut body);
                } else {
                    world.table(resource).write(id, &world, &mut body);
                }
                Answer::json(StatusCode::OK, body)
            }
            Some(Target::List(resource, scope)) => {
                let short = match fault {
                    Some(FaultKind::ShortPage { by }) => *by,
                    _ => 0,
                };
                let ignored = match fault {
                    Some(FaultKind::Ignore { parameters }) => parameters.as_slice(),
                    _ => &[],
                };
                self.page(request, resource, scope, short, ignored)
                    .unwrap_or_else(|message| {
                        Answer::error(StatusCode::BAD_REQUEST, &message, described)
                    })
            }
        }
    }

    /// One page of a list, `short` rows short of it and blind to some parameters; errs with the sentence of a 400.
    fn page(
        &self,
        request: &ListRequest<'_>,
        resource: Resource,
        scope: Scope,
        short: usize,
        ignored: &[String],
    ) -> Result<Answer, String> {
        let unknowns = &self.options.unknowns;
        let is_kept = |(key, _): &&(String, String)| !ignored.contains(key);
        let parameters: Vec<_> = request.pairs.iter().filter(is_kept).cloned().collect();
        let mut query = Query::parse(resource, scope, &parameters, unknowns)?;
        let cap = self.options.page_caps.get(resource.name());
        let cap = cap.copied().unwrap_or(self.options.page_cap);
        let paging = Paging::parse(&parameters, cap, unknowns.overlong)?;
        if self.is_slow(resource, paging.size) {
            return Ok(Answer::gateway(StatusCode::GATEWAY_TIMEOUT));
        }
        self.churn(resource);
        let world = self.world();
        // Ids that were set are not those by which rows are kept.
        let bounds = (!world.table(resource).sets("id")).then(|| query.take_ids());
        let bounds = bounds.flatten();
        let list = self.pick(&world, resource, &query);
        let ids = match &bounds {
            None => &list[..],
            Some(bounds) if query.is_by_falling_ids() => {
                let begin = list.partition_point(|id| id > bounds.end());
                let end = list.partition_point(|id| id >= bounds.start());
                &list[begin..end.max(begin)]
            }
            Some(bounds) => &list
                .iter()
                .copied()
                .filter(|id| bounds.contains(id))
                .collect::<Vec<_>>(),
        };
        let begin = (paging.page - 1).saturating_mul(paging.size).min(ids.len());
        let end = begin.saturating_add(paging.size).min(ids.len());
        let listed = &ids[begin..end.saturating_sub(short).max(begin)];
        let mut body = Vec::new();
        world.write_all(resource, listed, &mut body);
        let mut answer = Answer::json(StatusCode::OK, body);
        answer.header(TOTAL, ids.len().to_string());
        answer.header("x-page", paging.page.to_string());
        answer.header("x-per-page", paging.size.to_string());
        answer.header("link", self.links(request, paging, ids.len()));
        Ok(answer)
    }

    fn pick(&self, world: &World, resource: Resource, query: &Query) -> Arc<Vec<i64>> {
        let key = format!("{resource} {query:?}");
        let mut cache = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.version != world.version() || cache.lists.len() >= LISTS {
            cache.version = world.version();
            cache.lists.clear();
        }
        let list = cache.lists.entry(key);
        let list = list.or_insert_with(|| Arc::new(query.pick(resource, world)));
        Arc::clone(list)
    }

    /// Changes rows before every n-th page of a resource, if configured.
    fn churn(&self, resource: Resource) {
        let Some(churn) = self.options.churn.as_ref().filter(|_| !self.is_calm()) else {
            return;
        };
        let name = resource.name();
        let named = churn.resources.is_empty() || churn.resources.iter().any(|one| one == name);
        let pages = {
            let mut tally = self.tally();
            let pages = tally.pages.entry(resource).or_default();
            *pages += 1;
            *pages
        };
        if named && pages.is_multiple_of(churn.every.max(1)) {
            let now = self.clock.now();
            let rows = (churn.inserted, churn.updated, churn.deleted);
            self.change().churn(resource, rows, now);
        }
    }

    fn links(&self, request: &ListRequest<'_>, paging: Paging, total: usize) -> String {
        let last = total.div_ceil(paging.size).max(1);
        let kept = request.query.split('&').filter(|pair| {
            let key = oauth::decode(pair).into_iter().next().map(|(key, _)| key);
            !matches!(
                key.as_deref(),
                None | Some("page" | "page[number]" | "access_token")
            )
        });
        let kept: String = kept.flat_map(|pair| ["&", pair]).collect();
        let link = |rel, page| {
            let (url, path) = (self.url(), request.path);
            format!("<{url}{path}?page={page}{kept}>; rel=\"{rel}\"")
        };
        let mut links = vec![link("first", 1)];
        if paging.page > 1 {
            links.push(link("prev", (paging.page - 1).min(last)));
        }
        if paging.page < last {
            links.push(link("next", paging.page + 1));
        }
        links.push(link("last", last));
        links.join(", ")
    }
}
