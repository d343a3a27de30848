//! Identifiers of other languages for names of the database, each given once. Knows no language.

use std::collections::BTreeSet;

/// Identifiers that are in use.
#[derive(Default)]
pub(super) struct Identifiers(BTreeSet<String>);

impl Identifiers {
    /// Keeps the wanted identifier, with a number where it is in use already.
    pub(super) fn take(&mut self, wanted: &str) -> String {
        let mut taken = wanted.to_owned();
        for number in 2.. {
            if self.0.insert(taken.clone()) {
                break;
            }
            taken = format!("{wanted}_{number}");
        }
        taken
    }
}

/// The name in ASCII letters, digits and `_`, beginning with a letter.
pub(super) fn identifier(name: &str, prefix: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if plain.starts_with(|c: char| c.is_ascii_alphabetic()) {
        plain
    } else {
        format!("{prefix}{plain}")
    }
}

/// A text in double quotes with the escapes of JSON, which Prisma, TypeScript and DBML share.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text on one line: control characters and line ends become spaces.
pub(super) fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| {
            let breaks = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            if breaks { ' ' } else { c }
        })
        .collect();
    spaced.trim().to_owned()
}
