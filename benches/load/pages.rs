//! Stages synthetic records as an extraction would have.

use std::path::Path;

use cursus::name::Name;
use cursus::staging::{
    Evidence, FORMAT, Manifest, Mode, Outcome, PageEntry, PageRequest, Run, RunSpec, RunState,
    Staging, StagingLock, State, Window,
};
use jiff::{SignedDuration, Timestamp};

use super::Error;
use super::records;

/// What is measured: the records of one resource.
#[derive(Clone, Copy)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) rows: u64,
    /// Records a page.
    pub(crate) page: usize,
    /// Newest first, as the API sorts by `-id`.
    pub(crate) descending: bool,
    pub(crate) record: fn(u64, bool) -> String,
}

const fn set(
    name: &'static str,
    resource: &'static str,
    rows: u64,
    record: fn(u64, bool) -> String,
) -> Set {
    Set {
        name,
        resource,
        rows,
        page: 100,
        descending: true,
        record,
    }
}

/// Those that can be measured.
pub(crate) const SETS: [Set; 6] = [
    set("c100k", "coalitions_users", 100_000, records::membership),
    set("c1m", "coalitions_users", 1_000_000, records::membership),
    set("u100k", "users", 100_000, records::person),
    Set {
        descending: false,
        ..set("p300k", "projects_users", 300_000, records::registration)
    },
    set("c3m", "coalitions_users", 3_000_000, records::membership),
    // Pages of 8 MB.
    Set {
        page: 5000,
        ..set(
            "large-pages",
            "projects_users",
            100_000,
            records::registration,
        )
    },
];

impl Set {
    /// Ids of one day and whether the record changed: on the second day 1 % has, 0.5 % are new, 0.2 % are gone.
    fn ids(&self, day: u8) -> Vec<(u64, bool)> {
        let mut ids: Vec<(u64, bool)> = if day == 1 {
            (1..=self.rows).map(|id| (id, false)).collect()
        } else {
            let place = |id: u64| id.wrapping_mul(2_654_435_761) % 1000;
            (1..=self.rows + self.rows / 200)
                .filter(|id| place(*id) >= 2)
                .map(|id| (id, place(id) < 12 && id <= self.rows))
                .collect()
        };
        if self.descending {
            ids.reverse();
        }
        ids
    }

    /// Stages one day under `root`, as the run of that number.
    pub(crate) fn stage(&self, root: &Path, day: u8, mode: Mode) -> Result<(), Error> {
        let staging = Staging::new(root);
        let lock = staging.lock("bench")?;
        // To the schema all directories are one.
        let identity = format!(r#"{{"format": 1, "id": "{:032}"}}"#, 1);
        std::fs::write(root.join(".staging.json"), identity)?;
        let number = u64::from(day) - 1;
        let mut run = staging.create_run(&lock, Timestamp::now(), number, &RunSpec::default())?;
        if self.resource == "coalitions_users" {
            let ids: Vec<(u64, bool)> = (1..=records::COALITIONS).map(|id| (id, false)).collect();
            pages(
                &lock,
                &run,
                "coalitions",
                &ids,
                100,
                Mode::Full,
                records::coalition,
            )?;
        }
        pages(
            &lock,
            &run,
            self.resource,
            &self.ids(day),
            self.page,
            mode,
            self.record,
        )?;
        run.update(|record| {
            record.state = RunState::Closed;
            record.outcome = Some(Outcome::Complete);
        })?;
        Ok(())
    }
}

fn pages(
    lock: &StagingLock,
    run: &Run,
    resource: &str,
    ids: &[(u64, bool)],
    page: usize,
    mode: Mode,
    record: fn(u64, bool) -> String,
) -> Result<(), Error> {
    let name = Name::parse(resource)?;
    let (writer, _) = run.writer(lock.share(), &name)?;
    let now = Timestamp::now();
    let total = Some(ids.len() as u64);
    let id_of = |at: Option<&(u64, bool)>| at.and_then(|(id, _)| i64::try_from(*id).ok());
    let mut bytes = 0;
    for (index, ids) in ids.chunks(page).enumerate() {
        let records: Vec<String> = ids
            .iter()
            .map(|(id, changed)| record(*id, *changed))
            .collect();
        let number = u32::try_from(index + 1)?;
        let entry = PageEntry {
            page: number,
            slice: None,
            request: String::new(),
            page_request: PageRequest {
                list: format!("/v2/{resource}"),
                page_size: page as u64,
                page_number: number.into(),
                ..PageRequest::default()
            },
            status: 200,
            rows: ids.len() as u64,
            bytes: 0,
            sha256: String::new(),
            x_total: total,
            first_id: id_of(ids.first()),
            last_id: id_of(ids.last()),
            fetched_at: now,
            server_date: None,
            duration_ms: 1,
            per_page: None,
            attempts: 1,
            replaces: None,
        };
        bytes += writer
            .write(format!("[{}]", records.join(",")).as_bytes(), entry)?
            .bytes;
    }
    let count = ids.len().div_ceil(page) as u64;
    let window = (mode == Mode::Delta).then(|| Window {
        start: now - SignedDuration::from_hours(24),
        end: now,
    });
    run.seal(&Manifest {
        format: FORMAT,
        run_id: None,
        resource: name,
        mode,
        state: State::Complete,
        pages: count,
        rows: ids.len() as u64,
        bytes,
        hits: count,
        x_total: total,
        window,
        cursor: Some(now),
        request_hash: String::new(),
        journal_sha256: writer.journal_sha256()?,
        own_read: true,
        smaller_pages: None,
        reads: std::collections::BTreeMap::new(),
        evidence: Evidence::default(),
        started_at: now,
        finished_at: now,
    })?;
    Ok(())
}
