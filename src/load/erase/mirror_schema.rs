//! A schema of the database that loads have filled, and where people are in it.

use crate::load::ledger::exports::Export;
use crate::load::mapping::Mapping;
use crate::load::personal::PersonalColumns;
use crate::load::sql::statements::Statements;

pub(super) struct MirrorSchema {
    pub(super) name: String,
    pub(super) mappings: Vec<Mapping>,
    pub(super) columns: Vec<PersonalColumns>,
}

impl MirrorSchema {
    /// How a table is filled.
    pub(super) fn mapping(&self, table: &PersonalColumns) -> Option<&Mapping> {
        self.mappings
            .iter()
            .find(|mapping| mapping.table.name == table.table && !mapping.table.is_update_only())
    }

    /// A table as it is followed; none: it is not.
    pub(super) fn followed(&self, table: &PersonalColumns) -> Option<&Mapping> {
        self.mapping(table)
            .filter(|mapping| mapping.followed.is_some())
    }

    /// Statements that drop what was noted of tables that are followed.
    pub(super) fn drop_noted(&self) -> impl Iterator<Item = String> {
        let followed = (self.mappings.iter()).filter(|mapping| mapping.followed.is_some());
        followed.map(|mapping| Statements::new(mapping, &self.name).drop_noted())
    }

    /// Whether an export has a personal column, ids of people, be it as hashes, or a column that is not known any more.
    pub(super) fn may_be_in(&self, export: &Export) -> bool {
        export.columns.iter().any(|named| {
            let Some((table, column)) = named.split_once('.') else {
                return true;
            };
            let mut mappings = self.mappings.iter();
            let mapping = mappings.find(|mapping| mapping.table.name.as_str() == table);
            let mut columns = mapping.iter().flat_map(|mapping| &mapping.shape.columns);
            let mut personal = self.columns.iter();
            columns.all(|known| known.name != column)
                || personal.any(|one| {
                    let mut theirs = one.personal.iter().chain([&one.id]);
                    one.table.as_str() == table && theirs.any(|it| it == column)
                })
        })
    }
}
