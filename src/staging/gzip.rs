//! gzip with reused buffers: a third of a megabyte allocated and freed for each page fragments memory.

use std::io::{ErrorKind, Read, Result, Write};
use std::sync::Mutex;

use crate::mutex::locked;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Bytes of a page in memory at once.
pub(super) const PIECE: usize = 64 << 10;

/// No name, no time, no flags, any system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

struct Packer {
    encoder: DeflateEncoder<Vec<u8>>,
    piece: Vec<u8>,
}

/// Idle packers, at most as many as pages were written at the same time. Process-wide, because the heap is: they carry nothing from
/// one page to the next.
static IDLE: Mutex<Vec<Packer>> = Mutex::new(Vec::new());

/// Packs `plain` into `packed`; `each` gets the plain bytes as they pass.
pub(super) fn pack(
    plain: impl Read,
    packed: &mut impl Write,
    each: impl FnMut(&[u8]),
) -> Result<()> {
    let idle = || locked(&IDLE);
    let packer = idle().pop();
    let mut packer = packer.unwrap_or_else(|| Packer {
        encoder: DeflateEncoder::new(Vec::new(), Compression::default()),
        piece: vec![0; PIECE],
    });
    packer.pack(plain, packed, each)?;
    idle().push(packer);
    Ok(())
}

impl Packer {
    /// After an error it must not be used again.
    fn pack(
        &mut self,
        mut plain: impl Read,
        packed: &mut impl Write,
        mut each: impl FnMut(&[u8]),
    ) -> Result<()> {
        let Self { encoder, piece } = self;
        let mut crc = Crc::new();
        encoder.get_mut().extend(HEAD);
        loop {
            let length = match plain.read(piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            each(&piece[..length]);
            crc.update(&piece[..length]);
            encoder.write_all(&piece[..length])?;
            if encoder.get_ref().len() >= PIECE {
                packed.write_all(encoder.get_ref())?;
                encoder.get_mut().clear();
            }
        }
        let mut end = encoder.reset(Vec::new())?;
        end.extend(crc.sum().to_le_bytes());
        end.extend(crc.amount().to_le_bytes());
        packed.write_all(&end)?;
        end.clear();
        *encoder.get_mut() = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::MultiGzDecoder;
    use proptest::prelude::*;

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        MultiGzDecoder::new(packed).read_to_end(&mut plain).unwrap();
        plain
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn packed_pages_come_back_one_after_another(
            pages in prop::collection::vec((0_usize..300_000, any::<u64>()), 1..4),
        ) {
            for (length, seed) in pages {
                let mut random = fastrand::Rng::with_seed(seed);
                let page: Vec<u8> = std::iter::repeat_with(|| random.u8(..4)).take(length).collect();
                let (mut packed, mut seen) = (Vec::new(), Vec::new());
                pack(page.as_slice(), &mut packed, |plain| seen.extend_from_slice(plain)).unwrap();
                prop_assert_eq!(unpacked(&packed), page.clone());
                prop_assert_eq!(seen, page);
            }
        }
    }

    #[test]
    fn failed_page_leaves_nothing_for_the_next() {
        let page = vec![b'x'; 3 * PIECE];
        let mut full = [0; 5];
        pack(page.as_slice(), &mut full.as_mut_slice(), |_| ()).unwrap_err();
        let mut packed = Vec::new();
        pack(&b"[]"[..], &mut packed, |_| ()).unwrap();
        assert_eq!(unpacked(&packed), b"[]");
    }
}
