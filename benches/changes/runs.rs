//! Runs of a simulated campus: staged as an extraction would have, and copied with other names and times.

use std::fs;
use std::io::{BufReader, Read as _, Write as _};

use cursus::staging::{Mode, Run, Staging, StagingLock};
use cursus_simulator::Simulator;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::staged::{StagedPage, StagedRead, stage_read};

pub(crate) fn rows(campus: &Simulator, resource: &str) -> Vec<(u64, String)> {
    texts(campus.rows(resource))
}

/// Records with their ids.
pub(crate) fn texts(rows: Vec<Value>) -> Vec<(u64, String)> {
    let rows = rows.into_iter();
    rows.map(|row| (row["id"].as_u64().unwrap_or_default(), row.to_string()))
        .collect()
}

/// Stages a complete read in pages of 100.
pub(crate) fn stage(
    lock: &StagingLock,
    run: &Run,
    resource: &str,
    (mode, received_at): (Mode, Timestamp),
    records: impl IntoIterator<Item = (u64, String)>,
) -> Result<(), Error> {
    let read = StagedRead {
        received_at,
        ..StagedRead::complete(resource, mode, 100)
    };
    let records: Vec<(u64, String)> = records.into_iter().collect();
    let id = |record: Option<&(u64, String)>| record.and_then(|(id, _)| i64::try_from(*id).ok());
    let pages = records.chunks(100).map(|page| StagedPage {
        ids: (id(page.first()), id(page.last())),
        records: page.iter().map(|(_, text)| text.clone()).collect(),
    });
    stage_read(lock, run, &read, pages)
}

/// Copies a run to another time, with the name and number that belong to it. With `is_same` pages and journals stay as they are, and pages
/// are linked; else every file says the new time.
pub(crate) fn copy(
    run: &Run,
    staging: &Staging,
    (then, now): (Timestamp, Timestamp),
    number: i64,
    is_same: bool,
) -> Result<(), Error> {
    let id = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let directory = staging.root().join(now.strftime("%Y-%m-%d").to_string());
    let directory = directory.join(&id[8..]);
    fs::create_dir_all(&directory)?;
    let (then, now) = (then.to_string(), now.to_string());
    let retime = |text: &str| text.replace(&then, &now);
    let record = fs::read_to_string(run.directory().join("run.json"))?;
    let mut record = unsealed(&retime(&record))?;
    record["run_id"] = id.clone().into();
    record["seq"] = number.into();
    fs::write(directory.join("run.json"), record.to_string())?;
    for resource in run.resources()? {
        let from = run.directory().join(resource.as_str());
        let to = directory.join(resource.as_str());
        fs::create_dir(&to)?;
        let mut journal = fs::read_to_string(from.join("pages.jsonl"))?;
        for page in fs::read_dir(&from)? {
            let page = page?.path();
            let Some(name) = page
                .file_name()
                .filter(|_| page.extension() == Some("gz".as_ref()))
            else {
                continue;
            };
            if is_same {
                fs::hard_link(&page, to.join(name))?;
                continue;
            }
            let mut text = String::new();
            MultiGzDecoder::new(BufReader::new(fs::File::open(&page)?))
                .read_to_string(&mut text)?;
            let changed = retime(&text);
            journal = journal.replace(&hash(&text), &hash(&changed));
            let mut packed =
                GzEncoder::new(fs::File::create(to.join(name))?, Compression::default());
            packed.write_all(changed.as_bytes())?;
            packed.finish()?;
        }
        let journal = if is_same { journal } else { retime(&journal) };
        fs::write(to.join("pages.jsonl"), &journal)?;
        let manifest = fs::read_to_string(from.join("manifest.json"))?;
        let mut manifest = unsealed(&retime(&manifest))?;
        manifest["run_id"] = id.clone().into();
        manifest["journal_sha256"] = hash(&journal).into();
        fs::write(to.join("manifest.json"), manifest.to_string())?;
    }
    Ok(())
}

/// Without the digest of the file, which earlier versions did not write.
fn unsealed(text: &str) -> Result<Value, Error> {
    let mut value: Value = serde_json::from_str(text)?;
    let members = value.as_object_mut().ok_or("no object")?;
    members.remove("sha256");
    Ok(value)
}

fn hash(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
