//! Page files: written once and durably, read back only if their hash is right.

use std::io::{BufReader, ErrorKind, Read, Take};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::erasure::blanks::Blanks;
use super::error::{EXTRACT_AGAIN, StagingError};
use super::exchange::{RunSource, packed_bytes};
use super::gzip::PIECE;
use super::journal::{PageEntry, PageNumbers, Pages};
use super::manifest::Manifest;
use super::private_files;
use crate::hash::hex;

pub(super) const JOURNAL: &str = "pages.jsonl";
/// The problem of a line whose parts contradict each other.
pub(super) const DISAGREES: &str =
    "asks for another page by its `request` than by its other fields";

/// The pages of a final resource, each known by its line in the journal: they may be more than memory holds.
#[derive(Clone, Debug)]
pub struct StagedResource {
    directory: PathBuf,
    manifest: Manifest,
    journal: Pages,
    rows_read: Arc<AtomicU64>,
    /// Who is blank in its pages.
    blanks: Option<Arc<Blanks>>,
    /// Where its pages are, if not in its directory.
    source: Option<Arc<dyn RunSource>>,
    /// The place of the page that was given out last.
    at: Arc<AtomicUsize>,
}

/// Pages that a source brings before they are read.
const AHEAD: usize = 4;

impl StagedResource {
    pub(super) fn open(
        directory: PathBuf,
        manifest: Manifest,
        blanks: Option<Arc<Blanks>>,
    ) -> Result<Self, StagingError> {
        let (path, sealed) = (directory.join(JOURNAL), &manifest.journal_sha256);
        let journal = Pages::open_sealed(path, sealed, blanks.as_deref())?;
        Ok(Self {
            directory,
            manifest,
            journal,
            rows_read: Arc::default(),
            blanks,
            source: None,
            at: Arc::default(),
        })
    }

    /// The same, whose pages come from there.
    pub(super) fn with_source(self, source: Option<Arc<dyn RunSource>>) -> Self {
        Self { source, ..self }
    }

    /// How many pages it has.
    #[cfg_attr(
        not(feature = "remote"),
        allow(dead_code, reason = "for object stores")
    )]
    pub(crate) fn len(&self) -> usize {
        self.journal.len()
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Tells the source which pages come next.
    fn expect_next(&self, source: &dyn RunSource) {
        let at = self.at.load(Ordering::Relaxed);
        let last = (at + AHEAD).min(self.journal.len().saturating_sub(1));
        let first = if at == 0 { 1 } else { last };
        for next in first..=last {
            if next > at
                && let Ok(page) = self.journal.page(next)
            {
                source.expect(self.page_path(&page));
            }
        }
    }

    /// Reads a page from where it is.
    fn read_page<T>(
        &self,
        page: &PageEntry,
        take: impl FnOnce(&mut PageReader) -> T,
    ) -> Result<T, StagingError> {
        let Some(source) = self.source.as_deref() else {
            return read_page(&self.directory, page, take);
        };
        let path = self.directory.join(inside(page));
        self.expect_next(source);
        let packed = packed_bytes(source, &self.page_path(page)).map_err(|error| {
            private_files::io_error("read", Path::new(&self.page_path(page)), error)
        })?;
        read_packed(&path, page, packed, take)
    }

    /// With the pages in the order of their numbers, as they were asked for; slices are mixed.
    #[must_use]
    pub(crate) fn by_number(self) -> Self {
        let journal = self.journal.by_number();
        Self { journal, ..self }
    }

    #[must_use]
    pub(crate) fn by_time(self) -> Self {
        let journal = self.journal.by_time();
        self.rows_read.store(0, Ordering::Relaxed);
        Self { journal, ..self }
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The rows of the pages that were read so far, by all clones.
    pub(crate) fn rows_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.rows_read)
    }

    /// Its pages, at first in the order in which they were received: records of a later answer are newer, and the load takes
    /// the order of pages for the order of time.
    pub fn pages(&self) -> impl Iterator<Item = Result<PageEntry, StagingError>> {
        (0..self.journal.len()).map(|at| {
            self.at.store(at, Ordering::Relaxed);
            self.journal.page(at)
        })
    }

    /// The page at this place of [`Self::pages`].
    pub(crate) fn page(&self, at: usize) -> Result<PageEntry, StagingError> {
        self.journal.page(at)
    }

    /// When the page at this place was received, in nanoseconds since 1970.
    pub(crate) fn received(&self, at: usize) -> i64 {
        self.journal.received(at)
    }

    /// The file of a page, relative to the run's directory: `users/page-00001.json.gz`.
    pub(crate) fn file(&self, page: &PageEntry) -> PathBuf {
        Path::new(self.manifest.resource.as_str()).join(inside(page))
    }

    /// Files beside the pages that look like pages, and that no line of the journal names.
    pub(crate) fn stray_files(&self) -> Result<Vec<PathBuf>, StagingError> {
        let mut known = PageNumbers::default();
        for page in self.pages() {
            let page = page?;
            known.insert(page.slice.as_deref(), page.page);
        }
        stray_files(&self.directory, &known)
    }

    /// The error for a page whose bytes are those received, but no records can be read from them.
    pub(crate) fn unreadable(&self, page: &PageEntry, problem: &str) -> StagingError {
        unreadable(&self.directory, page, problem)
    }

    /// Refuses a line whose URL and fields name different pages; only the fields are used.
    pub(crate) fn check_request(&self, page: &PageEntry) -> Result<(), StagingError> {
        if page.agrees() {
            return Ok(());
        }
        Err(StagingError::broken(
            self.directory.join(JOURNAL),
            format!("the line of {} {DISAGREES}", inside(page).display()),
            EXTRACT_AGAIN,
        ))
    }

    /// Reads the bytes of a page into `body`, and refuses them if they are not those that were received. People whom the erasure
    /// ledger names are blank in it, also where the file comes from an old backup.
    pub fn read(&self, page: &PageEntry, body: &mut Vec<u8>) -> Result<(), StagingError> {
        let expected = usize::try_from(page.bytes).unwrap_or(usize::MAX);
        // The journal may be wrong: no more memory is allocated in advance than pages are known to need. The reader reports what
        // cannot be read.
        let read = |reader: &mut PageReader| read_all(reader, body, expected.min(64 << 20));
        self.read_page(page, read).map(drop)?;
        if let Some(blanks) = &self.blanks {
            blanks.apply(&self.manifest.resource, body);
        }
        self.rows_read.fetch_add(page.rows, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a page holds values of people whom the erasure ledger names.
    pub(crate) fn holds_erased(&self, page: &PageEntry) -> Result<bool, StagingError> {
        let Some(blanks) = &self.blanks else {
            return Ok(false);
        };
        let read = |reader: &mut PageReader| {
            let mut body = Vec::new();
            reader.read_to_end(&mut body).is_ok()
                && blanks.apply(&self.manifest.resource, &mut body)
        };
        self.read_page(page, read)
    }

    /// Reads a page piece by piece: what `take` makes of it counts only if it is what was received.
    pub(crate) fn read_in_pieces<T>(
        &self,
        page: &PageEntry,
        take: impl FnOnce(&mut PageReader) -> T,
    ) -> Result<T, StagingError> {
        self.read_page(page, take)
    }
}

/// Files of a resource that look like pages, or partial pages, and are not in `known`.
pub(super) fn stray_files(
    directory: &Path,
    known: &PageNumbers,
) -> Result<Vec<PathBuf>, StagingError> {
    let mut stray_files = Vec::new();
    for entry in walkdir::WalkDir::new(directory).min_depth(1).max_depth(3) {
        let entry =
            entry.map_err(|error| private_files::io_error("list", directory, error.into()))?;
        let ends_like_one = |end: &str| entry.path().extension().is_some_and(|is| is == end);
        let is_like_one = ends_like_one("gz") || ends_like_one("tmp");
        let is_known = || {
            let path = entry.path().strip_prefix(directory).ok()?.to_str()?;
            let (slice, file) = match path.rsplit_once('/') {
                Some((slice, file)) => (Some(slice), file),
                None => (None, path),
            };
            let number = page_number(file)?;
            Some(known.contains(slice, number) && file == page_file(number))
        };
        if is_like_one && !entry.file_type().is_dir() && is_known() != Some(true) {
            stray_files.push(entry.into_path());
        }
    }
    stray_files.sort_unstable();
    Ok(stray_files)
}

pub(super) fn unreadable(directory: &Path, page: &PageEntry, problem: &str) -> StagingError {
    StagingError::broken(directory.join(inside(page)), problem, EXTRACT_AGAIN)
}

/// The file of a page within its resource's directory.
pub(super) fn inside(page: &PageEntry) -> PathBuf {
    let folder = page.slice.as_deref().unwrap_or_default();
    Path::new(folder).join(page_file(page.page))
}

pub(super) fn refuse_links(directory: &Path, slice: &str) -> Result<(), StagingError> {
    let mut folder = directory.to_owned();
    for part in slice.split('/') {
        folder.push(part);
        private_files::refuse_link(&folder)?;
    }
    Ok(())
}

pub(super) fn journal_line(entry: &PageEntry, path: &Path) -> Result<Vec<u8>, StagingError> {
    let mut line = serde_json::to_vec(entry)
        .map_err(|error| private_files::io_error("write", path, error.into()))?;
    line.push(b'\n');
    Ok(line)
}

/// The bytes of a page as they are packed.
type Packed = Box<dyn Read + Send>;

/// The bytes of a page as they are unpacked. `read_page` reports its errors.
pub(crate) struct PageReader {
    gunzip: Take<MultiGzDecoder<BufReader<Packed>>>,
    hash: Sha256,
    length: u64,
    error: Option<std::io::Error>,
}

impl Read for PageReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.gunzip.read(buffer) {
            Ok(length) => {
                self.hash.update(&buffer[..length]);
                self.length += length as u64;
                Ok(length)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.error.get_or_insert(error);
                Err(kind.into())
            }
        }
    }
}

/// Reads a page: what `take` makes of its bytes counts only if they are those that were received.
pub(super) fn read_page<T>(
    directory: &Path,
    page: &PageEntry,
    take: impl FnOnce(&mut PageReader) -> T,
) -> Result<T, StagingError> {
    let path = directory.join(inside(page));
    let broken = |problem: &str| StagingError::broken(path.clone(), problem, EXTRACT_AGAIN);
    if let Some(slice) = &page.slice {
        refuse_links(directory, slice)?;
    }
    let file = private_files::open(&path)?
        .ok_or_else(|| broken("the journal lists this page, but it is not there"))?;
    read_packed(&path, page, Box::new(file), take)
}

/// The same of bytes that are at hand; `path` is where they belong.
pub(super) fn read_packed<T>(
    path: &Path,
    page: &PageEntry,
    packed: Packed,
    take: impl FnOnce(&mut PageReader) -> T,
) -> Result<T, StagingError> {
    let broken = |problem: &str| StagingError::broken(path, problem, EXTRACT_AGAIN);
    // Readers allocate memory for the length that the journal gives.
    if page.bytes > private_files::LARGEST {
        return Err(broken("the size in the journal is larger than any page is"));
    }
    let gunzip = MultiGzDecoder::new(BufReader::with_capacity(PIECE, packed));
    let mut reader = PageReader {
        // One byte more than announced detects a longer file without reading all of it.
        gunzip: gunzip.take(page.bytes.saturating_add(1)),
        hash: Sha256::new(),
        length: 0,
        error: None,
    };
    let taken = take(&mut reader);
    if reader.error.is_none() {
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    }
    match reader.error {
        None => {}
        Some(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(broken("the file is cut off"));
        }
        Some(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::InvalidData
            ) =>
        {
            return Err(broken("the file is not gzip, or damaged"));
        }
        Some(error) => return Err(private_files::io_error("read", path, error)),
    }
    if reader.length != page.bytes || hex(&reader.hash.finalize()) != page.sha256 {
        return Err(broken(
            "the content is not what was received (its checksum differs)",
        ));
    }
    Ok(taken)
}

/// Reads to the end, in large strides as far as `expected`.
fn read_all(reader: &mut impl Read, body: &mut Vec<u8>, expected: usize) -> std::io::Result<()> {
    body.resize(expected, 0);
    let mut length = 0;
    while length < expected {
        match reader.read(&mut body[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    body.truncate(length);
    reader.read_to_end(body)?;
    Ok(())
}

pub(super) fn page_file(page: u32) -> String {
    format!("page-{page:05}.json.gz")
}

/// The number in the name of a page's file.
pub(super) fn page_number(file: &str) -> Option<u32> {
    file.strip_prefix("page-")?
        .strip_suffix(".json.gz")?
        .parse()
        .ok()
}
