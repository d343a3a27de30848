//! Where the bytes of an answer are kept: a small body in memory, a larger one in a nameless temporary file, and all of them
//! together within bounds. It knows nothing of HTTP.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// No page is larger; a server that sends more is broken or hostile.
pub(crate) const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What one body keeps in memory at most, and all bodies together.
const MEMORY_PER_BODY: usize = 64 * 1024;
const MEMORY: usize = 4 * 1024 * 1024;

/// What all bodies together keep in files at most, beside one that is allowed to be of any size.
const FILES: usize = 32 * 1024 * 1024;

/// The smallest piece of memory that a body asks for.
const PIECE: usize = 1024;

/// The bounds that all bodies of a client share, in bytes.
///
/// A body that grows beyond what is free waits, and its server with it, for one of two things: that others are written and
/// dropped, or that it becomes the one body that may grow without asking. That one waits for nobody, so there is always one
/// that ends.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    memory: Arc<Semaphore>,
    files: Arc<Semaphore>,
    unbounded: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            memory: Arc::new(Semaphore::new(MEMORY)),
            files: Arc::new(Semaphore::new(FILES)),
            unbounded: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Bytes of a bound, given back when dropped.
type Share = Option<OwnedSemaphorePermit>;

fn merge(share: &mut Share, more: OwnedSemaphorePermit) {
    match share {
        Some(share) => share.merge(more),
        None => *share = Some(more),
    }
}

impl Room {
    /// As much more memory, if it is free.
    fn memory(&self, share: &mut Share, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.memory).try_acquire_many_owned(bytes);
        more.map(|more| merge(share, more)).is_ok()
    }

    /// As many more bytes of a file, when they are free.
    async fn file(&self, share: &mut FileShare, bytes: usize) {
        let FileShare::Bytes(known) = share else {
            return;
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let files = Arc::clone(&self.files);
        if let Ok(more) = Arc::clone(&files).try_acquire_many_owned(bytes) {
            return merge(known, more);
        }
        tokio::select! {
            Ok(more) = files.acquire_many_owned(bytes) => merge(known, more),
            Ok(all) = Arc::clone(&self.unbounded).acquire_owned() => *share = FileShare::Unbounded(all),
        }
    }
}

#[derive(Debug)]
enum FileShare {
    Bytes(Share),
    Unbounded(#[expect(dead_code, reason = "held until dropped")] OwnedSemaphorePermit),
}

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>, Share),
    File(File, FileShare),
}

/// The body of an answer, byte for byte as the server sent it (unpacked, if the server packed it without being asked).
pub struct Body {
    store: Store,
    length: u64,
}

impl Body {
    /// Reads all bytes from the first on.
    pub fn reader(&self) -> BodyReader<'_> {
        match &self.store {
            Store::Memory(bytes, _) => BodyReader::Memory(bytes),
            Store::File(file, _) => BodyReader::File { file, at: 0 },
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// People's data: the bytes stay out of logs.
impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Body")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Reads a [`Body`]. Not buffered.
#[derive(Debug)]
pub enum BodyReader<'a> {
    /// What is left.
    Memory(&'a [u8]),
    /// From this place on.
    File {
        /// The temporary file.
        file: &'a File,
        /// In bytes.
        at: u64,
    },
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(bytes) => bytes.read(buffer),
            Self::File { file, at } => {
                let read = file.read_at(buffer, *at)?;
                *at += read as u64;
                Ok(read)
            }
        }
    }
}

/// A body while it comes in.
#[derive(Debug)]
pub(crate) struct Spool<'a> {
    directory: Option<&'a Path>,
    room: &'a Room,
    store: Store,
    length: u64,
}

impl<'a> Spool<'a> {
    /// Large bodies go to a file in `directory`, or where the system keeps temporary files.
    pub(crate) fn new(directory: Option<&'a Path>, room: &'a Room) -> Self {
        Self {
            directory,
            room,
            store: Store::Memory(Vec::new(), None),
            length: 0,
        }
    }

    pub(crate) fn finish(self) -> Body {
        Body {
            store: self.store,
            length: self.length,
        }
    }

    /// Keeps what comes next. Waits until there is room for it.
    pub(crate) async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.length += chunk.len() as u64;
        if self.length > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Store::Memory(bytes, share) = &mut self.store {
            if fits(self.room, bytes, share, chunk.len()) {
                bytes.extend_from_slice(chunk);
                return Ok(());
            }
            let mut file_share = FileShare::Bytes(None);
            self.room.file(&mut file_share, bytes.len()).await;
            // Nameless from the start; the mode is for those who look through /proc.
            let mut file = match self.directory {
                Some(directory) => tempfile::tempfile_in(directory)?,
                None => tempfile::tempfile()?,
            };
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            self.store = Store::File(file, file_share);
        }
        if let Store::File(file, share) = &mut self.store {
            self.room.file(share, chunk.len()).await;
            file.write_all(chunk)?;
        }
        Ok(())
    }
}

/// Whether the memory of a body can hold this many bytes more. It grows by what is asked of the bound, never by itself.
fn fits(room: &Room, bytes: &mut Vec<u8>, share: &mut Share, added: usize) -> bool {
    let needed = bytes.len() + added;
    if needed <= bytes.capacity() {
        return true;
    }
    let capacity = (2 * bytes.capacity())
        .clamp(PIECE, MEMORY_PER_BODY)
        .max(needed);
    if needed > MEMORY_PER_BODY || !room.memory(share, capacity - bytes.capacity()) {
        return false;
    }
    bytes.reserve_exact(capacity - bytes.len());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;
    use std::task::{Context, Waker};

    async fn spooled(room: &Room, bytes: &[u8]) -> Body {
        let mut spool = Spool::new(None, room);
        for chunk in bytes.chunks(10_007) {
            spool.write(chunk).await.unwrap();
        }
        spool.finish()
    }

    fn read(body: &Body) -> Vec<u8> {
        let mut bytes = Vec::new();
        body.reader().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn is_in_memory(body: &Body) -> bool {
        matches!(body.store, Store::Memory(..))
    }

    /// Bytes that are free in memory and in files.
    fn free(room: &Room) -> (usize, usize) {
        (
            room.memory.available_permits(),
            room.files.available_permits(),
        )
    }

    #[tokio::test]
    async fn a_large_body_goes_to_a_nameless_file_and_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let room = Room::default();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut spool = Spool::new(Some(directory.path()), &room);
        for chunk in bytes.chunks(10_007) {
            spool.write(chunk).await.unwrap();
        }
        let body = spool.finish();
        assert_eq!((read(&body), body.len()), (bytes, 3_000_000));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let Store::File(file, _) = &body.store else {
            panic!("kept in memory");
        };
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(free(&room), (MEMORY, FILES - 3_000_000));
        drop(body);
        assert_eq!(free(&room), (MEMORY, FILES));
    }

    #[tokio::test]
    async fn small_bodies_share_the_memory_and_give_it_back() {
        let room = Room::default();
        let bytes = vec![b'x'; 60_000];
        let mut bodies = Vec::new();
        for _ in 0..100 {
            bodies.push(spooled(&room, &bytes).await);
        }
        let in_memory = bodies.iter().filter(|body| is_in_memory(body)).count();
        assert_eq!(in_memory, MEMORY / MEMORY_PER_BODY);
        assert!(bodies.iter().all(|body| read(body) == bytes));
        drop(bodies);
        assert_eq!(free(&room), (MEMORY, FILES));
    }

    #[tokio::test]
    async fn a_body_waits_for_room_unless_it_is_the_one_of_any_size() {
        let room = Room::default();
        let bytes = vec![b'x'; 1_000_000];
        let mut bodies = Vec::new();
        for _ in 0..33 {
            bodies.push(spooled(&room, &bytes).await);
        }
        // The one of any size.
        let one = spooled(&room, &vec![b'x'; 50_000_000]).await;
        let mut waits = std::pin::pin!(spooled(&room, &bytes));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(one);
        assert_eq!(waits.await.len(), 1_000_000);
    }

    #[tokio::test]
    async fn bodies_that_all_grow_together_all_come_to_their_end() {
        let room = Room::default();
        let all = (0..20).map(|_| async {
            let mut spool = Spool::new(None, &room);
            for _ in 0..500 {
                spool.write(&[b'x'; 10_000]).await.unwrap();
                tokio::task::yield_now().await;
            }
            spool.finish().len()
        });
        let all = futures_util::future::join_all(all).await;
        assert_eq!(all, [5_000_000; 20]);
        assert_eq!(free(&room), (MEMORY, FILES));
    }
}
