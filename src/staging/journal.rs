//! `pages.jsonl`: one line a page, appended after the page is durable.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::erasure::blanks::{Blanks, check_rewrite};
use super::erasure::journal_line::{Rewritten, as_received};
use super::error::{EXTRACT_AGAIN, StagingError};
use super::page_request::{PageRequest, legacy};
use super::private_files;
use crate::failpoint::Point;
use crate::hash::hex;
use crate::list_limits::MOST_RECORDS;

/// No line is longer: what makes it long is the request, and no server takes a longer one.
const LONGEST: u64 = 1 << 20;

/// One staged page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PageEntry {
    /// Its number, from 1, within its slice.
    pub page: u32,
    /// The slice of a fanned-out resource or of a named read, such as `campus_id=1` or `read=ongoing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Path and query that were asked for, for people to read; never a token. The writer fills it in.
    pub request: String,
    /// What was asked for; absent in lines of format 1. Serde does not promise that unknown fields are refused beside it: a test
    /// does.
    #[serde(flatten)]
    pub page_request: PageRequest,
    pub status: u16,
    pub rows: u64,
    /// Bytes of the body, before gzip.
    pub bytes: u64,
    /// Of the body, before gzip, in hex.
    pub sha256: String,
    /// `X-Total` of the answer.
    pub x_total: Option<u64>,
    /// `X-Per-Page` of the answer: rows of a full page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_page: Option<u64>,
    pub first_id: Option<i64>,
    pub last_id: Option<i64>,
    pub fetched_at: Timestamp,
    /// The server's time at the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_date: Option<Timestamp>,
    /// From the request to the last byte.
    pub duration_ms: u64,
    /// Requests that it took, failed ones included.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempts: u32,
    /// The page of the same slice that this one reads again, because rows moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u32>,
    /// The page was rewritten, because a person in it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<Rewritten>,
}

impl PageEntry {
    /// Its line as it was before the page was rewritten; none if it never was.
    pub(super) fn as_received(&self, line: &[u8]) -> Option<Vec<u8>> {
        let rewritten = self.rewritten.as_ref()?;
        as_received(line, (self.bytes, &self.sha256), rewritten)
    }

    /// Whether `request` matches `page_request`, the one that is used.
    pub(crate) fn agrees(&self) -> bool {
        self.request == self.page_request.target()
            || legacy::parse(&self.request) == self.page_request
    }
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_one(attempts: &u32) -> bool {
    *attempts == 1
}

pub(crate) struct Text<'a> {
    /// With its end, if it has one: without, it was being written when the power went. Of one that is too long, its beginning.
    pub(crate) bytes: &'a [u8],
    /// Longer than any journal line.
    pub(crate) is_too_long: bool,
    /// In the journal, from 1.
    pub(crate) number: u64,
    /// Where it begins.
    pub(crate) offset: u64,
}

impl Text<'_> {
    pub(crate) fn is_whole(&self) -> bool {
        self.is_too_long || self.bytes.ends_with(b"\n")
    }

    /// Its page, or what is wrong with it.
    pub(crate) fn page(&self) -> Result<PageEntry, &'static str> {
        if self.is_too_long {
            return Err("is longer than any journal line");
        }
        page_of(self.bytes)
    }
}

/// Gives each line of the journal at `path`, one in memory at a time.
pub(crate) fn read_lines(
    path: &Path,
    mut journal: impl BufRead,
    mut each: impl FnMut(Text<'_>) -> Result<(), StagingError>,
) -> Result<(), StagingError> {
    let (mut line, mut number, mut offset) = (Vec::new(), 0, 0);
    let failed = |error| private_files::io_error("read", path, error);
    loop {
        line.clear();
        let most = (&mut journal).take(LONGEST).read_until(b'\n', &mut line);
        let mut length = most.map_err(failed)? as u64;
        if length == 0 {
            return Ok(());
        }
        number += 1;
        let is_too_long = length == LONGEST && line.last() != Some(&b'\n');
        if is_too_long {
            length += journal.skip_until(b'\n').map_err(failed)? as u64;
        }
        each(Text {
            bytes: &line,
            is_too_long,
            number,
            offset,
        })?;
        offset += length;
    }
}

/// Gives each page of a journal that no manifest seals yet. A line that is none is left out: its page is asked for again.
pub(super) fn read_unsealed(
    path: &Path,
    mut each: impl FnMut(PageEntry),
) -> Result<(), StagingError> {
    let Some(file) = private_files::open_bounded(path)? else {
        return Ok(());
    };
    read_lines(path, BufReader::new(file), |line| {
        if line.is_whole()
            && let Ok(page) = line.page()
        {
            each(page);
        }
        Ok(())
    })
}

#[derive(Debug, Default)]
pub(crate) struct PageNumbers(BTreeMap<String, RoaringBitmap>);

impl PageNumbers {
    /// One more; false if it was there.
    pub(crate) fn insert(&mut self, slice: Option<&str>, number: u32) -> bool {
        let slice = slice.unwrap_or_default();
        if let Some(numbers) = self.0.get_mut(slice) {
            return numbers.insert(number);
        }
        self.0.entry(slice.to_owned()).or_default().insert(number)
    }

    pub(crate) fn contains(&self, slice: Option<&str>, number: u32) -> bool {
        let numbers = self.0.get(slice.unwrap_or_default());
        numbers.is_some_and(|numbers| numbers.contains(number))
    }

    pub(crate) fn last(&self, slice: Option<&str>) -> Option<u32> {
        self.0.get(slice.unwrap_or_default())?.max()
    }
}

/// Where a page's line is: all that is kept in memory of a page, since lists have any number of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// When the answer was received, in nanoseconds since 1970.
    received: i64,
    offset: u64,
    /// Of its bytes: what is read later is what the manifest seals.
    hash: u64,
    length: u32,
    page: u32,
}

// A load of millions of rows holds tens of thousands of them.
const _: () = assert!(size_of::<Line>() <= 32);

impl Line {
    /// The same line where it stands in another journal.
    pub(super) fn moved_to(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    pub(super) fn place(self) -> (u64, usize) {
        (self.offset, self.length as usize)
    }

    pub(super) fn new(page: &PageEntry, offset: u64, line: &[u8]) -> Self {
        // Times of other centuries count as equal: then their places decide.
        let received = page.fetched_at.as_nanosecond();
        let at_an_end = if received < 0 { i64::MIN } else { i64::MAX };
        Self {
            received: i64::try_from(received).unwrap_or(at_an_end),
            offset,
            hash: hash_of(line),
            length: u32::try_from(line.len()).unwrap_or(u32::MAX),
            page: page.page,
        }
    }
}

fn hash_of(line: &[u8]) -> u64 {
    let hash = Sha256::digest(line);
    hash.first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The pages of a journal in some order, each read when it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    path: PathBuf,
    /// None if there is none, as of a resource without pages.
    file: Option<Arc<File>>,
    lines: Vec<Line>,
}

impl Pages {
    /// Those of the journal that a manifest seals by its SHA-256: looks at all lines. The pages come in the order in which
    /// they were received.
    pub(super) fn open_sealed(
        path: PathBuf,
        sealed: &str,
        blanks: Option<&Blanks>,
    ) -> Result<Self, StagingError> {
        let mut file = private_files::open_bounded(&path)?;
        let Index { lines, rewritten } = match &mut file {
            Some(file) => index(&path, BufReader::new(file), Some(sealed)),
            None => index(&path, &[][..], Some(sealed)),
        }?;
        if let Some(hash) = rewritten {
            check_rewrite(&path, &hash, blanks)?;
        }
        let file = file.map(|file| Arc::new(file.into_inner()));
        Ok(Self { path, file, lines }.by_time())
    }

    /// Those that have these lines in the journal at `path`.
    pub(super) fn of_lines(path: PathBuf, lines: Vec<Line>) -> Result<Self, StagingError> {
        let file = private_files::open(&path)?.map(Arc::new);
        Ok(Self { path, file, lines })
    }

    /// In the order in which they were received: those of one moment as they stand. Unstable, which takes no memory beside
    /// them: no two are equal.
    pub(super) fn by_time(mut self) -> Self {
        (self.lines).sort_unstable_by_key(|line| (line.received, line.offset));
        self
    }

    pub(super) fn by_number(mut self) -> Self {
        (self.lines).sort_unstable_by_key(|line| (line.page, line.offset));
        self
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// When the page at a place was received; beyond the last, never.
    pub(super) fn received(&self, at: usize) -> i64 {
        self.lines.get(at).map_or(i64::MAX, |line| line.received)
    }

    pub(super) fn page(&self, at: usize) -> Result<PageEntry, StagingError> {
        let changed = || {
            broken(
                &self.path,
                "it was changed while it was being read".to_owned(),
            )
        };
        let (line, file) = self
            .lines
            .get(at)
            .zip(self.file.as_ref())
            .ok_or_else(changed)?;
        let mut bytes = vec![0; line.length as usize];
        file.read_exact_at(&mut bytes, line.offset)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => changed(),
                _ => private_files::io_error("read", &self.path, error),
            })?;
        if hash_of(&bytes) != line.hash {
            return Err(changed());
        }
        page_of(&bytes).map_err(|_| changed())
    }
}

fn broken(path: &Path, problem: String) -> StagingError {
    StagingError::broken(path, problem, EXTRACT_AGAIN)
}

/// A journal, looked at.
pub(crate) struct Index {
    pub(crate) lines: Vec<Line>,
    /// SHA-256 of the journal as it is, if pages of it were rewritten after the manifest sealed it.
    pub(crate) rewritten: Option<String>,
}

/// Where the lines of the journal at `path` are, each looked at on the way. A last line without its line end was being
/// written when the power went: it is left out. The manifest seals the lines as they were before any page was rewritten.
pub(crate) fn index(
    path: &Path,
    journal: impl BufRead,
    sealed: Option<&str>,
) -> Result<Index, StagingError> {
    let (mut lines, mut hash, mut no_line) = (Vec::new(), Sha256::new(), None);
    let (mut hash_now, mut is_rewritten) = (Sha256::new(), false);
    read_lines(path, journal, |line| {
        let page = line.page();
        hash_now.update(line.bytes);
        let rewrite = page.as_ref().ok().and_then(|page| page.rewritten.as_ref());
        is_rewritten |= rewrite.is_some();
        let received = page
            .as_ref()
            .ok()
            .and_then(|page| page.as_received(line.bytes));
        hash.update(received.as_deref().unwrap_or(line.bytes));
        match page {
            _ if !line.is_whole() => {}
            Err(problem) if line.is_too_long => {
                return Err(broken(path, format!("line {} {problem}", line.number)));
            }
            Ok(page) => lines.push(Line::new(&page, line.offset, line.bytes)),
            Err(problem) => no_line = no_line.or(Some((line.number, problem))),
        }
        Ok(())
    })?;
    if sealed.is_some_and(|sealed| sealed != hex(&hash.finalize())) {
        let problem = "it was changed after the manifest was written".to_owned();
        return Err(broken(path, problem));
    }
    match no_line {
        Some((number, problem)) => Err(broken(path, format!("line {number} {problem}"))),
        None => Ok(Index {
            lines,
            rewritten: is_rewritten.then(|| hex(&hash_now.finalize())),
        }),
    }
}

/// The page of a line, or what is wrong with it.
pub(crate) fn page_of(line: &[u8]) -> Result<PageEntry, &'static str> {
    const NO_LINE: &str = "is not a journal line";
    let mut page: PageEntry = serde_json::from_slice(line).map_err(|_| NO_LINE)?;
    if page.page_request == PageRequest::default() {
        page.page_request = legacy::parse(&page.request);
    } else if !page.page_request.is_possible() {
        return Err(NO_LINE);
    }
    // What names a directory must not lead out of this one.
    if !page.slice.as_deref().is_none_or(is_slice) {
        return Err(NO_LINE);
    }
    // Ranks and page numbers are counted up to these.
    let counts = [Some(page.rows), page.x_total, page.per_page];
    if counts.into_iter().flatten().max() > Some(MOST_RECORDS) {
        return Err("has more records than a list can have");
    }
    Ok(page)
}

/// `read=ongoing`, `user_id=12`, `user_id=12..99`, or one of these in the first: plain directory names.
fn is_slice(text: &str) -> bool {
    let read = text.strip_prefix("read=");
    let Some(read) = read else {
        return is_batch(text);
    };
    let (read, batch) = read
        .split_once('/')
        .map_or((read, None), |(read, batch)| (read, Some(batch)));
    crate::name::Name::parse(read).is_ok() && batch.is_none_or(is_batch)
}

fn is_batch(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, ids)| {
        crate::name::Name::parse(name).is_ok()
            && !ids.is_empty()
            && ids
                .bytes()
                .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
    })
}

/// The journal as this process has written it.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    length: u64,
    hash: Sha256,
    /// Half a line is at its end that could not be taken back: nothing may follow it.
    is_torn: bool,
}

impl Journal {
    /// A journal of `length` bytes with this hash.
    pub(super) fn new(file: File, length: u64, hash: Sha256) -> Self {
        Self {
            file,
            length,
            hash,
            is_torn: false,
        }
    }

    /// Of all that was written.
    pub(super) fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// After an error nothing of the line is kept.
    pub(super) fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.is_torn {
            return Err(std::io::Error::other("its last line could not be written"));
        }
        if let Err(error) = self.try_append(line) {
            // The rest of a line would spoil the next one, if there is room for that again.
            self.is_torn = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.length += line.len() as u64;
        self.hash.update(line);
        Ok(())
    }

    fn try_append(&mut self, line: &[u8]) -> std::io::Result<()> {
        Point::LineAppend.io()?;
        if Point::LineTorn.is_armed() {
            self.file.write_all(&line[..line.len() / 2])?;
        }
        Point::LineTorn.io()?;
        // One write call, so that a line is complete or cut at its end.
        self.file.write_all(line)?;
        Point::LineSync.io()?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_after_a_torn_journal_line() {
        let full = File::options().append(true).open("/dev/full").unwrap();
        let mut journal = Journal::new(full, 0, Sha256::new());
        let before = journal.sha256();
        let error = journal.append(b"{}\n").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pages.jsonl");
        journal.file = private_files::open_append(&path).unwrap();
        journal.append(b"{}\n").unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        assert_eq!(journal.sha256(), before);
    }
}
