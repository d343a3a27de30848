//! The bytes of a ledger file: the limits, the pause, what was sent when, and a checksum. It touches no file.

use crate::api::log::{Entry, Log, Millis, Told};

const MAGIC: &[u8; 8] = b"cursusL2";
/// Files without the limits, of earlier versions of this program.
const WITHOUT_LIMITS: &[u8; 8] = b"cursusL1";
const HEADER: usize = 8 + 2 * 8 + 8 + 4;
const ENTRY: usize = 8 + 4;
const CHECKSUM: usize = 8;
/// A limit of nothing is none: the server never told it.
const UNTOLD: u64 = 0;

/// Times beyond the year 10000 are no times.
pub(super) const MAX_TIME: Millis = 1 << 48;

pub(super) fn encode(log: &Log) -> Vec<u8> {
    let entries = log.entries();
    let told = log.told();
    let mut bytes = Vec::with_capacity(HEADER + entries.len() * ENTRY + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    for limit in [told.second, told.hour] {
        bytes.extend_from_slice(&limit.unwrap_or(UNTOLD).to_le_bytes());
    }
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
pub(crate) fn decode(bytes: &[u8]) -> Option<Log> {
    let (told, rest) = match bytes.strip_prefix(MAGIC) {
        Some(rest) => {
            let (second, rest) = rest.split_first_chunk::<8>()?;
            let (hour, rest) = rest.split_first_chunk::<8>()?;
            let limit = |bytes: &[u8; 8]| Some(u64::from_le_bytes(*bytes)).filter(|n| *n != UNTOLD);
            let (second, hour) = (limit(second), limit(hour));
            (Told { second, hour }, rest)
        }
        None => (Told::default(), bytes.strip_prefix(WITHOUT_LIMITS)?),
    };
    let (paused_until, rest) = rest.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*count))
        .ok()?
        .checked_mul(ENTRY)?;
    let (body, rest) = rest.split_at_checked(length)?;
    let (sum, _) = rest.split_first_chunk::<CHECKSUM>()?;
    let summed = bytes.len() - rest.len();
    if u64::from_le_bytes(*sum) != checksum(&bytes[..summed]) {
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
        .then(|| Log::from_parts(entries, paused_until, told))
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

    /// The same state as an earlier version wrote it.
    fn without_limits(encoded: &[u8]) -> Vec<u8> {
        let body = &encoded[MAGIC.len() + 2 * 8..encoded.len() - CHECKSUM];
        let mut bytes = [WITHOUT_LIMITS, body].concat();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(
            bytes: Vec<u8>,
            cut in 0_usize..200,
            second in proptest::option::of(1_u64..),
            hour in proptest::option::of(1_u64..),
        ) {
            let _ = decode(&bytes);
            let mut log = Log::default();
            for (at, byte) in (0..).step_by(7).zip(&bytes) {
                log.push(at, u32::from(*byte) + 1);
            }
            log.pause(77);
            let old = without_limits(&encode(&log));
            proptest::prop_assert_eq!(decode(&old), Some(log.clone()));
            log.tell(Told { second, hour });
            let encoded = encode(&log);
            proptest::prop_assert_eq!(decode(&encoded), Some(log));
            if cut > 0 && cut < encoded.len() {
                proptest::prop_assert_eq!(decode(&encoded[..encoded.len() - cut]), None);
            }
        }
    }
}
