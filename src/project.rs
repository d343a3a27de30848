//! The project of a command: its configuration, found in the working directory or above it, and the files beside it. Nothing of it
//! is used before it is known that no other user can have written it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError};
use crate::dotenv;
use crate::exit::Failure;
use crate::trusted::{self, Folder, Owner, Untrusted};

pub(crate) const CONFIG: &str = "pipeline.toml";
/// Where a project keeps what is its own: tokens, and the private PostgreSQL.
pub(crate) const STATE: &str = ".cursus";
pub(crate) const DOTENV: &str = ".env";
/// Directories beside the configuration whose files run in the database.
pub(crate) const FOLDERS: [&str; 3] = ["sql", "migrations", "packs"];

/// A directory with a configuration, which may be the built-in one.
#[derive(Debug)]
pub(crate) struct Project {
    /// The configuration's directory, else the working directory: what relative paths are anchored at.
    pub(crate) base: PathBuf,
    /// The configuration; none: the built-in one.
    config: Option<PathBuf>,
}

impl Project {
    /// The project of a configuration that was named, else that of the working directory or of the nearest directory above
    /// it that has one, else the working directory with the built-in configuration. Refuses files that another user could have
    /// written, with all faults.
    pub(crate) fn find(named: Option<PathBuf>) -> Result<Self, Failure> {
        let current = working_directory()?;
        let config = match named {
            Some(path) => Some(current.join(path)),
            // A configuration that another user puts into a shared directory must not stop work below it.
            None => current
                .ancestors()
                .filter(|folder| *folder == current || !trusted::is_shared(folder))
                .map(|folder| folder.join(CONFIG))
                .find(|path| std::fs::symlink_metadata(path).is_ok()),
        };
        if let Some(path) = &config {
            std::fs::symlink_metadata(path).map_err(|source| ConfigError::Read {
                path: path.clone(),
                source,
            })?;
        }
        let base = match &config {
            None => current,
            Some(path) => match (path.parent(), path.file_name()) {
                (Some(base), Some(_)) => base.to_owned(),
                _ => {
                    return Err(Failure::usage(format!(
                        "{} names no file; name a configuration, such as `--config {CONFIG}`",
                        path.display()
                    )));
                }
            },
        };
        let project = Self { base, config };
        let faults = project.faults();
        if faults.is_empty() {
            Ok(project)
        } else {
            Err(trusted::list(&faults).into())
        }
    }

    /// A directory that has no configuration yet, with the built-in one.
    pub(crate) fn new_in(base: PathBuf) -> Self {
        Self { base, config: None }
    }

    fn faults(&self) -> Vec<Untrusted> {
        let name = self.config.as_deref().and_then(Path::file_name);
        let files: Vec<&OsStr> = name.into_iter().chain([OsStr::new(DOTENV)]).collect();
        let mut faults = trusted::faults(&self.base, &files, &FOLDERS);
        // A directory of another user is one fault, not a list.
        if !matches!(&faults[..], [Untrusted::Owned { path, .. }] if *path == self.base) {
            faults.extend(trusted::fault_of_own(&self.base.join(STATE)));
        }
        faults
    }

    /// The configuration, and what `.env` sets; or the faults of both.
    pub(crate) fn read(&self) -> Result<(Config, Vec<(String, String)>), ConfigError> {
        match (Config::load(self.config.as_deref()), self.read_dotenv()) {
            (Ok(config), Ok(variables)) => Ok((config, variables)),
            (Err(one), Err(other)) => Err(ConfigError::All(vec![one, other])),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        }
    }

    fn read_dotenv(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let folder = Folder::open(&self.base, Owner::caller_or_root())?;
        let Some(bytes) = folder.read(DOTENV)? else {
            return Ok(Vec::new());
        };
        dotenv::parse(&bytes).map_err(|problems| ConfigError::Faults {
            file: self.base.join(DOTENV).display().to_string(),
            problems,
        })
    }
}

pub(crate) fn working_directory() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| {
        Failure::usage(format!(
            "the working directory cannot be used: {error}; `cd` to another one"
        ))
    })
}
