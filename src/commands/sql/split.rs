//! Splits a text into statements by the rules of psql. Safety does not depend on it: the server accepts each piece as one statement,
//! or refuses it.

/// The statements of a text, without the semicolons between them; those that are blank or comments only are left out.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut scanner = Scanner {
        text,
        is_blank: true,
        ..Scanner::default()
    };
    while scanner.token() {}
    scanner.end();
    scanner.found
}

#[derive(Default)]
struct Scanner<'t> {
    text: &'t str,
    at: usize,
    start: usize,
    is_blank: bool,
    parentheses: usize,
    /// How many of its first words have come.
    words: usize,
    /// It makes a function or procedure, whose body may hold statements between `BEGIN` and `END`.
    is_routine: bool,
    blocks: usize,
    found: Vec<&'t str>,
}

impl<'t> Scanner<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Moves past the next token; false at the end.
    fn token(&mut self) -> bool {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return false;
        };
        if rest.starts_with("--") {
            self.at += rest.find('\n').unwrap_or(rest.len());
            return true;
        }
        if rest.starts_with("/*") {
            self.at += comment(rest);
            return true;
        }
        if first == ';' && self.parentheses == 0 && self.blocks == 0 {
            self.end();
            self.at += 1;
            self.start = self.at;
            return true;
        }
        self.is_blank &= first.is_whitespace();
        self.at += match first {
            '\'' => quoted(rest, '\'', false),
            '"' => quoted(rest, '"', false),
            '$' => dollar_quoted(rest),
            '(' => {
                self.parentheses += 1;
                1
            }
            ')' => {
                self.parentheses = self.parentheses.saturating_sub(1);
                1
            }
            c if is_word_start(c) => self.word(rest),
            // A number: a letter behind it begins no string.
            c if c.is_ascii_digit() => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        true
    }

    /// A keyword or a name, and the string that belongs to it.
    fn word(&mut self, rest: &str) -> usize {
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(length);
        if word.eq_ignore_ascii_case("e") && behind.starts_with('\'') {
            return length + escaped(behind);
        }
        let word = word.to_ascii_lowercase();
        match (self.words, word.as_str()) {
            (0, "create") | (1, "or") | (2, "replace") => self.words += 1,
            (1 | 3, "function" | "procedure") => {
                self.is_routine = true;
                self.words = usize::MAX;
            }
            _ => self.words = usize::MAX,
        }
        if self.is_routine && self.parentheses == 0 {
            match word.as_str() {
                "begin" => self.blocks += 1,
                // It ends with END as well.
                "case" if self.blocks > 0 => self.blocks += 1,
                "end" => self.blocks = self.blocks.saturating_sub(1),
                _ => {}
            }
        }
        length
    }

    fn end(&mut self) {
        if !self.is_blank {
            self.found.push(self.text[self.start..self.at].trim());
        }
        (self.is_blank, self.parentheses, self.blocks) = (true, 0, 0);
        (self.words, self.is_routine) = (0, false);
    }
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_word(c: char) -> bool {
    is_word_start(c) || c.is_ascii_digit() || c == '$'
}

/// The length of what stands between two quotes, doubled ones and those after a backslash among it.
fn quoted(text: &str, quote: char, has_escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && has_escapes {
            characters.next();
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// The length of a string with escapes, which may span lines.
fn escaped(text: &str) -> usize {
    let mut length = quoted(text, '\'', true);
    loop {
        let behind = &text[length..];
        let mut blank = 0;
        loop {
            let more = &behind[blank..];
            let spaces = more.len() - more.trim_start().len();
            let is_comment = more[spaces..].starts_with("--");
            blank += spaces;
            if !is_comment {
                break;
            }
            let more = &behind[blank..];
            blank += more.find('\n').unwrap_or(more.len());
        }
        if !(behind[..blank].contains('\n') && behind[blank..].starts_with('\'')) {
            return length;
        }
        length += blank + quoted(&behind[blank..], '\'', true);
    }
}

/// The length of a comment; others may stand in it.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(found) = text[at..].find(['/', '*']) {
        at += found;
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of `$tag$ … $tag$`, or of the dollar sign alone.
fn dollar_quoted(text: &str) -> usize {
    let tag = text[1..].find(|c| !is_word(c) || c == '$').map(|at| at + 1);
    let Some(tag) = tag.filter(|at| text[*at..].starts_with('$')) else {
        return 1;
    };
    let mark = &text[..=tag];
    if mark[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return 1;
    }
    let body = &text[mark.len()..];
    body.find(mark)
        .map_or(text.len(), |end| mark.len() + end + mark.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_semicolon_between_statements_cuts() {
        for (text, expected) in [
            ("", &[][..]),
            (" ; -- a;b\n; /* c; /* d; */ e; */", &[]),
            ("SELECT 1", &["SELECT 1"]),
            ("SELECT 1;\n SELECT 2 ;", &["SELECT 1", "SELECT 2"]),
            (
                r"SELECT 'a;''b\'; SELECT 2",
                &[r"SELECT 'a;''b\'", "SELECT 2"],
            ),
            (
                r"SELECT E'a\';b'; SELECT 2",
                &[r"SELECT E'a\';b'", "SELECT 2"],
            ),
            (
                "SELECT E'a' -- x\n '\\';b'; SELECT 2",
                &["SELECT E'a' -- x\n '\\';b'", "SELECT 2"],
            ),
            (
                r"SELECT typE'\'; SELECT 2",
                &[r"SELECT typE'\'", "SELECT 2"],
            ),
            (
                "SELECT 1 AS \"a;\"\"b\"; x",
                &["SELECT 1 AS \"a;\"\"b\"", "x"],
            ),
            (
                "DO $$ a; $b$ ; $$; DO $b$ $$; $b$",
                &["DO $$ a; $b$ ; $$", "DO $b$ $$; $b$"],
            ),
            (
                "SELECT a$b$; SELECT $1; c",
                &["SELECT a$b$", "SELECT $1", "c"],
            ),
            (
                "CREATE RULE r AS ON x DO (a; b); c",
                &["CREATE RULE r AS ON x DO (a; b)", "c"],
            ),
            (
                "create or replace function f() begin atomic select case when a then b end; end; begin; c",
                &[
                    "create or replace function f() begin atomic select case when a then b end; end",
                    "begin",
                    "c",
                ],
            ),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    fn token() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z_][a-z0-9_$]{0,3}",
            "'([a-z;\\\\\"$-]|''){0,5}'",
            "\"([a-z;'$-]|\"\"){0,5}\"",
            "[eE]'([a-z;$-]|\\\\[';\\\\]){0,5}'",
            "\\$q\\$[a-z;' \"-]{0,5}\\$q\\$",
            "\\([a-z;]{0,3}\\)",
            "/\\*[a-z;' ]{0,5}\\*/",
            "--[a-z;'$ ]{0,5}\n",
            "[0-9]{1,3}",
        ]
    }

    proptest! {
        #[test]
        fn statements_that_are_joined_come_apart_again(
            statements in prop::collection::vec(prop::collection::vec(token(), 0..6), 0..5)
        ) {
            // Between two texts a line break would make one of them.
            let statements: Vec<String> = statements.iter().map(|tokens| format!("x {}", tokens.join(" , "))).collect();
            let found = split(&statements.join(";")).len();
            prop_assert_eq!(found, statements.len(), "{:?}", statements);
        }

        #[test]
        fn any_text_is_split_and_nothing_is_lost(text: String) {
            let mut rest = text.as_str();
            for statement in split(&text) {
                let at = rest.find(statement);
                prop_assert!(at.is_some());
                rest = &rest[at.unwrap_or_default() + statement.len()..];
            }
        }
    }
}
