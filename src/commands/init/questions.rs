//! What `cursus init` asks at a terminal: keys, scope, packs, database. Each answer is tried, and can be given again. Writes nothing.

use std::io::{self, BufRead, Read};
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;

use super::{note, packs, print_line, print_raw};
use crate::api::Client;
use crate::cli::Global;
use crate::config::{Config, Pack, ScopeLookup};
use crate::context::Context;
use crate::database::embedded::Cluster;
use crate::database::{Database, DatabaseError, Target, check_url, holds_password};
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::scope_lookup::{self, Listing};
use crate::settings::{Environment, Settings};
use crate::template::Values;

const ID: &str = "CURSUS_CLIENT_ID";
const SECRET: &str = "CURSUS_CLIENT_SECRET";
const DATABASE: &str = "CURSUS_DATABASE_URL";
/// A longer line is no answer.
const LONGEST_LINE: u64 = 4_096;

pub(super) struct Asked<'a> {
    pub(super) global: &'a Global,
    pub(super) context: &'a Context,
    pub(super) config: &'a Config,
    pub(super) environment: Environment,
    /// Variables of the scope that are still empty, if pipeline.toml is written.
    pub(super) scope: Vec<String>,
    /// Those that are off, if pipeline.toml is written.
    pub(super) packs: Vec<Pack>,
    pub(super) writes_dotenv: bool,
}

#[derive(Default)]
pub(super) struct Answers {
    pub(super) scope: Values,
    pub(super) packs: Vec<String>,
    pub(super) variables: Vec<(&'static str, String)>,
}

impl Asked<'_> {
    /// Whether there is anything to ask.
    pub(super) fn has_questions(&self) -> bool {
        self.needs_keys() || !self.packs.is_empty()
    }

    /// Whether keys are asked for, or tried, because ids are looked up with them.
    fn needs_keys(&self) -> bool {
        self.writes_dotenv || !self.scope.is_empty()
    }

    /// Asks everything. The end of the input is an error.
    pub(super) async fn ask(mut self) -> Result<Answers, Failure> {
        let mut answers = Answers::default();
        // The token of a trial is kept nowhere else.
        let aside = tempfile::tempdir()?;
        let client = if self.needs_keys() {
            self.keys(aside.path(), &mut answers).await?
        } else {
            None
        };
        let mut people = None;
        for variable in std::mem::take(&mut self.scope) {
            if let Some(lookup) = self.config.scope_lookups.get(&variable) {
                let (ids, count) = ask_ids(&variable, lookup, client.as_ref()).await?;
                people = people.or(count);
                answers.scope.insert(variable, ids);
            }
        }
        if !self.packs.is_empty() {
            answers.packs = packs::ask(&self.packs, people).await?;
        }
        self.database(&mut answers).await?;
        Ok(answers)
    }

    /// A client with keys that work; none without keys.
    async fn keys(
        &mut self,
        aside: &Path,
        answers: &mut Answers,
    ) -> Result<Option<Client>, Failure> {
        let are_set = |environment: &Environment| {
            environment.get(ID).is_some() && environment.get(SECRET).is_some()
        };
        if are_set(&self.environment) {
            match self.client(aside).await {
                Ok(client) => {
                    print_line("keys: those of the environment or of .env work");
                    return Ok(Some(client));
                }
                Err(failure) => note(&format!(
                    "the keys of the environment or of .env do not work: {}",
                    failure.sentence()
                )),
            }
        }
        if !self.writes_dotenv {
            print_line("keys: .env is kept; set CURSUS_CLIENT_ID and CURSUS_CLIENT_SECRET there");
            return Ok(None);
        }
        print_line(
            "keys of the application (intranet: Settings, API; https://profile.intra.42.fr/oauth/applications)",
        );
        loop {
            let id = line("  UID (empty: later): ", Echo::Shown).await?;
            if id.is_empty() {
                return Ok(None);
            }
            if id.starts_with("s-s4t2") {
                note("  this looks like the secret; first give the UID, which begins with `u-`");
                continue;
            }
            if let Some(fault) = fault_of_key(&id) {
                note(&format!("  the UID {fault}"));
                continue;
            }
            let secret = line("  secret (not shown): ", Echo::Hidden).await?;
            if let Some(fault) = fault_of_key(&secret) {
                note(&format!("  the secret {fault}"));
                continue;
            }
            self.environment.set(ID, &id);
            self.environment.set(SECRET, &secret);
            match self.client(aside).await {
                Ok(client) => {
                    print_line("  the API accepts them");
                    answers.variables.extend([(ID, id), (SECRET, secret)]);
                    return Ok(Some(client));
                }
                Err(failure) => note(&format!("  {}", failure.sentence())),
            }
        }
    }

    /// A client that has got a token.
    async fn client(&self, aside: &Path) -> Result<Client, Failure> {
        let settings = Settings::of(
            self.global,
            "init",
            self.environment.clone(),
            aside.to_owned(),
            self.config.clone(),
            self.context,
        )?;
        let client = settings.question_client(false)?;
        client.refresh_token().await?;
        Ok(client)
    }

    async fn database(&self, answers: &mut Answers) -> Result<(), Failure> {
        if let Some(url) = self.environment.get(DATABASE) {
            match try_database(&url).await {
                Ok(place) => print_line(&format!("database: {place}, from {DATABASE}")),
                Err(error) => note(&format!(
                    "the database of {DATABASE} does not work: {}",
                    chain(&error)
                )),
            }
            return Ok(());
        }
        if !self.writes_dotenv {
            return Ok(());
        }
        print_line("database (a password is asked for separately)");
        loop {
            let url = line(
                "  URL such as postgres://me@localhost/mirror (empty: a private PostgreSQL in .cursus/pg): ",
                Echo::Shown,
            )
            .await?;
            if url.is_empty() || url == "embedded" {
                match Cluster::programs() {
                    Ok(programs) => print_line(&format!(
                        "  the first load creates it with the programs in {}",
                        programs.display()
                    )),
                    Err(error) => note(&format!(
                        "  the private PostgreSQL cannot be created yet: {}",
                        chain(&error)
                    )),
                }
                return Ok(());
            }
            match ask_database(url).await? {
                Ok((url, place)) => {
                    print_line(&format!("  connected: {place}"));
                    answers.variables.push((DATABASE, url));
                    return Ok(());
                }
                Err(error) => note(&format!("  {}", chain(&error))),
            }
        }
    }
}

/// Tries a URL; asks for the password if the server does. The URL with the password, and the place.
async fn ask_database(url: String) -> Result<Result<(String, String), DatabaseError>, Failure> {
    let error = match try_database(&url).await {
        Ok(place) => return Ok(Ok((url, place))),
        Err(error) => error,
    };
    if !matches!(error, DatabaseError::Refused { .. }) || holds_password(&url) {
        return Ok(Err(error));
    }
    let password = line("  password (not shown): ", Echo::Hidden).await?;
    if password.is_empty() {
        return Ok(Err(error));
    }
    let url = with_password(&url, &password);
    Ok(try_database(&url).await.map(|place| (url, place)))
}

/// Server and version, after a connection.
async fn try_database(url: &str) -> Result<String, DatabaseError> {
    if url == "embedded" {
        return Ok("a private PostgreSQL in .cursus/pg".to_owned());
    }
    check_url(url)?;
    let target = Target::Url(SecretString::from(url));
    let place = target.place()?;
    let database = Box::pin(Database::connect(&target, "cursus init")).await?;
    let version = database.version().to_owned();
    database.close().await?;
    Ok(format!(
        "PostgreSQL {version} at {}, database {}",
        place.server, place.database
    ))
}

/// The same address with a password, in either of the forms of libpq.
fn with_password(url: &str, password: &str) -> String {
    if url.contains("://") {
        let encoded: String = password
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let joint = if url.contains('?') { '&' } else { '?' };
        format!("{url}{joint}password={encoded}")
    } else {
        let escaped = password.replace('\\', r"\\").replace('\'', r"\'");
        format!("{url} password='{escaped}'")
    }
}

fn fault_of_key(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("is empty")
    } else if key.len() > 500 || !key.chars().all(|c| c.is_ascii_graphic()) {
        Some("holds characters that no key has; copy it again")
    } else {
        None
    }
}

/// Ids for a variable of the scope (none: all), and the number of people that they stand for, where it is known.
async fn ask_ids(
    variable: &str,
    lookup: &ScopeLookup,
    client: Option<&Client>,
) -> Result<(Vec<String>, Option<u64>), Failure> {
    let noun = &lookup.noun;
    let listing = match client {
        Some(client) => match scope_lookup::list(client, lookup).await {
            Ok(listing) => Some(listing),
            Err(error) => {
                note(&format!(
                    "{noun} ids cannot be looked up: {}",
                    chain(&error)
                ));
                None
            }
        },
        None => None,
    };
    if let Some(notice) = &lookup.notice {
        print_line(notice);
    }
    let prompt = if listing.is_some() {
        format!("{noun} (ids or names with commas between; empty: all): ")
    } else {
        format!(
            "{noun} (ids with commas between, which cannot be looked up without keys; empty: all): "
        )
    };
    loop {
        let text = line(&prompt, Echo::Shown).await?;
        match ids(&text, lookup, listing.as_ref()) {
            Ok((ids, sentences)) => {
                for sentence in sentences {
                    print_line(&format!("  {sentence}"));
                }
                if ids.is_empty() {
                    print_line(&format!("  all; `{variable}` in [scope] can name some"));
                }
                let count = (listing.as_ref()).and_then(|listing| listing.count_of(&ids));
                return Ok((ids, count));
            }
            Err(refusals) => {
                for refusal in refusals {
                    note(&format!("  {refusal}"));
                }
            }
        }
    }
}

/// The ids that a line names, with what they stand for; or what is wrong with it.
fn ids(
    text: &str,
    lookup: &ScopeLookup,
    listing: Option<&Listing>,
) -> Result<(Vec<String>, Vec<String>), Vec<String>> {
    let (mut ids, mut sentences, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for item in text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        let is_number = item.bytes().all(|byte| byte.is_ascii_digit()) && item.len() < 19;
        let id = match listing.map(|listing| listing.meant(item, lookup)) {
            Some(Ok(entry)) => {
                sentences.push(entry.sentence(lookup));
                entry.id.clone()
            }
            // One page does not show all.
            Some(Err(refusal)) if is_number && !listing.is_some_and(|it| it.denies(item)) => {
                sentences.push(refusal);
                item.to_owned()
            }
            Some(Err(refusal)) => {
                refusals.push(refusal);
                continue;
            }
            None if is_number => item.to_owned(),
            None => {
                refusals.push(format!(
                    "`{item}` is no number, and names need keys that work"
                ));
                continue;
            }
        };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if refusals.is_empty() {
        Ok((ids, sentences))
    } else {
        Err(refusals)
    }
}

/// Whether the terminal shows what is typed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    Shown,
    Hidden,
}

/// Asks for a line, without the blanks around it; again if it is no text. Control characters are not taken.
pub(super) async fn line(prompt: &str, echo: Echo) -> Result<String, Failure> {
    loop {
        let hidden = match echo {
            Echo::Hidden => Some(Hidden::begin()?),
            Echo::Shown => None,
        };
        print_raw(prompt);
        // Dropped with this future at Ctrl-C, while the thread still reads.
        let read = tokio::task::spawn_blocking(read_line).await;
        drop(hidden);
        let bytes = read.map_err(io::Error::other)??;
        let Some(bytes) = bytes else {
            print_raw("\n");
            return Err(Failure::new(
                Exit::Usage,
                "the input ended before the last answer: nothing was written; run `cursus init` again, or `cursus init --yes`, which \
                 asks nothing",
            ));
        };
        match String::from_utf8(bytes) {
            Ok(text) if !text.trim().contains(char::is_control) => {
                return Ok(text.trim().to_owned());
            }
            _ => note("  this holds characters that cannot be used; type it again"),
        }
    }
}

/// A line of stdin; none at its end.
fn read_line() -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut stdin = io::stdin().lock();
    stdin
        .by_ref()
        .take(LONGEST_LINE)
        .read_until(b'\n', &mut bytes)?;
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        hidden.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_added_to_both_forms_of_an_address() {
        for (url, whole) in [
            (
                "postgres://me@host/mirror",
                "postgres://me@host/mirror?password=%61%26%27",
            ),
            (
                "postgres://me@host/mirror?sslmode=require",
                "postgres://me@host/mirror?sslmode=require&password=%61%26%27",
            ),
            ("host=host user=me", r"host=host user=me password='a&\''"),
        ] {
            assert_eq!(with_password(url, "a&'"), whole);
            assert!(check_url(whole).is_ok(), "{whole}");
        }
    }
}
