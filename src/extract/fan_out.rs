//! Fan-out: over which ids of another resource, and what that makes of the read.

use roaring::RoaringTreemap;

use crate::config::Resource;
use crate::plan::{self, Decision, Step};
use crate::staging::Mode;

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
        let config = self.extraction.config;
        let parent_hash = plan::request_hash(config, parent);
        let own_hash = plan::request_hash(config, resource);
        let this_run = match self.ids.of(&parent.name) {
            Some(ids) => ids,
            None => self.ids_of_run(parent).await?,
        };
        let parent_is_whole = self
            .run
            .manifest(&parent.name)?
            .is_some_and(|manifest| manifest.is_proof());
        let last_whole = self
            .history
            .newest_whole(&resource.name, &own_hash)
            .map(|read| read.seq);
        let last_full = self.history.newest_full(&resource.name, &own_hash);
        let parent_full = self
            .history
            .newest_full(&parent.name, &parent_hash)
            .map(|read| read.seq);
        let request = &self.extraction.request;
        let wants_all = parent_is_whole
            || last_full.is_none()
            || request.full
            || request.must_be_full.contains_key(&resource.name);
        // All ids: those of a complete full read of the parent, and whatever came after it. Otherwise those that
        // the parent showed since this resource was read last.
        let from_seq = match (wants_all, parent_is_whole) {
            (true, true) => None,
            (true, false) => Some(parent_full.unwrap_or(0)),
            (false, _) => Some(last_whole.map_or(0, |seq| seq + 1)),
        };
        let mut ids = this_run;
        if let Some(from_seq) = from_seq {
            let (runs, parent, history) = (
                self.extraction.runs.clone(),
                parent.clone(),
                self.history.clone(),
            );
            ids |=
                tokio::task::spawn_blocking(move || ids::since(&runs, &parent, &history, from_seq))
                    .await
                    .map_err(|error| ExtractError::Internal(error.to_string()))??;
        }
        // Without a complete full read of the parent nobody knows all ids: what is absent then proves nothing.
        let knows_all = parent_is_whole || parent_full.is_some();
        let mode = if wants_all && knows_all {
            Mode::Full
        } else {
            Mode::Delta
        };
        let reason = format!("for {} ids of {}", ids.len(), parent.name);
        Ok((
            Decision {
                step: Step::Full,
                reason,
            },
            ids,
            mode,
        ))
    }

    /// Ids that an earlier process staged in this run.
    async fn ids_of_run(&self, resource: &Resource) -> Result<RoaringTreemap, ExtractError> {
        let (run, resource) = (self.run.clone(), resource.clone());
        let read = tokio::task::spawn_blocking(move || ids::of_run(&run, &resource)).await;
        Ok(read.map_err(|error| ExtractError::Internal(error.to_string()))??)
    }
}
