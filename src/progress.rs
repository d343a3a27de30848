//! Progress on stderr: a block of lines at the bottom of a terminal, or a log line every ten seconds. Counts pages; does not know what
//! they hold.

mod load_display;
mod pace;
mod screen;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::SignedDuration;
use tracing::{debug, info};
use unicode_width::UnicodeWidthStr;

use crate::api::Allowance;
use crate::convert::{counted, grouped, span};
use crate::mutex::locked;
use crate::table::cut;
pub(crate) use load_display::{LoadDisplay, LoadSnapshot};
use pace::{LastLine, Pace};
pub(crate) use screen::{Screen, Shown};

const BAR: usize = 20;
/// More resources than this are not shown one by one.
const MOST_LINES: usize = 12;
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
                let lines = state.block(screen::width() - 1, waiting, allowance);
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
}
