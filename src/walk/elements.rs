//! The elements of a list in a record, or of the lists in the elements of a list.

use super::walker::{Slots, Walker};
use crate::pointer::Pointer;

/// Walks the elements of a list. Pointers with a `*` lead to a list in each element of another one.
#[derive(Debug, Default)]
pub(crate) struct Elements {
    /// What is wanted of an element.
    pub(crate) walker: Walker,
    /// What is wanted of those that hold the lists, and the slot of the list there; none: the record holds it.
    holders: Option<(Walker, usize)>,
}

/// What comes of a list.
pub(crate) enum Element<'s, 'j> {
    /// An element, counted through all lists of the record, and the object that holds its list.
    One(u64, &'s Slots<'j>, &'s Slots<'j>),
    /// An object whose list is no list; whether it is missing or null.
    NoList(&'s Slots<'j>, bool),
}

impl Elements {
    /// For the list at a pointer; gives the slot of it, or of the outer one, in the record.
    pub(crate) fn of(list: &Pointer, record: &mut Walker) -> (Self, usize) {
        let Some((outer, inner)) = list.split_at_each() else {
            return (Self::default(), record.add(list));
        };
        let mut holders = Walker::default();
        let slot = holders.add(&inner);
        let elements = Self {
            walker: Walker::default(),
            holders: Some((holders, slot)),
        };
        (elements, record.add(&outer))
    }

    /// Wants a value of the object that holds the list, which is the record if no other does.
    pub(crate) fn add_to_holder(&mut self, pointer: &Pointer, record: &mut Walker) -> usize {
        match &mut self.holders {
            Some((holders, _)) => holders.add(pointer),
            None => record.add(pointer),
        }
    }

    /// A holder of which nothing is known.
    pub(crate) fn unknown_holder<'j>(&self, record: &Slots<'j>) -> Slots<'j> {
        match &self.holders {
            Some((holders, _)) => holders.no_slots(),
            None => record.clone(),
        }
    }

    /// Walks a list of a record. With `or_object` an object counts as a list of one. The error: it is no list.
    pub(crate) fn each<'j>(
        &self,
        list: &'j str,
        record: &Slots<'j>,
        or_object: bool,
        mut each: impl FnMut(Element<'_, 'j>),
    ) -> Result<(), serde_json::Error> {
        let Some((holders, slot)) = &self.holders else {
            let each = |index, element: &Slots<'j>| each(Element::One(index, element, record));
            return if or_object {
                self.walker.nested(list, each)
            } else {
                self.walker.page(list, each)
            };
        };
        let mut count = 0;
        holders.page(list, |_, holder| {
            let Some(list) = holder[*slot].filter(|list| *list != "null") else {
                each(Element::NoList(holder, true));
                return;
            };
            let walked = self.walker.page(list, |_, element| {
                each(Element::One(count, element, holder));
                count += 1;
            });
            if walked.is_err() {
                each(Element::NoList(holder, false));
            }
        })
    }
}
