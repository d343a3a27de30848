//! The documents of the pages, and how each is read.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Client;

use super::layout::{Listed, Listing, ListingState};
use super::mirror::{Lease, Mirror};
use super::panels::{self, Found, Page};
use super::snapshot::{Outage, Patience, Reading, Shown, Snapshot};
use crate::change_feed::{self, ChangePage, VersionPage, Wanted};
use crate::config::Resource;
use crate::database::{DatabaseError, Sessions};
use crate::exit::Failure;
use crate::mutex::locked;
use crate::printable;
use crate::settings::Settings;
use crate::staging::CommandRecord;
use crate::status::check::{self, Report};
use crate::status::decisions::{self, Decisions};
use crate::status::requests::{HourOfRequests, by_hour};
use crate::status::runs::KnownRuns;
use crate::status::{self, Status};

/// Hours of requests.
const HOURS: i64 = 24;
/// For one reading.
const TIMEOUT: Duration = Duration::from_secs(30);

/// All documents, kept and read again when they are asked for.
pub(crate) struct Documents {
    source: Arc<Source>,
    overview: Arc<Snapshot<Overview>>,
    runs: Arc<Snapshot<KnownRuns>>,
    decisions: Arc<Snapshot<Decisions>>,
    listing: Arc<Snapshot<Listing>>,
    /// Those of panels, by name: of pages that there are, or were.
    pages: Mutex<BTreeMap<String, Arc<Snapshot<Page>>>>,
}

/// What the status page shows.
pub(crate) struct Overview {
    pub(crate) status: Status,
    pub(crate) check: Report,
    pub(crate) commands: Vec<CommandRecord>,
    /// Requests by hour.
    pub(crate) hours: Vec<HourOfRequests>,
    /// Requests in an hour by the API's limit; none: not known.
    pub(crate) advertised: Option<u64>,
    /// How old each read may be before a warning is given, in the order of `status.resources`.
    pub(crate) limits: Vec<Duration>,
    /// When the database was last read, and what it held back.
    pub(crate) backlog: Option<KnownBacklog>,
}

/// What the database holds back.
#[derive(Clone, Copy)]
pub(crate) struct KnownBacklog {
    pub(crate) at: Timestamp,
    pub(crate) quarantined: i64,
    pub(crate) held: i64,
}

/// What documents are read from.
struct Source {
    sessions: Sessions,
    resolve: Box<dyn Fn() -> Result<Settings, Failure> + Send + Sync>,
    ledger: Mirror,
    tables: Mirror,
    /// Held while `tables` is read: who waits for it has not begun, and its time has not either.
    turn: tokio::sync::Mutex<()>,
    /// To the changes: who looks at them waits for no other page.
    changes: Mirror,
}

impl Documents {
    pub(super) fn new(
        sessions: Sessions,
        resolve: impl Fn() -> Result<Settings, Failure> + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Arc::new(Source {
                sessions,
                resolve: Box::new(resolve),
                ledger: Mirror::of_ledger(),
                tables: Mirror::of_tables(),
                turn: tokio::sync::Mutex::default(),
                changes: Mirror::of_ledger(),
            }),
            overview: Snapshot::new(),
            runs: Snapshot::new(),
            decisions: Snapshot::new(),
            listing: Snapshot::new(),
            pages: Mutex::default(),
        }
    }

    /// Has the first of them read before anybody asks.
    pub(super) fn prepare(&self) {
        let of = |earlier| read(&self.source, |source| overview_of(source, earlier));
        self.overview.refresh(of);
        let of = |earlier| read(&self.source, |source| listing_of(source, earlier));
        self.listing.refresh(of);
    }

    /// Says in the log what is wrong with files of pages, unless it was said before.
    pub(super) fn warn_of_pages(&self) {
        let source = Arc::clone(&self.source);
        drop(tokio::spawn(async move {
            let _turn = source.turn.lock().await;
            let faults = read(&source, faults_of).await.document.unwrap_or_default();
            for fault in faults {
                tracing::warn!("{fault}");
            }
        }));
    }

    /// Breaks off what is being read: its session ends, and the end of the process waits for none.
    pub(super) fn stop(&self) {
        self.overview.stop();
        self.runs.stop();
        self.decisions.stop();
        self.listing.stop();
        for page in locked(&self.pages).values() {
            page.stop();
        }
    }

    pub(crate) async fn overview(&self, patience: Patience) -> Option<Shown<Overview>> {
        let of = |earlier| read(&self.source, |source| overview_of(source, earlier));
        self.overview.get(patience, of).await
    }

    pub(crate) async fn runs(&self, patience: Patience) -> Option<Shown<KnownRuns>> {
        let of = |_| read(&self.source, runs_of);
        self.runs.get(patience, of).await
    }

    pub(crate) async fn decisions(&self, patience: Patience) -> Option<Shown<Decisions>> {
        let of = |_| read(&self.source, decisions_of);
        self.decisions.get(patience, of).await
    }

    /// A page of the changes. It is read each time: what is asked for differs.
    pub(super) async fn changes(&self, wanted: &Wanted, most: usize) -> Shown<ChangePage> {
        let wanted = wanted.clone();
        let query = async move |client: &Client, schema: &str| {
            change_feed::page(client, schema, &wanted, most).await
        };
        shown(read(&self.source, |source| read_changes(source, query)).await)
    }

    /// A page of how a row was, read each time.
    pub(super) async fn versions(&self, wanted: &Wanted, most: usize) -> Shown<VersionPage> {
        let wanted = wanted.clone();
        let query = async move |client: &Client, schema: &str| {
            change_feed::versions(client, schema, &wanted, most).await
        };
        shown(read(&self.source, |source| read_changes(source, query)).await)
    }

    /// Which pages there are, as far as is known.
    pub(super) async fn listing(&self, patience: Patience) -> Arc<Listing> {
        let of = |earlier| read(&self.source, |source| listing_of(source, earlier));
        let shown = self.listing.get(patience, of).await;
        let Some(shown) = shown else {
            return Arc::new(Listing {
                state: ListingState::Awaited,
                ..Listing::default()
            });
        };
        shown.document.unwrap_or_default()
    }

    /// A page of panels, which [`Self::listing`] has.
    pub(super) async fn panels(&self, name: &str, patience: Patience) -> Option<Shown<Page>> {
        let page = {
            let mut pages = locked(&self.pages);
            Arc::clone(pages.entry(name.to_owned()).or_insert_with(Snapshot::new))
        };
        let (name, source) = (name.to_owned(), Arc::clone(&self.source));
        let of = |earlier| async move {
            let _turn = source.turn.lock().await;
            read(&source, |source| page_of(source, name, earlier)).await
        };
        page.get(patience, of).await
    }
}

/// What was read just now, and is not kept.
fn shown<T>(reading: Reading<T>) -> Shown<T> {
    let at = crate::clock::now();
    let outage = |sentence| Outage {
        since: at,
        sentence,
    };
    Shown {
        document: reading.document.map(Arc::new),
        at,
        is_partial: false,
        is_awaited: false,
        outage: reading.failure.map(outage),
    }
}

/// Reads a document, within a time.
fn read<T, F, R>(source: &Arc<Source>, read: R) -> impl Future<Output = Reading<T>> + use<T, F, R>
where
    R: FnOnce(Arc<Source>) -> F,
    F: Future<Output = Result<Reading<T>, Failure>>,
{
    let sessions = source.sessions.clone();
    let reading = read(Arc::clone(source));
    async move {
        let mut reading = Box::pin(sessions.scope(reading));
        // Files are read in between, perhaps thousands on a slow disk: pages are answered meanwhile.
        let aside =
            poll_fn(|context| tokio::task::block_in_place(|| reading.as_mut().poll(context)));
        let failure = match tokio::time::timeout(TIMEOUT, aside).await {
            Ok(Ok(reading)) => return reading,
            Ok(Err(failure)) => failure.sentence(),
            Err(_) => format!(
                "the database has not answered within {} s; `cursus doctor` says more",
                TIMEOUT.as_secs()
            ),
        };
        Reading {
            document: None,
            failure: Some(printable::without_credentials(&failure).into_owned()),
        }
    }
}

/// A transaction, if it could be begun, and its client as the documents want it.
fn client(lease: &Result<Option<Lease>, Failure>) -> Result<Option<&Client>, Failure> {
    match lease {
        Ok(lease) => Ok(lease.as_ref().map(Lease::client)),
        Err(failure) => Err(Failure::new(failure.exit, failure.sentence())),
    }
}

/// Keeps the connection of a transaction that went well.
async fn end(lease: Result<Option<Lease>, Failure>, is_well: bool) {
    if let (Ok(Some(lease)), true) = (lease, is_well) {
        lease.end().await;
    }
}

async fn overview_of(
    source: Arc<Source>,
    earlier: Option<Arc<Overview>>,
) -> Result<Reading<Overview>, Failure> {
    let settings = (source.resolve)()?;
    let lease = source.ledger.begin(&settings).await;
    let status = status::of(&settings, client(&lease)).await?;
    let failure = status.database_failure.as_ref().map(Failure::sentence);
    end(lease, failure.is_none()).await;
    let check = check::report(&settings, &status, &[], &[])?;
    let commands = settings.staging.commands()?;
    let now = crate::clock::now();
    let known = status.quarantined.zip(status.prune_candidates);
    let known = known.map(|(quarantined, held)| KnownBacklog {
        at: now,
        quarantined,
        held,
    });
    let reads = settings.config.resources.iter();
    let reads = reads.flat_map(Resource::all_reads);
    let document = Overview {
        check,
        hours: by_hour(&commands, now, HOURS),
        commands,
        advertised: settings.hour_left().map(|hour| hour.advertised),
        limits: reads.map(check::usual_limit).collect(),
        backlog: known.or_else(|| earlier?.backlog),
        status,
    };
    Ok(reading(document, failure))
}

async fn runs_of(source: Arc<Source>) -> Result<Reading<KnownRuns>, Failure> {
    let settings = (source.resolve)()?;
    let lease = source.ledger.begin(&settings).await;
    let runs = KnownRuns::of(&settings, client(&lease)).await?;
    let failure = runs.ledger.failure();
    end(lease, failure.is_none()).await;
    Ok(reading(runs, failure))
}

async fn decisions_of(source: Arc<Source>) -> Result<Reading<Decisions>, Failure> {
    let settings = (source.resolve)()?;
    let document = match source.ledger.begin(&settings).await? {
        Some(lease) => {
            let schema = settings.config.database.schema.as_str();
            let decisions = match decisions::of(lease.client(), schema).await {
                Ok(decisions) => decisions,
                Err(failure) => {
                    return Err(status::explain(&settings, lease.client(), failure).await);
                }
            };
            lease.end().await;
            decisions
        }
        None => Decisions::default(),
    };
    Ok(reading(document, None))
}

fn reading<T>(document: T, failure: Option<String>) -> Reading<T> {
    let safe = |sentence: String| printable::without_credentials(&sentence).into_owned();
    Reading {
        document: Some(document),
        failure: failure.map(safe),
    }
}

/// What a query gives of the changes that are kept; nothing without a database.
async fn read_changes<T>(
    source: Arc<Source>,
    query: impl AsyncFnOnce(&Client, &str) -> Result<T, tokio_postgres::Error>,
) -> Result<Reading<T>, Failure> {
    let settings = (source.resolve)()?;
    let Some(lease) = source.changes.begin(&settings).await? else {
        return Ok(Reading {
            document: None,
            failure: None,
        });
    };
    let schema = settings.config.database.schema.as_str();
    let page = query(lease.client(), schema).await;
    let page = page.map_err(DatabaseError::from)?;
    lease.end().await;
    Ok(reading(page, None))
}

/// Without a database, pages of packs and changes are those that were known.
async fn listing_of(
    source: Arc<Source>,
    earlier: Option<Arc<Listing>>,
) -> Result<Reading<Listing>, Failure> {
    let settings = (source.resolve)()?;
    let schema = settings.config.database.schema.as_str();
    let lease = source.ledger.begin(&settings).await;
    let (relations, has_changes) = match (&lease, &earlier) {
        (Err(failure), Some(_)) => {
            return Err(Failure::new(failure.exit, failure.sentence()));
        }
        (Ok(Some(lease)), _) => {
            let relations = panels::relations(lease.client(), schema).await?;
            let has_changes = change_feed::has_some(lease.client(), schema).await;
            (Some(relations), has_changes.map_err(DatabaseError::from)?)
        }
        // Pages of all packs that are on then: each says why it cannot be read.
        (Err(_), None) => (None, false),
        _ => (Some(BTreeSet::new()), false),
    };
    end(lease, true).await;
    let pages = panels::find(&settings.config, relations.as_ref()).pages;
    let pages = pages.iter().map(|page| Listed {
        title: page.title(),
        has_calendar: page.has_calendar(),
        name: page.name.clone(),
    });
    let listing = Listing {
        state: ListingState::Known,
        has_changes,
        has_history: !settings.config.history.is_empty(),
        pages: pages.collect(),
    };
    Ok(reading(listing, None))
}

async fn page_of(
    source: Arc<Source>,
    name: String,
    earlier: Option<Arc<Page>>,
) -> Result<Reading<Page>, Failure> {
    let settings = (source.resolve)()?;
    let mut document = None;
    if let Some(lease) = source.tables.begin(&settings).await? {
        let Found { pages, .. } = found(&settings, &lease).await?;
        if let Some(page) = pages.into_iter().find(|page| page.name == name) {
            document = Some(panels::read(lease.client(), page, earlier.as_deref()).await?);
        }
        lease.end().await;
    }
    Ok(Reading {
        document,
        failure: None,
    })
}

async fn found(settings: &Settings, lease: &Lease) -> Result<Found, Failure> {
    let schema = settings.config.database.schema.as_str();
    let relations = panels::relations(lease.client(), schema).await?;
    Ok(panels::find(&settings.config, Some(&relations)))
}

/// What is wrong with files of pages.
async fn faults_of(source: Arc<Source>) -> Result<Reading<Vec<String>>, Failure> {
    let settings = (source.resolve)()?;
    let Some(lease) = source.tables.begin(&settings).await? else {
        return Ok(reading(Vec::new(), None));
    };
    let Found { pages, mut faults } = found(&settings, &lease).await?;
    for page in &pages {
        faults.extend(panels::faults(lease.client(), page).await?);
    }
    lease.end().await;
    Ok(reading(faults, None))
}
