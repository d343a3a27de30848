//! Whether the key may read what packs add: one request a pack.

use super::{Check, CheckState};
use crate::api::Client;
use crate::config::{Config, Pack, Resource};
use crate::error_chain::chain;
use crate::extract::probe;
use crate::plan::Step;

/// The check; none where no pack that is on has resources of its own.
pub(super) async fn check(config: &Config, client: Option<&Client>) -> Option<Check> {
    let mut notes: Vec<(CheckState, String)> = Vec::new();
    for pack in config.packs.iter().filter(|pack| pack.is_on()) {
        let of_pack = |resource: &&Resource| resource.pack.as_deref() == Some(pack.name.as_str());
        let mut resources = config.resources.iter().filter(of_pack).peekable();
        if resources.peek().is_some() {
            let reads = resources.flat_map(Resource::all_reads);
            let read = reads.into_iter().find(|read| read.for_each.is_none());
            notes.push(look(config, pack, read, client).await);
        }
    }
    let state = notes.iter().map(|(state, _)| *state).max()?;
    notes.sort_by_key(|(state, _)| std::cmp::Reverse(*state));
    let notes = notes.into_iter().map(|(_, note)| note).collect();
    Some(Check::new("packs", state, notes))
}

async fn look(
    config: &Config,
    pack: &Pack,
    read: Option<&Resource>,
    client: Option<&Client>,
) -> (CheckState, String) {
    let name = &pack.name;
    let right = pack
        .right
        .as_ref()
        .map_or_else(String::new, |right| format!(" (needs {right})"));
    let (Some(client), Some(read)) = (client, read) else {
        let why = if client.is_none() {
            "first correct what the check of the API says"
        } else {
            "it asks for the ids of other resources"
        };
        let state = if client.is_none() {
            CheckState::Warning
        } else {
            CheckState::Ok
        };
        return (state, format!("{name}{right} was not tried: {why}"));
    };
    match probe(client, config, read, &Step::Full).await {
        Ok(_) => (
            CheckState::Ok,
            format!("{name}{right}: the key may read {}", read.name),
        ),
        Err(error) if error.is_forbidden() => (
            CheckState::Failed,
            format!(
                "{name}{right}: the key may not read {} (403); ask for the right, or take \"{name}\" out of `packs` in pipeline.toml",
                read.name
            ),
        ),
        Err(error) => (
            CheckState::Warning,
            format!("{name}{right} was not tried: {}", chain(&error)),
        ),
    }
}
