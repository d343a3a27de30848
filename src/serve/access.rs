//! What a request must be before it is answered: its method, its host, where it comes from, its token.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri};

use super::layout::{CALENDAR, LOGIN, LOGOUT};
use super::respond;
use super::session::{LogIns, random};
use super::token::{self, TokenFile};
use crate::exit::{Exit, Failure};
use crate::hash::Hash;

pub(super) const COOKIE_NAME: &str = "cursus_session";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Judges requests.
pub(super) struct Access {
    /// Beside the address at which the connection arrived.
    hosts: Vec<String>,
    token: Option<TokenFile>,
    pub(super) log_ins: LogIns,
    /// Of this process; tokens are compared by their hashes behind it.
    key: Hash,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Method,
    Host,
    CrossSite,
}

impl Access {
    pub(super) fn new(mut hosts: Vec<String>, token: Option<TokenFile>) -> Result<Self, Failure> {
        hosts.push("localhost".to_owned());
        let key = random().ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "the system has no random numbers to make sessions of",
            )
        })?;
        Ok(Self {
            hosts,
            token,
            log_ins: LogIns::default(),
            key,
        })
    }

    pub(super) fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// What is wrong with a request, with or without a token.
    pub(super) fn judge(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        at: SocketAddr,
    ) -> Result<(), Refusal> {
        let is_form = matches!(uri.path(), LOGIN | LOGOUT) && method == Method::POST;
        if !(is_form || matches!(*method, Method::GET | Method::HEAD)) {
            return Err(Refusal::Method);
        }
        let host = respond::only(headers, HOST).ok_or(Refusal::Host)?;
        // An absolute address counts instead of the header, by the standard.
        let is_it = |named: &Authority| named.as_str().eq_ignore_ascii_case(host);
        let named = uri.authority().is_none_or(is_it);
        if !(named && self.is_ours(host, at.ip())) {
            return Err(Refusal::Host);
        }
        let site = respond::only(headers, SEC_FETCH_SITE);
        if headers.contains_key(SEC_FETCH_SITE) && !matches!(site, Some("same-origin" | "none")) {
            return Err(Refusal::CrossSite);
        }
        if headers.contains_key(ORIGIN) {
            let origin = respond::only(headers, ORIGIN).ok_or(Refusal::CrossSite)?;
            let scheme = ["http://", "https://"].into_iter();
            let mut sources = scheme.filter_map(|scheme| origin.strip_prefix(scheme));
            if !sources.any(|source| source.eq_ignore_ascii_case(host)) {
                return Err(Refusal::CrossSite);
            }
        }
        Ok(())
    }

    /// Whether a `Host` names this server: no other site's name leads here then, whatever a name server says.
    fn is_ours(&self, host: &str, at: IpAddr) -> bool {
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => (
                address,
                port.strip_prefix(':').or(port.is_empty().then_some("0")),
            ),
            None => match host.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, Some("0")),
            },
        };
        let is_port =
            port.is_some_and(|port| !port.starts_with('+') && port.parse::<u16>().is_ok());
        let is_name = |known: &String| known.eq_ignore_ascii_case(name);
        let address = name.parse::<IpAddr>().map(|address| address.to_canonical());
        is_port
            && (address.is_ok_and(|address| address == at.to_canonical())
                || self.hosts.iter().any(is_name))
    }

    /// The hash of the token, if one is needed.
    pub(super) fn token(&self) -> Option<Result<Hash, Failure>> {
        (self.token.as_ref()).map(|file| file.hash(&self.key))
    }

    /// The hash of what is said to be the token.
    pub(super) fn hash(&self, given: &str) -> Hash {
        token::hash(&self.key, given.trim())
    }

    /// Whether the token, or a session made with it, came along.
    pub(super) fn knows(&self, uri: &Uri, headers: &HeaderMap) -> Result<bool, Failure> {
        let Some(token) = self.token().transpose()? else {
            return Ok(true);
        };
        if let Some(given) = respond::only(headers, AUTHORIZATION) {
            let (scheme, given) = given.split_once(' ').unwrap_or_default();
            if !scheme.eq_ignore_ascii_case("basic") {
                let is_bearer = scheme.eq_ignore_ascii_case("bearer");
                return Ok(is_bearer && self.hash(given) == token);
            }
            // A browser that has a password sends it with every request, after a log-out too: it opens no page.
            let password = token::of_basic(given).filter(|_| uri.path() == CALENDAR);
            if password.is_some_and(|password| self.hash(&password) == token) {
                return Ok(true);
            }
        }
        Ok(session(headers).any(|name| self.log_ins.knows(name, &token)))
    }
}

/// The values of our cookie.
pub(super) fn session(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';'));
    pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn judge(host: &str, more: &[(HeaderName, &'static str)]) -> Result<(), Refusal> {
        let access = Access::new(vec!["mirror.example.org".to_owned()], None).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        for (name, value) in more {
            headers.append(name, HeaderValue::from_static(value));
        }
        let at = "127.0.0.1:4280".parse().unwrap();
        access.judge(&Method::GET, &Uri::from_static("/runs"), &headers, at)
    }

    #[test]
    fn only_names_of_this_server_are_answered() {
        for host in [
            "127.0.0.1:4280",
            "127.0.0.1",
            "LOCALHOST:4280",
            "mirror.example.org",
            "[::ffff:127.0.0.1]:4280",
        ] {
            assert_eq!(judge(host, &[]), Ok(()), "{host}");
        }
        for host in [
            "",
            "example.org",
            "127.0.0.1.example.org",
            "127.0.0.2",
            "[::1]:4280",
            "localhost:",
            "localhost:x",
            "localhost:+80",
            "localhost:1:2",
            "[127.0.0.1]x",
            "mirror.example.org.",
        ] {
            assert_eq!(judge(host, &[]), Err(Refusal::Host), "{host}");
        }
    }

    #[test]
    fn requests_of_other_sites_are_refused() {
        let host = "localhost:4280";
        for value in ["same-origin", "none"] {
            assert_eq!(judge(host, &[(SEC_FETCH_SITE, value)]), Ok(()), "{value}");
        }
        for value in ["cross-site", "same-site", "", "SAME-ORIGIN"] {
            assert_eq!(
                judge(host, &[(SEC_FETCH_SITE, value)]),
                Err(Refusal::CrossSite),
                "{value}"
            );
        }
        let twice = [(SEC_FETCH_SITE, "none"), (SEC_FETCH_SITE, "cross-site")];
        assert_eq!(judge(host, &twice), Err(Refusal::CrossSite));
        for value in ["http://localhost:4280", "https://localhost:4280"] {
            assert_eq!(judge(host, &[(ORIGIN, value)]), Ok(()), "{value}");
        }
        for value in [
            "null",
            "http://localhost",
            "http://localhost:4281",
            "http://localhost:4280.example.org",
            "localhost:4280",
        ] {
            assert_eq!(
                judge(host, &[(ORIGIN, value)]),
                Err(Refusal::CrossSite),
                "{value}"
            );
        }
    }
}
