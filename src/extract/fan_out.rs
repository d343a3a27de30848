//! Fan-out: over which ids of another resource, and what that makes of the read.

use roaring::RoaringTreemap;

use crate::config::Resource;
use crate::plan::{self, Decision, Step};
use crate::staging::Mode;

use super::read::ReadError;
use super::{ExtractError, Reading, ids};

impl Reading<'_> {
    /// For a resource that fans out: over which ids, and what that makes of its mode.
    pub(super) async fn fan_out(
        &self,
        resource: &Resource,
        decision: Decision,
    ) -> Result<(Decision, RoaringTreemap, Mode), ExtractError> {
        let mode = match decision.step {
            Step::Delta { .. } => Mode::Delta,
            Step::Full | Step::Skip => Mode::Full,
        };
        let Some(for_each) = &resource.for_each else {
            return Ok((decision, RoaringTreemap::new(), mode));
        };
        let Some(parent) = self.extraction.config.resource(for_each.ids_of.as_str()) else {
            return Ok((decision, RoaringTreemap::new(), mode));
        };
        let this_run = match self.ids.of(&parent.name) {
            Some(ids) => ids,
            None => self.ids_of_run(parent).await?,
        };
        let parent_is_whole = self
            .run
            .manifest(&parent.name)?
            .is_some_and(|manifest| manifest.is_proof());
        let fan_out = plan::fan_out(
            self.extraction.config,
            resource,
            parent,
            self.history,
            &self.extraction.request,
            parent_is_whole,
        );
        let mut ids = this_run;
        if let Some(from_seq) = fan_out.from_seq {
            let (runs, parent, history) = (
                self.extraction.runs.clone(),
                parent.clone(),
                self.history.clone(),
            );
            let hash = plan::request_hash(self.extraction.config, &parent);
            ids |= tokio::task::spawn_blocking(move || {
                ids::since(&runs, &parent, &history, &hash, from_seq)
            })
            .await
            .map_err(|_| ExtractError::from(ReadError::Thread))??;
        }
        let reason = format!("for {} ids of {}", ids.len(), parent.name);
        Ok((
            Decision {
                step: Step::Full,
                reason,
            },
            ids,
            fan_out.mode,
        ))
    }

    /// Ids that an earlier process staged in this run.
    async fn ids_of_run(&self, resource: &Resource) -> Result<RoaringTreemap, ExtractError> {
        let (run, resource) = (self.run.clone(), resource.clone());
        let read = tokio::task::spawn_blocking(move || ids::of_run(&run, &resource)).await;
        Ok(read.map_err(|_| ExtractError::from(ReadError::Thread))??)
    }
}
