//! What is asked of the API, and of which server. It knows URLs, nothing of tokens or of sending.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

/// The server of the API: `https`, or `http` on this machine only; scheme, host and port, nothing more.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why a URL cannot be the server of the API. It never repeats the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BaseUrlError {
    #[error("the API's address is not a URL; write it like https://api.intra.42.fr")]
    Invalid,
    #[error(
        "the API's address must begin with https:// (http:// only for localhost): \
         the token would travel readable for everyone"
    )]
    Insecure,
    #[error(
        "the API's address must not hold a user or a password; give the client id and secret by themselves"
    )]
    Credentials,
    #[error(
        "the API's address must end after the host, without a path or query, like https://api.intra.42.fr"
    )]
    MoreThanHost,
}

/// Whether a host is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl BaseUrl {
    /// Reads an address such as `https://api.intra.42.fr`.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let url = Url::parse(text.trim()).map_err(|_| BaseUrlError::Invalid)?;
        if !url.has_host() {
            return Err(BaseUrlError::Invalid);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BaseUrlError::Credentials);
        }
        let base = Self(url);
        match base.0.scheme() {
            "https" => {}
            "http" if base.is_loopback() => {}
            _ => return Err(BaseUrlError::Insecure),
        }
        if base.0.path() != "/" || base.0.query().is_some() || base.0.fragment().is_some() {
            return Err(BaseUrlError::MoreThanHost);
        }
        Ok(base)
    }

    /// The host, for messages.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// `host:port`, and the proxy by which the environment has requests travel; never a user or a password. For errors.
    pub fn address(&self) -> String {
        let of = |host: &str, port: Option<u16>| match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let server = of(self.host(), self.0.port_or_known_default());
        match self.proxy() {
            Some(proxy) => format!("{server} (through the proxy {proxy})"),
            None => server,
        }
    }

    /// Host and port of the proxy that the HTTP client takes, by the same rules.
    fn proxy(&self) -> Option<String> {
        if self.is_loopback() {
            return None;
        }
        let server = self.0.as_str().parse().ok()?;
        let proxy = Matcher::from_system().intercept(&server)?;
        let host = proxy.uri().host()?;
        let usual = match proxy.uri().scheme_str() {
            Some("https") => 443,
            Some("http") | None => 80,
            Some(_) => 1080,
        };
        Some(format!(
            "{host}:{}",
            proxy.uri().port_u16().unwrap_or(usual)
        ))
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Whether the server is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }

    pub(crate) fn token_url(&self) -> Url {
        let mut url = self.0.clone();
        url.set_path("/oauth/token");
        url
    }

    pub(crate) fn token_info_url(&self) -> Url {
        let mut url = self.0.clone();
        url.set_path("/oauth/token/info");
        url
    }

    pub(crate) fn join(&self, request: &Request) -> Url {
        let mut url = self.0.clone();
        request.write_to(&mut url);
        url
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::str::FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// One page to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// As in `/v2/users`, not encoded.
    pub path: String,
    /// Names and values, not encoded, in this order.
    pub query: Vec<(String, String)>,
    /// How long the whole answer may take, if not as long as usual.
    pub timeout: Option<Duration>,
    /// Whether a smaller page can be asked for instead, if the server takes too long.
    pub can_be_smaller: bool,
}

impl Request {
    /// `path?query`, percent-encoded: what goes to the server, for journals and messages. Never holds the token.
    pub fn target(&self) -> String {
        let Ok(mut url) = Url::parse("http://localhost") else {
            return self.path.clone();
        };
        self.write_to(&mut url);
        match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        }
    }

    fn write_to(&self, url: &mut Url) {
        url.set_path(&self.path);
        if self.query.is_empty() {
            url.set_query(None);
        } else {
            url.query_pairs_mut().clear().extend_pairs(&self.query);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_machine_and_nothing_but_the_host() {
        for good in [
            "https://api.intra.42.fr",
            "https://api.intra.42.fr/",
            "http://127.0.0.1:4242",
            "http://localhost:1",
            "http://[::1]:8080",
        ] {
            assert!(BaseUrl::parse(good).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("api.intra.42.fr", BaseUrlError::Invalid),
            ("", BaseUrlError::Invalid),
            ("http://api.intra.42.fr", BaseUrlError::Insecure),
            ("http://127.0.0.1.example.com", BaseUrlError::Insecure),
            ("ftp://localhost", BaseUrlError::Insecure),
            (
                "https://me:secret@api.intra.42.fr",
                BaseUrlError::Credentials,
            ),
            ("https://api.intra.42.fr/v2", BaseUrlError::MoreThanHost),
            ("https://api.intra.42.fr/?a=b", BaseUrlError::MoreThanHost),
        ] {
            assert_eq!(BaseUrl::parse(bad), Err(error), "{bad}");
            assert!(!error.to_string().contains("secret@"));
        }
    }

    #[test]
    fn a_target_is_encoded_and_stays_on_its_server() {
        let request = Request {
            path: "/v2/cursus/21/users".to_owned(),
            query: vec![
                ("filter[alumni?]".to_owned(), "false".to_owned()),
                ("range[updated_at]".to_owned(), "a,b&c".to_owned()),
            ],
            timeout: None,
            can_be_smaller: false,
        };
        assert_eq!(
            request.target(),
            "/v2/cursus/21/users?filter%5Balumni%3F%5D=false&range%5Bupdated_at%5D=a%2Cb%26c"
        );
        let base = BaseUrl::parse("https://api.intra.42.fr").unwrap();
        for path in [
            "//evil.example/v2",
            "https://evil.example",
            "/v2/a?b#c",
            "@evil.example/",
        ] {
            let hostile = Request {
                path: path.to_owned(),
                ..Request::default()
            };
            let url = base.join(&hostile);
            assert_eq!(url.host_str(), Some("api.intra.42.fr"), "{path}");
            assert_eq!(url.query(), None, "{path}");
        }
    }
}
