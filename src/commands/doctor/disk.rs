//! Room on the disk: what is free where files are written, against what the last full reads received.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::{Check, CheckState};
use crate::database::Target;
use crate::error_chain::chain;
use crate::plan::EarlierReads;
use crate::project::STATE;
use crate::report::{counted, grouped};
use crate::settings::Settings;
use crate::staging::StagingError;

const NAME: &str = "disk";
/// Less than this is little, whatever was read.
const LITTLE: u64 = 1 << 30;
const FEW_FILES: u64 = 1_000;

/// Bytes and pages of the newest full read of each resource.
#[derive(Default)]
struct LastReads {
    bytes: u64,
    pages: u64,
}

struct Room {
    bytes: u64,
    /// `None` where the file system has no limit of its own.
    files: Option<u64>,
}

/// Checks the file systems of staging and of the private PostgreSQL; one that holds both is said once.
pub(super) fn check(settings: &Settings) -> Check {
    let mut places = vec![settings.staging.root().to_owned()];
    if matches!(settings.database, Target::Embedded { .. }) {
        places.push(settings.base.join(STATE));
    }
    let mut state = CheckState::Ok;
    let mut notes = Vec::new();
    let mut devices = Vec::new();
    // Runs that cannot be read are the business of another check.
    let last = last_reads(settings).unwrap_or_default();
    for place in places {
        let (found, note) = match existing(&place) {
            Ok((path, device)) if !devices.contains(&device) => {
                devices.push(device);
                judge(&place, room(&path), &last)
            }
            Ok(_) => continue,
            Err(error) => (
                CheckState::Warning,
                format!("{}: {}", place.display(), chain(&error)),
            ),
        };
        state = state.max(found);
        notes.push(note);
    }
    if last.pages > 0 {
        notes.push(format!(
            "the last full reads received {} in {}",
            size(last.bytes),
            counted(last.pages, "page")
        ));
    }
    Check::new(NAME, state, notes)
}

fn judge(place: &Path, room: nix::Result<Room>, last: &LastReads) -> (CheckState, String) {
    let place = place.display();
    let room = match room {
        Ok(room) => room,
        Err(error) => {
            let note = format!("{place}: what is free cannot be read ({error})");
            return (CheckState::Warning, note);
        }
    };
    let mut free = format!("{} free", size(room.bytes));
    if let Some(files) = room.files {
        free = format!("{} and {} files free", size(room.bytes), grouped(files));
    }
    let wanted = LITTLE.max(last.bytes.saturating_mul(2));
    let wanted_files = FEW_FILES.max(last.pages.saturating_mul(2));
    let lacking = if room.bytes < wanted {
        size(wanted)
    } else if room.files.is_some_and(|files| files < wanted_files) {
        format!("{} files", grouped(wanted_files))
    } else {
        return (CheckState::Ok, format!("{place}: {free}"));
    };
    (
        CheckState::Warning,
        format!(
            "{place}: {free}, which is little: a full read should find {lacking}; make room, or remove old runs with \
             `cursus stage gc`"
        ),
    )
}

fn last_reads(settings: &Settings) -> Result<LastReads, StagingError> {
    let runs = settings.staging.runs()?;
    let earlier_reads = EarlierReads::read(&settings.config, &runs)?;
    let mut last = LastReads::default();
    for resource in &settings.config.resources {
        if let Some(read) = earlier_reads.last_complete_full(resource) {
            last.bytes += read.manifest.bytes;
            last.pages += read.manifest.pages;
        }
    }
    Ok(last)
}

/// The path itself, or the nearest directory above it that exists, and its device.
fn existing(path: &Path) -> std::io::Result<(PathBuf, u64)> {
    let mut found = Err(std::io::ErrorKind::NotFound.into());
    for path in path.ancestors() {
        found = std::fs::metadata(path).map(|metadata| (path.to_owned(), metadata.dev()));
        if !matches!(&found, Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            break;
        }
    }
    found
}

fn room(path: &Path) -> nix::Result<Room> {
    let system = statvfs(path)?;
    // Their types differ between systems.
    #[allow(clippy::useless_conversion, reason = "32 bits wide on some systems")]
    let (blocks, block, files, all_files) = (
        u64::from(system.blocks_available()),
        u64::from(system.fragment_size()),
        u64::from(system.files_available()),
        u64::from(system.files()),
    );
    Ok(Room {
        bytes: blocks.saturating_mul(block),
        files: (all_files > 0).then_some(files),
    })
}

fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let bytes = bytes as f64;
    match bytes {
        1e9.. => format!("{:.1} GB", bytes / 1e9),
        _ => format!("{:.1} MB", bytes / 1e6),
    }
}
