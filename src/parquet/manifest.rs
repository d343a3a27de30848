//! `_cursus/RUN.json`: from what the files of a run were made, and their hashes. Engines leave out names that begin with `_`.

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::remote::{Remote, RemoteError, each_at_once};
use crate::staging::RunId;

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

/// The manifests of all runs. One that is not understood counts as none: its run is exported again.
pub(super) async fn read_all(remote: &Remote) -> Result<Vec<ExportedRun>, RemoteError> {
    let names = remote.list(FOLDER).await?.objects;
    let read = each_at_once(names, |name| async move {
        let bytes = remote.get(&format!("{FOLDER}/{name}")).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    });
    Ok(read.await?.into_iter().flatten().collect())
}

pub(super) async fn write(remote: &Remote, run: &ExportedRun) -> Result<(), RemoteError> {
    let text = serde_json::to_vec_pretty(run).unwrap_or_default();
    remote.replace(&path(&run.run_id), &text.into()).await
}

/// Removes the files of a run, and at last its manifest.
pub(super) async fn remove(remote: &Remote, run: &ExportedRun) -> Result<(), RemoteError> {
    for file in run.resources.iter().flat_map(|resource| &resource.files) {
        remote.remove(&file.path).await?;
    }
    remote.remove(&path(&run.run_id)).await
}
