//! Staged pages, read, unpacked and checked on a thread of their own while those before are decoded.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope};

use crate::load::decode::types::RecordSelection;
use crate::staging::{PageEntry, StagedResource, StagingError};

/// Small pages are sent together, about this many bytes.
const BATCH: u64 = 256 << 10;
/// Of larger pages there is only one in memory.
const LARGE: u64 = 2 << 20;
/// What a page takes beside its records, or about that.
const ENTRY: u64 = 1 << 10;

pub(crate) struct Page {
    /// Its place in the order.
    pub(crate) at: usize,
    pub(crate) entry: PageEntry,
    /// Relative to the run's directory.
    pub(crate) file: String,
    pub(crate) body: Vec<u8>,
}

/// Pages, or why one cannot be read.
type Batch = Vec<Result<Page, StagingError>>;

/// Pages as they come from the thread.
pub(crate) struct Pages {
    batches: Receiver<Batch>,
    /// Where memory goes that is done with, a batch at a time.
    done: Sender<Vec<Vec<u8>>>,
}

struct Reader<'s> {
    staged: &'s StagedResource,
    chosen: Option<&'s RecordSelection>,
    batches: SyncSender<Batch>,
    done: Receiver<Vec<Vec<u8>>>,
    /// Batches that are not back yet.
    out: usize,
    /// Memory that is reused.
    spare: Vec<Vec<u8>>,
}

impl Pages {
    /// Begins to read all pages, or those with chosen records.
    pub(crate) fn read<'scope, 's>(
        scope: &'scope Scope<'scope, 's>,
        staged: &'s StagedResource,
        chosen: Option<&'s RecordSelection>,
    ) -> std::io::Result<Self> {
        let (give, batches) = sync_channel(1);
        let (done, back) = channel();
        let reader = Reader {
            staged,
            chosen,
            batches: give,
            done: back,
            out: 0,
            spare: Vec::new(),
        };
        Builder::new()
            .name("pages".to_owned())
            .spawn_scoped(scope, move || reader.run())?;
        Ok(Self { batches, done })
    }

    /// Hands every page to `each`, which gives its memory back, until there is an error.
    pub(crate) fn each<E>(
        self,
        mut each: impl FnMut(Result<Page, StagingError>) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        for batch in &self.batches {
            let done = batch.into_iter().map(&mut each).collect::<Result<_, E>>()?;
            // The thread may have ended already.
            let _ = self.done.send(done);
        }
        Ok(())
    }
}

impl Reader<'_> {
    fn run(mut self) {
        let mut batch = Batch::new();
        let mut bytes = 0;
        for (at, entry) in self.staged.pages().enumerate() {
            let page = match entry {
                Ok(entry) => {
                    let file = self.staged.file(&entry).display().to_string();
                    if self
                        .chosen
                        .is_some_and(|chosen| !chosen.contains_key(&file))
                    {
                        continue;
                    }
                    if entry.bytes > LARGE {
                        if !self.give(&mut batch) || !self.wait() {
                            return;
                        }
                        bytes = 0;
                    }
                    bytes += entry.bytes.min(LARGE) + ENTRY;
                    self.page(at, entry, file)
                }
                Err(error) => Err(error),
            };
            let is_end = page.is_err();
            batch.push(page);
            if bytes >= BATCH || is_end {
                if !self.give(&mut batch) || is_end {
                    return;
                }
                bytes = 0;
            }
        }
        self.give(&mut batch);
    }

    fn page(&mut self, at: usize, entry: PageEntry, file: String) -> Result<Page, StagingError> {
        let mut body = self.spare.pop().unwrap_or_default();
        self.staged.read(&entry, &mut body)?;
        Ok(Page {
            at,
            entry,
            file,
            body,
        })
    }

    /// Hands a batch over; false if nobody takes it any more.
    fn give(&mut self, batch: &mut Batch) -> bool {
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
