//! The progress of loads: run, resource, rows.

use std::time::Instant;

use tracing::info;

use super::pace::{LastLine, Pace};
use super::screen::{Screen, Shown, width};
use crate::convert::{counted, grouped};
use crate::name::Name;
use crate::table::cut;

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
    use std::time::Duration;

    use super::*;

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
}
