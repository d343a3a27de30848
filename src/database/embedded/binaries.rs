//! Finds `PostgreSQL`'s server programs on this machine. Knows nothing of a cluster's files.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;

use super::EmbeddedError;

/// The oldest `PostgreSQL` that we use.
const OLDEST: u32 = 14;

/// A directory with `initdb` and `postgres`, newest places first: `CURSUS_PG_BIN` alone if it is set, else `PATH`, then where
/// packages put them. With `wanted` (a major version), only a directory of that version will do.
pub(super) fn find(wanted: Option<u32>) -> Result<PathBuf, EmbeddedError> {
    if let Some(named) = env::var_os("CURSUS_PG_BIN") {
        let named = PathBuf::from(named);
        if !is_complete(&named) {
            return Err(EmbeddedError::NamedBinaries { path: named });
        }
        return suits(&named, wanted).map(|()| named);
    }
    let mut refusal = None;
    for dir in candidates().into_iter().filter(|dir| is_complete(dir)) {
        let dir = resolved(dir);
        match suits(&dir, wanted) {
            Ok(()) => return Ok(dir),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.unwrap_or_else(|| EmbeddedError::NoBinaries {
        install: install_hint(),
    }))
}

/// The directory alone, for a server that runs already.
pub(super) fn find_any() -> Result<PathBuf, EmbeddedError> {
    let named = env::var_os("CURSUS_PG_BIN").map(PathBuf::from);
    named
        .into_iter()
        .chain(candidates())
        .find(|dir| is_complete(dir))
        .map(resolved)
        .ok_or_else(|| EmbeddedError::NoBinaries {
            install: install_hint(),
        })
}

fn candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    // Debian and Alpine; then Homebrew's postgresql@17 and the pgsql-17 of PostgreSQL's own RPMs; what was fetched without a package.
    let fetched = fetched();
    for (root, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr/libexec", "postgresql"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@"),
        ("/usr", "pgsql-"),
    ]
    .into_iter()
    .map(|(root, prefix)| (Path::new(root), prefix))
    .chain([(fetched.as_path(), "")])
    {
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(root)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
                Some((version, entry.path()))
            })
            .collect();
        versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        for (_, path) in versions {
            found.push(path.join("bin"));
            found.push(path);
        }
    }
    found.push("/Applications/Postgres.app/Contents/Versions/latest/bin".into());
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        found.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    found
}

/// Where `scripts/ensure-postgres.sh` puts what it fetches. Root runs nothing out of a home.
fn fetched() -> PathBuf {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .filter(|_| !geteuid().is_root())
        .unwrap_or_else(|| "/usr/local/share".into());
    data.join("cursus/postgres")
}

fn is_complete(dir: &Path) -> bool {
    ["initdb", "postgres"]
        .iter()
        .all(|program| dir.join(program).is_file())
}

/// Where links such as `/usr/local/bin/initdb` point, so that `psql` is likely to lie beside.
fn resolved(dir: PathBuf) -> PathBuf {
    fs::canonicalize(dir.join("initdb"))
        .ok()
        .and_then(|program| program.parent().map(Path::to_path_buf))
        .filter(|real| is_complete(real))
        .unwrap_or(dir)
}

fn suits(dir: &Path, wanted: Option<u32>) -> Result<(), EmbeddedError> {
    let version = version(dir).ok_or_else(|| EmbeddedError::NamedBinaries {
        path: dir.to_path_buf(),
    })?;
    if version < OLDEST {
        return Err(EmbeddedError::TooOld {
            path: dir.to_path_buf(),
            version,
            oldest: OLDEST,
        });
    }
    match wanted {
        Some(wanted) if wanted != version => Err(EmbeddedError::OtherVersion {
            path: dir.to_path_buf(),
            version,
            wanted,
        }),
        _ => Ok(()),
    }
}

/// The major version out of `postgres (PostgreSQL) 15.18 (…)`.
fn version(dir: &Path) -> Option<u32> {
    let output = Command::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = text.split_whitespace().nth(2)?;
    word.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

fn install_hint() -> String {
    if cfg!(target_os = "macos") {
        return "brew install postgresql@17".to_owned();
    }
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    install_command(&text).to_owned()
}

/// The command that installs the server, by the `ID` and `ID_LIKE` of an os-release file.
fn install_command(os_release: &str) -> &'static str {
    let fields: HashMap<&str, &str> = os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key, value.trim_matches('"')))
        .collect();
    let ids = ["ID", "ID_LIKE"]
        .iter()
        .filter_map(|key| fields.get(key))
        .flat_map(|value| value.split_whitespace());
    for id in ids {
        match id {
            "debian" | "ubuntu" => return "apt-get install postgresql",
            "fedora" | "rhel" | "centos" => return "dnf install postgresql-server",
            "alpine" => return "apk add postgresql",
            "arch" => return "pacman -S postgresql",
            "suse" | "opensuse" => return "zypper install postgresql-server",
            "nixos" => return "nix-shell -p postgresql",
            _ => {}
        }
    }
    "the package `postgresql` (the server) of your system"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_to_install_is_named_for_the_system() {
        assert_eq!(
            install_command("NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"),
            "apt-get install postgresql"
        );
        assert_eq!(
            install_command("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            "dnf install postgresql-server"
        );
        assert!(install_command("").contains("postgresql"));
    }
}
