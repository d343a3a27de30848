//! A row's key as people type it.

/// A row's key as it is typed: `12`, `1,42` in the order of the key's columns, or `campus_id=1,project_id=42`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(Vec<(Option<String>, String)>);

impl Key {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(|part| match part.split_once('=') {
            Some((column, value)) => (Some(column.trim().to_owned()), value.trim().to_owned()),
            None => (None, part.trim().to_owned()),
        });
        let parts: Vec<_> = parts.collect();
        let is_named = parts.iter().filter(|(column, _)| column.is_some()).count();
        if parts.iter().any(|(_, value)| value.is_empty())
            || (is_named != 0 && is_named != parts.len())
        {
            return Err(
                "a key is written 12345, or for several columns 1,42 or campus_id=1,project_id=42"
                    .to_owned(),
            );
        }
        Ok(Self(parts))
    }

    /// A value for each of these columns; none if it is a key of other columns.
    pub(crate) fn of<'k>(&'k self, columns: &[impl AsRef<str>]) -> Option<Vec<&'k str>> {
        let found = columns.iter().enumerate().map(|(at, column)| {
            let (_, value) = match self.0.first()?.0 {
                None => self.0.get(at)?,
                Some(_) => {
                    let is_it = |(name, _): &&(Option<String>, String)| {
                        name.as_deref() == Some(column.as_ref())
                    };
                    self.0.iter().find(is_it)?
                }
            };
            Some(value.as_str())
        });
        let found: Vec<&str> = found.collect::<Option<_>>()?;
        (found.len() == self.0.len()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_typed_by_place_or_by_name() {
        let key = |text| Key::parse(text).unwrap();
        assert_eq!(key("12").of(&["id"]), Some(vec!["12"]));
        assert_eq!(key("12").of(&["a", "b"]), None);
        assert_eq!(key("1,2").of(&["a", "b"]), Some(vec!["1", "2"]));
        assert_eq!(key("1,2").of(&["a"]), None);
        assert_eq!(key("b=2, a=1").of(&["a", "b"]), Some(vec!["1", "2"]));
        assert_eq!(key("c=2,a=1").of(&["a", "b"]), None);
        for wrong in ["", "1,", "a=1,2", "a="] {
            assert!(Key::parse(wrong).is_err(), "{wrong}");
        }
    }
}
