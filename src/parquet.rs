//! Staged runs as Parquet files for engines: `resource=users/day=2026-11-23/20261123T020000Z-0000.parquet`. The files are
//! derived: they hold what is staged, and can be removed and made again. Bundles of `cursus export` use [`columns`], too.
//!
//! Each run has a manifest there, which is written last and says from what its files were made. A resource is exported again when
//! its pages were rewritten or its columns are others, and removed when its run is not staged any more.

pub(crate) mod columns;
mod manifest;
mod part;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::info;

use crate::load::Mapping;
use crate::name::Name;
use crate::remote::{Remote, RemoteError, blocking};
use crate::staging::exchange::sha256;
use crate::staging::{Run, RunId, StagedResource, Staging, StagingError};
use columns::Columns;
pub(crate) use columns::RECORD;
use manifest::{ExportedFile, ExportedResource, ExportedRun, KnownRun, basis};
use part::{Part, PartWriter};

/// What an export has done.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Exported {
    pub(crate) url: String,
    /// Its number in `pipeline.export`, by which `forget` names it.
    pub(crate) export: u64,
    /// Runs of which something was written.
    pub(crate) runs: usize,
    /// Runs that were there as they are staged.
    pub(crate) there: usize,
    /// Runs that are not staged any more, and were removed there.
    pub(crate) removed: usize,
    pub(crate) files: usize,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The time that reading and writing rows took, without that of the object store.
    pub(crate) working_ms: u64,
}

/// What can be wrong with an export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Staging(#[from] StagingError),
    #[error("{place}: Parquet cannot hold it; nothing of this resource was written")]
    Parquet {
        place: String,
        source: parquet::errors::ParquetError,
    },
    #[error(
        "{url} holds an export of another staging directory; nothing was written; use another URL"
    )]
    OtherStaging { url: String },
}

/// Brings the export at a URL to what is staged.
pub(crate) async fn export(
    remote: &Remote,
    staging: &Staging,
    mappings: &[Mapping],
) -> Result<Exported, ExportError> {
    let mut exported = Exported {
        url: remote.shown().to_owned(),
        ..Exported::default()
    };
    let here = staging.clone();
    let runs = blocking(move || here.finished_runs()).await?;
    let id = staging.id()?;
    let there = manifest::read_all(remote).await?;
    if there.values().any(|run| run.staging_id != id) {
        return Err(ExportError::OtherStaging { url: exported.url });
    }
    let staged: BTreeSet<&RunId> = runs.iter().map(Run::id).collect();
    for absent in there.keys().filter(|id| !staged.contains(id)) {
        manifest::remove(remote, absent).await?;
        exported.removed += 1;
    }
    for run in &runs {
        let known = there.get(run.id());
        let export = Export {
            remote,
            run,
            mappings,
        };
        if export.bring(known, id.as_ref(), &mut exported).await? {
            exported.runs += 1;
        } else {
            exported.there += 1;
        }
    }
    Ok(exported)
}

/// The export of one run.
struct Export<'a> {
    remote: &'a Remote,
    run: &'a Run,
    mappings: &'a [Mapping],
}

impl Export<'_> {
    /// Writes what is not there as it is staged; whether anything was.
    async fn bring(
        &self,
        known: Option<&KnownRun>,
        staging_id: Option<&String>,
        exported: &mut Exported,
    ) -> Result<bool, ExportError> {
        let mut hashes = Vec::new();
        for name in self.run.resources()? {
            let (from, wanted) = (self.run.clone(), name.clone());
            if blocking(move || from.manifest(&wanted)).await?.is_some() {
                let journal = sha256(&self.run.journal(&name)?);
                let columns = Columns::of(&name, self.mappings).sha256();
                hashes.push((name, journal, columns));
            }
        }
        let today = hashes.iter();
        let today = basis(today.map(|(name, journal, columns)| (name, &**journal, &**columns)));
        let known = match known {
            Some(known) if known.basis == today => return Ok(false),
            Some(_) => manifest::read(self.remote, self.run.id()).await?,
            None => None,
        };
        let mut resources = Vec::new();
        let mut stale = Vec::new();
        for (name, journal_sha256, columns_sha256) in hashes {
            let of_it = known.as_ref().and_then(|run| run.resource(&name));
            if let Some(same) = of_it.filter(|one| {
                one.journal_sha256 == journal_sha256 && one.columns_sha256 == columns_sha256
            }) {
                resources.push(same.clone());
                continue;
            }
            let (from, wanted) = (self.run.clone(), name.clone());
            let Some(staged) = blocking(move || from.staged(&wanted)).await? else {
                continue;
            };
            let columns = Columns::of(&name, self.mappings);
            let files = self.write(&name, staged, columns, exported).await?;
            stale.extend(self.others(&name, &files).await?);
            resources.push(ExportedResource {
                name,
                journal_sha256,
                columns_sha256,
                files,
            });
        }
        let run = ExportedRun {
            run_id: self.run.id().clone(),
            staging_id: staging_id.cloned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            resources,
        };
        manifest::write(self.remote, &run).await?;
        for file in stale {
            self.remote.remove(&file).await?;
        }
        info!(run = %self.run.id(), "exported to {}", self.remote.shown());
        Ok(true)
    }

    /// Files of a resource and this run that are there beside these: of an earlier export, also of one that was killed before its
    /// manifest named them.
    async fn others(
        &self,
        name: &Name,
        files: &[ExportedFile],
    ) -> Result<Vec<String>, RemoteError> {
        let folder = format!("resource={name}/day={}", self.run.id().day());
        let own = format!("{}-", self.run.id());
        let there = self.remote.list(&folder).await?.objects;
        let paths = (there.into_iter())
            .filter(|file| file.starts_with(&own))
            .map(|file| format!("{folder}/{file}"));
        Ok(paths
            .filter(|path| files.iter().all(|file| file.path != *path))
            .collect())
    }

    /// Writes the files of a resource, one in memory while the next is made.
    async fn write(
        &self,
        resource: &Name,
        staged: StagedResource,
        columns: Columns,
        exported: &mut Exported,
    ) -> Result<Vec<ExportedFile>, ExportError> {
        let (give, mut parts) = mpsc::channel(1);
        let staged = Arc::new(staged);
        let run = self.run.id().to_string();
        let writing = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let mut waited = std::time::Duration::ZERO;
            let done = write_parts(&run, &staged, columns, &mut |part| {
                let waiting = Instant::now();
                let given = give.blocking_send(part).is_ok();
                waited += waiting.elapsed();
                given
            });
            done.map(|()| began.elapsed().saturating_sub(waited))
        });
        let mut files = Vec::new();
        while let Some(Part { bytes, rows }) = parts.recv().await {
            let id = self.run.id();
            let path = format!(
                "resource={resource}/day={}/{id}-{:04}.parquet",
                id.day(),
                files.len()
            );
            let bytes = Bytes::from(bytes);
            self.remote.replace(&path, &bytes).await?;
            exported.files += 1;
            exported.rows += rows;
            exported.bytes += bytes.len() as u64;
            files.push(ExportedFile {
                path,
                rows,
                bytes: bytes.len() as u64,
                sha256: sha256(&bytes),
            });
        }
        let took = writing.await.map_err(|_| RemoteError::Thread)??;
        exported.working_ms += u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Ok(files)
    }
}

/// Reads the pages of a resource and hands files over, until nobody takes them.
fn write_parts(
    run: &str,
    staged: &StagedResource,
    columns: Columns,
    give: &mut dyn FnMut(Part) -> bool,
) -> Result<(), ExportError> {
    let mut writer = PartWriter::new(run, columns)?;
    let mut body = Vec::new();
    for page in staged.pages() {
        let page = page?;
        staged.read(&page, &mut body)?;
        let file = staged.file(&page).display().to_string();
        let text = std::str::from_utf8(&body)
            .map_err(|_| staged.unreadable(&page, "it is not UTF-8 text"))?;
        writer
            .page(text, &file, &page)
            .map_err(|error| match error {
                part::PageError::Json(error) => {
                    let problem = format!(
                        "it is not a JSON array of records (line {}, column {})",
                        error.line(),
                        error.column()
                    );
                    ExportError::from(staged.unreadable(&page, &problem))
                }
                part::PageError::Parquet(error) => error,
            })?;
        if let Some(part) = writer.full_part()?
            && !give(part)
        {
            return Ok(());
        }
    }
    if let Some(part) = writer.finish()? {
        give(part);
    }
    Ok(())
}
