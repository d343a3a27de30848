//! `cursus stage`: a person finds a record, its file and its request in seconds.

mod verify;

use serde_json::json;

use crate::cli::{Global, StageCommand};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::name::{Name, nearest};
use crate::pointer::Pointer;
use crate::report::{grouped, table};
use crate::settings::Settings;
use crate::staging::{PageEntry, Run, StagedResource};
use crate::walk::Walker;

/// Runs the command.
pub(super) fn run(
    global: &Global,
    settings: &Settings,
    command: &StageCommand,
) -> Result<Exit, Failure> {
    match command {
        StageCommand::Ls { run: None, .. } => Ok(list_runs(global, &settings.staging.runs()?)),
        StageCommand::Ls {
            run: Some(run),
            resource: None,
        } => list_resources(global, &settings.staging.find(run)?),
        StageCommand::Ls {
            run: Some(run),
            resource: Some(resource),
        } => {
            let staged = staged(&settings.staging.find(run)?, resource)?;
            Ok(list_pages(global, &staged))
        }
        StageCommand::Verify { run } => {
            let run = settings.staging.find(run)?;
            verify::verify(global, &settings.config, &run)
        }
        StageCommand::Cat { run, resource, id } => {
            let run = settings.staging.find(run)?;
            let resources = match resource {
                Some(resource) => vec![staged(&run, resource)?],
                None => all_staged(&run)?,
            };
            match id {
                Some(id) => find(global, &settings.config, &run, &resources, *id),
                None => print_records(&resources),
            }
        }
    }
}

fn staged(run: &Run, resource: &str) -> Result<StagedResource, Failure> {
    let names = run.resources()?;
    let known = Name::parse(resource)
        .ok()
        .filter(|name| names.contains(name));
    let Some(name) = known else {
        let advice = nearest(resource, names.iter().map(Name::as_str)).map_or_else(
            || {
                format!(
                    "it has: {}",
                    names
                        .iter()
                        .map(Name::as_str)
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            },
            |near| format!("did you mean `{near}`?"),
        );
        return Err(Failure::usage(format!(
            "the run {} has no resource `{resource}`; {advice}",
            run.id()
        )));
    };
    run.staged(&name)?.ok_or_else(|| {
        Failure::usage(format!(
            "{name} of the run {} is not final: it was being read when the run ended",
            run.id()
        ))
    })
}

fn all_staged(run: &Run) -> Result<Vec<StagedResource>, Failure> {
    let mut all = Vec::new();
    for name in run.resources()? {
        all.extend(run.staged(&name)?);
    }
    Ok(all)
}

fn list_runs(global: &Global, runs: &[Run]) -> Exit {
    if global.json {
        super::print_json(&runs.iter().map(Run::record).collect::<Vec<_>>());
        return Exit::Done;
    }
    let rows = runs.iter().map(|run| {
        let record = run.record();
        // A run that did not come to its end has no summary yet, but manifests.
        let resources = if record.resources.is_empty() {
            summaries(run)
        } else {
            record.resources.clone()
        };
        let sum = |count: fn(&crate::staging::ResourceSummary) -> u64| {
            grouped(resources.iter().map(count).sum())
        };
        vec![
            record.run_id.to_string(),
            record.mode.map(|mode| mode.to_string()).unwrap_or_default(),
            record
                .outcome
                .map_or_else(|| "open".to_owned(), |outcome| outcome.to_string()),
            grouped(
                resources
                    .iter()
                    .filter(|resource| resource.mode.is_some())
                    .count() as u64,
            ),
            sum(|resource| resource.pages),
            sum(|resource| resource.rows),
            grouped(record.hits),
        ]
    });
    super::print_line(
        &table(
            &["run", "mode", "state", "resources", "pages", "rows", "hits"],
            rows,
            3,
        )
        .to_string(),
    );
    Exit::Done
}

fn summaries(run: &Run) -> Vec<crate::staging::ResourceSummary> {
    let names = run.resources().unwrap_or_default();
    names
        .iter()
        .filter_map(|name| run.manifest(name).ok().flatten())
        .map(|manifest| (&manifest).into())
        .collect()
}

fn list_resources(global: &Global, run: &Run) -> Result<Exit, Failure> {
    let mut manifests = Vec::new();
    for name in run.resources()? {
        manifests.extend(run.manifest(&name)?);
    }
    if global.json {
        super::print_json(&manifests);
        return Ok(Exit::Done);
    }
    super::print_line(&run.directory().display().to_string());
    let rows = manifests.iter().map(|manifest| {
        vec![
            manifest.resource.to_string(),
            manifest.mode.to_string(),
            manifest.state.to_string(),
            manifest
                .cursor
                .map(|cursor| cursor.to_string())
                .unwrap_or_default(),
            grouped(manifest.pages),
            grouped(manifest.rows),
            manifest.x_total.map(grouped).unwrap_or_default(),
            grouped(manifest.bytes),
        ]
    });
    super::print_line(
        &table(
            &[
                "resource",
                "mode",
                "state",
                "known up to",
                "pages",
                "rows",
                "announced",
                "bytes",
            ],
            rows,
            4,
        )
        .to_string(),
    );
    for manifest in &manifests {
        for note in &manifest.evidence.notes {
            super::print_line(&format!("{}: {note}", manifest.resource));
        }
    }
    Ok(Exit::Done)
}

fn list_pages(global: &Global, staged: &StagedResource) -> Exit {
    if global.json {
        super::print_json(&staged.pages());
        return Exit::Done;
    }
    let rows = staged.pages().iter().map(|page| {
        vec![
            staged.file(page).display().to_string(),
            page.request.clone(),
            grouped(page.rows),
            grouped(page.bytes),
            grouped(page.duration_ms),
        ]
    });
    super::print_line(&table(&["file", "request", "rows", "bytes", "ms"], rows, 2).to_string());
    Exit::Done
}

/// Hands every record of a page to `each`: its index, its text, its id.
fn records(
    staged: &StagedResource,
    page: &PageEntry,
    id: &Pointer,
    mut each: impl FnMut(u64, &str, Option<i64>),
) -> Result<(), Failure> {
    let mut walker = Walker::default();
    let whole = walker.add(&Pointer::whole());
    let id = walker.add(id);
    let mut body = Vec::new();
    staged.read(page, &mut body)?;
    let text =
        std::str::from_utf8(&body).map_err(|_| staged.unreadable(page, "it is not UTF-8 text"))?;
    walker
        .page(text, |index, slots| {
            let id = slots[id].and_then(|raw| raw.parse().ok());
            each(index, slots[whole].unwrap_or_default(), id);
        })
        .map_err(|error| {
            staged.unreadable(
                page,
                &format!("it is not a JSON array of records (line {})", error.line()),
            )
        })?;
    Ok(())
}

fn print_records(resources: &[StagedResource]) -> Result<Exit, Failure> {
    for staged in resources {
        for page in staged.pages() {
            let mut lines = String::new();
            records(staged, page, &Pointer::whole(), |_, text, _| {
                // A line break in JSON text can only be white space between tokens.
                lines.extend(text.chars().filter(|c| !matches!(c, '\n' | '\r')));
                lines.push('\n');
            })?;
            super::print(&lines);
        }
    }
    Ok(Exit::Done)
}

fn find(
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
            records(staged, page, &pointer, |index, text, id| {
                if id == Some(wanted) {
                    found.push((
                        name.clone(),
                        staged.file(page),
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
            .map(|(resource, file, page, index, text)| {
                json!({
                    "resource": resource,
                    "file": run.directory().join(file),
                    "index": index,
                    "request": page.request,
                    "fetched_at": page.fetched_at,
                    "record": serde_json::from_str::<serde_json::Value>(text).ok(),
                })
            })
            .collect();
        super::print_json(&found);
        return Ok(Exit::Done);
    }
    for (resource, file, page, index, text) in found {
        super::eprint_line(&format!(
            "# {resource}: {} [{index}], GET {}, {}",
            run.directory().join(file).display(),
            page.request,
            page.fetched_at
        ));
        super::print_line(&text);
    }
    Ok(Exit::Done)
}
