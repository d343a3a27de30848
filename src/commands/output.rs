//! What commands print: answers and documents on stdout, sentences on stderr through the log's writer. Does not decide what is said.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::Level;

use super::logging::{self, Format};
use crate::cli::{Cli, LogFormat};
use crate::clock;
use crate::exit::Exit;
use crate::mutex::locked;
use crate::printable;
use crate::progress::{Screen, Shown};
use crate::report::Table;

/// The width of tables where neither a terminal nor COLUMNS names one.
const USUAL_WIDTH: usize = 80;
/// How long to wait before a full pipe that does not wait by itself is tried again.
const FULL_PIPE: Duration = Duration::from_millis(5);

/// How this process prints: its streams are one for all that it does.
struct Output {
    started_at: Timestamp,
    /// `-q`: only errors, and the answer of a command that was asked for one.
    is_quiet: bool,
    /// The command changes something; what it prints is a summary, and its document is finished with its outcome.
    is_work: bool,
    /// `--wide`: tables as wide as they are.
    is_wide: bool,
    format: Format,
    writer: Screen,
    /// The document of a command that works, until its outcome is known.
    document: Mutex<Option<String>>,
    /// Why stdout has not taken something.
    lost: Mutex<Option<io::Error>>,
}

static OUTPUT: OnceLock<Output> = OnceLock::new();

/// Prints from here on as the flags say.
pub(super) fn start(cli: &Cli, screen: &Screen) {
    let global = &cli.global;
    let _ = OUTPUT.set(Output {
        started_at: clock::now(),
        is_quiet: global.quiet,
        is_work: cli.command.is_work(),
        is_wide: global.wide,
        format: Format::of(global),
        writer: screen.clone(),
        document: Mutex::default(),
        lost: Mutex::default(),
    });
}

/// As `start` has set it; for a command line that was not understood, as its words say.
fn output() -> &'static Output {
    OUTPUT.get_or_init(|| {
        let typed: Vec<String> = std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let is_json = typed.iter().any(|word| word == "--log-format=json")
            || (typed.windows(2)).any(|words| words == ["--log-format", "json"]);
        let log_format = if is_json {
            LogFormat::Json
        } else {
            LogFormat::Text
        };
        let is_plain = typed.iter().any(|word| word == "--no-color");
        Output {
            started_at: clock::now(),
            is_quiet: false,
            is_work: false,
            is_wide: false,
            format: Format::new(log_format, !is_plain),
            writer: Screen::new(Shown::Nothing),
            document: Mutex::default(),
            lost: Mutex::default(),
        }
    })
}

/// Prints text for a terminal. A closed pipe is no failure.
pub(super) fn print(text: &str) {
    let output = output();
    if !(output.is_quiet && output.is_work) {
        print_raw(&printable::lines(text));
    }
}

/// Prints text as it is, even with `-q`.
pub(super) fn print_raw(text: &str) {
    let written = write_all(&mut std::io::stdout().lock(), text.as_bytes());
    note_written(written);
}

/// Prints text as it is, to its last byte; false: nobody takes it.
pub(super) fn try_print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    let written = write_all(&mut out, text.as_bytes()).and_then(|()| retried(|| out.flush()));
    let is_taken = written.is_ok();
    note_written(written);
    is_taken
}

/// Writes all of it, also where another process has made a pipe or a terminal one that does not wait.
fn write_all(out: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match retried(|| out.write(text))? {
            0 => return Err(ErrorKind::WriteZero.into()),
            count => text = &text[count..],
        }
    }
    retried(|| out.flush())
}

fn retried<T>(mut step: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match step() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL_PIPE),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Notes why something was not printed, for [`report_lost`]. Who closes a pipe has seen enough.
pub(super) fn note_written(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        locked(&output().lost).get_or_insert(error);
    }
}

/// Prints that stdout has not taken everything, if so. Whether an answer is lost: of a command that works it is a summary, and the
/// work is done.
pub(super) fn report_lost() -> bool {
    let output = output();
    let mut lost = locked(&output.lost);
    let Some(error) = lost.take() else {
        return false;
    };
    let what = if output.is_work {
        "the summary is lost, what was done is not"
    } else {
        "the answer is lost"
    };
    self::error(&format!("cannot write to stdout: {error}; {what}"));
    !output.is_work
}

/// Prints one line, with control characters escaped.
pub(super) fn print_line(text: &str) {
    print(&format!("{}\n", printable::line(text)));
}

pub(super) fn print_table(table: &Table) {
    print(&format!("{}\n", fitted(table)));
}

/// A table as wide as the terminal, as COLUMNS or as 80 columns; with `--wide` as wide as it is.
pub(super) fn fitted(table: &Table) -> String {
    table.fit((!output().is_wide).then(width))
}

fn width() -> usize {
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    let variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal
        .map(|(terminal_size::Width(width), _)| usize::from(width))
        .or_else(variable)
        .filter(|width| *width > 0)
        .unwrap_or(USUAL_WIDTH)
}

/// Prints the document of a command; that of a command that works when [`finish`] knows its outcome.
pub(super) fn print_json(value: &impl Serialize) {
    match json(value) {
        Ok(text) if output().is_work => {
            *document() = Some(text);
        }
        Ok(text) => print_document(&text),
        Err(error) => self::error(&format!("the result is not JSON: {error}")),
    }
}

/// One line for a log, indented for a person.
fn json(value: &impl Serialize) -> serde_json::Result<String> {
    if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    }
}

fn document() -> std::sync::MutexGuard<'static, Option<String>> {
    locked(&output().document)
}

fn print_document(text: &str) {
    print_raw(&format!("{}\n", printable::lines(text)));
}

/// Notes the document of a command that has failed, for [`finish`].
pub(super) fn note_failure(value: &impl Serialize) {
    *document() = json(value).ok();
}

/// Prints the noted document, if there is one, with its outcome.
pub(super) fn finish(exit: Exit) {
    if let Some(text) = document().take() {
        print_document(&finished(&text, output().started_at, exit));
    }
}

/// What each document of a command that works ends with.
#[derive(Serialize)]
struct Ending {
    started_at: Timestamp,
    finished_at: Timestamp,
    exit_code: u8,
    error: Option<String>,
}

/// A JSON object with its outcome as its last members; its form, on one line or indented, stays.
pub(super) fn finished(text: &str, started_at: Timestamp, exit: Exit) -> String {
    #[derive(Default, Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<String>,
    }
    let Errors { errors } = serde_json::from_str(text).unwrap_or_default();
    let error = match exit {
        Exit::Done => None,
        _ if errors.is_empty() => Some(exit.sentence().to_owned()),
        _ => Some(errors.join("; ")),
    };
    let ending = Ending {
        started_at,
        finished_at: clock::now(),
        exit_code: exit.code(),
        error,
    };
    let (end, ending) = if text.ends_with("\n}") {
        ("\n}", serde_json::to_string_pretty(&ending))
    } else {
        ("}", serde_json::to_string(&ending))
    };
    match (text.strip_suffix(end), ending) {
        (Some("{"), Ok(ending)) => ending,
        (Some(members), Ok(ending)) => format!("{members},{}", &ending[1..]),
        _ => text.to_owned(),
    }
}

/// Prints a note for the person at the terminal on stderr; not with `-q`.
pub(super) fn note(text: &str) {
    if !output().is_quiet {
        say(Level::INFO, &printable::line(text));
    }
}

/// Prints a warning on stderr; not with `-q`.
pub(super) fn warning(text: &str) {
    if !output().is_quiet {
        say(Level::WARN, &printable::line(text));
    }
}

/// Prints an error on stderr: a sentence of a report or of a failure, in which only our own lists have further lines.
pub(super) fn error(sentence: &str) {
    say(Level::ERROR, &printable::lines(sentence));
}

/// Prints the warnings and errors of a report on stderr.
pub(super) fn sentences(warnings: &[String], errors: &[String]) {
    for sentence in warnings {
        warning(sentence);
    }
    for sentence in errors {
        error(sentence);
    }
}

fn say(level: Level, text: &str) {
    let output = output();
    let text = printable::without_credentials(text);
    let lines = logging::sentence(output.format, level, &text);
    let _ = output.writer.clone().write_all(lines.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_keeps_its_form_and_gets_its_outcome() {
        let at = Timestamp::UNIX_EPOCH;
        let report = serde_json::json!({ "errors": ["one", "two"], "rows": 1 });
        for text in [report.to_string(), format!("{report:#}"), "{}".to_owned()] {
            let text = finished(&text, at, Exit::Failed);
            let document: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(document["exit_code"], 1, "{text}");
            assert_eq!(document["started_at"], "1970-01-01T00:00:00Z", "{text}");
            assert!(document["error"].is_string(), "{text}");
        }
        let done = finished(r#"{"errors":["kept"]}"#, at, Exit::Done);
        assert!(
            done.starts_with(r#"{"errors":["kept"],"started_at":"#),
            "{done}"
        );
        assert!(done.ends_with(r#","exit_code":0,"error":null}"#), "{done}");
    }

    /// Takes a few bytes now and then, and is full otherwise.
    #[derive(Default)]
    struct FullPipe {
        taken: Vec<u8>,
        tries: u32,
    }

    impl Write for FullPipe {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.tries += 1;
            if !self.tries.is_multiple_of(3) {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = text.len().min(7);
            self.taken.extend(&text[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.tries += 1;
            match self.tries % 3 {
                0 => Ok(()),
                _ => Err(ErrorKind::Interrupted.into()),
            }
        }
    }

    #[test]
    fn a_full_pipe_that_does_not_wait_gets_everything() {
        let mut pipe = FullPipe::default();
        let text = "the answer, in pieces of a few bytes each";
        write_all(&mut pipe, text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(pipe.taken).unwrap(), text);
    }
}
