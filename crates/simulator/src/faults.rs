//! Rules by which requests fail on demand: which request, how often, in what way. Knows nothing of how a failure is sent.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A rule by which requests fail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What fails: a resource by name (`users`), or everything under a path (`/v2/cursus/21`, `/oauth/token`, `/`).
    pub target: String,
    /// Only this page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// From the nth request that matches, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
    /// How many times; always if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// With this probability, drawn from the seed; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// How it fails.
    pub kind: FaultKind,
}

impl Fault {
    /// Every request of a target fails, until the rule is narrowed.
    pub fn new(target: impl Into<String>, kind: FaultKind) -> Self {
        Self {
            target: target.into(),
            page: None,
            nth: None,
            times: None,
            probability: None,
            kind,
        }
    }

    /// Only this page of a list.
    #[must_use]
    pub fn page(self, page: u32) -> Self {
        Self {
            page: Some(page),
            ..self
        }
    }

    /// From the nth matching request on, counted from 1.
    #[must_use]
    pub fn nth(self, nth: u32) -> Self {
        Self {
            nth: Some(nth),
            ..self
        }
    }

    /// How many times.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }
}

/// A way to fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// 429 as for the per-second limit.
    TooManyRequests {
        /// Seconds in `Retry-After`; no header if absent.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 429 as for the hourly limit.
    HourlyLimit {
        /// Seconds in `Retry-After`; no header if absent.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// A gateway's HTML page.
    Status {
        /// 500, 502, 503, 504 or any other.
        status: u16,
    },
    /// 200 with an HTML page.
    Html,
    /// 200 with a JSON object in place of the array.
    Object,
    /// 200 with nothing.
    Empty,
    /// 200 with JSON that breaks off, of the length that is announced.
    BrokenJson,
    /// 200 with the right length announced and fewer bytes sent, then the end.
    FewerBytes,
    /// The connection is reset before the answer.
    ResetBefore,
    /// The connection is reset inside the body.
    ResetInside,
    /// A pause before the answer.
    Stall {
        /// How long, in seconds.
        seconds: f64,
    },
    /// The body is compressed without being requested.
    Gzip,
    /// The body comes in small chunks, without a length.
    SlowChunks {
        /// How long the body takes, in seconds.
        seconds: f64,
    },
    /// No `X-Total`.
    NoTotal,
    /// `X-Total` is off.
    WrongTotal {
        /// The offset.
        by: i64,
    },
    /// The `Date` of the answer is off: the clock of one of many servers.
    WrongDate {
        /// In seconds.
        by: i64,
    },
    /// The page lacks its last rows.
    ShortPage {
        /// How many.
        by: usize,
    },
    /// Some parameters are ignored, as if they had not been sent: the answer is right but for that.
    Ignore {
        /// Such as `filter[end]`, `range[updated_at]`, `sort`.
        parameters: Vec<String>,
    },
    /// 404.
    NotFound,
    /// Cloudflare's 403 page.
    Cloudflare,
    /// 403 for lack of a role, in JSON.
    Forbidden,
    /// The token is revoked before the request is looked at.
    RevokedToken,
    /// 401 to a token that is good.
    RefusedToken,
    /// `invalid_client`, on the token endpoint.
    InvalidClient,
}

/// The rules in force.
#[derive(Debug)]
pub(crate) struct Faults(Mutex<Rules>);

#[derive(Debug)]
struct Rules {
    rules: Vec<Rule>,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    matched: u32,
    fired: u32,
}

impl Faults {
    pub(crate) fn new(faults: Vec<Fault>, seed: u64) -> Self {
        let rules = faults.into_iter().map(Rule::new).collect();
        Self(Mutex::new(Rules {
            rules,
            random: fastrand::Rng::with_seed(seed ^ 0xFA17),
        }))
    }

    pub(crate) fn add(&self, fault: Fault) {
        self.rules().rules.push(Rule::new(fault));
    }

    pub(crate) fn clear(&self) {
        self.rules().rules.clear();
    }

    pub(crate) fn all(&self) -> Vec<Fault> {
        let rules = self.rules();
        rules.rules.iter().map(|rule| rule.fault.clone()).collect()
    }

    /// How this request fails: by the first rule that fires. Rules after it do not count the request.
    pub(crate) fn fire(&self, path: &str, resource: Option<&str>, page: u32) -> Option<FaultKind> {
        let mut rules = self.rules();
        let Rules { rules, random } = &mut *rules;
        rules
            .iter_mut()
            .filter(|rule| rule.matches(path, resource, page))
            .find_map(|rule| rule.fires(random).then(|| rule.fault.kind.clone()))
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            matched: 0,
            fired: 0,
        }
    }

    fn matches(&self, path: &str, resource: Option<&str>, page: u32) -> bool {
        let target = self.fault.target.as_str();
        let aimed = if target.starts_with('/') {
            path.starts_with(target)
        } else {
            resource == Some(target)
        };
        aimed && self.fault.page.is_none_or(|wanted| wanted == page)
    }

    fn fires(&mut self, random: &mut fastrand::Rng) -> bool {
        self.matched = self.matched.saturating_add(1);
        let fault = &self.fault;
        let fires = self.matched >= fault.nth.unwrap_or(1)
            && fault.times.is_none_or(|times| self.fired < times)
            && fault.probability.is_none_or(|chance| random.f64() < chance);
        self.fired += u32::from(fires);
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_fires_from_the_nth_match_for_its_number_of_times() {
        let rule = Fault::new("users", FaultKind::Html).page(2).nth(2).times(1);
        let faults = Faults::new(vec![rule], 1);
        let fire = |page| faults.fire("/v2/users", Some("users"), page).is_some();
        assert_eq!(
            [fire(2), fire(1), fire(2), fire(2)],
            [false, false, true, false]
        );
        assert!(faults.fire("/v2/users", Some("campus"), 2).is_none());
    }

    #[test]
    fn a_rule_is_read_from_json_and_a_misspelt_one_is_refused() {
        let text = r#"{"target":"/v2","kind":{"stall":{"seconds":1.5}}}"#;
        let rule: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(rule.kind, FaultKind::Stall { seconds: 1.5 });
        let plain: Fault = serde_json::from_str(r#"{"target":"users","kind":"html"}"#).unwrap();
        assert_eq!(plain.kind, FaultKind::Html);
        assert!(serde_json::from_str::<Fault>(r#"{"target":"users","kind":"htm"}"#).is_err());
    }
}
