//! The files of a profile: that of the project, built in or beside the configuration, and those of the packs that are on.

use std::fmt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::config::{Config, ProfileTable, ProfileText, read_profile};
use crate::embedded_files::{self, SqlText};
use crate::exit::Failure;
use crate::hash::hex;
use crate::name::advice;
use crate::pack_files::EXPORT;

/// Where those of projects are, in the binary and beside the configuration.
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
    /// The pack that it is of, and whose tables alone it may name; none: the project.
    pub(super) pack: Option<String>,
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
    /// Reads a profile. What is wrong with its texts is in [`Self::faults`].
    pub(crate) fn find(name: &str, config: &Config) -> Result<Self, Failure> {
        let texts = embedded_files::folder(FOLDER, "toml", config.path.as_deref());
        let Some(text) = texts.iter().find(|text| stem(&text.file) == name) else {
            return Err(unknown(name, &texts));
        };
        let mut digest = Sha256::new();
        let of_project = text.text.as_deref().map_err(String::as_str);
        let (of_project, with_packs) =
            ProfileFile::read(text.file.clone(), None, of_project, &mut digest);
        let mut files = vec![of_project];
        let file = format!("{EXPORT}/{name}.toml");
        let packs = config.packs.iter();
        for pack in packs.filter(|pack| with_packs && pack.is_on()) {
            let Some(text) = pack.files.text(&file) else {
                continue;
            };
            let of = Some(pack.name.clone());
            let (of_pack, _) = ProfileFile::read(pack.files.place(&file), of, text, &mut digest);
            files.push(of_pack);
        }
        let is_blank = |file: &ProfileFile| file.tables.is_empty() && file.faults.is_empty();
        if files.iter().all(is_blank) {
            let sentence = format!(
                "it names no table, and no pack that is on has {file}; write one as [tables.NAME], with its columns below it"
            );
            let name = files[0].name.clone();
            files[0].faults.push(Fault {
                file: name,
                line: 0,
                sentence,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            files,
            sha256: hex(&digest.finalize()),
        })
    }

    /// What is wrong with the texts.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let faults = self.files.iter().flat_map(|file| &file.faults);
        faults.cloned().collect()
    }
}

impl ProfileFile {
    /// Reads a file; and whether what packs say counts as well.
    fn read(
        name: String,
        pack: Option<String>,
        text: Result<&str, &str>,
        digest: &mut Sha256,
    ) -> (Self, bool) {
        let fault = |line, sentence| Fault {
            file: name.clone(),
            line,
            sentence,
        };
        let (profile, faults) = match text {
            Ok(text) => {
                digest.update(text.as_bytes());
                let (profile, faults) = read_profile(text, pack.is_some());
                let faults = faults.into_iter().map(|found| {
                    let sentence = match found.place.as_str() {
                        "" => found.message,
                        place => format!("{place}: {}", found.message),
                    };
                    fault(found.line, sentence)
                });
                (profile, faults.collect())
            }
            Err(sentence) => (ProfileText::default(), vec![fault(0, sentence.to_owned())]),
        };
        let file = Self {
            name,
            pack,
            tables: profile.tables,
            faults,
        };
        (file, profile.with_packs)
    }
}

/// The name of a profile, of its file.
fn stem(file: &str) -> &str {
    let stem = Path::new(file).file_stem();
    stem.and_then(|stem| stem.to_str()).unwrap_or_default()
}

fn unknown(name: &str, texts: &[SqlText]) -> Failure {
    // A folder that cannot be read may have it.
    if let Some(Err(fault)) = texts.iter().map(|file| &file.text).find(|it| it.is_err()) {
        return Failure::usage(format!("{FOLDER} cannot be used: {fault}"));
    }
    let names = texts.iter().map(|text| stem(&text.file));
    let advice = advice(name, names, "there are");
    Failure::usage(format!(
        "there is no profile `{name}`: neither {FOLDER}/{name}.toml beside pipeline.toml nor a built-in one; {advice}"
    ))
}
