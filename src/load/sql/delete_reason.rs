//! Why rows are delete candidates.

use std::collections::BTreeSet;

use crate::name::Name;

/// Which rows a delete is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteReason {
    /// Records that fail `where`, or whose reference left (`within`).
    OutOfScope,
    /// Rows whose reference left (`within`).
    Outside,
    /// Rows that a complete full read did not show.
    Absent,
    /// Rows that pass the filters of a complete named read that did not show them.
    AbsentFromRead,
    /// Rows that their parent no longer has.
    Orphaned,
}

impl DeleteReason {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::OutOfScope => "out of scope",
            Self::Outside => "its reference left",
            Self::Absent => "absent from a complete full read",
            Self::AbsentFromRead => "absent from a complete read of its part",
            Self::Orphaned => "absent from its parent",
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct DeleteScope<'g> {
    /// The run, if rows of it have no readable key: the quarantine names their owners.
    pub(crate) keyless_in: Option<&'g str>,
    /// Which rows `t` complete named reads cover; an expression.
    pub(crate) covered: Option<&'g str>,
    /// Tables of which rows may be missing: nothing is outside of them.
    pub(crate) incomplete_tables: &'g BTreeSet<Name>,
}
