//! The configuration of a service: which files it was read from, what has changed in them since, and how it is read again. One
//! with errors leaves the previous one in use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use crate::cli::{Global, WatchArgs};
use crate::error_chain::chain;
use crate::exit::Failure;
use crate::hash::Hash;
use crate::migrate;
use crate::plan;
use crate::project::FOLDERS;
use crate::settings::{Environment, Settings};

pub(super) struct Configuration<'a> {
    pub(super) settings: Arc<Settings>,
    global: &'a Global,
    arguments: &'a WatchArgs,
    files: Files,
}

impl<'a> Configuration<'a> {
    pub(super) fn new(settings: Settings, global: &'a Global, arguments: &'a WatchArgs) -> Self {
        Self {
            files: Files::of(&settings),
            settings: Arc::new(settings),
            global,
            arguments,
        }
    }

    /// Reads it again and returns its changes. The error has all faults of a broken one.
    pub(super) fn read_again(&mut self) -> Result<String, String> {
        let read = Settings::resolve(
            self.global,
            "watch",
            Environment::of_process(),
            &self.settings.context,
        );
        let read = read.and_then(|settings| {
            check(&settings, self.arguments)?;
            Ok(settings)
        });
        let migrations = migrate::check_files(&self.settings.config.migrations()).err();
        match (read, migrations) {
            (Ok(settings), None) => {
                let files = Files::of(&settings);
                let changes = self.files.changes_to(&files);
                self.files = files;
                self.settings = Arc::new(settings);
                Ok(changes)
            }
            (read, migrations) => {
                let read = read.err().map(|failure| failure.sentence());
                let migrations = migrations.map(|fault| chain(&fault));
                let faults: Vec<String> = read.into_iter().chain(migrations).collect();
                let lines = faults.iter().flat_map(|fault| fault.lines());
                Err(lines.map(str::trim).collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// Refuses what no round could work with.
pub(super) fn check(settings: &Settings, arguments: &WatchArgs) -> Result<(), Failure> {
    settings.credentials()?;
    plan::select(&settings.config, &arguments.select, &arguments.exclude)?;
    Ok(())
}

/// What a configuration is read from, by name, with the hashes of the contents.
struct Files(BTreeMap<PathBuf, Hash>);

impl Files {
    fn of(settings: &Settings) -> Self {
        let base = &settings.base;
        let config = settings.config.path.iter().cloned();
        let inside = FOLDERS.into_iter().flat_map(|folder| {
            let entries = WalkDir::new(base.join(folder)).into_iter().flatten();
            entries.map(walkdir::DirEntry::into_path)
        });
        let paths = config.chain([base.join(".env")]).chain(inside);
        // Reading anything but a file might never end.
        let files = paths.filter(|path| path.is_file()).filter_map(|path| {
            let hash = Sha256::digest(std::fs::read(&path).ok()?).into();
            let name = path.strip_prefix(base).unwrap_or(&path).to_owned();
            Some((name, hash))
        });
        Self(files.collect())
    }

    fn changes_to(&self, new: &Self) -> String {
        let changed = new.0.iter().filter_map(|(path, hash)| {
            let change = match self.0.get(path) {
                Some(old) if old == hash => return None,
                Some(_) => "changed",
                None => "is new",
            };
            Some((path, change))
        });
        let removed = self.0.keys().filter(|path| !new.0.contains_key(*path));
        let removed = removed.map(|path| (path, "was removed"));
        let changes: Vec<String> = changed
            .chain(removed)
            .map(|(path, change)| format!("{} {change}", path.display()))
            .collect();
        if changes.is_empty() {
            "no file has changed since it was last read".to_owned()
        } else {
            changes.join(", ")
        }
    }
}
