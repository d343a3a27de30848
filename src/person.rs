//! Where people are in records, and which values of a record are theirs.
//!
//! What `[person]` of the configuration says, and how it is applied to JSON text. Knows nothing of files or of the database.

mod erased;
mod json;

use std::ops::Range;

use crate::name::Name;
pub(crate) use crate::pointer::EACH;
use crate::pointer::Pointer;

pub(crate) use erased::{Erased, PersonHash};
use json::{Elements, find, leaves, leaves_but};

/// `[person]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct People {
    pub(crate) places: Vec<PersonPlace>,
    /// Resources whose records hold nobody.
    pub(crate) nobody_in: Vec<Name>,
    pub(crate) anonymised: Option<Anonymised>,
    /// Columns that SQL fills.
    pub(crate) tables: Vec<PersonTable>,
}

/// Personal columns of a table that no place in a record tells of, because SQL fills them.
#[derive(Clone, Debug)]
pub(crate) struct PersonTable {
    pub(crate) table: Name,
    /// The column with the person's id.
    pub(crate) id: String,
    pub(crate) personal: Vec<String>,
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

    /// Hands over every person of a page who `is_meant`. The error is where the text stops being an array of records.
    pub(crate) fn look<'t>(
        &'t self,
        resource: &'t Name,
        page: &'t str,
        is_meant: &mut dyn FnMut(&str) -> bool,
        each: &mut dyn FnMut(Appearance<'t>),
    ) -> serde_json::Result<()> {
        let records: Elements<'t> = serde_json::from_str(page)?;
        for (record, text) in (0..).zip(records.0) {
            let text = text.get();
            for place in self.places_in(resource) {
                find(text, place.at.tokens(), &mut |held| {
                    let mut is_any = false;
                    find(held, place.id.tokens(), &mut |raw| {
                        is_any |= id_of(raw).is_some_and(|id| is_meant(&id));
                    });
                    if !is_any {
                        return;
                    }
                    let mut values = Vec::new();
                    place.values_in(held, page, &mut values);
                    each(Appearance {
                        record,
                        held,
                        at: &place.at,
                        values,
                    });
                });
            }
        }
        Ok(())
    }

    /// The page with a null in the place of each value that is personal to people who `are_meant`; none if nothing changes.
    /// Every other byte stays.
    pub(crate) fn blank(
        &self,
        resource: &Name,
        page: &str,
        are_meant: &mut dyn FnMut(&str) -> bool,
    ) -> serde_json::Result<Option<Vec<u8>>> {
        let mut values = Vec::new();
        self.look(resource, page, are_meant, &mut |seen| {
            values.extend(seen.values);
        })?;
        Ok(blanked(page, values))
    }
}

/// The text with a null in the place of each of these values; none if there are none.
pub(crate) fn blanked(text: &str, mut values: Vec<Range<usize>>) -> Option<Vec<u8>> {
    values.sort_unstable_by_key(|range| (range.start, range.end));
    values.dedup();
    if values.is_empty() {
        return None;
    }
    let (mut blank, mut at) = (Vec::with_capacity(text.len()), 0);
    for range in values {
        blank.extend_from_slice(&text.as_bytes()[at..range.start]);
        blank.extend_from_slice(b"null");
        at = range.end;
    }
    blank.extend_from_slice(&text.as_bytes()[at..]);
    Some(blank)
}

impl PersonPlace {
    fn values_in(&self, held: &str, page: &str, ranges: &mut Vec<Range<usize>>) {
        let mut add = |leaf: &str| {
            // Each is a part of the page.
            let start = leaf.as_ptr().addr() - page.as_ptr().addr();
            ranges.push(start..start + leaf.len());
        };
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
