//! The line of a page that was rewritten because a person in it was erased, and the same line as it was received.

use serde::{Deserialize, Serialize};

/// What a page was when it was received, before a person was erased from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewritten {
    /// SHA-256 of the body as it was received, in hex.
    pub was: String,
    /// Its bytes.
    pub bytes: u64,
    /// The erasure, as the erasure ledger names it.
    pub erasure: String,
}

/// A body: its length, and its SHA-256 in hex.
pub(crate) type Body<'a> = (u64, &'a str);

/// How a line of the journal says what its body is. It stands there once: inside of a text a quote has a backslash.
fn said((bytes, sha256): Body<'_>) -> String {
    format!("\"bytes\":{bytes},\"sha256\":\"{sha256}\"")
}

fn end(rewritten: &Rewritten) -> Option<String> {
    let text = serde_json::to_string(rewritten).ok()?;
    Some(format!(",\"rewritten\":{text}}}\n"))
}

/// The line of a page as it was before it was rewritten; none if the line is not as cursus writes it.
pub(crate) fn as_received(line: &[u8], now: Body<'_>, rewritten: &Rewritten) -> Option<Vec<u8>> {
    let line = std::str::from_utf8(line).ok()?;
    let before = line.strip_suffix(&end(rewritten)?)?;
    let before = replace_once(before, &said(now), &said((rewritten.bytes, &rewritten.was)))?;
    Some(format!("{before}}}\n").into_bytes())
}

/// The line of a page whose body is another one `now`; none if the line is not as cursus writes it.
pub(super) fn as_rewritten(
    received: &[u8],
    was: Body<'_>,
    now: Body<'_>,
    rewritten: Option<&Rewritten>,
) -> Option<Vec<u8>> {
    let line = std::str::from_utf8(received).ok()?;
    let line = replace_once(line, &said(was), &said(now))?;
    let Some(rewritten) = rewritten else {
        return Some(line.into_bytes());
    };
    let open = line.strip_suffix("}\n")?;
    Some(format!("{open}{}", end(rewritten)?).into_bytes())
}

fn replace_once(text: &str, from: &str, to: &str) -> Option<String> {
    let (before, after) = text.split_once(from)?;
    (!after.contains(from)).then(|| format!("{before}{to}{after}"))
}
