//! The access token: asked for, renewed in time, kept between commands in a file that only its owner can read.
//! It knows nothing of pages; the token leaves it only as the header of a request.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
    BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AccessToken, AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, RefreshToken,
    RequestTokenError, Scope, StandardRevocableToken, TokenResponse, TokenUrl,
};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::request::BaseUrl;
use super::retry::Problem;
use super::send::TokenSender;
use crate::failpoint::Point;
use crate::hash;

/// More than any token file has.
const LARGEST: u64 = 64 << 10;

/// A token is renewed this long before its end, or after half of a shorter life.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// A token's file before it has its name, and how long it takes at most until it has.
const UNFINISHED: &str = ".token-";
const UNFINISHED_FOR: Duration = Duration::from_mins(10);

/// The life of a token whose answer does not tell it, or tells one that is over. If it is shorter, a 401 tells.
const USUAL_LIFE: Duration = Duration::from_hours(2);

/// No token is believed to live longer, and none to live shorter.
const LONGEST_LIFE: Duration = Duration::from_hours(365 * 24);
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// After so many tokens in a row of which none has served a request, no further one is asked for.
pub(crate) const MOST_UNWORKED: u32 = 3;

type OAuthClient = oauth2::Client<
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

/// The answer to a token request. Only the token itself must be there: what else is odd counts as not told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Box<RawValue>>")]
struct TokenAnswer {
    access_token: AccessToken,
    token_type: BasicTokenType,
    expires_in: Option<Duration>,
    scopes: Vec<Scope>,
    created: Option<Timestamp>,
    secret_valid_until: Option<Timestamp>,
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

/// What may be known and shown of a token; never the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMetadata {
    /// When the server made it.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When the client secret itself ends, if the server tells.
    pub secret_valid_until: Option<Timestamp>,
    /// What it may be used for.
    pub scopes: Vec<String>,
}

/// A token and what is known of it. The secret type keeps it out of `Debug`.
#[derive(Debug, Clone)]
struct Token {
    access: SecretString,
    /// Our time when it was asked for: lives are counted from here, whatever the server's clock says.
    asked: Timestamp,
    metadata: TokenMetadata,
}

/// How a token lies in its file.
#[derive(Serialize, Deserialize)]
struct TokenFile {
    access_token: String,
    asked: Timestamp,
    #[serde(flatten)]
    metadata: TokenMetadata,
}

impl Token {
    fn is_fresh(&self, now: Timestamp) -> bool {
        let life = self.metadata.expires.duration_since(self.asked);
        let margin = MARGIN.min(life / 2);
        // A token from the future was written before the clock was set back: of unknown age.
        self.asked <= now && self.metadata.expires.duration_since(now) > margin
    }
}

/// The header that carries a token, and which token it is.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    pub(crate) header: HeaderValue,
    pub(crate) generation: u64,
}

/// The one token of a client. Whoever finds it stale renews it; the others wait for that.
#[derive(Debug)]
pub(crate) struct Tokens {
    oauth: OAuthClient,
    path: PathBuf,
    current: tokio::sync::Mutex<Current>,
    standing: Mutex<Standing>,
    trial: Arc<tokio::sync::Mutex<()>>,
}

/// The right to try a token that follows one which never worked. Whoever else wants it waits.
pub(crate) type Trial = OwnedMutexGuard<()>;

/// How tokens have done: known also while one is renewed.
#[derive(Debug, Default)]
struct Standing {
    generation: u64,
    /// When the newest request that the token in use has served was sent.
    worked: Option<Instant>,
    /// Tokens in a row before it that were refused before they had served any.
    unworked: u32,
    /// How often the server may still be asked whether a refused token is good.
    vouchers: u32,
}

/// So many requests are refused alone, with good tokens, before that counts as the fault of all.
const VOUCHERS: u32 = 5;

#[derive(Debug, Default)]
struct Current {
    token: Option<Token>,
    /// Counts the tokens: 401s of requests that carried an older one renew nothing.
    generation: u64,
    file_was_read: bool,
}

/// Why a token is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// A fresh one will do.
    Fresh,
    /// The server refused the one of this generation.
    Another(u64),
    /// A new one, whatever there is.
    New,
}

impl Tokens {
    pub(crate) fn new(
        base_url: &BaseUrl,
        client_id: &str,
        client_secret: &SecretString,
        directory: &Path,
    ) -> Self {
        // A token got with another secret says nothing of this one.
        let secret = client_secret.expose_secret();
        let name = hash::short_of(&[&base_url.origin(), client_id, secret]);
        let oauth = oauth2::Client::new(ClientId::new(client_id.to_owned()))
            .set_client_secret(ClientSecret::new(client_secret.expose_secret().to_owned()))
            .set_token_uri(TokenUrl::from_url(base_url.token_url()))
            .set_auth_type(AuthType::RequestBody);
        Self {
            oauth,
            path: directory.join(format!("token-{name}.json")),
            current: tokio::sync::Mutex::default(),
            standing: Mutex::default(),
            trial: Arc::default(),
        }
    }

    /// A token as wanted: the one at hand, else the one in the file, else a new one through `fetch`.
    pub(crate) async fn get<E>(
        &self,
        want: Want,
        fetch: impl Future<Output = Result<NewToken, E>> + Send,
    ) -> Result<(Bearer, TokenMetadata), E>
    where
        E: From<Problem>,
    {
        let mut current = self.current.lock().await;
        let now = crate::clock::now();
        let refused = match want {
            Want::Another(generation) if generation == current.generation => current.token.take(),
            Want::New => current.token.take(),
            Want::Another(_) | Want::Fresh => None,
        };
        {
            let mut standing = self.standing();
            if want == Want::New || standing.worked.is_some() {
                standing.unworked = 0;
            } else if refused.is_some() {
                standing.unworked += 1;
            }
        }
        // Another command may have renewed it since; and on a 401 it usually has.
        let look_into_file = want != Want::New
            && (!current.file_was_read || refused.is_some())
            && current
                .token
                .as_ref()
                .is_none_or(|token| !token.is_fresh(now));
        if look_into_file {
            current.file_was_read = true;
            let kept = read(self.path.clone()).await;
            let is_refused = |kept: &Token| {
                refused.as_ref().is_some_and(|refused| {
                    refused.access.expose_secret() == kept.access.expose_secret()
                })
            };
            match kept {
                // If no other token can be had, the next command must not try this one on all its requests.
                Some(kept) if is_refused(&kept) => {
                    let _ = tokio::fs::remove_file(&self.path).await;
                }
                Some(kept) => self.take_up(&mut current, kept),
                None => {}
            }
        }
        if let Some(token) = current.token.as_ref().filter(|token| token.is_fresh(now)) {
            return Ok((bearer(token, current.generation)?, token.metadata.clone()));
        }
        if self.standing().unworked >= MOST_UNWORKED {
            return Err(Problem::Unauthorized.into());
        }
        let token = fetch.await?.0;
        if let Err(error) = write(self.path.clone(), token.clone()).await {
            // Without the file the next command asks for a token of its own: one request, no harm.
            tracing::warn!(
                path = %self.path.display(),
                error = &error as &dyn std::error::Error,
                "the token could not be kept for the next command"
            );
        }
        let answer = (
            bearer(&token, current.generation + 1)?,
            token.metadata.clone(),
        );
        self.take_up(&mut current, token);
        Ok(answer)
    }

    fn take_up(&self, current: &mut Current, token: Token) {
        current.token = Some(token);
        current.generation += 1;
        let mut standing = self.standing();
        standing.generation = current.generation;
        standing.worked = None;
    }

    /// The server has served a request with the token of this generation.
    pub(crate) fn worked(&self, generation: u64, sent: Instant) {
        let mut standing = self.standing();
        standing.vouchers = VOUCHERS;
        if standing.generation == generation {
            standing.worked = standing.worked.max(Some(sent));
        }
    }

    /// Whether the refusal of this token would be the last that is borne, although others worked: then the server says once
    /// more whether it is good.
    pub(crate) fn needs_voucher(&self, generation: u64) -> bool {
        let mut standing = self.standing();
        let is_last = standing.generation == generation
            && standing.worked.is_none()
            && standing.unworked + 1 >= MOST_UNWORKED;
        if !is_last || standing.vouchers == 0 {
            return false;
        }
        standing.vouchers -= 1;
        true
    }

    /// The server says that its tokens are good.
    pub(crate) fn vouched(&self) {
        self.standing().unworked = 0;
    }

    /// When the newest request that the token of this generation has served was sent, if it is still in use.
    pub(crate) fn last_worked(&self, generation: u64) -> Option<Instant> {
        let standing = self.standing();
        standing
            .worked
            .filter(|_| standing.generation == generation)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the last token, without asking for one.
    pub(crate) async fn known(&self) -> Option<TokenMetadata> {
        let current = self.current.lock().await;
        match &current.token {
            Some(token) => Some(token.metadata.clone()),
            None => read(self.path.clone()).await.map(|token| token.metadata),
        }
    }

    /// Waits until the token of this generation may be sent; false: it is not known any more whether it is the one to use.
    ///
    /// What revokes tokens as fast as they are made may count requests: a single one then tells whether a token works.
    pub(crate) async fn trial(&self, generation: u64) -> (Option<Trial>, bool) {
        let is_doubted = || {
            let standing = self.standing();
            standing.generation == generation && standing.unworked > 0 && standing.worked.is_none()
        };
        if !is_doubted() {
            return (None, true);
        }
        let trial = Arc::clone(&self.trial).lock_owned().await;
        if is_doubted() {
            (Some(trial), true)
        } else {
            (None, false)
        }
    }

    /// Whether the token of this generation is still the one to use; one that is being renewed is not. Whoever asks holds a turn,
    /// which the renewal may be waiting for: so nobody waits here.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        let Ok(current) = self.current.try_lock() else {
            return false;
        };
        let now = crate::clock::now();
        current.generation == generation
            && current
                .token
                .as_ref()
                .is_some_and(|token| token.is_fresh(now))
    }

    /// Asks the server for a token; `sender` carries the request and judges the status.
    pub(crate) async fn exchange(&self, sender: &TokenSender<'_>) -> Result<NewToken, Problem> {
        let asked = crate::clock::now();
        let answer = self
            .oauth
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
        Ok(NewToken(Token {
            access: SecretString::from(answer.access_token.into_secret()),
            asked,
            metadata: TokenMetadata {
                created: answer.created.unwrap_or(asked),
                expires,
                secret_valid_until: answer.secret_valid_until,
                scopes: answer
                    .scopes
                    .iter()
                    .map(|scope| scope.to_string())
                    .collect(),
            },
        }))
    }
}

/// A token fresh from the server.
#[derive(Debug)]
pub(crate) struct NewToken(Token);

fn bearer(token: &Token, generation: u64) -> Result<Bearer, Problem> {
    let text = format!("Bearer {}", token.access.expose_secret());
    let mut header = HeaderValue::from_str(&text).map_err(|_| Problem::NoToken)?;
    header.set_sensitive(true);
    Ok(Bearer { header, generation })
}

/// A file that is missing or damaged, readable for others or of somebody else holds no token: what another user has put there
/// would send our requests in their name.
async fn read(path: PathBuf) -> Option<Token> {
    let read = move || -> Option<Token> {
        // A pipe would make us wait, a link lead elsewhere.
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(&path)
            .ok()?;
        // Of what was opened: the name may lead elsewhere by now.
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
            return None;
        }
        if metadata.uid() != geteuid().as_raw() {
            tracing::warn!(path = %path.display(), "the token belongs to another user and is not used; a new one is asked for");
            return None;
        }
        let mut bytes = Vec::new();
        (&mut file).take(LARGEST).read_to_end(&mut bytes).ok()?;
        let file: TokenFile = serde_json::from_slice(&bytes).ok()?;
        Some(Token {
            access: SecretString::from(file.access_token),
            asked: file.asked,
            metadata: file.metadata,
        })
    };
    tokio::task::spawn_blocking(read).await.ok().flatten()
}

/// The file is 0600 from its first moment, and whole whenever it is seen.
async fn write(path: PathBuf, token: Token) -> std::io::Result<()> {
    let write = move || -> std::io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let content = serde_json::to_vec(&TokenFile {
            access_token: token.access.expose_secret().to_owned(),
            asked: token.asked,
            metadata: token.metadata,
        })?;
        Point::TokenWrite.io()?;
        forget_unfinished(directory);
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(directory)?;
        file.write_all(&content)?;
        Point::TokenRename.io()?;
        file.persist(&path)?;
        Point::TokenDone.reach();
        Ok(())
    };
    // What a fault in it says can hold what it was about.
    let fault = |_| Err(std::io::Error::other("its thread ended early"));
    tokio::task::spawn_blocking(write)
        .await
        .unwrap_or_else(fault)
}

/// A process that died while it wrote has left a token behind. What is young may be somebody's who writes now.
fn forget_unfinished(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let is_old = |metadata: std::fs::Metadata| {
            metadata
                .modified()
                .ok()?
                .elapsed()
                .ok()
                .map(|age| age > UNFINISHED_FOR)
        };
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED)
            && entry.metadata().ok().and_then(is_old) == Some(true)
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn token(asked: i64, life: i64) -> Token {
        let asked = Timestamp::from_second(asked).unwrap();
        Token {
            access: SecretString::from("canary"),
            asked,
            metadata: TokenMetadata {
                created: asked,
                expires: asked + SignedDuration::from_secs(life),
                secret_valid_until: None,
                scopes: vec!["public".to_owned()],
            },
        }
    }

    #[test]
    fn renewed_five_minutes_before_the_end_or_at_half_of_a_short_life() {
        let fresh = |token: &Token, at| token.is_fresh(Timestamp::from_second(at).unwrap());
        let long = token(1_000, 7_200);
        assert!(fresh(&long, 1_000 + 6_899));
        assert!(!fresh(&long, 1_000 + 6_900));
        assert!(!fresh(&long, 999), "from the future");
        let short = token(1_000, 4);
        assert!(fresh(&short, 1_001));
        assert!(!fresh(&short, 1_002));
    }

    #[tokio::test]
    async fn whether_a_token_is_current_is_known_at_once_while_it_is_renewed() {
        let directory = tempfile::tempdir().unwrap();
        let url = BaseUrl::parse("https://api.example.org").unwrap();
        let tokens = Tokens::new(&url, "id", &SecretString::from("secret"), directory.path());
        // The renewal waits for its turn, which whoever asks here may be holding.
        let renewal = tokens.get::<Problem>(Want::Fresh, std::future::pending());
        let mut renewal = std::pin::pin!(renewal);
        while tokens.current.try_lock().is_ok() {
            assert!(renewal.as_mut().now_or_never().is_none());
        }
        assert!(!tokens.is_current(0));
    }

    #[tokio::test]
    async fn the_file_is_private_whole_and_distrusted_when_others_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state").join("token.json");
        write(path.clone(), token(1_000, 7_200)).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let kept = read(path.clone()).await.unwrap();
        assert_eq!(kept.access.expose_secret(), "canary");
        assert_eq!(kept.metadata, token(1_000, 7_200).metadata);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(path.clone()).await.is_none());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"{\"access_token\":\"can").unwrap();
        assert!(read(path).await.is_none());
    }

    #[tokio::test]
    async fn a_token_whose_writer_has_died_does_not_lie_about() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, age) in [(".token-old", 3_600), (".token-new", 0), ("other", 3_600)] {
            let file = std::fs::File::create(path(name)).unwrap();
            let written = std::time::SystemTime::now() - Duration::from_secs(age);
            file.set_modified(written).unwrap();
        }
        write(path("token.json"), token(1_000, 7_200))
            .await
            .unwrap();
        let is_there = |name| path(name).exists();
        assert!(!is_there(".token-old") && is_there(".token-new") && is_there("other"));
    }

    #[test]
    fn debug_output_holds_no_token() {
        let token = token(1_000, 7_200);
        let header = bearer(&token, 1).unwrap();
        assert!(!format!("{token:?} {header:?}").contains("canary"));
    }
}
