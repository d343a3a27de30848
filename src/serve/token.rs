//! The token file: read at each request, so that a new token counts at once and the old one no longer.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error_chain::chain;
use crate::exit::Failure;
use crate::hash::Hash;
use crate::trusted::{Folder, Owner, shell};

/// Characters of a token: 32 random ones cannot be guessed.
const SHORTEST: usize = 32;
/// Bytes of the file.
const LONGEST: usize = 4096;

/// Where the token is.
pub(super) struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// Refuses a file that another user can read or write, and a token that is too short.
    pub(super) fn open(path: PathBuf) -> Result<Self, Failure> {
        let file = Self { path };
        file.hash(&[])?;
        Ok(file)
    }

    /// The hash of the token as the file has it now, behind a key that nobody knows: no time that a comparison takes tells of it.
    pub(super) fn hash(&self, key: &[u8]) -> Result<Hash, Failure> {
        let text = read(&self.path)?;
        let token = text.trim();
        let fault = |what: &str| {
            let path = shell(&self.path);
            Failure::usage(format!(
                "{} {what}; make one with `(umask 077; head -c 32 /dev/urandom | base64 > {path})`",
                self.path.display()
            ))
        };
        if !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(fault(
                "holds more than one word, or other than printable ASCII characters, and is no token",
            ));
        }
        if text.len() > LONGEST {
            return Err(fault(&format!("has more than {LONGEST} bytes")));
        }
        if token.len() < SHORTEST {
            return Err(fault(&format!(
                "has a token of fewer than {SHORTEST} characters, which can be guessed"
            )));
        }
        Ok(hash(key, token))
    }
}

/// The password of `Authorization: Basic`.
pub(super) fn of_basic(given: &str) -> Option<String> {
    let text = String::from_utf8(decoded(given.trim())?).ok()?;
    let (_, password) = text.split_once(':')?;
    Some(password.to_owned())
}

/// The bytes of a text in Base64.
fn decoded(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0_u32, Vec::new());
    for digit in text.trim_end_matches('=').chars() {
        bits = (bits << 6) | u32::try_from(DIGITS.find(digit)?).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

/// Of a token, or of what is said to be one.
pub(super) fn hash(key: &[u8], token: &str) -> Hash {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update(token);
    hash.finalize().into()
}

fn read(path: &Path) -> Result<String, Failure> {
    let opened = open(path)
        .map_err(|sentence| Failure::usage(format!("the token file is not used: {sentence}")))?;
    let mut text = String::new();
    match opened.take(LONGEST as u64 + 1).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::usage(format!(
            "the token file {} cannot be read: {error}",
            path.display()
        ))),
    }
}

fn open(path: &Path) -> Result<File, String> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let name = path
        .file_name()
        .ok_or_else(|| format!("{} names no file", path.display()))?;
    let folder = Folder::open(parent.unwrap_or(Path::new(".")), Owner::caller_or_root());
    let opened = folder.and_then(|folder| folder.open_file(name, nix::fcntl::OFlag::empty()));
    let Some(opened) = opened.map_err(|fault| chain(&fault))? else {
        return Err(format!("{} does not exist", path.display()));
    };
    let there = opened.metadata().map_err(|error| error.to_string())?;
    if there.mode() & 0o077 != 0 {
        return Err(format!(
            "{} can be read by other users of this machine; `chmod 600 {}`",
            path.display(),
            shell(path)
        ));
    }
    Ok(opened)
}
