//! Stages records as an extract would have: one builder for tests and benches. Knows no promise.

use std::collections::BTreeMap;
use std::error::Error;

use cursus::name::Name;
use cursus::staging::{
    Evidence, Manifest, Mode, Outcome, PageEntry, PageRequest, ReadManifest, Run, RunState,
    StagingLock, State, Window,
};
use jiff::Timestamp;

/// The read of a resource.
pub(crate) struct StagedRead<'r> {
    pub(crate) resource: &'r str,
    /// The named read that it is, if it is one.
    pub(crate) name: Option<&'r str>,
    pub(crate) mode: Mode,
    pub(crate) state: State,
    /// Records a page.
    pub(crate) page_size: usize,
    pub(crate) total: Option<u64>,
    pub(crate) window: Option<Window>,
    pub(crate) cursor: Option<Timestamp>,
    pub(crate) received_at: Timestamp,
}

impl<'r> StagedRead<'r> {
    /// A complete read of now.
    pub(crate) fn complete(resource: &'r str, mode: Mode, page_size: usize) -> Self {
        Self {
            resource,
            name: None,
            mode,
            state: State::Complete,
            page_size,
            total: None,
            window: None,
            cursor: None,
            received_at: Timestamp::now(),
        }
    }
}

/// The records of a page, with the ids of the first and the last of them.
pub(crate) struct StagedPage {
    pub(crate) records: Vec<String>,
    pub(crate) ids: (Option<i64>, Option<i64>),
}

/// Writes the pages of a read, its journal and its manifest.
pub(crate) fn stage_read(
    lock: &StagingLock,
    run: &Run,
    read: &StagedRead<'_>,
    pages: impl IntoIterator<Item = StagedPage>,
) -> Result<(), Box<dyn Error>> {
    let resource = Name::parse(read.resource)?;
    let (writer, _) = run.writer(lock.share(), &resource)?;
    let at = read.received_at;
    let (mut count, mut rows, mut bytes) = (0_u32, 0, 0);
    for page in pages {
        count += 1;
        rows += page.records.len() as u64;
        let entry = PageEntry {
            page: count,
            slice: None,
            request: String::new(),
            page_request: PageRequest {
                list: format!("/v2/{resource}"),
                page_size: read.page_size as u64,
                page_number: count.into(),
                ..PageRequest::default()
            },
            status: 200,
            rows: page.records.len() as u64,
            bytes: 0,
            sha256: String::new(),
            x_total: read.total,
            first_id: page.ids.0,
            last_id: page.ids.1,
            fetched_at: at,
            server_date: None,
            duration_ms: 1,
            per_page: None,
            attempts: 1,
            replaces: None,
            rewritten: None,
        };
        let body = format!("[{}]", page.records.join(","));
        bytes += writer.write(body.as_bytes(), entry)?.bytes;
    }
    let manifest = ReadManifest {
        mode: read.mode,
        state: read.state,
        pages: count.into(),
        rows,
        bytes,
        hits: count.into(),
        x_total: read.total,
        window: read.window,
        cursor: read.cursor,
        request_hash: String::new(),
        evidence: Evidence::default(),
        smaller_pages: None,
        started_at: at,
        finished_at: at,
    };
    let (own, named) = match read.name {
        Some(name) => (None, BTreeMap::from([(Name::parse(name)?, manifest)])),
        None => (Some(manifest), BTreeMap::new()),
    };
    let manifest = Manifest::of(resource, own, named, writer.journal_sha256()?);
    run.seal(&manifest.ok_or("a manifest without a read")?)?;
    Ok(())
}

/// Closes a run of which every read is complete.
pub(crate) fn close(run: &mut Run) -> Result<(), Box<dyn Error>> {
    run.update(|record| {
        record.state = RunState::Closed;
        record.outcome = Some(Outcome::Complete);
    })?;
    Ok(())
}
