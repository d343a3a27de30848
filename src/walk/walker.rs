//! Pointers compiled into a tree, and the walk over a page's text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::pointer::{self, Pointer};

/// A compiled set of pointers. Each has a slot, numbered in the order of [`Walker::add`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Walker {
    root: Node,
    slots: usize,
}

/// The values of one record: JSON text by slot, `None` where the record has no such value.
pub(crate) type Slots<'j> = Vec<Option<&'j str>>;

#[derive(Clone, Debug, Default)]
struct Node {
    wanted_by: Vec<usize>,
    below: Vec<usize>,
    children: Vec<(String, Node)>,
    /// Slot of its presence and kind, for values that pointers pass through.
    marker: Option<usize>,
}

/// Markers: of a scalar, of an object, of an array.
const THERE: &str = "";
const OBJECT: &str = "{";
const ARRAY: &str = "[";

/// The target of a pointer and the values on its way: distinguishes an absent key from null.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    passed: Vec<usize>,
    slot: usize,
}

impl Place {
    /// Whether the record has such a value, if only a null.
    pub(crate) fn is_there(&self, slots: &Slots<'_>) -> bool {
        slots[self.slot].is_some()
    }

    /// Whether the record is an object, in which such a value could be.
    pub(crate) fn is_in_record(&self, slots: &Slots<'_>) -> bool {
        match self.passed.first() {
            Some(record) => slots[*record] == Some(OBJECT),
            None => slots[self.slot].is_some_and(|raw| raw.starts_with(OBJECT)),
        }
    }

    /// Whether an object on the way lacks the key; a null on the way, or anything else, lacks nothing.
    pub(crate) fn is_absent(&self, slots: &Slots<'_>) -> bool {
        let mut is_in_object = false;
        for passed in &self.passed {
            match slots[*passed] {
                None => return is_in_object,
                Some(OBJECT) => is_in_object = true,
                Some(ARRAY) => is_in_object = false,
                Some(_) => return false,
            }
        }
        is_in_object && slots[self.slot].is_none()
    }
}

impl Node {
    fn slot_of(&self, tokens: &[String]) -> Option<usize> {
        let Some((first, rest)) = tokens.split_first() else {
            return self.wanted_by.first().copied();
        };
        let (_, child) = self.children.iter().find(|(key, _)| key == first)?;
        child.slot_of(rest)
    }

    /// The marker of the node at these tokens; `next` becomes one if it has none.
    fn mark(&mut self, tokens: &[String], next: usize) -> usize {
        let Some((first, rest)) = tokens.split_first() else {
            return *self.marker.get_or_insert(next);
        };
        let Some((_, child)) = self.children.iter_mut().find(|(key, _)| key == first) else {
            return next;
        };
        let marker = child.mark(rest, next);
        if marker == next {
            self.below.push(next);
        }
        marker
    }
}

impl Walker {
    /// Wants the value at `pointer`; gives its slot.
    pub(crate) fn add(&mut self, pointer: &Pointer) -> usize {
        let next = self.slots;
        let known = self.root.slot_of(pointer.tokens());
        let mut node = &mut self.root;
        for token in pointer.tokens() {
            if known.is_none() {
                node.below.push(next);
            }
            let at = node
                .children
                .iter()
                .position(|(key, _)| key == token)
                .unwrap_or_else(|| {
                    node.children.push((token.clone(), Node::default()));
                    node.children.len() - 1
                });
            node = &mut node.children[at].1;
        }
        if let Some(slot) = node.wanted_by.first() {
            return *slot;
        }
        node.wanted_by.push(self.slots);
        self.slots += 1;
        self.slots - 1
    }

    /// The place of a pointer that was added.
    pub(crate) fn place(&mut self, pointer: &Pointer) -> Place {
        let slot = self.add(pointer);
        let mut passed = Vec::new();
        for length in 0..pointer.tokens().len() {
            let tokens = &pointer.tokens()[..length];
            let next = self.slots;
            let marker = self.root.mark(tokens, next);
            if marker == next {
                self.slots += 1;
            }
            passed.push(marker);
        }
        Place { passed, slot }
    }

    /// Walks a page: a JSON array of records. `each` gets every record's index and values.
    /// The error is where the text stops being such an array.
    pub(crate) fn page<'j>(
        &self,
        text: &'j str,
        mut each: impl FnMut(u64, &Slots<'j>),
    ) -> Result<(), serde_json::Error> {
        let mut seen = 0;
        let mut parser = serde_json::Deserializer::from_str(text);
        let records = Records {
            walker: self,
            each: |index, slots: &Slots<'j>| {
                seen = index + 1;
                each(index, slots);
            },
        };
        match parser.deserialize_seq(records) {
            Ok(()) => parser.end(),
            // JSON can hold scalars that no parser can, where an object was expected.
            Err(_) => self.rest(text, seen, each),
        }
    }

    /// Walks records nested in another: an array as [`Self::page`] does, or an object as an array of one record.
    pub(crate) fn nested<'j>(
        &self,
        text: &'j str,
        mut each: impl FnMut(u64, &Slots<'j>),
    ) -> Result<(), serde_json::Error> {
        if !text.starts_with('{') {
            return self.page(text, each);
        }
        let mut slots = Slots::new();
        // As in `page`: the second try is for scalars that no parser can hold.
        if !self.one(text, &mut slots, false) && !self.one(text, &mut slots, true) {
            self.clear(&mut slots);
        }
        each(0, &slots);
        Ok(())
    }

    /// Walks a record by itself, if that can be done.
    fn one<'j>(&self, text: &'j str, slots: &mut Slots<'j>, by_text: bool) -> bool {
        self.clear(slots);
        let mut record = serde_json::Deserializer::from_str(text);
        let value = Value {
            node: &self.root,
            slots,
            by_text,
        };
        value.deserialize(&mut record).is_ok()
    }

    /// Records from this one on, each by itself.
    fn rest<'j>(
        &self,
        text: &'j str,
        seen: u64,
        mut each: impl FnMut(u64, &Slots<'j>),
    ) -> Result<(), serde_json::Error> {
        let mut slots = Slots::new();
        let mut parser = serde_json::Deserializer::from_str(text);
        parser.deserialize_seq(Texts(|index, raw: &'j str| {
            if index < seen {
                return;
            }
            // What cannot be walked even so has no values.
            if !self.one(raw, &mut slots, true) {
                self.clear(&mut slots);
            }
            each(index, &slots);
        }))?;
        parser.end()
    }

    /// The values of a record of which nothing is known.
    pub(crate) fn no_slots<'j>(&self) -> Slots<'j> {
        vec![None; self.slots]
    }

    fn clear(&self, slots: &mut Slots<'_>) {
        slots.clear();
        slots.resize(self.slots, None);
    }
}

struct Records<'w, F> {
    walker: &'w Walker,
    each: F,
}

impl<'de, F: FnMut(u64, &Slots<'de>)> Visitor<'de> for Records<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut slots = Slots::new();
        for index in 0.. {
            self.walker.clear(&mut slots);
            let seed = Value {
                node: &self.walker.root,
                slots: &mut slots,
                by_text: false,
            };
            if list.next_element_seed(seed)?.is_none() {
                break;
            }
            (self.each)(index, &slots);
        }
        Ok(())
    }
}

struct Texts<F>(F);

impl<'de, F: FnMut(u64, &'de str)> Visitor<'de> for Texts<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        for index in 0.. {
            let Some(record) = list.next_element::<&RawValue>()? else {
                break;
            };
            (self.0)(index, record.get());
        }
        Ok(())
    }
}

/// A value at which pointers end, pass through, or both.
struct Value<'n, 's, 'de> {
    node: &'n Node,
    slots: &'s mut Slots<'de>,
    /// Its text is looked at first: nothing that holds no values is parsed.
    by_text: bool,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if let Some(marker) = self.node.marker {
            self.slots[marker] = Some(THERE);
        }
        let inside = |slots| Inside {
            node: self.node,
            slots,
            by_text: self.by_text,
        };
        if self.node.wanted_by.is_empty() && !self.by_text {
            return deserializer.deserialize_any(inside(self.slots));
        }
        let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
        for slot in &self.node.wanted_by {
            self.slots[*slot] = Some(raw);
        }
        if self.node.children.is_empty() || !raw.starts_with(['{', '[']) {
            return Ok(());
        }
        let mut parser = serde_json::Deserializer::from_str(raw);
        parser
            .deserialize_any(inside(self.slots))
            .map_err(D::Error::custom)
    }
}

/// Inside an object or array that pointers pass through; any other value has nothing for them.
struct Inside<'n, 's, 'de> {
    node: &'n Node,
    slots: &'s mut Slots<'de>,
    by_text: bool,
}

impl<'de> Visitor<'de> for Inside<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let children = &self.node.children;
        if let Some(marker) = self.node.marker {
            self.slots[marker] = Some(OBJECT);
        }
        // Records of a page have their keys in the same order, so the next child is the best guess.
        let mut guess = 0;
        while let Some(found) = map.next_key_seed(Key { children, guess })? {
            let Some(child) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            guess = child + 1;
            // Of a key that is there twice, the last one counts with all that is in it.
            for slot in &children[child].1.below {
                self.slots[*slot] = None;
            }
            map.next_value_seed(Value {
                node: &children[child].1,
                slots: self.slots,
                by_text: self.by_text,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if let Some(marker) = self.node.marker {
            self.slots[marker] = Some(ARRAY);
        }
        for index in 0_usize.. {
            let child = self
                .node
                .children
                .iter()
                .find(|(key, _)| pointer::index(key) == Some(index));
            let more = match child {
                Some((_, node)) => list
                    .next_element_seed(Value {
                        node,
                        slots: self.slots,
                        by_text: self.by_text,
                    })?
                    .is_some(),
                None => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, recognised without being copied.
struct Key<'n> {
    children: &'n [(String, Node)],
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        // As bytes: an invalid escape in an unmapped key is no reason to refuse the page.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Option<usize>, E> {
        let from = self.guess.min(self.children.len());
        let (before, after) = self.children.split_at(from);
        let find =
            |part: &[(String, Node)]| part.iter().position(|(name, _)| name.as_bytes() == key);
        Ok(find(after).map(|at| at + from).or_else(|| find(before)))
    }
}

#[cfg(test)]
mod tests;
