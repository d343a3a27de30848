//! Which pages of panels there are, and the files of each: `sql/pages/`, `pages/` of the packs that are on, and those beside the
//! configuration. Reads no query and no database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::config::{Config, Pack};
use crate::embedded_files::{self, Layers};
use crate::pack_files::PAGES;
use crate::printable;

/// Where the folders of pages are, in the binary and beside the configuration. Files beside them belong to every page.
const FOLDER: &str = "sql/pages";
/// Characters of a page's name.
const LONGEST: usize = 30;
/// Paths that are not of panels.
pub(crate) const TAKEN: [&str; 13] = [
    "api",
    "calendar",
    "changes",
    "check",
    "decisions",
    "healthz",
    "history",
    "login",
    "logout",
    "metrics",
    "readyz",
    "runs",
    "status",
];

/// A page, and the files of its panels, those of every page among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageFiles {
    /// The name of its folder, and its path in the site.
    pub(crate) name: String,
    /// In the order of the names of the files.
    pub(crate) files: Vec<PanelFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PanelFile {
    /// Such as `sql/pages/x/10-y.sql`, or `packs/z/pages/x/10-y.sql`.
    pub(crate) file: String,
    /// Or why it cannot be used, a sentence.
    pub(crate) text: Result<String, String>,
    /// Whether it is beside the configuration, and not in the binary.
    pub(crate) is_own: bool,
}

/// All pages, and what is wrong with their folders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Sorted by name.
    pub(crate) pages: Vec<PageFiles>,
    /// Sentences.
    pub(crate) faults: Vec<String>,
}

impl PageFiles {
    /// Its heading: `who-is-here` is `Who is here`.
    pub(crate) fn title(&self) -> String {
        let mut characters = self.name.chars();
        let first = characters.next().map(|first| first.to_ascii_uppercase());
        let rest = characters.map(|c| if c == '-' { ' ' } else { c });
        first.into_iter().chain(rest).collect()
    }
}

impl Found {
    /// Those of a configuration. `is_made` says whether what a pack shows is in the mirror.
    pub(crate) fn of(config: &Config, is_made: impl Fn(&Pack) -> bool) -> Self {
        let path = config.path.as_deref();
        let (mut names, fault) = embedded_files::folders(FOLDER, path);
        let mut faults: Vec<String> = fault.into_iter().collect();
        let packs = (config.packs.iter()).filter(|pack| pack.is_on() && is_made(pack));
        let packs: Vec<&Pack> = packs.collect();
        for pack in &packs {
            for (file, _) in pack.files.in_folder(PAGES) {
                match file.split_once('/') {
                    Some((page, _)) => {
                        names.insert(page.to_owned());
                    }
                    None => faults.push(format!(
                        "{} belongs to no page; move it into a folder such as {PAGES}/online",
                        place(pack, file)
                    )),
                }
            }
        }
        let common = embedded_files::layers(FOLDER, "sql", path);
        let mut pages = Vec::new();
        for name in names {
            match fault_of(&name) {
                Some(fault) => faults.push(fault),
                None => pages.extend(files(name, config, &packs, &common)),
            }
        }
        Self {
            pages,
            faults: (faults.iter())
                .map(|fault| printable::line(fault).into_owned())
                .collect(),
        }
    }
}

/// What is wrong with the name of a page.
fn fault_of(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
        && name.len() <= LONGEST;
    if !is_plain {
        return Some(format!(
            "a page is called by its folder, in lower-case letters, digits and `-`, beginning with a letter, of at most {LONGEST} \
             characters; rename the folder `{name}`"
        ));
    }
    TAKEN.contains(&name).then(|| {
        format!("/{name} is a page already, or /api/{name}.json a document; give the folder `{name}` of panels another name")
    })
}

/// The file of a pack for people.
fn place(pack: &Pack, file: &str) -> String {
    format!("packs/{}/{PAGES}/{file}", pack.name)
}

/// The files of a page; none: all of them were taken away.
fn files(name: String, config: &Config, packs: &[&Pack], common: &Layers) -> Option<PageFiles> {
    let mut files: BTreeMap<String, PanelFile> = BTreeMap::new();
    let folder = format!("{FOLDER}/{name}");
    let Layers { built_in, own } = embedded_files::layers(&folder, "sql", config.path.as_deref());
    let mut add = |key: &str, file: String, text: Result<String, String>, is_own: bool| {
        let panel = PanelFile { file, text, is_own };
        files.insert(key.to_owned(), panel);
    };
    for (file, text) in &common.built_in {
        add(file, format!("{FOLDER}/{file}"), Ok(text.clone()), false);
    }
    for (file, text) in &common.own {
        add(file, format!("{FOLDER}/{file}"), text.clone(), true);
    }
    let mut of_page: BTreeSet<String> = BTreeSet::new();
    for (file, text) in built_in {
        add(&file, format!("{folder}/{file}"), Ok(text), false);
        of_page.insert(file);
    }
    for pack in packs {
        let of_pack = format!("{PAGES}/{name}");
        for (file, text) in pack.files.in_folder(&of_pack) {
            let shown = place(pack, &format!("{name}/{file}"));
            if Path::new(file).extension().is_none_or(|end| end != "sql") {
                continue;
            }
            if of_page.insert(file.to_owned()) {
                let text = text.map(str::to_owned).map_err(str::to_owned);
                add(file, shown, text, pack.is_own());
            } else {
                let fault = "the page has another panel of this name; give the file another one";
                let key = format!("{file} of {}", pack.name);
                add(&key, shown, Err(fault.to_owned()), pack.is_own());
                of_page.insert(key);
            }
        }
    }
    for (file, text) in own {
        add(&file, format!("{folder}/{file}"), text, true);
        of_page.insert(file);
    }
    let is_empty =
        |panel: &PanelFile| (panel.text.as_ref()).is_ok_and(|text| text.trim().is_empty());
    files.retain(|_, panel| !is_empty(panel));
    let has_some = of_page.iter().any(|file| files.contains_key(file));
    has_some.then(|| PageFiles {
        name,
        files: files.into_values().collect(),
    })
}
