//! A staged run, proven once more from its files alone.

use crate::config::{Config, Resource};
use crate::name::Name;
use crate::proof::{Answers, Doubt};
use crate::staging::{Manifest, Mode, Run, StagedResource, StagingError, State, Window};

use super::inspect::Inspector;
use super::question::far;

/// What the files of a resource say, against what its manifest claims.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verified {
    /// The resource.
    pub resource: Name,
    /// Full or delta.
    pub mode: Mode,
    /// What the manifest claims.
    pub claimed: State,
    /// What the files prove; none where they are damaged.
    pub proven: Option<State>,
    /// Pages whose bytes are those received.
    pub pages: u64,
    /// Their records.
    pub rows: u64,
    /// Why the claim does not hold, or the read is not complete, a sentence each.
    pub notes: Vec<String>,
}

impl Verified {
    /// Whether the files are whole and prove at least what the manifest claims.
    pub fn holds(&self) -> bool {
        self.proven.is_some_and(|proven| proven <= self.claimed)
    }
}

/// Reads every page of every final resource of `run`. Damaged files are told, all of them; only the disk itself is an
/// error. Blocks.
pub fn verify(run: &Run, config: &Config) -> Result<Vec<Verified>, StagingError> {
    let mut all = Vec::new();
    for name in run.resources()? {
        let manifest = match run.manifest(&name) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => continue,
            Err(error) => {
                all.push(damaged(name, error)?);
                continue;
            }
        };
        let mut verified = Verified {
            resource: name.clone(),
            mode: manifest.mode,
            claimed: manifest.state,
            proven: None,
            pages: 0,
            rows: 0,
            notes: Vec::new(),
        };
        match (run.staged(&name), config.resource(name.as_str())) {
            (Err(error), _) => verified.notes.push(told(error)?),
            (Ok(None), _) => continue,
            (Ok(Some(_)), None) => verified.notes.push(
                "it is not in pipeline.toml any more, so nobody knows where its records have their ids"
                    .to_owned(),
            ),
            (Ok(Some(staged)), Some(resource)) => check(&staged, resource, &manifest, &mut verified)?,
        }
        all.push(verified);
    }
    Ok(all)
}

fn check(
    staged: &StagedResource,
    resource: &Resource,
    manifest: &Manifest,
    verified: &mut Verified,
) -> Result<(), StagingError> {
    let cursor = resource.cursor.as_ref().map(|cursor| cursor.field.as_str());
    let inspector = Inspector::new(resource, None, None);
    let mut answers = Answers::new(cursor);
    let mut body = Vec::new();
    for page in staged.pages() {
        let read = staged.read(page, &mut body).and_then(|()| {
            inspector
                .inspect(&body)
                .map_err(|problem| staged.unreadable(page, &problem))
        });
        match read {
            Ok(facts) => {
                verified.pages += 1;
                verified.rows += facts.rows;
                answers.add(page, &facts.ids);
            }
            Err(error) => verified.notes.push(told(error)?),
        }
    }
    if verified.notes.is_empty() {
        for (what, claimed, found) in [
            ("pages", manifest.pages, verified.pages),
            ("rows", manifest.rows, verified.rows),
            (
                "slices",
                manifest.evidence.slices.unwrap_or(answers.slices()),
                answers.slices(),
            ),
        ] {
            if claimed != found {
                verified.notes.push(format!(
                    "the manifest claims {claimed} {what}, there are {found}"
                ));
            }
        }
        let doubts = answers.doubts(needed(manifest));
        let is_hole = |doubt: &Doubt| matches!(doubt, Doubt::Hole(_));
        verified.proven = Some(
            if doubts.iter().any(is_hole) || !verified.notes.is_empty() {
                State::Partial
            } else if doubts.is_empty() {
                State::Complete
            } else {
                State::Drifted
            },
        );
        verified
            .notes
            .extend(doubts.iter().map(ToString::to_string));
    }
    Ok(())
}

/// The time that must be proven where a read was in windows.
fn needed(manifest: &Manifest) -> Window {
    let all = Window {
        start: jiff::Timestamp::UNIX_EPOCH,
        end: far(manifest.cursor.unwrap_or(manifest.started_at)),
    };
    match manifest.mode {
        Mode::Full => all,
        Mode::Delta => manifest.window.unwrap_or(all),
    }
}

/// A damaged file in words; what the operating system refuses is an error.
fn told(error: StagingError) -> Result<String, StagingError> {
    match error {
        StagingError::Broken { .. } => Ok(error.to_string()),
        error => Err(error),
    }
}

fn damaged(resource: Name, error: StagingError) -> Result<Verified, StagingError> {
    Ok(Verified {
        resource,
        mode: Mode::Full,
        claimed: State::Partial,
        proven: None,
        pages: 0,
        rows: 0,
        notes: vec![told(error)?],
    })
}
