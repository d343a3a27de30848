//! Appends to `erasures.jsonl`, each time durably before what the lines name is done.

use std::io::Write as _;

use super::ledger::{ErasedAt, FILE, Line};
use crate::clock;
use crate::failpoint::Point;
use crate::person::{Extent, PersonHash};
use crate::staging::directory::Staging;
use crate::staging::error::StagingError;
use crate::staging::identity::random_hex;
use crate::staging::lock::StagingLock;
use crate::staging::private_files;

/// Bytes of an id of an erasure.
const ID: usize = 8;

impl Staging {
    /// A new id of an erasure.
    pub(crate) fn new_erasure(&self) -> Result<String, StagingError> {
        random_hex::<ID>(self.root())
    }

    /// Records who is erased; with nobody, that all who were are looked for once more.
    pub(crate) fn begin_erasure(
        &self,
        lock: &StagingLock,
        people: &[(PersonHash, ErasedAt)],
        erasure: &str,
    ) -> Result<(), StagingError> {
        let person = |(person, erased): &(PersonHash, ErasedAt)| Line {
            erasure: erased.erasure.clone(),
            person: Some(person.digits()),
            key: Some(person.key.clone()),
            dropped: erased.extent == Extent::Records,
            at: Some(erased.at),
            ..Line::default()
        };
        let mut lines: Vec<Line> = people.iter().map(person).collect();
        // The last one that is open is the one that rewritten pages name.
        lines.push(Line {
            erasure: erasure.to_owned(),
            at: Some(clock::now()),
            ..Line::default()
        });
        self.append(lock, &lines)
    }

    pub(crate) fn finish_erasures(
        &self,
        lock: &StagingLock,
        erasures: &[String],
    ) -> Result<(), StagingError> {
        let line = |erasure: &String| Line {
            erasure: erasure.clone(),
            done: true,
            at: Some(clock::now()),
            ..Line::default()
        };
        self.append(lock, &erasures.iter().map(line).collect::<Vec<_>>())
    }

    pub(super) fn append(&self, _lock: &StagingLock, lines: &[Line]) -> Result<(), StagingError> {
        let path = self.root().join(FILE);
        let before = private_files::read(&path)?.unwrap_or_default();
        let whole = before.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at as u64 + 1);
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|error| private_files::io_error("write", &path, error.into()))?;
            text.push(b'\n');
        }
        let mut file = private_files::open_append(&path)?;
        let mut write = || {
            // Half a line of a process that died.
            file.set_len(whole)?;
            Point::ErasureWrite.io()?;
            if Point::ErasureTorn.is_armed() {
                file.write_all(&text[..text.len() / 2])?;
            }
            Point::ErasureTorn.io()?;
            file.write_all(&text)?;
            Point::ErasureSync.io()?;
            file.sync_all()
        };
        let written = write();
        if let Err(error) = written {
            // What follows half a line could not be read.
            let _ = file.set_len(whole);
            return Err(private_files::io_error("write", &path, error));
        }
        private_files::sync_dir(self.root())?;
        Point::ErasureDone.reach();
        Ok(())
    }
}
