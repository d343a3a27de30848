//! Staged pages, read, unpacked and checked on a thread of their own while those before are decoded.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope};

use crate::staging::{PageEntry, StagedResource, StagingError};

/// Small pages are handed over together, about so many bytes.
const BATCH: u64 = 256 << 10;
/// Of larger pages there is only one in memory.
const LARGE: u64 = 2 << 20;

/// A page, or why it cannot be read.
pub(super) struct Page<'s> {
    pub(super) entry: &'s PageEntry,
    pub(super) body: Result<Vec<u8>, StagingError>,
}

type Batch<'s> = Vec<Page<'s>>;

/// Pages as they come from the thread.
pub(super) struct Pages<'s> {
    batches: Receiver<Batch<'s>>,
    /// Where memory goes that is done with, a batch at a time.
    done: Sender<Vec<Vec<u8>>>,
}

struct Reader<'s> {
    staged: &'s StagedResource,
    batches: SyncSender<Batch<'s>>,
    done: Receiver<Vec<Vec<u8>>>,
    /// Batches that are not back yet.
    out: usize,
    spare: Vec<Vec<u8>>,
}

impl<'s> Pages<'s> {
    /// Begins to read these pages.
    pub(super) fn read<'scope>(
        scope: &'scope Scope<'scope, 's>,
        staged: &'s StagedResource,
        entries: Vec<&'s PageEntry>,
    ) -> std::io::Result<Self> {
        let (give, batches) = sync_channel(1);
        let (done, back) = channel();
        let reader = Reader {
            staged,
            batches: give,
            done: back,
            out: 0,
            spare: Vec::new(),
        };
        Builder::new()
            .name("pages".to_owned())
            .spawn_scoped(scope, move || reader.run(entries))?;
        Ok(Self { batches, done })
    }

    /// Hands every page to `each`, which gives its memory back, until there is an error.
    pub(super) fn each<E>(
        self,
        mut each: impl FnMut(Page<'s>) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        for batch in &self.batches {
            let done = batch.into_iter().map(&mut each).collect::<Result<_, E>>()?;
            // The thread may have ended already.
            let _ = self.done.send(done);
        }
        Ok(())
    }
}

impl<'s> Reader<'s> {
    fn run(mut self, entries: Vec<&'s PageEntry>) {
        let mut batch = Batch::new();
        let mut bytes = 0;
        for entry in entries {
            if entry.bytes > LARGE {
                if !self.give(&mut batch) || !self.wait() {
                    return;
                }
                bytes = 0;
            }
            let mut body = self.spare.pop().unwrap_or_default();
            let read = self.staged.read(entry, &mut body);
            let is_end = read.is_err();
            batch.push(Page {
                entry,
                body: read.map(|()| body),
            });
            bytes += entry.bytes;
            if bytes >= BATCH || is_end {
                if !self.give(&mut batch) || is_end {
                    return;
                }
                bytes = 0;
            }
        }
        self.give(&mut batch);
    }

    /// Hands a batch over; false if nobody takes it any more.
    fn give(&mut self, batch: &mut Batch<'s>) -> bool {
        while let Ok(back) = self.done.try_recv() {
            self.take_back(back);
        }
        if batch.is_empty() {
            return true;
        }
        self.out += 1;
        self.batches.send(std::mem::take(batch)).is_ok()
    }

    /// Waits until every batch is done with.
    fn wait(&mut self) -> bool {
        while self.out > 0 {
            let Ok(back) = self.done.recv() else {
                return false;
            };
            self.take_back(back);
        }
        // The memory of large pages is not kept for small ones.
        self.spare.truncate(1);
        true
    }

    fn take_back(&mut self, bodies: Vec<Vec<u8>>) {
        self.out -= 1;
        self.spare.extend(bodies);
    }
}
