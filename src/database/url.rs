//! The two forms of a connection string, as libpq reads them. Knows nothing of what most parameters mean.

use std::iter::Peekable;
use std::str::Chars;

use reqwest::Url;

use super::DatabaseError;

#[derive(Debug, Default)]
pub(super) struct Split {
    pub(super) rest: String,
    pub(super) mode: Option<String>,
    pub(super) root: Option<String>,
    pub(super) require_auth: Option<String>,
}

struct Parameter {
    name: String,
    value: String,
    written: String,
}

/// What the driver knows.
const KNOWN: [&str; 18] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// What else libpq knows, and this program: a name near one of all these is a slip, any other may be part of a password.
const OF_LIBPQ: [&str; 24] = [
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives_count",
    "krbsrvname",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslmode",
    "sslpassword",
    "sslrootcert",
    "sslsni",
];

/// How many letters a slip changes, adds, drops or swaps.
const SLIP: usize = 2;

pub(super) fn split(text: &str) -> Result<Split, DatabaseError> {
    let (mut rest, parameters, separator) = parameters(text)?;
    let (mut mode, mut root, mut require_auth, mut kept) = (None, None, None, Vec::new());
    for parameter in parameters {
        match parameter.name.as_str() {
            "require_auth" => require_auth = Some(parameter.value),
            "sslmode" => mode = Some(parameter.value),
            "sslrootcert" => root = Some(parameter.value),
            name if KNOWN.contains(&name) => kept.push(parameter.written),
            _ => return Err(unknown(parameter.name)),
        }
    }
    if !rest.is_empty() && !kept.is_empty() {
        rest.push('?');
    }
    rest.push_str(&kept.join(separator));
    Ok(Split {
        rest,
        mode,
        root,
        require_auth,
    })
}

/// The name alone is shown, and only where it is a slip of a known one: a part of a password can stand there.
fn unknown(name: String) -> DatabaseError {
    let is_near = |known: &&&str| {
        let changes = strsim::osa_distance(&name, known);
        changes == 0 || changes <= SLIP && known.len() > 2 * SLIP + 1
    };
    match name.as_str() {
        "sslcert" | "sslkey" => DatabaseError::ClientCertificate { name },
        _ if KNOWN.iter().chain(&OF_LIBPQ).any(|known| is_near(&known)) => {
            DatabaseError::Parameter { name }
        }
        _ => DatabaseError::Url,
    }
}

/// What stands before the parameters, these, and what stands between them.
fn parameters(text: &str) -> Result<(String, Vec<Parameter>, &'static str), DatabaseError> {
    Ok(match text.split_once("://") {
        Some((scheme @ ("postgres" | "postgresql"), rest)) => {
            let (before, parameters) = of_url(rest)?;
            (format!("{scheme}://{before}"), parameters, "&")
        }
        _ => {
            let pairs = of_pairs(text).ok_or(DatabaseError::Url)?;
            (String::new(), pairs, " ")
        }
    })
}

/// What stands before the parameters of a URL without its scheme, and these.
///
/// The authority ends at the first `/`, `?` or `#`, and its last `@` ends the credentials. An `@` behind it, but in the value of a
/// parameter, means that a password holds one of these three unencoded: its end is unknown, and no part of it may be
/// taken for a host.
fn of_url(text: &str) -> Result<(String, Vec<Parameter>), DatabaseError> {
    let (authority, behind) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    let (path, query) = match behind.split_once('?') {
        Some((path, query)) => (path, query),
        None => (behind, ""),
    };
    // Without a path, a question mark is as likely to be one of the password.
    let is_plain = |query: &str| query.is_empty() || !path.is_empty() || !query.contains('@');
    if path.contains(['@', '#']) || !is_plain(query) {
        return Err(DatabaseError::Unencoded);
    }
    let before = match authority.rsplit_once('@') {
        // The driver takes the first one for the end.
        Some((credentials, hosts)) => format!("{}@{hosts}", credentials.replace('@', "%40")),
        None => authority.to_owned(),
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let parameters = pairs.map(|pair| {
        let mut decoded = Url::parse("none:").ok()?;
        pair.split_once('=')?;
        // A plus sign is one, unlike in forms.
        decoded.set_query(Some(&pair.replace('+', "%2B").replace('#', "%23")));
        let (name, value) = decoded.query_pairs().next()?;
        Some(Parameter {
            name: name.into_owned(),
            value: value.into_owned(),
            // The driver would take it for the end of the credentials, wherever it stands.
            written: pair.replace('@', "%40"),
        })
    });
    let parameters = parameters.collect::<Option<_>>();
    match parameters {
        Some(parameters) => Ok((format!("{before}{path}"), parameters)),
        None if query.contains('@') => Err(DatabaseError::Unencoded),
        None => Err(DatabaseError::Url),
    }
}

/// `key=value` pairs: spaces may stand around the sign, and in a value between quotes or after a backslash.
fn of_pairs(text: &str) -> Option<Vec<Parameter>> {
    let mut rest = text.chars().peekable();
    let mut found = Vec::new();
    loop {
        skip_blanks(&mut rest);
        if rest.peek().is_none() {
            return Some(found);
        }
        let mut name = String::new();
        while let Some(c) = rest.next_if(|c| *c != '=' && !is_blank(*c)) {
            name.push(c);
        }
        skip_blanks(&mut rest);
        rest.next_if_eq(&'=')?;
        skip_blanks(&mut rest);
        let is_quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match rest.next() {
                Some('\'') if is_quoted => break,
                Some(c) if !is_quoted && is_blank(c) => break,
                Some('\\') => value.extend(rest.next()),
                Some(c) => value.push(c),
                None if is_quoted => return None,
                None => break,
            }
        }
        let quoted = value.replace('\\', r"\\").replace('\'', r"\'");
        found.push(Parameter {
            written: format!("{name}='{quoted}'"),
            name,
            value,
        });
    }
}

fn skip_blanks(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| is_blank(*c)).is_some() {}
}

/// What C calls a space, in the plain locale.
fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

#[cfg(test)]
mod tests {
    use tokio_postgres::Config;

    use super::*;

    #[test]
    fn what_is_known_the_driver_knows() {
        for name in KNOWN {
            let value = match name {
                "channel_binding" | "load_balance_hosts" => "disable",
                "hostaddr" => "127.0.0.1",
                "sslnegotiation" => "direct",
                "target_session_attrs" => "any",
                _ => "1",
            };
            let pairs = split(&format!("{name} = {value}")).unwrap().rest;
            let url = split(&format!("postgres://host/?{name}={value}"))
                .unwrap()
                .rest;
            for written in [pairs, url] {
                assert!(written.contains(name), "{written}");
                assert!(written.parse::<Config>().is_ok(), "{written}");
            }
        }
    }

    #[test]
    fn a_parameter_that_is_not_known_is_named_without_its_value() {
        for (name, expected) in [
            ("gssencmode", "`gssencmode`"),
            ("sslmod", "`sslmod`"),
            ("sslcert", "certificate of the client"),
            ("sslkey", "certificate of the client"),
            // Parts of a password.
            ("hunter2", "malformed"),
            ("", "malformed"),
        ] {
            for text in [
                format!("host=host {name} = hunter2 sslmode=require"),
                format!("postgres://me@host/mirror?{name}=hunter2&sslmode=require"),
            ] {
                let message = split(&text).unwrap_err().to_string();
                assert!(message.contains(expected), "{message}");
                assert!(!message.contains("hunter2"), "{message}");
            }
        }
    }
}
