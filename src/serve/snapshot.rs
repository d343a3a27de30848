//! A document that is read in the background, one reader at a time, and kept with its time. Who asks gets what is kept, and has it read
//! again if it is some seconds old; so a page costs nothing, and many clients cost one query. Knows nothing of what a document holds.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::mutex::locked;

/// Until it is read again.
const FRESH: Duration = Duration::from_secs(5);
/// What is older was asked for by nobody since: the new one is waited for.
const OLD: Duration = Duration::from_mins(1);

/// How long who asks waits for what is not there, or old.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    /// A page is there at once, and fetched again as soon as there is more to show.
    Page,
    /// A program asks once.
    Program,
}

impl Patience {
    fn for_first(self) -> Duration {
        match self {
            Self::Page => Duration::from_millis(20),
            Self::Program => Duration::from_secs(15),
        }
    }

    fn for_newer(self) -> Duration {
        match self {
            Self::Page => Duration::from_millis(20),
            Self::Program => Duration::from_secs(1),
        }
    }
}

/// What was read.
pub(crate) struct Reading<T> {
    /// None: nothing could be read.
    pub(crate) document: Option<T>,
    /// Why it is not whole: a sentence for people.
    pub(crate) failure: Option<String>,
}

/// What is known of a document.
pub(crate) struct Shown<T> {
    /// The last that could be read; none: none could.
    pub(crate) document: Option<Arc<T>>,
    /// When it was read.
    pub(crate) at: Timestamp,
    /// Whether it lacks what could not be read, and is new otherwise.
    pub(crate) is_partial: bool,
    /// Whether it is old, and is being read again.
    pub(crate) is_awaited: bool,
    /// Since when it cannot be read, and why.
    pub(crate) outage: Option<Outage>,
}

#[derive(Clone)]
pub(crate) struct Outage {
    pub(crate) since: Timestamp,
    pub(crate) sentence: String,
}

impl<T> Clone for Shown<T> {
    fn clone(&self) -> Self {
        Self {
            document: self.document.clone(),
            at: self.at,
            is_partial: self.is_partial,
            is_awaited: self.is_awaited,
            outage: self.outage.clone(),
        }
    }
}

/// A document, kept.
pub(crate) struct Snapshot<T> {
    kept: watch::Sender<Option<Kept<T>>>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

struct Kept<T> {
    shown: Shown<T>,
    read_at: Instant,
}

impl<T: Send + Sync + 'static> Snapshot<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            kept: watch::Sender::new(None),
            reader: Mutex::default(),
        })
    }

    /// What is kept, and when it was read; has it read again if it is no longer fresh. `read` gets what was read before.
    pub(crate) async fn get<F>(
        self: &Arc<Self>,
        patience: Patience,
        read: impl FnOnce(Option<Arc<T>>) -> F,
    ) -> Option<Shown<T>>
    where
        F: Future<Output = Reading<T>> + Send + 'static,
    {
        let (shown, age) = self.kept();
        if age.is_none_or(|age| age >= FRESH) {
            self.refresh(read);
        }
        let patience = match age {
            Some(age) if age < OLD => return shown,
            Some(_) => patience.for_newer(),
            None => patience.for_first(),
        };
        let mut kept = self.kept.subscribe();
        let is_new = |kept: &Option<Kept<T>>| {
            (kept.as_ref()).is_some_and(|kept| kept.read_at.elapsed() < OLD)
        };
        let _ = tokio::time::timeout(patience, kept.wait_for(is_new)).await;
        let (shown, age) = self.kept();
        shown.map(|shown| Shown {
            is_awaited: age.is_some_and(|age| age >= OLD),
            ..shown
        })
    }

    /// Breaks off a reading that is under way.
    pub(crate) fn stop(&self) {
        if let Some(reader) = locked(&self.reader).take() {
            reader.abort();
        }
    }

    fn kept(&self) -> (Option<Shown<T>>, Option<Duration>) {
        let kept = self.kept.borrow();
        let kept = kept.as_ref();
        (
            kept.map(|kept| kept.shown.clone()),
            kept.map(|kept| kept.read_at.elapsed()),
        )
    }

    /// Has it read, unless it is being read.
    pub(crate) fn refresh<F>(self: &Arc<Self>, read: impl FnOnce(Option<Arc<T>>) -> F)
    where
        F: Future<Output = Reading<T>> + Send + 'static,
    {
        let mut reader = locked(&self.reader);
        // One that has panicked is finished as well.
        if reader.as_ref().is_some_and(|reader| !reader.is_finished()) {
            return;
        }
        let before = self.kept().0;
        let document = before.as_ref().and_then(|shown| shown.document.clone());
        let reading = read(document);
        let snapshot = Arc::clone(self);
        *reader = Some(tokio::spawn(async move {
            let Reading { document, failure } = reading.await;
            let now = crate::clock::now();
            let outage = failure.map(|sentence| Outage {
                since: (before.as_ref())
                    .and_then(|before| Some(before.outage.as_ref()?.since))
                    .unwrap_or(now),
                sentence,
            });
            let shown = match (document, before) {
                (None, Some(before)) => Shown {
                    outage,
                    is_partial: false,
                    ..before
                },
                (document, _) => Shown {
                    is_partial: document.is_some() && outage.is_some(),
                    is_awaited: false,
                    document: document.map(Arc::new),
                    at: now,
                    outage,
                },
            };
            snapshot.kept.send_replace(Some(Kept {
                shown,
                read_at: Instant::now(),
            }));
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn number(reads: &Arc<AtomicUsize>) -> impl Future<Output = Reading<usize>> + use<> {
        let reads = Arc::clone(reads);
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Reading {
                document: Some(reads.fetch_add(1, Ordering::Relaxed) + 1),
                failure: None,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_cost_one_reading() {
        let (snapshot, reads) = (Snapshot::new(), Arc::new(AtomicUsize::new(0)));
        let ask = async || {
            let shown = snapshot
                .get(Patience::Program, |_| number(&reads))
                .await
                .unwrap();
            *shown.document.unwrap()
        };
        assert_eq!(tokio::join!(ask(), ask(), ask()), (1, 1, 1));
        // Fresh: nothing is read.
        assert_eq!(ask().await, 1);
        tokio::time::sleep(FRESH).await;
        // What is kept is given at once, and read again beside.
        assert_eq!(tokio::join!(ask(), ask()), (1, 1));
        tokio::time::sleep(FRESH / 2).await;
        assert_eq!(ask().await, 2);
        // Old: the new one is waited for.
        tokio::time::sleep(OLD).await;
        assert_eq!(ask().await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_does_not_wait_for_what_takes_long() {
        let (snapshot, reads) = (Snapshot::new(), Arc::new(AtomicUsize::new(0)));
        let ask = || snapshot.get(Patience::Page, |_| number(&reads));
        assert!(ask().await.is_none());
        tokio::time::sleep(OLD + FRESH).await;
        // It was read once, long ago.
        let old = ask().await.unwrap();
        assert!(old.is_awaited && old.document.as_deref() == Some(&1));
        tokio::time::sleep(FRESH / 2).await;
        let new = ask().await.unwrap();
        assert!(!new.is_awaited && new.document.as_deref() == Some(&2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_keeps_what_was_known_and_its_beginning() {
        let snapshot = Snapshot::new();
        let ask = async |failure: Option<&'static str>| {
            tokio::time::sleep(OLD).await;
            let document = failure.is_none().then_some(7);
            let failure = failure.map(str::to_owned);
            let reading = async move { Reading { document, failure } };
            snapshot.get(Patience::Program, |_| reading).await.unwrap()
        };
        assert!(ask(None).await.outage.is_none());
        let first = ask(Some("away")).await;
        assert_eq!(first.document.as_deref(), Some(&7));
        let second = ask(Some("still away")).await;
        let outage = second.outage.unwrap();
        assert_eq!(outage.since, first.outage.unwrap().since);
        assert_eq!(outage.sentence, "still away");
        assert!(ask(None).await.outage.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_panics_is_followed_by_another() {
        let (snapshot, reads) = (Snapshot::new(), Arc::new(AtomicUsize::new(0)));
        let fault = async { panic!("a fault of the test") };
        assert!(
            snapshot
                .get(Patience::Program, |_: Option<Arc<usize>>| fault)
                .await
                .is_none()
        );
        let shown = snapshot
            .get(Patience::Program, |_| number(&reads))
            .await
            .unwrap();
        assert_eq!(shown.document.as_deref(), Some(&1));
    }
}
