//! The values that a CHECK constraint lets into a column, where it is a list of texts. Knows no database.

/// The texts of `(name = ANY (ARRAY['a'::text, 'b'::text]))`, as the server writes `name IN ('a', 'b')`; `None` if it is anything else.
pub(super) fn values(expression: &str, column: &str) -> Option<Vec<String>> {
    let (left, right) = expression.split_once(" = ANY (")?;
    let left = left.trim_start_matches('(');
    let left = left.split("::").next()?.trim_end_matches(')');
    if left.trim_matches('"').replace("\"\"", "\"") != column {
        return None;
    }
    let mut rest = right.trim_start_matches('(').strip_prefix("ARRAY[")?;
    let mut values = Vec::new();
    loop {
        rest = rest.strip_prefix('\'')?;
        let mut value = String::new();
        loop {
            let (before, after) = rest.split_once('\'')?;
            value.push_str(before);
            rest = after;
            match rest.strip_prefix('\'') {
                Some(doubled) => {
                    value.push('\'');
                    rest = doubled;
                }
                None => break,
            }
        }
        values.push(value);
        let end = rest.find([',', ']'])?;
        if !is_cast(&rest[..end]) {
            return None;
        }
        rest = match rest[end..].strip_prefix(", ") {
            Some(more) => more,
            None => {
                let end = rest[end..].strip_prefix(']')?;
                return is_cast(&end.replace(['(', ')', '[', ']'], "")).then_some(values);
            }
        };
    }
}

fn is_cast(text: &str) -> bool {
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '.' | '"');
    text.is_empty()
        || text
            .strip_prefix("::")
            .is_some_and(|name| name.chars().all(is_of_name))
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn only_a_list_of_texts_gives_values() {
        let list = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        for (expression, expected) in [
            (
                "(kind = ANY (ARRAY['a'::text, 'it''s, ] b'::text]))",
                list(&["a", "it's, ] b"]),
            ),
            (
                "((kind)::text = ANY ((ARRAY['a'::character varying])::text[]))",
                list(&["a"]),
            ),
            ("(other = ANY (ARRAY['a'::text]))", None),
            ("((kind = ANY (ARRAY['a'::text])) OR (kind IS NULL))", None),
            ("(kind = ANY (ARRAY['a'::text, lower('B'::text)]))", None),
            ("(kind > 'a'::text)", None),
        ] {
            assert_eq!(values(expression, "kind"), expected, "{expression}");
        }
    }
}
