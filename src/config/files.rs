//! The files of a configuration: `pipeline.toml` and the packs that are on, each with its faults.

use std::path::Path;

use toml::de::DeTable;

use super::reader::{Problems, Section};
use super::{Config, ConfigError, pack, read};
use crate::embedded_files;
use crate::trusted::{Folder, Owner};

impl Config {
    /// Reads and checks the file at `path`, or the built-in configuration, with the packs that are on.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(path, &[])
    }

    /// The same with further packs, and those that they need.
    pub(crate) fn load_with(path: Option<&Path>, packs: &[&str]) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Self::parse_with(embedded_files::PIPELINE, None, packs);
        };
        let absent = || ConfigError::Read {
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(absent());
        };
        let folder = Folder::open(folder, Owner::caller_or_root())?;
        let text = folder.read_text(name)?.ok_or_else(absent)?;
        Self::parse_with(&text, Some(path), packs)
    }

    /// Checks the text of a configuration; `path` is where its `sql/` and `packs/` are looked for and how it is named.
    pub fn parse(text: &str, path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::parse_with(text, path, &[])
    }

    fn parse_with(text: &str, path: Option<&Path>, added: &[&str]) -> Result<Self, ConfigError> {
        let file = path.map_or_else(
            || "pipeline.toml (built in)".to_owned(),
            |path| path.display().to_string(),
        );
        let mut packs = pack::all(path)?;
        let problems = Problems::new(text);
        let root = parse_toml(text, &problems);
        if let Some(root) = &root {
            let section = Section::new(&problems, root, 0, "");
            pack::choose(&mut packs, &section, root, added, path);
        }
        let parsed: Vec<Problems<'_>> = packs
            .iter()
            .filter(|pack| pack.is_on())
            .map(Problems::of_pack)
            .collect();
        let parsed: Vec<(Problems<'_>, Option<DeTable<'_>>)> = parsed
            .into_iter()
            .map(|problems| {
                let root = parse_toml(problems.text(), &problems);
                (problems, root)
            })
            .collect();
        let is_whole = root.is_some() && parsed.iter().all(|(_, root)| root.is_some());
        let files = Files {
            main: &problems,
            packs: parsed.iter().map(|(problems, _)| problems).collect(),
        };
        let config = root.as_ref().filter(|_| is_whole).and_then(|root| {
            let packs_read = parsed
                .iter()
                .filter_map(|(problems, root)| Some((problems, root.as_ref()?)));
            read(&files, root, &packs_read.collect::<Vec<_>>(), &packs, path)
        });
        let mut faults: Vec<ConfigError> = Vec::new();
        for (of, file) in
            std::iter::once((&problems, file)).chain(files.packs.iter().map(|of| (*of, of.place())))
        {
            let problems = of.sorted();
            if !problems.is_empty() {
                faults.push(ConfigError::Faults { file, problems });
            }
        }
        match (config, faults.len()) {
            (Some(config), 0) => Ok(config),
            (_, 2..) => Err(ConfigError::All(faults)),
            _ => Err(faults.pop().unwrap_or_else(|| ConfigError::All(Vec::new()))),
        }
    }
}

/// The faults of `pipeline.toml`, and of the packs that are on.
pub(super) struct Files<'a> {
    pub(super) main: &'a Problems<'a>,
    pub(super) packs: Vec<&'a Problems<'a>>,
}

impl<'a> Files<'a> {
    /// Of the file that a block is in.
    pub(super) fn of(&self, pack: Option<&str>) -> &'a Problems<'a> {
        let is_its = |of: &&&Problems<'_>| of.pack_name() == pack;
        self.packs.iter().find(is_its).map_or(self.main, |of| *of)
    }
}

/// The table of a file; none, with a fault, if it is not TOML.
fn parse_toml<'t>(text: &'t str, problems: &Problems<'_>) -> Option<DeTable<'t>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    // Whatever follows the first break of the grammar is likely to follow from it.
    let broken = errors
        .iter()
        .map(|error| (error.span().map_or(0, |span| span.start), error.message()))
        .min();
    if let Some((at, message)) = broken {
        problems.add(at, "", format_args!("not TOML: {message}"));
        return None;
    }
    Some(root.into_inner())
}
