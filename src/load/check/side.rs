//! What a run was read with: staging directory, API, scope; compared and described.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::plan;
use crate::staging::{Run, StagingError};
use crate::template::Values;

/// Digits of the id of a staging directory that a message shows.
const SHOWN: usize = 8;
/// What a run is read with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// Id of the staging directory; none: an earlier version made the run.
    pub(crate) staging_id: Option<String>,
    /// Scheme, host and port of the API, as far as they are known.
    pub(crate) origin: Option<String>,
    /// The values of `[scope]`, as far as they are known.
    pub(crate) scope: Option<Values>,
}

impl Side {
    /// What a run was read with. Of a run that an earlier version made, the scope is today's if today's configuration asks for all that
    /// it holds in the same way.
    pub(crate) fn of(run: &Run, config: &Config) -> Result<Self, StagingError> {
        let record = run.record();
        let scope = match &record.scope {
            Some(scope) => Some(scope.clone()),
            None => asks_as_today(run, config)?.then(|| config.scope.clone()),
        };
        Ok(Self {
            staging_id: record.staging_id.clone(),
            origin: record.server.clone().filter(|origin| !origin.is_empty()),
            scope,
        })
    }

    pub(super) fn is_of_another_api(&self, other: &Self) -> bool {
        matches!((&self.origin, &other.origin), (Some(a), Some(b)) if a != b)
    }

    /// Whether only the staging directory tells them apart.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.origin == other.origin && !has_changed(self.scope.as_ref(), other.scope.as_ref())
    }

    /// In words, with the staging directory where nothing else tells two sides apart.
    pub(super) fn describe(&self, with_staging: bool) -> String {
        let origin = self.origin.as_deref().unwrap_or("an API that is not known");
        let scope = match &self.scope {
            Some(scope) => describe_scope(scope, |_| true),
            None => "a scope that is not known".to_owned(),
        };
        let staging = if with_staging {
            format!(" from {}", describe_staging(self.staging_id.as_deref()))
        } else {
            String::new()
        };
        format!("{origin} with {scope}{staging}")
    }
}

fn asks_as_today(run: &Run, config: &Config) -> Result<bool, StagingError> {
    let mut is_any = false;
    for resource in &config.resources {
        let manifest = match run.manifest(&resource.name) {
            Ok(None) => continue,
            Ok(Some(manifest)) => manifest,
            Err(StagingError::Broken { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if manifest.own_read {
            if manifest.request_hash != plan::request_hash(config, resource) {
                return Ok(false);
            }
            is_any = true;
        }
    }
    Ok(is_any)
}

/// The values without those that drop their parameter, in no order.
pub(super) fn meaning(scope: &Values) -> BTreeMap<&str, BTreeSet<&str>> {
    let lists = scope.iter().filter(|(_, list)| !list.is_empty());
    lists
        .map(|(name, list)| (name.as_str(), list.iter().map(String::as_str).collect()))
        .collect()
}

/// Whether two scopes are known and mean something else.
pub(super) fn has_changed(from: Option<&Values>, to: Option<&Values>) -> bool {
    matches!((from, to), (Some(from), Some(to)) if meaning(from) != meaning(to))
}

fn describe_scope(scope: &Values, is_wanted: impl Fn(&str) -> bool) -> String {
    let values = scope.iter().filter(|(name, _)| is_wanted(name));
    let values: Vec<String> = values
        .map(|(name, list)| match list.as_slice() {
            [] => format!("{name} = []"),
            list => format!("{name} = {}", list.join(",")),
        })
        .collect();
    if values.is_empty() {
        "no scope".to_owned()
    } else {
        values.join(" and ")
    }
}

/// `scope changed from campus_ids = 9 to campus_ids = 1`.
pub(super) fn scope_change(from: &Values, to: &Values) -> String {
    let (before, after) = (meaning(from), meaning(to));
    let differs = |name: &str| before.get(name) != after.get(name);
    format!(
        "scope changed from {} to {}",
        describe_scope(from, differs),
        describe_scope(to, differs)
    )
}

pub(super) fn describe_staging(id: Option<&str>) -> String {
    match id {
        Some(id) => format!(
            "staging directory {}",
            id.chars().take(SHOWN).collect::<String>()
        ),
        None => "staging directory without an id".to_owned(),
    }
}
