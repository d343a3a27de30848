//! Migrations out of files: ours from the program, a user's from a folder. Knows no database.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use include_dir::Dir;
use refinery::Migration;

use super::error::MigrateError;
use super::names::FIRST_LOCAL;
use crate::pack_files::PackFiles;
use crate::trusted::{Folder, Owner, Untrusted};

/// The migrations that this program carries.
pub(super) fn shipped(dir: &Dir<'_>) -> Result<Vec<Migration>, MigrateError> {
    let mut migrations = Vec::new();
    for file in dir.files() {
        migrations.push(parse(file.path(), file.contents_utf8())?);
    }
    migrations.sort();
    Ok(migrations)
}

/// A user's own migrations; files that are the same as ours are passed over.
pub(super) fn local(folder: &Path, mirror: &[Migration]) -> Result<Vec<Migration>, MigrateError> {
    let folder = match Folder::open(folder, Owner::caller_or_root()) {
        Err(Untrusted::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        folder => folder?,
    };
    let mut local: Vec<Migration> = Vec::new();
    for name in folder.names()? {
        let path = folder.path().join(&name);
        let Some(text) = folder.read_text(&name)? else {
            continue;
        };
        let migration = parse(&path, Some(&text))?;
        let same = mirror
            .iter()
            .chain(&local)
            .find(|other| other.version() == migration.version());
        match same {
            Some(other) if *other == migration && migration.version() < FIRST_LOCAL => {}
            Some(other) => {
                let other = other.to_string();
                return Err(MigrateError::Conflict { path, other });
            }
            None if migration.version() < FIRST_LOCAL => {
                return Err(MigrateError::Kept { path });
            }
            None => local.push(migration),
        }
    }
    local.sort();
    Ok(local)
}

pub(super) fn of_pack(pack: &PackFiles) -> Result<Vec<Migration>, MigrateError> {
    let mut migrations: Vec<Migration> = Vec::new();
    for (name, text) in pack.in_folder("migrations") {
        let path = PathBuf::from(pack.place(&format!("migrations/{name}")));
        let text = text.map_err(|fault| MigrateError::Unreadable {
            pack: pack.name.clone(),
            fault: fault.to_owned(),
        })?;
        let migration = parse(Path::new(name), Some(text))
            .map_err(|_| MigrateError::PackName { path: path.clone() })?;
        if let Some(other) = migrations
            .iter()
            .find(|other| other.version() == migration.version())
        {
            let other = other.to_string();
            return Err(MigrateError::Twice { path, other });
        }
        migrations.push(migration);
    }
    migrations.sort();
    Ok(migrations)
}

/// A migration out of a file named `V<number>__<words>.sql`.
fn parse(path: &Path, text: Option<&str>) -> Result<Migration, MigrateError> {
    let wrong = || MigrateError::Name {
        path: path.to_path_buf(),
    };
    let stem = path
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_suffix(".sql"))
        .ok_or_else(wrong)?;
    let (number, words) = stem
        .strip_prefix('V')
        .and_then(|rest| rest.split_once("__"))
        .ok_or_else(wrong)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if words.is_empty()
        || !words.chars().all(plain)
        || number.is_empty()
        || !number.chars().all(|c| c.is_ascii_digit())
    {
        return Err(wrong());
    }
    Migration::unapplied(stem, text.ok_or_else(wrong)?).map_err(|_| wrong())
}
