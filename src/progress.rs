//! Progress on stderr: bars on a terminal, log lines otherwise.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

use crate::printable;

/// The bars of an invocation: log lines go between them, never through them.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    bars: MultiProgress,
    /// Log lines otherwise.
    is_shown: bool,
}

impl Bars {
    /// Bars, if they are wanted and stderr is a terminal; log lines otherwise.
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            is_shown: is_wanted && io::stderr().is_terminal(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    bars: MultiProgress,
    /// Each line is a JSON document.
    is_json: bool,
}

impl LogWriter {
    /// `is_json`: each line is a JSON document.
    pub(crate) fn new(bars: &Bars, is_json: bool) -> Self {
        Self {
            bars: bars.bars.clone(),
            is_json,
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            // JSON does not escape the second set of control characters.
            Ok(text) if self.is_json => {
                let text = printable::json_without_credentials(text);
                (self.bars)
                    .suspend(|| io::stderr().write_all(printable::lines(&text).as_bytes()))?;
                Ok(line.len())
            }
            _ => self.bars.suspend(|| io::stderr().write(line)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[derive(Debug)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    waiting: Mutex<Option<ProgressBar>>,
}

#[derive(Debug)]
pub(crate) struct Task {
    name: String,
    bar: Option<ProgressBar>,
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    pub(crate) fn new(bars: &Bars) -> Self {
        Self {
            bars: bars.is_shown.then(|| bars.bars.clone()),
            waiting: Mutex::default(),
        }
    }

    /// Starts the bar or the log lines of a resource.
    pub(crate) fn task(&self, name: &str, note: &str) -> Task {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_style(style("{prefix:>20} {bar:30} {pos}/{len} {msg}"));
            bar.set_prefix(name.to_owned());
            bar.set_message(note.to_owned());
            bar
        });
        if bar.is_none() {
            info!("{name}: {note}");
        }
        Task {
            name: name.to_owned(),
            bar,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        }
    }

    /// Shows why requests wait, and for how long; `None` removes the line.
    pub(crate) fn waiting(&self, wait: Option<String>) {
        let mut shown = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match (&self.bars, wait) {
            (Some(bars), Some(wait)) => {
                let bar = shown.get_or_insert_with(|| {
                    let bar = bars.add(ProgressBar::new_spinner());
                    bar.set_style(style("{spinner} {msg}"));
                    bar
                });
                bar.set_message(wait);
                bar.tick();
            }
            (_, None) => {
                if let Some(bar) = shown.take() {
                    bar.finish_and_clear();
                }
            }
            (None, Some(_)) => {}
        }
    }

    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }
}

impl Task {
    pub(crate) fn expect(&self, pages: u64) {
        let total = self.total.fetch_add(pages, Ordering::Relaxed) + pages;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    pub(crate) fn page(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if done.is_multiple_of(100) => {
                let total = self.total.load(Ordering::Relaxed);
                info!("{}: {done} of {total} pages", self.name);
            }
            None => {}
        }
    }

    pub(crate) fn finish(self, note: &str) {
        match &self.bar {
            Some(bar) => bar.finish_with_message(note.to_owned()),
            None => info!("{}: {note}", self.name),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
