//! Names that reach SQL and the file system: parsed once, safe everywhere after.

use std::fmt;

/// A resource, table or column name: `[a-z_][a-z0-9_]*`, at most 48 bytes,
/// so that it is a plain directory name, and a PostgreSQL identifier even behind a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is no [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name is lower-case letters, digits and `_`, does not start with a digit, and has 1 to {max} characters",
    max = Name::MAX_LENGTH
)]
pub struct InvalidName;

impl Name {
    /// PostgreSQL keeps 63 bytes of an identifier; `staged_` and the like go before a name.
    pub(crate) const MAX_LENGTH: usize = 48;

    /// Checks and keeps `text`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len())
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The candidate that `text` was probably meant to be, for "did you mean".
pub(crate) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Asks whether the near candidate was meant, if there is one.
pub(crate) fn did_you_mean<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(text, candidates).map(|near| format!("did you mean `{near}`?"))
}

/// What to say of a name that is none of the candidates: the near one, else all of them after `there_are`.
pub(crate) fn advice<'a>(
    text: &str,
    candidates: impl Iterator<Item = &'a str> + Clone,
    there_are: &str,
) -> String {
    did_you_mean(text, candidates.clone()).unwrap_or_else(|| {
        let all: Vec<&str> = candidates.collect();
        format!("{there_are}: {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_directory_or_its_identifier() {
        for bad in [
            "", "..", "a/b", "A", "1a", "a b", "a\"b", "a;b", "é", "a.b", "a\0",
        ] {
            assert_eq!(Name::parse(bad), Err(InvalidName), "{bad:?}");
        }
        assert!(Name::parse(&"a".repeat(49)).is_err());
        assert_eq!(
            Name::parse("projects_users").unwrap().as_str(),
            "projects_users"
        );
    }

    #[test]
    fn a_near_miss_is_suggested() {
        assert_eq!(nearest("quer", ["path", "query", "name"]), Some("query"));
        assert_eq!(nearest("zzz", ["path", "query"]), None);
        let advice = |text| advice(text, ["path", "query"].into_iter(), "there are");
        assert_eq!(advice("quer"), "did you mean `query`?");
        assert_eq!(advice("zzz"), "there are: path, query");
    }
}
