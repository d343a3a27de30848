//! Page files: written once and durably, read back only if their hash is right.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::SignedDuration;
use sha2::{Digest, Sha256};

use super::journal::{self, Journal, PageEntry, Sealed};
use super::manifest::Manifest;
use super::{EXTRACT_AGAIN, StagingError, files};
use crate::clock;
use crate::failpoint::{self, Point};
use crate::hash::hex;

const JOURNAL: &str = "pages.jsonl";
const IN_USE: &str =
    "nobody else may write there while a run is open; run the command again to go on";

/// Stages the pages of one resource of one run. All methods block.
#[derive(Debug)]
pub struct ResourceWriter {
    directory: PathBuf,
    journal: Mutex<Journal>,
    slices: Mutex<BTreeSet<String>>,
    /// By how much pages seem to be older than those that are there: the clock was set back meanwhile.
    behind: SignedDuration,
}

impl ResourceWriter {
    /// Begins a resource, or goes on with one that was not sealed: gives the pages that are there and whole. What
    /// the journal says of others is taken back; a line that is none is told.
    pub(super) fn open(
        directory: PathBuf,
        is_kept: impl Fn(&PageEntry) -> bool,
    ) -> Result<(Self, Vec<PageEntry>), StagingError> {
        (Point::ResourceMake.io()).map_err(|error| files::io_error("create", &directory, error))?;
        files::refuse_link(&directory)?;
        files::create_dirs(&directory)?;
        files::refuse_link(&directory)?;
        let path = directory.join(JOURNAL);
        let mut body = Vec::new();
        let mut known = Vec::new();
        let mut lines = Vec::new();
        let before = files::read(&path)?.unwrap_or_default();
        for (at, page) in journal::whole_lines(&before).enumerate() {
            let page = match page {
                Ok(page) => page,
                Err(problem) => {
                    let (path, line) = (path.display(), at + 1);
                    tracing::warn!("{path}: line {line} {problem}; its page is asked for again");
                    continue;
                }
            };
            if !is_kept(&page) {
                continue;
            }
            match read_page(&directory, &page, &mut body) {
                Ok(()) => {
                    lines.extend(journal_line(&page, &path)?);
                    known.push(page);
                }
                Err(StagingError::Broken { .. }) => {}
                // It may be whole: the system did not let us look.
                Err(error) => return Err(error),
            }
        }
        if before != lines {
            files::write_atomic(&path, &failpoint::JOURNAL, |file| file.write_all(&lines))?;
        }
        let journal = Journal::new(files::open_append(&path)?, &lines);
        Point::ResourceMade.reach();
        files::sync_dir(&directory)?;
        if let Some(run) = directory.parent() {
            files::sync_dir(run)?;
        }
        let newest = known.iter().map(|page| page.fetched_at).max();
        let behind = newest.map_or(SignedDuration::ZERO, |newest| {
            clock::next(newest).duration_since(clock::steady())
        });
        let writer = Self {
            directory,
            journal: Mutex::new(journal),
            slices: Mutex::default(),
            behind: behind.max(SignedDuration::ZERO),
        };
        Ok((writer, known))
    }

    /// How many pages the journal names.
    pub(super) fn pages_in(directory: &Path) -> Result<u64, StagingError> {
        Ok(journal::read_unsealed(&directory.join(JOURNAL))?.len() as u64)
    }

    /// Reads a page back, and refuses it if it is not what was received.
    pub fn read_back(&self, page: &PageEntry, body: &mut Vec<u8>) -> Result<(), StagingError> {
        read_page(&self.directory, page, body)
    }

    /// The error for a page whose bytes are those received, but no records can be read from them.
    pub fn unreadable(&self, page: &PageEntry, problem: &str) -> StagingError {
        unreadable(&self.directory, page, problem)
    }

    /// Makes a page durable, then its journal line. `entry.sha256` and `entry.bytes` are filled in here; its time is
    /// after those of the pages that were there before.
    pub fn write(&self, body: &[u8], mut entry: PageEntry) -> Result<PageEntry, StagingError> {
        entry.fetched_at = (entry.fetched_at)
            .saturating_add(self.behind)
            .unwrap_or(entry.fetched_at);
        entry.bytes = body.len() as u64;
        entry.sha256 = hex(&Sha256::digest(body));
        files::refuse_link(&self.directory)?;
        let folder = self.slice_folder(entry.slice.as_deref())?;
        let path = folder.join(page_file(entry.page));
        files::write_atomic(&path, &failpoint::PAGE, |file| {
            let mut gzip = GzEncoder::new(file, Compression::default());
            gzip.write_all(body)?;
            gzip.finish().map(|_| ())
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
        if hex(&Sha256::digest(files::read(&path)?.unwrap_or_default())) == written {
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
    pub fn remove_strangers(&self) -> Result<(), StagingError> {
        let pages = journal::read_unsealed(&self.directory.join(JOURNAL))?;
        for path in strangers(&self.directory, &pages.iter().map(inside).collect())? {
            std::fs::remove_file(&path).map_err(|error| files::io_error("remove", &path, error))?;
        }
        Ok(())
    }
}

/// Files of a resource that look like pages, or halves of them, and are none of these.
fn strangers(directory: &Path, known: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>, StagingError> {
    let mut strangers = Vec::new();
    for entry in walkdir::WalkDir::new(directory)
        .min_depth(1)
        .max_depth(3)
        .sort_by_file_name()
    {
        let entry = entry.map_err(|error| files::io_error("list", directory, error.into()))?;
        let ends_like_one = |end: &str| entry.path().extension().is_some_and(|is| is == end);
        let is_like_one = ends_like_one("gz") || ends_like_one("tmp");
        let is_known =
            || (entry.path().strip_prefix(directory)).is_ok_and(|path| known.contains(path));
        if is_like_one && !entry.file_type().is_dir() && !is_known() {
            strangers.push(entry.into_path());
        }
    }
    Ok(strangers)
}

/// The pages of a final resource, each known by its line in the journal: they may be more than memory holds.
#[derive(Clone, Debug)]
pub struct StagedResource {
    directory: PathBuf,
    manifest: Manifest,
    journal: Sealed,
}

impl StagedResource {
    pub(super) fn open(directory: PathBuf, manifest: Manifest) -> Result<Self, StagingError> {
        let journal = Sealed::open(directory.join(JOURNAL), &manifest.journal_sha256)?;
        Ok(Self {
            directory,
            manifest,
            journal,
        })
    }

    /// With the pages in the order of their numbers, as they were asked for; slices are not told apart.
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
    pub fn strangers(&self) -> Result<Vec<PathBuf>, StagingError> {
        let known = self.pages().map(|page| Ok(inside(&page?)));
        strangers(&self.directory, &known.collect::<Result<_, _>>()?)
    }

    /// The error for a page whose bytes are those received, but no records can be read from them.
    pub fn unreadable(&self, page: &PageEntry, problem: &str) -> StagingError {
        unreadable(&self.directory, page, problem)
    }

    /// Reads the bytes of a page into `body`, and refuses them if they are not those that were received.
    pub fn read(&self, page: &PageEntry, body: &mut Vec<u8>) -> Result<(), StagingError> {
        read_page(&self.directory, page, body)
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

fn read_page(directory: &Path, page: &PageEntry, body: &mut Vec<u8>) -> Result<(), StagingError> {
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
    // The memory for it is taken on the word of the journal.
    if page.bytes > files::LARGEST {
        return Err(broken(
            "the journal says that it is larger than any page is",
        ));
    }
    let expected = usize::try_from(page.bytes).unwrap_or(usize::MAX);
    // One byte more than announced tells a longer file without reading it all.
    let mut gunzip = MultiGzDecoder::new(std::io::BufReader::with_capacity(64 << 10, file))
        .take(page.bytes.saturating_add(1));
    // The journal may lie: no more memory is taken in advance than pages are known to need.
    match read_whole(&mut gunzip, body, expected.min(64 << 20)) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(broken("the file is cut off"));
        }
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData
            ) =>
        {
            return Err(broken("the file is not gzip, or damaged"));
        }
        Err(error) => return Err(files::io_error("read", &path, error)),
    }
    if body.len() as u64 != page.bytes || hex(&Sha256::digest(&body)) != page.sha256 {
        return Err(broken(
            "the content is not what was received (its checksum differs)",
        ));
    }
    Ok(())
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
