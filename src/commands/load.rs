//! `cursus load`, and the second half of `cursus run`.

use std::collections::BTreeSet;

use tracing::info;

use crate::cli::{Global, LoadArgs};
use crate::config::Config;
use crate::database::Database;
use crate::exit::{Exit, Failure, load_exit};
use crate::load::{LoadError, LoadedRun, Loader, Options, Pending, TableCounts, pending};
use crate::name::Name;
use crate::plan;
use crate::report::{LoadReport, chain, sum_tables, tables_table};
use crate::settings::Settings;
use crate::staging::Run;

/// What to load, and how.
pub(super) struct Choice {
    pub(super) options: Options,
    /// Up to this run.
    run: Option<String>,
    again: bool,
    select: Vec<Name>,
}

/// How a load went.
pub(super) struct Outcome {
    pub(super) exit: Exit,
    pub(super) runs: Vec<String>,
    pub(super) errors: Vec<String>,
}

impl Choice {
    /// Every run that is not loaded, into the configured schema.
    pub(super) fn all(settings: &Settings) -> Self {
        Self {
            options: Options {
                schema: settings.config.database.schema.clone(),
                dry_run: false,
                allow_prune: false,
            },
            run: None,
            again: false,
            select: Vec::new(),
        }
    }

    fn of(settings: &Settings, arguments: &LoadArgs) -> Result<Self, Failure> {
        let mut choice = Self::all(settings);
        if let Some(schema) = &arguments.into {
            choice.options.schema = Name::parse(schema)
                .map_err(|error| Failure::usage(format!("--into {schema}: {error}")))?;
        }
        choice.options.dry_run = arguments.dry_run;
        choice.options.allow_prune = arguments.allow_prune;
        choice.run.clone_from(&arguments.run);
        choice.again = arguments.again;
        if !arguments.select.is_empty() {
            let chosen =
                plan::select(&settings.config, &arguments.select, &[]).map_err(Failure::usage)?;
            choice.select = chosen
                .into_iter()
                .map(|resource| resource.name.clone())
                .collect();
        }
        Ok(choice)
    }
}

/// Connects to the mirror.
pub(super) async fn connect(settings: &Settings, name: &str) -> Result<Database, Failure> {
    Ok(Database::connect(&settings.database, name).await?)
}

/// Runs the command.
pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &LoadArgs,
) -> Result<Exit, Failure> {
    let choice = Choice::of(settings, arguments)?;
    if settings.staging.runs()?.is_empty() {
        settings.staging.find("latest")?;
    }
    let mut sums = Vec::new();
    let outcome = pending_runs(settings, &choice, &mut sums).await?;
    let report = LoadReport {
        runs: outcome.runs,
        tables: sums,
        errors: outcome.errors,
    };
    if global.json {
        super::print_json(&report);
    } else if report.runs.is_empty() {
        super::print_line("nothing to load: every staged run is loaded");
    } else {
        super::print_line(&tables_table(&report.tables).to_string());
        let rolled_back = if choice.options.dry_run {
            " (dry run: rolled back)"
        } else {
            ""
        };
        super::print_line(&format!("loaded {}{rolled_back}", report.runs.join(", ")));
    }
    for error in &report.errors {
        super::eprint_line(&format!("error: {error}"));
    }
    Ok(outcome.exit)
}

/// Loads what waits, oldest run first; counts are added to `sums` even if a later run fails.
pub(super) async fn pending_runs(
    settings: &Settings,
    choice: &Choice,
    sums: &mut Vec<TableCounts>,
) -> Result<Outcome, Failure> {
    let config = &settings.config;
    let mut runs = settings.staging.runs()?;
    // Half a run would be loaded in the wrong order: what refers to rows before the rows themselves.
    if settings.staging.is_being_written() {
        runs.retain(|run| !run.is_open());
    }
    let wanted = choice
        .run
        .as_deref()
        .map(|run| settings.staging.find(run))
        .transpose()?;
    if let Some(wanted) = &wanted
        && !runs
            .iter()
            .any(|run| is_same(run.directory(), wanted.directory()))
    {
        return Err(Failure::usage(format!(
            "the run {} is not in {}; name its staging directory with --staging",
            wanted.id(),
            settings.staging.root().display()
        )));
    }
    let database = connect(settings, "cursus load").await?;
    let mut loader = Loader::open(config, database, choice.options.clone()).await?;
    let waiting = waiting(config, &runs, &loader, choice, wanted.as_ref()).await?;
    let mut outcome = Outcome {
        exit: Exit::Done,
        runs: Vec::new(),
        errors: Vec::new(),
    };
    let mut failed: BTreeSet<Name> = BTreeSet::new();
    for Pending { run, resources } in waiting {
        // A complete full read makes up for what failed before; whatever refers to a failed resource waits with it.
        let still_failed = failed
            .iter()
            .filter(|name| !resources.contains(*name) || !is_superseding(&run, name))
            .cloned()
            .collect();
        let held = loader.with_dependents(still_failed);
        let mut chosen = Vec::new();
        for resource in resources {
            if !choice.select.is_empty() && !choice.select.contains(&resource) {
                continue;
            }
            if held.contains(&resource) {
                info!(run = %run.id(), resource = %resource, "held back until its earlier run is loaded");
            } else {
                chosen.push(resource);
            }
        }
        if chosen.is_empty() {
            continue;
        }
        let loaded = loader.load(&run, &chosen, &runs).await?;
        outcome.add(&run, &loaded);
        sum_tables(sums, &loaded.tables);
        failed.retain(|name| !chosen.contains(name));
        failed.extend(loaded.failed.into_iter().map(|(name, _)| name));
    }
    loader.close().await?;
    Ok(outcome)
}

fn is_superseding(run: &Run, resource: &Name) -> bool {
    // One that cannot be read fails by itself when it is loaded.
    matches!(run.manifest(resource), Ok(Some(manifest)) if manifest.is_proof())
}

async fn waiting(
    config: &Config,
    runs: &[Run],
    loader: &Loader<'_>,
    choice: &Choice,
    wanted: Option<&Run>,
) -> Result<Vec<Pending>, Failure> {
    let loaded = loader.loaded().await?;
    // Runs after the wanted one do not exist for this load.
    let until = wanted.map_or(u64::MAX, |wanted| wanted.record().seq);
    let past = &runs[..runs.partition_point(|run| run.record().seq <= until)];
    let mut waiting = pending(config, past, &loaded)?;
    if let Some(wanted) = wanted {
        let seq = wanted.record().seq;
        let waits = waiting
            .iter()
            .any(|pending| pending.run.id() == wanted.id());
        if !waits && !choice.again {
            let newest = loaded.values().max_by_key(|loaded| loaded.seq);
            return match newest {
                Some(newest) if newest.seq > seq && !loader.was_loaded(wanted).await? => {
                    Err(LoadError::Older {
                        run: wanted.id().to_string(),
                        newest: newest.run_id.clone(),
                    }
                    .into())
                }
                _ => {
                    info!(
                        "the run {} is loaded already; --again loads the newest run once more",
                        wanted.id()
                    );
                    Ok(waiting)
                }
            };
        }
    }
    if choice.again {
        let newest = loaded.values().map(|loaded| loaded.seq).max();
        let again = wanted
            .or_else(|| {
                runs.iter()
                    .rev()
                    .find(|run| Some(run.record().seq) == newest)
            })
            .ok_or_else(|| Failure::usage("there is no loaded run to load again"))?;
        if newest.is_some_and(|newest| again.record().seq < newest) {
            return Err(LoadError::Older {
                run: again.id().to_string(),
                newest: runs
                    .iter()
                    .find(|run| Some(run.record().seq) == newest)
                    .map_or_else(String::new, |run| run.id().to_string()),
            }
            .into());
        }
        let mut resources = Vec::new();
        for resource in &config.resources {
            if config.tables_of(&resource.name).next().is_some()
                && again.manifest(&resource.name)?.is_some()
            {
                resources.push(resource.name.clone());
            }
        }
        waiting.retain(|pending| pending.run.id() != again.id());
        waiting.push(Pending {
            run: again.clone(),
            resources,
        });
        waiting.sort_by_key(|pending| pending.run.record().seq);
    }
    Ok(waiting)
}

impl Outcome {
    fn add(&mut self, run: &Run, loaded: &LoadedRun) {
        if !loaded.tables.is_empty() {
            self.runs.push(run.id().to_string());
        }
        for (name, error) in loaded.failed.iter().chain(&loaded.derives_failed) {
            self.errors
                .push(format!("{}, {name}: {}", run.id(), chain(error)));
            self.exit = self.exit.max(match load_exit(error) {
                Exit::Usage | Exit::Locked => Exit::Failed,
                exit => exit,
            });
        }
        for table in &loaded.tables {
            if table.refused > 0 {
                self.exit = self.exit.max(Exit::Refused);
                self.errors.push(format!(
                    "{}, {}: {} rows are gone from the API, more than the guard lets go at once; they are kept; \
                     `cursus prune ls` lists them; if they are to go: cursus prune approve {}",
                    run.id(),
                    table.name,
                    table.refused,
                    run.id()
                ));
            }
            if table.quarantined > 0 {
                self.exit = self.exit.max(Exit::Incomplete);
                self.errors.push(format!(
                    "{}, {}: {} rows do not fit and wait; to see why: cursus quarantine ls {}",
                    run.id(),
                    table.name,
                    table.quarantined,
                    table.name
                ));
            }
        }
    }
}

fn is_same(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
