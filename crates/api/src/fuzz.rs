//! What a server or another program can hand to the client, each read from any bytes: targets of `make fuzz`.
#![expect(
    clippy::missing_panics_doc,
    reason = "to panic is how a target reports a bug"
)]

use cursus_base::list_limits::MOST_RECORDS;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{answer, ledger};

/// Headers of an answer, a line each.
pub fn headers(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        if let Ok(name) = HeaderName::from_bytes(&line[..colon])
            && let Ok(value) = HeaderValue::from_bytes(&line[colon + 1..])
        {
            headers.insert(name, value);
        }
    }
    for count in [answer::total(&headers), answer::per_page(&headers)] {
        assert!(count.is_none_or(|count| count <= MOST_RECORDS));
    }
    let _ = answer::retry_after(&headers);
    let _ = answer::has_next(&headers);
    let _ = answer::date(&headers);
    let _ = answer::rate_headers(&headers);
}

/// The ledger of requests.
pub fn ledger(input: &[u8]) {
    if let Some(log) = ledger::decode(input) {
        let written = ledger::encode(&log).ok();
        assert_eq!(
            written.and_then(|written| ledger::decode(&written)),
            Some(log)
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Each input, and all that a cut leaves of it.
    fn feed(name: &str, target: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let mut count = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let input = std::fs::read(entry.unwrap().path()).unwrap();
            (0..=input.len()).for_each(|end| target(&input[..end]));
            count += 1;
        }
        assert!(count > 1, "{name} has a corpus");
    }

    #[test]
    fn inputs_of_the_corpora_are_read_or_refused() {
        feed("headers", headers);
        feed("ledger", ledger);
    }
}
