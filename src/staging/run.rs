//! One run: its directory, its `run.json`, and the resources in it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::erasure::blanks::Blanks;
use super::error::{EXTRACT_AGAIN, StagingError};
use super::exchange::RunSource;
use super::journal::PageEntry;
use super::known_pages::KnownPages;
use super::lock::LockShare;
use super::manifest::{FORMAT, Manifest};
use super::page::StagedResource;
use super::private_files;
use super::resource_writer::ResourceWriter;
use super::run_id::RunId;
use super::run_record::{RunRecord, RunState};
use super::run_spec::RunSpec;
use crate::failpoint::{self, Point};
use crate::hash::{Hash, hex};
use crate::name::Name;
use crate::person::{Extent, PersonHash};
use crate::printable;
use crate::template::Values;
use crate::trusted::{Folder, Owner, Untrusted};

pub(super) const RECORD: &str = "run.json";
pub(super) const MANIFEST: &str = "manifest.json";
const PUT_AWAY: &str =
    "restore the file, or move this run's directory out of the staging directory";

/// No run has a higher number: one a second would take a century to get there.
pub(super) const LAST: u64 = u32::MAX as u64;

/// A run on disk; cheap to clone.
#[derive(Clone, Debug)]
pub struct Run {
    directory: Arc<Path>,
    record: Arc<RunRecord>,
    /// The resources that its record lists as final, once it is closed.
    claimed: Arc<[Name]>,
    /// By which manifests, in the same order.
    noted: Arc<[Option<Hash>]>,
    /// The only resources that it shows; none: all that are final.
    shown: Option<Arc<[Name]>>,
    /// Who is blank in its pages.
    blanks: Option<Arc<Blanks>>,
    /// Where its pages are, if not in its directory.
    source: Option<Arc<dyn RunSource>>,
}

/// What runs have in common, kept once for all of them.
#[derive(Debug, Default)]
pub(super) struct Common {
    /// Rate figures that newer runs have.
    figures: BTreeSet<String>,
    claims: BTreeSet<Arc<[Name]>>,
}

/// Whether anything is in a run's directory besides half a record. A directory that is missing was removed meanwhile.
fn holds_more_than_a_beginning(directory: &Path) -> Result<bool, StagingError> {
    let half = private_files::aside(directory, RECORD);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(private_files::io_error("list", directory, error)),
    };
    for entry in entries {
        let entry = entry.map_err(private_files::io("list", directory))?;
        if entry.path() != half {
            return Ok(directory.exists());
        }
    }
    Ok(false)
}

impl Run {
    pub(super) fn create(
        root: &Path,
        now: Timestamp,
        newest: Option<&RunId>,
        seq: u64,
        staging_id: String,
        spec: &RunSpec,
    ) -> Result<Self, StagingError> {
        let mut time = newest
            .and_then(RunId::next_second)
            .map_or(now, |next| now.max(next));
        loop {
            let id = RunId::at(time);
            private_files::create_dirs(&root.join(id.day()))?;
            Folder::open(&root.join(id.day()), Owner::caller())?;
            let directory = root.join(id.directory());
            Point::RunMake
                .io()
                .map_err(private_files::io("create", &directory))?;
            if !private_files::create_dir_exclusive(&directory)? {
                time = time
                    .saturating_add(SignedDuration::from_secs(1))
                    .unwrap_or(time);
                continue;
            }
            Point::RunMade.reach();
            let run = Self {
                claimed: Arc::default(),
                noted: Arc::default(),
                shown: None,
                blanks: None,
                source: None,
                record: Arc::new(RunRecord {
                    format: FORMAT,
                    run_id: id.clone(),
                    seq,
                    selection: spec.selection.clone(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    staging_id: Some(staging_id),
                    server: Some(spec.server.clone()),
                    scope: Some(spec.scope.clone()),
                    started_at: now,
                    ..RunRecord::default()
                }),
                directory: directory.into(),
            };
            run.save()?;
            for folder in [root.join(id.day()), root.to_owned()] {
                private_files::sync_dir(&folder)?;
            }
            return Ok(run);
        }
    }

    /// The run in `directory`; `None` if it was never made: its process died before there was a `run.json`.
    pub(super) fn open(directory: &Path, id: &RunId) -> Result<Option<Self>, StagingError> {
        match Folder::open(directory, Owner::caller()) {
            Err(Untrusted::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            folder => drop(folder?),
        }
        let path = directory.join(RECORD);
        let record = match private_files::read_json::<RunRecord>(&path, PUT_AWAY)? {
            None if !holds_more_than_a_beginning(directory)? => return Ok(None),
            // Another process may just have made it.
            None => private_files::read_json(&path, PUT_AWAY)?,
            record => record,
        };
        let Some(record) = record else {
            return Err(StagingError::broken(
                path,
                "it is not there, but files of a run are",
                PUT_AWAY,
            ));
        };
        if record.run_id != *id {
            return Err(StagingError::broken(
                path,
                format!(
                    "it belongs to the run {}",
                    printable::line(record.run_id.as_str())
                ),
                "move the run back where it was made",
            ));
        }
        // The next run gets a higher one, and of two runs the higher one is believed.
        if record.seq > LAST {
            return Err(StagingError::broken(
                path,
                format!(
                    "its number (seq) is {}, and no run has one above {LAST}",
                    record.seq
                ),
                PUT_AWAY,
            ));
        }
        Ok(Some(Self {
            directory: directory.into(),
            claimed: record.claims(),
            noted: record.noted(),
            shown: None,
            blanks: None,
            source: None,
            record: Arc::new(record),
        }))
    }

    /// Removes a run that was never made; one that holds more than half a record stays.
    pub(super) fn forget(directory: &Path) {
        let _ = std::fs::remove_file(private_files::aside(directory, RECORD));
        let _ = std::fs::remove_dir(directory);
    }

    /// The same without what only matters of a run by itself: its resources, and rate figures that newer runs have.
    /// Thousands of them are kept at once. Not to be written.
    pub(super) fn without_details(mut self, common: &mut Common) -> Self {
        match common.claims.get(&self.claimed) {
            Some(claims) => self.claimed = Arc::clone(claims),
            None => drop(common.claims.insert(Arc::clone(&self.claimed))),
        }
        let record = Arc::make_mut(&mut self.record);
        record.resources = Vec::new();
        let rate = std::mem::take(&mut record.rate);
        record.rate = (rate.into_iter())
            .filter(|(name, figure)| !figure.is_null() && common.figures.insert(name.clone()))
            .collect();
        self
    }

    /// Where its record does not say which staging directory it was made in, it was this one.
    pub(super) fn presume_staging_id(&mut self, id: Option<&String>) {
        if self.record.staging_id.is_none() && id.is_some() {
            Arc::make_mut(&mut self.record).staging_id = id.cloned();
        }
    }

    /// What placeholders stood for when it was read; what its record does not say is as in `today`.
    pub(crate) fn scope(&self, today: &Values) -> Values {
        let mut scope = today.clone();
        scope.extend(self.record.scope.clone().unwrap_or_default());
        scope
    }

    /// The same, in whose pages those are blank.
    pub(super) fn with_blanks(mut self, blanks: Option<&Arc<Blanks>>) -> Self {
        self.blanks = blanks.cloned();
        self
    }

    /// Whether a person is erased as far in what is read of its pages, whatever the files hold.
    pub(crate) fn hides(&self, person: &PersonHash, extent: Extent) -> bool {
        self.blanks
            .as_ref()
            .is_some_and(|blanks| blanks.hides(person, extent))
    }

    /// The same, whose pages come from there.
    pub(super) fn with_source(mut self, source: Option<&Arc<dyn RunSource>>) -> Self {
        self.source = source.cloned();
        self
    }

    /// Whether it may have a resource, by its record: a closed run lists its resources, so a store is not asked for others. A run that
    /// was interrupted or failed is asked for all: it does not list what it sealed before it was resumed.
    pub(crate) fn may_have(&self, resource: &Name) -> bool {
        let lists_all = !self.may_grow() && !self.claimed.is_empty();
        !lists_all || self.claimed.contains(resource)
    }

    /// Brings its manifests and notes, or the journal of a resource, if the run is in a store.
    pub(super) fn bring(&self, journal_of: Option<&Name>) -> Result<(), StagingError> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        let brought = source.bring(self.id(), journal_of);
        brought.map_err(private_files::io("bring the files of", &self.directory))
    }

    /// Whether people are blank in its pages, whatever the files hold.
    pub(crate) fn has_blanks(&self) -> bool {
        self.blanks.is_some()
    }

    /// The same as if only these resources were final.
    pub(super) fn showing_only(mut self, resources: Vec<Name>) -> Self {
        self.shown = Some(resources.into());
        self
    }

    /// The resources that have a manifest, or should have one.
    pub(super) fn final_resources(&self) -> Result<Vec<Name>, StagingError> {
        let mut names = self.resources()?;
        names.retain(|name| {
            let manifest = self.directory.join(name.as_str()).join(MANIFEST);
            self.claimed.contains(name) || std::fs::symlink_metadata(manifest).is_ok()
        });
        Ok(names)
    }

    /// Whether a page of a final resource is staged. A manifest that cannot be read counts: it is reported where it is
    /// read.
    pub(crate) fn has_staged(&self) -> Result<bool, StagingError> {
        for name in self.resources()? {
            match self.manifest(&name) {
                Ok(Some(manifest)) if manifest.pages > 0 => return Ok(true),
                Ok(_) => {}
                Err(StagingError::Broken { .. }) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Its id.
    pub fn id(&self) -> &RunId {
        &self.record.run_id
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its `run.json`.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    pub(crate) fn is_open(&self) -> bool {
        self.record.state == RunState::Open
    }

    /// Changes and writes its `run.json`.
    pub fn update(&mut self, change: impl FnOnce(&mut RunRecord)) -> Result<(), StagingError> {
        change(Arc::make_mut(&mut self.record));
        self.note_manifests()?;
        self.claimed = self.record.claims();
        self.noted = self.record.noted();
        self.save()
    }

    /// Binds the manifests to the record when it is closed: none can take the place of another then.
    fn note_manifests(&mut self) -> Result<(), StagingError> {
        for name in self.record.claims().iter() {
            let hash = self.manifest_hash(name)?;
            let record = Arc::make_mut(&mut self.record);
            let of_it = record.resources.iter_mut().filter(|one| one.name == *name);
            for summary in of_it.filter(|_| !hash.is_empty()) {
                summary.manifest_sha256.get_or_insert_with(|| hash.clone());
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<(), StagingError> {
        private_files::write_json(&self.directory.join(RECORD), &failpoint::RUN, &*self.record)
    }

    /// Begins to stage a resource, or resumes one that is not final: returns the complete pages that are staged. The writer keeps
    /// its share of the lock.
    pub fn writer(
        &self,
        share: LockShare,
        resource: &Name,
    ) -> Result<(ResourceWriter, KnownPages), StagingError> {
        self.writer_with(share, resource, |_| true)
    }

    /// The same with those pages alone that are kept.
    pub fn writer_with(
        &self,
        share: LockShare,
        resource: &Name,
        is_kept: impl Fn(&PageEntry) -> bool,
    ) -> Result<(ResourceWriter, KnownPages), StagingError> {
        let directory = self.directory.join(resource.as_str());
        let blanks = self.blanks.clone();
        ResourceWriter::open(directory, share, blanks, is_kept)
    }

    /// How many pages of a resource are staged, final or not. They are not looked at.
    pub(crate) fn pages_so_far(&self, resource: &Name) -> Result<u64, StagingError> {
        ResourceWriter::pages_in(&self.directory.join(resource.as_str()))
    }

    /// Writes a resource's manifest: it is final now.
    pub fn seal(&self, manifest: &Manifest) -> Result<(), StagingError> {
        let path = self
            .directory
            .join(manifest.resource.as_str())
            .join(MANIFEST);
        let manifest = Manifest {
            run_id: Some(self.id().clone()),
            ..manifest.clone()
        };
        private_files::write_json(&path, &failpoint::MANIFEST, &manifest)
    }

    /// The manifest of a resource, if it is final.
    pub fn manifest(&self, resource: &Name) -> Result<Option<Manifest>, StagingError> {
        let is_hidden = |shown: &Arc<[Name]>| !shown.contains(resource);
        if self.shown.as_ref().is_some_and(is_hidden) {
            return Ok(None);
        }
        if self.source.is_some() && !self.may_have(resource) {
            return Ok(None);
        }
        self.bring(None)?;
        let directory = self.directory.join(resource.as_str());
        private_files::refuse_link(&directory)?;
        let path = directory.join(MANIFEST);
        let manifest: Option<Manifest> = private_files::read_json(&path, EXTRACT_AGAIN)?;
        let Some(manifest) = manifest else {
            if !self.claimed.contains(resource) {
                return Ok(None);
            }
            return Err(StagingError::broken(
                path,
                "run.json lists this resource as staged, but its manifest is not there",
                EXTRACT_AGAIN,
            ));
        };
        let problem = match &manifest.run_id {
            _ if manifest.resource != *resource => {
                format!("it is the manifest of `{}`", manifest.resource)
            }
            Some(run) if run != self.id() => {
                format!("it belongs to the run {}", printable::line(run.as_str()))
            }
            _ if !self.is_as_noted(resource)? => {
                "it is not the one that run.json was closed with (its checksum differs)".to_owned()
            }
            _ => return Ok(Some(manifest)),
        };
        Err(StagingError::broken(path, problem, EXTRACT_AGAIN))
    }

    /// The hash of the manifest that the run was closed with.
    fn noted_hash(&self, resource: &Name) -> Option<Hash> {
        let at = self.claimed.iter().position(|name| name == resource);
        at.and_then(|at| self.noted.get(at).copied().flatten())
    }

    fn is_as_noted(&self, resource: &Name) -> Result<bool, StagingError> {
        self.noted_hash(resource).map_or(Ok(true), |noted| {
            Ok(self.hash_of_file(resource)? == hex(&noted))
        })
    }

    /// SHA-256 of a resource's manifest, in hex; empty if it has none.
    pub(crate) fn manifest_hash(&self, resource: &Name) -> Result<String, StagingError> {
        // A manifest in a store is not fetched for its hash: one with another hash is refused when it is read.
        if self.source.is_some()
            && let Some(noted) = self.noted_hash(resource)
        {
            return Ok(hex(&noted));
        }
        self.hash_of_file(resource)
    }

    fn hash_of_file(&self, resource: &Name) -> Result<String, StagingError> {
        self.bring(None)?;
        let path = self.directory.join(resource.as_str()).join(MANIFEST);
        Ok(private_files::read(&path)?
            .map_or_else(String::new, |bytes| hex(&Sha256::digest(bytes))))
    }

    /// Names of the resources that have a directory in this run, or should have one, sorted. A link counts as one, so
    /// that it is reported where it is read.
    pub fn resources(&self) -> Result<Vec<Name>, StagingError> {
        self.bring(None)?;
        let entries = std::fs::read_dir(&self.directory)
            .map_err(private_files::io("list", &self.directory))?;
        let mut names: BTreeSet<Name> = self.claimed.iter().cloned().collect();
        for entry in entries {
            let entry = entry.map_err(private_files::io("list", &self.directory))?;
            let kind = entry.file_type();
            if kind.is_ok_and(|kind| kind.is_dir() || kind.is_symlink())
                && let Some(name) = entry.file_name().to_str().and_then(|n| Name::parse(n).ok())
            {
                names.insert(name);
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The final pages of a resource; `None` if it is not final.
    pub fn staged(&self, resource: &Name) -> Result<Option<StagedResource>, StagingError> {
        let Some(manifest) = self.manifest(resource)? else {
            return Ok(None);
        };
        self.bring(Some(resource))?;
        let directory = self.directory.join(resource.as_str());
        let blanks = self.blanks.clone();
        let staged = StagedResource::open(directory, manifest, blanks)?;
        Ok(Some(staged.with_source(self.source.clone())))
    }
}
