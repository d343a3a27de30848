//! `cursus stage`: inspect and clean up staged files.

pub(super) mod cat;
#[cfg(feature = "parquet")]
mod export;
pub(super) mod gc;
mod ls;
#[cfg(feature = "remote")]
mod remote;
mod verify;

use crate::cli::{Global, StageCommand};
use crate::exit::{Exit, Failure};
use crate::name::{Name, advice};
use crate::settings::Settings;
use crate::staging::{Run, StagedResource};

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    command: &StageCommand,
) -> Result<Exit, Failure> {
    match command {
        StageCommand::Ls { run: None, .. } => {
            Ok(ls::runs(global, &settings.staging.runs_in_full()?))
        }
        StageCommand::Ls {
            run: Some(run),
            resource: None,
        } => ls::resources(global, &settings.staging.find(run)?),
        StageCommand::Ls {
            run: Some(run),
            resource: Some(resource),
        } => {
            let staged = staged(&settings.staging.find(run)?, resource)?;
            ls::pages(global, &staged)
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
                Some(id) => cat::find(global, &settings.config, &run, &resources, *id),
                None => cat::print_records(&resources),
            }
        }
        #[cfg(feature = "remote")]
        StageCommand::Push { url } => {
            Box::pin(remote::push(global, settings, url.as_deref())).await
        }
        #[cfg(feature = "remote")]
        StageCommand::Pull { url } => {
            Box::pin(remote::pull(global, settings, url.as_deref())).await
        }
        #[cfg(feature = "parquet")]
        StageCommand::Export(arguments) => Box::pin(export::run(global, settings, arguments)).await,
        StageCommand::Gc(arguments) => Box::pin(gc::run(global, settings, arguments)).await,
    }
}

pub(super) fn staged(run: &Run, resource: &str) -> Result<StagedResource, Failure> {
    let names = run.resources()?;
    let known = Name::parse(resource)
        .ok()
        .filter(|name| names.contains(name));
    let Some(name) = known else {
        let advice = advice(resource, names.iter().map(Name::as_str), "it has");
        return Err(Failure::usage(format!(
            "the run {} has no resource `{resource}`; {advice}",
            run.id()
        )));
    };
    run.staged(&name)?.ok_or_else(|| {
        Failure::usage(format!(
            "{name} of the run {} has no manifest: its read was interrupted",
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
