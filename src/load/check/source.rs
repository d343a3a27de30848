//! What a schema is filled from (staging directory, API, scope), and whether a run may be loaded into it. Compares what runs were read
//! with, never today's configuration, and reads no rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::GenericClient;

use crate::config::Config;
use crate::load::check::side::{Side, meaning};
use crate::load::error::LoadError;
use crate::load::other_source::OtherSource;
use crate::name::Name;
use crate::plan;
use crate::staging::{Adoption, Manifest, Run};
use crate::template::Values;

/// Loads that are looked up in the staging directory, newest first, where ids do not tell whether they came from there.
const LOOKED_UP: i64 = 100;

/// What the rows of a resource rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Basis {
    pub(super) staging_id: Option<String>,
    /// Fingerprints of what was asked for, by read; the resource's own read has no name.
    pub(super) requests: BTreeMap<String, String>,
    /// The scope of the last read that settled which rows there are.
    pub(super) scope: Option<Values>,
    /// How the scope came to be that.
    pub(super) changed: Option<Changed>,
}

/// A change of the scope that a run has settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changed {
    pub(super) run: String,
    pub(super) from: Values,
}

/// What a schema is filled from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(super) side: Side,
    pub(super) first_run: String,
    /// The run that was loaded last.
    last_run: String,
    pub(super) resources: BTreeMap<String, Basis>,
}

/// How a run stands to the source of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// It is of the same staging directory and API; the scope may have changed.
    Same,
    /// It is of another staging directory, with the same API, scope and requests.
    Replacement,
    /// It is of another API, and the schema was rebound with it before.
    Adopted,
    /// It is of another API or another project.
    Foreign,
}

/// Fingerprints of what is asked for: resource, read, fingerprint.
type Requests<'r> = Vec<(&'r Name, String, String)>;

/// Those of a manifest, by read.
pub(super) fn requests(manifest: &Manifest) -> impl Iterator<Item = (String, String)> {
    let own = (String::new(), manifest.request_hash.clone());
    let own = manifest.own_read.then_some(own);
    let named = manifest.reads.iter();
    own.into_iter()
        .chain(named.map(|(name, read)| (name.to_string(), read.request_hash.clone())))
}

impl Source {
    /// What a schema is filled from; none: nothing was loaded since this is noted.
    pub(crate) async fn read(
        client: &impl GenericClient,
        schema: &str,
    ) -> Result<Option<Self>, LoadError> {
        let row = client
            .query_opt(
                "SELECT staging_id, origin, scope, first_run, last_run, resources FROM pipeline.source WHERE schema_name = $1",
                &[&schema],
            )
            .await
            .map_err(LoadError::at("read pipeline.source"))?;
        Ok(row.map(|row| Self {
            side: Side {
                staging_id: row.get(0),
                origin: row.get(1),
                scope: (row.get::<_, Option<Value>>(2))
                    .and_then(|scope| serde_json::from_value(scope).ok()),
            },
            first_run: row.get(3),
            last_run: row.get(4),
            resources: serde_json::from_value(row.get(5)).unwrap_or_default(),
        }))
    }

    /// How a side that makes these requests stands to this source. `is_from_here`: what is loaded came from the side's staging directory,
    /// which counts where an id is not known.
    fn relation<'r>(
        &self,
        side: &Side,
        is_from_here: bool,
        requests: impl FnOnce() -> Requests<'r>,
    ) -> Relation {
        let known = &self.side;
        if known.is_of_another_api(side) {
            return Relation::Foreign;
        }
        if self.is_same_staging(side.staging_id.as_ref(), is_from_here) {
            return Relation::Same;
        }
        // Nobody can say that an unknown scope is the same.
        let is_same_scope = match (&known.scope, &side.scope) {
            (Some(known), Some(scope)) => meaning(known) == meaning(scope),
            _ => false,
        };
        if known.origin == side.origin && is_same_scope && self.differing(&requests()).is_none() {
            Relation::Replacement
        } else {
            Relation::Foreign
        }
    }

    pub(super) fn is_same_staging(&self, id: Option<&String>, is_from_here: bool) -> bool {
        match (&self.side.staging_id, id) {
            (Some(known), Some(id)) => known == id,
            _ => is_from_here,
        }
    }

    /// A resource that was asked for in another way.
    fn differing<'r>(&self, requests: &Requests<'r>) -> Option<&'r Name> {
        let mut requests = requests.iter();
        let differs = |(name, read, request): &&(&Name, String, String)| {
            let basis = self.resources.get(name.as_str());
            let known = basis.and_then(|basis| basis.requests.get(read));
            known.is_some_and(|known| known != request)
        };
        requests.find(differs).map(|(name, ..)| *name)
    }

    /// Why a side is refused.
    fn refusal(
        &self,
        side: &Side,
        requests: &Requests<'_>,
        schema: &str,
        run: Option<&Run>,
        is_from_here: bool,
    ) -> LoadError {
        let known = &self.side;
        let is_alike = known.is_alike(side);
        let differing = self.differing(requests).filter(|_| is_alike);
        let otherwise = differing.map_or_else(String::new, |name| {
            format!(", asking for {name} in another way")
        });
        LoadError::OtherSource(Box::new(OtherSource {
            run: run.map(|run| run.id().to_string()),
            more: 0,
            schema: schema.to_owned(),
            reads: side.describe(is_alike) + &otherwise,
            holds: known.describe(is_alike),
            is_same_staging: self.is_same_staging(side.staging_id.as_ref(), is_from_here),
        }))
    }

    /// Resources of which only a complete full read may take the place of what is loaded: that came from another staging directory. What
    /// consists of named reads alone has no full read, and none of them deletes what it does not show.
    pub(super) fn replaced(
        &self,
        side: &Side,
        relation: Relation,
        config: &Config,
    ) -> BTreeSet<Name> {
        let is_of_another = |basis: &Basis| match (&basis.staging_id, &side.staging_id) {
            (Some(known), Some(id)) => known != id,
            _ => relation == Relation::Replacement,
        };
        let resources = config.resources.iter().filter(|it| it.has_own_read());
        let names = resources.map(|resource| &resource.name);
        names
            .filter(|name| self.resources.get(name.as_str()).is_some_and(is_of_another))
            .cloned()
            .collect()
    }
}

/// What is known of a schema and of the runs that are to go into it.
#[derive(Debug)]
pub(crate) struct Judge<'j> {
    schema: &'j str,
    pub(super) config: &'j Config,
    pub(super) source: Option<Source>,
    /// Whether what is loaded came from the staging directory of the runs; where ids tell, it does not matter.
    pub(super) is_from_here: bool,
    /// All that is staged.
    runs: &'j [Run],
    /// The runs that the mirror or this schema was rebound with, once they are asked for.
    rebindings: OnceLock<Vec<OriginChange>>,
}

/// A schema was rebound with a run.
#[derive(Clone, Debug)]
struct OriginChange {
    seq: u64,
    run: String,
    /// Origin of the API that the schema held before.
    from: String,
    /// That of the run.
    to: Option<String>,
}

impl<'j> Judge<'j> {
    /// Looks at the source of a schema. `runs` is all that is staged.
    pub(crate) async fn look(
        client: &impl GenericClient,
        schema: &'j str,
        config: &'j Config,
        runs: &'j [Run],
    ) -> Result<Self, LoadError> {
        let source = Source::read(client, schema).await?;
        let is_unknown = |source: &Source| {
            source.side.staging_id.is_none()
                || runs.iter().any(|run| run.record().staging_id.is_none())
        };
        let is_from_here = match &source {
            Some(source) if is_unknown(source) => is_from_here(client, schema, runs).await?,
            Some(_) => false,
            None => true,
        };
        Ok(Self {
            schema,
            config,
            source,
            is_from_here,
            runs,
            rebindings: OnceLock::new(),
        })
    }

    pub(super) fn relation_of_run(&self, run: &Run, side: &Side) -> Result<Relation, LoadError> {
        let Some(source) = &self.source else {
            return Ok(Relation::Same);
        };
        let relation = source.relation(side, self.is_from_here, || self.requests_of(run));
        if relation == Relation::Foreign && self.is_adopted(source, run, side)? {
            return Ok(Relation::Adopted);
        }
        Ok(relation)
    }

    /// What a run asked for. A manifest that cannot be read fails by itself when it is loaded.
    fn requests_of(&self, run: &Run) -> Requests<'j> {
        let mut all = Requests::new();
        for name in self.config.resources.iter().map(|resource| &resource.name) {
            if let Ok(Some(manifest)) = run.manifest(name) {
                all.extend(requests(&manifest).map(|(read, request)| (name, read, request)));
            }
        }
        all
    }

    /// What a run would ask for today.
    fn requests_today(&self) -> Requests<'j> {
        let reads = (self.config.resources.iter()).flat_map(|resource| {
            resource.all_reads().map(move |read| {
                let name = read.read_name().map_or_else(String::new, Name::to_string);
                (&resource.name, name, read)
            })
        });
        reads
            .map(|(resource, name, read)| (resource, name, plan::request_hash(self.config, read)))
            .collect()
    }

    /// Whether this schema, or the mirror, was rebound to the API of the run, and the staging directory is still the same. What counts
    /// is a rebinding with the run itself, or with an earlier run that is newer than what is loaded; that earlier run need not be loaded,
    /// since it may have no pages of the resources here. An older rebinding counts only for its own run.
    fn is_adopted(&self, source: &Source, run: &Run, side: &Side) -> Result<bool, LoadError> {
        let Some(from) = &source.side.origin else {
            return Ok(false);
        };
        if !source.is_same_staging(side.staging_id.as_ref(), self.is_from_here) {
            return Ok(false);
        }
        let mut held = Some(from);
        let mut is_rebound = false;
        for change in self.rebindings()? {
            let (seq, of) = (run.record().seq, &change.run);
            let counts = change.seq == seq || (change.seq < seq && *of > source.last_run);
            if counts && held == Some(&change.from) {
                held = change.to.as_ref();
                is_rebound = true;
            }
        }
        Ok(is_rebound && held == side.origin.as_ref())
    }

    /// The runs that the mirror or this schema was rebound with, oldest first.
    fn rebindings(&self) -> Result<&[OriginChange], LoadError> {
        if let Some(known) = self.rebindings.get() {
            return Ok(known);
        }
        let mirror = &self.config.database.schema;
        let mut rebindings = Vec::new();
        for run in self.runs {
            for adoption in Adoption::of(run)? {
                if adoption.schema == *mirror || adoption.schema.as_str() == self.schema {
                    rebindings.push(OriginChange {
                        seq: run.record().seq,
                        run: run.id().to_string(),
                        from: adoption.from,
                        to: Side::of(run, self.config)?.origin,
                    });
                }
            }
        }
        Ok(self.rebindings.get_or_init(|| rebindings))
    }

    pub(super) fn refusal(&self, source: &Source, run: &Run) -> LoadError {
        match Side::of(run, self.config) {
            Ok(side) => source.refusal(
                &side,
                &self.requests_of(run),
                self.schema,
                Some(run),
                self.is_from_here,
            ),
            Err(error) => error.into(),
        }
    }

    /// How a run stands to the source.
    fn run(&self, run: &Run) -> Result<Relation, LoadError> {
        self.relation_of_run(run, &Side::of(run, self.config)?)
    }

    /// Refuses runs of which every one is of another source.
    pub(crate) fn refuse(&self, runs: &[Run]) -> Result<(), LoadError> {
        let (Some(source), Some(newest)) = (&self.source, runs.last()) else {
            return Ok(());
        };
        for run in runs.iter().rev() {
            if self.run(run)? != Relation::Foreign {
                return Ok(());
            }
        }
        Err(self.refusal(source, newest))
    }

    /// Refuses a run unless what is loaded came from its own staging directory.
    pub(crate) fn refuse_other(&self, run: &Run) -> Result<(), LoadError> {
        let id = run.record().staging_id.as_ref();
        match &self.source {
            Some(source) if !source.is_same_staging(id, self.is_from_here) => {
                Err(self.refusal(source, run))
            }
            _ => Ok(()),
        }
    }

    /// Whether what is loaded came from the staging directory of none of these runs: to rebind the schema is to start over.
    pub(crate) fn starts_over(&self, runs: &[Run]) -> bool {
        self.source.as_ref().is_some_and(|source| {
            let mut ids = runs.iter().map(|run| run.record().staging_id.as_ref());
            !ids.any(|id| source.is_same_staging(id, self.is_from_here))
        })
    }

    /// What a run that is to come must read in full, since its staging directory is not the one that was loaded from; an error where it
    /// would be refused.
    pub(crate) fn prospect(
        &self,
        side: &Side,
        may_adopt: bool,
    ) -> Result<BTreeSet<Name>, LoadError> {
        let Some(source) = &self.source else {
            return Ok(BTreeSet::new());
        };
        match source.relation(side, self.is_from_here, || self.requests_today()) {
            Relation::Foreign if may_adopt => Ok(BTreeSet::new()),
            Relation::Foreign => Err(source.refusal(
                side,
                &self.requests_today(),
                self.schema,
                None,
                self.is_from_here,
            )),
            relation => Ok(source.replaced(side, relation, self.config)),
        }
    }
}

/// Refuses a run that is to come, as `run` would. `runs` is all that is staged.
pub(crate) async fn look_ahead(
    client: &impl GenericClient,
    schema: &str,
    config: &Config,
    runs: &[Run],
    side: &Side,
) -> Result<(), LoadError> {
    let judge = Judge::look(client, schema, config, runs).await?;
    judge.prospect(side, false).map(drop)
}

/// Whether one of the newest loads of a schema is of one of these runs, by its name and by the fingerprint of its manifest.
async fn is_from_here(
    client: &impl GenericClient,
    schema: &str,
    runs: &[Run],
) -> Result<bool, LoadError> {
    let loads = client
        .query(
            "SELECT run_id, resource, manifest_hash FROM pipeline.load WHERE schema_name = $1 ORDER BY id DESC LIMIT $2",
            &[&schema, &LOOKED_UP],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    for load in loads {
        let (run_id, resource, hash): (&str, &str, &str) = (load.get(0), load.get(1), load.get(2));
        let run = runs.iter().find(|run| run.id().as_str() == run_id);
        if let (Some(run), Ok(resource)) = (run, Name::parse(resource))
            && run.manifest_hash(&resource)? == hash
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The mirror has, of these resources, what the scratch schemas were filled from; the newest of them says which API and scope.
/// `fingerprint` is what [`rebuilt_from`] then returns.
pub(crate) async fn take_over(
    client: &impl GenericClient,
    live: &str,
    scratches: &[&str],
    fingerprint: Option<&str>,
) -> Result<(), LoadError> {
    let failed = || LoadError::at("take over pipeline.source");
    client
        .execute(
            "WITH scratch AS (SELECT * FROM pipeline.source WHERE schema_name = ANY ($2)) \
             INSERT INTO pipeline.source AS s (schema_name, staging_id, origin, scope, first_run, last_run, adopted_at, resources) \
             SELECT $1, staging_id, origin, scope, (SELECT min(first_run COLLATE \"C\") FROM scratch), last_run, adopted_at, \
             (SELECT coalesce(jsonb_object_agg(r.key, r.value), '{}') FROM scratch, jsonb_each(scratch.resources) AS r) \
             FROM (SELECT * FROM scratch ORDER BY last_run COLLATE \"C\" DESC LIMIT 1) AS newest \
             ON CONFLICT (schema_name) DO UPDATE SET staging_id = excluded.staging_id, origin = excluded.origin, \
             scope = excluded.scope, first_run = CASE WHEN s.staging_id = excluded.staging_id THEN s.first_run \
             ELSE excluded.first_run END, last_run = excluded.last_run, resources = s.resources || excluded.resources",
            &[&live, &scratches],
        )
        .await
        .map_err(failed())?;
    client
        .execute(
            "UPDATE pipeline.source SET rebuilt_from = $2 WHERE schema_name = $1",
            &[&live, &fingerprint],
        )
        .await
        .map_err(failed())?;
    Ok(())
}

/// The fingerprint of the groups that a schema was rebuilt from last; none: from none, or without groups.
pub(crate) async fn rebuilt_from(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Option<String>, LoadError> {
    let row = client
        .query_opt(
            "SELECT rebuilt_from FROM pipeline.source WHERE schema_name = $1",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("read pipeline.source"))?;
    Ok(row.and_then(|row| row.get(0)))
}
