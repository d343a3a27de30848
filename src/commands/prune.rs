//! `cursus prune`: review and approve deletes held by the prune limit.

use serde_json::json;

use super::{print, print_json, print_line, print_table};
use crate::cli::{Global, PruneCommand};
use crate::error_chain::chain;
use crate::exit::{Exit, Failure, load_exit};
use crate::load::{Options, held, held_keys, kept_rows};
use crate::name::Name;
use crate::pipeline::connect;
use crate::plan;
use crate::report::{Column, Table, counted, grouped};
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    command: &PruneCommand,
) -> Result<Exit, Failure> {
    match command {
        PruneCommand::Ls { run: None, into } => {
            ls(global, settings, &settings.schema(into.as_deref())?).await
        }
        PruneCommand::Ls {
            run: Some(run),
            into,
        } => keys(global, settings, run, &settings.schema(into.as_deref())?).await,
        PruneCommand::Approve {
            run,
            resource,
            into,
        } => {
            let schema = settings.schema(into.as_deref())?;
            approve(global, settings, run, resource.as_ref(), schema).await
        }
    }
}

async fn ls(global: &Global, settings: &Settings, schema: &Name) -> Result<Exit, Failure> {
    let database = connect::connect(settings, schema.as_str()).await?;
    let held = held(&database.client, schema.as_str()).await?;
    let kept = kept_rows(&database.client, schema.as_str()).await?;
    database.close().await?;
    if global.json {
        let held = held.iter().map(|held| json!(held));
        // Those have `referred_by` beside what the others have.
        let all: Vec<_> = held.chain(kept.iter().map(|kept| json!(kept))).collect();
        print_json(&all);
        return Ok(Exit::Done);
    }
    if held.is_empty() {
        print_line("no held deletes");
    } else {
        let rows = held.iter().map(|held| {
            vec![
                held.run_id.clone(),
                held.resource.clone(),
                held.table.clone(),
                held.since.clone(),
                held.reasons.join("; "),
                grouped(held.rows),
            ]
        });
        print_table(&Table::new(held_columns(), rows));
    }
    if !kept.is_empty() {
        print_line("kept although the API no longer has them, because other rows refer to them:");
        let rows = kept.iter().map(|kept| {
            let referrers = kept.referred_by.join(", ");
            let why = format!("{}; {referrers} refers to them", kept.reasons.join("; "));
            vec![
                kept.run_id.clone(),
                kept.resource.clone(),
                kept.table.clone(),
                kept.since.clone(),
                why,
                grouped(kept.rows),
            ]
        });
        print_table(&Table::new(held_columns(), rows));
    }
    Ok(Exit::Done)
}

fn held_columns() -> [Column; 6] {
    [
        Column::fixed("run"),
        Column::fixed("resource").rank(2),
        Column::fixed("table"),
        Column::fixed("since").rank(1),
        Column::sentence("why"),
        Column::number("rows"),
    ]
}

async fn keys(
    global: &Global,
    settings: &Settings,
    run: &str,
    schema: &Name,
) -> Result<Exit, Failure> {
    let run = settings.staging.find(run)?;
    let database = connect::connect(settings, schema.as_str()).await?;
    // A database without a load ledger has no held deletes.
    let keys = if held(&database.client, schema.as_str()).await?.is_empty() {
        Vec::new()
    } else {
        held_keys(&database.client, schema.as_str(), run.id().as_str(), None).await?
    };
    database.close().await?;
    if global.json {
        let keys = keys.iter();
        let keys: Vec<_> = keys
            .map(|(table, key)| json!({ "table": table, "key": key }))
            .collect();
        print_json(&keys);
    } else if keys.is_empty() {
        print_line(&format!(
            "the run {} has no held deletes; list all with `cursus prune ls{}`",
            run.id(),
            settings.schema_flag(schema)
        ));
    } else {
        let lines = keys.iter().map(|(table, key)| format!("{table} {key}\n"));
        print(&lines.collect::<String>());
    }
    Ok(Exit::Done)
}

async fn approve(
    global: &Global,
    settings: &Settings,
    run: &str,
    resource: Option<&String>,
    schema: Name,
) -> Result<Exit, Failure> {
    let config = &settings.config;
    let resource = match resource {
        Some(resource) => plan::select(config, std::slice::from_ref(resource), &[])?
            .first()
            .map(|resource| &resource.name),
        None => None,
    };
    let run = settings.staging.find(run)?;
    let runs = settings.staging.runs()?;
    let into = settings.schema_flag(&schema);
    let options = Options::new(schema);
    let mut loader = connect::open_loader(settings, &options).await?;
    let approved = loader.approve(&run, resource, &runs).await?;
    loader.close().await?;
    let is_held = approved.is_some();
    let mut exit = Exit::Done;
    let (mut tables, mut errors) = (Vec::new(), Vec::new());
    if let Some(approved) = approved {
        for (name, error) in approved.failed.iter().chain(&approved.derives_failed) {
            exit = exit.max(load_exit(error));
            errors.push(format!("{name}: {}", chain(error)));
        }
        for table in &approved.tables {
            if table.referred > 0 {
                exit = exit.max(Exit::Refused);
                let then = if table.deleted > 0 {
                    "approve them again when those are deleted"
                } else {
                    "the load that deletes those deletes them as well"
                };
                errors.push(format!(
                    "{}: {} kept, because other rows refer to them; {then}",
                    table.name,
                    counted(table.referred, "row")
                ));
            }
            if table.refused > 0 {
                exit = exit.max(Exit::Refused);
                errors.push(format!(
                    "{}: prune limit exceeded: {} that follow from these held; review with `cursus prune ls{into}`",
                    table.name,
                    counted(table.refused, "delete")
                ));
            }
        }
        tables = approved.tables;
    }
    if global.json {
        let tables: Vec<_> = tables
            .iter()
            .map(|table| json!({ "name": table.name, "deleted": table.deleted, "referred": table.referred }))
            .collect();
        print_json(&json!({ "run": run.id(), "tables": tables, "errors": errors }));
    } else if is_held {
        for table in &tables {
            print_line(&format!(
                "{}: {} deleted",
                table.name,
                counted(table.deleted, "row")
            ));
        }
    } else {
        print_line(&format!(
            "the run {} has no held deletes; list all with `cursus prune ls{into}`",
            run.id()
        ));
    }
    for error in &errors {
        super::output::error(error);
    }
    Ok(exit)
}
