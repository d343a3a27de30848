//! Stderr: lines of progress at the bottom of a terminal, log lines above them.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};

use terminal_size::Width;
use unicode_width::UnicodeWidthStr;

use crate::mutex::locked;

/// Of a terminal whose width is unknown.
const USUAL_WIDTH: usize = 80;

/// The stderr of an invocation: log lines go above the lines of progress, never through them.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    /// What is drawn now; the cursor is behind it.
    drawn: Arc<Mutex<Vec<String>>>,
    pub(super) shown: Shown,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    /// A line of the log every ten seconds.
    Logged,
    /// Drawn at the bottom of the terminal, where stderr is one; logged elsewhere.
    Drawn,
}

impl Screen {
    pub(crate) fn new(wanted: Shown) -> Self {
        let shown = match wanted {
            Shown::Drawn if !io::stderr().is_terminal() => Shown::Logged,
            wanted => wanted,
        };
        Self {
            drawn: Arc::default(),
            shown,
        }
    }

    pub(super) fn draw(&self, lines: Vec<String>) {
        let mut drawn = locked(&self.drawn);
        if *drawn != lines {
            let text = erased(&drawn, width()) + &lines.join("\n");
            // What cannot be written is lost, and nothing else.
            let _ = io::stderr().write_all(text.as_bytes());
            *drawn = lines;
        }
    }
}

/// What erases lines that were drawn, also after a resize: a narrower terminal has broken them into several.
fn erased(drawn: &[String], width: usize) -> String {
    let rows: usize = (drawn.iter())
        .map(|line| line.width().div_ceil(width).max(1))
        .sum();
    match rows {
        0 => String::new(),
        1 => "\r\x1b[J".to_owned(),
        rows => format!("\r\x1b[{}A\x1b[J", rows - 1),
    }
}

pub(super) fn width() -> usize {
    let size = terminal_size::terminal_size_of(io::stderr());
    size.map_or(USUAL_WIDTH, |(Width(width), _)| usize::from(width).max(2))
}

/// Whole lines, above those of progress.
impl Write for Screen {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut drawn = locked(&self.drawn);
        if drawn.is_empty() {
            return io::stderr().write(line);
        }
        // Drawn again by the next tick.
        let erased = erased(&drawn, width());
        drawn.clear();
        io::stderr().write_all(erased.as_bytes())?;
        io::stderr().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_a_resize_has_broken_are_erased_whole() {
        let drawn = ["x".repeat(79), "x".repeat(20), String::new()];
        assert_eq!(erased(&drawn, 80), "\r\x1b[2A\x1b[J");
        assert_eq!(erased(&drawn, 30), "\r\x1b[4A\x1b[J");
        assert_eq!(erased(&[], 30), "");
    }
}
