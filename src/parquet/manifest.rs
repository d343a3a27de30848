//! `_cursus/RUN.json`: from what the files of a run were made, and their hashes. Engines leave out names that begin with `_`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::remote::{Remote, RemoteError, each_at_once};
use crate::staging::RunId;
use crate::staging::exchange::sha256;

const FOLDER: &str = "_cursus";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExportedRun {
    pub(super) run_id: RunId,
    pub(super) staging_id: Option<String>,
    pub(super) version: String,
    pub(super) resources: Vec<ExportedResource>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExportedResource {
    pub(super) name: Name,
    /// Of the journal that the pages were read by, as it was then.
    pub(super) journal_sha256: String,
    /// Of the names and types of its columns.
    pub(super) columns_sha256: String,
    pub(super) files: Vec<ExportedFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExportedFile {
    pub(super) path: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl ExportedRun {
    pub(super) fn resource(&self, name: &Name) -> Option<&ExportedResource> {
        self.resources.iter().find(|one| one.name == *name)
    }
}

fn path(id: &RunId) -> String {
    format!("{FOLDER}/{id}.json")
}

/// What is kept in memory of each run that is there.
#[derive(Clone, Debug)]
pub(super) struct KnownRun {
    pub(super) staging_id: Option<String>,
    /// As of [`basis`].
    pub(super) basis: String,
}

/// Hash of all that decides what the files of a run hold: the journal and the columns of each resource, by their own hashes.
pub(super) fn basis<'r>(
    resources: impl IntoIterator<Item = (&'r Name, &'r str, &'r str)>,
) -> String {
    let lines = resources.into_iter();
    let lines = lines.map(|(name, journal, columns)| format!("{name} {journal} {columns}\n"));
    sha256(lines.collect::<String>().as_bytes())
}

/// The runs that are there. One whose manifest is not understood counts as none: it is exported again.
pub(super) async fn read_all(remote: &Remote) -> Result<BTreeMap<RunId, KnownRun>, RemoteError> {
    let names = remote.list(FOLDER).await?.objects;
    let read = each_at_once(names, |name| async move {
        let run = read_file(remote, &format!("{FOLDER}/{name}")).await?;
        Ok(run.map(|run| {
            let resources = run.resources.iter();
            let basis =
                basis(resources.map(|one| (&one.name, &*one.journal_sha256, &*one.columns_sha256)));
            let staging_id = run.staging_id;
            (run.run_id, KnownRun { staging_id, basis })
        }))
    });
    Ok(read.await?.into_iter().flatten().collect())
}

/// The manifest of a run; none if it is not there or not understood.
pub(super) async fn read(remote: &Remote, id: &RunId) -> Result<Option<ExportedRun>, RemoteError> {
    read_file(remote, &path(id)).await
}

async fn read_file(remote: &Remote, path: &str) -> Result<Option<ExportedRun>, RemoteError> {
    let bytes = remote.get(path).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

pub(super) async fn write(remote: &Remote, run: &ExportedRun) -> Result<(), RemoteError> {
    let text = serde_json::to_vec_pretty(run).unwrap_or_default();
    remote.replace(&path(&run.run_id), &text.into()).await
}

/// Removes the files of a run, and at last its manifest.
pub(super) async fn remove(remote: &Remote, id: &RunId) -> Result<(), RemoteError> {
    let run = read(remote, id).await?;
    let resources = run.iter().flat_map(|run| &run.resources);
    for file in resources.flat_map(|resource| &resource.files) {
        remote.remove(&file.path).await?;
    }
    remote.remove(&path(id)).await
}
