//! `cursus load`, and the second half of `cursus run`.

mod due;

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::ended::Ended;
use super::stopped;
use crate::chain::chain;
use crate::cli::{Global, LoadArgs};
use crate::config::Config;
use crate::database::Database;
use crate::database::trust::Access;
use crate::exit::{Exit, Failure, load_exit};
use crate::load::{
    Drift, LoadError, Loaded, LoadedRun, Loader, Options, OtherSource, Pending, TableCounts,
    check_schema, with_parents,
};
use crate::name::Name;
use crate::plan;
use crate::report::{LoadReport, sample_lines, sum_tables, tables_table};
use crate::settings::Settings;
use crate::staging::{Run, StagingError};

/// How often a connection is made that is lost before anything was loaded.
const TRIES: u32 = 3;

/// What is said where a schema is to be rebound and nothing is there to rebind it with.
const NOTHING_TO_ADOPT: &str =
    "the schema was not rebound: no staged run is to be loaded; read one with `cursus run --adopt`";

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
    /// It ended early, with the last of the errors, and what is left was not tried.
    pub(super) is_cut_short: bool,
    pub(super) runs: Vec<String>,
    pub(super) errors: Vec<String>,
    /// What has changed in the source of the schema, a sentence each.
    pub(super) warnings: Vec<String>,
    /// What has changed in the shape of the records.
    pub(super) drift: Vec<Drift>,
    /// Resources whose last load failed.
    pub(super) failed: BTreeSet<Name>,
    /// The run that was asked for, if it is loaded already.
    skipped: Option<String>,
    /// What the guard holds and what does not fit: the run, and the counts of a table.
    held: Vec<(String, TableCounts)>,
    /// Runs that were refused since they are of another source, those alike in one.
    refused: Vec<OtherSource>,
}

impl Choice {
    /// Every run that is not loaded, into the configured schema.
    pub(super) fn all(settings: &Settings) -> Self {
        Self {
            options: Options::new(settings.config.database.schema.clone()),
            run: None,
            again: false,
            select: Vec::new(),
        }
    }

    /// What is chosen, and all that its rows refer to: rows that came before their parents would be taken to be out of
    /// scope. Empty: everything.
    fn with_parents(&self, config: &Config) -> BTreeSet<Name> {
        with_parents(config, self.select.iter().cloned())
    }

    fn of(settings: &Settings, arguments: &LoadArgs) -> Result<Self, Failure> {
        let mut choice = Self::all(settings);
        choice.options.schema = super::schema(settings, arguments.into.as_deref())?;
        choice.options.dry_run = arguments.dry_run;
        choice.options.allow_prune = arguments.allow_prune;
        choice.options.adopt = arguments.adopt;
        choice.run.clone_from(&arguments.run);
        choice.again = arguments.again;
        if !arguments.select.is_empty() {
            let chosen = plan::select(&settings.config, &arguments.select, &[])?;
            choice.select = chosen
                .into_iter()
                .map(|resource| resource.name.clone())
                .collect();
        }
        Ok(choice)
    }
}

/// Refuses where nothing was ever loaded: whoever only looks makes no private PostgreSQL.
pub(super) fn refuse_unmade(settings: &Settings) -> Result<(), Failure> {
    let Some(dir) = settings.unmade_cluster() else {
        return Ok(());
    };
    let project = match settings.config.path {
        Some(_) => "",
        None => {
            "; or go to your project, which no directory from here on upwards is (`cursus init` begins one, `--config FILE` names one)"
        }
    };
    Err(Failure::new(
        Exit::Failed,
        format!(
            "nothing has been loaded here: there is no private PostgreSQL in {} yet; `cursus run` makes and fills it{project}",
            dir.display()
        ),
    ))
}

/// Connects to the mirror in this schema, in the name of the subcommand, to read it and the load ledger.
pub(super) async fn connect(settings: &Settings, schema: &str) -> Result<Database, Failure> {
    refuse_unmade(settings)?;
    connect_or_make(settings, schema).await
}

/// Connects to the mirror as [`connect`] does, also where the private PostgreSQL has to be made first.
pub(super) async fn connect_or_make(
    settings: &Settings,
    schema: &str,
) -> Result<Database, Failure> {
    let database = Database::connect(&settings.database, &session(settings)).await?;
    check_schema(&database.client, Access::Read, &settings.config, schema).await?;
    Ok(patient(database, settings))
}

/// As [`connect`], for questions that others have written: to the private one as a role that may only read.
pub(super) async fn connect_to_ask(settings: &Settings, schema: &str) -> Result<Database, Failure> {
    refuse_unmade(settings)?;
    let database = Database::connect_to_ask(&settings.database, &session(settings)).await?;
    check_schema(&database.client, Access::Read, &settings.config, schema).await?;
    Ok(patient(database, settings))
}

/// As [`connect`], to write.
pub(super) async fn connect_to_write(
    settings: &Settings,
    schema: &str,
) -> Result<Database, Failure> {
    let database = connect_unchecked(settings).await?;
    check_schema(&database.client, Access::Write, &settings.config, schema).await?;
    Ok(database)
}

/// Connects to write, for whoever checks the schema next: nothing in it is looked at yet.
pub(super) async fn connect_unchecked(settings: &Settings) -> Result<Database, Failure> {
    let database = Database::connect_to_write(&settings.database, &session(settings)).await?;
    Ok(patient(database, settings))
}

/// What others read of this process when they wait for its locks.
fn session(settings: &Settings) -> String {
    format!("cursus {} pid={}", settings.command, std::process::id())
}

fn patient(mut database: Database, settings: &Settings) -> Database {
    database.lock_wait = settings.wait_lock;
    database
}

/// Connects to the mirror and makes it ready to be loaded into. Nothing of a run is written by that, and a migration is whole or
/// not there: where the connection is lost on the way it is made again.
pub(super) async fn open<'c>(
    settings: &'c Settings,
    options: &Options,
) -> Result<Loader<'c>, Failure> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let database = connect_unchecked(settings).await?;
        match Loader::open(&settings.config, database, options.clone()).await {
            Err(error) if tries > 0 && error.is_connection_lost() => {
                warn!("{}; connecting again", chain(&error));
            }
            opened => return Ok(opened?),
        }
    }
}

/// Runs the command.
pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &LoadArgs,
) -> Result<Ended, Failure> {
    let choice = Choice::of(settings, arguments)?;
    super::say_where(settings, &choice.options.schema)?;
    if settings.staging.runs()?.is_empty() {
        settings.staging.find("latest")?;
    }
    let mut sums = Vec::new();
    let outcome = pending_runs(settings, &choice, &mut sums).await?;
    let report = LoadReport {
        dry_run: choice.options.dry_run,
        runs: outcome.runs,
        skipped: outcome.skipped.into_iter().collect(),
        tables: sums,
        warnings: outcome.warnings,
        errors: outcome.errors,
        drift: outcome.drift,
    };
    if global.json {
        super::print_json(&report);
    } else if report.runs.is_empty() && report.errors.is_empty() {
        let told = match report.skipped.first() {
            Some(run) => is_loaded(run),
            None => "every staged run is loaded".to_owned(),
        };
        super::print_line(&format!("nothing to load: {told}"));
    } else if !report.runs.is_empty() {
        super::print_table(&tables_table(&report.tables));
        for line in sample_lines(&report.tables) {
            super::print_line(&line);
        }
        let rolled_back = if choice.options.dry_run {
            " (dry run: rolled back)"
        } else {
            ""
        };
        super::print_line(&format!("loaded {}{rolled_back}", report.runs.join(", ")));
        for run in &report.skipped {
            super::print_line(&is_loaded(run));
        }
    }
    for drift in &report.drift {
        super::eprint_line(&format!("drift: {drift}"));
    }
    for warning in &report.warnings {
        super::eprint_line(&format!("warning: {warning}"));
    }
    for error in &report.errors {
        super::eprint_error(error);
    }
    Ok(Ended {
        exit: outcome.exit,
        run_id: report.runs.last().cloned(),
        errors: report.errors,
    })
}

/// The run that was typed; it is one of these finished ones.
pub(super) fn find(settings: &Settings, runs: &[Run], typed: &str) -> Result<Run, Failure> {
    let staging = &settings.staging;
    let run = match staging.find_among(runs, typed) {
        Err(StagingError::NoRun(_)) => staging.find(typed),
        found => found,
    }?;
    if let Some(run) = runs.iter().find(|one| one.directory() == run.directory()) {
        return Ok(run.clone());
    }
    let is_same = |one: &Run| is_same(one.directory(), run.directory());
    if staging.runs()?.iter().any(is_same) {
        return Err(Failure::new(
            Exit::Locked,
            format!(
                "the run {} was being written when the runs were listed; wait for its end, or name one before it",
                run.id()
            ),
        ));
    }
    Err(Failure::usage(format!(
        "the run {} is not in {}; name its staging directory with --staging",
        run.id(),
        staging.root().display()
    )))
}

/// Loads what waits, oldest run first; counts are added to `sums` even if a later run fails.
pub(super) async fn pending_runs(
    settings: &Settings,
    choice: &Choice,
    sums: &mut Vec<TableCounts>,
) -> Result<Outcome, Failure> {
    let config = &settings.config;
    let listed = || -> Result<_, Failure> {
        let runs = settings.staging.finished_runs()?;
        let wanted = choice.run.as_deref();
        let wanted = wanted.map(|run| find(settings, &runs, run)).transpose()?;
        Ok((runs, wanted))
    };
    // A fault in what was typed is told before anybody is waited for.
    if choice.run.is_some() {
        listed()?;
    }
    // A damaged id is told, not passed over.
    settings.staging.id()?;
    let mut loader = open(settings, &choice.options).await?;
    // Under its lock: whoever had it may have loaded, and others may have removed runs meanwhile.
    let (runs, wanted) = listed()?;
    let judge = loader.judge(&runs).await?;
    let begins_anew = choice.options.adopt && judge.begins_anew(&runs);
    if !choice.options.adopt {
        let until = wanted.as_ref().map_or(u64::MAX, |run| run.record().seq);
        let past = runs.partition_point(|run| run.record().seq <= until);
        judge.refuse(&runs[..past])?;
    }
    // What another project has loaded is not ours.
    let loaded = if begins_anew {
        Loaded::new()
    } else {
        loader.loaded().await?
    };
    let due::Due {
        waiting,
        refused,
        skipped,
    } = due::due(config, &runs, &loader, &loaded, choice, wanted.as_ref()).await?;
    let select = choice.with_parents(config);
    let mut outcome = load_waiting(&mut loader, waiting, &runs, &select, sums).await?;
    outcome.skipped = skipped;
    if begins_anew && outcome.runs.is_empty() && outcome.errors.is_empty() {
        outcome.errors.push(NOTHING_TO_ADOPT.to_owned());
        outcome.exit = outcome.exit.max(Exit::Refused);
    }
    let into = super::into_flag(settings, &choice.options.schema);
    outcome.tell_held((!choice.options.dry_run).then_some(into.as_str()));
    for error in refused {
        outcome.exit = outcome.exit.max(load_exit(&error));
        outcome.errors.push(chain(&error));
    }
    let closed = loader.close().await;
    if !outcome.is_cut_short {
        closed?;
    }
    Ok(outcome)
}

/// Loads run by run; what follows a failed load of a resource is held back. `runs` is all that is staged; `select` is all
/// or some resources with all that their rows refer to.
pub(super) async fn load_waiting(
    loader: &mut Loader<'_>,
    waiting: Vec<Pending>,
    runs: &[Run],
    select: &BTreeSet<Name>,
    sums: &mut Vec<TableCounts>,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome {
        exit: Exit::Done,
        is_cut_short: false,
        runs: Vec::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
        drift: Vec::new(),
        failed: BTreeSet::new(),
        skipped: None,
        held: Vec::new(),
        refused: Vec::new(),
    };
    let all = waiting.len();
    loader.correct_open_runs(runs).await?;
    let mut session = loader.session().await?;
    for (done, Pending { run, resources }) in waiting.into_iter().enumerate() {
        stopped::loading(&run, done, all);
        let failed = &mut outcome.failed;
        // A complete full read makes up for what failed before; whatever refers to a failed resource waits with it.
        let still_failed = failed
            .iter()
            .filter(|name| !resources.contains(*name) || !is_superseding(&run, name))
            .cloned()
            .collect();
        let held = session.with_dependents(still_failed);
        let mut chosen = Vec::new();
        for resource in resources {
            if !select.is_empty() && !select.contains(&resource) {
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
        let loaded = match session.load(&run, &chosen, runs, &held).await {
            Ok(loaded) => loaded,
            // Nothing of it was written, and no run of the source goes on from it.
            Err(LoadError::OtherSource(refused)) => {
                outcome.refuse(*refused);
                continue;
            }
            // What was loaded before is told beside it.
            Err(error) if !outcome.runs.is_empty() => {
                outcome.exit = outcome.exit.max(load_exit(&error));
                outcome.errors.push(chain(&error));
                outcome.is_cut_short = true;
                outcome.tell_refused();
                stopped::done();
                return Ok(outcome);
            }
            Err(error) => return Err(error.into()),
        };
        failed.retain(|name| !chosen.contains(name));
        failed.extend(loaded.failed.iter().map(|(name, _)| name.clone()));
        outcome.add(&run, &loaded);
        sum_tables(sums, &loaded.tables);
    }
    outcome.tell_refused();
    if outcome.runs.is_empty() && outcome.errors.is_empty() {
        for (name, error) in session.derive_again(runs).await? {
            outcome.errors.push(format!("{name}: {}", chain(&error)));
            outcome.exit = outcome.exit.max(Exit::Failed);
        }
    }
    session.end().await?;
    stopped::done();
    Ok(outcome)
}

fn is_superseding(run: &Run, resource: &Name) -> bool {
    // One that cannot be read fails by itself when it is loaded.
    matches!(run.manifest(resource), Ok(Some(manifest)) if manifest.is_complete_full())
}

fn is_loaded(run: &str) -> String {
    format!("the run {run} is loaded already; --again loads the newest run once more")
}

impl Outcome {
    fn refuse(&mut self, refused: OtherSource) {
        self.exit = self.exit.max(Exit::Refused);
        match self.refused.iter_mut().find(|one| one.is_alike(&refused)) {
            Some(one) => one.more += 1,
            None => self.refused.push(refused),
        }
    }

    /// Says which runs are of another source.
    fn tell_refused(&mut self) {
        for refused in std::mem::take(&mut self.refused) {
            self.errors
                .push(chain(&LoadError::OtherSource(refused.into())));
        }
    }

    fn add(&mut self, run: &Run, loaded: &LoadedRun) {
        self.warnings.extend(loaded.warnings.iter().cloned());
        self.drift.extend(loaded.drift.iter().cloned());
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
        let tables = loaded.tables.iter();
        let held = tables.filter(|table| table.refused > 0 || table.quarantined > 0);
        let run = run.id().to_string();
        self.held
            .extend(held.map(|table| (run.clone(), table.clone())));
    }

    /// Says what is held and what does not fit, and what to do about it; `into` leads there, unless nothing of it is kept.
    fn tell_held(&mut self, into: Option<&str>) {
        for (run, table) in std::mem::take(&mut self.held) {
            let name = &table.name;
            if table.refused > 0 {
                self.exit = self.exit.max(Exit::Refused);
                let rows = table.refused;
                let then = match into {
                    Some(into) => format!(
                        "they are kept; `cursus prune ls{into}` lists them; if they are to go: cursus prune approve {run}{into}"
                    ),
                    None => "a load keeps them until they are approved".to_owned(),
                };
                self.errors.push(format!(
                    "{run}, {name}: {rows} rows would go, more than the guard lets go at once; {then}"
                ));
            }
            if table.quarantined > 0 {
                self.exit = self.exit.max(Exit::Incomplete);
                let rows = table.quarantined;
                let then = match into {
                    Some(into) => {
                        format!(" and wait; to see why: cursus quarantine ls {name}{into}")
                    }
                    None => "; a load puts them into quarantine".to_owned(),
                };
                self.errors
                    .push(format!("{run}, {name}: {rows} rows do not fit{then}"));
            }
        }
    }
}

fn is_same(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
