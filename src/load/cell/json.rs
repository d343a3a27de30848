//! JSON strings as text, and JSON documents that PostgreSQL will take.

use crate::load::cell::{Misfit, mismatch};

/// Nesting beyond this is refused: PostgreSQL's own limit depends on its stack.
const MAX_DEPTH: usize = 512;

/// PostgreSQL's numeric ends somewhere behind this.
const MAX_DIGITS: usize = 1000;

/// PostgreSQL's jsonb ends here.
const MAX_DOCUMENT: usize = (1 << 28) - 1;
/// Bytes of a jsonb element beside its text, at most.
const ELEMENT: usize = 16;

/// Appends the text of a JSON string. PostgreSQL has no NUL in text, and JSON none that is not escaped.
pub(crate) fn text(raw: &str, out: &mut Vec<u8>) -> Result<(), Misfit> {
    with_text(raw, "a text", |text| {
        if text.len() + 2 < raw.len() && text.contains('\0') {
            return Err("the text holds a NUL character, which PostgreSQL cannot store".to_owned());
        }
        out.extend_from_slice(text.as_bytes());
        Ok(())
    })
}

/// Hands the text of a JSON string to `take`; copied only where it has escapes.
pub(crate) fn with_text<T>(
    raw: &str,
    wanted: &str,
    take: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Misfit> {
    let inner = raw
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or_else(|| mismatch(raw, wanted))?;
    if !inner.contains('\\') {
        return take(inner).map_err(Misfit);
    }
    let text: String = serde_json::from_str(raw)
        .map_err(|_| Misfit("the text has an escape that is no character".to_owned()))?;
    take(&text).map_err(Misfit)
}

/// Refuses what PostgreSQL would refuse in json and jsonb, which would end the COPY of all rows:
/// `\u0000`, half surrogate pairs, numbers beyond its numeric, deep nesting.
pub(crate) fn check_for_postgres(raw: &str) -> Result<(), Misfit> {
    let mut depth = 0_usize;
    let bytes = raw.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                let string = &raw[at..end];
                if string.contains("\\u") {
                    let text: String = serde_json::from_str(string).map_err(|_| {
                        Misfit(
                            "a text in the document has an escape that is no character".to_owned(),
                        )
                    })?;
                    if text.contains('\0') {
                        return Err(Misfit(
                            "a text in the document holds a NUL character, which PostgreSQL cannot store"
                                .to_owned(),
                        ));
                    }
                }
                at = end;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Misfit(format!(
                        "the document is nested deeper than {MAX_DEPTH} levels"
                    )));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'e' | b'E' => check_exponent(&bytes[at + 1..])?,
            b'0'..=b'9' => {
                let digits = bytes[at..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
                if digits > MAX_DIGITS {
                    return Err(Misfit(
                        "a number in the document has too many digits".to_owned(),
                    ));
                }
                at += digits;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Refuses a document whose jsonb would be larger than PostgreSQL takes; what is refused may be a little smaller.
pub(crate) fn check_size(raw: &str) -> Result<(), Misfit> {
    if raw.len() <= MAX_DOCUMENT / ELEMENT {
        return Ok(());
    }
    let is_separator = |byte: &u8| matches!(byte, b',' | b':' | b'[' | b'{');
    let elements = raw.bytes().filter(is_separator).count();
    if raw.len() + elements * ELEMENT > MAX_DOCUMENT {
        return Err(too_large());
    }
    Ok(())
}

pub(crate) fn too_large() -> Misfit {
    Misfit("the value is larger than PostgreSQL takes".to_owned())
}

/// Outside strings an `e` stands in `true`, `false` and numbers; only a number has digits behind it.
fn check_exponent(rest: &[u8]) -> Result<(), Misfit> {
    let digits = rest
        .strip_prefix(b"-")
        .or_else(|| rest.strip_prefix(b"+"))
        .unwrap_or(rest);
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let significant = digits[..count]
        .iter()
        .skip_while(|byte| **byte == b'0')
        .count();
    if significant > 3 {
        return Err(Misfit(
            "a number in the document has too large an exponent".to_owned(),
        ));
    }
    Ok(())
}

/// The byte after the closing quote of the string that opens at `open`.
fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}
