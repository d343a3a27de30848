//! Where the log of a key lives: in memory, or in a small locked file that all processes of a user share.
//! It knows files, locks and clocks; which request may go is the limiter's business.
//!
//! The file is read, changed and written under an operating-system lock that dies with its holder, in one short
//! critical section. It carries a checksum: what a kill or a full disk has cut is not trusted, and the key then
//! holds still for one window instead of guessing. Times are those of the system clock, which all processes share;
//! when it is seen to jump, the key holds still for one window too, and what seems to lie in the future counts as
//! sent now.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cursus_base::failpoint::Point;
use cursus_base::trusted::{Folder, Owner, Untrusted};
use cursus_base::{clock, hash};
use jiff::{SignedDuration, Timestamp};
use nix::fcntl::OFlag;
use tokio::time::Instant;

use super::limits::Limits;
use super::log::{HOUR, LATEST, Log, Millis, Rule};
use super::rate_windows::DEFAULT_PER_HOUR;

/// A ledger holds a few hundred entries; a file beyond this is none of ours.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Wall and monotonic time that drift further apart than this between two looks mean that the clock was set.
const JUMP: Duration = Duration::from_millis(100);

/// After a jump of the clock or a damaged file nobody sends for this long: the per-second window is surely empty then.
const HOLD: Millis = 1_500;

/// The shared file could not be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LedgerError {
    #[error(
        "the ledger of API requests {path} could not be {doing}; check that the directory exists and is yours",
        path = path.display()
    )]
    Io {
        path: PathBuf,
        doing: &'static str,
        source: io::Error,
    },
    #[error("the ledger of API requests is not used")]
    Untrusted(#[from] Untrusted),
}

#[derive(Debug)]
pub(crate) struct Ledger {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory { log: Log, start: Instant },
    File(Shared),
}

#[derive(Debug)]
struct Shared {
    folder: Folder,
    name: String,
    file: File,
    last_look: Option<(Timestamp, std::time::Instant)>,
}

/// What a transaction sees: the settled log, and now.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) log: &'a mut Log,
    /// Rounded down.
    pub(crate) now: Millis,
    /// Rounded up: the latest that a request sent in this transaction can be noted for.
    pub(crate) now_up: Millis,
}

impl Ledger {
    /// A log that only this process knows.
    pub(crate) fn in_memory() -> Self {
        Self {
            place: Place::Memory {
                log: Log::default(),
                start: Instant::now(),
            },
        }
    }

    /// The log shared by all processes that use `client_id` at the API of this origin, and this directory (created with mode
    /// 0700). The file of an earlier version has another name and is not read: the first answer shows what is left of the hour.
    pub(crate) fn shared(
        directory: &Path,
        origin: &str,
        client_id: &str,
    ) -> Result<Self, LedgerError> {
        let name = file_name(origin, client_id);
        let folder = Folder::make_private(directory)?;
        let file = open(&folder, &name)?;
        Ok(Self {
            place: Place::File(Shared {
                folder,
                name,
                file,
                last_look: None,
            }),
        })
    }

    /// Runs `change` on the log, alone among all processes; its second result says whether the log changed.
    /// None: another process holds the lock at this instant.
    pub(crate) fn transact<T>(
        &mut self,
        change: impl FnOnce(View<'_>) -> (T, bool),
    ) -> Result<Option<T>, LedgerError> {
        match &mut self.place {
            Place::Memory { log, start } => {
                let (now, now_up) = millis(start.elapsed());
                log.settle(now);
                Ok(Some(change(View { log, now, now_up }).0))
            }
            Place::File(shared) => shared.transact(change),
        }
    }
}

impl Shared {
    fn transact<T>(
        &mut self,
        change: impl FnOnce(View<'_>) -> (T, bool),
    ) -> Result<Option<T>, LedgerError> {
        if !self.lock()? {
            return Ok(None);
        }
        let result = self.locked(change);
        let unlocked = self
            .file
            .unlock()
            .map_err(|source| self.error("unlocked", source));
        result.and_then(|value| unlocked.map(|()| Some(value)))
    }

    fn lock(&mut self) -> Result<bool, LedgerError> {
        loop {
            match self.file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(source)) => return Err(self.error("locked", source)),
            }
            let metadata = self
                .file
                .metadata()
                .map_err(|source| self.error("read", source))?;
            if metadata.nlink() > 0 {
                return Ok(true);
            }
            // Somebody removed the file: others will make and lock a new one, so must we.
            self.file = open(&self.folder, &self.name)?;
        }
    }

    fn locked<T>(&mut self, change: impl FnOnce(View<'_>) -> (T, bool)) -> Result<T, LedgerError> {
        let (wall, instant) = (clock::now(), std::time::Instant::now());
        let since_1970 = wall.duration_since(Timestamp::UNIX_EPOCH);
        let (now, now_up) = millis(Duration::try_from(since_1970).unwrap_or_default());
        let (mut log, hold) = match self.read().map_err(|source| self.error("read", source))? {
            Some(log) => (log, self.jumped(wall, instant)),
            None => (Log::default(), true),
        };
        self.last_look = Some((wall, instant));
        if hold {
            log.pause(now + HOLD);
        }
        log.settle(now);
        let (value, changed) = change(View {
            log: &mut log,
            now,
            now_up,
        });
        if changed || hold {
            self.write(&log)
                .map_err(|source| self.error("written", source))?;
        }
        Ok(value)
    }

    fn jumped(&self, wall: Timestamp, instant: std::time::Instant) -> bool {
        self.last_look.is_some_and(|(last_wall, last_instant)| {
            let expected = SignedDuration::try_from(instant - last_instant);
            let off = expected.map(|expected| wall.duration_since(last_wall) - expected);
            off.map_or(true, |off| off.unsigned_abs() > JUMP)
        })
    }

    /// None: the content is damaged.
    fn read(&self) -> io::Result<Option<Log>> {
        let length = self.file.metadata()?.len();
        if length == 0 {
            return Ok(Some(Log::default()));
        }
        if length > MAX_BYTES {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(decode(&bytes))
    }

    fn write(&self, log: &Log) -> io::Result<()> {
        let bytes = encode(log)?;
        Point::LedgerWrite.io()?;
        if Point::LedgerTorn.is_armed() {
            self.file.write_all_at(&bytes[..bytes.len() / 2], 0)?;
        }
        Point::LedgerTorn.io()?;
        self.file.write_all_at(&bytes, 0)?;
        self.file.set_len(bytes.len() as u64)?;
        Point::LedgerDone.reach();
        Ok(())
    }

    fn error(&self, doing: &'static str, source: io::Error) -> LedgerError {
        LedgerError::Io {
            path: self.folder.path().join(&self.name),
            doing,
            source,
        }
    }
}

/// What is left of an hour's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourLeft {
    /// Requests in an hour, without those kept free for others.
    pub limit: u64,
    /// Requests that are left of them.
    pub left: u64,
    /// Requests in an hour by the API's limit.
    pub advertised: u64,
}

/// What the shared ledger of a key knows to be left of this hour's requests. Reads only: it makes no file, takes no lock and
/// sends nothing. None: there is no ledger, or it cannot be read.
pub fn hour_left(
    directory: &Path,
    origin: &str,
    client_id: &str,
    limits: &Limits,
) -> Option<HourLeft> {
    let folder = Folder::open(directory, Owner::caller()).ok()?;
    let mut log = match folder.read(file_name(origin, client_id)).ok()?? {
        bytes if bytes.is_empty() => Log::default(),
        bytes => decode(&bytes)?,
    };
    let since_1970 = clock::now().duration_since(Timestamp::UNIX_EPOCH);
    let (now, _) = millis(Duration::try_from(since_1970).ok()?);
    log.settle(now);
    let advertised = log.advertised().hour.unwrap_or(DEFAULT_PER_HOUR);
    let limit = advertised
        .saturating_sub(u64::from(limits.reserve_per_hour))
        .min(limits.requests_per_hour.map_or(u64::MAX, u64::from));
    let hour = Rule {
        count: limit,
        window: HOUR,
    };
    Some(HourLeft {
        limit,
        left: log.room(hour, now),
        advertised,
    })
}

/// Says nothing of the id.
fn file_name(origin: &str, client_id: &str) -> String {
    format!("hits-{}.json", hash::short_of(&[origin, client_id]))
}

/// A line of JSON, and a line with its hash: what a kill or a full disk cuts is found.
pub(crate) fn encode(log: &Log) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(log)?;
    let sum = hash::short(&bytes);
    bytes.extend_from_slice(format!("\n{sum}\n").as_bytes());
    Ok(bytes)
}

/// Bytes after the hash are the rest of a longer, older state.
pub(crate) fn decode(bytes: &[u8]) -> Option<Log> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let (json, sum) = (lines.next()?, lines.next()?);
    let log: Log = serde_json::from_slice(json).ok()?;
    (hash::short(json).as_bytes() == sum && log.is_sane()).then_some(log)
}

/// A file of the caller's alone in a directory of the caller's alone. A link leads elsewhere, and a pipe would make us wait.
fn open(folder: &Folder, name: &str) -> Result<File, LedgerError> {
    let file = folder.open_file(name.as_ref(), OFlag::O_RDWR | OFlag::O_CREAT)?;
    file.ok_or_else(|| LedgerError::Io {
        path: folder.path().join(name),
        doing: "opened",
        source: io::ErrorKind::NotFound.into(),
    })
}

fn millis(since: Duration) -> (Millis, Millis) {
    let down = Millis::try_from(since.as_millis()).unwrap_or(LATEST);
    let up = down + Millis::from(!since.subsec_nanos().is_multiple_of(1_000_000));
    (down, up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{AdvertisedLimits, Rule};
    use std::os::unix::fs::PermissionsExt as _;

    const API: &str = "https://api.example.org";

    const SECOND: Rule = Rule {
        count: 2,
        window: 1_020,
    };

    fn take(ledger: &mut Ledger) -> bool {
        ledger
            .transact(|view| {
                let free =
                    view.log.room(SECOND, view.now) > 0 && view.log.paused_until() <= view.now;
                if free {
                    view.log.push(view.now_up, 1);
                }
                (free, free)
            })
            .unwrap()
            .unwrap()
    }

    proptest::proptest! {
        #[test]
        fn a_log_is_read_back_and_a_cut_one_refused(
            bytes: Vec<u8>,
            cut in 1_usize..200,
            second in proptest::option::of(1_u64..),
            hour in proptest::option::of(1_u64..),
        ) {
            let _ = decode(&bytes);
            let mut log = Log::default();
            for (at, byte) in (0..).step_by(7).zip(&bytes) {
                log.push(at, u32::from(*byte) + 1);
            }
            log.pause(77);
            log.advertise(AdvertisedLimits { second, hour });
            let encoded = encode(&log).unwrap();
            proptest::prop_assert_eq!(decode(&[&encoded[..], &bytes].concat()), Some(log));
            let cut = encoded.len().saturating_sub(1 + cut);
            proptest::prop_assert_eq!(decode(&encoded[..cut]), None);
            let mut mixed = encoded.clone();
            mixed[cut] ^= 1;
            proptest::prop_assert_eq!(decode(&mixed), None);
        }
    }

    fn wait_until_free(ledger: &mut Ledger) {
        while !take(ledger) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn processes_of_a_key_count_together_and_keys_apart() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("state");
        let mut one = Ledger::shared(&home, API, "key").unwrap();
        let mut two = Ledger::shared(&home, API, "key").unwrap();
        let mut other = Ledger::shared(&home, API, "other").unwrap();
        assert!(take(&mut one));
        assert!(take(&mut two));
        assert!(!take(&mut one));
        assert!(!take(&mut two));
        assert!(take(&mut other));
        let mut elsewhere = Ledger::shared(&home, "http://127.0.0.1:80", "key").unwrap();
        assert!(take(&mut elsewhere), "the same id at another API");
        drop((one, two));
        let mut next = Ledger::shared(&home, API, "key").unwrap();
        assert!(!take(&mut next), "a new process remembers");

        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&home), 0o700);
        let file = home.join(file_name(API, "key"));
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn a_damaged_ledger_makes_the_key_hold_still_once() {
        let directory = cursus_base::trusted::test_directory();
        let mut ledger = Ledger::shared(directory.path(), API, "key").unwrap();
        assert!(take(&mut ledger));
        let file = directory.path().join(file_name(API, "key"));
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert!(!take(&mut ledger));
        wait_until_free(&mut ledger);
    }

    #[test]
    fn a_removed_file_is_made_again() {
        let directory = cursus_base::trusted::test_directory();
        let mut one = Ledger::shared(directory.path(), API, "key").unwrap();
        let file = directory.path().join(file_name(API, "key"));
        std::fs::remove_file(&file).unwrap();
        let mut two = Ledger::shared(directory.path(), API, "key").unwrap();
        assert!(take(&mut one));
        assert!(take(&mut two));
        assert!(!take(&mut one));
    }

    #[test]
    fn a_locked_ledger_is_busy_until_its_holder_ends() {
        let directory = cursus_base::trusted::test_directory();
        let mut ledger = Ledger::shared(directory.path(), API, "key").unwrap();
        let holder = File::open(directory.path().join(file_name(API, "key"))).unwrap();
        holder.lock().unwrap();
        assert!(ledger.transact(|_| ((), false)).unwrap().is_none());
        drop(holder);
        assert!(ledger.transact(|_| ((), false)).unwrap().is_some());
    }
}
