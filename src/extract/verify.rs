//! A staged run, proven once more from its files alone.

use jiff::Timestamp;

use crate::config::{Config, Resource};
use crate::name::Name;
use crate::proof::{self, Answers, Doubt, EARLIEST};
use crate::staging::{Manifest, Mode, Run, StagedResource, StagingError, State, Window};

use super::inspect::Inspector;

/// What the files of a resource say, against what its manifest claims.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verified {
    /// The resource.
    pub resource: Name,
    /// Full or delta.
    pub mode: Mode,
    /// What the manifest claims.
    pub claimed: State,
    /// Whether a file is not what was staged.
    pub damaged: bool,
    /// Whether there are pages that nobody staged. No load takes them, but whoever reads all files of the directory does.
    pub strangers: bool,
    /// What the files prove; none where they are damaged, and where the resource is not in `pipeline.toml` any more:
    /// nobody knows then where its records have their ids.
    pub proven: Option<State>,
    /// Pages whose bytes are those received.
    pub pages: u64,
    /// Their records.
    pub rows: u64,
    /// Why the claim does not hold, or the read is not complete, a sentence each.
    pub notes: Vec<String>,
}

impl Verified {
    /// Notes a damaged file; what the operating system refuses is an error.
    fn is_damaged(&mut self, error: StagingError) -> Result<(), StagingError> {
        let StagingError::Broken { .. } = error else {
            return Err(error);
        };
        self.damaged = true;
        self.notes.push(error.to_string());
        Ok(())
    }

    fn looks_for_strangers(&mut self, staged: &StagedResource) -> Result<(), StagingError> {
        for path in staged.strangers()? {
            self.strangers = true;
            self.notes.push(format!(
                "{}: no line of the journal names it, so it is no page of this run; remove it",
                path.display()
            ));
        }
        Ok(())
    }

    /// Whether the files are whole and, as far as that can be told, prove at least what the manifest claims.
    pub fn holds(&self) -> bool {
        !self.damaged && !self.strangers && self.proven.is_none_or(|proven| proven <= self.claimed)
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
            damaged: false,
            strangers: false,
            proven: None,
            pages: 0,
            rows: 0,
            notes: Vec::new(),
        };
        match (run.staged(&name), config.resource(name.as_str())) {
            (Err(error), _) => verified.is_damaged(error)?,
            (Ok(None), _) => continue,
            (Ok(Some(staged)), None) => {
                check_bytes(&staged, &mut verified)?;
                verified.looks_for_strangers(&staged)?;
            }
            (Ok(Some(staged)), Some(resource)) => {
                check(&staged, resource, &manifest, &mut verified)?;
                verified.looks_for_strangers(&staged)?;
            }
        }
        all.push(verified);
    }
    Ok(all)
}

/// Of a resource that `pipeline.toml` does not have any more: its bytes, and how many there are.
fn check_bytes(staged: &StagedResource, verified: &mut Verified) -> Result<(), StagingError> {
    let mut body = Vec::new();
    for page in staged.pages() {
        let read = page.and_then(|page| {
            staged.read(&page, &mut body)?;
            Ok(page.rows)
        });
        match read {
            Ok(rows) => {
                verified.pages += 1;
                verified.rows += rows;
            }
            Err(error) => verified.is_damaged(error)?,
        }
    }
    if !verified.damaged {
        verified.notes.push(
            "its bytes are those received; it is not in pipeline.toml any more, so what they prove was not checked"
                .to_owned(),
        );
    }
    Ok(())
}

fn check(
    staged: &StagedResource,
    resource: &Resource,
    manifest: &Manifest,
    verified: &mut Verified,
) -> Result<(), StagingError> {
    let cursor = resource.cursor.as_ref().map(|cursor| cursor.field.as_str());
    let mut answers = Answers::new(cursor);
    let mut body = Vec::new();
    let mut last = None;
    for page in staged.pages() {
        let read = page.and_then(|page| {
            last = last.max(page.server_date);
            let window = cursor.and_then(|cursor| proof::window_of(&page, cursor));
            let inspector = Inspector::new(resource, window.map(|window| window.start), None);
            staged.read(&page, &mut body)?;
            let facts =
                (inspector.inspect(&body)).map_err(|problem| staged.unreadable(&page, &problem))?;
            Ok((page, facts))
        });
        match read {
            Ok((page, facts)) => {
                verified.pages += 1;
                verified.rows += facts.rows;
                answers.add(&page, &facts);
            }
            Err(error) => verified.is_damaged(error)?,
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
            (
                "distinct records",
                manifest.evidence.distinct,
                manifest.evidence.distinct_of(&answers.ids()),
            ),
        ] {
            if claimed != found {
                verified.notes.push(format!(
                    "the manifest claims {claimed} {what}, there are {found}"
                ));
            }
        }
        let doubts = answers.doubts(needed(manifest, last));
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

/// The time that must be proven where a read was in windows: that of a delta; or all, until the last answer came.
fn needed(manifest: &Manifest, last: Option<Timestamp>) -> Window {
    // It tells the time to the second. A window that ended when the read began is not enough.
    let end = last.map(|last| {
        let second = jiff::SignedDuration::from_secs(1);
        last.saturating_add(second).unwrap_or(last)
    });
    manifest.window.unwrap_or(Window {
        start: EARLIEST,
        end: end.unwrap_or(manifest.finished_at),
    })
}

fn damaged(resource: Name, error: StagingError) -> Result<Verified, StagingError> {
    let mut verified = Verified {
        resource,
        mode: Mode::Full,
        claimed: State::Partial,
        damaged: false,
        strangers: false,
        proven: None,
        pages: 0,
        rows: 0,
        notes: Vec::new(),
    };
    verified.is_damaged(error)?;
    Ok(verified)
}
