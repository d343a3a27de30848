//! What the names and `{placeholders}` of one file may refer to.
//!
//! A name that nothing defines is a fault. Where the place that would define it is itself at fault, it
//! is not reported: one mistake, one message.

use std::collections::BTreeMap;

use super::pack::{self, Pack};
use super::reader::{At, Section};
use super::resource::ForEach;
use crate::name::{Name, advice, nearest};
use crate::template::{Template, Values};

pub(super) struct Names {
    noun: &'static str,
    /// Each with the pack that defines it; none: `pipeline.toml`.
    known: BTreeMap<String, Option<String>>,
    /// Those of packs that are off.
    off: BTreeMap<String, String>,
    unsure: bool,
}

impl Names {
    /// The names of `blocks`, each a `noun`. `unsure`: there may be more, in blocks that could not be read.
    pub(super) fn of(noun: &'static str, blocks: &[Section<'_>], unsure: bool) -> Self {
        let mut names = Self {
            noun,
            known: BTreeMap::new(),
            off: BTreeMap::new(),
            unsure,
        };
        for block in blocks {
            let name = block.text("name").map(|name| name.value);
            // A name that is missing, refused or used twice was meant to be another one.
            names.unsure |= name
                .is_none_or(|name| Name::parse(name).is_err() || names.known.contains_key(name));
            if let Some(name) = name {
                let pack = || block.pack().map(|pack| pack.name.clone());
                names.known.entry(name.to_owned()).or_insert_with(pack);
            }
        }
        names
    }

    /// The same, where packs that are off have further ones.
    pub(super) fn with_off(self, packs: &[Pack]) -> Self {
        let off = pack::names_off(packs, self.noun);
        Self { off, ..self }
    }

    /// Whether a block has this name.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.known.contains_key(name.as_str())
    }

    pub(super) fn find(&self, section: &Section<'_>, key: &str, name: &At<&str>) -> Option<Name> {
        if let Some(owner) = self.known.get(name.value) {
            if let (Some(pack), Some(owner)) = (section.pack(), owner)
                && !pack.may_use(owner)
            {
                let message = format!(
                    "`{key}` names the {} `{}` of the pack `{owner}`; write `{owner}` into `needs` of [pack]",
                    self.noun, name.value
                );
                section.problem(name.at, message);
            }
            // One that is refused as a name is reported at its block.
            return Name::parse(name.value).ok();
        }
        if !self.unsure {
            let noun = self.noun;
            let advice = if let Some(pack) = self.off.get(name.value) {
                format!("the pack `{pack}` has it and is off; name it in `packs`")
            } else if self.known.is_empty() {
                format!("there is no [[{noun}]] at all")
            } else {
                let names = self.known.keys().map(String::as_str);
                advice(name.value, names, "there are")
            };
            section.problem(
                name.at,
                format_args!(
                    "`{key}` names the {noun} `{}`, which is not here; {advice}",
                    name.value
                ),
            );
        }
        None
    }

    /// Those names of a list that blocks have, other than the block's `own`.
    pub(super) fn list(
        &self,
        section: &Section<'_>,
        key: &'static str,
        own: Option<&Name>,
    ) -> Vec<Name> {
        section
            .texts(key)
            .into_iter()
            .filter_map(|name| Some((name.at, self.find(section, key, &name)?)))
            .filter_map(|(at, name)| {
                if own == Some(&name) {
                    section.problem(at, format_args!("`{key}` names the {} itself", self.noun));
                    return None;
                }
                Some(name)
            })
            .collect()
    }
}

pub(super) struct Scope {
    pub(super) values: Values,
    pub(super) unsure: bool,
}

/// What `for_each` adds to the scope.
#[derive(Clone, Copy)]
pub(super) enum Slice<'a> {
    None,
    Each(&'a ForEach),
    /// It is at fault, or its resource is.
    Unsure,
}

/// How many values a placeholder may stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arity {
    /// In a path or a column.
    One,
    /// In a query, where they are joined by commas.
    Any,
}

/// Reports placeholders that nothing defines, or that stand for more than fits.
pub(super) fn check_placeholders(
    section: &Section<'_>,
    template: &At<Template>,
    scope: &Scope,
    slice: Slice<'_>,
    arity: Arity,
) {
    for name in template.value.placeholders() {
        let count = match (scope.values.get(name), slice) {
            (Some(values), _) => values.len(),
            (None, Slice::Each(each)) if each.placeholder == name => each.batch,
            (None, Slice::Unsure) => continue,
            (None, _) if scope.unsure => continue,
            (None, slice) => {
                let given = match slice {
                    Slice::Each(each) => Some(each.placeholder.as_str()),
                    Slice::None | Slice::Unsure => None,
                };
                let known = scope.values.keys().map(String::as_str).chain(given);
                let advice = nearest(name, known).map_or_else(
                    || "define it in [scope]".to_owned(),
                    |near| format!("did you mean `{{{near}}}`?"),
                );
                section.problem(
                    template.at,
                    format_args!("nothing is called `{{{name}}}`; {advice}"),
                );
                continue;
            }
        };
        if arity == Arity::One && count != 1 && !scope.unsure {
            section.problem(
                template.at,
                format_args!("`{{{name}}}` stands for {count} values, and here only one fits"),
            );
        }
    }
}
