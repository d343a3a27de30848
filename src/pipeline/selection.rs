//! Which runs and resources a load is to load.

use std::collections::BTreeSet;

use crate::cli::LoadArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::load::{Options, with_parents};
use crate::name::Name;
use crate::plan;
use crate::settings::Settings;

pub(crate) struct LoadSelection {
    pub(crate) options: Options,
    pub(super) run: Option<String>,
    pub(super) again: bool,
    pub(super) resources: Vec<Name>,
}

impl LoadSelection {
    /// Every run that is not loaded, into the configured schema. `adopt`: it may be rebound to another project.
    pub(crate) fn all(settings: &Settings, adopt: bool) -> Self {
        let mut options = Options::new(settings.config.database.schema.clone());
        options.adopt = adopt;
        Self {
            options,
            run: None,
            again: false,
            resources: Vec::new(),
        }
    }

    pub(crate) fn of(settings: &Settings, arguments: &LoadArgs) -> Result<Self, Failure> {
        let mut selection = Self::all(settings, arguments.adopt);
        selection.options.schema = settings.schema(arguments.into.as_deref())?;
        selection.options.dry_run = arguments.dry_run;
        selection.options.allow_prune = arguments.allow_prune;
        selection.run.clone_from(&arguments.run);
        selection.again = arguments.again;
        if !arguments.select.is_empty() {
            let resources = plan::select(&settings.config, &arguments.select, &[])?;
            let names = resources.into_iter().map(|resource| resource.name.clone());
            selection.resources = names.collect();
        }
        Ok(selection)
    }

    /// What is selected, and all that its rows refer to: rows that came before their parents would be taken to be out of
    /// scope. Empty: everything.
    pub(super) fn with_parents(&self, config: &Config) -> BTreeSet<Name> {
        with_parents(config, self.resources.iter().cloned())
    }
}
