//! A staged run, proven once more from its files alone.

use jiff::Timestamp;

use crate::config::{Config, Resource};
use crate::name::Name;
use crate::proof::{self, Answers, Doubt, EARLIEST};
use crate::staging::{
    Manifest, Mode, PageEntry, ReadManifest, Run, StagedResource, StagingError, State, Window,
};

use super::inspect::Inspector;
use super::slices;

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
            claimed: manifest.worst_state(),
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
    for page in staged.pages() {
        let read = page.and_then(|page| {
            staged.read_in_pieces(&page, |_| ())?;
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

/// What the pages of one read say.
struct Checked<'c> {
    resource: &'c Resource,
    answers: Answers,
    pages: u64,
    rows: u64,
    last: Option<Timestamp>,
}

impl<'c> Checked<'c> {
    fn new(resource: &'c Resource) -> Self {
        let cursor = resource.cursor.as_ref().map(|cursor| cursor.field.as_str());
        Self {
            resource,
            answers: Answers::new(cursor),
            pages: 0,
            rows: 0,
            last: None,
        }
    }

    fn add(&mut self, staged: &StagedResource, page: &PageEntry) -> Result<(), StagingError> {
        let cursor = self.resource.cursor.as_ref();
        let window = cursor.and_then(|cursor| proof::window_of(page, &cursor.field));
        let inspector = Inspector::new(self.resource, window.map(|window| window.start), None);
        let facts = inspector.inspect_staged(staged, page)?;
        self.last = self.last.max(page.server_date);
        self.pages += 1;
        self.rows += facts.rows;
        self.answers.add(page, &facts);
        Ok(())
    }

    /// What the pages prove, against what the manifest claims.
    fn proven(&self, claimed: &ReadManifest, notes: &mut Vec<String>) -> State {
        let evidence = &claimed.evidence;
        let before = notes.len();
        let of = (self.resource.read_name()).map_or_else(String::new, |read| format!("{read}: "));
        for (what, claimed, found) in [
            ("pages", claimed.pages, self.pages),
            ("rows", claimed.rows, self.rows),
            (
                "slices",
                evidence.slices.unwrap_or(self.answers.slices()),
                self.answers.slices(),
            ),
            (
                "distinct records",
                evidence.distinct,
                evidence.distinct_of(&self.answers.ids()),
            ),
        ] {
            if claimed != found {
                notes.push(format!(
                    "{of}the manifest claims {claimed} {what}, there are {found}"
                ));
            }
        }
        let is_less = notes.len() > before;
        let doubts = self.answers.doubts(needed(claimed, self.last));
        notes.extend(doubts.iter().map(|doubt| format!("{of}{doubt}")));
        if is_less || doubts.iter().any(|doubt| matches!(doubt, Doubt::Hole(_))) {
            State::Partial
        } else if !doubts.is_empty() {
            State::Drifted
        } else {
            State::Complete
        }
    }
}

fn check(
    staged: &StagedResource,
    resource: &Resource,
    manifest: &Manifest,
    verified: &mut Verified,
) -> Result<(), StagingError> {
    let mut reads: Vec<Checked<'_>> = resource.all_reads().map(Checked::new).collect();
    for page in staged.pages() {
        let read = page.and_then(|page| {
            let read = slices::read_of(page.slice.as_deref());
            let mut reads = reads.iter_mut();
            let checked =
                reads.find(|checked| checked.resource.read_name().map(Name::as_str) == read);
            match checked {
                Some(checked) => checked.add(staged, &page)?,
                // A read that is not in pipeline.toml any more: nobody knows what it was asked for.
                None => staged.read_in_pieces(&page, |_| ())?,
            }
            verified.pages += 1;
            verified.rows += page.rows;
            Ok(())
        });
        if let Err(error) = read {
            verified.is_damaged(error)?;
        }
    }
    if verified.damaged {
        return Ok(());
    }
    let claims = reads.iter().filter_map(|checked| {
        let claimed = manifest.read(checked.resource.read_name())?;
        Some((checked, claimed))
    });
    let notes = &mut verified.notes;
    // Each read must prove what is claimed of it, and the resource is as sure as the least sure of them.
    let mut worst = State::Complete;
    for (checked, claimed) in claims {
        let proven = checked.proven(&claimed, notes);
        worst = worst.max(if proven <= claimed.state {
            proven
        } else {
            State::Partial
        });
    }
    verified.proven = Some(worst);
    Ok(())
}

/// The time that must be proven where a read was in windows: that of a delta; or all, until the last answer came.
fn needed(manifest: &ReadManifest, last: Option<Timestamp>) -> Window {
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
