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
use crate::name::Name;
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
    shown: Shown,
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
    pace: Pace,
    logged: LastLine,
}

/// Counts at times of the last half minute.
#[derive(Debug, Default)]
struct Pace(VecDeque<(Instant, u64)>);

/// When the last line was logged.
#[derive(Debug, Default)]
struct LastLine(Option<Instant>);

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
        let (now, done) = (Instant::now(), state.done);
        state.pace.sample(now, done);
        match self.screen.shown {
            Shown::Drawn => {
                let lines = state.block(width() - 1, waiting, allowance);
                drop(state);
                self.screen.draw(lines);
            }
            Shown::Logged if state.logged.is_due(now) => {
                // A wait is logged by itself.
                let text = state.sentence(allowance);
                drop(state);
                info!("{text}");
            }
            Shown::Logged | Shown::Nothing => {}
        }
    }

    pub(crate) fn clear(&self) {
        self.screen.draw(Vec::new());
    }
}

impl Pace {
    fn sample(&mut self, now: Instant, done: u64) {
        let past = &mut self.0;
        past.push_back((now, done));
        while past.len() > 2
            && (past.get(1)).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_WINDOW)
        {
            past.pop_front();
        }
    }

    /// How many a second; none before there is a second to judge by. What is begun again counts from where it is.
    fn rate(&self) -> Option<f64> {
        let ((first, before), (last, done)) = (self.0.front()?, self.0.back()?);
        let seconds = last.duration_since(*first).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        (seconds >= 1.0).then(|| done.saturating_sub(*before) as f64 / seconds)
    }
}

impl LastLine {
    /// Whether ten seconds have passed since the first question or the last line.
    fn is_due(&mut self, now: Instant) -> bool {
        let since = *self.0.get_or_insert(now);
        let is_due = now.duration_since(since) >= LOGGED_EVERY;
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

impl State {
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
        parts.extend(self.pace.rate().map(|rate| format!("{rate:.1}/s")));
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

/// How far a load is at one moment.
#[derive(Clone, Debug)]
pub(crate) struct LoadSnapshot {
    pub(crate) resource: Name,
    /// Staged rows of the resource.
    pub(crate) rows: u64,
    /// Those of them that were read.
    pub(crate) rows_read: u64,
    /// The same of all resources so far.
    pub(crate) rows_read_in_all: u64,
}

/// The progress of the loads of one command; its line goes with it.
pub(crate) struct LoadDisplay {
    screen: Screen,
    pace: Pace,
    logged: LastLine,
}

impl LoadDisplay {
    pub(crate) fn new(screen: &Screen) -> Self {
        Self {
            screen: screen.clone(),
            pace: Pace::default(),
            logged: LastLine::default(),
        }
    }

    /// Shows how far the load of the `at`th of `all` runs is.
    pub(crate) fn tick(&mut self, at: usize, all: usize, snapshot: Option<&LoadSnapshot>) {
        let now = Instant::now();
        let rows = snapshot.map_or(0, |snapshot| snapshot.rows_read_in_all);
        self.pace.sample(now, rows);
        match self.screen.shown {
            Shown::Drawn => {
                let line = self.parts(at, all, snapshot).join("  ");
                self.screen.draw(vec![cut(&line, width() - 1)]);
            }
            Shown::Logged if self.logged.is_due(now) => {
                info!("{}", self.parts(at, all, snapshot).join(", "));
            }
            Shown::Logged | Shown::Nothing => {}
        }
    }

    fn parts(&self, at: usize, all: usize, snapshot: Option<&LoadSnapshot>) -> Vec<String> {
        let mut parts = vec![format!("loading run {at} of {all}")];
        let Some(snapshot) = snapshot else {
            return parts;
        };
        parts.push(snapshot.resource.to_string());
        let (read, rows) = (snapshot.rows_read, snapshot.rows);
        if read < rows {
            parts.push(format!("{} of {}", grouped(read), counted(rows, "row")));
            let rate = self.pace.rate().map(|rate| format!("{rate:.0} rows/s"));
            parts.extend(rate);
        } else {
            // The server is busy with them.
            parts.push(format!("{} read", counted(rows, "row")));
        }
        parts
    }
}

impl Drop for LoadDisplay {
    fn drop(&mut self) {
        self.screen.draw(Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_full_before_it_has_ended() {
        let progress = Progress::new(&Screen::new(Shown::Nothing));
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
        let progress = Progress::new(&Screen::new(Shown::Nothing));
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

    #[test]
    fn a_load_shows_its_run_resource_rows_and_rate() {
        let mut display = LoadDisplay::new(&Screen::new(Shown::Nothing));
        let line = |display: &LoadDisplay, snapshot: Option<&LoadSnapshot>| {
            display.parts(2, 3, snapshot).join("  ")
        };
        assert_eq!(line(&display, None), "loading run 2 of 3");
        let mut snapshot = LoadSnapshot {
            resource: Name::parse("users").unwrap(),
            rows: 92_500,
            rows_read: 0,
            rows_read_in_all: 1_000,
        };
        let shown = line(&display, Some(&snapshot));
        assert_eq!(shown, "loading run 2 of 3  users  0 of 92,500 rows");
        let start = Instant::now();
        display.pace.sample(start, 1_000);
        display.pace.sample(start + Duration::from_secs(2), 41_000);
        snapshot.rows_read = 40_000;
        let shown = line(&display, Some(&snapshot));
        let expected = "loading run 2 of 3  users  40,000 of 92,500 rows  20000 rows/s";
        assert_eq!(shown, expected);
        snapshot.rows_read = 92_500;
        let shown = line(&display, Some(&snapshot));
        assert_eq!(shown, "loading run 2 of 3  users  92,500 rows read");
        // What is read again is no negative rate.
        display.pace.sample(start + Duration::from_secs(4), 0);
        assert_eq!(display.pace.rate(), Some(0.0));
    }

    #[test]
    fn a_line_of_a_log_is_due_every_ten_seconds() {
        let mut logged = LastLine::default();
        let start = Instant::now();
        let mut is_due = |seconds: &u64| logged.is_due(start + Duration::from_secs(*seconds));
        let found: Vec<u64> = (0..31).filter(|at| is_due(at)).collect();
        assert_eq!(found, [10, 20, 30]);
    }
}
