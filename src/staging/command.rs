//! The command log: what became of each command that worked, a line each, oldest first. A command that was killed leaves no line.
//! It does not interpret the records.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::Staging;
use super::error::StagingError;
use super::manifest::FORMAT;
use super::private_files;
use crate::failpoint;

const LOG: &str = ".commands.jsonl";
/// What earlier versions kept instead: the last outcome of each kind.
const EARLIER: [&str; 2] = [".last-run.json", ".last-load.json"];
const REMOVE: &str = "remove it; the next command makes a new one";

/// Lines that are kept when the log has become too long.
const KEPT: usize = 5_000;
/// Characters of an error that are kept: a list of faults can be long.
const LONGEST_ERROR: usize = 4_000;
/// How often, and after what time, a lock is tried that another process holds for the time of a write.
const ATTEMPTS: u32 = 2_000;
const RETRY_DELAY: Duration = Duration::from_millis(5);

/// What a command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// `extract`, `run`, or a round of `watch`: it reads the API into a run.
    Run,
    /// `load`: it only loads.
    Load,
    /// Something else that changes the mirror, or makes requests.
    Other,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    pub(crate) format: u32,
    pub(crate) command: String,
    /// The run that it wrote, or the last that it loaded; `None` if it came to none.
    pub(crate) run_id: Option<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
    pub(crate) outcome: String,
    pub(crate) exit_code: u8,
    /// What went wrong, the sentences that it printed; they hold no secret and no personal value.
    pub(crate) error: Option<String>,
    /// Requests by the HTTP status of their answer; `none`: not answered.
    #[serde(default)]
    pub(crate) requests: BTreeMap<String, u64>,
    /// The same of all commands up to this one, also of those that are no longer in the log.
    #[serde(default)]
    pub(crate) requests_total: BTreeMap<String, u64>,
    /// Records that it staged.
    #[serde(default)]
    pub(crate) rows_staged: u64,
    /// Rows of the mirror that it inserted, updated or deleted.
    #[serde(default)]
    pub(crate) rows_changed: u64,
}

impl CommandRecord {
    pub(crate) fn ending_now(command: &str, started_at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            command: command.to_owned(),
            started_at,
            finished_at: crate::clock::now(),
            ..Self::default()
        }
    }

    pub(crate) fn work(&self) -> Work {
        match self.command.as_str() {
            "extract" | "run" | "watch" | "demo" => Work::Run,
            "load" => Work::Load,
            _ => Work::Other,
        }
    }

    /// A line of the log; `None` if it is torn, damaged, or of another version.
    fn of_line(line: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(line).ok()?;
        (record.format == FORMAT).then_some(record)
    }
}

impl Staging {
    pub(crate) fn record_command(&self, mut record: CommandRecord) -> Result<(), StagingError> {
        if record.work() == Work::Run {
            private_files::create_dirs(self.root())?;
        } else if !self.root().is_dir() {
            return Ok(());
        }
        if let Some(error) = &mut record.error
            && let Some((at, _)) = error.char_indices().nth(LONGEST_ERROR)
        {
            error.truncate(at);
            error.push('…');
        }
        let path = self.log_path();
        let io = |doing| {
            let path = path.clone();
            move |source| private_files::io_error(doing, &path, source)
        };
        let mut file = self.locked_log()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        let earlier = self.earlier_commands();
        let last = lines(&bytes).rev().find_map(CommandRecord::of_line);
        record.requests_total = last.map(|last| last.requests_total).unwrap_or_default();
        for (status, count) in &record.requests {
            let total = record.requests_total.entry(status.clone()).or_default();
            *total = total.saturating_add(*count);
        }
        // A line that was cut by a kill or a full disk must not swallow the next one.
        let mut added = Vec::new();
        if bytes.last().is_some_and(|byte| *byte != b'\n') {
            added.push(b'\n');
        }
        for record in earlier.iter().chain([&record]) {
            let line = serde_json::to_vec(record).map_err(|error| io("write")(error.into()))?;
            added.extend(line);
            added.push(b'\n');
        }
        file.seek(SeekFrom::End(0))
            .and_then(|_| file.write_all(&added))
            .and_then(|()| file.sync_data())
            .map_err(io("write"))?;
        for name in EARLIER {
            let _ = std::fs::remove_file(self.root().join(name));
        }
        bytes.extend(added);
        let count = lines(&bytes).count();
        if count <= 2 * KEPT {
            return Ok(());
        }
        // Who waits for the lock finds that the file has no name any more, and opens the new one.
        private_files::write_atomic(&path, &failpoint::RUN, |file| {
            for line in lines(&bytes).skip(count - KEPT) {
                file.write_all(line)?;
                file.write_all(b"\n")?;
            }
            Ok(())
        })
    }

    /// The log, oldest first, without lines that are damaged.
    pub(crate) fn commands(&self) -> Result<Vec<CommandRecord>, StagingError> {
        let bytes = private_files::read(&self.log_path())?.unwrap_or_default();
        let mut records = self.earlier_commands();
        records.extend(lines(&bytes).filter_map(CommandRecord::of_line));
        Ok(records)
    }

    fn log_path(&self) -> PathBuf {
        self.root().join(LOG)
    }

    /// Opens the log and locks it until the file is dropped.
    fn locked_log(&self) -> Result<File, StagingError> {
        let path = self.log_path();
        let error = |source| private_files::io_error("lock", &path, source);
        for _ in 0..ATTEMPTS {
            let file = private_files::open_private(&path)?;
            match file.try_lock() {
                Ok(()) if file.metadata().map_err(error)?.nlink() > 0 => return Ok(file),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(RETRY_DELAY),
                Err(TryLockError::Error(source)) => return Err(error(source)),
            }
        }
        Err(error(std::io::ErrorKind::WouldBlock.into()))
    }

    /// What earlier versions recorded, oldest first; what cannot be read of it is of no use.
    fn earlier_commands(&self) -> Vec<CommandRecord> {
        let read = |name| private_files::read_json(&self.root().join(name), REMOVE);
        let mut records: Vec<CommandRecord> = EARLIER
            .into_iter()
            .filter_map(|name| read(name).ok()?)
            .collect();
        records.sort_by_key(|record| record.finished_at);
        records
    }
}

fn lines(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.trim_ascii().is_empty())
}
