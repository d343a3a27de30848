//! Stages synthetic records as an extraction would have.

use std::path::Path;

use cursus::staging::{Mode, Run, RunSpec, Staging, StagingLock, Window};
use jiff::{SignedDuration, Timestamp};

use super::Error;
use super::records;
use super::staged::{StagedPage, StagedRead, close, stage_read};

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
    /// Ids of one day and whether the record changed: on the second day 1 % has, 0.5 % are new, 0.2 % are deleted.
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
        close(&mut run)
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
    let read = StagedRead::complete(resource, mode, page);
    let at = read.received_at;
    let window = (mode == Mode::Delta).then(|| Window {
        start: at - SignedDuration::from_hours(24),
        end: at,
    });
    let read = StagedRead {
        total: Some(ids.len() as u64),
        window,
        cursor: Some(at),
        ..read
    };
    let id_of = |at: Option<&(u64, bool)>| at.and_then(|(id, _)| i64::try_from(*id).ok());
    let pages = ids.chunks(page).map(|ids| StagedPage {
        records: (ids.iter())
            .map(|(id, changed)| record(*id, *changed))
            .collect(),
        ids: (id_of(ids.first()), id_of(ids.last())),
    });
    stage_read(lock, run, &read, pages)
}
