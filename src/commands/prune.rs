//! `cursus prune`: deletes that the guard has held back, for a person to judge.

use serde_json::json;

use super::{into_flag, load, print, print_json, print_line, print_table, schema};
use crate::chain::chain;
use crate::cli::{Global, PruneCommand};
use crate::exit::{Exit, Failure, load_exit};
use crate::load::{Options, held, held_keys, kept_rows};
use crate::name::Name;
use crate::plan;
use crate::report::{grouped, table};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    command: &PruneCommand,
) -> Result<Exit, Failure> {
    match command {
        PruneCommand::Ls { run: None, into } => {
            ls(global, settings, &schema(settings, into.as_deref())?).await
        }
        PruneCommand::Ls {
            run: Some(run),
            into,
        } => keys(global, settings, run, &schema(settings, into.as_deref())?).await,
        PruneCommand::Approve {
            run,
            resource,
            into,
        } => {
            let schema = schema(settings, into.as_deref())?;
            approve(global, settings, run, resource.as_ref(), schema).await
        }
    }
}

async fn ls(global: &Global, settings: &Settings, schema: &Name) -> Result<Exit, Failure> {
    let database = load::connect(settings, schema.as_str()).await?;
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
        print_line("no deletes are held back");
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
        let header = ["run", "resource", "table", "since", "why", "rows"];
        print_table(&table(&header, rows, 5));
    }
    if !kept.is_empty() {
        print_line("kept although gone from the API, because other rows refer to them:");
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
        let header = ["run", "resource", "table", "since", "why", "rows"];
        print_table(&table(&header, rows, 5));
    }
    Ok(Exit::Done)
}

async fn keys(
    global: &Global,
    settings: &Settings,
    run: &str,
    schema: &Name,
) -> Result<Exit, Failure> {
    let run = settings.staging.find(run)?;
    let database = load::connect(settings, schema.as_str()).await?;
    // A database without books has nothing held back.
    let keys = if held(&database.client, schema.as_str()).await?.is_empty() {
        Vec::new()
    } else {
        held_keys(&database.client, schema.as_str(), run.id().as_str()).await?
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
            "nothing of the run {} is held back; `cursus prune ls{}` lists what is",
            run.id(),
            into_flag(settings, schema)
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
    let into = into_flag(settings, &schema);
    let options = Options::new(schema);
    let mut loader = load::open(settings, &options).await?;
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
                    "they are held on: when those are gone, approve them again"
                } else {
                    "they go with a load that finds those gone"
                };
                errors.push(format!(
                    "{}: {} rows stay, since other rows refer to them; {then}",
                    table.name, table.referred
                ));
            }
            if table.refused > 0 {
                exit = exit.max(Exit::Refused);
                errors.push(format!(
                    "{}: {} rows would leave with them, more than the guard lets go at once; they are held in turn, see \
                     `cursus prune ls{into}`",
                    table.name, table.refused
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
                "{}: {} rows deleted",
                table.name,
                grouped(table.deleted)
            ));
        }
    } else {
        print_line(&format!(
            "nothing of the run {} is held back; `cursus prune ls{into}` lists what is",
            run.id()
        ));
    }
    for error in &errors {
        super::eprint_error(error);
    }
    Ok(exit)
}
