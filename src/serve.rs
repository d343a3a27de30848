//! `cursus serve`: read-only pages, JSON and metrics over HTTP, made of staging and database. It sends the API no request and changes
//! nothing. What a request must be is in `access`, what is shown in `pages` and `api`, how often it is read in `snapshot`.

mod access;
pub(crate) mod address;
mod api;
pub(crate) mod change_query;
pub(crate) mod charts;
mod connection;
mod documents;
mod ics;
mod layout;
mod login;
mod mirror;
pub(crate) mod pages;
pub(crate) mod panels;
mod respond;
mod routes;
mod session;
mod site;
mod snapshot;
mod token;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::database::Sessions;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

use access::Access;
use documents::Documents;
use site::Site;
use token::TokenFile;

/// Connections that are served at once; others wait in the queue of the system.
const MOST_CONNECTIONS: usize = 128;
/// After a failure to accept: the process has no file left, most often.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How it is reached.
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    /// Names beside the address and `localhost`.
    pub(crate) hosts: Vec<String>,
    /// None: no token is needed.
    pub(crate) token_file: Option<PathBuf>,
}

/// A bound listener.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    site: Arc<Site>,
}

impl Server {
    /// Listens. `resolve` gives the settings as they are now: documents are made with those of their time.
    ///
    /// # Errors
    ///
    /// The address is taken, or not of loopback and without a token; the token file is not to be trusted.
    pub(crate) async fn bind(
        options: Options,
        sessions: Sessions,
        resolve: impl Fn() -> Result<Settings, Failure> + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let listen = options.listen;
        if !listen.ip().is_loopback() && options.token_file.is_none() {
            return Err(Failure::usage(format!(
                "{listen} can be reached from other machines, and nothing keeps their users out: name a file with a token \
                 (`--token-file FILE`), or listen on 127.0.0.1"
            )));
        }
        let token = options.token_file.map(TokenFile::open).transpose()?;
        let listener = TcpListener::bind(listen).await;
        let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| refused(listen, &error))?;
        let site = Arc::new(Site {
            access: Access::new(options.hosts, token)?,
            documents: Documents::new(sessions, resolve),
        });
        Ok(Self {
            listener,
            address,
            site,
        })
    }

    /// Where it is reached from this machine.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn needs_token(&self) -> bool {
        self.site.access.needs_token()
    }

    /// Answers until it is dropped.
    pub(crate) async fn serve(&self) -> Infallible {
        self.site.documents.prepare();
        self.site.documents.warn_of_pages();
        let routes = routes::of(Arc::clone(&self.site));
        let free = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&free).acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let routes = routes.clone();
                    tokio::spawn(async move {
                        connection::serve(stream, routes).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("a connection was not accepted: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.site.documents.stop();
    }
}

fn refused(listen: SocketAddr, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has it, maybe another `cursus serve`; end that one, or name another port with `--listen`"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; `--listen` names another one"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for root; name another one with `--listen`"
        }
        _ => "name another address with `--listen`",
    };
    Failure::new(
        Exit::Failed,
        format!("cannot listen on {listen}: {error}; {advice}"),
    )
}
