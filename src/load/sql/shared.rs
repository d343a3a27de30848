//! The statements about tables that several resources feed: what comes later is not always newer there.

use crate::load::decode::types::ELEMENT_BITS;
use crate::load::mapping::Mapping;
use crate::load::sql::statements::{Statements, same};

/// Whether the row `a` is a version before that of the row `b`, by this column; never null. A version without a value is
/// older than any with one.
fn is_before(a: &str, b: &str, column: &str) -> String {
    format!(
        "(({a}.{column} < {b}.{column}) IS TRUE OR ({a}.{column} IS NULL AND {b}.{column} IS NOT NULL))"
    )
}

impl Statements<'_> {
    /// Whether the staged row `s` differs from the row `t` and is not an older version of it; an expression.
    pub(crate) fn replaces(&self) -> String {
        let differs = self.differs();
        match self.is_older(self.mapping.yields) {
            Some(older) => format!("{differs} AND NOT {older}"),
            None => differs,
        }
    }

    /// Whether the staged row `s` is an older version of the row `t`, or one of two of the same moment if that `yields`; an
    /// expression. None: it is newer.
    pub(crate) fn is_older(&self, yields: bool) -> Option<String> {
        let cursor = self.mapping.cursor.map(|at| &self.columns[at]);
        match (self.mapping.is_shared(), cursor) {
            (false, _) => None,
            (true, Some(cursor)) if yields => Some(format!("NOT {}", is_before("t", "s", cursor))),
            (true, Some(cursor)) => Some(is_before("s", "t", cursor)),
            (true, None) => yields.then(|| "true".to_owned()),
        }
    }

    /// Takes out staged rows whose key the table does not have.
    pub(crate) fn drop_unknown(&self) -> String {
        format!("DELETE FROM {} AS s WHERE {}", self.staged(), self.is_new())
    }

    /// Takes out staged rows of which the table has a newer version.
    pub(crate) fn drop_older(&self) -> Option<String> {
        let older = self.is_older(self.mapping.yields)?;
        Some(format!(
            "DELETE FROM {} AS s USING {} AS t WHERE {} AND {older}",
            self.staged(),
            self.target,
            same("t", "s", &self.key),
        ))
    }

    /// Takes out staged rows of which the same run has a newer version by that other resource: by cursor, then by when it was
    /// received. Parameters, by page: the number of the first record, and that of the first of the other's records that were
    /// received later.
    pub(crate) fn drop_superseded(&self, by: &Mapping) -> String {
        let of_other = format!(
            "(o.staged_position >> {ELEMENT_BITS}) >= \
             ($2::bigint[])[width_bucket(s.staged_position >> {ELEMENT_BITS}, $1::bigint[])]"
        );
        let is_newer = match self.mapping.cursor.map(|at| &self.columns[at]) {
            Some(cursor) => format!(
                "({} OR (o.{cursor} IS NOT DISTINCT FROM s.{cursor} AND {of_other}))",
                is_before("s", "o", cursor)
            ),
            None => of_other,
        };
        format!(
            "DELETE FROM {} AS s USING {} AS o WHERE {} AND {is_newer}",
            self.staged(),
            Statements::new(by, self.schema).staged(),
            same("o", "s", &self.key),
        )
    }

    /// Takes out staged rows that say the same as those of this other resource.
    pub(crate) fn drop_same(&self, as_of: &Mapping) -> String {
        format!(
            "DELETE FROM {} AS s USING {} AS t WHERE {} AND s.staged_state = t.staged_state AND NOT ({})",
            self.staged(),
            Statements::new(as_of, self.schema).staged(),
            same("t", "s", &self.key),
            self.differs(),
        )
    }
}
