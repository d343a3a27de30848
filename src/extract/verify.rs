//! A staged run, proven again from its files.

use jiff::Timestamp;

use crate::config::{Config, Resource};
use crate::convert::counted;
use crate::name::Name;
use crate::proof::{Answers, Doubt, EARLIEST};
use crate::staging::{
    Manifest, Mode, PageEntry, ReadManifest, Run, StagedResource, StagingError, State, Window,
};

use super::inspect::Inspector;
use super::{read_plan, slices};

/// What the files of a resource prove, against what its manifest claims.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verification {
    pub(crate) resource: Name,
    pub(crate) mode: Mode,
    pub(crate) claimed: State,
    pub(crate) damaged: bool,
    /// Whether there are page files without a journal line. No load reads them, but other programs may.
    #[serde(rename = "strangers")]
    pub(crate) stray_files: bool,
    /// Whether values of people are there whom the erasure ledger names.
    pub(crate) holds_erased: bool,
    /// What the files prove; `None` where they are damaged, and where the resource is not in `pipeline.toml` any more:
    /// then it is unknown where its records have their ids.
    pub(crate) proven: Option<State>,
    /// Pages whose bytes are those received.
    pub(crate) pages: u64,
    pub(crate) rows: u64,
    /// Why the claim does not hold, or the read is not complete, a sentence each.
    pub(crate) notes: Vec<String>,
}

impl Verification {
    fn new(resource: Name, mode: Mode, claimed: State) -> Self {
        Self {
            resource,
            mode,
            claimed,
            damaged: false,
            stray_files: false,
            holds_erased: false,
            proven: None,
            pages: 0,
            rows: 0,
            notes: Vec::new(),
        }
    }

    /// Records a damaged file; a refusal by the operating system is an error.
    fn record_damage(&mut self, error: StagingError) -> Result<(), StagingError> {
        let StagingError::Broken { .. } = error else {
            return Err(error);
        };
        self.damaged = true;
        self.notes.push(error.to_string());
        Ok(())
    }

    /// Notes pages with values of people who were erased: of an erasure that is not finished, or from an old backup.
    fn find_erased(&mut self, staged: &StagedResource) -> Result<(), StagingError> {
        let mut pages = 0;
        for page in staged.pages() {
            match page.and_then(|page| staged.holds_erased(&page)) {
                Ok(holds) => pages += u64::from(holds),
                // It is noted where the page is checked.
                Err(StagingError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if pages > 0 {
            self.holds_erased = true;
            self.notes.push(format!(
                "{} with people who were erased; `cursus forget --finish` erases them again",
                counted(pages, "page")
            ));
        }
        Ok(())
    }

    fn find_stray_files(&mut self, staged: &StagedResource) -> Result<(), StagingError> {
        for path in staged.stray_files()? {
            self.stray_files = true;
            self.notes.push(format!(
                "{}: no line of the journal names it, so it is no page of this run; remove it",
                path.display()
            ));
        }
        Ok(())
    }

    /// Whether the files are undamaged and, as far as is known, prove at least what the manifest claims.
    pub fn holds(&self) -> bool {
        !self.damaged
            && !self.stray_files
            && !self.holds_erased
            && self.proven.is_none_or(|proven| proven <= self.claimed)
    }
}

/// Reads every page of every final resource of `run`. All damaged files are reported; only an error of the operating system
/// ends it. Blocks.
pub fn verify(run: &Run, config: &Config) -> Result<Vec<Verification>, StagingError> {
    let mut all = Vec::new();
    for name in run.resources()? {
        let manifest = match run.manifest(&name) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => continue,
            Err(error) => {
                let mut unread = Verification::new(name, Mode::Full, State::Partial);
                unread.record_damage(error)?;
                all.push(unread);
                continue;
            }
        };
        let mut verified = Verification::new(name.clone(), manifest.mode, manifest.worst_state());
        match (run.staged(&name), config.resource(name.as_str())) {
            (Err(error), _) => verified.record_damage(error)?,
            (Ok(None), _) => continue,
            (Ok(Some(staged)), resource) => {
                match resource {
                    Some(resource) => check(&staged, resource, &manifest, &mut verified)?,
                    None => check_bytes(&staged, &mut verified)?,
                }
                verified.find_stray_files(&staged)?;
                if run.has_blanks() {
                    verified.find_erased(&staged)?;
                }
            }
        }
        all.push(verified);
    }
    Ok(all)
}

/// Checks and counts the bytes of a resource that `pipeline.toml` does not have any more.
fn check_bytes(staged: &StagedResource, verified: &mut Verification) -> Result<(), StagingError> {
    for page in staged.pages() {
        let read = page.and_then(|page| {
            staged.check_request(&page)?;
            staged.read_in_pieces(&page, |_| ())?;
            Ok(page.rows)
        });
        match read {
            Ok(rows) => {
                verified.pages += 1;
                verified.rows += rows;
            }
            Err(error) => verified.record_damage(error)?,
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

struct ReadCheck<'c> {
    resource: &'c Resource,
    answers: Answers,
    pages: u64,
    rows: u64,
    last: Option<Timestamp>,
}

impl<'c> ReadCheck<'c> {
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
        let window = read_plan::window_of(self.resource, &page.page_request);
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
    verified: &mut Verification,
) -> Result<(), StagingError> {
    let mut reads: Vec<ReadCheck<'_>> = resource.all_reads().map(ReadCheck::new).collect();
    for page in staged.pages() {
        let read = page.and_then(|page| {
            staged.check_request(&page)?;
            let read = slices::read_of(page.slice.as_deref());
            let mut reads = reads.iter_mut();
            let checked =
                reads.find(|checked| checked.resource.read_name().map(Name::as_str) == read);
            match checked {
                Some(checked) => checked.add(staged, &page)?,
                // The read is not in pipeline.toml any more: what its pages prove is unknown.
                None => staged.read_in_pieces(&page, |_| ())?,
            }
            verified.pages += 1;
            verified.rows += page.rows;
            Ok(())
        });
        if let Err(error) = read {
            verified.record_damage(error)?;
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
    // The server's time is in seconds. A window that ended when the read began is not enough.
    let end = last.map(|last| {
        let second = jiff::SignedDuration::from_secs(1);
        last.saturating_add(second).unwrap_or(last)
    });
    manifest.window.unwrap_or(Window {
        start: EARLIEST,
        end: end.unwrap_or(manifest.finished_at),
    })
}
