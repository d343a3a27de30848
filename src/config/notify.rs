//! Of which ends of commands a URL is notified.

use reqwest::Url;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Start,
    Success,
    /// Every exit code but 0.
    Failure,
}

impl Event {
    pub(crate) const ALL: [Self; 3] = [Self::Start, Self::Success, Self::Failure];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// Checks the URL of a configuration. The error does not repeat it.
pub(crate) fn parse_url(text: &str) -> Result<Url, &'static str> {
    const WANTED: &str = "write a URL such as \"https://hc-ping.com/UUID\"; it is not repeated here, because it may hold a secret";
    let url = Url::parse(text.trim()).map_err(|_| WANTED)?;
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_http && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(WANTED)
    }
}
