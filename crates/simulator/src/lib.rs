//! A local, faithful copy of the 42 API for demos, tests and people without a key. Knows nothing of how it is mirrored.
//!
//! Two clocks: what a client must respect (rate windows, token life, latency) runs on the real one; what rows and the
//! `Date` header tell runs on a simulated one, which is the real one plus the jumps of [`Simulator::advance`].

mod answer;
mod clock;
mod control;
mod faults;
mod fields;
mod limits;
mod oauth;
mod options;
mod pages;
mod query;
mod routes;
mod send;
mod server;
mod wire;
mod world;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::faults::{Fault, FaultKind};
pub use self::limits::{Limits, Window};
pub use self::options::{
    Churn, OddDates, OpenRange, Options, Overlong, Scale, Undated, Unknowns, Unlisted,
};
pub use self::server::Statistics;

use self::fields::Resource;
use self::server::Server;
use self::wire::Loopback;

/// Why a simulator could not start.
#[derive(Debug, Error)]
pub enum SimulateError {
    /// The address is open to other machines.
    #[error("the simulator listens on loopback only, not on {address}: use 127.0.0.1 or [::1]")]
    NotLoopback {
        /// The address asked for.
        address: std::net::SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("the simulator cannot listen on {address}: choose another port, or port 0 for any")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// An option names something that the API does not have.
    #[error(
        "{name} is no resource of the simulator: use one of {}",
        resource_names()
    )]
    UnknownResource {
        /// The name given.
        name: String,
    },
    /// A file of rows cannot be read.
    #[error("the rows in {} cannot be read", path.display())]
    ReadRows {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file of rows holds something else.
    #[error(
        "{} must hold one JSON array of rows, and does not at line {line}, column {column}",
        path.display()
    )]
    NotAnArray {
        /// The file.
        path: PathBuf,
        /// Where the JSON breaks off.
        line: usize,
        /// And in which column.
        column: usize,
    },
    /// A row has not the shape that the API documents.
    #[error("row {index} of {} has not the shape of its resource: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The place of the row, from 0.
        index: usize,
        /// What is wrong with it, without what it holds.
        problem: String,
    },
    /// Odd dates are wanted in a field that holds something else.
    #[error("{field} is no date: use a field of {resource} that ends in `_at`, such as updated_at")]
    NotADate {
        /// The resource.
        resource: String,
        /// The field.
        field: String,
    },
    /// The system gave no random bytes for the client's secret.
    #[error("the system gave no random bytes for a client secret: try again")]
    Random,
    /// The runtime went away meanwhile.
    #[error("the simulator was stopped while it started")]
    Stopped,
}

fn resource_names() -> String {
    Resource::ALL.map(Resource::name).join(", ")
}

/// A running simulator. Dropping it stops it; [`Simulator::stop`] also waits for that.
pub struct Simulator {
    server: Arc<Server>,
    stopping: CancellationToken,
    serving: JoinHandle<()>,
}

impl Simulator {
    /// Builds the world and listens.
    ///
    /// # Errors
    /// See [`SimulateError`]: the address, or the given rows.
    pub async fn start(options: Options) -> Result<Self, SimulateError> {
        let address = options.address;
        if !address.ip().is_loopback() {
            return Err(SimulateError::NotLoopback { address });
        }
        let listen = |source| SimulateError::Listen { address, source };
        let listener = Loopback::bind(address).await.map_err(listen)?;
        let bound = listener.address().map_err(listen)?;
        let stopping = CancellationToken::new();
        let built = {
            let stopping = stopping.clone();
            tokio::task::spawn_blocking(move || Server::build(options, bound, stopping)).await
        };
        let server = match built {
            Ok(server) => Arc::new(server?),
            Err(lost) => match lost.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return Err(SimulateError::Stopped),
            },
        };
        let serving = tokio::spawn(server::serve(
            Arc::clone(&server),
            listener,
            stopping.clone(),
        ));
        Ok(Self {
            server,
            stopping,
            serving,
        })
    }

    /// The base URL, such as `http://127.0.0.1:4242`.
    pub fn url(&self) -> String {
        self.server.url().to_owned()
    }

    /// The id of the only application that the simulator knows.
    pub fn client_id(&self) -> &str {
        self.server.oauth.client_id()
    }

    /// The secret of that application, another one at each start.
    pub fn client_secret(&self) -> &str {
        self.server.oauth.client_secret()
    }

    /// Advances simulated time at once; the world changes meanwhile.
    pub fn advance(&self, by: Duration) {
        self.server.advance(by);
    }

    /// The rows of a resource as the API would show them now, unfiltered, by ascending id; empty for an unknown name.
    pub fn rows(&self, resource: &str) -> Vec<Value> {
        Resource::named(resource).map_or_else(Vec::new, |resource| self.server.rows(resource))
    }

    /// The same as text: a JSON array.
    pub fn rows_json(&self, resource: &str) -> String {
        Value::from(self.rows(resource)).to_string()
    }

    /// Sets a field of a row and moves no date: lists show the value, and filter, range and sort by it, whatever happens to the
    /// row later. Any JSON does, also where the API documents another type; a pointer such as `/user/login` reaches inside.
    /// `false` where there is no such row.
    pub fn set_field(&self, resource: &str, id: i64, field: &str, value: Value) -> bool {
        self.server.set_field(resource, id, field, Some(value))
    }

    /// Takes a field away from a row, as [`Simulator::set_field`] sets one.
    pub fn remove_field(&self, resource: &str, id: i64, field: &str) -> bool {
        self.server.set_field(resource, id, field, None)
    }

    /// From now on, pages of a resource with more rows than this time out with 504; `None` ends that. `false` for an unknown name.
    pub fn slow_page(&self, resource: &str, rows: Option<u32>) -> bool {
        self.server.slow_page(resource, rows)
    }

    /// Deletes a row of `projects_users` and makes another of the same person and project: returns its higher id, `None` where there
    /// was no such row.
    pub fn replace_enrolment(&self, id: i64) -> Option<i64> {
        self.server.replace_enrolment(id)
    }

    /// Gives up the current team of a row of `projects_users` and moves no date. `false` where it has none, or has a mark.
    pub fn give_up_team(&self, id: i64) -> bool {
        self.server.give_up_team(id)
    }

    /// Anonymises a person and moves no date: without a staff role, `/v2/users` and every other list of people lack them, by id
    /// too; the rows that nest them show what is left of them. `false` where there is no such person.
    pub fn anonymise(&self, user: i64) -> bool {
        self.server.anonymise(user)
    }

    /// From now on, requests that match the rule fail as it describes.
    pub fn inject(&self, fault: Fault) {
        self.server.faults.add(fault);
    }

    /// Takes all fault rules away.
    pub fn clear_faults(&self) {
        self.server.faults.clear();
    }

    /// From now on nothing fails by a rule, and nothing changes while lists are read.
    pub fn calm(&self) {
        self.server.calm();
    }

    /// Makes every token that was handed out so far a revoked one.
    pub fn revoke_tokens(&self) {
        self.server.oauth.revoke_all();
    }

    /// What was asked so far.
    pub fn statistics(&self) -> Statistics {
        self.server.statistics()
    }

    /// Stops listening, abandons what is in flight, and returns when all connections are closed.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        let grace = Duration::from_secs(2);
        if tokio::time::timeout(grace, &mut self.serving)
            .await
            .is_err()
        {
            self.serving.abort();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("url", &self.server.url())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
