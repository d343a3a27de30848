//! The OAuth part: one application, its tokens, and what is wrong with a request that has none. Tokens age in real time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use serde::Serialize;
use serde_json::Value;

use super::SimulateError;
use super::world::Stamp;

const SCOPES: [&str; 6] = ["public", "projects", "profile", "forum", "elearning", "tig"];

const NO_CLIENT: &str = "Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method.";

/// With or without padding, as servers read it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Longest token request that is read.
const LONGEST: usize = 64 * 1024;

pub(crate) struct Oauth {
    client_id: String,
    client_secret: String,
    life: Duration,
    secret_valid_until: Stamp,
    tokens: Mutex<HashMap<String, Token>>,
}

#[derive(Clone)]
struct Token {
    issued: Instant,
    created_at: Stamp,
    scope: String,
    revoked: bool,
}

/// How tokens are handed out.
#[derive(Clone, Copy)]
pub(crate) struct TokenPolicy {
    pub(crate) reuse: bool,
    pub(crate) revoke: bool,
}

/// The answer to a good token request.
#[derive(Serialize)]
pub(crate) struct Granted {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
    created_at: i64,
    secret_valid_until: i64,
}

/// The answer to a bad token request.
#[derive(Serialize)]
pub(crate) struct Refused {
    #[serde(skip)]
    pub(crate) status: StatusCode,
    error: &'static str,
    error_description: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Info {
    resource_owner_id: Option<i64>,
    scopes: Vec<String>,
    expires_in_seconds: u64,
    application: Application,
    created_at: i64,
}

#[derive(Serialize)]
struct Application {
    uid: String,
}

impl Oauth {
    pub(crate) fn new(life: Duration, secret_valid_until: Stamp) -> Result<Self, SimulateError> {
        Ok(Self {
            client_id: format!("u-s4t2sim-{}", random_hex()?),
            client_secret: format!("s-s4t2sim-{}", random_hex()?),
            life,
            secret_valid_until,
            tokens: Mutex::new(HashMap::new()),
        })
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn client_secret(&self) -> &str {
        &self.client_secret
    }

    /// A token for a caller with the secret.
    pub(crate) fn grant(
        &self,
        parameters: &[(String, String)],
        now: Stamp,
        policy: TokenPolicy,
    ) -> Result<Granted, Refused> {
        let value = |key: &str| {
            let found = parameters.iter().rfind(|(name, _)| name == key);
            found.map(|(_, value)| value.as_str())
        };
        let known = value("client_id") == Some(&self.client_id)
            && value("client_secret") == Some(&self.client_secret);
        if !known || now >= self.secret_valid_until {
            return Err(Refused::invalid_client());
        }
        match value("grant_type") {
            Some("client_credentials") => {}
            Some("authorization_code" | "refresh_token") => {
                return Err(Refused {
                    status: StatusCode::BAD_REQUEST,
                    error: "invalid_grant",
                    error_description: "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.",
                });
            }
            Some(_) => {
                return Err(Refused {
                    status: StatusCode::BAD_REQUEST,
                    error: "unsupported_grant_type",
                    error_description: "The authorization grant type is not supported by the authorization server.",
                });
            }
            None => {
                return Err(Refused {
                    status: StatusCode::BAD_REQUEST,
                    error: "invalid_request",
                    error_description: "Missing required parameter: grant_type.",
                });
            }
        }
        let scope = value("scope").filter(|scope| !scope.trim().is_empty());
        let scope = scope.unwrap_or("public");
        if !scope.split_whitespace().all(|one| SCOPES.contains(&one)) {
            return Err(Refused {
                status: StatusCode::BAD_REQUEST,
                error: "invalid_scope",
                error_description: "The requested scope is invalid, unknown, or malformed.",
            });
        }
        let (access_token, token) = self.token(scope, now, policy)?;
        Ok(Granted {
            access_token,
            token_type: "bearer",
            expires_in: self.left(&token).as_secs(),
            scope: token.scope,
            created_at: token.created_at.seconds(),
            secret_valid_until: self.secret_valid_until.seconds(),
        })
    }

    fn token(
        &self,
        scope: &str,
        now: Stamp,
        policy: TokenPolicy,
    ) -> Result<(String, Token), Refused> {
        let mut tokens = self.tokens();
        if policy.reuse {
            let mut living = tokens.iter().filter(|(_, token)| {
                !token.revoked && token.scope == scope && !self.left(token).is_zero()
            });
            if let Some((text, token)) = living.next() {
                return Ok((text.clone(), token.clone()));
            }
        }
        if policy.revoke {
            tokens.values_mut().for_each(|token| token.revoked = true);
        }
        let text = random_hex().map_err(|_| Refused::invalid_client())?;
        let token = Token {
            issued: Instant::now(),
            created_at: now,
            scope: scope.to_owned(),
            revoked: false,
        };
        tokens.insert(text.clone(), token.clone());
        Ok((text, token))
    }

    /// Checks the token of a request; errs with the `error_description` of the 401.
    pub(crate) fn check(&self, token: Option<&str>) -> Result<(), &'static str> {
        let tokens = self.tokens();
        match token.and_then(|token| tokens.get(token)) {
            None => Err("The access token is invalid"),
            Some(token) if token.revoked => Err("The access token was revoked"),
            Some(token) if self.left(token).is_zero() => Err("The access token expired"),
            Some(_) => Ok(()),
        }
    }

    /// The answer of `/oauth/token/info` for a valid token.
    pub(crate) fn info(&self, token: Option<&str>) -> Option<Info> {
        let tokens = self.tokens();
        let token = tokens.get(token?)?;
        Some(Info {
            resource_owner_id: None,
            scopes: token.scope.split_whitespace().map(str::to_owned).collect(),
            expires_in_seconds: self.left(token).as_secs(),
            application: Application {
                uid: self.client_id.clone(),
            },
            created_at: token.created_at.seconds(),
        })
    }

    pub(crate) fn revoke_all(&self) {
        let mut tokens = self.tokens();
        tokens.values_mut().for_each(|token| token.revoked = true);
    }

    fn left(&self, token: &Token) -> Duration {
        self.life.saturating_sub(token.issued.elapsed())
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Oauth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oauth").finish_non_exhaustive()
    }
}

impl Refused {
    pub(crate) fn invalid_client() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            error: "invalid_client",
            error_description: NO_CLIENT,
        }
    }
}

/// 32 random bytes in hexadecimal.
fn random_hex() -> Result<String, SimulateError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| SimulateError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The token of a request: in the header, or in the query.
pub(crate) fn bearer<'a>(headers: &'a HeaderMap, pairs: &'a [(String, String)]) -> Option<&'a str> {
    let header = headers.get(header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let in_query = || {
        let found = pairs.iter().find(|(key, _)| key == "access_token");
        found.map(|(_, token)| token.as_str())
    };
    token.or_else(in_query)
}

/// Decodes a query string or a form; what cannot be decoded is no parameter.
pub(crate) fn decode(text: &str) -> Vec<(String, String)> {
    let uri = Uri::builder().path_and_query(format!("/?{text}")).build();
    let pairs = uri.ok().and_then(|uri| Query::try_from_uri(&uri).ok());
    pairs.map_or_else(Vec::new, |Query(pairs)| pairs)
}

/// The parameters of a token request, in whatever way they came: query, form, JSON, multipart, HTTP Basic.
pub(crate) async fn parameters(request: Request) -> Vec<(String, String)> {
    let (parts, body) = request.into_parts();
    let mut pairs = decode(parts.uri.query().unwrap_or_default());
    let kind = text_of(&parts.headers, header::CONTENT_TYPE);
    pairs.extend(body_parameters(kind, &read(body).await));
    let basic = text_of(&parts.headers, header::AUTHORIZATION);
    if let Some(("Basic", code)) = basic.split_once(' ')
        && let Ok(decoded) = BASE64.decode(code.trim())
        && let Ok(text) = String::from_utf8(decoded)
        && let Some((id, secret)) = text.split_once(':')
    {
        pairs.push(("client_id".to_owned(), id.to_owned()));
        pairs.push(("client_secret".to_owned(), secret.to_owned()));
    }
    pairs
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> &str {
    let value = headers.get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

async fn read(body: Body) -> Bytes {
    axum::body::to_bytes(body, LONGEST)
        .await
        .unwrap_or_default()
}

fn body_parameters(kind: &str, body: &[u8]) -> Vec<(String, String)> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    if kind.starts_with("application/json") {
        let object = serde_json::from_str::<serde_json::Map<String, Value>>(text);
        let entries = object.unwrap_or_default().into_iter();
        let texts = entries.filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
        return texts.collect();
    }
    if let Some((_, boundary)) = kind.split_once("boundary=") {
        let boundary = format!("--{}", boundary.trim_matches('"'));
        let parts = text.split(&boundary).filter_map(|part| {
            let (head, value) = part.split_once("\r\n\r\n")?;
            let (_, name) = head.split_once("name=\"")?;
            let (name, _) = name.split_once('"')?;
            let value = value.strip_suffix("\r\n").unwrap_or(value);
            Some((name.to_owned(), value.to_owned()))
        });
        return parts.collect();
    }
    decode(text.trim())
}
