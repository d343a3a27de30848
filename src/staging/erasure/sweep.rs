//! Looks through the pages of all runs for people, and has those with one of them rewritten.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::found::Swept;
use super::rewrite::{Part, Write};
use super::sought::Sought;
use crate::mutex::locked;
use crate::person::People;
use crate::staging::directory::Staging;
use crate::staging::error::StagingError;
use crate::staging::lock::StagingLock;

/// Runs are read side by side on this many threads.
const THREADS: usize = 2;

impl Staging {
    /// The pages that hold one of them. Nothing is changed.
    pub(crate) fn find_people(
        &self,
        people: &People,
        sought: &Sought,
    ) -> Result<Swept, StagingError> {
        self.sweep(people, sought, None)
    }

    /// Rewrites every page that holds one of them, in the name of an erasure that was begun.
    pub(crate) fn erase(
        &self,
        lock: &StagingLock,
        people: &People,
        sought: &Sought,
        erasure: &str,
    ) -> Result<Swept, StagingError> {
        if self.is_elsewhere() {
            // Whom the ledger names is blank in what is read from there.
            return Ok(Swept::default());
        }
        self.finish_removals(lock)?;
        // Of a pull that was killed: the next one brings them again.
        self.forget_arrivals(lock)?;
        let ledger = Mutex::new(self.erasures()?);
        self.sweep(people, sought, Some((lock, erasure, &ledger)))
    }

    fn sweep(
        &self,
        people: &People,
        sought: &Sought,
        write: Write<'_>,
    ) -> Result<Swept, StagingError> {
        let mut parts = Vec::new();
        let mut swept = Swept::default();
        for run in self.runs()? {
            for resource in run.resources()? {
                if people.declares(&resource) {
                    if people.places_in(&resource).next().is_some() {
                        parts.push((run.clone(), resource));
                    }
                } else if !swept.undeclared.iter().any(|(name, _)| *name == resource) {
                    swept.undeclared.push((resource, run.id().to_string()));
                }
            }
        }
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some((run, resource)) =
                        parts.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let part = Part {
                            staging: self,
                            people,
                            sought,
                            run,
                            resource,
                        };
                        let result = part.sweep(write);
                        locked(&found).push(result);
                    }
                });
            }
        });
        for result in found
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            match result {
                Ok(pages) => swept.pages.extend(pages),
                Err(error @ (StagingError::Broken { .. } | StagingError::Untrusted(_))) => {
                    swept.failed.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        swept
            .pages
            .sort_by(|a, b| (&a.run, &a.resource, &a.file).cmp(&(&b.run, &b.resource, &b.file)));
        Ok(swept)
    }
}
