//! Texts with `{placeholders}`: paths, query values and constant columns of `pipeline.toml`.

use std::collections::BTreeMap;
use std::fmt;

/// A text whose `{name}` parts are filled from the scope or from a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Placeholder(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a placeholder is written `{{name}}`; this text has a brace without its partner")]
pub(crate) struct InvalidTemplate;

/// What placeholders stand for. A list is joined by commas; an empty one drops the parameter.
pub(crate) type Values = BTreeMap<String, Vec<String>>;

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, tail) = rest.split_at(open);
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let (name, after) = tail
                .strip_prefix('{')
                .and_then(|tail| tail.split_once('}'))
                .filter(|(name, _)| !name.is_empty() && !name.contains('{'))
                .ok_or(InvalidTemplate)?;
            parts.push(Part::Placeholder(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Placeholder(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The text with its placeholders filled; `None` where one of them is unknown or an empty list.
    pub(crate) fn fill(&self, values: &Values) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Placeholder(name) => {
                    let list = values.get(name).filter(|list| !list.is_empty())?;
                    text.push_str(&list.join(","));
                }
            }
        }
        Some(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(literal) => f.write_str(literal),
            Part::Placeholder(name) => write!(f, "{{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_drops_the_parameter_and_a_longer_one_is_joined() {
        let template = Template::parse("{campus_ids}").unwrap();
        let values = |list: &[&str]| {
            Values::from([(
                "campus_ids".to_owned(),
                list.iter().map(ToString::to_string).collect(),
            )])
        };
        assert_eq!(template.fill(&values(&[])), None);
        assert_eq!(template.fill(&values(&["1", "9"])).unwrap(), "1,9");
    }

    #[test]
    fn lone_braces_are_refused() {
        for bad in ["{", "a}", "{a", "{}", "{a{b}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Template::parse("/v2/{a}/x").unwrap().to_string(),
            "/v2/{a}/x"
        );
    }
}
