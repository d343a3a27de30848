//! What one invocation of the pipeline shares: its progress display, its database sessions, and what it is doing. Nothing of it is process-global, so
//! that two pipelines can run in one process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::api::AnswerCounts;
use crate::database::Sessions;
use crate::mutex::locked;
use crate::progress::{LoadDisplay, Progress, Screen};

/// Shared by all parts of an invocation; a clone is the same context.
#[derive(Clone)]
pub(crate) struct Context(Arc<Shared>);

struct Shared {
    screen: Screen,
    sessions: Sessions,
    activity: Mutex<Activity>,
    warned: Mutex<BTreeSet<&'static str>>,
    answers: AnswerCounts,
}

/// What is being done, noted here because an interrupted process has no time to query the database.
#[derive(Clone)]
pub(crate) enum Activity {
    /// Nothing that could be left half done.
    Idle,
    /// A service that waits for requests or for its next round: a signal is how it ends.
    Waiting,
    /// The staging directory is ours, and with it its open run.
    Extracting,
    /// A run is being loaded, after `done` of `all`.
    Loading {
        done: usize,
        all: usize,
        run: String,
    },
    /// The mirror is being replaced by what was replayed.
    Rebuilding,
}

impl Context {
    pub(crate) fn new(screen: Screen) -> Self {
        Self(Arc::new(Shared {
            screen,
            sessions: Sessions::default(),
            activity: Mutex::new(Activity::Idle),
            warned: Mutex::default(),
            answers: AnswerCounts::default(),
        }))
    }

    /// The database sessions of the work in [`Sessions::scope`].
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The answers that the API has given to this invocation.
    pub(crate) fn answers(&self) -> &AnswerCounts {
        &self.0.answers
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress::new(&self.0.screen)
    }

    /// The display of the loads of one command.
    pub(crate) fn load_display(&self) -> LoadDisplay {
        LoadDisplay::new(&self.0.screen)
    }

    /// Notes what is done from here on, for [`Self::activity`].
    pub(crate) fn begin(&self, activity: Activity) {
        // It has a commit of its own.
        self.0.sessions.begin_commit();
        *locked(&self.0.activity) = activity;
    }

    pub(crate) fn activity(&self) -> Activity {
        locked(&self.0.activity).clone()
    }

    /// Logs a warning, unless one of this topic was logged before.
    pub(crate) fn warn_once(&self, topic: &'static str, sentence: impl FnOnce() -> String) {
        if locked(&self.0.warned).insert(topic) {
            tracing::warn!("{}", sentence());
        }
    }
}
