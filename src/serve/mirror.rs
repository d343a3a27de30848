//! A connection to the mirror that is kept: one transaction at a time, each read only and bounded in time. It is opened again when it
//! was lost, or when the configuration names another database.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::database::{Database, DatabaseError, Target, trust};
use crate::exit::{Exit, Failure};
use crate::pipeline::connect;
use crate::settings::Settings;

/// Read only, whatever the role may do. A statement that takes longer, or waits for a lock, gives up: what is known stays on the page.
const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '20s'; \
    SET LOCAL lock_timeout = '2s'; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// After a failure to connect.
const TRIED_AGAIN: Duration = Duration::from_secs(2);

/// The way to the mirror.
pub(super) struct Mirror {
    kept: Arc<Mutex<Kept>>,
    /// Whether statements name the mirror's tables, without its schema.
    shows_tables: bool,
}

#[derive(Default)]
struct Kept {
    open: Option<Open>,
    /// The last failure to connect, and when that was.
    failed: Option<(Instant, Exit, String)>,
}

struct Open {
    /// None: the private one.
    url: Option<String>,
    schema: String,
    /// Begins a transaction.
    begin: String,
    database: Database,
}

/// A transaction; the connection is closed if it does not end well.
pub(super) struct Lease {
    place: OwnedMutexGuard<Kept>,
    open: Open,
}

impl Mirror {
    /// To the load ledger.
    pub(super) fn of_ledger() -> Self {
        Self {
            kept: Arc::default(),
            shows_tables: false,
        }
    }

    /// To the tables, which statements name without their schema.
    pub(super) fn of_tables() -> Self {
        Self {
            shows_tables: true,
            ..Self::of_ledger()
        }
    }

    /// Begins a transaction; none where nothing was ever loaded.
    pub(super) async fn begin(&self, settings: &Settings) -> Result<Option<Lease>, Failure> {
        let mut place = Arc::clone(&self.kept).lock_owned().await;
        if settings.unmade_cluster().is_some() {
            *place = Kept::default();
            return Ok(None);
        }
        let url = match &settings.database {
            Target::Embedded { .. } => None,
            Target::Url(url) => Some(url.expose_secret().to_owned()),
        };
        let schema = settings.config.database.schema.to_string();
        let kept = place.open.take().filter(|open| {
            open.url == url && open.schema == schema && !open.database.client.is_closed()
        });
        if let Some(open) = kept
            && open
                .database
                .client
                .batch_execute(&open.begin)
                .await
                .is_ok()
        {
            return Ok(Some(Lease { place, open }));
        }
        // Who has waited for another's failure gets it, and not one of its own as much later.
        let failed = place.failed.take();
        if let Some((at, exit, sentence)) = failed.filter(|(at, ..)| at.elapsed() < TRIED_AGAIN) {
            place.failed = Some((at, exit, sentence.clone()));
            return Err(Failure::new(exit, sentence));
        }
        match self.open(settings, url, schema).await {
            Ok(open) => Ok(Some(Lease { place, open })),
            Err(failure) => {
                place.failed = Some((Instant::now(), failure.exit, failure.sentence()));
                Err(failure)
            }
        }
    }

    /// Connects, and begins a transaction.
    async fn open(
        &self,
        settings: &Settings,
        url: Option<String>,
        schema: String,
    ) -> Result<Open, Failure> {
        let database = connect::connect_to_ask_once(settings, &schema).await?;
        let mut begin = BEGIN.to_owned();
        if self.shows_tables {
            let path = path(&database, &schema).await?;
            begin = format!("{begin}; SET LOCAL search_path TO {path}");
        }
        let begun = database.client.batch_execute(&begin).await;
        begun.map_err(DatabaseError::from)?;
        Ok(Open {
            url,
            schema,
            begin,
            database,
        })
    }
}

impl Lease {
    pub(super) fn client(&self) -> &Client {
        &self.open.database.client
    }

    /// Ends the transaction, and keeps the connection.
    pub(super) async fn end(mut self) {
        if self.client().batch_execute("ROLLBACK").await.is_ok() {
            self.place.open = Some(self.open);
        }
    }
}

/// The search path for the mirror's tables, if nobody else could have put theirs there.
async fn path(database: &Database, schema: &str) -> Result<String, Failure> {
    let (safe, faults) = trust::safe_path(&database.client, &[schema]).await?;
    if let Some(fault) = faults.into_iter().next() {
        return Err(Failure::new(Exit::Refused, fault));
    }
    database.read_views().await?;
    Ok(trust::path_of(&safe))
}
