//! Where people are in records, and which values of a record are theirs.
//!
//! What `[person]` of the configuration says, and how it is applied to JSON text. Knows nothing of files or of the database.

mod edit;
mod erased;
mod json;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::name::Name;
pub(crate) use crate::pointer::EACH;
use crate::pointer::Pointer;

use edit::Replacement;
pub(crate) use edit::{Edit, apply};
pub(crate) use erased::{Erased, PersonHash};
use json::{Elements, find, leaves, leaves_but, reduced};

/// The key of what is left of a record that was removed. Nobody else writes it: a page in which the API sends it is refused.
pub(crate) const DROPPED: &str = "cursus:dropped";

/// `[person]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct People {
    pub(crate) places: Vec<PersonPlace>,
    /// Resources whose records hold nobody.
    pub(crate) nobody_in: Vec<Name>,
    pub(crate) anonymised: Option<Anonymised>,
    /// Columns that SQL fills.
    pub(crate) tables: Vec<PersonTable>,
    /// Tables that derived statements fill, and that are no tables of the configuration.
    pub(crate) derived: Vec<DerivedTable>,
    /// What is left of a record that is removed, by resource: its id, and the times that the reads of the resource range over. The proof
    /// that a read is complete rests on them.
    pub(crate) proofs: BTreeMap<Name, Vec<Pointer>>,
}

/// How far a person is erased; the later one is the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// Personal values become null, ids stay.
    Values,
    /// What is the person's own is removed, and elsewhere the id becomes null as well.
    Records,
}

/// What around a place is the person's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// The record.
    Record,
    /// The place, an element of an array.
    Entry,
}

/// Personal columns of a table that no place in a record tells of, because SQL fills them.
#[derive(Clone, Debug)]
pub(crate) struct PersonTable {
    pub(crate) table: Name,
    /// The column with the person's id.
    pub(crate) id: String,
    pub(crate) personal: Vec<String>,
}

/// A table whose rows are a person's own, and that no load fills.
#[derive(Clone, Debug)]
pub(crate) struct DerivedTable {
    pub(crate) table: Name,
    /// The column with the person's id.
    pub(crate) id: String,
}

/// How the mirror finds people whom the API has anonymised.
#[derive(Clone, Debug)]
pub(crate) struct Anonymised {
    pub(crate) table: Name,
    pub(crate) column: String,
    pub(crate) prefix: String,
}

/// A place in the records of a resource where a person, or something of a person, is.
#[derive(Clone, Debug)]
pub(crate) struct PersonPlace {
    pub(crate) resource: Name,
    /// The value that holds the person; empty: the record itself. `*` is each element of an array, here and in `id`.
    pub(crate) at: Pointer,
    /// The id, from there; of several ids each one counts.
    pub(crate) id: Pointer,
    pub(crate) values: PersonalValues,
    pub(crate) own: Option<Own>,
}

/// Which values are personal, by pointers from the place.
#[derive(Clone, Debug)]
pub(crate) enum PersonalValues {
    Only(Vec<Pointer>),
    AllBut(Vec<Pointer>),
}

/// What a column holds of people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnRole {
    /// The person's id.
    Id,
    /// Personal values only.
    Personal,
    /// Personal values, and others.
    Mixed,
    /// Nothing.
    Other,
}

/// A person in a record.
#[derive(Clone, Debug)]
pub(crate) struct Appearance<'t> {
    /// Place of the record in its page, from 0.
    pub(crate) record: u64,
    /// The text of the value that holds the person.
    pub(crate) held: &'t str,
    /// The place's pointer.
    pub(crate) at: &'t Pointer,
    /// Where the personal values are in the page's text. A null is none.
    pub(crate) values: Vec<Range<usize>>,
    /// The whole record is theirs, and is removed.
    pub(crate) is_own: bool,
    /// What erases the person there.
    pub(crate) edits: Vec<Edit>,
}

impl People {
    /// Whether anything is declared of a resource.
    pub(crate) fn declares(&self, resource: &Name) -> bool {
        self.nobody_in.contains(resource) || self.places_in(resource).next().is_some()
    }

    pub(crate) fn places_in<'a>(
        &'a self,
        resource: &'a Name,
    ) -> impl Iterator<Item = &'a PersonPlace> {
        self.places
            .iter()
            .filter(move |place| place.resource == *resource)
    }

    /// Whether any record is a person's own.
    pub(crate) fn has_own_records(&self) -> bool {
        let mut places = self.places.iter();
        places.any(|place| place.own == Some(Own::Record))
    }

    /// Whether records of a resource are a person's own.
    pub(crate) fn owns_records_of(&self, resource: &Name) -> bool {
        let mut places = self.places_in(resource);
        places.any(|place| place.own == Some(Own::Record))
    }

    /// Hands over every person of a page who is meant, as far as `extent` says. What is left of a record that was removed holds nobody.
    /// The error is where the text stops being an array of records.
    pub(crate) fn look<'t>(
        &'t self,
        resource: &'t Name,
        page: &'t str,
        extent: &mut dyn FnMut(&str) -> Option<Extent>,
        each: &mut dyn FnMut(Appearance<'t>),
    ) -> serde_json::Result<()> {
        let records: Elements<'t> = serde_json::from_str(page)?;
        for (record, text) in (0..).zip(records.0) {
            let text = text.get();
            if is_dropped(text) {
                continue;
            }
            for place in self.places_in(resource) {
                find(text, place.at.tokens(), &mut |held| {
                    let (mut farthest, mut ids) = (None, Vec::new());
                    find(held, place.id.tokens(), &mut |raw| {
                        let extent = id_of(raw).and_then(|id| extent(&id));
                        farthest = farthest.max(extent);
                        ids.extend((extent == Some(Extent::Records)).then_some(raw));
                    });
                    let Some(farthest) = farthest else {
                        return;
                    };
                    let mut values = Vec::new();
                    place.values_in(held, page, &mut values);
                    let edits = match place.own.filter(|_| farthest == Extent::Records) {
                        Some(Own::Record) => vec![Edit {
                            range: range_in(text, page),
                            by: Replacement::Text(self.rest_of(resource, text)),
                        }],
                        Some(Own::Entry) => vec![Edit {
                            range: range_in(held, page),
                            by: Replacement::Removed,
                        }],
                        None => {
                            let ids = ids.into_iter().map(|id| range_in(id, page));
                            values.iter().cloned().chain(ids).map(Edit::null).collect()
                        }
                    };
                    each(Appearance {
                        record,
                        held,
                        at: &place.at,
                        values,
                        is_own: place.own == Some(Own::Record) && farthest == Extent::Records,
                        edits,
                    });
                });
            }
        }
        Ok(())
    }

    /// What is left of a record that is removed.
    fn rest_of(&self, resource: &Name, record: &str) -> String {
        let kept = self.proofs.get(resource).into_iter().flatten();
        let kept: Vec<&[String]> = kept.map(Pointer::tokens).collect();
        let mut rest = format!("{{\"{DROPPED}\":true");
        reduced(record, &kept, &mut rest);
        rest.push('}');
        rest
    }

    /// The page without what is to be erased of people, as far as `extent` says; none if nothing changes. Every other byte stays.
    pub(crate) fn erase(
        &self,
        resource: &Name,
        page: &str,
        extent: &mut dyn FnMut(&str) -> Option<Extent>,
    ) -> serde_json::Result<Option<Vec<u8>>> {
        let mut edits = Vec::new();
        self.look(resource, page, extent, &mut |seen| edits.extend(seen.edits))?;
        Ok(apply(page, edits))
    }
}

/// Whether a record is what is left of one that was removed.
pub(crate) fn is_dropped(record: &str) -> bool {
    let key = record.strip_prefix("{\"").unwrap_or_default();
    key.strip_prefix(DROPPED)
        .is_some_and(|rest| rest.starts_with('"'))
}

/// Where a part of the page is in it.
fn range_in(part: &str, page: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - page.as_ptr().addr();
    start..start + part.len()
}

impl PersonPlace {
    fn values_in(&self, held: &str, page: &str, ranges: &mut Vec<Range<usize>>) {
        let mut add = |leaf: &str| ranges.push(range_in(leaf, page));
        match &self.values {
            PersonalValues::Only(pointers) => {
                for pointer in pointers {
                    find(held, pointer.tokens(), &mut |value| leaves(value, &mut add));
                }
            }
            PersonalValues::AllBut(kept) => {
                let kept = kept.iter().chain([&self.id]);
                let kept: Vec<&[String]> = kept.map(Pointer::tokens).collect();
                leaves_but(held, &kept, &mut add);
            }
        }
    }

    /// What a column holds whose value is at these tokens of the record.
    pub(crate) fn role(&self, tokens: &[String]) -> ColumnRole {
        let Some(rest) = tokens.strip_prefix(self.at.tokens()) else {
            let holds = self.at.tokens().starts_with(tokens) && !self.values.is_empty();
            return if holds {
                ColumnRole::Mixed
            } else {
                ColumnRole::Other
            };
        };
        if rest == self.id.tokens() {
            return ColumnRole::Id;
        }
        let is_within = |pointer: &Pointer| rest.starts_with(pointer.tokens());
        let holds = |pointer: &Pointer| pointer.tokens().starts_with(rest);
        match &self.values {
            PersonalValues::Only(pointers) if pointers.iter().any(is_within) => {
                ColumnRole::Personal
            }
            PersonalValues::Only(pointers) if pointers.iter().any(holds) => ColumnRole::Mixed,
            PersonalValues::Only(_) => ColumnRole::Other,
            PersonalValues::AllBut(kept) if kept.iter().any(is_within) => ColumnRole::Other,
            PersonalValues::AllBut(kept) if rest.is_empty() || kept.iter().any(holds) => {
                ColumnRole::Mixed
            }
            PersonalValues::AllBut(_) => ColumnRole::Personal,
        }
    }
}

impl PersonalValues {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Only(pointers) if pointers.is_empty())
    }
}

/// The id that a JSON value is, the same whether it is written as a number or as a text; none of null, objects and arrays.
pub(crate) fn id_of(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok(),
        b'-' | b'0'..=b'9' => Some(raw.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
