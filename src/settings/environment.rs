//! Environment variables, of the process and of `.env`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use crate::exit::Failure;
use crate::printable::may_hold_credentials;
use crate::trusted;

/// The variable that many programs read.
pub(super) const GENERIC: &str = "DATABASE_URL";

#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, OsString>,
    pub(super) of_dotenv: BTreeSet<String>,
}

impl Environment {
    pub(crate) fn of_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect(),
            of_dotenv: BTreeSet::new(),
        }
    }

    pub(crate) fn only(variables: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            of_dotenv: BTreeSet::new(),
        }
    }

    /// Adds variables of `.env` that the process does not set.
    pub(crate) fn add(&mut self, variables: Vec<(String, String)>) {
        for (name, value) in variables {
            if !self.variables.contains_key(&name) {
                self.of_dotenv.insert(name.clone());
                self.variables.insert(name, value.into());
            }
        }
    }

    /// Sets a variable, whatever it was.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.path(name)?.into_os_string().into_string().ok()
    }

    /// All variables that are text and not empty.
    #[cfg(feature = "remote")]
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        let names = self.variables.keys();
        names
            .filter_map(|name| Some((name.clone(), self.get(name)?)))
            .collect()
    }

    /// A variable that is set and not empty, as a path, which need not be UTF-8.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.variables.get(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    }

    /// A path that messages repeat: refused if it may be a database URL.
    pub(super) fn shown_path(&self, name: &str) -> Result<Option<PathBuf>, Failure> {
        let path = self.path(name);
        let text = path.as_deref().map(Path::to_string_lossy);
        if text.as_deref().is_some_and(may_hold_credentials) {
            return Err(Failure::usage(format!(
                "{name} looks like a database URL with a password, where a path belongs, and is not repeated; correct it"
            )));
        }
        Ok(path)
    }

    /// Refuses a variable of cursus that is not UTF-8, which would be ignored.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let is_text = |name: &str| {
            let is_path = ["CURSUS_CONFIG", "CURSUS_STAGING_DIR", "CURSUS_PG_BIN"].contains(&name);
            !is_path && (name.starts_with("CURSUS_") || name == GENERIC)
        };
        for (name, value) in &self.variables {
            if is_text(name) && value.to_str().is_none() {
                return Err(Failure::usage(format!(
                    "the variable {name} is not UTF-8; set it again"
                )));
            }
        }
        Ok(())
    }
}

/// The user's state directory of cursus: `$XDG_STATE_HOME/cursus`, else below the home directory. None without a home, or if root
/// is in the home of another user.
pub(crate) fn state_dir(environment: &Environment) -> Option<PathBuf> {
    let state = environment.path("XDG_STATE_HOME");
    let of_home = || {
        let home = environment.path("HOME").or_else(|| {
            let user = nix::unistd::User::from_uid(Uid::effective()).ok().flatten();
            user.map(|user| user.dir)
        })?;
        let is_root_elsewhere =
            Uid::effective().is_root() && trusted::fault_of_owner(&home).is_some();
        // `/nonexistent` means that there is no home.
        let is_home = home.is_absolute() && home.parent().is_some() && home.is_dir();
        (is_home && !is_root_elsewhere).then(|| home.join(".local/state"))
    };
    state
        .filter(|path| path.is_absolute())
        .or_else(of_home)
        .map(|state| state.join("cursus"))
}
