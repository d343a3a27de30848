//! Writes the pages of one resource: each file once and durably, then its journal line.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::erasure::blanks::Blanks;
use super::error::StagingError;
use super::gzip::{self, PIECE};
use super::journal::{self, Journal, Line, PageEntry, PageNumbers, Pages, Text};
use super::known_pages::KnownPages;
use super::lock::LockShare;
use super::page::{
    DISAGREES, JOURNAL, PageReader, journal_line, page_file, read_page, refuse_links, stray_files,
    unreadable,
};
use super::private_files;
use crate::clock;
use crate::failpoint::{self, Point};
use crate::hash::hex;
use crate::mutex::locked;
use crate::name::Name;

const IN_USE: &str =
    "no other program may write there while a run is open; run the command again to resume";

/// What is kept of a journal that is resumed.
#[derive(Default)]
struct ResumedJournal {
    lines: Vec<Line>,
    keys: Vec<u64>,
    numbers: PageNumbers,
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

    /// Rewrites the journal with these lines alone.
    fn rewrite(&mut self, path: &Path, before: &File) -> Result<(), StagingError> {
        let lines = &mut self.lines;
        private_files::write_atomic(path, &failpoint::JOURNAL, |file| {
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
    /// When the newest page of an earlier process was fetched.
    newest_before: Option<Timestamp>,
    /// How far the first page seems to be older than that: the clock was set back meanwhile.
    behind: OnceLock<SignedDuration>,
    /// Who is blank in what is written.
    blanks: Option<Arc<Blanks>>,
    /// Held while a page is being written, also after its caller was dropped.
    _share: LockShare,
}

impl ResourceWriter {
    /// Begins a resource, or resumes one that was not sealed: gives the undamaged pages. The lines of other pages are removed
    /// from the journal; an invalid line is reported.
    pub(super) fn open(
        directory: PathBuf,
        share: LockShare,
        blanks: Option<Arc<Blanks>>,
        is_kept: impl Fn(&PageEntry) -> bool,
    ) -> Result<(Self, KnownPages), StagingError> {
        (Point::ResourceMake.io()).map_err(private_files::io("create", &directory))?;
        private_files::refuse_link(&directory)?;
        private_files::create_dirs(&directory)?;
        private_files::refuse_link(&directory)?;
        let path = directory.join(JOURNAL);
        let mut found = ResumedJournal::default();
        if let Some(file) = private_files::open_bounded(&path)? {
            let mut reader = BufReader::new(file);
            journal::read_lines(&path, &mut reader, |line| {
                found.take(&directory, &path, &line, &is_kept)
            })?;
            if found.is_less {
                found.rewrite(&path, reader.get_ref().get_ref())?;
            }
        }
        let journal = Journal::new(private_files::open_append(&path)?, found.length, found.hash);
        Point::ResourceMade.reach();
        private_files::sync_dir(&directory)?;
        if let Some(run) = directory.parent() {
            private_files::sync_dir(run)?;
        }
        let writer = Self {
            directory,
            journal: Mutex::new(journal),
            slices: Mutex::default(),
            newest_before: found.newest,
            behind: OnceLock::new(),
            blanks,
            _share: share,
        };
        let pages = Pages::of_lines(path, found.lines)?;
        Ok((writer, KnownPages::new(pages, found.keys, found.numbers)))
    }

    pub(super) fn pages_in(directory: &Path) -> Result<u64, StagingError> {
        let mut pages = 0;
        journal::read_unsealed(&directory.join(JOURNAL), |_| pages += 1)?;
        Ok(pages)
    }

    /// Reads a page back: what `take` makes of it counts only if it is what was received.
    pub(crate) fn read_back<T>(
        &self,
        page: &PageEntry,
        take: impl FnOnce(&mut PageReader) -> T,
    ) -> Result<T, StagingError> {
        read_page(&self.directory, page, take)
    }

    /// The error for a page whose bytes are those received, but no records can be read from them.
    pub(crate) fn unreadable(&self, page: &PageEntry, problem: &str) -> StagingError {
        unreadable(&self.directory, page, problem)
    }

    /// Makes a page durable, then its journal line. `request`, `sha256` and `bytes` of the entry are filled in here; its time is
    /// after those of the pages that were there before. People whom the erasure ledger names are blank in it.
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
        private_files::refuse_link(&self.directory)?;
        entry.bytes = 0;
        entry.request = entry.page_request.target();
        let folder = self.slice_folder(entry.slice.as_deref())?;
        let path = folder.join(page_file(entry.page));
        let mut blank = Vec::new();
        if let (Some(blanks), Some(resource)) = (&self.blanks, self.resource()) {
            (body.read_to_end(&mut blank)).map_err(private_files::io("read", &path))?;
            blanks.apply(&resource, &mut blank);
        }
        // It is empty where the body was not read.
        let mut body = blank.as_slice().chain(body);
        private_files::write_atomic(&path, &failpoint::PAGE, |file| {
            let mut hash = Sha256::new();
            gzip::pack(&mut body, file, |plain| {
                hash.update(plain);
                entry.bytes += plain.len() as u64;
            })?;
            entry.sha256 = hex(&hash.finalize());
            Ok(())
        })?;
        let line = journal_line(&entry, &path)?;
        let mut journal = locked(&self.journal);
        (journal.append(&line))
            .map_err(private_files::io("write", &self.directory.join(JOURNAL)))?;
        Point::LineDone.reach();
        Ok(entry)
    }

    /// Its directory has its name.
    fn resource(&self) -> Option<Name> {
        Name::parse(self.directory.file_name()?.to_str()?).ok()
    }

    fn slice_folder(&self, slice: Option<&str>) -> Result<PathBuf, StagingError> {
        let Some(slice) = slice else {
            return Ok(self.directory.clone());
        };
        let folder = self.directory.join(slice);
        // What is written there must not land elsewhere, neither now nor when a link takes the place of what we made.
        refuse_links(&self.directory, slice)?;
        let mut made = locked(&self.slices);
        if made.insert(slice.to_owned()) {
            private_files::create_dirs(&folder)?;
            refuse_links(&self.directory, slice)?;
            for made in folder.ancestors().skip(1) {
                private_files::sync_dir(made)?;
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
        let journal = locked(&self.journal);
        let written = journal.sha256();
        let mut found = Sha256::new();
        if let Some(mut file) = private_files::open_bounded(&path)? {
            let mut piece = vec![0; PIECE];
            loop {
                let read = file.read(&mut piece);
                match read.map_err(private_files::io("read", &path))? {
                    0 => break,
                    length => found.update(&piece[..length]),
                }
            }
        }
        if hex(&found.finalize()) == written {
            return Ok(written);
        }
        Err(StagingError::broken(
            path,
            "it was changed or removed while the resource was being read",
            IN_USE,
        ))
    }

    /// Removes pages that no line of the journal names, and halves of pages: of a process that died between a page and its
    /// line, and the page was not asked for again. Nothing may be written meanwhile.
    pub(crate) fn remove_stray_files(&self) -> Result<(), StagingError> {
        let mut known = PageNumbers::default();
        journal::read_unsealed(&self.directory.join(JOURNAL), |page| {
            known.insert(page.slice.as_deref(), page.page);
        })?;
        for path in stray_files(&self.directory, &known)? {
            std::fs::remove_file(&path).map_err(private_files::io("remove", &path))?;
        }
        Ok(())
    }
}
