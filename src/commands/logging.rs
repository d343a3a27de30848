//! Lines on stderr: events of cursus, not of its libraries, and the sentences of commands, in one form.

use std::fmt;
use std::io::IsTerminal;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::{Global, LogFormat};
use crate::error_chain::chain;
use crate::exit::Failure;
use crate::printable;
use crate::progress::Screen;

/// The target of events that answer what a person has just asked for, such as a reload: `-q` does not silence them.
pub(super) const ANSWER: &str = "cursus::answer";

/// Begins to log as the flags and `CURSUS_LOG` say.
pub(super) fn start(global: &Global, screen: &Screen) -> Result<(), Failure> {
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
    let writer = screen.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // They would be written to the stderr that has just failed (a closed terminal, a full disk), and panic if that fails again.
        .log_internal_errors(false)
        .event_format(Format::of(global))
        .with_writer(move || writer.clone())
        .finish();
    // Set by itself, without the bridge for other libraries: they log what they send, values of rows among it.
    // A second start in one process (tests) keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
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

#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Each line is a JSON document.
    is_json: bool,
    /// Somebody reads along: an error needs no time.
    is_terminal: bool,
    has_colours: bool,
}

impl Format {
    pub(super) fn of(global: &Global) -> Self {
        Self::new(global.log_format, !global.no_color)
    }

    pub(super) fn new(format: LogFormat, wants_colours: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let has_colours = wants_colours && is_terminal && std::env::var_os("NO_COLOR").is_none();
        Self {
            is_json: format == LogFormat::Json,
            is_terminal,
            has_colours,
        }
    }

    fn json(level: Level, fields: Map<String, Value>) -> String {
        #[derive(Serialize)]
        struct Line {
            timestamp: String,
            level: &'static str,
            fields: Map<String, Value>,
        }
        let document = serde_json::to_string(&Line {
            timestamp: now(),
            level: level.as_str(),
            fields,
        });
        // JSON does not escape the second set of control characters.
        document.map_or_else(
            |_| String::new(),
            |text| format!("{}\n", printable::line(&text)),
        )
    }

    /// What stands before each line, and before the first.
    fn prefixes(self, level: Level) -> (String, String) {
        let (word, colour) = match level {
            Level::ERROR => ("error: ", "1;31"),
            Level::WARN => ("warning: ", "1;33"),
            Level::INFO => ("info: ", "32"),
            Level::DEBUG => ("debug: ", "34"),
            Level::TRACE => ("trace: ", "35"),
        };
        let paint = |colour: &str, text: &str| {
            if self.has_colours {
                format!("\x1b[{colour}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        };
        let time = if self.is_terminal && level <= Level::WARN {
            String::new()
        } else {
            format!("{} ", paint("2", &now()))
        };
        (time, paint(colour, word))
    }
}

fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

/// The lines of a sentence of a command.
pub(super) fn sentence(format: Format, level: Level, text: &str) -> String {
    if format.is_json {
        let fields = [("message".to_owned(), Value::from(text))];
        return Format::json(level, fields.into_iter().collect());
    }
    if format.is_terminal && level == Level::INFO {
        return format!("{text}\n");
    }
    let (time, word) = format.prefixes(level);
    let is_shown = |line: &&str| format.is_terminal || !line.trim().is_empty();
    let lines = text.split('\n').filter(is_shown).enumerate();
    lines
        .map(|(at, line)| match at {
            0 => format!("{time}{word}{line}\n"),
            _ => format!("{time}{line}\n"),
        })
        .collect()
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let mut fields = Fields::default();
        event.record(&mut fields);
        if self.is_json {
            return writer.write_str(&Self::json(level, fields.0.into_iter().collect()));
        }
        let (time, word) = self.prefixes(level);
        // Each on one line, whatever it holds.
        let fields = fields.0.into_iter().map(|(name, value)| match value {
            Value::String(text) if name == "message" => text,
            value => format!(
                "{name}={}",
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            ),
        });
        let text = fields.collect::<Vec<_>>().join(" ");
        writeln!(writer, "{time}{word}{}", printable::line(&text))
    }
}

#[derive(Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        self.0.push((field.name().to_owned(), value));
    }

    fn push_text(&mut self, field: &Field, text: &str) {
        self.push(field, printable::without_credentials(text).into());
    }
}

impl Visit for Fields {
    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        self.push_text(field, &chain(error));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push_text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
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
