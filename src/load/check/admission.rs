//! Whether a run is admitted into a schema, and what its load heeds and records of the source.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tokio_postgres::GenericClient;

use crate::load::check::side::{Side, describe_staging, has_changed, scope_change};
use crate::load::check::source::{Changed, Judge, Relation, Source, requests};
use crate::load::error::LoadError;
use crate::name::Name;
use crate::staging::{Manifest, Run, StagingError};

#[derive(Debug, Default)]
pub(crate) struct Admission {
    side: Side,
    /// What the schema is filled from so far; none: this load is the first, or starts over.
    source: Option<Source>,
    /// Resources whose rows come from another staging directory.
    replaced: BTreeSet<Name>,
    /// By resource: under which heading deletes are held.
    pub(crate) headings: BTreeMap<String, String>,
    /// The change of the scope that this load is the first to see.
    pub(crate) change: Option<String>,
    pub(crate) rebinding: Option<Rebinding>,
}

/// A schema gets another source.
#[derive(Debug)]
pub(crate) struct Rebinding {
    pub(crate) held: String,
    pub(crate) holds: String,
    /// The API of before; none: the staging directory is another one, so that what is loaded is not known any more.
    pub(crate) from: Option<String>,
}

impl Admission {
    /// Judges a run before anything of it is written. `may_adopt`: the schema may be rebound.
    pub(crate) fn of(judge: &Judge<'_>, run: &Run, may_adopt: bool) -> Result<Self, LoadError> {
        let side = Side::of(run, judge.config)?;
        let relation = judge.relation_of_run(run, &side)?;
        let Some(source) = judge.source.clone() else {
            return Ok(Self {
                side,
                ..Self::default()
            });
        };
        match relation {
            Relation::Foreign if !may_adopt => return Err(judge.refusal(&source, run)),
            Relation::Replacement if !may_adopt => {}
            Relation::Same => {}
            Relation::Foreign | Relation::Replacement | Relation::Adopted => {
                return Ok(Self::rebinding(judge, source, side, run));
            }
        }
        Ok(Self::within(judge, source, side, relation, run))
    }

    fn rebinding(judge: &Judge<'_>, source: Source, side: Side, run: &Run) -> Self {
        let starts_over = !source.is_same_staging(side.staging_id.as_ref(), judge.is_from_here);
        let is_alike = source.side.is_alike(&side);
        let rebinding = Some(Rebinding {
            held: source.side.describe(is_alike),
            holds: side.describe(is_alike),
            from: source.side.origin.clone().filter(|_| !starts_over),
        });
        if starts_over {
            return Self {
                side,
                rebinding,
                ..Self::default()
            };
        }
        Self {
            rebinding,
            ..Self::within(judge, source, side, Relation::Same, run)
        }
    }

    fn within(
        judge: &Judge<'_>,
        source: Source,
        side: Side,
        relation: Relation,
        run: &Run,
    ) -> Self {
        let replaced = source.replaced(&side, relation, judge.config);
        let mut headings = BTreeMap::new();
        for (name, basis) in &source.resources {
            let noted = (basis.changed.as_ref()).filter(|changed| changed.run == run.id().as_str());
            let from = match (&basis.scope, noted) {
                (_, Some(changed)) => Some(&changed.from),
                (from, None) => from.as_ref(),
            };
            if let (Some(from), Some(to)) = (from, &side.scope)
                && has_changed(Some(from), Some(to))
            {
                headings.insert(name.clone(), scope_change(from, to));
            }
        }
        let change = match (&source.side.scope, &side.scope) {
            (Some(from), Some(to)) if has_changed(Some(from), Some(to)) => {
                Some(scope_change(from, to))
            }
            _ => None,
        };
        Self {
            side,
            source: Some(source),
            replaced,
            headings,
            change,
            rebinding: None,
        }
    }

    /// Those of these resources that are not loaded: they need what was read before, and what is loaded came from another staging
    /// directory.
    pub(crate) fn unproven(
        &self,
        run: &Run,
        resources: &[Name],
    ) -> Result<BTreeSet<Name>, LoadError> {
        let mut unproven = BTreeSet::new();
        for name in resources {
            if !self.replaced.contains(name) {
                continue;
            }
            match run.manifest(name) {
                Ok(Some(manifest)) if manifest.is_beginning() => {}
                // It fails by itself.
                Err(StagingError::Broken { .. }) => {}
                Ok(_) => drop(unproven.insert(name.clone())),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(unproven)
    }

    /// What the rows came from that this run replaces, in words.
    pub(crate) fn replaces(&self) -> String {
        let known = self.source.as_ref();
        describe_staging(known.and_then(|source| source.side.staging_id.as_deref()))
    }

    /// Records the source of a schema after a load of these resources. Returns the resources whose rows came from another staging directory
    /// until now.
    pub(crate) async fn bind(
        &self,
        client: &impl GenericClient,
        schema: &str,
        run: &Run,
        loaded: &[(&Name, &Manifest)],
    ) -> Result<Vec<Name>, LoadError> {
        if loaded.is_empty() && self.rebinding.is_none() {
            return Ok(Vec::new());
        }
        let run_id = run.id().as_str();
        let side = &self.side;
        let known = self.source.as_ref();
        let mut resources = known.map_or_else(BTreeMap::new, |source| source.resources.clone());
        let mut replaced = Vec::new();
        for (name, manifest) in loaded {
            let basis = resources.entry(name.to_string()).or_default();
            let asks_as_before = |(read, request): (String, String)| {
                let known = basis.requests.get(&read);
                known.is_none_or(|known| *known == request)
            };
            let is_settled = manifest.is_complete_full() || requests(manifest).all(asks_as_before);
            if let Some(from) = &basis.scope
                && is_settled
                && has_changed(Some(from), side.scope.as_ref())
            {
                basis.changed = Some(Changed {
                    run: run_id.to_owned(),
                    from: from.clone(),
                });
            }
            if is_settled && side.scope.is_some() {
                basis.scope.clone_from(&side.scope);
            }
            basis.requests.extend(requests(manifest));
            if side.staging_id.is_some() {
                basis.staging_id.clone_from(&side.staging_id);
            }
            if self.replaced.contains(*name) {
                replaced.push((*name).clone());
            }
        }
        let is_another = !replaced.is_empty() || self.rebinding.is_some();
        let first_run = match known {
            Some(source) if !is_another => source.first_run.as_str(),
            _ => run_id,
        };
        // What this run does not say is as before.
        let before = known.map(|source| &source.side);
        let staging_id = side.staging_id.as_ref();
        let staging_id = staging_id.or(before
            .and_then(|side| side.staging_id.as_ref())
            .filter(|_| !is_another));
        let origin = (side.origin.as_ref()).or(before.and_then(|side| side.origin.as_ref()));
        let scope = (side.scope.as_ref()).or(before.and_then(|side| side.scope.as_ref()));
        client
            .execute(
                "INSERT INTO pipeline.source AS s (schema_name, staging_id, origin, scope, first_run, last_run, adopted_at, resources) \
                 VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $7 THEN now() END, $8) \
                 ON CONFLICT (schema_name) DO UPDATE SET staging_id = excluded.staging_id, origin = excluded.origin, \
                 scope = excluded.scope, first_run = excluded.first_run, last_run = excluded.last_run, \
                 adopted_at = coalesce(excluded.adopted_at, s.adopted_at), resources = excluded.resources",
                &[
                    &schema,
                    &staging_id,
                    &origin,
                    &scope.map(|scope| json!(scope)),
                    &first_run,
                    &run_id,
                    &is_another,
                    &json!(resources),
                ],
            )
            .await
            .map_err(LoadError::at("write pipeline.source"))?;
        Ok(replaced)
    }
}

/// Names the change of the scope in the reasons of deletes that a run has held back.
pub(crate) async fn head_candidates(
    client: &impl GenericClient,
    schema: &str,
    run: &Run,
    headings: &BTreeMap<String, String>,
) -> Result<(), LoadError> {
    if headings.is_empty() {
        return Ok(());
    }
    client
        .execute(
            "UPDATE pipeline.prune_candidate AS c SET reason = h.heading || ': ' || c.reason \
             FROM jsonb_each_text($3) AS h (resource, heading) \
             WHERE c.schema_name = $1 AND c.run_id = $2 AND c.resource = h.resource AND c.approved_at IS NULL \
             AND NOT starts_with(c.reason, h.heading)",
            &[&schema, &run.id().as_str(), &json!(headings)],
        )
        .await
        .map_err(LoadError::at("write pipeline.prune_candidate"))?;
    Ok(())
}
