//! Log lines on stderr: one line per event, of cursus only and not of its libraries.

use std::fmt;
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::cli::{Global, LogFormat};
use crate::error_chain::chain;
use crate::exit::Failure;
use crate::printable;
use crate::progress::{Bars, LogWriter};

/// The target of events that answer what a person has just asked for, such as a reload: `-q` does not silence them.
pub(super) const ANSWER: &str = "cursus::answer";

/// Begins to log as the flags and `CURSUS_LOG` say.
pub(super) fn start(global: &Global, bars: &Bars) -> Result<(), Failure> {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let asked = std::env::var_os("CURSUS_LOG").filter(|filter| !filter.is_empty());
    let directives = match &asked {
        None => Some(format!("cursus={level},{ANSWER}=info")),
        Some(asked) => asked.to_str().and_then(directives),
    };
    let filter = directives
        .and_then(|directives| EnvFilter::try_new(directives).ok())
        .ok_or_else(|| {
            Failure::usage(
                "CURSUS_LOG is not understood; write off, error, warn, info, debug or trace, or a part of cursus with one of \
                 them, such as `info,cursus::api=trace`",
            )
        })?;
    let colours = !global.no_color
        && std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // They would be written to the stderr that has just failed (a closed terminal, a full disk), and panic if that fails again.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(colours);
    // Set by itself, without the bridge for other libraries: they log what they send, values of rows among it.
    // A second start in one process (tests) keeps the first.
    let is_json = global.log_format == LogFormat::Json;
    let writer = LogWriter::new(bars, is_json);
    let builder = builder.with_writer(move || writer.clone());
    let _ = if is_json {
        tracing::subscriber::set_global_default(builder.json().finish())
    } else {
        tracing::subscriber::set_global_default(builder.fmt_fields(OneLine).finish())
    };
    Ok(())
}

/// The directives of `CURSUS_LOG`, for our own events only; none if they are not understood.
fn directives(asked: &str) -> Option<String> {
    let is_level = |text: &str| {
        ["off", "error", "warn", "info", "debug", "trace"].contains(&text.to_lowercase().as_str())
    };
    let mut directives = Vec::new();
    for part in asked.split(',').map(str::trim) {
        let (target, level) = part.split_once('=').unwrap_or(("cursus", part));
        let mut path = target.split("::");
        let is_ours = path.next() == Some("cursus")
            && path.all(|name| crate::name::Name::parse(name).is_ok());
        if !is_ours || !is_level(level) {
            return None;
        }
        directives.push(format!("{target}={level}"));
    }
    Some(directives.join(","))
}

/// Fields as `message name=value`, each on one line.
struct OneLine;

impl<'w> FormatFields<'w> for OneLine {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Visitor {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Visitor<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl Visitor<'_> {
    fn write(&mut self, field: &Field, value: &str) {
        if self.result.is_err() {
            return;
        }
        let space = if std::mem::take(&mut self.is_first) {
            ""
        } else {
            " "
        };
        let value = printable::without_credentials(value);
        let value = printable::line(&value);
        self.result = match field.name() {
            "message" => write!(self.writer, "{space}{value}"),
            name => write!(self.writer, "{space}{name}={value}"),
        };
    }
}

impl Visit for Visitor<'_> {
    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        self.write(field, &chain(error));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_events_can_be_asked_for() {
        let of = |asked: &str| directives(asked);
        assert_eq!(of("TRACE").unwrap(), "cursus=TRACE");
        assert_eq!(
            of("info, cursus::api=trace").unwrap(),
            "cursus=info,cursus::api=trace"
        );
        for wrong in [
            "",
            "verbose",
            "loud",
            "tokio_postgres=trace",
            "cursus",
            "cursus=",
            "cursus=loud",
            "info,",
            "[x]=info",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
