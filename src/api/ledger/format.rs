//! The bytes of a ledger file: what was sent when, the pause, and a checksum. It touches no file.

use crate::api::log::{Entry, Log, Millis};

const MAGIC: &[u8; 8] = b"cursusL1";
const HEADER: usize = 8 + 8 + 4;
const ENTRY: usize = 8 + 4;
const CHECKSUM: usize = 8;

/// Times beyond the year 10000 are no times.
pub(super) const MAX_TIME: Millis = 1 << 48;

pub(super) fn encode(log: &Log) -> Vec<u8> {
    let entries = log.entries();
    let mut bytes = Vec::with_capacity(HEADER + entries.len() * ENTRY + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&log.paused_until().to_le_bytes());
    bytes.extend_from_slice(
        &u32::try_from(entries.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    for entry in entries {
        bytes.extend_from_slice(&entry.at.to_le_bytes());
        bytes.extend_from_slice(&entry.count.to_le_bytes());
    }
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Bytes after the checksum are the rest of a longer, older state.
pub(super) fn decode(bytes: &[u8]) -> Option<Log> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (paused_until, rest) = rest.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*count))
        .ok()?
        .checked_mul(ENTRY)?;
    let (body, rest) = rest.split_at_checked(length)?;
    let (sum, _) = rest.split_first_chunk::<CHECKSUM>()?;
    if u64::from_le_bytes(*sum) != checksum(&bytes[..HEADER + length]) {
        return None;
    }
    let entries: Vec<Entry> = body
        .chunks_exact(ENTRY)
        .filter_map(|chunk| {
            let (at, count) = chunk.split_first_chunk::<8>()?;
            Some(Entry {
                at: Millis::from_le_bytes(*at),
                count: u32::from_le_bytes(*count.first_chunk::<4>()?),
            })
        })
        .collect();
    let paused_until = Millis::from_le_bytes(*paused_until);
    let sane = |at: Millis| (0..MAX_TIME).contains(&at);
    let ordered = entries.is_sorted_by(|one, next| one.at < next.at);
    (ordered && sane(paused_until) && entries.iter().all(|entry| sane(entry.at)))
        .then(|| Log::from_parts(entries, paused_until))
}

/// FNV-1a: finds cuts and mixtures of two states; nobody is kept out by it.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>, cut in 0_usize..200) {
            let _ = decode(&bytes);
            let mut log = Log::default();
            for (at, byte) in (0..).step_by(7).zip(&bytes) {
                log.push(at, u32::from(*byte) + 1);
            }
            log.pause(77);
            let encoded = encode(&log);
            proptest::prop_assert_eq!(decode(&encoded), Some(log));
            if cut > 0 && cut < encoded.len() {
                proptest::prop_assert_eq!(decode(&encoded[..encoded.len() - cut]), None);
            }
        }
    }
}
