//! Whether two JSON texts are the same jsonb document: one as the API wrote it, one as PostgreSQL prints it.

/// Whether `text` is the document that PostgreSQL prints as `printed`. A no may be a yes: escaped or repeated keys and
/// numbers with an exponent are left to the server.
pub(crate) fn is_same_document(text: &[u8], printed: &[u8]) -> bool {
    let mut out = Vec::with_capacity(printed.len());
    let mut rest = text;
    value(&mut rest, &mut out).is_some() && out == printed
}

fn skip_space(rest: &mut &[u8]) {
    while let [b' ' | b'\n' | b'\r' | b'\t', after @ ..] = rest {
        *rest = after;
    }
}

fn take(rest: &mut &[u8], byte: u8) -> Option<()> {
    skip_space(rest);
    let after = rest.strip_prefix(&[byte])?;
    *rest = after;
    Some(())
}

/// Appends the next value as PostgreSQL prints it. `rest` is valid JSON.
fn value(rest: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    skip_space(rest);
    match rest.first()? {
        b'{' => object(rest, out),
        b'[' => list(rest, out),
        b'"' => string(rest, out),
        b'-' | b'0'..=b'9' => number(rest, out),
        _ => {
            let length = rest
                .iter()
                .take_while(|byte| byte.is_ascii_alphabetic())
                .count();
            let (word, after) = rest.split_at(length.max(1));
            out.extend_from_slice(word);
            *rest = after;
            Some(())
        }
    }
}

/// PostgreSQL prints keys by length, then by bytes.
fn object<'t>(rest: &mut &'t [u8], out: &mut Vec<u8>) -> Option<()> {
    take(rest, b'{')?;
    let mut values = Vec::new();
    let mut members: Vec<(&'t [u8], std::ops::Range<usize>)> = Vec::new();
    if take(rest, b'}').is_none() {
        loop {
            skip_space(rest);
            let key = plain_string(rest)?;
            take(rest, b':')?;
            let start = values.len();
            value(rest, &mut values)?;
            members.push((key, start..values.len()));
            if take(rest, b'}').is_some() {
                break;
            }
            take(rest, b',')?;
        }
    }
    members.sort_unstable_by_key(|(key, _)| (key.len(), *key));
    out.push(b'{');
    let mut last = None;
    for (key, range) in members {
        if last == Some(key) {
            return None;
        }
        if last.is_some() {
            out.extend_from_slice(b", ");
        }
        last = Some(key);
        out.push(b'"');
        out.extend_from_slice(key);
        out.extend_from_slice(b"\": ");
        out.extend_from_slice(&values[range]);
    }
    out.push(b'}');
    Some(())
}

fn list(rest: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    take(rest, b'[')?;
    out.push(b'[');
    if take(rest, b']').is_none() {
        loop {
            value(rest, out)?;
            if take(rest, b']').is_some() {
                break;
            }
            take(rest, b',')?;
            out.extend_from_slice(b", ");
        }
    }
    out.push(b']');
    Some(())
}

/// The inside of a string without escapes.
fn plain_string<'t>(rest: &mut &'t [u8]) -> Option<&'t [u8]> {
    let inside = rest.strip_prefix(b"\"")?;
    let end = inside
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (text, after) = inside.split_at(end);
    *rest = after.strip_prefix(b"\"")?;
    Some(text)
}

fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    if let Some(text) = plain_string(rest) {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
        return Some(());
    }
    let mut parser = serde_json::Deserializer::from_slice(rest).into_iter::<String>();
    let text = parser.next()?.ok()?;
    let length = parser.byte_offset();
    *rest = &rest[length..];
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    Some(())
}

/// PostgreSQL keeps the digits of a number, but for an exponent and for the sign of zero.
fn number(rest: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    let is_part = |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
    let length = rest.iter().take_while(is_part).count();
    let (number, after) = rest.split_at(length);
    let has_exponent = number.iter().any(|byte| matches!(byte, b'e' | b'E'));
    let is_nothing = number.iter().all(|byte| matches!(byte, b'-' | b'.' | b'0'));
    if has_exponent || (is_nothing && number.starts_with(b"-")) {
        return None;
    }
    out.extend_from_slice(number);
    *rest = after;
    Some(())
}
