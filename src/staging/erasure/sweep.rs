//! Whom a sweep of staged pages looks for, and what it has found.

use std::collections::BTreeSet;

use crate::name::Name;
use crate::person::{Erased, Extent};
use crate::staging::error::StagingError;
use crate::staging::run::Run;

/// Ids of which the text is looked for in a page; of more it is faster to parse the page.
const FEW: usize = 16;

/// Whom a sweep is about.
#[derive(Debug)]
pub(crate) enum Sought {
    /// By id, as far: a page without the text of one of a few is not parsed.
    Ids(BTreeSet<String>, Extent),
    /// By id, as far, in these pages, which were found before.
    Found(BTreeSet<String>, Extent, BTreeSet<FoundAt>),
    /// By hash.
    Erased(Erased),
}

impl Sought {
    /// How far the person of an id is to be erased.
    pub(super) fn extent(&self, id: &str) -> Option<Extent> {
        match self {
            Self::Ids(ids, extent) | Self::Found(ids, extent, _) => {
                ids.contains(id).then_some(*extent)
            }
            Self::Erased(erased) => erased.extent(id),
        }
    }

    /// Whether one of them can be in a page: as a number, or as a text. A letter or digit of a text can be written with an escape.
    pub(super) fn may_be_in(&self, page: &[u8]) -> bool {
        let (Self::Ids(ids, _) | Self::Found(ids, ..)) = self else {
            return true;
        };
        if ids.len() > FEW {
            return true;
        }
        // What is no text is reported where it is parsed.
        let Ok(page) = std::str::from_utf8(page) else {
            return true;
        };
        let is_plain = |id: &String| id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !ids.iter().all(is_plain) {
            return page.contains('\\') || ids.iter().any(|id| page.contains(id.as_str()));
        }
        ids.iter().any(|id| has_value(page, id)) || may_spell_out(page)
    }

    /// Whether a page has to be read at all.
    pub(super) fn is_in(&self, run: &Run, file: &str) -> bool {
        match self {
            Self::Found(_, _, pages) => pages.contains(&(run.id().to_string(), file.to_owned())),
            Self::Ids(..) | Self::Erased(_) => true,
        }
    }
}

/// Whether a text of letters and digits stands somewhere by itself, as a whole value does.
fn has_value(page: &str, value: &str) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = page.as_bytes();
    page.match_indices(value).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !is_part(before) && !is_part(bytes.get(at + value.len()))
    })
}

/// Whether a page has an escape that may stand for a letter or a digit.
fn may_spell_out(page: &str) -> bool {
    page.match_indices("\\u00").any(|(at, escape)| {
        let digits = page.get(at + escape.len()..at + escape.len() + 2);
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        code.is_none_or(|code| code.is_ascii_alphanumeric())
    })
}

/// A run, and a page's file, relative to its directory.
pub(crate) type FoundAt = (String, String);

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct FoundPage {
    pub(crate) run: String,
    pub(crate) resource: Name,
    /// Relative to the run's directory.
    pub(crate) file: String,
    /// Records that hold one of them.
    pub(crate) records: u64,
    /// Personal values in them.
    pub(crate) values: u64,
    /// Places of records that are theirs as a whole, and are removed.
    #[serde(skip)]
    pub(crate) own: Vec<u64>,
}

/// A record that was staged, and is removed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct RemovedRecord {
    run: String,
    /// Relative to the run's directory.
    file: String,
    /// Its place in the page, from 0.
    record: u64,
}

impl FoundPage {
    fn own_records(&self) -> impl Iterator<Item = RemovedRecord> {
        self.own.iter().map(|record| RemovedRecord {
            run: self.run.clone(),
            file: self.file.clone(),
            record: *record,
        })
    }
}

/// What a sweep found, and what it could not read.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) pages: Vec<FoundPage>,
    pub(crate) failed: Vec<StagingError>,
    /// Staged resources of which the configuration does not say where people are, with a run.
    pub(crate) undeclared: Vec<(Name, String)>,
}

impl Swept {
    /// Whether every page was looked at.
    pub(crate) fn is_whole(&self) -> bool {
        self.failed.is_empty() && self.undeclared.is_empty()
    }

    /// What to do about staged pages of which nobody knows where people are; none if there are none.
    pub(crate) fn undeclared_sentence(&self) -> Option<String> {
        let (name, run) = self.undeclared.first()?;
        Some(format!(
            "the run {run} holds pages of `{name}`, of which pipeline.toml does not say where people are; write a [[person.place]] for it, \
             name it in `nobody_in` of [person], or remove the run"
        ))
    }

    /// The records that are removed as a whole.
    pub(crate) fn removed_records(&self) -> Vec<RemovedRecord> {
        self.pages.iter().flat_map(FoundPage::own_records).collect()
    }

    /// Pages with values that are still there, or were.
    pub(crate) fn changed(&self) -> usize {
        self.pages.iter().filter(|page| page.values > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_be_in(ids: &[&str], page: &str) -> bool {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        Sought::Ids(ids, Extent::Values).may_be_in(page.as_bytes())
    }

    #[test]
    fn a_page_is_parsed_where_an_id_may_be_a_value() {
        for page in [
            r#"[{"id":12}]"#,
            r#"[{"id": 12 ,"a":1}]"#,
            "[{\"id\":12\n}]",
            r#"[{"id":"12"}]"#,
            r#"[{"id":112},{"ids":[7,12]}]"#,
            r#"[{"id":"\u0031\u0032"}]"#,
            r#"[{"id":"1\u00322"}]"#,
            r#"[{"id":"1\u00"#,
        ] {
            assert!(may_be_in(&["9", "12"], page), "{page}");
        }
        assert!(may_be_in(&["12"], "12"));
        assert!(may_be_in(&["a\"b"], r#"[{"id":"a\"b"}]"#));
        assert!(Sought::Ids(["12".to_owned()].into(), Extent::Values).may_be_in(&[0xff]));
    }

    #[test]
    fn a_page_without_an_id_as_a_value_is_not_parsed() {
        for page in [
            r#"[{"id":123,"at":"2026-11-12T00:00:00.012Z","login":"a12"}]"#,
            r#"[{"name":"a \u0026 b \u003c \u00e9 \n \"q\"","url":"https:\/\/x"}]"#,
            "[]",
        ] {
            assert!(!may_be_in(&["12"], page), "{page}");
        }
    }
}
