//! Which names a statement holds, as far as its text tells without a parser of SQL.

use crate::name::Name;

/// What may be names in a statement.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    // No name has a `$`, which may begin or end a string.
    let is_part = |char: char| char.is_alphanumeric() || char == '_';
    let words = text.split(move |char| !is_part(char));
    words.filter(|word| !word.is_empty())
}

/// The tables that a statement in lower case inserts into, merges into or updates.
pub(super) fn written(text: &str) -> Vec<Name> {
    let is_part = |char: char| char.is_alphanumeric() || matches!(char, '_' | '.');
    let unquoted = text.replace("\".", ".").replace(".\"", ".");
    let parts = unquoted.split(|char| !is_part(char));
    let parts: Vec<&str> = parts
        .filter(|part| !part.is_empty() && *part != "only")
        .collect();
    let after_verbs = parts
        .windows(2)
        // ON CONFLICT DO UPDATE SET names no table.
        .filter(|pair| matches!(pair[0], "into" | "update") && pair[1] != "set");
    let names = after_verbs.map(|pair| pair[1].rsplit('.').next().unwrap_or_default());
    names.filter_map(|name| Name::parse(name).ok()).collect()
}

/// A statement in lower case, without the comments before its first string. Those after it stay, as `--` may be part of a string
/// there.
pub(super) fn without_comments(text: &str) -> String {
    let mut has_strings = false;
    let lines = text.split(['\n', '\r']).map(|line| {
        let (code, _) = line.split_once("--").unwrap_or((line, ""));
        has_strings |= code.contains(['\'', '"', '$']) || code.contains("/*");
        if has_strings { line } else { code }
    });
    let lines: Vec<&str> = lines.collect();
    lines.join("\n").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{without_comments, written};
    use crate::name::Name;

    #[test]
    fn statement_writes_to_what_it_inserts_merges_or_updates() {
        for (text, expected) in [
            ("insert into tally select 1", &["tally"][..]),
            (
                "insert into tally(n) select 1 on conflict do update set n = 2",
                &["tally"],
            ),
            (
                "with a as (select 1) update only tally set n = 1",
                &["tally"],
            ),
            (
                "merge into public.tally as t using things on true",
                &["tally"],
            ),
            (
                r#"update "public"."tally" set n = 1; insert into sums values (1)"#,
                &["tally", "sums"],
            ),
            (r#"insert into"tally" table things"#, &["tally"]),
            (r#"insert into public."tally" table things"#, &["tally"]),
            ("select count(*) from things", &[]),
        ] {
            let names = written(text);
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            assert_eq!(names, expected, "{text}");
        }
    }

    #[test]
    fn comment_counts_only_where_it_may_be_a_string() {
        for (text, expected) in [
            (
                "-- Those that came into Scope: a's.\nFROM a--b\rc",
                "\nfrom a\nc",
            ),
            (
                "SELECT 1 ---b\n, '--' || b -- c\n-- d",
                "select 1 \n, '--' || b -- c\n-- d",
            ),
            ("a \"--\" b\n-- c", "a \"--\" b\n-- c"),
            ("a $q$\n--$q$, b", "a $q$\n--$q$, b"),
            ("a /*\n-- */, b", "a /*\n-- */, b"),
            ("a --/* \n-- b */", "a \n"),
        ] {
            assert_eq!(without_comments(text), expected, "{text}");
        }
    }
}
