//! `cursus stage cat`: print staged records and their origin.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::Global;
use crate::commands::{note, print, print_json, print_line};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::name::Name;
use crate::pointer::Pointer;
use crate::printable;
use crate::staging::{PageEntry, Run, StagedResource};
use crate::walk::Walker;

/// Hands every record of a page to `each`: its index, its text, its id.
pub(in crate::commands) fn records(
    staged: &StagedResource,
    page: &PageEntry,
    id: &Pointer,
    mut each: impl FnMut(u64, &str, Option<i64>),
) -> Result<(), Failure> {
    let mut walker = Walker::default();
    let record_slot = walker.add(&Pointer::to_record());
    let id = walker.add(id);
    let mut body = Vec::new();
    staged.read(page, &mut body)?;
    let text =
        std::str::from_utf8(&body).map_err(|_| staged.unreadable(page, "it is not UTF-8 text"))?;
    walker
        .page(text, |index, slots| {
            let id = slots[id].and_then(|raw| raw.parse().ok());
            each(index, slots[record_slot].unwrap_or_default(), id);
        })
        .map_err(|error| {
            staged.unreadable(
                page,
                &format!("it is not a JSON array of records (line {})", error.line()),
            )
        })?;
    Ok(())
}

pub(super) fn print_records(resources: &[StagedResource]) -> Result<Exit, Failure> {
    for staged in resources {
        for page in staged.pages() {
            let page = page?;
            let mut lines = String::new();
            records(staged, &page, &Pointer::to_record(), |_, text, _| {
                lines.push_str(&printable::json(text));
                lines.push('\n');
            })?;
            print(&lines);
        }
    }
    Ok(Exit::Done)
}

/// A record of the JSON document of `--id`, as it is: a value would round its numbers, and ends at some depth.
#[derive(Serialize)]
struct RecordMatch<'f> {
    resource: &'f Name,
    file: PathBuf,
    index: u64,
    request: &'f str,
    fetched_at: Timestamp,
    record: Option<&'f RawValue>,
}

pub(super) fn find(
    global: &Global,
    config: &Config,
    run: &Run,
    resources: &[StagedResource],
    wanted: i64,
) -> Result<Exit, Failure> {
    let mut found = Vec::new();
    for staged in resources {
        let name = &staged.manifest().resource;
        let pointer = config
            .resource(name.as_str())
            .map_or_else(|| Pointer::key("id"), |resource| resource.id.clone());
        for page in staged.pages() {
            let page = page?;
            records(staged, &page, &pointer, |index, text, id| {
                if id == Some(wanted) {
                    found.push((
                        name.clone(),
                        staged.file(&page),
                        page.clone(),
                        index,
                        text.to_owned(),
                    ));
                }
            })?;
        }
    }
    if found.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "no record of the run {} has the id {wanted}; a delta run only holds what changed",
                run.id()
            ),
        ));
    }
    if global.json {
        let found: Vec<_> = found
            .iter()
            .map(|(resource, file, page, index, text)| RecordMatch {
                resource,
                file: run.directory().join(file),
                index: *index,
                request: &page.request,
                fetched_at: page.fetched_at,
                record: serde_json::from_str(text).ok(),
            })
            .collect();
        print_json(&found);
        return Ok(Exit::Done);
    }
    for (resource, file, page, index, text) in found {
        note(&format!(
            "# {resource}: {} [{index}], GET {}, {}",
            run.directory().join(file).display(),
            page.request,
            page.fetched_at
        ));
        print_line(&printable::json(&text));
    }
    Ok(Exit::Done)
}
