//! The two forms of a connection string, as libpq reads them. Knows nothing of what most parameters mean.

use std::iter::Peekable;
use std::str::Chars;

use reqwest::Url;

use super::DatabaseError;

/// A connection string, with what the driver does not know taken out of it.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// For the driver.
    pub(super) rest: String,
    /// `sslmode`.
    pub(super) mode: Option<String>,
    /// `sslrootcert`.
    pub(super) root: Option<String>,
}

/// A parameter, and how it is written for the driver.
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

/// Takes a URL or `key=value` pairs apart.
pub(super) fn split(text: &str) -> Result<Split, DatabaseError> {
    let (mut rest, parameters, separator) = parameters(text).ok_or(DatabaseError::Url)?;
    let (mut mode, mut root, mut kept) = (None, None, Vec::new());
    for parameter in parameters {
        match parameter.name.as_str() {
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
    Ok(Split { rest, mode, root })
}

/// The name alone is told, and only what looks like one: a password that lacks its quotes can stand there.
fn unknown(name: String) -> DatabaseError {
    match name.as_str() {
        "sslcert" | "sslkey" => DatabaseError::ClientCertificate { name },
        _ if !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_') => {
            DatabaseError::Parameter { name }
        }
        _ => DatabaseError::Url,
    }
}

/// What stands before the parameters, these, and what stands between them; none if the text is malformed.
fn parameters(text: &str) -> Option<(String, Vec<Parameter>, &'static str)> {
    Some(match text.split_once("://") {
        Some((scheme @ ("postgres" | "postgresql"), rest)) => {
            let (before, parameters) = of_url(rest)?;
            (format!("{scheme}://{before}"), parameters, "&")
        }
        _ => (String::new(), of_pairs(text)?, " "),
    })
}

/// What stands before the parameters of a URL without its scheme, and these.
fn of_url(text: &str) -> Option<(String, Vec<Parameter>)> {
    // A password may hold a question mark, and a parameter an at sign.
    let (credentials, rest) = match text.split_once('@') {
        Some((head, rest)) if !(head.contains('/') && head.contains('?')) => {
            (format!("{head}@"), rest)
        }
        _ => (String::new(), text),
    };
    // The driver would take it for the end of the credentials, wherever it stands.
    let rest = rest.replace('@', "%40");
    let (place, query) = rest.split_once('?').unwrap_or((&rest, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let parameters = pairs.map(|pair| {
        pair.split_once('=')?;
        let mut decoded = Url::parse("none:").ok()?;
        // A plus sign is one, unlike in forms.
        decoded.set_query(Some(&pair.replace('+', "%2B")));
        let (name, value) = decoded.query_pairs().next()?;
        Some(Parameter {
            name: name.into_owned(),
            value: value.into_owned(),
            written: pair.to_owned(),
        })
    });
    Some((
        format!("{credentials}{place}"),
        parameters.collect::<Option<_>>()?,
    ))
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
                let said = split(&text).unwrap_err().to_string();
                assert!(said.contains(expected), "{said}");
                assert!(!said.contains("hunter2"), "{said}");
            }
        }
    }
}
