//! Reading TOML so that every fault is found in one go, each with its line.
//!
//! Knows nothing of what the sections mean: [`Section`] hands out typed values, remembers which keys
//! were read, and reports the others.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::pack::Pack;
use crate::name::nearest;
use crate::pack_files::PACK;

/// The upper end of a number that has none.
pub(super) const ANY: u64 = u64::MAX >> 1;

/// One fault of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub(crate) line: usize,
    pub(crate) place: String,
    pub(crate) message: String,
}

/// The faults of one file.
pub(super) struct Problems<'t> {
    text: &'t str,
    /// The pack whose file it is; none: `pipeline.toml`.
    pack: Option<&'t Pack>,
    found: RefCell<Vec<Problem>>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            pack: None,
            found: RefCell::default(),
        }
    }

    /// Of the file of a pack.
    pub(super) fn of_pack(pack: &'t Pack) -> Self {
        Self {
            pack: Some(pack),
            ..Self::new(pack.text())
        }
    }

    /// The line of byte `at`, from 1 on.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = self.text.bytes().take(at.min(self.text.len()));
        1 + before.filter(|byte| *byte == b'\n').count()
    }

    /// Notes a fault that starts at byte `at`.
    pub(super) fn add(&self, at: usize, place: &str, message: impl fmt::Display) {
        self.found.borrow_mut().push(Problem {
            line: self.line(at),
            place: place.to_owned(),
            message: message.to_string(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    pub(super) fn pack_name(&self) -> Option<&'t str> {
        self.pack.map(|pack| pack.name.as_str())
    }

    /// How the file of a pack is named for people.
    pub(super) fn place(&self) -> String {
        self.pack
            .map(|pack| pack.files.place(PACK))
            .unwrap_or_default()
    }

    pub(super) fn sorted(&self) -> Vec<Problem> {
        let mut found = self.found.borrow().clone();
        found.sort();
        found.dedup();
        found
    }
}

/// A value with the byte at which it starts.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// One TOML table, read key by key.
pub(super) struct Section<'a> {
    problems: &'a Problems<'a>,
    table: &'a DeTable<'a>,
    at: usize,
    place: String,
    asked: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<&'static str>>,
    finished: Cell<bool>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        problems: &'a Problems<'a>,
        table: &'a DeTable<'a>,
        at: usize,
        place: impl Into<String>,
    ) -> Self {
        Self {
            problems,
            table,
            at,
            place: place.into(),
            asked: RefCell::default(),
            missing: RefCell::default(),
            finished: Cell::new(false),
        }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The pack whose file it is in; none: `pipeline.toml`.
    pub(super) fn pack(&self) -> Option<&'a Pack> {
        self.problems.pack
    }

    /// Faults from here on are reported in `place`.
    pub(super) fn rename(&mut self, place: String) {
        self.place = place;
    }

    pub(super) fn line(&self, at: usize) -> usize {
        self.problems.line(at)
    }

    pub(super) fn problem(&self, at: usize, message: impl fmt::Display) {
        self.problems.add(at, &self.place, message);
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether there is a key that looks like this one. It is reported as unknown, and what would follow
    /// from the absence of this one is not worth a word.
    pub(super) fn has_like(&self, key: &str) -> bool {
        self.table.keys().any(|other| {
            let other = other.get_ref().as_ref();
            other != key && nearest(other, [key]).is_some()
        })
    }

    /// Whether the key is not there, but one that looks like it.
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        !self.has(key) && self.has_like(key)
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    fn wrong(&self, span: Range<usize>, key: &str, wanted: &str, found: &DeValue<'_>) {
        self.problem(
            span.start,
            format_args!("`{key}` is {wanted}, not {}", kind(found)),
        );
    }

    pub(super) fn text(&self, key: &'static str) -> Option<At<&'a str>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(At {
                value: text.as_ref(),
                at: value.span().start,
            }),
            other => {
                self.wrong(value.span(), key, "a text", other);
                None
            }
        }
    }

    pub(super) fn required_text(&self, key: &'static str) -> Option<At<&'a str>> {
        if !self.has(key) {
            self.missing.borrow_mut().push(key);
        }
        self.text(key)
    }

    /// A text made into something else by `parse`.
    pub(super) fn parsed<T, E: fmt::Display>(
        &self,
        key: &'static str,
        text: Option<At<&str>>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        let At { value, at } = text?;
        match parse(value) {
            Ok(value) => Some(At { value, at }),
            Err(error) => {
                self.problem(at, format_args!("`{key}` = \"{value}\": {error}"));
                None
            }
        }
    }

    /// A duration such as `"90s"`, `"15m"`, `"7d"`.
    pub(super) fn duration(&self, key: &'static str) -> Option<Duration> {
        self.duration_at(key).map(|duration| duration.value)
    }

    pub(super) fn timeout(&self, key: &'static str) -> Option<Duration> {
        let At { value, at } = self.duration_at(key)?;
        if value.is_zero() {
            self.problem(
                at,
                format_args!("`{key}` is longer than nothing, such as \"120s\""),
            );
            return None;
        }
        Some(value)
    }

    pub(super) fn duration_up_to(&self, key: &'static str, longest: Duration) -> Option<Duration> {
        let At { value, at } = self.duration_at(key)?;
        if value > longest {
            let hours = longest.as_secs() / 3_600;
            self.problem(at, format_args!("`{key}` is at most \"{hours}h\""));
            return None;
        }
        Some(value)
    }

    fn duration_at(&self, key: &'static str) -> Option<At<Duration>> {
        let value = self.get(key)?;
        let DeValue::String(text) = value.get_ref() else {
            self.wrong(
                value.span(),
                key,
                "a duration in quotes, such as \"90s\"",
                value.get_ref(),
            );
            return None;
        };
        let text = At {
            value: text.as_ref(),
            at: value.span().start,
        };
        self.parsed(key, Some(text), |text| {
            humantime::parse_duration(text)
                .map_err(|_| "this is no duration; write one like \"90s\", \"15m\" or \"7d\"")
        })
    }

    pub(super) fn integer(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            other => {
                self.wrong(value.span(), key, "a whole number", other);
                return None;
            }
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (start, end) = range.into_inner();
            let wanted = match end {
                end if end == start => format!("{end}, the only one that this program knows"),
                ANY => format!("a whole number, {start} or more"),
                end => format!("a whole number from {start} to {end}"),
            };
            self.problem(value.span().start, format_args!("`{key}` is {wanted}"));
        }
        number
    }

    pub(super) fn is_text(&self, key: &'static str, text: &str) -> bool {
        let value = self.get(key).map(Spanned::get_ref);
        matches!(value, Some(DeValue::String(is)) if is == text)
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let DeValue::Boolean(flag) = value.get_ref() else {
            self.wrong(value.span(), key, "true or false", value.get_ref());
            return None;
        };
        Some(*flag)
    }

    pub(super) fn number(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            other => {
                self.wrong(value.span(), key, "a number", other);
                return None;
            }
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(
                value.span().start,
                format_args!(
                    "`{key}` is a number from {} to {}",
                    range.start(),
                    range.end()
                ),
            );
        }
        number
    }

    pub(super) fn texts(&self, key: &'static str) -> Vec<At<&'a str>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(list) = value.get_ref() else {
            self.wrong(value.span(), key, "a list of texts", value.get_ref());
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in list {
            match item.get_ref() {
                DeValue::String(text) => texts.push(At {
                    value: text.as_ref(),
                    at: item.span().start,
                }),
                other => self.wrong(item.span(), key, "a list of texts", other),
            }
        }
        texts
    }

    /// Whether the key is there with a list, be it an empty one.
    pub(super) fn has_list(&self, key: &str) -> bool {
        self.table
            .get(key)
            .is_some_and(|value| value.get_ref().is_array())
    }

    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(
                self.problems,
                table,
                value.span().start,
                if self.place.is_empty() {
                    format!("[{key}]")
                } else {
                    format!("{}, {key}", self.place)
                },
            )),
            other => {
                self.wrong(value.span(), key, "a table", other);
                None
            }
        }
    }

    /// The blocks of an array of tables (`[[key]]`).
    pub(super) fn blocks(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(list) = value.get_ref() else {
            let wanted = format!("written as blocks `[[{key}]]`");
            self.wrong(value.span(), key, &wanted, value.get_ref());
            return Vec::new();
        };
        let mut blocks = Vec::new();
        for item in list {
            match item.get_ref() {
                DeValue::Table(table) => blocks.push(Section::new(
                    self.problems,
                    table,
                    item.span().start,
                    format!("[[{key}]]"),
                )),
                other => self.wrong(item.span(), key, "a block", other),
            }
        }
        blocks
    }

    /// Every key with its value, for tables whose keys are free.
    pub(super) fn entries(
        &self,
    ) -> impl Iterator<Item = (At<&'a str>, At<&'a DeValue<'a>>)> + use<'a> {
        self.finished.set(true);
        self.table.iter().map(|(key, value)| {
            (
                At {
                    value: key.get_ref().as_ref(),
                    at: key.span().start,
                },
                At {
                    value: value.get_ref(),
                    at: value.span().start,
                },
            )
        })
    }

    /// The table that is the value of a free key, if it is one.
    pub(super) fn entry(
        &self,
        key: &At<&'a str>,
        value: &At<&'a DeValue<'a>>,
    ) -> Option<Section<'a>> {
        let DeValue::Table(table) = value.value else {
            return None;
        };
        let place = format!("{}, {}", self.place, key.value);
        Some(Section::new(self.problems, table, value.at, place))
    }

    pub(super) fn finish(self) {
        if self.finished.get() {
            return;
        }
        let asked = self.asked.borrow();
        let mut missing = self.missing.borrow_mut();
        missing.dedup();
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if asked.contains(&name) {
                continue;
            }
            let near = nearest(name, asked.iter().copied());
            missing.retain(|missing| near != Some(missing));
            let advice = near.map_or_else(
                || {
                    let mut known = asked.clone();
                    known.sort_unstable();
                    known.dedup();
                    format!("the keys here are: {}", known.join(", "))
                },
                |near| format!("did you mean `{near}`?"),
            );
            self.problem(
                key.span().start,
                format_args!("unknown key `{name}`; {advice}"),
            );
        }
        for key in missing.iter() {
            self.problem(self.at, format_args!("the key `{key}` is missing"));
        }
    }
}

/// A whole number in decimal, however it was written.
pub(super) fn decimal(number: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What a TOML value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
