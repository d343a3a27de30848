//! A path as one word of a shell.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A path as a shell reads it.
pub fn shell(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=:@%".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return path.display().to_string();
    }
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let escaped: String = bytes
                .iter()
                .map(|byte| match byte {
                    b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                    0x20..=0x7e => char::from(*byte).to_string(),
                    byte => format!("\\x{byte:02x}"),
                })
                .collect();
            format!("$'{escaped}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        for (path, wanted) in [
            ("/srv/mirror", "/srv/mirror"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("a\nb", r"$'a\x0ab'"),
        ] {
            assert_eq!(shell(Path::new(path)), wanted);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_any_path_back(bytes in proptest::collection::vec(1_u8.., 1..20)) {
            let path = Path::new(OsStr::from_bytes(&bytes));
            let script = format!("printf %s {}", shell(path));
            let Ok(read) = Command::new("bash").args(["-c", &script]).output() else {
                return Ok(());
            };
            prop_assert_eq!(OsStr::from_bytes(&read.stdout), path.as_os_str());
        }
    }
}
