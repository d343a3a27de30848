//! Erases people from the pages of a resource: each page with one of them is rewritten, and then the journal that names it.
//!
//! Of a resource the ledger first names the journal that will be; then its pages are replaced, each aside and by rename, and
//! at last the journal. Whatever of this a kill leaves, the next sweep finishes, because the same pages give the same journal.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::found::FoundPage;
use super::journal_line::{Rewritten, as_rewritten};
use super::ledger::{ErasureLedger, Line};
use super::sought::Sought;
use crate::failpoint::{self, Point};
use crate::hash::hex;
use crate::mutex::locked;
use crate::name::Name;
use crate::person::People;
use crate::staging::directory::Staging;
use crate::staging::error::{EXTRACT_AGAIN, StagingError};
use crate::staging::gzip::{self, PIECE};
use crate::staging::journal::{PageEntry, PageNumbers, page_of};
use crate::staging::lock::StagingLock;
use crate::staging::page::{JOURNAL, inside, page_number, refuse_links, stray_files};
use crate::staging::private_files;
use crate::staging::run::Run;

/// What is of them in a page, and the page without; none if only ids are there.
type Blanked = (FoundPage, Option<Vec<u8>>);

/// A page with one of them: its line, and its body as it is and as it will be.
struct Change {
    line: usize,
    page: PageEntry,
    bytes: u64,
    sha256: String,
    /// It was rewritten by a process that died before its journal was.
    is_there: bool,
}

/// The lock, the erasure and the ledger, where pages are to be rewritten.
pub(super) type Write<'a> = Option<(&'a StagingLock, &'a str, &'a Mutex<ErasureLedger>)>;

/// A resource of a run.
pub(super) struct Part<'a> {
    pub(super) staging: &'a Staging,
    pub(super) people: &'a People,
    pub(super) sought: &'a Sought,
    pub(super) run: &'a Run,
    pub(super) resource: &'a Name,
}

impl Part<'_> {
    fn directory(&self) -> PathBuf {
        self.run.directory().join(self.resource.as_str())
    }

    /// The pages that hold one of them, rewritten where that is wanted.
    pub(super) fn sweep(&self, write: Write<'_>) -> Result<Vec<FoundPage>, StagingError> {
        let directory = self.directory();
        private_files::refuse_link(&directory)?;
        let path = directory.join(JOURNAL);
        // Looks at every line of one that is sealed.
        let is_sealed = self.run.staged(self.resource)?.is_some();
        let journal = private_files::read(&path)?.unwrap_or_default();
        let mut lines: Vec<Vec<u8>> = journal
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        let (mut changes, mut found) = (Vec::new(), Vec::new());
        // Of a journal that nothing seals: they are asked for again, and may hold anybody meanwhile.
        let mut damaged = Vec::new();
        let mut known = PageNumbers::default();
        let mut body = Vec::new();
        for (line, text) in lines.iter().enumerate() {
            // Of a journal that nothing seals, what is no line is asked for again.
            let Some(page) = text.ends_with(b"\n").then(|| page_of(text).ok()).flatten() else {
                continue;
            };
            known.insert(page.slice.as_deref(), page.page);
            let file = Path::new(self.resource.as_str()).join(inside(&page));
            let file = file.display().to_string();
            // What nothing seals may be damaged, and nobody was found in that.
            if is_sealed && !self.sought.is_in(self.run, &file) {
                continue;
            }
            match read_as_it_is(&directory, &page, &mut body) {
                // Most pages: whether they are damaged does not matter.
                Ok(()) if !self.sought.may_be_in(&body) => continue,
                Ok(()) => {}
                Err(StagingError::Broken { .. }) if !is_sealed => {
                    damaged.push(page);
                    continue;
                }
                Err(error) => return Err(error),
            }
            let sha256 = hex(&Sha256::digest(&body));
            let is_there = sha256 != page.sha256;
            if is_there && !is_sealed {
                damaged.push(page);
                continue;
            }
            let becomes = if is_there {
                Some((body.len() as u64, sha256))
            } else {
                let Some((count, blank)) = self.blank(&directory, &page, &body)? else {
                    continue;
                };
                found.push(FoundPage {
                    run: self.run.id().to_string(),
                    resource: self.resource.clone(),
                    file,
                    ..count
                });
                blank.map(|blank| (blank.len() as u64, hex(&Sha256::digest(&blank))))
            };
            if let Some((bytes, sha256)) = becomes {
                changes.push(Change {
                    line,
                    page,
                    bytes,
                    sha256,
                    is_there,
                });
            }
        }
        let Some((lock, erasure, ledger)) = write else {
            return refuse_half_done(&changes, &directory).map(|()| found);
        };
        let _: &StagingLock = lock;
        for change in &changes {
            lines[change.line] = rewritten_line(
                &lines[change.line],
                change,
                is_sealed.then_some(erasure),
                &path,
            )?;
        }
        let journal = lines.concat();
        if is_sealed && !changes.is_empty() {
            self.name(&journal, &changes, lock, erasure, ledger, &directory)?;
        }
        for change in changes.iter().filter(|change| !change.is_there) {
            read_as_it_is(&directory, &change.page, &mut body)?;
            let Some((_, Some(blank))) = self.blank(&directory, &change.page, &body)? else {
                continue;
            };
            let path = directory.join(inside(&change.page));
            private_files::write_atomic(&path, &failpoint::ERASED_PAGE, |file| {
                gzip::pack(blank.as_slice(), file, |_| ())
            })?;
        }
        if !changes.is_empty() {
            private_files::write_atomic(&path, &failpoint::ERASED_JOURNAL, |file| {
                file.write_all(&journal)
            })?;
        }
        for page in &damaged {
            remove_page(&directory, page)?;
        }
        remove_strays(&directory, &known)?;
        Ok(found)
    }

    /// What of them is in a page, and the page without it; none if nothing is.
    fn blank(
        &self,
        directory: &Path,
        page: &PageEntry,
        body: &[u8],
    ) -> Result<Option<Blanked>, StagingError> {
        let broken = |problem: &str| {
            StagingError::broken(directory.join(inside(page)), problem, EXTRACT_AGAIN)
        };
        let text = std::str::from_utf8(body).map_err(|_| broken("it is not UTF-8 text"))?;
        let (mut values, mut records) = (0, Vec::new());
        let (mut edits, mut own) = (Vec::new(), Vec::new());
        let look = self.people.look(
            self.resource,
            text,
            &mut |id| self.sought.extent(id),
            &mut |seen| {
                values += seen.values.len() as u64;
                records.push(seen.record);
                own.extend(seen.is_own.then_some(seen.record));
                edits.extend(seen.edits);
            },
        );
        look.map_err(|error| {
            broken(&format!(
                "it is not a JSON array of records (line {}, column {})",
                error.line(),
                error.column()
            ))
        })?;
        records.dedup();
        if records.is_empty() {
            return Ok(None);
        }
        let found = FoundPage {
            run: String::new(),
            resource: self.resource.clone(),
            file: String::new(),
            records: records.len() as u64,
            values,
            own,
        };
        Ok(Some((found, crate::person::apply(text, edits))))
    }

    /// Names the journal in the ledger, before a page of it is rewritten. Pages that are rewritten already, or damaged, can
    /// only be those of an erasure that was begun: then their journal was named.
    fn name(
        &self,
        journal: &[u8],
        changes: &[Change],
        lock: &StagingLock,
        erasure: &str,
        ledger: &Mutex<ErasureLedger>,
        directory: &Path,
    ) -> Result<(), StagingError> {
        let hash = hex(&Sha256::digest(journal));
        let (run, resource) = (self.run.id().as_str(), self.resource);
        // One after the other: lines of two threads must not be mixed.
        let mut ledger = locked(ledger);
        if ledger.names(run, resource.as_str(), &hash) {
            return Ok(());
        }
        refuse_half_done(changes, directory)?;
        let line = Line {
            erasure: erasure.to_owned(),
            run: Some(run.to_owned()),
            resource: Some(resource.clone()),
            journal_sha256: Some(hash.clone()),
            ..Line::default()
        };
        self.staging.append(lock, &[line])?;
        ledger.add_rewrite(run, resource.as_str(), &hash);
        Ok(())
    }
}

/// The line of a page as it will be. It still says what was received.
fn rewritten_line(
    line: &[u8],
    change: &Change,
    erasure: Option<&str>,
    path: &Path,
) -> Result<Vec<u8>, StagingError> {
    let page = &change.page;
    let received = page.as_received(line).unwrap_or_else(|| line.to_vec());
    let (was_bytes, was) = match &page.rewritten {
        Some(before) => (before.bytes, before.was.as_str()),
        None => (page.bytes, page.sha256.as_str()),
    };
    let rewritten = erasure.map(|erasure| Rewritten {
        was: was.to_owned(),
        bytes: was_bytes,
        erasure: erasure.to_owned(),
    });
    let now = (change.bytes, change.sha256.as_str());
    as_rewritten(&received, (was_bytes, was), now, rewritten.as_ref()).ok_or_else(|| {
        StagingError::broken(
            path,
            format!(
                "line {} is not as cursus writes it, so that it cannot name a rewritten page",
                change.line + 1
            ),
            EXTRACT_AGAIN,
        )
    })
}

/// Refuses bytes that nobody named before.
fn refuse_half_done(changes: &[Change], directory: &Path) -> Result<(), StagingError> {
    let Some(change) = changes.iter().find(|change| change.is_there) else {
        return Ok(());
    };
    Err(StagingError::broken(
        directory.join(inside(&change.page)),
        "the content is not what was received (its checksum differs)",
        "if [person] of pipeline.toml was edited after a `cursus forget` was interrupted, undo that, run `cursus forget --finish`, and edit it \
         again; otherwise extract this resource again",
    ))
}

/// Reads a page whose bytes may be others than those that its line names.
fn read_as_it_is(
    directory: &Path,
    page: &PageEntry,
    body: &mut Vec<u8>,
) -> Result<(), StagingError> {
    let path = directory.join(inside(page));
    if let Some(slice) = &page.slice {
        refuse_links(directory, slice)?;
    }
    read_file(&path, body)
}

pub(super) fn read_file(path: &Path, body: &mut Vec<u8>) -> Result<(), StagingError> {
    let broken = |problem: &str| StagingError::broken(path, problem, EXTRACT_AGAIN);
    let file: File = private_files::open(path)?
        .ok_or_else(|| broken("the journal lists this page, but it is not there"))?;
    let mut reader =
        MultiGzDecoder::new(BufReader::with_capacity(PIECE, file)).take(private_files::LARGEST);
    body.clear();
    match reader.read_to_end(body) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error().is_some() => {
            Err(private_files::io_error("read", path, error))
        }
        Err(_) => Err(broken("the file is not gzip, or damaged")),
    }
}

/// Removes a page that a resumed run asks for again.
fn remove_page(directory: &Path, page: &PageEntry) -> Result<(), StagingError> {
    if let Some(slice) = &page.slice {
        refuse_links(directory, slice)?;
    }
    let path = directory.join(inside(page));
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    remove(&path)
}

/// Removes halves of pages, and pages that no line names, which nobody would read and nobody would rewrite.
fn remove_strays(directory: &Path, known: &PageNumbers) -> Result<(), StagingError> {
    for path in stray_files(directory, known)? {
        let name = path
            .file_name()
            .and_then(std::ffi::OsStr::to_str)
            .unwrap_or_default();
        let is_half = name.starts_with(".page-") || name.starts_with(".pages");
        if is_half || page_number(name).is_some() {
            remove(&path)?;
        }
    }
    Ok(())
}

/// A power failure does not bring the file back.
fn remove(path: &Path) -> Result<(), StagingError> {
    Point::ErasedStrayRemove.reach();
    std::fs::remove_file(path).map_err(private_files::io("remove", path))?;
    path.parent().map_or(Ok(()), private_files::sync_dir)
}
