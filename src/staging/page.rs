//! Page files: written once and durably, read back only if their hash is right.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Take, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use flate2::read::MultiGzDecoder;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::error::{EXTRACT_AGAIN, StagingError};
use super::files;
use super::gzip::{self, PIECE};
use super::journal::{self, Journal, Line, PageEntry, PageNumbers, Pages, Text};
use super::known_pages::KnownPages;
use super::lock::LockShare;
use super::manifest::Manifest;
use crate::clock;
use crate::failpoint::{self, Point};
use crate::hash::hex;

const JOURNAL: &str = "pages.jsonl";
/// Of a line whose parts do not fit together.
const DISAGREES: &str = "asks for another page by its `request` than by its other fields";
const IN_USE: &str =
    "no other program may write there while a run is open; run the command again to resume";

/// What is kept of a journal that is resumed.
#[derive(Default)]
struct ResumedJournal {
    lines: Vec<Line>,
    keys: Vec<u64>,
    numbers: PageNumbers,
    /// Of the lines above.
    length: u64,
    hash: Sha256,
    newest: Option<Timestamp>,
    /// The journal holds more than these lines.
    is_less: bool,
}

impl ResumedJournal {
    /// Keeps a line whose page file is undamaged.
    fn take(
        &mut self,
        directory: &Path,
        path: &Path,
        line: &Text<'_>,
        is_kept: impl Fn(&PageEntry) -> bool,
    ) -> Result<(), StagingError> {
        // It was being written when the power went.
        if !line.is_whole() {
            self.is_less = true;
            return Ok(());
        }
        let page = match line.page() {
            Ok(page) if page.agrees() => page,
            page => {
                let problem = page.err().unwrap_or(DISAGREES);
                let (path, number) = (path.display(), line.number);
                tracing::warn!("{path}: line {number} {problem}; its page is asked for again");
                self.is_less = true;
                return Ok(());
            }
        };
        if !is_kept(&page) {
            self.is_less = true;
            return Ok(());
        }
        match read_page(directory, &page, |_| ()) {
            Ok(()) => {}
            Err(StagingError::Broken { .. }) => {
                self.is_less = true;
                return Ok(());
            }
            // It may be undamaged: the operating system refused to read it.
            Err(error) => return Err(error),
        }
        self.lines.push(Line::new(&page, line.offset, line.bytes));
        self.keys
            .push(KnownPages::key(page.slice.as_deref(), &page.page_request));
        self.numbers.insert(page.slice.as_deref(), page.page);
        self.newest = self.newest.max(Some(page.fetched_at));
        self.length += line.bytes.len() as u64;
        self.hash.update(line.bytes);
        Ok(())
    }

    /// Writes the journal anew, with these lines alone.
    fn rewrite(&mut self, path: &Path, before: &File) -> Result<(), StagingError> {
        let lines = &mut self.lines;
        files::write_atomic(path, &failpoint::JOURNAL, |file| {
            let (mut file, mut at) = (BufWriter::new(file), 0);
            let mut bytes = Vec::new();
            for line in lines {
                let (offset, length) = line.place();
                bytes.resize(length, 0);
                before.read_exact_at(&mut bytes, offset)?;
                file.write_all(&bytes)?;
                *line = line.moved_to(at);
                at += length as u64;
            }
            file.flush()
        })
    }
}

/// Stages the pages of one resource of one run. All methods block.
#[derive(Debug)]
pub struct ResourceWriter {
    directory: PathBuf,
    journal: Mutex<Journal>,
    slices: Mutex<BTreeSet<String>>,
    /// When the newest page that was there before was fetched.
    newest_before: Option<Timestamp>,
    /// By how much the first page seems to be older than that: the clock was set back meanwhile.
    behind: OnceLock<SignedDuration>,
    /// Held as long as a page is being written, also after its caller is gone.
    _share: LockShare,
}

impl ResourceWriter {
    /// Begins a resource, or resumes one that was not sealed: gives the undamaged pages. The lines of other pages are removed
    /// from the journal; an invalid line is reported.
    pub(super) fn open(
        directory: PathBuf,
        share: LockShare,
        is_kept: impl Fn(&PageEntry) -> bool,
    ) -> Result<(Self, KnownPages), StagingError> {
        (Point::ResourceMake.io()).map_err(|error| files::io_error("create", &directory, error))?;
        files::refuse_link(&directory)?;
        files::create_dirs(&directory)?;
        files::refuse_link(&directory)?;
        let path = directory.join(JOURNAL);
        let mut found = ResumedJournal::default();
        if let Some(file) = files::open_bounded(&path)? {
            let mut reader = BufReader::new(file);
            journal::read_lines(&path, &mut reader, |line| {
                found.take(&directory, &path, &line, &is_kept)
            })?;
            if found.is_less {
                found.rewrite(&path, reader.get_ref().get_ref())?;
            }
        }
        let journal = Journal::new(files::open_append(&path)?, found.length, found.hash);
        Point::ResourceMade.reach();
        files::sync_dir(&directory)?;
        if let Some(run) = directory.parent() {
            files::sync_dir(run)?;
        }
        let writer = Self {
            directory,
            journal: Mutex::new(journal),
            slices: Mutex::default(),
            newest_before: found.newest,
            behind: OnceLock::new(),
            _share: share,
        };
        let pages = Pages::of_lines(path, found.lines)?;
        Ok((writer, KnownPages::new(pages, found.keys, found.numbers)))
    }

    /// How many pages the journal names.
    pub(super) fn pages_in(directory: &Path) -> Result<u64, StagingError> {
        let mut pages = 0;
        journal::read_unsealed(&directory.join(JOURNAL), |_| pages += 1)?;
        Ok(pages)
    }

    /// Reads a page back: what `take` makes of it counts only if it is what was received.
    pub fn read_back<T>(
        &self,
        page: &PageEntry,
        take: impl FnOnce(&mut PageReader) -> T,
    ) -> Result<T, StagingError> {
        read_page(&self.directory, page, take)
    }

    /// The error for a page whose bytes are those received, but no records can be read from them.
    pub fn unreadable(&self, page: &PageEntry, problem: &str) -> StagingError {
        unreadable(&self.directory, page, problem)
    }

    /// Makes a page durable, then its journal line. `request`, `sha256` and `bytes` of the entry are filled in here; its time is
    /// after those of the pages that were there before.
    pub fn write(
        &self,
        mut body: impl Read,
        mut entry: PageEntry,
    ) -> Result<PageEntry, StagingError> {
        if let Some(first) = self.newest_before.map(clock::next) {
            let behind = || {
                first
                    .duration_since(entry.fetched_at)
                    .max(SignedDuration::ZERO)
            };
            let behind = *self.behind.get_or_init(behind);
            let time = entry.fetched_at.saturating_add(behind);
            entry.fetched_at = time.unwrap_or(first).max(first);
        }
        files::refuse_link(&self.directory)?;
        entry.bytes = 0;
        entry.request = entry.page_request.target();
        let folder = self.slice_folder(entry.slice.as_deref())?;
        let path = folder.join(page_file(entry.page));
        files::write_atomic(&path, &failpoint::PAGE, |file| {
            let mut hash = Sha256::new();
            gzip::pack(&mut body, file, |plain| {
                hash.update(plain);
                entry.bytes += plain.len() as u64;
            })?;
            entry.sha256 = hex(&hash.finalize());
            Ok(())
        })?;
        let line = journal_line(&entry, &path)?;
        let mut journal = self
            .journal
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        (journal.append(&line))
            .map_err(|error| files::io_error("write", &self.directory.join(JOURNAL), error))?;
        Point::LineDone.reach();
        Ok(entry)
    }

    fn slice_folder(&self, slice: Option<&str>) -> Result<PathBuf, StagingError> {
        let Some(slice) = slice else {
            return Ok(self.directory.clone());
        };
        let folder = self.directory.join(slice);
        // What is written there must not land elsewhere, neither now nor when a link takes the place of what we made.
        refuse_links(&self.directory, slice)?;
        let mut made = self
            .slices
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if made.insert(slice.to_owned()) {
            files::create_dirs(&folder)?;
            refuse_links(&self.directory, slice)?;
            for made in folder.ancestors().skip(1) {
                files::sync_dir(made)?;
                if made == self.directory {
                    break;
                }
            }
        }
        Ok(folder)
    }

    /// SHA-256 of the journal, in hex: what a manifest seals. It must be on the disk as it was written here, or a
    /// manifest would call complete what is not there.
    pub fn journal_sha256(&self) -> Result<String, StagingError> {
        let path = self.directory.join(JOURNAL);
        let journal = self
            .journal
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let written = journal.sha256();
        let mut found = Sha256::new();
        if let Some(mut file) = files::open_bounded(&path)? {
            let mut piece = vec![0; PIECE];
            loop {
                let read = file.read(&mut piece);
                match read.map_err(|error| files::io_error("read", &path, error))? {
                    0 => break,
                    length => found.update(&piece[..length]),
                }
            }
        }
        if hex(&found.finalize()) == written {
            return Ok(written);
        }
        Err(StagingError::Broken {
            path,
            problem: "it was changed or removed while the resource was being read".to_owned(),
            advice: IN_USE,
        })
    }

    /// Removes pages that no line of the journal names, and halves of pages: of a process that died between a page and its
    /// line, and the page was not asked for again. Nothing may be written meanwhile.
    pub fn remove_stray_files(&self) -> Result<(), StagingError> {
        let mut known = PageNumbers::default();
        journal::read_unsealed(&self.directory.join(JOURNAL), |page| {
            known.insert(page.slice.as_deref(), page.page);
        })?;
        for path in stray_files(&self.directory, &known)? {
            std::fs::remove_file(&path).map_err(|error| files::io_error("remove", &path, error))?;
        }
        Ok(())
    }
}

/// Files of a resource that look like pages, or halves of them, and are none of these.
fn stray_files(directory: &Path, known: &PageNumbers) -> Result<Vec<PathBuf>, StagingError> {
    let mut stray_files = Vec::new();
    for entry in walkdir::WalkDir::new(directory).min_depth(1).max_depth(3) {
        let entry = entry.map_err(|error| files::io_error("list", directory, error.into()))?;
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

/// The pages of a final resource, each known by its line in the journal: they may be more than memory holds.
#[derive(Clone, Debug)]
pub struct StagedResource {
    directory: PathBuf,
    manifest: Manifest,
    journal: Pages,
}

impl StagedResource {
    pub(super) fn open(directory: PathBuf, manifest: Manifest) -> Result<Self, StagingError> {
        let journal = Pages::open_sealed(directory.join(JOURNAL), &manifest.journal_sha256)?;
        Ok(Self {
            directory,
            manifest,
            journal,
        })
    }

    /// With the pages in the order of their numbers, as they were asked for; slices are mixed.
    #[must_use]
    pub fn by_number(self) -> Self {
        let journal = self.journal.by_number();
        Self { journal, ..self }
    }

    /// With the pages in the order in which they were received, as at first.
    #[must_use]
    pub fn by_time(self) -> Self {
        let journal = self.journal.by_time();
        Self { journal, ..self }
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its pages, at first in the order in which they were received: records of a later answer are newer, and the load takes
    /// the order of pages for the order of time.
    pub fn pages(&self) -> impl Iterator<Item = Result<PageEntry, StagingError>> {
        (0..self.journal.len()).map(|at| self.journal.page(at))
    }

    /// The page at this place of [`Self::pages`].
    pub fn page(&self, at: usize) -> Result<PageEntry, StagingError> {
        self.journal.page(at)
    }

    /// When the page at this place was received, in nanoseconds since 1970.
    pub fn received(&self, at: usize) -> i64 {
        self.journal.received(at)
    }

    /// The file of a page, relative to the run's directory: `users/page-00001.json.gz`.
    pub fn file(&self, page: &PageEntry) -> PathBuf {
        Path::new(self.manifest.resource.as_str()).join(inside(page))
    }

    /// Files beside the pages that look like pages, and that no line of the journal names.
    pub fn stray_files(&self) -> Result<Vec<PathBuf>, StagingError> {
        let mut known = PageNumbers::default();
        for page in self.pages() {
            let page = page?;
            known.insert(page.slice.as_deref(), page.page);
        }
        stray_files(&self.directory, &known)
    }

    /// The error for a page whose bytes are those received, but no records can be read from them.
    pub fn unreadable(&self, page: &PageEntry, problem: &str) -> StagingError {
        unreadable(&self.directory, page, problem)
    }

    /// Whether the line of a page says the same to people as to programs; what it says to people is not used.
    pub fn check_request(&self, page: &PageEntry) -> Result<(), StagingError> {
        if page.agrees() {
            return Ok(());
        }
        Err(StagingError::Broken {
            path: self.directory.join(JOURNAL),
            problem: format!("the line of {} {DISAGREES}", inside(page).display()),
            advice: EXTRACT_AGAIN,
        })
    }

    /// Reads the bytes of a page into `body`, and refuses them if they are not those that were received.
    pub fn read(&self, page: &PageEntry, body: &mut Vec<u8>) -> Result<(), StagingError> {
        let expected = usize::try_from(page.bytes).unwrap_or(usize::MAX);
        // The journal may be wrong: no more memory is allocated in advance than pages are known to need. The reader reports what
        // cannot be read.
        let whole = |reader: &mut PageReader| read_whole(reader, body, expected.min(64 << 20));
        read_page(&self.directory, page, whole).map(drop)
    }

    /// Reads a page piece by piece: what `take` makes of it counts only if it is what was received.
    pub fn read_in_pieces<T>(
        &self,
        page: &PageEntry,
        take: impl FnOnce(&mut PageReader) -> T,
    ) -> Result<T, StagingError> {
        read_page(&self.directory, page, take)
    }
}

fn unreadable(directory: &Path, page: &PageEntry, problem: &str) -> StagingError {
    StagingError::Broken {
        path: directory.join(inside(page)),
        problem: problem.to_owned(),
        advice: EXTRACT_AGAIN,
    }
}

/// The file of a page within its resource's directory.
fn inside(page: &PageEntry) -> PathBuf {
    let folder = page.slice.as_deref().unwrap_or_default();
    Path::new(folder).join(page_file(page.page))
}

/// Refuses a slice if one of its directories is a link.
fn refuse_links(directory: &Path, slice: &str) -> Result<(), StagingError> {
    let mut folder = directory.to_owned();
    for part in slice.split('/') {
        folder.push(part);
        files::refuse_link(&folder)?;
    }
    Ok(())
}

fn journal_line(entry: &PageEntry, path: &Path) -> Result<Vec<u8>, StagingError> {
    let mut line =
        serde_json::to_vec(entry).map_err(|error| files::io_error("write", path, error.into()))?;
    line.push(b'\n');
    Ok(line)
}

/// The bytes of a page as they are unpacked. `read_page` reports its errors.
#[derive(Debug)]
pub struct PageReader {
    gunzip: Take<MultiGzDecoder<BufReader<File>>>,
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
fn read_page<T>(
    directory: &Path,
    page: &PageEntry,
    take: impl FnOnce(&mut PageReader) -> T,
) -> Result<T, StagingError> {
    let path = directory.join(inside(page));
    let broken = |problem: &str| StagingError::Broken {
        path: path.clone(),
        problem: problem.to_owned(),
        advice: EXTRACT_AGAIN,
    };
    if let Some(slice) = &page.slice {
        refuse_links(directory, slice)?;
    }
    let file = files::open(&path)?
        .ok_or_else(|| broken("the journal lists this page, but it is not there"))?;
    // Whoever reads it takes memory on the word of the journal.
    if page.bytes > files::LARGEST {
        return Err(broken(
            "the journal says that it is larger than any page is",
        ));
    }
    let gunzip = MultiGzDecoder::new(BufReader::with_capacity(PIECE, file));
    let mut reader = PageReader {
        // One byte more than announced tells a longer file without reading it all.
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
        Some(error) => return Err(files::io_error("read", &path, error)),
    }
    if reader.length != page.bytes || hex(&reader.hash.finalize()) != page.sha256 {
        return Err(broken(
            "the content is not what was received (its checksum differs)",
        ));
    }
    Ok(taken)
}

/// Reads to the end, in large strides as far as `expected`.
fn read_whole(reader: &mut impl Read, body: &mut Vec<u8>, expected: usize) -> std::io::Result<()> {
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

fn page_file(page: u32) -> String {
    format!("page-{page:05}.json.gz")
}

/// The number in the name of a page's file.
fn page_number(file: &str) -> Option<u32> {
    file.strip_prefix("page-")?
        .strip_suffix(".json.gz")?
        .parse()
        .ok()
}
