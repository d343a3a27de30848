//! Progress on stderr: a block of lines at the bottom of a terminal, or a log line every ten seconds. Counts pages; does not know what
//! they hold.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use terminal_size::Width;
use tracing::{debug, info};
use unicode_width::UnicodeWidthStr;

use crate::api::Allowance;
use crate::convert::{counted, grouped, span};
use crate::mutex::locked;
use crate::table::cut;

/// Without a terminal a line comes no more often.
const LOGGED_EVERY: Duration = Duration::from_secs(10);
/// The rate is that of so long a time before now.
const RATE_WINDOW: Duration = Duration::from_secs(30);
const BAR: usize = 20;
/// More resources than this are not shown one by one.
const MOST_LINES: usize = 12;
/// Of a terminal whose width is unknown.
const USUAL_WIDTH: usize = 80;

/// The stderr of an invocation: log lines go above the lines of progress, never through them.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    /// What is drawn now; the cursor is behind it.
    drawn: Arc<Mutex<Vec<String>>>,
    /// Log lines otherwise.
    has_block: bool,
}

impl Screen {
    /// Draws progress, if that is wanted and stderr is a terminal.
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self {
            drawn: Arc::default(),
            has_block: is_wanted && io::stderr().is_terminal(),
        }
    }

    fn draw(&self, lines: Vec<String>) {
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

fn width() -> usize {
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

#[derive(Debug)]
pub(crate) struct Progress {
    screen: Screen,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tasks: Vec<Counts>,
    begun: u64,
    ended: u64,
    /// Pages of all reads, ended ones too.
    done: u64,
    expected: u64,
    /// Pages that had been received, at times of the last half minute.
    past: VecDeque<(Instant, u64)>,
    logged: Option<Instant>,
}

#[derive(Debug)]
struct Counts {
    id: u64,
    name: String,
    done: u64,
    expected: u64,
}

/// A read of a resource; its line ends with it.
#[derive(Debug)]
pub(crate) struct Task {
    id: u64,
    name: String,
    state: Arc<Mutex<State>>,
}

impl Progress {
    pub(crate) fn new(screen: &Screen) -> Self {
        Self {
            screen: screen.clone(),
            state: Arc::default(),
        }
    }

    pub(crate) fn task(&self, name: &str, note: &str) -> Task {
        debug!("{name}: {note}");
        let mut state = locked(&self.state);
        state.begun += 1;
        let id = state.begun;
        state.tasks.push(Counts {
            id,
            name: name.to_owned(),
            done: 0,
            expected: 0,
        });
        Task {
            id,
            name: name.to_owned(),
            state: Arc::clone(&self.state),
        }
    }

    /// Shows what has become of the reads. `waiting`: why requests wait, and for how long.
    pub(crate) fn tick(&self, waiting: Option<&str>, allowance: Option<&Allowance>) {
        let mut state = locked(&self.state);
        let now = Instant::now();
        state.sample(now);
        if self.screen.has_block {
            let lines = state.block(width() - 1, waiting, allowance);
            drop(state);
            self.screen.draw(lines);
        } else if state.is_due(now) {
            // A wait is logged by itself.
            let text = state.sentence(allowance);
            drop(state);
            info!("{text}");
        }
    }

    pub(crate) fn clear(&self) {
        self.screen.draw(Vec::new());
    }
}

impl State {
    fn sample(&mut self, now: Instant) {
        self.past.push_back((now, self.done));
        while self.past.len() > 2
            && (self.past.get(1)).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_WINDOW)
        {
            self.past.pop_front();
        }
    }

    /// Whether ten seconds have passed since the first tick or the last line.
    fn is_due(&mut self, now: Instant) -> bool {
        let since = *self.logged.get_or_insert(now);
        let is_due = now.duration_since(since) >= LOGGED_EVERY;
        if is_due {
            self.logged = Some(now);
        }
        is_due
    }

    /// Pages a second.
    fn rate(&self) -> Option<f64> {
        let ((first, before), (last, done)) = (self.past.front()?, self.past.back()?);
        let seconds = last.duration_since(*first).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        (seconds >= 1.0).then(|| (done - before) as f64 / seconds)
    }

    /// The share of all expected pages, the rate, the time left and the requests left.
    fn totals(&self, allowance: Option<&Allowance>) -> Vec<String> {
        let mut parts = Vec::new();
        let left = self.expected.saturating_sub(self.done);
        if left > 0 && self.done > 0 {
            let share = self.done * 100 / self.expected;
            parts.push(format!("{share} %"));
            parts.push(format!(
                "{} of {}",
                grouped(self.done),
                counted(self.expected, "page")
            ));
        } else {
            parts.push(counted(self.done, "page"));
        }
        parts.extend(self.rate().map(|rate| format!("{rate:.1}/s")));
        if let Some(allowance) = allowance {
            if left > 0 {
                let time = SignedDuration::try_from(allowance.time_for(left));
                parts.push(format!(
                    "{} left",
                    span(time.unwrap_or(SignedDuration::MAX))
                ));
            }
            let requests = counted(allowance.left, "request");
            parts.push(format!("{requests} left this hour"));
        }
        parts
    }

    /// A line for each running read, one for all, and why requests wait.
    fn block(
        &self,
        width: usize,
        waiting: Option<&str>,
        allowance: Option<&Allowance>,
    ) -> Vec<String> {
        let shown = self.tasks.len().min(MOST_LINES);
        let names = self.tasks[..shown].iter().map(|task| task.name.width());
        let name = names.max().unwrap_or(0);
        let has_bars = width > name + BAR + 2 * "  ".len() + "1,000 of 1,000 pages".len();
        let mut lines: Vec<String> = (self.tasks[..shown].iter())
            .map(|task| format!("{:<name$}  {}", task.name, task.shown(has_bars)))
            .collect();
        let hidden = (self.tasks.len() - shown) as u64;
        if hidden > 0 {
            lines.push(format!("and {} more", counted(hidden, "resource")));
        }
        lines.push(format!("total  {}", self.totals(allowance).join("  ")));
        lines.extend(waiting.map(str::to_owned));
        lines.iter().map(|line| cut(line, width)).collect()
    }

    /// The same in one line of a log.
    fn sentence(&self, allowance: Option<&Allowance>) -> String {
        let mut text = self.totals(allowance).join(", ");
        let _ = write!(text, "; {} read", counted(self.ended, "resource"));
        for task in self.tasks.iter().filter(|task| task.is_known()) {
            let (done, expected) = (grouped(task.done), grouped(task.expected));
            let _ = write!(text, "; {}: {done} of {expected}", task.name);
        }
        text
    }
}

impl Counts {
    /// Whether more is expected than has come: only then a share says something.
    fn is_known(&self) -> bool {
        self.done > 0 && self.expected > self.done
    }

    fn shown(&self, has_bar: bool) -> String {
        let full = usize::try_from(self.done).unwrap_or(usize::MAX);
        let of = usize::try_from(self.expected).unwrap_or(usize::MAX).max(1);
        // A read that has not ended is not full.
        let full = if self.is_known() { full * BAR / of } else { 0 };
        let pages = |pages| counted(pages, "page");
        let figures = match self.done {
            0 => "starting".to_owned(),
            done if self.is_known() => format!("{} of {}", grouped(done), pages(self.expected)),
            done => pages(done),
        };
        if has_bar {
            let bar = "█".repeat(full) + &"░".repeat(BAR - full);
            format!("{bar}  {figures}")
        } else {
            figures
        }
    }
}

impl Task {
    fn count(&self, done: u64, expected: u64) {
        let mut state = locked(&self.state);
        state.done += done;
        state.expected += expected;
        if let Some(task) = state.tasks.iter_mut().find(|task| task.id == self.id) {
            task.done += done;
            task.expected += expected;
        }
    }

    pub(crate) fn expect(&self, pages: u64) {
        self.count(0, pages);
    }

    pub(crate) fn page(&self) {
        self.count(1, 0);
    }

    pub(crate) fn finish(self, note: &str) {
        debug!("{}: {note}", self.name);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut state = locked(&self.state);
        state.tasks.retain(|task| task.id != self.id);
        state.ended += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_full_before_it_has_ended() {
        let progress = Progress::new(&Screen::new(false));
        let task = progress.task("users", "full");
        let line = || locked(&progress.state).block(79, None, None);
        assert_eq!(line()[0], format!("users  {}  starting", "░".repeat(BAR)));
        task.expect(1);
        task.page();
        assert_eq!(line()[0], format!("users  {}  1 page", "░".repeat(BAR)));
        task.expect(3);
        task.page();
        let half = "█".repeat(BAR / 2) + &"░".repeat(BAR / 2);
        assert_eq!(
            line(),
            [
                format!("users  {half}  2 of 4 pages"),
                "total  50 %  2 of 4 pages".to_owned()
            ]
        );
        task.finish("complete");
        assert_eq!(line(), ["total  50 %  2 of 4 pages"]);
    }

    #[test]
    fn a_block_fits_a_terminal_of_any_width() {
        let progress = Progress::new(&Screen::new(false));
        let tasks: Vec<Task> = (0..20)
            .map(|at| progress.task(&format!("resource_{at}"), ""))
            .collect();
        tasks[0].expect(12_345);
        tasks[0].page();
        for width in 2..200 {
            let lines =
                locked(&progress.state).block(width, Some("throttled by the API (429)"), None);
            assert_eq!(lines.len(), MOST_LINES + 3, "{lines:?}");
            assert!(lines.iter().all(|line| line.width() <= width), "{lines:?}");
        }
    }

    #[test]
    fn lines_that_a_resize_has_broken_are_erased_whole() {
        let drawn = ["x".repeat(79), "x".repeat(20), String::new()];
        assert_eq!(erased(&drawn, 80), "\r\x1b[2A\x1b[J");
        assert_eq!(erased(&drawn, 30), "\r\x1b[4A\x1b[J");
        assert_eq!(erased(&[], 30), "");
    }
}
