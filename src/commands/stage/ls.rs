//! `cursus stage ls`: list runs, the resources of a run, or the pages of a resource.

use crate::cli::Global;
use crate::commands::{print_json, print_line, print_table};
use crate::exit::{Exit, Failure};
use crate::printable::line;
use crate::report::{Column, Table, grouped};
use crate::staging::{ResourceSummary, Run, StagedResource};

pub(super) fn runs(global: &Global, runs: &[Run]) -> Exit {
    if global.json {
        print_json(&runs.iter().map(Run::record).collect::<Vec<_>>());
        return Exit::Done;
    }
    let rows = runs.iter().map(|run| {
        let record = run.record();
        // An interrupted run has manifests, but no summary.
        let resources = if record.resources.is_empty() {
            summaries(run)
        } else {
            record.resources.clone()
        };
        let sum = |count: fn(&ResourceSummary) -> u64| grouped(resources.iter().map(count).sum());
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
    let columns = [
        Column::fixed("run"),
        Column::fixed("mode").rank(1),
        Column::fixed("state"),
        Column::number("resources").rank(4),
        Column::number("pages").rank(3),
        Column::number("rows"),
        Column::number("hits").rank(2),
    ];
    print_table(&Table::new(columns, rows));
    Exit::Done
}

fn summaries(run: &Run) -> Vec<ResourceSummary> {
    let names = run.resources().unwrap_or_default();
    names
        .iter()
        .filter_map(|name| run.manifest(name).ok().flatten())
        .map(|manifest| (&manifest).into())
        .collect()
}

pub(super) fn resources(global: &Global, run: &Run) -> Result<Exit, Failure> {
    let mut manifests = Vec::new();
    for name in run.resources()? {
        manifests.extend(run.manifest(&name)?);
    }
    if global.json {
        print_json(&manifests);
        return Ok(Exit::Done);
    }
    print_line(&run.directory().display().to_string());
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
    let columns = [
        Column::fixed("resource"),
        Column::fixed("mode"),
        Column::fixed("state"),
        Column::fixed("known up to").rank(1),
        Column::number("pages").rank(4),
        Column::number("rows"),
        Column::number("announced").rank(2),
        Column::number("bytes").rank(3),
    ];
    print_table(&Table::new(columns, rows));
    for manifest in &manifests {
        for note in &manifest.evidence.notes {
            print_line(&format!("{}: {}", manifest.resource, line(note)));
        }
    }
    Ok(Exit::Done)
}

pub(super) fn pages(global: &Global, staged: &StagedResource) -> Result<Exit, Failure> {
    let pages = staged.pages().collect::<Result<Vec<_>, _>>()?;
    if global.json {
        print_json(&pages);
        return Ok(Exit::Done);
    }
    let rows = pages.iter().map(|page| {
        vec![
            staged.file(page).display().to_string(),
            page.request.clone(),
            grouped(page.rows),
            grouped(page.bytes),
            grouped(page.duration_ms),
        ]
    });
    let columns = [
        Column::text("file"),
        Column::text("request").rank(1),
        Column::number("rows"),
        Column::number("bytes").rank(2),
        Column::number("ms").rank(3),
    ];
    print_table(&Table::new(columns, rows));
    Ok(Exit::Done)
}
