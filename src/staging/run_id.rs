//! How a run is named: by its start.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

const NAMED: &str = "%Y%m%dT%H%M%SZ";

/// A run's name: its start in UTC, such as `20261123T020000Z`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(String);

impl RunId {
    pub(super) fn at(time: Timestamp) -> Self {
        Self(time.strftime(NAMED).to_string())
    }

    pub(super) fn of_directory(path: &Path) -> Option<Self> {
        let time = path.file_name()?.to_str()?;
        let day = path.parent()?.file_name()?.to_str()?;
        let shape = |text: &str, wanted: &str| {
            text.len() == wanted.len()
                && text.bytes().zip(wanted.bytes()).all(|(byte, wanted)| {
                    byte == wanted || (wanted == b'0' && byte.is_ascii_digit())
                })
        };
        (shape(day, "0000-00-00") && shape(time, "T000000Z"))
            .then(|| Self(format!("{}{time}", day.replace('-', ""))))
    }

    /// The first second whose name comes after this one.
    pub(super) fn next_second(&self) -> Option<Timestamp> {
        let time = DateTime::strptime(NAMED, &self.0).ok()?;
        let time = TimeZone::UTC.to_timestamp(time).ok()?;
        time.checked_add(SignedDuration::from_secs(1)).ok()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn day(&self) -> String {
        let text = &self.0;
        format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..8])
    }

    pub(super) fn directory(&self) -> PathBuf {
        Path::new(&self.day()).join(&self.0[8..])
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
