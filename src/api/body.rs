//! Where the bytes of an answer are kept: small ones in memory, large ones in a nameless temporary file.
//! It knows nothing of HTTP.

use std::borrow::Cow;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// No page is larger; a server that sends more is broken or hostile.
pub(crate) const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// One body keeps at most this much in memory, all bodies together the second.
const MEMORY_PER_BODY: u64 = 1024 * 1024;
const MEMORY_IN_ALL: u64 = 16 * 1024 * 1024;

/// The memory of all bodies of a client.
#[derive(Debug, Default)]
pub(crate) struct Memory(AtomicU64);

/// A share of [`Memory`], given back when dropped.
#[derive(Debug)]
struct Share {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Share {
    fn grow(&mut self, bytes: u64) -> bool {
        let taken = self
            .memory
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used + bytes <= MEMORY_IN_ALL).then_some(used + bytes)
            })
            .is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>, Share),
    File(File),
}

/// The whole body of an answer, byte for byte as the server sent it (unpacked, if the server packed it unasked).
pub struct Body {
    store: Store,
    length: u64,
}

impl Body {
    /// All bytes; of a large body they are read from its file.
    pub fn read(&self) -> io::Result<Cow<'_, [u8]>> {
        match &self.store {
            Store::Memory(bytes, _) => Ok(Cow::Borrowed(bytes)),
            Store::File(file) => {
                let mut bytes = vec![0; usize::try_from(self.length).map_err(io::Error::other)?];
                file.read_exact_at(&mut bytes, 0)?;
                Ok(Cow::Owned(bytes))
            }
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

    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.store, Store::Memory(..))
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

/// A body while it comes in.
#[derive(Debug)]
pub(crate) struct Spool<'a> {
    directory: Option<&'a Path>,
    store: Store,
    length: u64,
}

impl<'a> Spool<'a> {
    /// Large bodies go to a file in `directory`, or where the system keeps temporary files.
    pub(crate) fn new(directory: Option<&'a Path>, memory: &Arc<Memory>) -> Self {
        let share = Share {
            memory: Arc::clone(memory),
            bytes: 0,
        };
        Self {
            directory,
            store: Store::Memory(Vec::new(), share),
            length: 0,
        }
    }

    pub(crate) fn finish(self) -> Body {
        Body {
            store: self.store,
            length: self.length,
        }
    }
}

impl Write for Spool<'_> {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let added = chunk.len() as u64;
        if self.length + added > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Store::Memory(bytes, share) = &mut self.store
            && (self.length + added > MEMORY_PER_BODY || !share.grow(added))
        {
            // Nameless from the start; the mode is for those who look through /proc.
            let mut file = match self.directory {
                Some(directory) => tempfile::tempfile_in(directory)?,
                None => tempfile::tempfile()?,
            };
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            self.store = Store::File(file);
        }
        match &mut self.store {
            Store::Memory(bytes, _) => bytes.extend_from_slice(chunk),
            Store::File(file) => file.write_all(chunk)?,
        }
        self.length += added;
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn large_bodies_go_to_a_nameless_file_and_come_back_whole() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Arc::new(Memory::default());
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut spool = Spool::new(Some(directory.path()), &memory);
        for chunk in bytes.chunks(10_007) {
            spool.write_all(chunk).unwrap();
        }
        let body = spool.finish();
        assert!(!body.is_in_memory());
        assert_eq!(body.read().unwrap(), bytes);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let Store::File(file) = &body.store else {
            panic!("kept in memory");
        };
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn all_bodies_together_stay_within_the_memory_and_give_it_back() {
        let memory = Arc::new(Memory::default());
        let chunk = vec![b'x'; 1_000_000];
        let bodies: Vec<Body> = (0..20)
            .map(|_| {
                let mut spool = Spool::new(None, &memory);
                spool.write_all(&chunk).unwrap();
                spool.finish()
            })
            .collect();
        assert_eq!(bodies.iter().filter(|body| body.is_in_memory()).count(), 16);
        assert!(bodies.iter().all(|body| body.read().unwrap() == chunk));
        drop(bodies);
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }
}
