//! Whom a sweep of staged pages looks for, and whether they can be in a page.

use std::collections::BTreeSet;

use super::found::FoundAt;
use crate::person::{Erased, Extent};
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
