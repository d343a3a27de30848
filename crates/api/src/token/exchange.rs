//! The `OAuth2` exchange of client credentials for a token. In the answer only the token itself must be there: what else is odd
//! counts as absent.

use std::collections::BTreeMap;
use std::time::Duration;

use cursus_base::clock;
use jiff::{SignedDuration, Timestamp};
use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
    BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet,
    RefreshToken, RequestTokenError, Scope, StandardRevocableToken, TokenResponse, TokenUrl,
};
use reqwest::header::HeaderValue;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::request::BaseUrl;
use crate::retry::Problem;

/// A token is renewed this long before its end, or after half of a shorter life.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// What may be known and shown of a token; never the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMetadata {
    /// When the server made it.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When the client secret itself ends, if the server says so.
    pub secret_valid_until: Option<Timestamp>,
    /// What it may be used for.
    pub scopes: Vec<String>,
}

/// A token and what is known of it. The secret type keeps it out of `Debug`.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(super) access: SecretString,
    /// Our time when it was asked for: lives are counted from here, whatever the server's clock says.
    pub(super) asked: Timestamp,
    pub(super) metadata: TokenMetadata,
}

impl Token {
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let life = self.metadata.expires.duration_since(self.asked);
        let margin = MARGIN.min(life / 2);
        // A token from the future was written before the clock was set back: of unknown age.
        self.asked <= now && self.metadata.expires.duration_since(now) > margin
    }
}

/// The life of a token whose answer names none, or one that is over. If it is shorter, a 401 follows.
const USUAL_LIFE: Duration = Duration::from_hours(2);

/// No token is believed to live longer, and none to live shorter.
const LONGEST_LIFE: Duration = Duration::from_hours(365 * 24);
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

pub(super) type OAuthClient = oauth2::Client<
    BasicErrorResponse,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

pub(super) fn oauth_client(base_url: &BaseUrl, id: &str, secret: &str) -> OAuthClient {
    oauth2::Client::new(ClientId::new(id.to_owned()))
        .set_client_secret(ClientSecret::new(secret.to_owned()))
        .set_token_uri(TokenUrl::from_url(base_url.token_url()))
        .set_auth_type(AuthType::RequestBody)
}

/// Asks the server for a token; `sender` carries the request and judges the status.
pub(super) async fn exchange<'c>(
    oauth: &'c OAuthClient,
    sender: &'c impl AsyncHttpClient<'c, Error = Problem>,
) -> Result<Token, Problem> {
    let asked = clock::now();
    let answer = oauth
        .exchange_client_credentials()
        .request_async(sender)
        .await
        .map_err(|error| match error {
            RequestTokenError::Request(problem) => problem,
            RequestTokenError::ServerResponse(refusal) => match refusal.error() {
                BasicErrorResponseType::InvalidClient => Problem::InvalidClient,
                _ => Problem::Refused(400),
            },
            // What the parser complains about could hold pieces of the token.
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Problem::NoToken,
        })?;
    let life = answer.expires_in.unwrap_or(USUAL_LIFE);
    let expires = asked.checked_add(life).map_err(|_| Problem::NoToken)?;
    let scopes = answer.scopes.iter().map(|scope| scope.to_string());
    Ok(Token {
        metadata: TokenMetadata {
            created: answer.created.unwrap_or(asked),
            expires,
            secret_valid_until: answer.secret_valid_until,
            scopes: scopes.collect(),
        },
        access: SecretString::from(answer.access_token.into_secret()),
        asked,
    })
}

/// What the server grants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Box<RawValue>>")]
pub(super) struct TokenAnswer {
    access_token: AccessToken,
    token_type: BasicTokenType,
    expires_in: Option<Duration>,
    scopes: Vec<Scope>,
    pub(super) created: Option<Timestamp>,
    pub(super) secret_valid_until: Option<Timestamp>,
}

impl TryFrom<BTreeMap<String, Box<RawValue>>> for TokenAnswer {
    type Error = &'static str;

    fn try_from(fields: BTreeMap<String, Box<RawValue>>) -> Result<Self, Self::Error> {
        let field = |name| fields.get(name).map_or("null", |value| value.get());
        let access_token: String =
            serde_json::from_str(field("access_token")).map_err(|_| "no access_token")?;
        // What no header can carry is no token.
        if access_token.trim().is_empty() || HeaderValue::from_str(&access_token).is_err() {
            return Err("no access_token");
        }
        let life = seconds(field("expires_in")).filter(|life| *life >= SHORTEST_LIFE.as_secs_f64());
        let longest = LONGEST_LIFE.as_secs_f64();
        Ok(Self {
            access_token: AccessToken::new(access_token),
            token_type: BasicTokenType::Bearer,
            expires_in: life.map(|life| Duration::from_secs_f64(life.min(longest))),
            scopes: scopes(field("scope")),
            created: moment(field("created_at")),
            secret_valid_until: moment(field("secret_valid_until")),
        })
    }
}

/// A JSON number, or a text that is one.
fn seconds(json: &str) -> Option<f64> {
    let text = serde_json::from_str(json).unwrap_or_else(|_| json.to_owned());
    let number: f64 = text.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

/// Seconds since 1970, or a date as text.
fn moment(json: &str) -> Option<Timestamp> {
    let moment: Timestamp = match seconds(json) {
        Some(seconds) => {
            let since = SignedDuration::try_from_secs_f64(seconds.floor()).ok()?;
            Timestamp::UNIX_EPOCH.checked_add(since).ok()?
        }
        None => serde_json::from_str::<String>(json).ok()?.parse().ok()?,
    };
    (moment > Timestamp::UNIX_EPOCH).then_some(moment)
}

/// One text of words, or a list of texts.
fn scopes(json: &str) -> Vec<Scope> {
    let list = serde_json::from_str(json)
        .or_else(|_| serde_json::from_str::<String>(json).map(|text| vec![text]));
    let list: Vec<String> = list.unwrap_or_default();
    let words = list.iter().flat_map(|text| text.split_whitespace());
    words.map(|word| Scope::new(word.to_owned())).collect()
}

impl TokenResponse for TokenAnswer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        Some(&self.scopes)
    }
}
