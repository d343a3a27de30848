//! The file in which a token is kept between commands: its owner's alone, and complete whenever it is seen.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cursus_base::failpoint::Point;
use jiff::Timestamp;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::exchange::{Token, TokenMetadata};

/// More than any token file has.
const LARGEST: u64 = 64 << 10;

/// A token's file before it has its name, and how long it takes at most until it has.
const UNFINISHED: &str = ".token-";
const UNFINISHED_FOR: Duration = Duration::from_mins(10);

#[derive(Serialize, Deserialize)]
struct TokenFile {
    access_token: String,
    asked: Timestamp,
    #[serde(flatten)]
    metadata: TokenMetadata,
}

/// A file that is missing or damaged, readable for others or of somebody else holds no token: what another user has put there
/// would send our requests in their name.
pub(super) async fn read(path: PathBuf) -> Option<Token> {
    let read = move || -> Option<Token> {
        // A pipe would make us wait, a link lead elsewhere.
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(&path)
            .ok()?;
        // Of what was opened: the name may lead elsewhere by now.
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
            return None;
        }
        if metadata.uid() != geteuid().as_raw() {
            tracing::warn!(target: crate::LOG, path = %path.display(), "the token belongs to another user and is not used; a new one is asked for");
            return None;
        }
        let mut bytes = Vec::new();
        (&mut file).take(LARGEST).read_to_end(&mut bytes).ok()?;
        let file: TokenFile = serde_json::from_slice(&bytes).ok()?;
        Some(Token {
            access: SecretString::from(file.access_token),
            asked: file.asked,
            metadata: file.metadata,
        })
    };
    tokio::task::spawn_blocking(read).await.ok().flatten()
}

/// The file is 0600 from its first moment, and complete whenever it is seen.
pub(super) async fn write(path: PathBuf, token: Token) -> std::io::Result<()> {
    let write = move || -> std::io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let content = serde_json::to_vec(&TokenFile {
            access_token: token.access.expose_secret().to_owned(),
            asked: token.asked,
            metadata: token.metadata,
        })?;
        Point::TokenWrite.io()?;
        forget_unfinished(directory);
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(directory)?;
        file.write_all(&content)?;
        Point::TokenRename.io()?;
        file.persist(&path)?;
        Point::TokenDone.reach();
        Ok(())
    };
    // What a fault in it says can hold what it was about.
    let fault = |_| Err(std::io::Error::other("its thread ended early"));
    tokio::task::spawn_blocking(write)
        .await
        .unwrap_or_else(fault)
}

/// A process that died while it wrote has left a token behind. What is young may be somebody's who writes now.
fn forget_unfinished(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let is_old = |metadata: std::fs::Metadata| {
            metadata
                .modified()
                .ok()?
                .elapsed()
                .ok()
                .map(|age| age > UNFINISHED_FOR)
        };
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED)
            && entry.metadata().ok().and_then(is_old) == Some(true)
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::token;
    use super::*;

    #[tokio::test]
    async fn the_file_is_private_and_complete_or_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state").join("token.json");
        write(path.clone(), token(1_000, 7_200)).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let kept = read(path.clone()).await.unwrap();
        assert_eq!(kept.access.expose_secret(), "canary");
        assert_eq!(kept.metadata, token(1_000, 7_200).metadata);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(path.clone()).await.is_none());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"{\"access_token\":\"can").unwrap();
        assert!(read(path).await.is_none());
    }

    #[tokio::test]
    async fn a_token_left_by_a_dead_writer_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, age) in [(".token-old", 3_600), (".token-new", 0), ("other", 3_600)] {
            let file = std::fs::File::create(path(name)).unwrap();
            let written = std::time::SystemTime::now() - Duration::from_secs(age);
            file.set_modified(written).unwrap();
        }
        write(path("token.json"), token(1_000, 7_200))
            .await
            .unwrap();
        let is_there = |name| path(name).exists();
        assert!(!is_there(".token-old") && is_there(".token-new") && is_there("other"));
    }
}
