//! How many rows of a table a load may quarantine.

use super::reader::{ANY, Section};

/// `[quarantine]`: a load that would quarantine more rows of a table fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct QuarantineLimit {
    pub(crate) max_rows: u64,
    /// Part of the rows that were read, 0 to 1.
    pub(crate) max_fraction: f64,
}

impl QuarantineLimit {
    /// A number too small to mean that something is wrong, whatever part of the rows it is.
    const ALWAYS: u64 = 20;

    /// How many of `rows` may be quarantined.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a row count; a row more or less does not matter"
    )]
    pub(crate) fn of(&self, rows: u64) -> u64 {
        let part = (rows as f64 * self.max_fraction) as u64;
        self.max_rows.min(part.max(Self::ALWAYS))
    }
}

pub(super) fn read_limit(section: Section<'_>, standard: QuarantineLimit) -> QuarantineLimit {
    let limit = QuarantineLimit {
        max_rows: (section.integer("max_rows", 0..=ANY)).unwrap_or(standard.max_rows),
        max_fraction: (section.number("max_fraction", 0.0..=1.0)).unwrap_or(standard.max_fraction),
    };
    section.finish();
    limit
}
