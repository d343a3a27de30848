//! The files of a run as they are copied to and from another place: where they are, relative to the staging directory, and their
//! bytes, checked. It does not know what the other place is.

#![cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "for object stores")
)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};

use super::adoption::Adoption;
use super::directory::Staging;
use super::erasure::ledger;
#[cfg(feature = "remote")]
pub(crate) use super::erasure::ledger::rewritten_in;
use super::error::{EXTRACT_AGAIN, StagingError};
use super::journal::{PageEntry, index, page_of};
use super::lock::StagingLock;
use super::page::{JOURNAL, StagedResource, inside, read_packed};
use super::run::{MANIFEST, RECORD, Run};
use super::run_id::RunId;
use super::{adoption, approval, identity, private_files};
use crate::failpoint::{self, Point};
use crate::hash::hex;
use crate::name::Name;

/// Bytes of the largest file that is read into memory.
pub(crate) const LARGEST: u64 = private_files::LARGEST;
/// Where runs are kept that are not complete yet.
const ARRIVING: &str = ".arriving";
const EMPTY: &str = "it is not there";

/// A file, and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct StagedFile {
    /// Relative to the staging directory, such as `2026-11-23/T020000Z/users/page-00001.json.gz`.
    pub(crate) path: String,
    pub(crate) bytes: Bytes,
}

/// A list that people add to after a run is closed: approvals, or adoptions.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// Of the file, without `.json`.
    pub(crate) name: &'static str,
    /// Its entries: a list with more is a newer one.
    pub(crate) entries: usize,
    pub(crate) bytes: Bytes,
}

/// The names of notes, without `.json`.
pub(crate) const NOTES: [&str; 2] = [approval::NOTE, adoption::NOTE];

/// Where the file is that names the staging directory.
pub(crate) const IDENTITY: &str = identity::FILE;
/// Where the erasure ledger is.
pub(crate) const ERASURES: &str = ledger::FILE;

/// The directory of a run, relative to the staging directory.
pub(crate) fn place(id: &RunId) -> String {
    id.directory().display().to_string()
}

/// The run in the folder `time` of the folder `day`.
pub(crate) fn run_at(day: &str, time: &str) -> Option<RunId> {
    RunId::of_directory(&Path::new(day).join(time))
}

/// Whether a run began before that time, by its name.
pub(crate) fn began_before(id: &RunId, time: jiff::Timestamp) -> bool {
    *id < RunId::at(time)
}

/// Whether a folder may hold runs.
pub(crate) fn is_day(name: &str) -> bool {
    run_at(name, "T000000Z").is_some()
}

/// Where the record of a run is; who has it has the run.
pub(crate) fn record_path(id: &RunId) -> String {
    format!("{}/{RECORD}", place(id))
}

/// Where the manifest and the journal of a resource are.
pub(crate) fn resource_paths(id: &RunId, resource: &Name) -> [String; 2] {
    let folder = format!("{}/{resource}", place(id));
    [
        format!("{folder}/{MANIFEST}"),
        format!("{folder}/{JOURNAL}"),
    ]
}

impl Staging {
    /// A small file of the directory; `None` if it is not there.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Vec<u8>>, StagingError> {
        private_files::read(&self.root().join(path))
    }

    /// Writes a file that comes from elsewhere, completely or not at all.
    pub(crate) fn receive(&self, file: &StagedFile) -> Result<(), StagingError> {
        let path = self.root().join(&file.path);
        let write = |out: &mut File| out.write_all(&file.bytes);
        if self.is_temporary {
            return private_files::write_without_sync(&path, write);
        }
        if let Some(folder) = path.parent() {
            private_files::create_dirs(folder)?;
        }
        private_files::write_atomic(&path, &failpoint::RECEIVED, write)
    }

    /// The staging directory in which runs are received, inside of this one.
    pub(crate) fn arriving(&self, _lock: &StagingLock) -> Self {
        Self::new(self.root().join(ARRIVING))
    }

    /// Takes a run over that was received completely. A kill leaves it there or here.
    pub(crate) fn take_over(
        &self,
        _lock: &StagingLock,
        from: &Self,
        id: &RunId,
    ) -> Result<(), StagingError> {
        let (source, target) = (
            from.root().join(id.directory()),
            self.root().join(id.directory()),
        );
        let day = self.root().join(id.day());
        private_files::create_dirs(&day)?;
        Point::TakeOver
            .io()
            .and_then(|()| std::fs::rename(&source, &target))
            .map_err(private_files::io("rename to", &target))?;
        Point::TakenOver.reach();
        private_files::sync_dir(&day)
    }

    /// Removes what is left of an earlier reception.
    pub(crate) fn forget_arrivals(&self, _lock: &StagingLock) -> Result<(), StagingError> {
        let path = self.root().join(ARRIVING);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(private_files::io_error("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn run(&self, id: &RunId) -> Result<Option<Run>, StagingError> {
        let directory = self.root().join(id.directory());
        if !directory.exists() {
            return Ok(None);
        }
        Run::open(&directory, id)
    }
}

impl Run {
    /// Whether nothing will be added to it: only the newest is written or resumed. One whose process was killed stays open for ever,
    /// and what is final in it is loaded, and moves cursors.
    pub(crate) fn is_settled(&self, is_newest: bool) -> bool {
        !(is_newest && self.may_grow())
    }

    /// Its record, as it is on disk.
    pub(crate) fn record_file(&self) -> Result<StagedFile, StagingError> {
        let path = self.directory().join(RECORD);
        let bytes = private_files::read(&path)?;
        Ok(StagedFile {
            path: record_path(self.id()),
            bytes: bytes
                .ok_or_else(|| StagingError::broken(path, EMPTY, EXTRACT_AGAIN))?
                .into(),
        })
    }

    /// What people have added to it.
    pub(crate) fn notes(&self) -> Result<Vec<Note>, StagingError> {
        let counts = [self.approvals()?.len(), Adoption::of(self)?.len()];
        let mut notes = Vec::new();
        for (name, entries) in NOTES.into_iter().zip(counts) {
            let bytes = private_files::read(&self.directory().join(format!("{name}.json")))?;
            notes.extend(bytes.map(|bytes| Note {
                name,
                entries,
                bytes: bytes.into(),
            }));
        }
        Ok(notes)
    }

    /// The journal of a resource, as it is on disk.
    pub(crate) fn journal(&self, resource: &Name) -> Result<Vec<u8>, StagingError> {
        let path = self.directory().join(resource.as_str()).join(JOURNAL);
        Ok(private_files::read(&path)?.unwrap_or_default())
    }
}

impl StagedResource {
    fn relative(&self, path: &Path) -> String {
        // The day, the run, the resource.
        let mut above: Vec<_> = self.directory().iter().rev().take(3).collect();
        above.reverse();
        let place: PathBuf = above.into_iter().collect();
        place.join(path).display().to_string()
    }

    /// Where a page is, relative to the staging directory.
    pub(crate) fn page_path(&self, page: &PageEntry) -> String {
        self.relative(&inside(page))
    }

    /// A page as it is on disk, refused if it is not what was received.
    pub(crate) fn packed(&self, page: &PageEntry) -> Result<StagedFile, StagingError> {
        let path = self.directory().join(inside(page));
        let bytes = private_files::read(&path)?.ok_or_else(|| {
            let problem = "the journal lists this page, but it is not there";
            StagingError::broken(&path, problem, EXTRACT_AGAIN)
        })?;
        let bytes = Bytes::from(bytes);
        self.check_packed(page, &bytes)?;
        Ok(StagedFile {
            path: self.page_path(page),
            bytes,
        })
    }

    /// Refuses bytes that are not those of a page.
    pub(crate) fn check_packed(&self, page: &PageEntry, bytes: &Bytes) -> Result<(), StagingError> {
        let path = self.directory().join(inside(page));
        let packed = std::io::Cursor::new(bytes.clone());
        read_packed(&path, page, Box::new(packed), |reader| {
            let _ = std::io::copy(reader, &mut std::io::sink());
        })
    }

    /// Whether the file of a page is there, and what was received.
    pub(crate) fn has(&self, page: &PageEntry) -> bool {
        self.packed(page).is_ok()
    }

    /// Its manifest and its journal.
    pub(crate) fn summary_files(&self) -> Result<Vec<StagedFile>, StagingError> {
        let mut found = Vec::new();
        for name in [JOURNAL, MANIFEST] {
            let bytes = private_files::read(&self.directory().join(name))?;
            found.extend(bytes.map(|bytes| StagedFile {
                path: self.relative(Path::new(name)),
                bytes: bytes.into(),
            }));
        }
        Ok(found)
    }

    /// The pages that another copy of its journal has otherwise, because they were rewritten here or there: as they are here. Refuses a
    /// journal that its manifest does not seal.
    pub(crate) fn differing(&self, other: &[u8]) -> Result<Vec<PageEntry>, StagingError> {
        self.pairs(other, |here, _| page_of(here).ok())
    }

    /// The same pages as they are there.
    pub(crate) fn differing_there(&self, other: &[u8]) -> Result<Vec<PageEntry>, StagingError> {
        self.pairs(other, |_, there| page_of(there).ok())
    }

    fn pairs(
        &self,
        other: &[u8],
        page: impl Fn(&[u8], &[u8]) -> Option<PageEntry>,
    ) -> Result<Vec<PageEntry>, StagingError> {
        let path = self.directory().join(JOURNAL);
        index(&path, other, Some(&self.manifest().journal_sha256))?;
        let here = private_files::read(&path)?.unwrap_or_default();
        let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            lines.map(<[u8]>::to_vec).collect()
        };
        let pairs = lines(&here).into_iter().zip(lines(other));
        Ok(pairs
            .filter(|(here, there)| here != there)
            .filter_map(|(here, there)| page(&here, &there))
            .collect())
    }
}

/// SHA-256 of bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The files of runs that are somewhere else.
pub(crate) trait RunSource: Send + Sync + std::fmt::Debug {
    /// Makes sure that the manifests and notes of a run are in its directory; of a resource, its journal. Waits for them.
    fn bring(&self, run: &RunId, journal_of: Option<&Name>) -> std::io::Result<()>;

    /// Brings the manifests and notes of these runs, as far as they can be had. [`Self::bring`] reports of each run what could not.
    fn bring_all<'a>(&'a self, runs: &'a [RunId]) -> BoxFuture<'a, ()>;

    /// Gets the page, packed, at this path, relative to the staging directory; waits for it.
    fn page(&self, path: &str) -> std::io::Result<Vec<u8>>;

    /// Says that this page is read soon.
    fn expect(&self, path: String);
}

/// The bytes of a page, wherever they are.
pub(super) fn packed_bytes(
    source: &dyn RunSource,
    path: &str,
) -> std::io::Result<Box<dyn std::io::Read + Send>> {
    let bytes = source.page(path)?;
    Ok(Box::new(
        std::io::Cursor::new(bytes).take(private_files::LARGEST),
    ))
}
