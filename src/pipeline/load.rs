//! The second half of a run: staged runs into the mirror, oldest first.

use std::collections::BTreeSet;

use tokio::time::{Instant, MissedTickBehavior};
use tracing::info;

use super::SHOWN_EVERY;
use super::connect::open_loader;
use super::pending::{PendingRuns, pending_runs};
use super::selection::LoadSelection;
use crate::context::{Activity, Context};
use crate::error_chain::chain;
use crate::exit::{Exit, Failure, load_exit};
use crate::load::{
    LoadError, LoadProgress, Loaded, LoadedRun, OtherSource, Pending, SchemaLoader, Session,
    TableCounts, runs_to_read,
};
use crate::name::Name;
use crate::printable::Messages;
use crate::report::{LoadReport, counted, sum_tables};
use crate::settings::Settings;
use crate::staging::{Run, StagingError};

const NOTHING_TO_ADOPT: &str =
    "the schema was not rebound: no staged run is to be loaded; read one with `cursus run --adopt`";

#[derive(Default)]
pub(crate) struct LoadOutcome {
    pub(crate) exit: Exit,
    pub(crate) report: LoadReport,
    /// The last error stopped the load, and the other runs were not tried.
    is_cut_short: bool,
    pub(crate) failed: BTreeSet<Name>,
    /// Tables with held deletes or quarantined rows: the run, and its counts.
    held: Vec<(String, TableCounts)>,
    /// Runs of another source, those alike in one.
    refused: Vec<OtherSource>,
}

/// The run that was typed; it is one of these finished ones.
pub(crate) fn find(settings: &Settings, runs: &[Run], typed: &str) -> Result<Run, Failure> {
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

/// Loads every selected run that is not loaded yet, oldest first.
pub(crate) async fn load(
    settings: &Settings,
    selection: &LoadSelection,
) -> Result<LoadOutcome, Failure> {
    let config = &settings.config;
    let list = || -> Result<_, Failure> {
        let runs = settings.staging.finished_runs()?;
        let wanted = selection.run.as_deref();
        let wanted = wanted.map(|run| find(settings, &runs, run)).transpose()?;
        Ok((runs, wanted))
    };
    // A fault in what was typed is reported before any wait for a lock.
    if selection.run.is_some() {
        list()?;
    }
    // A damaged id is an error, not no id.
    settings.staging.id()?;
    let mut loader = open_loader(settings, &selection.options).await?;
    // Under its lock: its last holder may have loaded, and others may have removed runs meanwhile.
    let (runs, wanted) = list()?;
    let judge = loader.judge(&runs).await?;
    let starts_over = selection.options.adopt && judge.starts_over(&runs);
    let until = wanted.as_ref().map_or(u64::MAX, |run| run.record().seq);
    let past = &runs[..runs.partition_point(|run| run.record().seq <= until)];
    if !selection.options.adopt {
        judge.refuse(past)?;
    }
    // What another project has loaded is not ours.
    let loaded = if starts_over {
        Loaded::new()
    } else {
        loader.loaded().await?
    };
    let wanted = wanted.as_ref();
    (settings.staging)
        .bring(runs_to_read(config, past, &loaded))
        .await;
    let PendingRuns {
        pending,
        refused,
        skipped,
    } = pending_runs(config, &runs, &loader, &loaded, selection, wanted).await?;
    let resources = selection.with_parents(config);
    let context = &settings.context;
    let mut outcome = load_runs(&mut loader, context, pending, &runs, &resources).await?;
    outcome.report.dry_run = selection.options.dry_run;
    outcome.report.skipped.extend(skipped);
    if starts_over && outcome.is_empty() {
        outcome.fail(Exit::Refused, NOTHING_TO_ADOPT.to_owned());
    }
    let into = settings.schema_flag(&selection.options.schema);
    outcome.report_held((!selection.options.dry_run).then_some(into.as_str()));
    for error in refused {
        outcome.fail(load_exit(&error), chain(&error));
    }
    let closed = loader.close().await;
    if !outcome.is_cut_short {
        closed?;
    }
    Ok(outcome)
}

/// Loads run by run; what follows a failed load of a resource is held back. `runs` is all that is staged; `resources` is all
/// (if empty) or some with all that their rows refer to. An error after a run was loaded is reported beside that run.
pub(crate) async fn load_runs(
    loader: &mut SchemaLoader<'_>,
    context: &Context,
    pending: Vec<Pending>,
    runs: &[Run],
    resources: &BTreeSet<Name>,
) -> Result<LoadOutcome, Failure> {
    let mut outcome = LoadOutcome::default();
    loader.correct_open_runs(runs).await?;
    let mut session = loader.session().await?;
    let all = pending.len();
    let progress = LoadProgress::default();
    let loads = Box::pin(progress.scope(async {
        for (done, pending) in pending.into_iter().enumerate() {
            context.begin(Activity::Loading {
                done,
                all,
                run: pending.run.id().to_string(),
            });
            outcome.load(&mut session, pending, runs, resources).await?;
        }
        Ok::<_, LoadError>(())
    }));
    let result = tokio::select! {
        result = loads => result,
        never = show(context, &progress) => match never {},
    };
    match result {
        Err(error) if outcome.report.runs.is_empty() => return Err(error.into()),
        Err(error) => {
            outcome.fail(load_exit(&error), chain(&error));
            outcome.is_cut_short = true;
            outcome.report_refused();
        }
        Ok(()) => {
            outcome.report_refused();
            if outcome.is_empty() {
                for (name, error) in session.derive_again(runs).await? {
                    outcome.fail(Exit::Failed, format!("{name}: {}", chain(&error)));
                }
            }
            session.end().await?;
        }
    }
    context.begin(Activity::Idle);
    Ok(outcome)
}

/// Shows how far the loads are while they last; of a short one nothing.
async fn show(context: &Context, progress: &LoadProgress) -> std::convert::Infallible {
    let mut display = context.load_display();
    let mut tick = tokio::time::interval_at(Instant::now() + SHOWN_EVERY, SHOWN_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Activity::Loading { done, all, .. } = context.activity() {
            display.tick(done + 1, all, progress.snapshot().as_ref());
        }
    }
}

fn is_superseding(run: &Run, resource: &Name) -> bool {
    // One that cannot be read fails by itself when it is loaded.
    matches!(run.manifest(resource), Ok(Some(manifest)) if manifest.is_complete_full())
}

/// The sentence for held deletes of a run.
pub(crate) fn held_deletes(rows: u64, run: &str, into: &str) -> String {
    let deletes = counted(rows, "delete");
    format!(
        "prune limit exceeded: {deletes} held; review with `cursus prune ls{into}`, approve with `cursus prune approve {run}{into}`"
    )
}

/// The sentence for quarantined rows of a table.
pub(crate) fn quarantined_rows(rows: u64, table: &str, into: &str) -> String {
    let rows = counted(rows, "row");
    format!("{rows} quarantined; list the reasons with `cursus quarantine ls {table}{into}`")
}

impl LoadOutcome {
    /// Fails if the load was cut short.
    pub(crate) fn or_cut_short(self) -> Result<Self, Failure> {
        if !self.is_cut_short {
            return Ok(self);
        }
        Err(Failure {
            exit: self.exit,
            error: Messages::of(&self.report.errors).into(),
        })
    }

    fn is_empty(&self) -> bool {
        self.report.runs.is_empty() && self.report.errors.is_empty()
    }

    fn fail(&mut self, exit: Exit, error: String) {
        self.exit = self.exit.max(exit);
        self.report.errors.push(error);
    }

    /// Loads what is selected of a run, and adds what became of it.
    async fn load(
        &mut self,
        session: &mut Session<'_>,
        Pending { run, resources }: Pending,
        runs: &[Run],
        select: &BTreeSet<Name>,
    ) -> Result<(), LoadError> {
        // A complete full read replaces what failed before; a resource that refers to a failed one is held back with it.
        let still_failed = (self.failed.iter())
            .filter(|name| !resources.contains(*name) || !is_superseding(&run, name));
        let held = session.with_dependents(still_failed.cloned().collect());
        let mut selected = Vec::new();
        for resource in resources {
            if !select.is_empty() && !select.contains(&resource) {
                continue;
            }
            if held.contains(&resource) {
                info!(run = %run.id(), resource = %resource, "held back until its earlier run is loaded");
            } else {
                selected.push(resource);
            }
        }
        if selected.is_empty() {
            return Ok(());
        }
        match session.load(&run, &selected, runs, &held).await {
            Ok(loaded) => {
                self.failed.retain(|name| !selected.contains(name));
                (self.failed).extend(loaded.failed.iter().map(|(name, _)| name.clone()));
                self.add(&run, &loaded);
                Ok(())
            }
            // Nothing of it was written, and no run of the source continues it.
            Err(LoadError::OtherSource(refused)) => {
                self.refuse(*refused);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Counts a run of another source with those alike.
    fn refuse(&mut self, refused: OtherSource) {
        self.exit = self.exit.max(Exit::Refused);
        match self.refused.iter_mut().find(|one| one.is_alike(&refused)) {
            Some(one) => one.more += 1,
            None => self.refused.push(refused),
        }
    }

    fn report_refused(&mut self) {
        for refused in std::mem::take(&mut self.refused) {
            let error = LoadError::OtherSource(refused.into());
            self.report.errors.push(chain(&error));
        }
    }

    fn add(&mut self, run: &Run, loaded: &LoadedRun) {
        let report = &mut self.report;
        report.warnings.extend(loaded.warnings.iter().cloned());
        report.drift.extend(loaded.drift.iter().cloned());
        if !loaded.tables.is_empty() {
            report.runs.push(run.id().to_string());
        }
        sum_tables(&mut report.tables, &loaded.tables);
        for (name, error) in loaded.failed.iter().chain(&loaded.derives_failed) {
            let exit = match load_exit(error) {
                Exit::Usage | Exit::Locked => Exit::Failed,
                exit => exit,
            };
            self.fail(exit, format!("{}, {name}: {}", run.id(), chain(error)));
        }
        let held = (loaded.tables.iter())
            .filter(|table| table.refused > 0 || table.quarantined > 0)
            .map(|table| (run.id().to_string(), table.clone()));
        self.held.extend(held);
    }

    /// Reports held deletes and quarantined rows, and what to do about them; `into` is the flag to type, none where the load
    /// is rolled back.
    fn report_held(&mut self, into: Option<&str>) {
        for (run, table) in std::mem::take(&mut self.held) {
            let name = &table.name;
            if table.refused > 0 {
                let error = match into {
                    Some(into) => held_deletes(table.refused, &run, into),
                    None => format!(
                        "prune limit exceeded: {} would be held until they are approved",
                        counted(table.refused, "delete")
                    ),
                };
                self.fail(Exit::Refused, format!("{run}, {name}: {error}"));
            }
            if table.quarantined > 0 {
                let error = match into {
                    Some(into) => quarantined_rows(table.quarantined, name.as_str(), into),
                    None => {
                        let rows = counted(table.quarantined, "row");
                        format!("{rows} would be quarantined")
                    }
                };
                self.fail(Exit::Incomplete, format!("{run}, {name}: {error}"));
            }
        }
    }
}

fn is_same(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
