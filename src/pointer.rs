//! JSON pointers (RFC 6901): where in a record a value is found.

use std::fmt;

/// In a pointer: each element of an array, where that is possible.
pub(crate) const EACH: &str = "*";

/// A parsed pointer; empty means the record itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pointer(Vec<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidPointer {
    #[error("a JSON pointer starts with `/`, such as \"/id\"")]
    NoSlash,
    #[error("in a JSON pointer `~` is written `~0`, and `/` inside a key `~1`")]
    BadEscape,
}

impl Pointer {
    /// Parses `/a/b/0`, with `~1` for a slash and `~0` for a tilde inside a key.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPointer> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let rest = text.strip_prefix('/').ok_or(InvalidPointer::NoSlash)?;
        rest.split('/')
            .map(unescape)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn to_record() -> Self {
        Self(Vec::new())
    }

    /// The pointer to a list, and from each of its elements onward; none without a [`EACH`].
    pub(crate) fn split_at_each(&self) -> Option<(Self, Self)> {
        let at = self.0.iter().position(|token| token == EACH)?;
        Some((Self(self.0[..at].to_vec()), Self(self.0[at + 1..].to_vec())))
    }

    /// The pointer to the value of one key of the record.
    pub(crate) fn key(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// Its keys and array indexes, outermost first.
    pub(crate) fn tokens(&self) -> &[String] {
        &self.0
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn find<'v>(&self, value: &'v serde_json::Value) -> Option<&'v serde_json::Value> {
        self.0.iter().try_fold(value, |value, token| match value {
            serde_json::Value::Object(map) => map.get(token),
            serde_json::Value::Array(list) => list.get(index(token)?),
            _ => None,
        })
    }
}

/// The array index that a token is. One has no sign and no needless zero, as RFC 6901 has it: `+0` and `00` are keys only.
pub(crate) fn index(token: &str) -> Option<usize> {
    let is_plain = token == "0" || token.starts_with(|digit: char| matches!(digit, '1'..='9'));
    is_plain.then(|| token.parse().ok()).flatten()
}

fn unescape(token: &str) -> Result<String, InvalidPointer> {
    let mut parts = token.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.as_bytes().first() {
            Some(b'0') => text.push('~'),
            Some(b'1') => text.push('/'),
            _ => return Err(InvalidPointer::BadEscape),
        }
        text.push_str(&part[1..]);
    }
    Ok(text)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.0 {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_printed_parses_back(tokens in prop::collection::vec(".*", 0..5)) {
            let pointer = Pointer(tokens);
            prop_assert_eq!(Pointer::parse(&pointer.to_string()), Ok(pointer));
        }

        #[test]
        fn any_text_that_parses_is_printed_again(text in "(/?[a~01]{0,4}){0,4}|.*") {
            match Pointer::parse(&text) {
                Ok(pointer) => prop_assert_eq!(pointer.to_string(), text),
                Err(_) => prop_assert!(!text.starts_with('/') || text.contains('~')),
            }
        }
    }

    #[test]
    fn escapes_and_errors_follow_the_standard() {
        assert_eq!(
            Pointer::parse("/a~1b/~0/0").unwrap().tokens(),
            ["a/b", "~", "0"]
        );
        let list = serde_json::json!([7]);
        let find = |pointer| Pointer::parse(pointer).unwrap().find(&list).is_some();
        assert_eq!(
            ["/0", "/+0", "/00", "/1", "/-"].map(find),
            [true, false, false, false, false]
        );
        assert_eq!(Pointer::parse("a"), Err(InvalidPointer::NoSlash));
        assert_eq!(Pointer::parse("/a~2"), Err(InvalidPointer::BadEscape));
    }
}
