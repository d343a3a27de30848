//! The HTTP server: takes a request through limit, fault, token, route and page, and counts it. Knows no row by its fields.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, DATE, date_of};
use super::clock::Clock;
use super::faults::{FaultKind, Faults};
use super::fields::Resource;
use super::limits::{Admission, Counters};
use super::oauth::{self, Oauth, Refused, TokenPolicy};
use super::pages::{ListCache, ListRequest};
use super::query::Paging;
use super::routes;
use super::send::{hold, send};
use super::wire::{Line, Loopback};
use super::world::{Recipe, Stamp, World, json};
use super::{Options, SimulateError, control};

/// What was asked so far. Requests to the control endpoints do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// All requests, for tokens too.
    pub requests: u64,
    /// Requests to `/v2`: those that the limits count.
    pub hits: u64,
    /// Requests by the status of their answer.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests by path, without the query.
    pub by_path: BTreeMap<String, u64>,
    /// 429 answers because a limit was exceeded, not because of a fault rule.
    pub rejected_429: u64,
    /// Answers that a fault rule spoiled.
    pub faults: u64,
    /// From the first request to the last, in milliseconds.
    pub span_ms: u64,
}

pub(crate) struct Server {
    pub(super) options: Options,
    calm: AtomicBool,
    url: String,
    pub(crate) clock: Clock,
    pub(crate) oauth: Oauth,
    pub(crate) faults: Faults,
    counters: Counters,
    slow: Mutex<BTreeMap<Resource, u32>>,
    world: RwLock<World>,
    pub(super) lists: Mutex<ListCache>,
    tally: Mutex<Tally>,
    random: Mutex<fastrand::Rng>,
    stopping: CancellationToken,
}

#[derive(Default)]
pub(super) struct Tally {
    statistics: Statistics,
    first_request: Option<Instant>,
    pub(super) pages: BTreeMap<Resource, u32>,
}

/// Serves until stopped, then until every connection is closed.
pub(crate) async fn serve(server: Arc<Server>, listener: Loopback, stopping: CancellationToken) {
    let router = Router::new()
        .nest("/_simulator", control::router())
        .fallback(handle)
        .with_state(server);
    let service = router.into_make_service_with_connect_info::<Line>();
    let serving = axum::serve(listener, service)
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    // An error here can only come from the listener, which retries by itself.
    let _ = serving.await;
}

async fn handle(
    State(server): State<Arc<Server>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let begun = Instant::now();
    let path = request.uri().path().to_owned();
    let (mut answer, fault) = if path == "/oauth/token" && request.method() == Method::POST {
        server.token(&path, request).await
    } else {
        server.api(&path, request).await
    };
    answer.header(DATE, date_of(server.clock.now().timestamp()));
    if let Some(fault) = &fault {
        answer.spoil(fault);
    }
    let status = answer.status.as_u16();
    server.count(|statistics| {
        statistics.requests += 1;
        *statistics.by_status.entry(status).or_default() += 1;
        *statistics.by_path.entry(path).or_default() += 1;
        statistics.faults += u64::from(fault.is_some());
    });
    let runtime = begun.elapsed().as_secs_f64();
    answer.header("x-runtime", format!("{runtime:.6}"));
    send(answer, fault.as_ref(), &line, &server.stopping).await
}

impl Server {
    pub(crate) fn build(
        options: Options,
        bound: SocketAddr,
        stopping: CancellationToken,
    ) -> Result<Self, SimulateError> {
        let now = Stamp::from(options.start);
        let mut world = World::build(&Recipe {
            seed: options.seed,
            scale: options.scale,
            rows: &options.rows,
            undated: options.undated,
            staff: options.staff,
            now,
        })?;
        for odd in &options.odd_dates {
            world.plant(odd)?;
        }
        let named = |name: &String| {
            let unknown = || SimulateError::UnknownResource { name: name.clone() };
            Resource::named(name).ok_or_else(unknown)
        };
        let targets = options.faults.iter().map(|fault| &fault.target);
        for target in targets.filter(|target| !target.starts_with('/')) {
            named(target)?;
        }
        let slow = options.slow_pages.iter();
        let slow = slow.map(|(name, rows)| Ok((named(name)?, *rows)));
        let slow = slow.collect::<Result<_, SimulateError>>()?;
        let secret_valid_until = now.plus(options.secret_life);
        Ok(Self {
            url: format!("http://{bound}"),
            clock: Clock::new(now),
            oauth: Oauth::new(options.token_life, secret_valid_until)?,
            faults: Faults::new(options.faults.clone(), options.seed),
            counters: Counters::new(options.limits),
            slow: Mutex::new(slow),
            world: RwLock::new(world),
            lists: Mutex::default(),
            tally: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(options.seed)),
            options,
            calm: AtomicBool::new(false),
            stopping,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn advance(&self, by: Duration) {
        let mut world = self.change();
        world.advance(self.clock.now(), by, self.options.deletions_per_day);
        self.clock.jump(by);
    }

    pub(crate) fn set_field(
        &self,
        resource: &str,
        id: i64,
        field: &str,
        value: Option<Value>,
    ) -> bool {
        let resource = Resource::named(resource);
        resource.is_some_and(|resource| self.change().set_field(resource, id, field, value))
    }

    /// Pages of a resource with more rows time out from now on; none do without a number.
    pub(crate) fn slow_page(&self, resource: &str, rows: Option<u32>) -> bool {
        let Some(resource) = Resource::named(resource) else {
            return false;
        };
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        match rows {
            Some(rows) => slow.insert(resource, rows),
            None => slow.remove(&resource),
        };
        true
    }

    pub(super) fn is_slow(&self, resource: Resource, rows: usize) -> bool {
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let most = slow
            .get(&resource)
            .and_then(|most| usize::try_from(*most).ok());
        most.is_some_and(|most| rows > most)
    }

    pub(crate) fn replace_enrolment(&self, id: i64) -> Option<i64> {
        self.change().replace_enrolment(id, self.clock.now())
    }

    pub(crate) fn give_up_team(&self, id: i64) -> bool {
        self.change().give_up_team(id)
    }

    pub(crate) fn anonymise(&self, id: i64) -> bool {
        self.change().anonymise(id)
    }

    /// No faults and no changes while lists are read, from now on.
    pub(crate) fn calm(&self) {
        self.faults.clear();
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(crate) fn rows(&self, resource: Resource) -> Vec<Value> {
        self.world().rows(resource)
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.tally().statistics.clone()
    }

    pub(super) fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, count: impl FnOnce(&mut Statistics)) {
        count(&mut self.tally().statistics);
    }

    fn count_request(&self) {
        let now = Instant::now();
        let mut tally = self.tally();
        let first = *tally.first_request.get_or_insert(now);
        tally.statistics.hits += 1;
        let span = now.duration_since(first).as_millis();
        tally.statistics.span_ms = u64::try_from(span).unwrap_or(u64::MAX);
    }

    async fn token(&self, path: &str, request: Request) -> (Answer, Option<FaultKind>) {
        let parameters = oauth::parameters(request).await;
        if self.options.unknowns.token_requests_count {
            self.counters.take_hourly();
        }
        let fault = self.faults.fire(path, None, 1);
        if let Some(answer) = fault.as_ref().and_then(Answer::instead) {
            return (answer, fault);
        }
        let policy = TokenPolicy {
            reuse: self.options.unknowns.token_reused,
            revoke: self.options.unknowns.new_token_revokes,
        };
        let granted = if fault == Some(FaultKind::InvalidClient) {
            Err(Refused::invalid_client())
        } else {
            self.oauth.grant(&parameters, self.clock.now(), policy)
        };
        let answer = match granted {
            Ok(granted) => Answer::json(StatusCode::OK, json(&granted)),
            Err(refused) => {
                let mut answer = Answer::json(refused.status, json(&refused));
                if refused.status == StatusCode::UNAUTHORIZED {
                    answer.header("www-authenticate", "Bearer realm=\"42 API\"".to_owned());
                }
                answer
            }
        };
        (answer, fault)
    }

    /// Everything that wants a token.
    async fn api(&self, path: &str, request: Request) -> (Answer, Option<FaultKind>) {
        let described = self.options.unknowns.described_errors;
        let query = request.uri().query().unwrap_or_default();
        let pairs = oauth::decode(query);
        if !path.starts_with("/v2/") {
            let token = oauth::bearer(request.headers(), &pairs);
            return (self.elsewhere(path, request.method(), token), None);
        }
        self.count_request();
        let admission = self.counters.take();
        let limits = self.counters.limits();
        if let Some(rejected) = admission.rejected {
            self.count(|statistics| statistics.rejected_429 += 1);
            let wait = rejected.wait.as_millis().div_ceil(1_000).max(1);
            let wait = limits.retry_after.then(|| u64::try_from(wait).ok());
            let mut answer = Answer::too_many(rejected.hourly, wait.flatten());
            self.sign(&mut answer);
            answer.limits(limits, &admission);
            return (answer, None);
        }
        let resource = routes::resource(path);
        let page = Paging::number(&pairs);
        let fault = self.faults.fire(path, resource.map(Resource::name), page);
        let admission = match &fault {
            Some(FaultKind::HourlyLimit { .. }) => Admission {
                hour_remaining: 0,
                ..admission
            },
            Some(FaultKind::TooManyRequests { .. }) => Admission {
                second_remaining: 0,
                ..admission
            },
            _ => admission,
        };
        if fault == Some(FaultKind::RevokedToken) {
            self.oauth.revoke_all();
        }
        self.wait().await;
        let token = oauth::bearer(request.headers(), &pairs);
        let list = ListRequest {
            path,
            query,
            pairs: &pairs,
        };
        let mut answer = if let Some(answer) = fault.as_ref().and_then(Answer::instead) {
            answer
        } else if let Err(description) = self.oauth.check(token) {
            Answer::unauthorized(description, described)
        } else if request.method() != Method::GET {
            Answer::error(StatusCode::NOT_FOUND, "Not found", described)
        } else {
            self.show(&list, fault.as_ref())
        };
        let timed_out = fault.is_none() && answer.status == StatusCode::GATEWAY_TIMEOUT;
        if timed_out {
            hold(self.options.slow_for.as_secs_f64(), &self.stopping).await;
        }
        let gateway = timed_out
            || matches!(
                fault,
                Some(FaultKind::Status { .. } | FaultKind::Cloudflare)
            );
        if !gateway {
            self.sign(&mut answer);
            answer.limits(limits, &admission);
            if answer.status == StatusCode::OK {
                let known = request.headers().get(header::IF_NONE_MATCH);
                let known = known.and_then(|tag| tag.to_str().ok());
                self.tag(&mut answer, known);
            }
        }
        (answer, fault)
    }

    /// Paths outside of `/v2`.
    fn elsewhere(&self, path: &str, method: &Method, token: Option<&str>) -> Answer {
        let described = self.options.unknowns.described_errors;
        if path != "/oauth/token/info" || method != Method::GET {
            return Answer::error(StatusCode::NOT_FOUND, "Not found", described);
        }
        match (self.oauth.check(token), self.oauth.info(token)) {
            (Ok(()), Some(info)) => Answer::json(StatusCode::OK, json(&info)),
            (Err(description), _) => Answer::unauthorized(description, described),
            (Ok(()), None) => Answer::unauthorized("The access token is invalid", described),
        }
    }

    async fn wait(&self) {
        let (least, most) = self.options.latency.clone().into_inner();
        if most.is_zero() {
            return;
        }
        let share = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            random.f64()
        };
        let wait = least.as_secs_f64() + (most.saturating_sub(least)).as_secs_f64() * share;
        hold(wait, &self.stopping).await;
    }

    /// The headers that say who asked.
    fn sign(&self, answer: &mut Answer) {
        answer.header("x-application-id", "4242".to_owned());
        answer.header("x-application-name", "simulator".to_owned());
        let roles = if self.options.staff {
            "Basic Staff"
        } else {
            "None"
        };
        answer.header("x-application-roles", roles.to_owned());
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        answer.header("x-request-id", format!("{:032x}", random.u128(..)));
        answer.header("vary", "Origin".to_owned());
        let cache = "max-age=0, private, must-revalidate";
        answer.header("cache-control", cache.to_owned());
    }

    fn tag(&self, answer: &mut Answer, known: Option<&str>) {
        let mut hasher = DefaultHasher::new();
        answer.body.hash(&mut hasher);
        let tag = format!("W/\"{:016x}\"", hasher.finish());
        if self.options.unknowns.conditional_get && known == Some(&tag) {
            answer.status = StatusCode::NOT_MODIFIED;
            answer.body.clear();
        }
        answer.header("etag", tag);
    }
}
