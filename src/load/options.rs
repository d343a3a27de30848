//! What the caller of a load may choose.

use std::collections::BTreeSet;

use crate::load::check::rights::Look;
use crate::name::Name;

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) schema: Name,
    pub(crate) dry_run: bool,
    pub(crate) allow_prune: bool,
    /// A schema that is filled from another API or project is rebound.
    pub(crate) adopt: bool,
    pub(crate) look: Look,
    /// The resources of a group: runs without pages of them are not loaded. None: all are.
    pub(crate) group: Option<BTreeSet<Name>>,
}

impl Options {
    /// Into this schema, with every check on.
    pub(crate) fn new(schema: Name) -> Self {
        Self {
            schema,
            dry_run: false,
            allow_prune: false,
            adopt: false,
            look: Look::ToLoad,
            group: None,
        }
    }
}
