//! Fan-out: over which ids of another resource, or of its own, and what that makes of the read.

use roaring::RoaringTreemap;

use crate::config::{ForEach, Resource};
use crate::convert::counted;
use crate::plan::{self, Decision, Step};
use crate::staging::{Manifest, Mode, ReadManifest, StagingError};

use super::error::ReadError;
use super::ids::{self, EarlierIds};
use super::resources::{ReadTask, RunReader};

impl RunReader<'_> {
    /// What to read; for a read that fans out: over which ids, and in which mode. It is skipped if it is unknown whether there
    /// are ids. `own_read` is the resource's own read in this run.
    pub(super) async fn to_read(
        &self,
        resource: &Resource,
        decision: Decision,
        own_read: Option<&ReadManifest>,
    ) -> Result<ReadTask, ReadError> {
        let Some(for_each) = &resource.for_each else {
            let mode = match decision.step {
                Step::Delta { .. } => Mode::Delta,
                Step::Full | Step::Since(_) | Step::Skip => Mode::Full,
            };
            return Ok(ReadTask {
                decision: self.since_the_run(resource, decision),
                ids: RoaringTreemap::new(),
                mode,
                doubt: None,
            });
        };
        let parent = self.extraction.config.resource(for_each.ids_of.as_str());
        // The configuration is refused if it names a resource that it does not have.
        let parent = parent.unwrap_or(resource);
        let mut ids = match self.ids.of(&parent.name) {
            Some(ids) => ids,
            None => self.ids_of_run(parent).await?,
        };
        let full = self.earlier_reads.last_complete_full(parent);
        let mut step = Step::Full;
        let own = resource
            .read
            .as_ref()
            .filter(|_| for_each.is_of(&resource.name));
        let mode = if let Some(read) = own {
            let now = self.clock.known_now().unwrap_or_else(crate::clock::now);
            let since = plan::minus(now, plan::due_after(read.every));
            let from_seq = full.map_or(0, |full| full.seq);
            let known = self.earlier_ids(parent, from_seq, move |shown| shown.not_since(since));
            ids = known.await? - ids;
            // What a complete full read of this run lacks was deleted.
            if own_read.is_some_and(ReadManifest::is_complete_full) {
                ids.clear();
            }
            Mode::Delta
        } else {
            let parent_read = self.run.manifest(&parent.name)?;
            let parent_is_whole = parent_read.as_ref().is_some_and(Manifest::is_complete_full);
            let fan_out = plan::fan_out(
                resource,
                parent,
                self.earlier_reads,
                &self.extraction.request,
                parent_is_whole,
            );
            if let Some(from_seq) = fan_out.from_seq {
                let all = |shown: EarlierIds<'_>| shown.all();
                ids |= self.earlier_ids(parent, from_seq, all).await?;
            }
            // To read nothing proves nothing, and a parent that was not read shows no ids.
            let is_known = parent_read
                .and_then(|manifest| manifest.read(None))
                .is_some_and(|own| own.state.moves_cursor());
            if ids.is_empty() && !is_known {
                step = Step::Skip;
            }
            if ids.is_empty() {
                Mode::Delta
            } else {
                fan_out.mode
            }
        };
        let reason = if step == Step::Skip {
            format!(
                "depends on `{}`, which was not read and shows no ids to ask for",
                parent.name
            )
        } else {
            format!("for {} of {}", counted(ids.len(), "id"), parent.name)
        };
        Ok(ReadTask {
            decision: Decision { step, reason },
            ids,
            mode,
            doubt: self.without_ids(parent, for_each)?,
        })
    }

    /// A run that is resumed asks from the same time on as before.
    fn since_the_run(&self, resource: &Resource, decision: Decision) -> Decision {
        let first = resource.cursor.as_ref().and_then(|cursor| cursor.first);
        let step = match (decision.step, first) {
            (Step::Since(_), Some(first)) => {
                Step::Since(plan::minus(self.run.record().started_at, first))
            }
            (step, _) => step,
        };
        Decision { step, ..decision }
    }

    async fn earlier_ids(
        &self,
        parent: &Resource,
        from_seq: u64,
        look: impl FnOnce(EarlierIds<'_>) -> Result<RoaringTreemap, StagingError> + Send + 'static,
    ) -> Result<RoaringTreemap, ReadError> {
        let (runs, earlier_reads) = (self.extraction.runs.clone(), self.earlier_reads.clone());
        let resource = parent.clone();
        blocking(move || {
            look(EarlierIds {
                runs: &runs,
                earlier_reads: &earlier_reads,
                resource: &resource,
                from_seq,
            })
        })
        .await
    }

    /// Records of the parent that no request can ask for.
    fn without_ids(
        &self,
        parent: &Resource,
        for_each: &ForEach,
    ) -> Result<Option<String>, ReadError> {
        let now = self.run.manifest(&parent.name)?;
        let now = now.map(|manifest| manifest.evidence.without_id);
        let full = self.earlier_reads.last_complete_full(parent);
        let full = full.map(|full| full.manifest.evidence.without_id);
        let without = now.max(full).unwrap_or(0);
        let of = &for_each.ids_of;
        Ok((without > 0).then(|| {
            format!("{without} records of {of} have an id that is missing, negative or not an integer; they were not requested")
        }))
    }

    /// Ids that an earlier process staged in this run.
    async fn ids_of_run(&self, resource: &Resource) -> Result<RoaringTreemap, ReadError> {
        let (run, resource) = (self.run.clone(), resource.clone());
        blocking(move || ids::of_run(&run, &resource)).await
    }
}

async fn blocking(
    look: impl FnOnce() -> Result<RoaringTreemap, StagingError> + Send + 'static,
) -> Result<RoaringTreemap, ReadError> {
    let looked = tokio::task::spawn_blocking(look).await;
    looked
        .map_err(|_| ReadError::Thread)?
        .map_err(|error| match error {
            // Not all ids are known, and others need none of them.
            error @ StagingError::Broken { .. } => ReadError::Ids(error),
            error => ReadError::Staging(error),
        })
}
