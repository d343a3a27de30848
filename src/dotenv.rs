//! The text of `.env`, parsed literally; `project` reads the file. Nothing in it is expanded, and no message repeats any of it.
//!
//! A line is blank, a comment (`# …`), or `NAME=value`, with `export ` before it if you like. A value in single quotes is what is
//! between them. In double quotes `\n`, `\"`, `\\` and `\$` stand for a line end, a quote, a backslash and a dollar. Without
//! quotes it extends to the end of the line or to a `#` after a blank, without the blanks at its end. A value is on one line.

use std::collections::BTreeMap;

use crate::config::Problem;

/// Names with their values in the order of the file, or everything that is wrong with it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, Vec<Problem>> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut variables = Vec::new();
    let mut lines_by_name = BTreeMap::new();
    let mut problems = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let parsed = variable(line.strip_suffix(b"\r").unwrap_or(line));
        let message = match parsed {
            Ok(None) => continue,
            Ok(Some((name, value))) => match lines_by_name.insert(name.clone(), number) {
                None => {
                    variables.push((name, value));
                    continue;
                }
                Some(first) => format!("sets what line {first} sets; keep one of them"),
            },
            Err(message) => message.to_owned(),
        };
        problems.push(Problem {
            line: number,
            place: String::new(),
            message,
        });
    }
    if problems.is_empty() {
        Ok(variables)
    } else {
        Err(problems)
    }
}

/// What a line sets, if it sets anything.
fn variable(line: &[u8]) -> Result<Option<(String, String)>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let line = line.trim_matches(is_blank);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err("holds a control character; write the value without it");
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with(is_blank) => rest.trim_start_matches(is_blank),
        _ => line,
    };
    let (name, rest) = (line.split_once('=')).ok_or("not NAME=value; correct it")?;
    let name = name.trim_end_matches(is_blank);
    if !is_name(name) {
        return Err("not NAME=value: a name is letters, digits and `_`, and begins with no digit");
    }
    let blanks = rest.len() - rest.trim_start_matches(is_blank).len();
    let (value, rest) = match rest[blanks..].chars().next() {
        Some('\'') => single_quoted(&rest[blanks + 1..])?,
        Some('"') => double_quoted(&rest[blanks + 1..])?,
        _ => (unquoted(rest).to_owned(), ""),
    };
    let after = rest.trim_start_matches(is_blank);
    if !after.is_empty() && (after.len() == rest.len() || !after.starts_with('#')) {
        return Err(
            "continues after the closing quote; write a quote within a value as `\\\"` in double quotes",
        );
    }
    Ok(Some((name.to_owned(), value)))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_part) && name.starts_with(|c: char| !c.is_ascii_digit())
}

/// The value, and what follows the closing quote.
fn single_quoted(rest: &str) -> Result<(String, &str), &'static str> {
    let (value, rest) = rest
        .split_once('\'')
        .ok_or("the quote is not closed on its line")?;
    Ok((value.to_owned(), rest))
}

/// The value, and what follows the closing quote.
fn double_quoted(rest: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next().ok_or("the quote is not closed on its line")? {
            '"' => return Ok((value, chars.as_str())),
            '\\' => value.push(match chars.next() {
                Some('n') => '\n',
                Some(c @ ('"' | '\\' | '$')) => c,
                _ => {
                    return Err("a backslash in double quotes stands before n, \", \\ or $; write it twice, or use single quotes");
                }
            }),
            c => value.push(c),
        }
    }
}

/// Up to the comment, if there is one; without the blanks around it.
fn unquoted(rest: &str) -> &str {
    let mut before = None;
    let comment = rest.char_indices().find(|(_, c)| {
        let follows_blank = before.is_some_and(is_blank);
        before = Some(*c);
        *c == '#' && follows_blank
    });
    rest[..comment.map_or(rest.len(), |(at, _)| at)].trim_matches(is_blank)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn value(line: &str) -> String {
        let variables = parse(line.as_bytes()).unwrap();
        let [(name, value)] = &variables[..] else {
            panic!("{line:?}: {variables:?}");
        };
        assert_eq!(name, "NAME", "{line:?}");
        value.clone()
    }

    #[track_caller]
    fn lines_at_fault(text: &[u8]) -> Vec<usize> {
        let problems = parse(text).unwrap_err();
        problems.iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn values_are_literal_by_the_rules_of_their_quotes() {
        for (line, wanted) in [
            ("NAME=plain", "plain"),
            ("export NAME=plain", "plain"),
            (" \texport\t NAME = plain\t ", "plain"),
            ("NAME=${HOME}/$(id)/`id`/$HOME", "${HOME}/$(id)/`id`/$HOME"),
            (r"NAME=a\b\n", r"a\b\n"),
            ("NAME=two words # and a comment", "two words"),
            ("NAME=p#w@host", "p#w@host"),
            ("NAME=#x", "#x"),
            ("NAME= #x", ""),
            ("NAME=", ""),
            ("NAME=a=b==", "a=b=="),
            ("NAME=it's \"so\"", "it's \"so\""),
            (r"NAME='a \n $B # c'", r"a \n $B # c"),
            ("NAME='' # none", ""),
            (
                r#"NAME="a \"b\" \\ \$C\n${D} # e""#,
                "a \"b\" \\ $C\n${D} # e",
            ),
            ("\u{feff}NAME=é\r\n\r\n# end\r\n", "é"),
        ] {
            assert_eq!(value(line), wanted, "{line:?}");
        }
    }

    #[test]
    fn every_fault_has_its_line() {
        let text = b"# fine\nA=1\nno value\nB='open\nC=\"open\nD=\"\\x\"\nE='a'b\n1F=1\nG=\xff\nH=a\x00b\nA=2\nexport\n I J=1\n";
        assert_eq!(lines_at_fault(text), (3..=13).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn no_message_repeats_what_is_in_the_file(text in "(NAME=|export |')?[a-zA-Z0-9'\"\\\\$ =]{12,40}") {
            if let Err(problems) = parse(text.as_bytes()) {
                for part in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| part.len() > 6) {
                    prop_assert!(!problems[0].message.contains(part));
                }
            }
        }

        #[test]
        fn a_quoted_value_is_what_was_quoted(value in "[^\\p{Cc}]{0,40}", ends in "(\n|\r\n| # c\n|)") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            let read = |text: String| parse(text.as_bytes()).unwrap().pop().unwrap().1;
            prop_assert_eq!(&read(format!("N=\"{escaped}\"{ends}")), &value);
            if !value.contains('\'') {
                prop_assert_eq!(&read(format!("N='{value}'{ends}")), &value);
            }
        }

        #[test]
        fn an_unquoted_value_is_what_stands_there(value in "[!-~&&[^\"'#]][ -~&&[^#]]{0,40}[!-~&&[^#]]") {
            let read = parse(format!("N={value}\n").as_bytes()).unwrap().pop().unwrap().1;
            prop_assert_eq!(read, value);
        }

        #[test]
        fn any_bytes_are_read_or_refused_with_their_lines(bytes: Vec<u8>) {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            if let Err(problems) = parse(&bytes) {
                prop_assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
            }
        }
    }
}
