//! The files of packs: those that the binary carries, and those in `packs/` beside the configuration in use, which stand in the place
//! of a built-in pack of their name. Knows neither TOML nor SQL.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use crate::embedded_files::beside;
use crate::error_chain::chain;
use crate::name::Name;
use crate::trusted::{Folder, Untrusted};

/// The folder of packs, in the repository and beside a configuration.
pub(crate) const PACKS: &str = "packs";
/// What a pack consists of, beside its folders.
pub(crate) const PACK: &str = "pack.toml";
const README: &str = "README.md";
/// The folders of a pack whose files are read.
const FOLDERS: [&str; 4] = ["migrations", "sql", "views", EXPORT];
/// The one whose files say what `cursus export` hands out.
pub(crate) const EXPORT: &str = "export";
/// The one whose folders are read as well.
pub(crate) const PAGES: &str = "pages";

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/packs");

/// The files of one pack, by their path in it, such as `migrations/V1__x.sql`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackFiles {
    /// The name of its folder.
    pub(crate) name: String,
    /// Its folder beside the configuration; none: the binary carries it.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) texts: BTreeMap<String, String>,
    /// Why others are no texts, a sentence each, by the same paths. They are reported where one of them is needed.
    pub(crate) faults: BTreeMap<String, String>,
}

impl PackFiles {
    /// The text of one of its files, or why it has none.
    pub(crate) fn text(&self, file: &str) -> Option<Result<&str, &str>> {
        let text = self.texts.get(file).map(|text| Ok(text.as_str()));
        text.or_else(|| self.faults.get(file).map(|fault| Err(fault.as_str())))
    }

    /// How a file of it is named for people.
    pub(crate) fn place(&self, file: &str) -> String {
        let name = &self.name;
        match &self.folder {
            Some(folder) => folder.join(file).display().to_string(),
            None => format!("{PACKS}/{name}/{file} (built in)"),
        }
    }

    /// The files of one of its folders, with their names in it, and their texts or why they have none.
    pub(crate) fn in_folder<'a>(
        &'a self,
        folder: &'a str,
    ) -> impl Iterator<Item = (&'a str, Result<&'a str, &'a str>)> {
        let inside = move |path: &'a String| {
            let name = path.strip_prefix(folder)?.strip_prefix('/')?;
            Some((name, self.text(path)?))
        };
        let paths = self.texts.keys().chain(self.faults.keys());
        paths.filter_map(inside)
    }

    /// Adds a file of a folder: its text, or why it is none. The error is of one that another user could have written.
    fn add(&mut self, folder: &Folder, file: &OsString, path: String) -> Result<(), Untrusted> {
        match folder.read_text(file) {
            Ok(text) => self.texts.extend(text.map(|text| (path, text))),
            Err(fault) if is_no_text(&fault) => {
                self.faults.insert(path, chain(&fault));
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }
}

/// A view of the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) name: Name,
    /// What it shows, for the database.
    pub(crate) comment: String,
    /// Columns, and what each means.
    pub(crate) columns: Vec<(Name, String)>,
    /// One SELECT.
    pub(crate) sql: String,
    /// Its file, for people.
    pub(crate) file: String,
    /// The pack that it is of; none: `pipeline.toml`.
    pub(crate) pack: Option<String>,
}

/// What a mirror consists of beside what is always in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// The folder of a user's own migrations, `migrations/mirror` beside a configuration, if there is one.
    pub(crate) folder: Option<PathBuf>,
    /// The packs that are on, each after those that it needs.
    pub(crate) packs: Vec<Arc<PackFiles>>,
    /// The views of the mirror, each after those that it reads.
    pub(crate) views: Vec<View>,
}

/// All packs, sorted by name. The error is of files that another user could have written, or that cannot be read.
pub(crate) fn read(config: Option<&Path>) -> Result<Vec<PackFiles>, Untrusted> {
    let mut packs: BTreeMap<String, PackFiles> = SHIPPED
        .dirs()
        .filter_map(|dir| {
            let name = dir.path().file_name()?.to_str()?.to_owned();
            Some((name.clone(), shipped(name, dir)))
        })
        .collect();
    let folder = beside(config)?;
    let folder = folder.map(|folder| folder.folder(PACKS)).transpose()?;
    if let Some(folder) = folder.flatten() {
        for name in folder.names()? {
            let path = folder.path().join(&name);
            if !path.is_dir() {
                continue;
            }
            if let Some(inside) = folder.folder(&name)? {
                let name = name.to_string_lossy().into_owned();
                packs.insert(name.clone(), own(name, path, &inside)?);
            }
        }
    }
    Ok(packs.into_values().collect())
}

/// Whether the binary carries a pack of this name.
pub(crate) fn is_shipped(name: &str) -> bool {
    SHIPPED.get_dir(name).is_some()
}

fn shipped(name: String, dir: &Dir<'_>) -> PackFiles {
    let folders = dir.dirs().chain(dir.dirs().flat_map(Dir::dirs));
    let texts = dir.files().chain(folders.flat_map(Dir::files));
    let texts = texts.filter_map(|file| {
        let path = file.path().strip_prefix(dir.path()).ok()?;
        Some((path.to_str()?.to_owned(), file.contents_utf8()?.to_owned()))
    });
    PackFiles {
        name,
        folder: None,
        texts: texts.collect(),
        faults: BTreeMap::new(),
    }
}

/// Whether it is of a directory, a pipe or bytes in the place of a text.
fn is_no_text(fault: &Untrusted) -> bool {
    match fault {
        Untrusted::Kind { .. } => true,
        Untrusted::Io { source, .. } => source.kind() == ErrorKind::InvalidData,
        _ => false,
    }
}

fn own(name: String, path: PathBuf, folder: &Folder) -> Result<PackFiles, Untrusted> {
    let mut pack = PackFiles {
        name,
        folder: Some(path),
        texts: BTreeMap::new(),
        faults: BTreeMap::new(),
    };
    // Without it nobody can say whether the pack is on.
    let text = folder.read_text(PACK)?;
    pack.texts.extend(text.map(|text| (PACK.to_owned(), text)));
    pack.add(folder, &README.into(), README.to_owned())?;
    for part in FOLDERS {
        let Some(inside) = folder.folder(part)? else {
            continue;
        };
        for file in inside.names()? {
            pack.add(&inside, &file, format!("{part}/{}", file.to_string_lossy()))?;
        }
    }
    if let Some(pages) = folder.folder(PAGES)? {
        // A picture, a note or a folder among panels is none of them, and stops no run.
        let is_panel =
            |name: &OsString| Path::new(name).extension().is_some_and(|end| end == "sql");
        for name in pages.names()? {
            let part = format!("{PAGES}/{}", name.to_string_lossy());
            if is_panel(&name) {
                pack.add(&pages, &name, part)?;
            } else if pages.path().join(&name).is_dir()
                && let Some(page) = pages.folder(&name)?
            {
                for file in page.names()? {
                    if is_panel(&file) {
                        pack.add(&page, &file, format!("{part}/{}", file.to_string_lossy()))?;
                    }
                }
            }
        }
    }
    Ok(pack)
}
