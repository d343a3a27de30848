//! What the binary carries: the default `pipeline.toml` and the files of `sql/`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Component, Path};

use include_dir::{Dir, include_dir};

use crate::error_chain::chain;
use crate::trusted::{Folder, Owner, Untrusted};

/// The default configuration, which is also its own manual.
pub(crate) const PIPELINE: &str = include_str!("../pipeline.toml");

#[cfg(feature = "simulator")]
pub(crate) const DEMO: &str = include_str!("../sql/demo.sql");

/// Tables whose changes the demonstration shows, in addition to [`PIPELINE`].
#[cfg(feature = "simulator")]
pub(crate) const DEMO_CHANGES: &str = include_str!("../sql/demo.toml");

static SQL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/sql");

/// The text of `sql/x.sql`: beside the configuration in use, else the built-in one.
pub(crate) fn sql(name: &str, config: Option<&Path>) -> Result<String, String> {
    let inside = name.strip_prefix("sql/").filter(|file| {
        Path::new(file)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    });
    let Some(file) = inside else {
        return Err(format!(
            "`{name}` is not a file in sql/, such as \"sql/x.sql\""
        ));
    };
    let text = beside(config).and_then(|folder| match folder {
        Some(folder) => folder.read_text(name),
        None => Ok(None),
    });
    if let Some(text) = text.map_err(|fault| chain(&fault))? {
        return Ok(text);
    }
    SQL.get_file(file)
        .and_then(include_dir::File::contents_utf8)
        .map(str::to_owned)
        .ok_or_else(|| {
            format!("there is no file `{name}` beside the configuration, and none is built in")
        })
}

/// A file of `sql/`.
pub(crate) struct SqlText {
    /// Such as `sql/pages/x.sql`.
    pub(crate) file: String,
    /// Or why it cannot be used, a sentence.
    pub(crate) text: Result<String, String>,
}

/// The files `*.sql` of a folder such as `sql/pages`, sorted by name: built-in ones, and those beside the configuration in use, which
/// stand in the place of built-in ones of their name. An empty one only takes the built-in one away.
pub(crate) fn sql_folder(name: &str, config: Option<&Path>) -> Vec<SqlText> {
    folder(name, "sql", config)
}

/// The same of files with another end of their name.
pub(crate) fn folder(name: &str, end: &str, config: Option<&Path>) -> Vec<SqlText> {
    let Layers { built_in, own } = layers(name, end, config);
    let mut texts: BTreeMap<String, Result<String, String>> = built_in
        .into_iter()
        .map(|(file, text)| (file, Ok(text)))
        .collect();
    texts.extend(own);
    texts.retain(|_, text| !text.as_ref().is_ok_and(|text| text.trim().is_empty()));
    let texts = texts.into_iter().map(|(file, text)| SqlText {
        file: format!("{name}/{file}"),
        text,
    });
    texts.collect()
}

/// The files of a folder by their names in it, empty ones among them.
pub(crate) struct Layers {
    pub(crate) built_in: BTreeMap<String, String>,
    /// Those beside the configuration in use, or why one cannot be used; without a name: why none can be read.
    pub(crate) own: OwnFiles,
}

/// The files of a folder such as `sql/pages/x` whose names end in this way.
pub(crate) fn layers(name: &str, end: &str, config: Option<&Path>) -> Layers {
    let has_end = |path: &Path| path.extension().is_some_and(|is| is == end);
    let built_in = (built_in(name).into_iter())
        .flat_map(Dir::files)
        .filter(|file| has_end(file.path()))
        .filter_map(|file| {
            let of = file.path().file_name()?.to_str()?;
            Some((of.to_owned(), file.contents_utf8()?.to_owned()))
        });
    let own = own_files(name, &has_end, config);
    Layers {
        built_in: built_in.collect(),
        own: own.unwrap_or_else(|fault| vec![(String::new(), Err(chain(&fault)))]),
    }
}

/// The names of the folders in a folder such as `sql/pages`, built-in ones and those beside the configuration in use; and why the latter
/// cannot be read.
pub(crate) fn folders(name: &str, config: Option<&Path>) -> (BTreeSet<String>, Option<String>) {
    let built_in = built_in(name).into_iter().flat_map(Dir::dirs);
    let built_in = built_in.filter_map(|dir| Some(dir.path().file_name()?.to_str()?.to_owned()));
    let mut names: BTreeSet<String> = built_in.collect();
    let own = own_folder(name, config).and_then(|folder| {
        let Some(folder) = folder else {
            return Ok(Vec::new());
        };
        let mut names = folder.names()?;
        names.retain(|name| folder.path().join(name).is_dir());
        Ok(names)
    });
    match own {
        Ok(own) => {
            names.extend((own.iter()).map(|name| name.to_string_lossy().into_owned()));
            (names, None)
        }
        Err(fault) => (names, Some(chain(&fault))),
    }
}

/// A folder such as `sql/pages`.
fn built_in(name: &str) -> Option<&'static Dir<'static>> {
    SQL.get_dir(name.strip_prefix("sql/").unwrap_or(name))
}

/// The folder of this name beside the configuration in use.
fn own_folder(name: &str, config: Option<&Path>) -> Result<Option<Folder>, Untrusted> {
    let mut folder = beside(config)?;
    for part in name.split('/') {
        let Some(outer) = folder else {
            return Ok(None);
        };
        folder = outer.folder(part)?;
    }
    Ok(folder)
}

pub(crate) type OwnFiles = Vec<(String, Result<String, String>)>;

fn own_files(
    name: &str,
    has_end: &dyn Fn(&Path) -> bool,
    config: Option<&Path>,
) -> Result<OwnFiles, Untrusted> {
    let Some(folder) = own_folder(name, config)? else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for file in folder.names()? {
        if !has_end(Path::new(&file)) {
            continue;
        }
        let text = folder.read_text(&file).map_err(|fault| chain(&fault));
        let text = text.map(Option::unwrap_or_default);
        files.push((file.to_string_lossy().into_owned(), text));
    }
    Ok(files)
}

/// The directory of the configuration in use; none: it is the built-in one.
pub(crate) fn beside(config: Option<&Path>) -> Result<Option<Folder>, Untrusted> {
    let Some(folder) = config.and_then(Path::parent) else {
        return Ok(None);
    };
    match Folder::open(folder, Owner::caller_or_root()) {
        Err(Untrusted::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        folder => folder.map(Some),
    }
}
