//! The files of a profile, which the configuration carries as it does the panels of the campus page: built in, or beside it.

use std::fmt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::config::{ProfileTable, read_profile};
use crate::embedded_files::{self, SqlText};
use crate::exit::Failure;
use crate::hash::hex;
use crate::name::advice;

/// Where they are, in the binary and beside the configuration.
const FOLDER: &str = "sql/export";

/// What is handed out, file by file.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(super) name: String,
    pub(super) files: Vec<ProfileFile>,
    /// SHA-256 of the texts, in hex.
    pub(super) sha256: String,
}

#[derive(Debug)]
pub(crate) struct ProfileFile {
    /// Such as `sql/export/public.toml`.
    pub(super) name: String,
    /// What of it can be read.
    pub(super) tables: Vec<ProfileTable>,
    faults: Vec<Fault>,
}

/// What is wrong with a profile; in the order of files and lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) file: String,
    /// 0: the whole file.
    pub(super) line: usize,
    pub(super) sentence: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            sentence,
        } = self;
        match line {
            0 => write!(f, "{file}: {sentence}"),
            line => write!(f, "{file}:{line}: {sentence}"),
        }
    }
}

impl Profile {
    /// Reads a profile. What is wrong with its text is in [`Self::faults`].
    pub(crate) fn find(name: &str, config: Option<&Path>) -> Result<Self, Failure> {
        let files = embedded_files::folder(FOLDER, "toml", config);
        let named = |file: &SqlText| {
            let path = Path::new(&file.file);
            path.file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default()
                .to_owned()
        };
        let Some(text) = files.iter().find(|file| named(file) == name) else {
            // A folder that cannot be read may have it.
            if let Some(Err(fault)) = files.iter().map(|file| &file.text).find(|it| it.is_err()) {
                return Err(Failure::usage(format!("{FOLDER} cannot be used: {fault}")));
            }
            let names: Vec<String> = files.iter().map(named).collect();
            let advice = advice(name, names.iter().map(String::as_str), "there are");
            return Err(Failure::usage(format!(
                "there is no profile `{name}`: neither {FOLDER}/{name}.toml beside pipeline.toml nor a built-in one; {advice}"
            )));
        };
        Ok(Self::of(name, std::slice::from_ref(text)))
    }

    fn of(name: &str, texts: &[SqlText]) -> Self {
        let mut digest = Sha256::new();
        let mut files = Vec::new();
        for SqlText { file, text } in texts {
            let (tables, faults) = match text {
                Ok(text) => {
                    digest.update(text.as_bytes());
                    read_profile(text)
                }
                Err(fault) => {
                    files.push(ProfileFile {
                        name: file.clone(),
                        tables: Vec::new(),
                        faults: vec![Fault {
                            file: file.clone(),
                            line: 0,
                            sentence: fault.clone(),
                        }],
                    });
                    continue;
                }
            };
            let faults = faults.into_iter().map(|fault| Fault {
                file: file.clone(),
                line: fault.line,
                sentence: match fault.place.as_str() {
                    "" => fault.message,
                    place => format!("{place}: {}", fault.message),
                },
            });
            files.push(ProfileFile {
                name: file.clone(),
                faults: faults.collect(),
                tables,
            });
        }
        Self {
            name: name.to_owned(),
            files,
            sha256: hex(&digest.finalize()),
        }
    }

    /// What is wrong with the texts.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let faults = self.files.iter().flat_map(|file| &file.faults);
        faults.cloned().collect()
    }
}
