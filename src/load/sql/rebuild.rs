//! The statements of a rebuild: the same table in a scratch schema → the target.

use crate::database::Quoted;
use crate::load::sql::statements::{Statements, list, same};

impl Statements<'_> {
    pub(super) fn of(&self, scratch: &str) -> String {
        let table = Quoted(self.mapping.table.name.as_str());
        format!("{}.{table}", Quoted(scratch))
    }

    pub(crate) fn not_in(&self, scratch: &str) -> String {
        format!(
            "NOT EXISTS (SELECT FROM {} AS s WHERE {})",
            self.of(scratch),
            same("t", "s", &self.key)
        )
    }

    /// How many rows the scratch has, and how many the target. The scratch was filled a moment ago and needs fresh
    /// statistics first.
    pub(crate) fn count_both(&self, scratch: &str) -> (String, String) {
        let scratch = self.of(scratch);
        (
            format!("ANALYZE {scratch}"),
            format!(
                "SELECT (SELECT count(*) FROM {scratch}), (SELECT count(*) FROM {})",
                self.target
            ),
        )
    }

    /// Changes what differs; none if there is nothing but the key.
    pub(crate) fn update_from(&self, scratch: &str) -> Option<String> {
        self.update_where(&self.of(scratch), &self.differs())
    }

    /// Adds what is new.
    pub(crate) fn insert_from(&self, scratch: &str) -> String {
        self.insert_where(&self.of(scratch), &self.is_new())
    }

    /// Counts the rows of the scratch that the target has as they are there.
    pub(crate) fn count_arrived(&self, scratch: &str) -> String {
        self.count_same(&self.of(scratch), "true", &self.differs())
    }

    /// What the scratch does not have: how many rows, and the keys of some.
    pub(crate) fn count_kept(&self, scratch: &str) -> String {
        format!(
            "SELECT count(*), coalesce((array_agg({}::text ORDER BY {}))[1:5], '{{}}') FROM {} AS t WHERE {}",
            self.mapping.key_object("t"),
            list(&self.key),
            self.target,
            self.not_in(scratch),
        )
    }
}
