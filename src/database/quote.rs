//! Values in SQL text.

use std::fmt;
use std::time::Duration;

/// A patience as PostgreSQL's `lock_timeout` has it, in which 0 would be for ever.
pub(crate) fn lock_timeout_of(wait: Duration) -> String {
    wait.as_millis().clamp(1, 2_147_483_647).to_string()
}

/// A time of the database as text, whatever the session's time zone; an expression.
pub(crate) fn utc(time: &str) -> String {
    format!("to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
}

/// A name as an SQL identifier: the only place that quotes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A text as an SQL literal: the only place that writes one. It is the same with any `standard_conforming_strings`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Literal<'a>(pub(crate) &'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.replace('\'', "''");
        if text.contains('\\') {
            write!(f, "E'{}'", text.replace('\\', "\\\\"))
        } else {
            write!(f, "'{text}'")
        }
    }
}
